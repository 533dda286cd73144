"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL: pictures at their own shape, in as many patches as it takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers.vision_utils import get_vision_window_index

from lisa_core import HFVLM, Batch, ConfigError, VLMDims, check_side
from lisa_qwenvl.tiny import tiny_qwen2

_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class QwenVL(HFVLM):
    """`Qwen2VLForConditionalGeneration`, `Qwen2_5_VLForConditionalGeneration`, `Qwen3VLForConditionalGeneration`."""

    family: ClassVar[str] = "qwenvl"
    model_types: ClassVar[tuple[str, ...]] = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
    chat_template: ClassVar[str] = _TEMPLATE
    image_keys: ClassVar[tuple[str, ...]] = ("pixel_values", "image_grid_thw")
    per_sentence_keys: ClassVar[tuple[str, ...]] = ("image_grid_thw",)
    dynamic_grid: ClassVar[bool] = True

    def configure(self, min_pixels: int | None = None, max_pixels: int | None = None) -> None:
        """Bound the area that pictures are resized to, in pixels."""
        size = self.processor.image_processor.size
        low = size["shortest_edge"] if min_pixels is None else min_pixels
        high = size["longest_edge"] if max_pixels is None else max_pixels
        if not 0 < low <= high:
            raise ConfigError(
                f"--vlm-option min_pixels is {low} and max_pixels {high}: give 0 < min_pixels <= max_pixels"
            )
        self.processor.image_processor.size = {"shortest_edge": low, "longest_edge": high}

    def resize_images(self, side: int) -> None:
        """Resize pictures to about the area of a square of this side, at their own shape."""
        vision = self.model.config.vision_config
        check_side(side, vision.patch_size * vision.spatial_merge_size)
        self.configure(min_pixels=side * side // 2, max_pixels=side * side)

    def take_images(self, inputs: dict[str, Any], index: Sequence[int]) -> dict[str, Any]:
        """Patches of all pictures stand in one row, so they are split by the pictures' grids."""
        grids = inputs["image_grid_thw"]
        patches = inputs["pixel_values"].split(grids.prod(1).tolist())
        return {"pixel_values": torch.cat([patches[i] for i in index]), "image_grid_thw": grids[list(index)]}

    def image_grid(self, output: Any, batch: Batch) -> list[Tensor]:
        """The raw tower's patches, out of their merge blocks (and Qwen2.5's windows)."""
        config, grids = self.model.config.vision_config, batch["image_grid_thw"]
        merge, raw = config.spatial_merge_size, output.last_hidden_state  # [sum of h*w, Dv]
        if config.model_type.startswith("qwen2_5_vl"):
            windows, _ = get_vision_window_index(grids, merge, config.window_size, config.patch_size)
            raw = raw.unflatten(0, (-1, merge * merge))[windows.argsort().to(raw.device)].flatten(0, 1)
        return [
            blocks.reshape(height // merge, width // merge, merge, merge, -1)
            .permute(4, 0, 2, 1, 3)
            .reshape(-1, height, width)
            for blocks, (_, height, width) in zip(raw.split(grids.prod(1).tolist()), grids.tolist())
        ]

    def select_images(self, output: Any, index: Tensor) -> Any:
        """Qwen3 also hands features of inner layers over, to be added inside the language model."""
        selected = super().select_images(output, index)
        if getattr(output, "deepstack_features", None) is not None:
            order = index.tolist()
            selected.deepstack_features = [tuple(layer[i] for i in order) for layer in output.deepstack_features]
        return selected

    @classmethod
    def dims_of(cls, config: Any) -> VLMDims:
        """Qwen2-VL's tower calls its own width `embed_dim`, and the language model's `hidden_size`."""
        vision = config.vision_config
        return VLMDims(getattr(vision, "embed_dim", vision.hidden_size), config.get_text_config().hidden_size)

    @classmethod
    def tiny(cls) -> QwenVL:
        """A small Qwen2-VL; see `tiny.py`."""
        return cls(*tiny_qwen2())
