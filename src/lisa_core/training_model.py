"""The model that a run trains: built, put into the precision asked for, with adapters, levers and first weights."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from lisa_core.build import build_model, vlm_source
from lisa_core.checkpoint import start_from
from lisa_core.config import TrainConfig
from lisa_core.levers import apply_levers
from lisa_core.model import LisaModel
from lisa_core.precision import half_dtype, set_precision
from lisa_core.progress import Reporter
from lisa_core.tuning import apply_tuning, trainable_line


def training_model(config: TrainConfig, device: torch.device, reporter: Reporter) -> LisaModel:
    """The model of a run, on the CPU yet; the reporter is told what it is and what of it trains.

    Raises:
        ConfigError, PluginError, CheckpointError: for anything the user can mend.
    """
    half, tuning = half_dtype(config.speed.precision), config.tuning
    whole = "train" in (tuning.vision, tuning.language)
    dtype = torch.float32 if half is None or whole or config.run.parallel == "fsdp" else half
    model = build_model(config.model, None, tuning.quantization, dtype)
    apply_tuning(model, tuning)
    set_precision(model, config.speed.precision)
    if config.run.parallel == "fsdp":
        model.float()  # the members of a shared out group need one type
    apply_levers(model.vlm, config.speed, device)
    dims = model.vlm.dims
    reporter.line(f"✓ VLM loaded: {config.model.vlm} ({vlm_source(config.model)})")
    reporter.line(f"  Vision dim: {dims.vision}, Text dim: {dims.text}")
    for line in _mode_lines(config):
        reporter.line(line)
    reporter.line(trainable_line(model))
    if config.run.init_from is not None:
        fresh = start_from(model, config.run.init_from)
        reporter.line(f"weights from {config.run.init_from}; {len(fresh)} tensors start anew")
    return model


def _mode_lines(config: TrainConfig) -> Iterator[str]:
    """What happens to the VLM, in the words of its users' earlier tools."""
    tuning = config.tuning
    if tuning.quantization is not None:
        yield f"  → VLM quantization: {tuning.quantization}"
    if config.speed.precision != "no":
        yield f"  → VLM precision: {config.speed.precision}"
    names = {
        "train": "full",
        "freeze": "frozen",
        "lora": f"LoRA (r={tuning.vlm_lora_r}, alpha={tuning.vlm_lora_alpha})",
    }
    yield f"  → Vision mode: {names[tuning.vision]}"
    yield f"  → LLM mode: {names[tuning.language]}"
