"""Adapters taken out of a model, merged into the weights they adapt or not."""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import nn

from lisa_core.checkpoint import Checkpoint, build_base, load_weights
from lisa_core.errors import CheckpointError, ConfigError
from lisa_core.model import LisaModel
from lisa_core.model_config import TuningConfig
from lisa_core.tuning import apply_tuning


def is_adapted(tuning: TuningConfig) -> bool:
    """Whether a model that was trained so has LoRA adapters."""
    parts = (tuning.language, tuning.vision, tuning.tune_sam_encoder, tuning.tune_sam_decoder, tuning.tune_connectors)
    return "lora" in parts


def load_unquantized(checkpoint: Checkpoint) -> LisaModel:
    """A checkpoint's model with its adapters, on weights that are not rounded to 4 or 8 bits; in evaluation mode.

    Raises:
        CheckpointError, ConfigError: if it cannot be loaded, or its base is stored in fewer bits.
    """
    model = build_base(checkpoint, None)
    if any(getattr(module, "hf_quantizer", None) is not None for module in model.modules()):
        raise ConfigError(
            f"the base of {checkpoint.folder} is stored in 4 or 8 bits, so there are no whole weights to merge into or "
            "to write: train on the checkpoint it was rounded from, with --vlm-use-quantization"
        )
    tuning = dataclasses.replace(checkpoint.tuning, vlm_use_quantization=False, vlm_quantization="auto")
    apply_tuning(model, tuning)
    load_weights(model, checkpoint)
    return model.eval()


def unload_adapters(model: nn.Module, merge: bool) -> int:
    """Take all adapters and trained token rows out of a model, in place.

    Args:
        model: float weights, not quantized.
        merge: put what they add into the weights they stand beside; else it is lost.

    Returns:
        how many layers had some.

    Raises:
        CheckpointError: if an adapter holds numbers that are not finite.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    count = 0
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            # What stands inside such a layer is no layer of the model.
            if isinstance(parent, (BaseTunerLayer, AuxiliaryTrainingWrapper)):
                continue
            try:
                if isinstance(layer, AuxiliaryTrainingWrapper):  # the rows of [SEG]; a tied head's are the same ones
                    plain: Any = layer.unload_and_optionally_merge_module(merge, safe_merge=merge, adapter_names=None)
                elif isinstance(layer, BaseTunerLayer):
                    if merge:
                        layer.merge(safe_merge=True)
                    plain = layer.get_base_layer()
                else:
                    continue
            except ValueError as error:
                if "NaN" not in str(error):
                    raise
                raise CheckpointError(f"the adapter on {name} holds numbers that are not finite: {_OTHER}") from error
            setattr(parent, name, plain)
            count += 1
        if hasattr(parent, "peft_config"):
            del parent.peft_config  # else peft warns when the model gets adapters again
    return count


_OTHER = "the run went wrong before it was saved; merge another checkpoint"
