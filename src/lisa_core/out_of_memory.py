"""What to say when memory runs out: the flags that save, those that usually save most first."""

from __future__ import annotations

import torch

from lisa_core.config import TrainConfig


def out_of_memory_advice(config: TrainConfig, device: torch.device) -> str:
    """One line: that memory ran out, and which settings not made yet would save some."""
    where = "GPU" if device.type == "cuda" else "machine"
    tuning, data = config.tuning, config.data
    found = []
    if "train" in (tuning.language, tuning.vision):
        found.append("--vlm-use-lora")
    if config.speed.precision == "no" and tuning.quantization is None:
        found.append("--vlm-use-mixed-precision --vlm-mixed-precision bf16")
    if tuning.quantization is None and not config.model.is_tiny:
        found.append("--vlm-use-quantization --vlm-quantization 8bit --vlm-use-lora")
    if not config.speed.gradient_checkpointing:
        found.append("--gradient-checkpointing")
    if data.batch_size > 1:
        half = data.batch_size // 2
        steps = config.optim.gradient_accumulation_steps * 2
        found.append(f"--batch-size {half} --gradient-accumulation-steps {steps}")
    if config.model.img_size is None:
        found.append("a smaller --img-size")
    return f"the {where} is out of memory; what would save some, most first: {', '.join(found) or 'a smaller model'}"
