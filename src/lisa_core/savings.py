"""Settings that would save memory: which are left to a run, and what each of them does to its config."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lisa_core.config import TrainConfig
from lisa_core.errors import ConfigError
from lisa_core.families import resolve_family
from lisa_core.model_config import TuningConfig
from lisa_core.registry import get_registry
from lisa_core.settings import differences

_SMALL_SIDE = 224
"""Of pictures, in pixels; what ModifiedLISA's guide goes down to."""


@dataclass(frozen=True)
class Saving:
    """One change that lowers a run's memory."""

    flags: str
    """How it is written on the command line."""
    config: TrainConfig
    """The run's settings with it."""


def savings(config: TrainConfig) -> list[Saving]:
    """What is left to a run, the least harm to its result first: valid settings, one change each."""
    return [Saving(flags_between(config, changed), changed) for changed in _changes(config) if _is_valid(changed)]


def flags_between(before: TrainConfig, after: TrainConfig) -> str:
    """The flags that make one config the other."""
    found = []
    for name, _, value in differences(dataclasses.asdict(before), dataclasses.asdict(after)):
        flag = name.partition(".")[2].replace("_", "-")
        if isinstance(value, bool):
            found.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            found += [f"--{flag} {item}" for item in (value if isinstance(value, list) else [value])]
    return " ".join(found)


def _changes(config: TrainConfig) -> Iterator[TrainConfig]:
    tuning, speed, data = config.tuning, config.speed, config.data
    if speed.precision == "no":
        half = dataclasses.replace(speed, vlm_use_mixed_precision=True, vlm_mixed_precision="bf16")
        yield dataclasses.replace(config, speed=half)
    if not speed.gradient_checkpointing:
        yield dataclasses.replace(config, speed=dataclasses.replace(speed, gradient_checkpointing=True))
    if data.batch_size > 1:
        # As many sentences per optimizer step, or one more.
        fewer = dataclasses.replace(data, batch_size=-(-data.batch_size // 2))
        steps = config.optim.gradient_accumulation_steps * 2
        optim = dataclasses.replace(config.optim, gradient_accumulation_steps=steps)
        yield dataclasses.replace(config, data=fewer, optim=optim)
    lora: dict[str, Any] = {}
    if "train" in (tuning.language, tuning.vision):
        lora = {"vlm_use_lora": True, "tune_language": "auto", "tune_vision": "auto"}
        yield _tuned(config, **lora)
    for kind in _quantizations(config):
        yield _tuned(config, vlm_use_quantization=True, vlm_quantization=kind, **lora)
    if config.model.img_size is None or config.model.img_size > _SMALL_SIDE:
        yield dataclasses.replace(config, model=dataclasses.replace(config.model, img_size=_SMALL_SIDE))
    if tuning.vlm_freeze and not speed.cpu_offload:
        yield dataclasses.replace(config, speed=dataclasses.replace(speed, cpu_offload=True))
    if (tuning.language, tuning.vision) != ("freeze", "freeze"):
        kept = ("vlm_use_quantization", "vlm_quantization", "tune_sam_encoder", "tune_sam_decoder", "tune_connectors")
        frozen = {name: getattr(tuning, name) for name in kept}
        yield dataclasses.replace(config, tuning=TuningConfig(vlm_freeze=True, **frozen))


def _quantizations(config: TrainConfig) -> Iterator[str]:
    """Fewer bits than the run's weights have, that the family can load."""
    if config.model.is_tiny or config.tuning.quantization == "4bit":
        return
    supported = get_registry().load_vlm_class(resolve_family(config.model).vlm).quantizations
    for kind in ("8bit", "4bit"):
        if kind in supported and kind != config.tuning.quantization:
            yield kind


def _tuned(config: TrainConfig, **changes: Any) -> TrainConfig:
    return dataclasses.replace(config, tuning=dataclasses.replace(config.tuning, **changes))


def _is_valid(config: TrainConfig) -> bool:
    data = dataclasses.replace(config.data, data=config.data.data or "not needed")
    try:
        dataclasses.replace(config, data=data).validate()
    except ConfigError:
        return False
    return True
