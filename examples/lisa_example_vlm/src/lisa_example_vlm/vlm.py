"""InternVL: a vision transformer, pixel shuffle and a language model."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from lisa_core import HFVLM, Batch
from lisa_example_vlm.tiny import tiny_internvl


class InternVL(HFVLM):
    """`InternVLForConditionalGeneration`."""

    family: ClassVar[str] = "internvl"
    model_types: ClassVar[tuple[str, ...]] = ("internvl",)
    chat_template: ClassVar[str] = (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
        "{{ '<IMG_CONTEXT>\n' if part['type'] == 'image' else part['text'] }}{% endfor %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    # The processor would cut the picture into crops and put all of them into one tensor. One tile shows all of it.
    processor_options: ClassVar[dict[str, Any]] = {"crop_to_patches": False}

    def image_grid(self, output: Any, batch: Batch) -> Tensor:
        """The tower's patches without its class token, which stands first."""
        height, width = self.model.config.vision_config.image_size
        patch_height, patch_width = self.model.config.vision_config.patch_size
        patches = output.last_hidden_state[:, 1:]  # [U,N,Dv]
        return patches.transpose(1, 2).unflatten(2, (height // patch_height, width // patch_width))

    @classmethod
    def tiny(cls) -> InternVL:
        """A small InternVL; see `tiny.py`."""
        return cls(*tiny_internvl())
