"""The VLM protocol: what the core asks of a vision-language model, and all it knows of one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor, nn

from lisa_core.errors import ConfigError

SEG_TOKEN = "[SEG]"
"""The token whose hidden state stands for one mask (LISA, arXiv:2308.00692, section 3.2)."""

Batch = dict[str, Any]
"""What `preprocess` returns: tensors by name; keys the core does not know are passed through to the model."""

CORE_KEYS = frozenset(
    {
        *("image_index", "picture_sizes", "text_input_ids", "text_attention_mask", "labels"),
        *("sam_pixels", "sam_content", "targets", "valid", "seg_row", "sample_ids", "drawn", "turns", "datasets"),
        *("skipped", "fine_pixels", "picture_keys", "feature_grid", "feature_content", "sam_features"),
        "stand_in",
    }
)
"""The keys of a batch that are the core's own; every other one is the model's."""


@dataclass(frozen=True)
class VLMDims:
    """Feature widths of a VLM."""

    vision: int
    """Channels of `ImageFeatures.sequence` and `.grid`."""
    text: int
    """Width of the language model's hidden states."""


@dataclass
class ImageFeatures:
    """One encoding of each of U images, registered to the whole original picture."""

    sequence: Tensor
    """Patch features, row-major [U,N,Dv]."""
    grid: Tensor
    """The same features as a map [U,Dv,h,w]; h = w = 0 if the VLM has no grid (`VLM.has_grid`)."""
    content: Tensor
    """The part of the grid that shows the picture, float [U,4]: (x0, y0, x1, y1) in fractions of the grid."""
    native: Any = None
    """The model's own image output, handed back to it in `forward` so that nothing is encoded twice."""
    mask: Tensor | None = None
    """Which patches are there, bool [U,N]; None: all. False where a smaller grid was padded to the batch's largest."""


@dataclass
class VLMOutput:
    """What the language model made of image and text together."""

    hidden: Tensor
    """Last hidden states [N,L,Dt], after the final norm, one per position of `input_ids`."""
    logits: Tensor | None
    """Next-token scores [N,L,V]; None where they were not asked for."""


class VLM(nn.Module, ABC):
    """One vision-language model with its processor.

    A batch holds N sentences about U images; `batch["image_index"]` [N] says which image each sentence is about, so
    several sentences about one picture cost one image encoding. Subclasses set `tokenizer`, and add `[SEG]` to it as
    one token (`seg_token_id`).
    """

    family: ClassVar[str] = ""
    """The name given to `--vlm`."""
    has_grid: ClassVar[bool] = True
    """Whether `encode_image` returns a grid; without one, only joint fusion with SAM's mask features is possible."""
    dynamic_grid: ClassVar[bool] = False
    """Whether the grid's size follows the picture's; such grids are resampled to one size before masks are drawn."""
    native_features: ClassVar[bool] = True
    """Whether `forward` needs `ImageFeatures.native`; without it, what `encode_image` returns can be kept on disk."""
    knows_turns: ClassVar[bool] = True
    """Whether a row can hold a conversation (`chat_rows`, `earlier_replies`); without, `--turns` is refused."""
    quantizations: ClassVar[tuple[str, ...]] = ()
    """Which of `"4bit"` and `"8bit"` `from_pretrained` can load; it refuses the others."""
    tokenizer: Any

    @classmethod
    @abstractmethod
    def from_pretrained(
        cls, model_name: str, quantization: str | None = None, dtype: torch.dtype = torch.float32
    ) -> VLM:
        """Load weights and processor from a hub name or a local folder.

        Args:
            model_name: hub name or folder.
            quantization: None for weights as they are, or one of `quantizations`.
            dtype: of the weights, and of what quantized ones are computed in.

        Raises:
            ConfigError: if there is nothing loadable under that name, or not with that quantization.
        """

    @classmethod
    @abstractmethod
    def from_config(cls, folder: Path) -> VLM:
        """Build the architecture that `save_config` described in `folder`, with random weights."""

    @classmethod
    @abstractmethod
    def tiny(cls) -> VLM:
        """The family's real classes, small, with random weights and an offline tokenizer and processor."""

    @abstractmethod
    def save_config(self, folder: Path) -> None:
        """Write what `from_config` needs (model config, tokenizer, processor; no weights) into `folder`."""

    @abstractmethod
    def save_pretrained(self, folder: Path) -> str:
        """Write weights, tokenizer and processor into `folder`; returns the name `from_pretrained` loads them by."""

    def configure(self, *unknown: Any, **options: Any) -> None:
        """Apply the family's options (`VLMSpec.options`), all by name; None leaves what the checkpoint says."""
        if unknown or options:
            raise ConfigError(f"--vlm {self.family} has no option {', '.join(sorted(options))}")

    @property
    def lora_base(self) -> nn.Module | None:
        """The transformers model that LoRA adapters are put into; None: the family cannot be adapted."""
        return None

    def lora_targets(self) -> list[str]:
        """Names, within `lora_base`, of the linear layers that LoRA adapts by default."""
        return []

    @property
    def vision_tower(self) -> nn.Module | None:
        """The part that reads pictures, to be frozen, trained or adapted by itself; None: not told apart."""
        return None

    @property
    def language_model(self) -> nn.Module | None:
        """The part that reads text, its output head aside; None: not told apart."""
        return None

    def resize_images(self, side: int) -> None:
        """See pictures at `side` x `side` pixels from now on (or as many in another shape).

        Raises:
            ConfigError: if the family cannot; the message says what it can do.
        """
        raise ConfigError(f"--vlm {self.family} sees pictures at one size only: leave --img-size out")

    @property
    @abstractmethod
    def dims(self) -> VLMDims:
        """Widths of the tensors the methods below return."""

    @property
    def grid_side(self) -> int | None:
        """Patches a side of the square grid that every picture gets; None: that is not known before it is encoded.

        Known, it spares a batch finer targets, and finer pixels for the convolutional stem, than masks are drawn in.
        """
        return None

    @property
    def seg_token_id(self) -> int:
        """The one id of `[SEG]`."""
        return int(self.tokenizer.convert_tokens_to_ids(SEG_TOKEN))

    @property
    def pretrained_prefixes(self) -> tuple[str, ...]:
        """Prefixes of the state-dict keys that `from_pretrained` can restore; if frozen, checkpoints omit them."""
        return ()

    @abstractmethod
    def preprocess(
        self,
        images: Sequence[Image.Image],
        questions: Sequence[str],
        answers: Sequence[str] | None = None,
        image_index: Sequence[int] | None = None,
        joint: bool = True,
    ) -> Batch:
        """Turn U RGB images and N questions into one batch of CPU tensors.

        Args:
            images: U pictures of any size.
            questions: N user turns, plain text without image placeholders or chat markup; a `Dialogue` has others
                before it.
            answers: N assistant turns; without them the rows end where the assistant would start.
            image_index: for each question, which image it is about; by default question i is about image i.
            joint: also build the multimodal rows that `forward` reads; the text-only rows are always built.

        Returns:
            `image_index` [N]; `text_input_ids`, `text_attention_mask` [N,L'] for `encode_text`; the image tensors;
            and with `joint`: `input_ids`, `attention_mask`, `labels` [N,L] (-100 outside the answer, and the earlier
            ones of a `Dialogue` that are taught) and every other key of the processor. Text is padded on the right.
        """

    def preprocess_text(self, questions: Sequence[str]) -> Batch:
        """The rows that `encode_text` reads, alone; `preprocess` makes the same ones of the same questions.

        Returns:
            `text_input_ids` and `text_attention_mask`, int64 [N,L'], padded on the right.
        """
        rows = self.tokenizer(list(questions), padding=True, return_tensors="pt")
        return {"text_input_ids": rows["input_ids"], "text_attention_mask": rows["attention_mask"]}

    @abstractmethod
    def encode_image(self, batch: Batch) -> ImageFeatures:
        """Encode the U images of the batch; the grid covers the whole of each original picture, row-major."""

    @abstractmethod
    def encode_text(self, batch: Batch) -> Tensor:
        """Hidden states of the text alone, [N,L',Dt]; positions where `text_attention_mask` is 0 mean nothing."""

    @abstractmethod
    def forward(self, batch: Batch, features: ImageFeatures | None = None, with_logits: bool = True) -> VLMOutput:
        """Run image and text through the model together.

        Args:
            batch: what `preprocess(..., joint=True)` returned.
            features: what `encode_image` returned for the same batch, to save encoding the images again.
            with_logits: False leaves `logits` out (a large vocabulary makes them the biggest tensor of all).
        """

    @abstractmethod
    def lm_logits(self, hidden: Tensor) -> Tensor:
        """Next-token scores [...,V] of hidden states [...,Dt]."""

    @abstractmethod
    def generate(self, batch: Batch, max_new_tokens: int = 32) -> list[Tensor]:
        """Continue each row greedily; returns N id vectors, prompt included, padding removed."""

    def continued(self, batch: Batch, ids: Sequence[Tensor]) -> Batch:
        """The batch with these rows in place of its own, right-padded: what `generate` returned, for `forward`.

        Args:
            batch: what `generate` was given.
            ids: N id vectors, each one starting with the row's prompt.

        Returns:
            a batch without labels; keys with one value per position are extended by `continuation_values`.
        """
        width = max(len(row) for row in ids)
        mask = batch["attention_mask"]
        pad = {"input_ids": self.tokenizer.pad_token_id, "attention_mask": 0, **self.continuation_values}
        result = {key: value for key, value in batch.items() if key != "labels"}
        for key, value in result.items():
            if not isinstance(value, Tensor) or value.shape != mask.shape or key.startswith("text_"):
                continue
            rows = value.new_full((len(ids), width), pad.get(key, 0))
            for row, (length, new) in enumerate(zip(mask.sum(1).tolist(), ids)):
                rows[row, :length] = value[row, :length]
                if key == "input_ids":
                    rows[row, : len(new)] = new
                elif key == "attention_mask":
                    rows[row, : len(new)] = 1
            result[key] = rows
        return result

    @property
    def continuation_values(self) -> dict[str, int]:
        """Value of further keys with one value per position where the assistant speaks; 0 if not named here."""
        return {}


def full_content(count: int, device: torch.device) -> Tensor:
    """The `content` [count,4] of grids that show the whole picture and nothing else."""
    return torch.tensor([0.0, 0.0, 1.0, 1.0], device=device).repeat(count, 1)
