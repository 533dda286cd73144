"""Every setting of a run, with its meaning, bounds and default; the CLI and the checkpoints are made from these."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lisa_core.errors import ConfigError
from lisa_core.formats import HF_PREFIX
from lisa_core.mixing import Source, parse_sources
from lisa_core.model_config import ModelConfig, TuningConfig
from lisa_core.settings import problems, setting
from lisa_core.user_path import user_path


@dataclass(frozen=True)
class DataConfig:
    """Data"""

    data: str = setting(
        "data",
        "Folder of the dataset, in any of the formats docs/data.md lists; or hf:ORG/NAME. Several: A||B, or "
        "NAME=A||OTHER=B.",
    )
    dataset: str | None = setting(None, "Several datasets as LISA spells them: folders below --data, or paths, A||B.")
    data_format: str = setting(
        "auto", "Format of the data (`lisa plugins` lists them), or of each: F||G; auto: told from the folder."
    )
    sample_rates: str | None = setting(
        None,
        "How often each of several datasets is drawn from: 9,3,3,1. Without it every sample comes once an epoch.",
    )
    steps_per_epoch: int | None = setting(
        None,
        "Optimizer steps an epoch, with --sample-rates; default: as many draws as there are samples.",
        low=1,
    )
    prompt_style: Literal["fixed", "varied"] = setting(
        "fixed",
        "Words around the sentences in training: always the same, or drawn from several short, long and explanatory "
        "ones. Evaluation uses the fixed ones.",
    )
    batch_size: int = setting(16, "Sentences per device and micro-step.", low=1)
    sentences_per_image: int = setting(
        4,
        "At most so many sentences of one picture share a batch; the picture is then encoded once for all of them.",
        low=1,
    )
    turns: int = setting(
        1,
        "Up to so many sentences of a picture that stand together in a batch are asked one after the other in one "
        "conversation (joint fusion).",
        low=1,
    )
    num_workers: int = setting(0, "Processes that read and prepare data; 0: the main one.", low=0)
    max_train_samples: int | None = setting(None, "Train on the first so many sentences only (of each dataset).", low=1)
    max_val_samples: int | None = setting(
        None, "Validate on the first so many sentences only (of each dataset).", low=1
    )
    on_error: Literal["fail", "skip"] = setting("fail", "A corrupt sample: stop and name it, or name it and go on.")

    bucket: Literal["none", "length", "size"] = setting(
        "none", "Batch what is alike, so that less is padding: sentences of like length, or pictures of like size."
    )

    @property
    def sources(self) -> tuple[Source, ...]:
        """The datasets; raises ConfigError if the settings do not say which."""
        return parse_sources(self.data, self.dataset, self.data_format, self.sample_rates)

    def problems(self) -> Iterable[str]:
        """Datasets that are missing, or not told in full."""
        try:
            _ = self.sources
        except ConfigError as error:
            yield str(error)
        if self.steps_per_epoch is not None and self.sample_rates is None:
            yield "--steps-per-epoch needs --sample-rates: without them every sample comes once an epoch"


_LEVELS: dict[str, dict[str, float]] = {
    "none": {},
    "light": {"flip": 0.5, "crop": 0.3, "colour": 0.3},
    "strong": {"flip": 0.5, "crop": 0.3, "colour": 0.5, "scale_jitter": 0.5, "copy_paste": 0.3},
}


@dataclass(frozen=True)
class AugmentationConfig:
    """Augmentation"""

    augment: Literal["none", "light", "strong"] = setting(
        "none",
        "Change training pictures at random where that leaves all their sentences true. light: --flip 0.5 --crop 0.3 "
        "--colour 0.3; strong: --flip 0.5 --crop 0.3 --colour 0.5 --scale-jitter 0.5 --copy-paste 0.3.",
    )
    flip: float | None = setting(
        None, "Probability of a mirrored picture, left and right exchanged in the words.", low=0, high=1
    )
    crop: float | None = setting(None, "Probability of a cut-out that holds every target whole.", low=0, high=1)
    colour: float | None = setting(
        None, "Probability of other brightness, contrast and saturation, if no word names a colour.", low=0, high=1
    )
    scale_jitter: float | None = setting(
        None, "Probability of large-scale jitter: objects at 0.1 to 2 times their size.", low=0, high=1
    )
    copy_paste: float | None = setting(
        None, "Probability that an object of another picture is pasted in, if no word could mean it.", low=0, high=1
    )

    @property
    def probabilities(self) -> dict[str, float]:
        """Of each change, by name; what is not given is as the level says."""
        given = {name: value for name, value in vars(self).items() if name != "augment" and value is not None}
        return {**_LEVELS[self.augment], **given}


@dataclass(frozen=True)
class OptimConfig:
    """Optimization"""

    num_epochs: int = setting(10, "Passes over the training sentences.", low=1)
    map_epochs: int = setting(
        0,
        "The first so many of them train the similarity map alone, at a fraction of the time; the mask decoder then "
        "starts with a map to draw by.",
        low=0,
    )
    draw_each: Literal["sentence", "target"] = setting(
        "sentence",
        "What the mask decoder draws of a training batch: a mask for each sentence, or one for each target, by the "
        "first of the sentences that mean it. The similarity map learns from all of them.",
    )
    learning_rate: float | None = setting(
        None,
        "Peak learning rate of AdamW; default 1e-4, or 1e-3 for a tiny model, which starts from random weights.",
        above=0,
    )
    decoder_learning_rate: float | None = setting(
        None, "Peak learning rate of the mask decoder and what feeds it alone; default: as all.", above=0
    )
    weight_decay: float = setting(0.01, "AdamW's weight decay, on matrices only.", low=0)
    feature_dropout: float = setting(
        0.0,
        "Share of the channels of the VLM's features that is dropped in training, so that what has not been trained on "
        "is found more often.",
        low=0,
        high=0.9,
    )
    decoder_feature_dropout: float | None = setting(
        None,
        "Share of these channels that is dropped once --map-epochs, if any, are over; default: the same. With more, "
        "the mask decoder learns from maps that are less sure, as those of what has not been trained on are.",
        low=0,
        high=0.9,
    )
    warmup_ratio: float = setting(0.05, "Share of all steps over which the rate rises to its peak.", low=0, high=1)
    lr_schedule: Literal["cosine", "linear", "constant_with_warmup"] = setting(
        "cosine", "How the rate falls after that."
    )
    gradient_accumulation_steps: int = setting(1, "Micro-steps per optimizer step.", low=1)
    max_grad_norm: float = setting(1.0, "Clip the gradient's global norm to this; 0: never.", low=0)
    optimizer: Literal["adamw", "adamw_8bit", "paged_adamw", "paged_adamw_8bit"] = setting(
        "adamw",
        "adamw: torch's own, fused. 8bit: its state in 8 bits; paged: on the CPU when the GPU is full (bitsandbytes).",
    )
    decoder_optimizer: Literal["adamw", "muon"] = setting(
        "adamw",
        "Of the mask decoder and what feeds it alone. muon: their matrices take orthogonal steps, which a decoder that "
        "starts from random weights may need fewer of.",
    )
    muon_learning_rate: float = setting(
        0.02,
        "Peak learning rate of these matrices (--decoder-optimizer muon); vectors beside them keep theirs.",
        above=0,
    )
    on_nan: Literal["stop", "skip"] = setting(
        "stop", "A loss that is not finite: stop and name the samples, or name them and leave the step out."
    )
    seed: int = setting(0, "Seed of everything random.", low=0, high=2**32 - 1)

    def dropout_of(self, epoch: int) -> float:
        """The share of channels dropped in an epoch, from 1 on."""
        if self.decoder_feature_dropout is None or not 0 < self.map_epochs < epoch:
            return self.feature_dropout
        return self.decoder_feature_dropout


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
    pointing_weight: float = setting(
        0.0, "Cross-entropy of the similarity map over a picture's patches: where is what the sentence means?", low=0
    )
    iou_weight: float = setting(1.0, "Squared error of the decoder's own IoU estimate.", low=0)

    def problems(self) -> Iterable[str]:
        """Weights that leave nothing to learn."""
        if not any(dataclasses.astuple(self)):
            yield "all loss weights are 0, so nothing would be learnt"


@dataclass(frozen=True)
class SpeedConfig:
    """Memory and speed"""

    feature_cache: str | None = setting(
        None,
        "Folder in which what frozen encoders make of pictures and sentences is kept, for later epochs and other runs.",
    )
    vlm_use_mixed_precision: bool = setting(False, "Run VLM and SAM's encoder in half precision.")
    vlm_mixed_precision: Literal["auto", "no", "fp16", "bf16"] = setting(
        "auto", "auto: bf16, if --vlm-use-mixed-precision. What trains, decoder and losses stay in float32."
    )
    attn: Literal["auto", "sdpa", "eager", "flash_attention_2", "flex"] = setting(
        "auto", "The VLM's attention. auto: what transformers picks for it."
    )
    gradient_checkpointing: bool = setting(
        False, "Compute the VLM's activations again in the backward pass: much less memory, about a third slower."
    )
    compile: bool = setting(False, "torch.compile the VLM: slow first steps, faster ones on a GPU afterwards.")
    cpu_offload: bool = setting(
        False, "Keep what is frozen of the VLM in CPU memory and move each layer to the GPU when it is its turn."
    )

    @property
    def precision(self) -> Literal["no", "fp16", "bf16"]:
        """The precision asked for."""
        if self.vlm_mixed_precision != "auto":
            return self.vlm_mixed_precision
        return "bf16" if self.vlm_use_mixed_precision else "no"

    def problems(self) -> Iterable[str]:
        """Levers that exclude each other."""
        if self.compile and self.cpu_offload:
            yield "--compile and --cpu-offload exclude each other: a compiled model cannot move its layers"


@dataclass(frozen=True)
class RunConfig:
    """Run"""

    output_dir: str = setting(
        "", "Folder for checkpoints, metrics and the resolved config; default: runs/VLM-DATE-TIME."
    )
    device: Literal["auto", "cpu", "cuda"] = setting("auto", "Where to run.")
    eval_every: int = setting(1, "Validate after every so many epochs (and after the last).", low=1)
    eval_batch_size: int | None = setting(None, "Sentences per validation step; default: --batch-size.", low=1)
    run_test: bool = setting(False, "At the end, evaluate the best checkpoint on the data's test split.")
    overwrite: bool = setting(False, "Allow an output folder that already holds a run.")
    save_every: int | None = setting(
        None, "Save a checkpoint every so many optimizer steps, besides the one after each epoch.", low=1
    )
    keep_last: int = setting(1, "Keep so many of the newest checkpoints, besides the best one.", low=1)
    resume: str | None = setting(
        None, "auto: go on with the run in --output-dir, if there is one. Or a run's folder, or one of its checkpoints."
    )
    init_from: str | None = setting(None, "Start a new run from the weights of this run or checkpoint.")
    num_processes: int | None = setting(
        None, "Start so many processes on this machine, one per GPU (or share of the CPU).", low=1
    )
    parallel: Literal["auto", "ddp", "fsdp", "deepspeed"] = setting(
        "auto",
        "Several processes: each holds the whole model (ddp), a share of it (fsdp), or a share of what DeepSpeed's "
        "ZeRO stage says (deepspeed; 2: optimizer and gradients). auto: as launched.",
    )
    track: tuple[str, ...] = setting(
        (), "Also log to tensorboard, wandb, trackio, mlflow, ... (what accelerate knows); may be repeated."
    )
    track_project: str = setting("lisa", "Project name for these trackers.")
    sample_masks: int = setting(4, "Validation pictures whose masks are drawn after each epoch; 0: none.", low=0)

    def problems(self) -> Iterable[str]:
        """Starts that contradict one another."""
        if self.resume is not None and self.init_from is not None:
            yield "--resume and --init-from contradict one another: one goes on with a run, the other starts a new one"
        if self.resume is not None and self.overwrite:
            yield "--resume and --overwrite contradict one another: go on with a run, or replace it"
        if self.resume == "auto" and not self.output_dir:
            yield "--resume auto needs --output-dir, the run to go on with"


@dataclass(frozen=True)
class TrainConfig:
    """All settings of a training run."""

    model: ModelConfig = ModelConfig()
    tuning: TuningConfig = TuningConfig()
    data: DataConfig = DataConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    optim: OptimConfig = OptimConfig()
    loss: LossConfig = LossConfig()
    speed: SpeedConfig = SpeedConfig()
    run: RunConfig = RunConfig()

    @property
    def learning_rate(self) -> float:
        """The peak learning rate, its default resolved."""
        if self.optim.learning_rate is not None:
            return self.optim.learning_rate
        return 1e-3 if self.model.is_tiny else 1e-4

    def contradictions(self) -> Iterable[str]:
        """Settings of different sections that contradict one another; each section's own values are right."""
        tuning, model, given = (
            self.tuning,
            self.model,
            self.model.sam_checkpoint or self.run.init_from or self.run.resume,
        )
        if "lora" in (tuning.tune_sam_decoder, tuning.tune_sam_encoder) and not given:
            yield "LoRA on SAM's parts needs weights to adapt: give --sam-checkpoint (or --init-from)"
        if "freeze" in (tuning.tune_sam_decoder, tuning.tune_sam_encoder) and not given:
            yield "SAM's parts would stay random if frozen: give --sam-checkpoint (or --init-from)"
        if tuning.tune_connectors in ("freeze", "lora") and not (self.run.init_from or self.run.resume):
            yield f"connectors start random, so --tune-connectors {tuning.tune_connectors} needs --init-from"
        if (
            tuning.tune_projector == "freeze"
            and model.vlm == "clip-llm"
            and not (self.run.init_from or self.run.resume)
        ):
            yield "the projector of clip-llm starts random, so --tune-projector freeze needs --init-from"
        if self.data.turns > 1 and model.fusion == "late":
            yield f"--turns {self.data.turns} needs --fusion joint, as late fusion learns no answers; or leave it out"
        if tuning.tune_sam_encoder != "auto" and model.mask_features != "sam":
            yield f"--tune-sam-encoder {tuning.tune_sam_encoder} means nothing without --mask-features sam"
        if self.run.parallel == "fsdp" and tuning.quantization is not None:
            yield f"--parallel fsdp cannot share out {tuning.quantization} weights: use ddp, or no quantization"
        if self.run.parallel == "fsdp" and self.speed.cpu_offload:
            yield "--parallel fsdp and --cpu-offload exclude each other"
        if self.speed.cpu_offload and model.is_tiny:
            yield "--cpu-offload is for models that are loaded from somewhere, not for --vlm-model-name tiny"
        if self.speed.feature_cache is not None and any(self.augmentation.probabilities.values()):
            yield "--feature-cache would fill with changed pictures that never come again: leave it out, or --augment"
        if self.speed.cpu_offload and tuning.quantization is not None:
            yield f"--cpu-offload cannot move {tuning.quantization} weights: use one of the two"
        if self.optim.map_epochs >= self.optim.num_epochs:
            yield f"--map-epochs {self.optim.map_epochs} leaves none of --num-epochs {self.optim.num_epochs} for masks"
        if self.optim.decoder_optimizer == "muon" and self.optim.optimizer != "adamw":
            yield f"--decoder-optimizer muon goes beside --optimizer adamw, not {self.optim.optimizer}"
        if self.optim.decoder_optimizer != "muon" and self.optim.muon_learning_rate != OptimConfig.muon_learning_rate:
            yield "--muon-learning-rate means nothing without --decoder-optimizer muon"
        if self.optim.draw_each == "target" and model.fusion == "late" and not model.similarity_map:
            yield "--draw-each target needs --similarity-map: without it, late fusion learns from what is drawn alone"
        if self.optim.map_epochs and not self.model.similarity_map:
            yield "--map-epochs needs --similarity-map: there is no map to train"

    def validate(self) -> None:
        """Check every setting.

        Raises:
            ConfigError: naming every invalid one at once.
        """
        found = [problem for section in dataclasses.fields(self) for problem in problems(getattr(self, section.name))]
        found = found or list(self.contradictions())
        if found:
            raise ConfigError("; ".join(found))


SECTIONS: dict[str, type] = {
    "model": ModelConfig,
    "tuning": TuningConfig,
    "data": DataConfig,
    "augmentation": AugmentationConfig,
    "optim": OptimConfig,
    "loss": LossConfig,
    "speed": SpeedConfig,
    "run": RunConfig,
}


def existing_folder(path: str | Path, what: str) -> Path:
    """The folder as a Path; raises ConfigError if there is none."""
    folder = user_path(path)
    if not folder.is_dir():
        raise ConfigError(f"{what} {folder} does not exist or is not a folder: check the path")
    return folder


def existing_data(data: str) -> str | Path:
    """The data folder as a Path, or a name of the hub (`hf:ORG/NAME`) as it is; raises ConfigError if there is none."""
    return data if data.startswith(HF_PREFIX) else existing_folder(data, "data folder")
