"""What a run will need of memory, told from its config alone: no weights, no download, no GPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from lisa_core.activations import StepMemory, step_memory
from lisa_core.build import resolve_sources
from lisa_core.config import SpeedConfig, TrainConfig
from lisa_core.discovery import one_line
from lisa_core.errors import ConfigError, LisaError
from lisa_core.levers import apply_levers
from lisa_core.objective import loss_weights
from lisa_core.packed import quantize_skeleton
from lisa_core.precision import half_dtype, set_precision
from lisa_core.quantize import refuse_unless
from lisa_core.registry import get_registry
from lisa_core.skeleton import PICTURE, build_skeleton, sample_batch
from lisa_core.static_memory import WEIGHTS, offloaded_memory, static_memory
from lisa_core.tuning import apply_tuning

T = TypeVar("T")

PARTS = (*WEIGHTS, "gradients", "optimizer", "activations", "workspace")
"""The fields of `Estimate` that are bytes, in the order of a table."""


@dataclass(frozen=True)
class Estimate:
    """The memory of one process at its peak, bytes by part."""

    vision_tower: int
    """Weights of the VLM's image encoder, without adapters."""
    language_model: int
    """Weights of its language model with embeddings and output head, without what is quantized and adapters."""
    projector: int
    """Weights of what else the VLM has."""
    sam: int
    """Weights of SAM's prompt encoder, mask decoder and, if used, image encoder."""
    connectors: int
    """Weights of what stands between VLM and decoder."""
    quantized: int
    """Weights in 4 or 8 bits, their scales included."""
    lora: int
    """Adapters, and the embedding rows that train beside them."""
    gradients: int
    """Gradients that are there at the peak."""
    optimizer: int
    """AdamW's two states, Muon's one."""
    activations: int
    """What the forward pass keeps for the backward pass."""
    workspace: int
    """The batch, and what a layer needs while it computes."""
    parameters: int
    """How many parameters the model has, adapters included."""
    trainable: int
    """How many of them train."""
    is_complete: bool = True
    """False: activations and workspace are not known, and the total is a lower bound."""
    notes: tuple[str, ...] = ()
    """What was assumed, and what is not counted, for people."""

    @property
    def weights(self) -> int:
        """Bytes of all weights, adapters included."""
        return sum(getattr(self, name) for name in WEIGHTS)

    @property
    def total(self) -> int:
        """Bytes at the peak."""
        return sum(getattr(self, name) for name in PARTS)

    @property
    def largest(self) -> str:
        """The part that needs most."""
        return max(PARTS, key=lambda name: int(getattr(self, name)))

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON, with `weights`, `total` and `largest`."""
        return {**dataclasses.asdict(self), "weights": self.weights, "total": self.total, "largest": self.largest}


def estimate(config: TrainConfig, training: bool = True) -> Estimate:
    """The peak memory of a run, on one device.

    One training step is run on the meta device with the model's real classes, so every lever counts as it works.
    Neither `--data` nor `--output-dir` need exist; of a hub name that is not known or cached, the config is fetched.

    Args:
        config: all settings of the run.
        training: False for what segmenting takes, with the same batch and precision and without gradients.

    Raises:
        ConfigError, PluginError: for settings that contradict one another, or a model of which nothing can be known.
    """
    config = _checked(config)
    model = build_skeleton(config.model)
    notes = list(_notes(config))
    batch = _or_note(notes, lambda: sample_batch(model, config))
    apply_tuning(model, config.tuning)
    set_precision(model, config.speed.precision)
    if config.run.parallel == "fsdp":
        model.float()  # the members of a shared out group need one type
    apply_levers(model.vlm, _portable(config.speed), torch.device("cpu"))
    if config.tuning.quantization is not None:
        quantize_skeleton(model.vlm, config.tuning.quantization, half_dtype(config.speed.precision))
    static = static_memory(model, config if training else None)
    moved = offloaded_memory(model) if config.speed.cpu_offload else {}
    step = None
    if batch is not None:
        micro_steps = config.optim.gradient_accumulation_steps if training else 0
        step = _or_note(notes, lambda: step_memory(model, batch, loss_weights(config.loss), micro_steps))
    found = step or StepMemory(0, 0, 0)
    for name, (stays, most) in moved.items():
        static[name] -= stays
        found = dataclasses.replace(found, workspace=found.workspace + most)
        notes.append(f"{stays / 1e9:.2f} GB of the {name.replace('_', ' ')} stay in the machine's own memory")
    return Estimate(**static, **dataclasses.asdict(found), is_complete=step is not None, notes=tuple(notes))


def _or_note(notes: list[str], tell: Callable[[], T]) -> T | None:
    """What it returns; if code of the model or its processor does not bear being without numbers, a note of that."""
    try:
        return tell()
    except LisaError:
        raise
    except Exception as error:  # a processor that is stood in for, or code that reads numbers, may fail in any way
        notes.append(f"no figure of activations, so the total is a lower bound: {one_line(error)[:120]}")
        return None


def _checked(config: TrainConfig) -> TrainConfig:
    """The config with its model resolved; data need not be there."""
    data = dataclasses.replace(config.data, data=config.data.data or "not needed")
    dataclasses.replace(config, data=data).validate()
    quantization = config.tuning.quantization
    config = dataclasses.replace(config, model=resolve_sources(config.model))
    if quantization is not None:
        if config.model.is_tiny:
            raise ConfigError(f"--vlm-model-name tiny cannot be loaded in {quantization}: leave that out")
        cls = get_registry().load_vlm_class(config.model.vlm)
        refuse_unless(quantization, cls.quantizations, cls.family)
    return config


def _portable(speed: SpeedConfig) -> SpeedConfig:
    """The levers that change what a step keeps; attention that needs a GPU keeps what `sdpa` does."""
    attn = "sdpa" if speed.attn in ("flash_attention_2", "flex") else speed.attn
    return dataclasses.replace(speed, attn=attn, compile=False)


def _notes(config: TrainConfig) -> Iterator[str]:
    width, height = PICTURE
    yield f"pictures of {width} x {height} pixels and sentences of about 20 words are assumed"
    yield "not counted: the CUDA context (about 0.5 GB), the allocator's slack, loading, other processes"
    if config.optim.optimizer.startswith("paged"):
        yield "of a paged optimizer's state, what does not fit goes to the machine's own memory"
    if (config.run.eval_batch_size or 0) > config.data.batch_size:
        yield "validation with a larger --eval-batch-size than --batch-size is not counted: see --inference"
    if (config.run.num_processes or 1) > 1 or config.run.parallel != "auto":
        yield "one process without the others: ddp adds a copy of the gradients, fsdp shares weights and state out"
