"""LLaVA-1.5 and LLaVA-NeXT: a CLIP tower read before its last layer, a projector and a language model."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from PIL import Image, ImageOps
from torch import Tensor
from transformers.models.llava_next.modeling_llava_next import image_size_to_num_patches

from lisa_core import HFVLM, Batch, VLMDims, full_content, resize_vision_tower
from lisa_llava.tiny import tiny_llava

_PARTS = (
    "{% for part in message['content'] %}{{ '<image>\n' if part['type'] == 'image' else part['text'] }}{% endfor %}"
)
_VICUNA = (
    "{% for message in messages %}{{ message['role'] | upper }}: "
    + _PARTS
    + "{{ ' ' if message['role'] == 'user' else "
    "'</s>' }}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
_MISTRAL = (
    "{% for message in messages %}{{ '[INST] ' if message['role'] == 'user' else ' ' }}" + _PARTS + "{{ ' [/INST]' if "
    "message['role'] == 'user' else '</s>' }}{% endfor %}"
)


class Llava(HFVLM):
    """`LlavaForConditionalGeneration` and `LlavaNextForConditionalGeneration`."""

    family: ClassVar[str] = "llava"
    model_types: ClassVar[tuple[str, ...]] = ("llava", "llava_next")
    image_keys: ClassVar[tuple[str, ...]] = ("pixel_values", "image_sizes")
    feature_options: ClassVar[dict[str, Any]] = {"output_hidden_states": True}
    fixed_grid: ClassVar[bool] = True

    def __init__(self, model: Any, processor: Any) -> None:
        # Older checkpoints leave it to the caller to tell the processor how many image tokens the model has.
        processor.patch_size = processor.patch_size or model.config.vision_config.patch_size
        strategy = processor.vision_feature_select_strategy or model.config.vision_feature_select_strategy
        processor.vision_feature_select_strategy = strategy
        mistral = model.config.get_text_config().model_type == "mistral"
        processor.chat_template = processor.chat_template or (_MISTRAL if mistral else _VICUNA)
        super().__init__(model, processor)
        self.is_next = model.config.model_type == "llava_next"
        self.image_fit = "pad"

    def configure(self, image_fit: str = "pad") -> None:
        """Choose how a picture becomes the square that LLaVA-1.5 sees: `pad` or `squash`."""
        self.image_fit = image_fit

    def resize_images(self, side: int) -> None:
        """Fit the tower's positions to another size of the picture, of NeXT's tiles."""
        config, images = self.model.config, self.processor.image_processor
        before = config.vision_config.image_size
        resize_vision_tower(self.vision_tower, side, config.vision_config)
        images.size, images.crop_size = {"shortest_edge": side}, {"height": side, "width": side}
        if self.is_next:
            points = [[edge * side // before for edge in point] for point in config.image_grid_pinpoints]
            config.image_grid_pinpoints = images.image_grid_pinpoints = points

    def prepare_image(self, image: Image.Image) -> Image.Image:
        """Make LLaVA-1.5's picture square: its processor would crop the sides away. NeXT's does not crop."""
        if self.is_next or image.width == image.height:
            return image
        side = max(image.size)
        if self.image_fit == "squash":
            return image.resize((side, side), Image.Resampling.BICUBIC)
        # In the colour that normalizes to zero, as LLaVA was trained (arXiv:2310.03744, `image_aspect_ratio` "pad").
        mean = tuple(round(255 * value) for value in self.processor.image_processor.image_mean)
        return ImageOps.pad(image, (side, side), color=mean)

    def content(self, batch: Batch) -> Tensor:
        """The padded square's middle, where the picture is."""
        sizes = batch["picture_sizes"].float()
        if self.is_next or self.image_fit == "squash":
            return full_content(len(sizes), sizes.device)
        half = sizes / sizes.amax(1, keepdim=True) / 2  # of the picture, in sides of the square
        return torch.cat([0.5 - half, 0.5 + half], 1)

    def image_grid(self, output: Any, batch: Batch) -> Tensor:
        """The layer (or layers) the projector reads, without class token; of NeXT's tiles the base tile, the first."""
        config = self.model.config
        layers = config.vision_feature_layer
        states = [output.hidden_states[layer] for layer in ([layers] if isinstance(layers, int) else layers)]
        side = config.vision_config.image_size // config.vision_config.patch_size
        raw = torch.cat(states, -1)[:, -side * side :]  # a class token stands first; SigLIP towers have none
        if self.is_next:
            points, tile = config.image_grid_pinpoints, config.vision_config.image_size
            tiles = torch.tensor([image_size_to_num_patches(size, points, tile) for size in batch["image_sizes"]])
            raw = raw[(tiles.cumsum(0) - tiles).to(raw.device)]
        return raw.transpose(1, 2).unflatten(2, (side, side))

    @classmethod
    def dims_of(cls, config: Any) -> VLMDims:
        """Several feature layers are concatenated."""
        layers = config.vision_feature_layer
        count = 1 if isinstance(layers, int) else len(layers)
        return VLMDims(count * config.vision_config.hidden_size, config.get_text_config().hidden_size)

    @classmethod
    def tiny(cls) -> Llava:
        """A small LLaVA-1.5; see `tiny.py`."""
        return cls(*tiny_llava())
