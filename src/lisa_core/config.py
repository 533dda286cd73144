"""Every setting of a run, with its meaning, bounds and default; the CLI and the checkpoints are made from these."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from lisa_core.errors import ConfigError

TINY = "tiny"
"""The model name that stands for the family's own small model with random weights."""
AUTO = "auto"
"""The `--vlm` that stands for whichever family reads the checkpoint."""


def setting(
    default: Any, help: str, low: float | None = None, high: float | None = None, above: float | None = None
) -> Any:
    """A config field: its default, one line of help, and its bounds (`above` is exclusive)."""
    return field(default=default, metadata={"help": help, "low": low, "high": high, "above": above})


@dataclass(frozen=True)
class ModelConfig:
    """Model"""

    vlm: str = setting(
        AUTO, "VLM family; `lisa models` lists what is installed. auto: the one that reads --vlm-model-name."
    )
    vlm_model_name: str | None = setting(
        None,
        "Hub name or local folder; `tiny`: the family's real classes, small, untrained. Default: the family's own.",
    )
    vlm_option: tuple[str, ...] = setting(
        (), "NAME=VALUE: a setting that only this family has; may be repeated. `lisa models FAMILY` lists them."
    )
    image_encoder_model_name: str | None = setting(None, "Vision tower of `clip-llm`: hub name or local folder.")
    text_encoder_model_name: str | None = setting(None, "Language model of `clip-llm`: hub name or local folder.")
    fusion: Literal["joint", "late"] = setting(
        "joint",
        "joint: the language model reads image and text and answers with [SEG]. late: each is encoded apart.",
    )
    mask_features: Literal["vlm", "sam"] = setting(
        "vlm", "What the decoder draws on: the VLM's own patch features, or those of SAM's image encoder."
    )
    similarity_map: bool = setting(True, "Give the decoder a supervised map of where sentence and patches agree.")
    num_prompts: int = setting(4, "Prompts per mask, all in one decoder call.", low=1, high=64)
    sam: Literal["auto", "tiny", "vit_b", "vit_l", "vit_h"] = setting(
        "auto", "Size of the SAM parts; auto: tiny beside a tiny VLM, else vit_b."
    )
    sam_checkpoint: str | None = setting(
        None,
        "SAM weights: an official .pth, or safetensors of its names. Without: SAM's parts start random.",
    )
    sam_prompt_dim: int | None = setting(
        None, "Channels of mask features and prompts, a multiple of 8; default: SAM's own.", low=8
    )
    sam_decoder_depth: int | None = setting(None, "Two-way blocks of the mask decoder; default: SAM's own.", low=1)

    @property
    def is_tiny(self) -> bool:
        """Whether the VLM is the family's small, untrained model."""
        return self.vlm_model_name == TINY

    @property
    def sam_size_name(self) -> str:
        """`sam` with `auto` resolved."""
        if self.sam != "auto":
            return self.sam
        return "tiny" if self.is_tiny else "vit_b"

    def problems(self) -> Iterable[str]:
        """Settings that contradict one another."""
        pair = (self.image_encoder_model_name, self.text_encoder_model_name)
        if any(pair) and self.vlm not in (AUTO, "clip-llm"):
            yield "image/text encoder names belong to --vlm clip-llm"
        if any(pair) and self.vlm_model_name is not None:
            yield "give either --vlm-model-name or the image/text encoder names, not both"
        if any(pair) and not all(pair):
            yield "--image-encoder-model-name and --text-encoder-model-name are given together"
        names = [text.partition("=")[0] for text in self.vlm_option]
        for text, name in zip(self.vlm_option, names):
            if "=" not in text or not name:
                yield f"--vlm-option is {text!r}, must be NAME=VALUE"
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield f"--vlm-option {name} is given more than once"
        if self.sam_prompt_dim is not None and self.sam_prompt_dim % 8:
            yield f"--sam-prompt-dim is {self.sam_prompt_dim}, must be a multiple of 8"


@dataclass(frozen=True)
class DataConfig:
    """Data"""

    data: str = setting(
        "", "Folder in ReasonSeg layout: DIR/train and DIR/val with X.jpg beside X.json, or DIR/train.json."
    )
    batch_size: int = setting(16, "Sentences per device and micro-step.", low=1)
    sentences_per_image: int = setting(
        4,
        "At most so many sentences of one picture share a batch; the picture is then encoded once for all of them.",
        low=1,
    )
    num_workers: int = setting(0, "Processes that read and prepare data; 0: the main one.", low=0)
    max_train_samples: int | None = setting(None, "Train on the first so many sentences only.", low=1)
    max_val_samples: int | None = setting(None, "Validate on the first so many sentences only.", low=1)
    on_error: Literal["fail", "skip"] = setting("fail", "A corrupt sample: stop and name it, or name it and go on.")

    def problems(self) -> Iterable[str]:
        """A missing data folder."""
        if not self.data:
            yield "--data is missing: give the folder that holds train and val"


@dataclass(frozen=True)
class OptimConfig:
    """Optimization"""

    num_epochs: int = setting(10, "Passes over the training sentences.", low=1)
    learning_rate: float | None = setting(
        None,
        "Peak learning rate of AdamW; default 1e-4, or 1e-3 for a tiny model, which starts from random weights.",
        above=0,
    )
    weight_decay: float = setting(0.01, "AdamW's weight decay, on matrices only.", low=0)
    warmup_ratio: float = setting(0.05, "Share of all steps over which the rate rises to its peak.", low=0, high=1)
    lr_schedule: Literal["cosine", "linear", "constant_with_warmup"] = setting(
        "cosine", "How the rate falls after that."
    )
    gradient_accumulation_steps: int = setting(1, "Micro-steps per optimizer step.", low=1)
    max_grad_norm: float = setting(1.0, "Clip the gradient's global norm to this; 0: never.", low=0)
    vlm_freeze: bool = setting(False, "Leave the VLM as it is and train only the parts around it.")
    seed: int = setting(0, "Seed of everything random.", low=0, high=2**32 - 1)


@dataclass(frozen=True)
class LossConfig:
    """Loss weights"""

    ce_weight: float = setting(1.0, "Next-token cross-entropy of the answer (joint fusion).", low=0)
    bce_weight: float = setting(2.0, "Binary cross-entropy of the mask (LISA: 2).", low=0)
    dice_weight: float = setting(0.5, "Dice loss of the mask (LISA: 0.5).", low=0)
    similarity_weight: float = setting(1.0, "BCE + Dice of the similarity map.", low=0)
    contrast_weight: float = setting(
        1.0, "Contrast of the similarity maps of one picture's sentences: which sentence does a patch belong to?", low=0
    )
    iou_weight: float = setting(1.0, "Squared error of the decoder's own IoU estimate.", low=0)

    def problems(self) -> Iterable[str]:
        """Weights that leave nothing to learn."""
        if not any(dataclasses.astuple(self)):
            yield "all loss weights are 0, so nothing would be learnt"


@dataclass(frozen=True)
class RunConfig:
    """Run"""

    output_dir: str = setting("", "Folder for checkpoints, metrics and the resolved config.")
    device: Literal["auto", "cpu", "cuda"] = setting("auto", "Where to run.")
    eval_every: int = setting(1, "Validate after every so many epochs (and after the last).", low=1)
    eval_batch_size: int | None = setting(None, "Sentences per validation step; default: --batch-size.", low=1)
    overwrite: bool = setting(False, "Allow an output folder that already holds a run.")

    def problems(self) -> Iterable[str]:
        """A missing output folder."""
        if not self.output_dir:
            yield "--output-dir is missing: give the folder to write the run to"


@dataclass(frozen=True)
class TrainConfig:
    """All settings of a training run."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    optim: OptimConfig = OptimConfig()
    loss: LossConfig = LossConfig()
    run: RunConfig = RunConfig()

    @property
    def learning_rate(self) -> float:
        """The peak learning rate, its default resolved."""
        if self.optim.learning_rate is not None:
            return self.optim.learning_rate
        return 1e-3 if self.model.is_tiny else 1e-4

    def validate(self) -> None:
        """Check every setting.

        Raises:
            ConfigError: naming every invalid one at once.
        """
        found = [problem for section in dataclasses.fields(self) for problem in problems(getattr(self, section.name))]
        if found:
            raise ConfigError("; ".join(found))


SECTIONS: dict[str, type] = {
    "model": ModelConfig,
    "data": DataConfig,
    "optim": OptimConfig,
    "loss": LossConfig,
    "run": RunConfig,
}


def problems(section: Any) -> Iterable[str]:
    """What is wrong with the values of one config section, one phrase each."""
    hints = get_type_hints(type(section))
    mistyped = False
    for item in dataclasses.fields(section):
        value, hint = getattr(section, item.name), hints[item.name]
        flag = "--" + item.name.replace("_", "-")
        if get_origin(hint) is Literal:
            if value not in get_args(hint):
                yield f"{flag} is {value!r}, must be one of {', '.join(get_args(hint))}"
        elif not _is_of_type(value, hint):
            mistyped = True
            yield f"{flag} is {value!r}, must be {getattr(hint, '__name__', hint)}"
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield from _out_of_bounds(flag, value, item.metadata)
    if hasattr(section, "problems") and not mistyped:
        yield from section.problems()


def _is_of_type(value: object, hint: Any) -> bool:
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(isinstance(item, get_args(hint)[0]) for item in value)
    kinds = get_args(hint) or (hint,)  # `int | None` has arguments, `int` has none
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, kinds) or (isinstance(value, int) and float in kinds)


def _out_of_bounds(flag: str, value: float, bounds: Any) -> Iterable[str]:
    if not math.isfinite(value):
        yield f"{flag} is {value}, must be a finite number"
    elif bounds["low"] is not None and value < bounds["low"]:
        yield f"{flag} is {value}, must be at least {bounds['low']}"
    elif bounds["above"] is not None and value <= bounds["above"]:
        yield f"{flag} is {value}, must be above {bounds['above']}"
    elif bounds["high"] is not None and value > bounds["high"]:
        yield f"{flag} is {value}, must be at most {bounds['high']}"


def from_dict(cls: type, values: dict[str, Any]) -> Any:
    """A config section out of plain data, as a checkpoint stores it; names it does not know are refused."""
    hints = {item.name: get_type_hints(cls)[item.name] for item in dataclasses.fields(cls)}
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ConfigError(
            f"unknown setting {', '.join(unknown)}: made by a newer lisa-core? `pip install -U lisa-core`"
        )
    # JSON has lists only
    return cls(
        **{
            name: tuple(value) if get_origin(hints[name]) is tuple and isinstance(value, list) else value
            for name, value in values.items()
        }
    )


def existing_folder(path: str | Path, what: str) -> Path:
    """The folder as a Path; raises ConfigError if there is none."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise ConfigError(f"{what} {folder} does not exist or is not a folder: check the path")
    return folder
