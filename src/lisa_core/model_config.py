"""What a model is built from and which of it trains: the settings that a checkpoint keeps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from lisa_core.settings import setting

TINY = "tiny"
"""The model name that stands for the family's own small model with random weights."""
AUTO = "auto"
"""The `--vlm` that stands for whichever family reads the checkpoint."""
Mode = Literal["auto", "train", "freeze", "lora"]
"""What may happen to a part of the model in training."""


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
    use_vlm: bool = setting(False, "One VLM, as by default: --image/text-encoder-model-name are not used then.")
    image_encoder_model_name: str | None = setting(None, "Vision tower of `clip-llm`: hub name or local folder.")
    text_encoder_model_name: str | None = setting(None, "Language model of `clip-llm`: hub name or local folder.")
    img_size: int | None = setting(
        None,
        "Side, in pixels, at which the VLM sees pictures; default: what its checkpoint was made for.",
        low=14,
        high=4096,
    )
    fusion: Literal["joint", "late"] = setting(
        "joint",
        "joint: the language model reads image and text and answers with [SEG]. late: each is encoded apart.",
    )
    mask_features: Literal["vlm", "sam"] = setting(
        "vlm", "What the decoder draws on: the VLM's own patch features, or those of SAM's image encoder."
    )
    similarity_map: bool = setting(True, "Give the decoder a supervised map of where sentence and patches agree.")
    aggregate_map: bool = setting(
        False,
        "Convolutions of what the map compares over neighbouring patches, and a look at the whole picture: it can "
        "then tell what stands beside what and which is the larger.",
    )
    map_prompt: Literal["absolute", "relative"] = setting(
        "absolute",
        "What the decoder is given of the map. relative: how far below its highest patch each one is, so that what "
        "stands out only a little is drawn all the same.",
    )
    fine_features: bool = setting(
        False, "Give the decoder a light convolutional stem's view of the pixels too, for finer edges."
    )
    unfold_patches: bool = setting(
        False, "Unfold what each patch's features know of its inside into 4 x 4 cells for the decoder, for finer edges."
    )
    refine_masks: bool = setting(
        False, "Convolutions over each mask at the decoder's finest resolution, where neighbours hear of one another."
    )
    mask_temperature: float | None = setting(
        None,
        "Cut each mask where the IoU to be expected is best, logits divided by this (1 and above), instead of at 0: in "
        "doubt the more is painted, the larger it is.",
        low=1,
    )
    flip_test: bool = setting(
        False,
        "Draw each mask in the mirrored picture too, left and right exchanged in the words, and take the mean: surer "
        "masks in twice the time. Nothing in training changes but its validation.",
    )
    standardize_text: bool = setting(
        False, "Centre and scale the channels of the sentences' hidden states, so that what tells them apart counts."
    )
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
        pair = () if self.use_vlm else (self.image_encoder_model_name, self.text_encoder_model_name)
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
        if self.aggregate_map and not self.similarity_map:
            yield "--aggregate-map needs --similarity-map: give --no-aggregate-map with --no-similarity-map"
        if self.sam_prompt_dim is not None and self.sam_prompt_dim % 8:
            yield f"--sam-prompt-dim is {self.sam_prompt_dim}, must be a multiple of 8"


@dataclass(frozen=True)
class TuningConfig:
    """What trains"""

    vlm_freeze: bool = setting(False, "Leave the VLM as it is and train only the parts around it.")
    vlm_use_lora: bool = setting(False, "Adapt the VLM's language model with LoRA; its own weights stay as they are.")
    use_lora: bool = setting(False, "LoRA on both, language model and vision tower (the two encoders of clip-llm).")
    vlm_lora_r: int = setting(16, "Rank of the adapters.", low=1)
    vlm_lora_alpha: int = setting(32, "The adapters' update is scaled by alpha / rank.", low=1)
    vlm_lora_dropout: float = setting(0.1, "Dropout before the adapters.", low=0, high=0.99)
    lora_targets: tuple[str, ...] = setting(
        (), "Last name of the language model's layers to adapt, or all-linear; may be repeated. Default: the family's."
    )
    lora_dora: bool = setting(False, "DoRA: adapt size and direction of the weights apart (slower, often better).")
    lora_rslora: bool = setting(False, "rsLoRA: scale by alpha / sqrt(rank), for high ranks.")
    vlm_use_quantization: bool = setting(False, "Load the language model in 4 or 8 bits; it then trains by LoRA only.")
    vlm_quantization: Literal["auto", "4bit", "8bit"] = setting(
        "auto", "4bit: nf4, double quantization. 8bit: LLM.int8. auto: 4bit, if --vlm-use-quantization."
    )
    tune_vision: Mode = setting(
        "auto", "The vision tower. auto: as --vlm-freeze and --use-lora say; not by LoRA alone."
    )
    tune_language: Mode = setting("auto", "The language model. auto: as --vlm-freeze and --vlm-use-lora say.")
    tune_projector: Literal["auto", "train", "freeze"] = setting(
        "auto",
        "What the VLM has between the two. auto: it trains where both of them do, and where no checkpoint holds it.",
    )
    tune_sam_encoder: Mode = setting(
        "auto", "SAM's image encoder. auto: frozen once --sam-checkpoint gives it weights."
    )
    tune_sam_decoder: Mode = setting("auto", "SAM's prompt encoder and mask decoder. auto: train.")
    tune_connectors: Mode = setting("auto", "What stands between VLM and decoder. auto: train.")

    @property
    def quantization(self) -> str | None:
        """`4bit`, `8bit`, or None."""
        if self.vlm_quantization != "auto":
            return self.vlm_quantization
        return "4bit" if self.vlm_use_quantization else None

    @property
    def language(self) -> Mode:
        """What happens to the language model."""
        if self.tune_language != "auto":
            return self.tune_language
        return "freeze" if self.vlm_freeze else "lora" if self.vlm_use_lora or self.use_lora else "train"

    @property
    def vision(self) -> Mode:
        """What happens to the vision tower."""
        if self.tune_vision != "auto":
            return self.tune_vision
        return "freeze" if self.vlm_freeze or self.vlm_use_lora else "lora" if self.use_lora else "train"

    @property
    def projector(self) -> Mode:
        """What happens to what the VLM has between vision tower and language model."""
        if self.tune_projector != "auto":
            return self.tune_projector
        return "train" if (self.language, self.vision) == ("train", "train") else "freeze"

    def problems(self) -> Iterable[str]:
        """Combinations that mean nothing."""
        if self.vlm_freeze and (self.vlm_use_lora or self.use_lora):
            yield "--vlm-freeze and --vlm-use-lora contradict one another: a frozen VLM has no adapters"
        if self.quantization is not None and self.language == "train":
            yield (
                f"{self.quantization} weights cannot be trained themselves: add --vlm-use-lora (QLoRA), or --vlm-freeze"
            )
        parts = (self.language, self.vision, self.tune_sam_encoder, self.tune_sam_decoder, self.tune_connectors)
        if "lora" not in parts:
            unused = [name for name in _LORA_SETTINGS if getattr(self, name) != _default(name)]
            if unused:
                names = ", ".join("--" + name.replace("_", "-") for name in unused)
                yield f"{names} mean nothing without LoRA: add --vlm-use-lora"
        if self.lora_dora and self.quantization == "8bit":
            yield "--lora-dora does not work on 8bit weights: use --vlm-quantization 4bit, or no DoRA"


_LORA_SETTINGS = ("vlm_lora_r", "vlm_lora_alpha", "vlm_lora_dropout", "lora_targets", "lora_dora", "lora_rslora")


def _default(name: str) -> object:
    return TuningConfig.__dataclass_fields__[name].default
