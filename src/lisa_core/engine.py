"""One optimizer step, over micro-batches and processes, in float32 or half precision."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from lisa_core.by_dataset import ByDataset
from lisa_core.config import TrainConfig
from lisa_core.inference import to_device
from lisa_core.levers import offload
from lisa_core.model import LisaModel, LisaOutput
from lisa_core.objective import loss_terms, loss_weights, term_counts
from lisa_core.optim import build_optimizer, build_schedule, drawing_options
from lisa_core.precision import grad_scaler
from lisa_core.processes import Processes
from lisa_core.sharding import shard
from lisa_core.vlm import Batch


@dataclass(frozen=True)
class MicroBatch:
    """What one process does in one micro-step."""

    batch: Batch
    """CPU tensors."""
    counts: bool = True
    """False for a stand-in, which keeps a process without samples in step with the others and changes nothing."""


@dataclass(frozen=True)
class Step:
    """What an optimizer step did, the same on all processes."""

    record: dict[str, float]
    """Each loss term, `loss`, `giou` at the logits' own resolution, `masks`, `grad_norm`."""
    finite: bool
    """False: the loss or its gradient was not finite, and no weight was changed."""
    datasets: dict[str, dict[str, float]] = field(default_factory=dict)
    """Of each dataset among several: `loss`, `giou`, `masks`, `samples`."""

    @property
    def iou_sum(self) -> float:
        """Summed IoU of the masks."""
        return self.record["giou"] * self.record["masks"]


def strategy(config: TrainConfig, processes: Processes) -> str:
    """How the processes share the work: `ddp`, `fsdp`, or DeepSpeed's `zero1`, `zero2` or `zero3`."""
    if processes.zero_stage is not None:
        return f"zero{processes.zero_stage}"
    shares = config.run.parallel == "fsdp" or (config.run.parallel == "auto" and processes.wants_fsdp)
    return "fsdp" if shares else "ddp"


class Engine:
    """Model, optimizer, schedule and scaler of a run.

    `wrapped` is the model as it trains, `inference_model` as evaluation calls it.

    Args:
        model: built, tuned, in its precision; is moved to the device.
        config: all settings.
        processes: who shares the work.
        total_steps: optimizer steps of the whole run, for the schedule.
        datasets: names of the datasets that are told apart, if there are several.
    """

    def __init__(
        self,
        model: LisaModel,
        config: TrainConfig,
        processes: Processes,
        total_steps: int,
        datasets: Sequence[str] = (),
    ) -> None:
        self.model = model
        self.processes = processes
        self.weights = loss_weights(config.loss)
        self.datasets = datasets
        self.max_grad_norm = config.optim.max_grad_norm
        self.is_sharded = strategy(config, processes) == "fsdp"
        self.inference_model: Any = model
        self.wrapped = self._place(config)
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = self._build_optimizer(config)
        map_steps = total_steps // config.optim.num_epochs * config.optim.map_epochs
        self.schedule = build_schedule(self.optimizer, config, total_steps, map_steps)
        self.scaler = grad_scaler(config.speed.precision, processes.device)

    def _place(self, config: TrainConfig) -> Any:
        """The model on its device, wrapped or shared out as the processes need it."""
        model, device = self.model, self.processes.device
        if config.speed.cpu_offload:
            stay = {id(module) for part in offload(model.vlm, device) for module in part.modules()}
            _move(model, device, stay)
        else:
            model.to(device)
        if self.is_sharded:
            shard(model, self.processes.world_size)
            return model
        if self.processes.world_size == 1:
            return model
        return self.processes.accelerator.prepare_model(model, device_placement=False)

    def _build_optimizer(self, config: TrainConfig) -> torch.optim.Optimizer:
        return build_optimizer(
            self.model,
            config.learning_rate,
            config.optim.weight_decay,
            config.optim.optimizer,
            self.processes.device,
            **drawing_options(self.model, config),
            processes=self.processes,
        )

    def step(self, window: Sequence[MicroBatch]) -> Step:
        """One optimizer step over the micro-batches of a window, averaged as if all processes' were one batch.

        Every process must bring equally many micro-batches.
        """
        counts = self._counts(window)
        sums = dict.fromkeys([*self.weights, "loss", "iou_sum", "masks"], 0.0)
        parts = ByDataset(self.datasets, self.weights)
        for number, micro in enumerate(window, start=1):
            last = number == len(window)
            with self._exchange(last):
                batch = to_device(micro.batch, self.processes.device)
                output = self._forward(batch)
                terms, iou = loss_terms(output, batch)
                # Sums over the window's own counts, not means of means: micro-batches of unequal size weigh right.
                shares = {name: term.total / max(counts[name], 1.0) for name, term in terms.items()}
                loss = torch.stack([self.weights[name] * share for name, share in shares.items()]).sum()
                # The exchange averages over processes, so each one's share is scaled back up to a sum.
                scale = self.processes.world_size if micro.counts else 0
                self._backward(loss if scale == 1 else loss * scale, last)
            if micro.counts:
                for name, share in shares.items():
                    sums[name] += share.item()
                sums["loss"] += loss.item()
                sums["iou_sum"] += iou.sum().item()
                sums["masks"] += len(iou)
                parts.add(batch, terms, iou, output.of_drawn(batch["seg_row"]))
        summed = self.processes.sum([*sums.values(), *parts.flat()])
        return replace(self._update(dict(zip(sums, summed))), datasets=parts.record(summed[len(sums) :]))

    def _forward(self, batch: Batch) -> LisaOutput:
        output: LisaOutput = self.wrapped(batch)
        return output

    def _backward(self, loss: Tensor, last: bool) -> None:
        """Add a micro-batch's gradients to those of the window; `last`: it is the window's last one."""
        self.scaler.scale(loss).backward()

    def _counts(self, window: Sequence[MicroBatch]) -> dict[str, float]:
        """What each term of the window is averaged over, on all processes together."""
        counts = [term_counts(micro.batch) for micro in window]
        names = list(counts[0])
        local = [sum(count[name] for count, micro in zip(counts, window) if micro.counts) for name in names]
        return dict(zip(names, self.processes.sum(local)))

    def _update(self, sums: dict[str, float]) -> Step:
        """Clip and apply the gradients, unless something is not finite; all processes come to the same end."""
        masks, iou_sum = sums.pop("masks"), sums.pop("iou_sum")
        record = {**sums, "giou": iou_sum / max(masks, 1.0), "masks": masks}
        self.scaler.unscale_(self.optimizer)
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        norm = _total_norm(gradients)
        record["grad_norm"] = float(norm)
        finite = math.isfinite(record["loss"])
        # fp16: gradients beyond its range are what the scaler is there for; it leaves the step out and scales less.
        overflow = self._is_scaler_s(not math.isfinite(record["grad_norm"]))
        finite = finite and (overflow or math.isfinite(record["grad_norm"]))
        if finite:
            if self.max_grad_norm > 0:
                torch.nn.utils.clip_grads_with_norm_(self.parameters, self.max_grad_norm, norm)
            self.scaler.step(self.optimizer)
            if not overflow:
                self.schedule.step()
        if self.scaler.is_enabled():
            self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return Step(record, finite)

    def _is_scaler_s(self, broken: bool) -> bool:
        """Whether a gradient that is not finite is the scaler's to mend; once it scales down, the run is at fault."""
        return broken and self.scaler.is_enabled() and self.scaler.get_scale() >= 1.0

    def _exchange(self, last: bool) -> AbstractContextManager[object]:
        """Let processes exchange gradients on the last micro-step of a window only."""
        if self.is_sharded:
            self.model.set_requires_gradient_sync(last)  # type: ignore[operator]
        elif isinstance(self.wrapped, DistributedDataParallel) and not last:
            return self.wrapped.no_sync()
        return nullcontext()

    @property
    def writes_optimizer(self) -> bool:
        """Whether this process's optimizer state has to be saved: all have the same one, or each its own share."""
        return self.optimizer_rank == self.processes.rank

    @property
    def optimizer_rank(self) -> int:
        """The process whose optimizer state is this one's."""
        return self.processes.rank if self.is_sharded else 0

    def saveable_optimizer(self) -> AbstractContextManager[torch.optim.Optimizer]:
        """The optimizer, for as long as its state is read or written."""
        return nullcontext(self.optimizer)

    def plain_state(self) -> dict[str, Any]:
        """Schedule and scaler, as JSON takes them."""
        return {"schedule": self.schedule.state_dict(), "scaler": self.scaler.state_dict()}

    def load_plain_state(self, state: dict[str, Any]) -> None:
        """The reverse of `plain_state`."""
        self.schedule.load_state_dict(state["schedule"])
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])


def _total_norm(gradients: Iterable[Tensor]) -> Tensor:
    """The norm of all gradients together; of shared out ones, over all processes."""
    norm = torch.nn.utils.get_total_norm(gradients)
    return norm.full_tensor() if hasattr(norm, "full_tensor") else norm


def _move(module: torch.nn.Module, device: torch.device, stay: set[int]) -> None:
    """Move a module to the device, but for the modules whose ids are in `stay`."""
    if id(module) in stay:
        return
    for child in module.children():
        _move(child, device, stay)
    for values in (module._parameters, module._buffers):
        for value in values.values():
            if value is not None:
                value.data = value.data.to(device)
