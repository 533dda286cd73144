"""The optimizer step on DeepSpeed's ZeRO (arXiv:1910.02054), with the same averages, clipping and policy as without it.

Each process keeps its share of the optimizer's state (stage 1), of the gradients too (2), or of the weights too (3).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from lisa_core.config import TrainConfig
from lisa_core.deepspeed_settings import settle
from lisa_core.engine import Engine, Step
from lisa_core.model import EncodedImages, LisaModel, LisaOutput
from lisa_core.processes import Processes
from lisa_core.vlm import Batch


def make_engine(
    model: LisaModel, config: TrainConfig, processes: Processes, total_steps: int, datasets: Sequence[str] = ()
) -> Engine:
    """The engine for how the processes were launched; see `Engine`."""
    kind = Engine if processes.zero_stage is None else DeepSpeedEngine
    return kind(model, config, processes, total_steps, datasets)


class DeepSpeedEngine(Engine):
    """An engine whose exchange of gradients, clipping and optimizer are DeepSpeed's; see `Engine`.

    `wrapped` is `deepspeed.DeepSpeedEngine`, `optimizer` the one inside it, over this process's share of the weights.
    """

    def _place(self, config: TrainConfig) -> Any:
        self._broken = False
        return self.model.to(self.processes.device)

    def _build_optimizer(self, config: TrainConfig) -> torch.optim.Optimizer:
        settle(config, self.processes, sum(parameter.numel() for parameter in self.parameters))
        whole = super()._build_optimizer(config)
        root = _Root(self.model)
        self.wrapped, _ = self.processes.accelerator.prepare(root, whole)
        if self.processes.zero_stage == 3:
            self.is_sharded = True
            self.inference_model = _Gathering(root)
        # What trains is float32, and so is the share of it that this one steps: its state is all that is to be saved.
        optimizer: torch.optim.Optimizer = self.wrapped.optimizer.optimizer
        return optimizer

    def _exchange(self, last: bool) -> AbstractContextManager[object]:
        self.wrapped.set_gradient_accumulation_boundary(last)
        return nullcontext()

    def _forward(self, batch: Batch) -> LisaOutput:
        return LisaOutput(**self.wrapped(batch))

    def _backward(self, loss: Tensor, last: bool) -> None:
        self._broken = self._broken or not math.isfinite(loss.item())
        if last:
            # A loss that is not finite must change no weight, but DeepSpeed looks at gradients alone.
            if self.processes.sum([float(self._broken)])[0] > 0:
                loss = loss * math.nan
            self._broken = False
        if self.scaler.is_enabled():
            self.wrapped.optimizer.override_loss_scale(self.scaler.get_scale())
        self.wrapped.backward(loss, scale_wrt_gas=False)

    def _update(self, sums: dict[str, float]) -> Step:
        masks, iou_sum = sums.pop("masks"), sums.pop("iou_sum")
        record = {**sums, "giou": iou_sum / max(masks, 1.0), "masks": masks}
        self.wrapped.step()  # clips too, and leaves the step out if a gradient is not finite
        overflow = bool(self.wrapped.optimizer.overflow)
        record["grad_norm"] = float(self.wrapped.get_global_grad_norm())
        finite = math.isfinite(record["loss"]) and (not overflow or self._is_scaler_s(overflow))
        if finite and not overflow:
            self.schedule.step()
        if self.scaler.is_enabled():
            self._update_scale(overflow)
        return Step(record, finite)

    def _update_scale(self, overflow: bool) -> None:
        """Let the scaler find in a gradient of its own what DeepSpeed found in those of the model."""
        device = self.processes.device
        stand_in = nn.Parameter(torch.zeros(1, device=device))
        stand_in.grad = torch.full_like(stand_in, math.inf if overflow else 0.0)
        self.scaler.scale(torch.zeros(1, device=device))  # its scale is made when it first has something to scale
        self.scaler.unscale_(torch.optim.SGD([stand_in]))
        self.scaler.update()

    @property
    def optimizer_rank(self) -> int:
        """Each process has a share of the optimizer's state."""
        return self.processes.rank

    @contextmanager
    def saveable_optimizer(self) -> Iterator[torch.optim.Optimizer]:
        """The optimizer with its share in its groups, from which stage 3 takes it between two steps."""
        zero = self.wrapped.optimizer
        if self.processes.zero_stage != 3:
            yield self.optimizer
            return
        zero._set_fp32_optimizer_param_groups()
        try:
            yield self.optimizer
        finally:
            zero._clear_fp32_optimizer_param_groups()


class _Root(nn.Module):
    """The model as DeepSpeed wraps it: everything goes through its one call, and comes out as a dictionary of tensors.

    Stage 3 puts weights together from there on, and what follows the gradients finds no tensors in dataclasses.
    """

    def __init__(self, model: LisaModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch, encoded: EncodedImages | None = None, images_only: bool = False) -> Any:
        return self.model.encode_image(batch) if images_only else vars(self.model(batch, encoded))


class _Gathering:
    """What evaluation asks of a `LisaModel`, of one whose weights are shared out."""

    def __init__(self, root: _Root) -> None:
        self.root = root

    def eval(self) -> None:
        self.root.eval()

    def parameters(self) -> Iterator[nn.Parameter]:
        return self.root.parameters()

    def encode_image(self, batch: Batch) -> EncodedImages:
        encoded: EncodedImages = self.root(batch, images_only=True)
        return encoded

    def __call__(self, batch: Batch, encoded: EncodedImages) -> LisaOutput:
        return LisaOutput(**self.root(batch, encoded))
