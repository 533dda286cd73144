"""`generic`: image-text-to-text models that no adapter knows. They read and answer; nobody knows their image grid."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor, nn
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from lisa_core.errors import ConfigError
from lisa_core.hf import HFVLM
from lisa_core.vlm import Batch, ImageFeatures, VLMDims, VLMOutput, full_content

_ADAPTER = "`lisa plugins new NAME` starts an adapter (docs/write-an-adapter.md)"
_VISION_PART = re.compile(r"(^|\.)(vision|visual|image)")
_warned: set[str] = set()


class GenericVLM(HFVLM):
    """Any model that `AutoModelForImageTextToText` loads with a processor and a chat template.

    Nothing is assumed about its image inputs: the processor makes N rows, each with its own copy of its picture, and
    all it returns goes to the model. So a picture is encoded again for every sentence, and there is no grid.
    """

    family: ClassVar[str] = "generic"
    has_grid: ClassVar[bool] = False
    image_keys: ClassVar[tuple[str, ...]] = ()

    def __init__(self, model: Any, processor: Any) -> None:
        _refuse_unfit(model, processor)
        super().__init__(model, processor)
        _warn_once(model.config.model_type)

    @classmethod
    def _check_type(cls, model_type: str, model_name: str) -> None:
        if model_type not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
            raise ConfigError(
                f"{model_name} is a {model_type} checkpoint, which transformers does not load as an image-text-to-text "
                "model: --vlm generic reads only those"
            )

    @classmethod
    def tiny(cls) -> GenericVLM:
        """Refused: there is no architecture to be small."""
        raise ConfigError("--vlm generic has no tiny model: give --vlm-model-name a checkpoint")

    @classmethod
    def dims_of(cls, config: Any) -> VLMDims:
        """Widths that a model of this config has; 0 for a vision tower that does not name its own."""
        text = config.get_text_config()
        if not hasattr(text, "hidden_size"):
            raise ConfigError(f"a {config.model_type} config does not say how wide its language model is: {_ADAPTER}")
        vision = getattr(config, "vision_config", None)
        width = next((getattr(vision, name) for name in ("embed_dim", "hidden_size") if hasattr(vision, name)), 0)
        return VLMDims(vision=width if isinstance(width, int) else 0, text=text.hidden_size)

    @classmethod
    def lora_layers(cls, model: Any) -> list[str]:
        """As `HFVLM.lora_layers`, but never the vision tower's, wherever the decoder was found to begin."""
        return [name for name in super().lora_layers(model) if not _VISION_PART.search(name)]

    def preprocess(
        self,
        images: Sequence[Image.Image],
        questions: Sequence[str],
        answers: Sequence[str] | None = None,
        image_index: Sequence[int] | None = None,
        joint: bool = True,
    ) -> Batch:
        """Run the processor on N rows, pictures repeated; see `VLM.preprocess`."""
        if not joint:
            raise ConfigError(f"--vlm generic needs --fusion joint; for late fusion, {_ADAPTER}")
        batch = super().preprocess(images, questions, answers, image_index, joint)
        mask = batch["attention_mask"]
        if not bool((mask[:, 1:] <= mask[:, :-1]).all()):
            raise ConfigError(
                f"the processor of this {self.model.config.model_type} model pads on the left: {_ADAPTER}"
            )
        return batch

    def encode_image(self, batch: Batch) -> ImageFeatures:
        """No patches: `sequence` [U,0,Dv], `grid` [U,Dv,0,0]."""
        sizes, weight = batch["picture_sizes"], self.model.get_input_embeddings().weight
        grid = torch.zeros(len(sizes), self.dims.vision, 0, 0, device=weight.device, dtype=self.model.dtype)
        return ImageFeatures(grid.flatten(2).transpose(1, 2), grid, full_content(len(sizes), weight.device))

    def image_grid(self, output: Any, batch: Batch) -> Tensor:
        """Not known."""
        raise NotImplementedError("a generic VLM has no grid")

    def forward(self, batch: Batch, features: ImageFeatures | None = None, with_logits: bool = True) -> VLMOutput:
        """Run rows with their pictures through the model; `features` hold nothing and are not needed."""
        inputs = self._text_inputs(batch)
        inner = getattr(self.model, "model", None)
        if isinstance(inner, nn.Module):
            hidden = inner(**inputs, use_cache=False).last_hidden_state
        else:
            output = self.model(**inputs, use_cache=False, output_hidden_states=True, return_dict=True)
            hidden = output.hidden_states[-1]
        if hidden.shape[:2] != batch["input_ids"].shape:
            raise ConfigError(
                f"this {self.model.config.model_type} model gives {list(hidden.shape[:2])} states for rows of "
                f"{list(batch['input_ids'].shape)}, so it is not known which of them is [SEG]'s: {_ADAPTER}"
            )
        return VLMOutput(hidden=hidden, logits=self.lm_logits(hidden) if with_logits else None)

    def _text_inputs(self, batch: Batch) -> dict[str, Any]:
        """Everything the processor returned, numbers in the model's precision."""
        inputs = super()._text_inputs(batch)
        dtype = self.model.dtype
        return {
            key: value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
            for key, value in inputs.items()
        }

    def generate(self, batch: Batch, max_new_tokens: int = 32) -> list[Tensor]:
        """Continue each row greedily; see `VLM.generate`."""
        self._refuse_positional(batch)
        return super().generate(batch, max_new_tokens)

    def continued(self, batch: Batch, ids: Sequence[Tensor]) -> Batch:
        """The batch with these rows in place of its own; see `VLM.continued`."""
        self._refuse_positional(batch)
        return super().continued(batch, ids)

    def _refuse_positional(self, batch: Batch) -> None:
        """Raise ConfigError for inputs with several values per position: nobody knows how they go on."""
        rows = batch["attention_mask"].shape
        odd = [
            key
            for key, value in self._text_inputs(batch).items()
            if isinstance(value, Tensor) and value.ndim > 2 and value.shape[:2] == rows
        ]
        if odd:
            raise ConfigError(
                f"this {self.model.config.model_type} model has inputs of its own for every position "
                f"({', '.join(odd)}), so its rows cannot be continued: {_ADAPTER}"
            )


def _refuse_unfit(model: Any, processor: Any) -> None:
    """Raise ConfigError for what cannot be asked a question about a picture in one row of tokens."""
    kind = model.config.model_type
    if not hasattr(processor, "tokenizer") or not hasattr(processor, "image_processor"):
        raise ConfigError(f"this {kind} checkpoint has no processor for pictures and text together: {_ADAPTER}")
    if getattr(model.config, "is_encoder_decoder", False):
        raise ConfigError(f"{kind} models read and answer in two separate rows, which generic cannot join: {_ADAPTER}")
    if not getattr(processor, "chat_template", None):
        raise ConfigError(f"this {kind} checkpoint has no chat template, so how it is asked is not known: {_ADAPTER}")
    if model.get_output_embeddings() is None:
        raise ConfigError(f"{kind} models have no output head over their tokens that could be found: {_ADAPTER}")


def _warn_once(model_type: str) -> None:
    if model_type not in _warned:
        _warned.add(model_type)
        print(
            f"lisa: warning: --vlm generic reads this {model_type} model without an image grid of its own: masks are "
            "drawn on SAM's features alone, and a picture is encoded again for every sentence that asks about it; "
            f"{_ADAPTER}",
            file=sys.stderr,
        )
