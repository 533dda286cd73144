"""What a training step holds in memory besides weights: the step is run on tensors that have a shape but no numbers."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from lisa_core.model import LisaModel
from lisa_core.objective import loss_terms
from lisa_core.vlm import Batch

_aten = torch.ops.aten


@dataclass(frozen=True)
class StepMemory:
    """What a training step holds at its fullest moment, besides weights and optimizer state."""

    gradients: int
    """Bytes of gradients that are there at that moment."""
    activations: int
    """Bytes that the forward pass keeps for the backward pass."""
    workspace: int
    """Bytes of everything else: the batch, and what one layer needs while it computes."""


class ShapeMode(TorchDispatchMode):
    """Runs torch code on tensors without numbers, and counts the bytes that are alive.

    What is computed from real tensors alone (token ids, masks, the shapes of pictures) is computed for real, since the
    code asks for these values; anything that touches a tensor without numbers gives another one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fakes = FakeTensorMode(allow_non_fake_inputs=True)
        self.live = self.peak = 0
        self.gradients = self.gradients_at_peak = 0
        self._sizes: dict[int, int] = {}
        self._noted: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation, and count what it returns."""
        kwargs = kwargs or {}
        leaves = tree_leaves((args, kwargs))
        if any(isinstance(leaf, FakeTensor) for leaf in leaves):
            special = _SPECIAL.get(func.overloadpacket)
            result = NotImplemented if special is None else special(*args, **kwargs)
            if result is NotImplemented:
                args, kwargs = tree_map_only(Tensor, self.shape_of, (args, kwargs))
                result = func(*args, **kwargs)
        else:
            result = func(*args, **kwargs)
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.count(leaf)
        return result

    def shape_of(self, tensor: Tensor) -> Tensor:
        """The tensor without its numbers, on the CPU for all that autocast and autograd can tell."""
        if isinstance(tensor, FakeTensor):
            return tensor
        shape = torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device="meta")
        return FakeTensor(self.fakes, shape, torch.device("cpu"))

    def count(self, tensor: Tensor) -> None:
        """Count a tensor's storage, once, for as long as it lives."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._sizes:
            return
        size = self._sizes[key] = storage.nbytes()
        weakref.finalize(storage, self._freed, key)
        self.live += size
        if self.live > self.peak:
            self.peak, self.gradients_at_peak = self.live, self.gradients

    def leave_out(self, tensor: Tensor) -> None:
        """Never count this tensor."""
        self._sizes[tensor.untyped_storage()._cdata] = 0

    def note_gradient(self, parameter: Tensor) -> None:
        """From now on, a parameter's gradient counts as one (a hook for `register_post_accumulate_grad_hook`)."""
        if parameter.grad is not None and id(parameter) not in self._noted:
            self._noted.add(id(parameter))
            self.gradients += parameter.grad.untyped_storage().nbytes()

    def _freed(self, key: int) -> None:
        self.live -= self._sizes.pop(key)


def _index(tensor: Any, indices: Any) -> Any:
    """`tensor[mask]` with a real mask: how many places it picks is known, if not what stands there."""
    if len(indices) != 1 or isinstance(indices[0], FakeTensor) or indices[0].dtype != torch.bool:
        return NotImplemented
    return tensor.new_empty(int(indices[0].sum()), *tensor.shape[indices[0].ndim :])


def _index_put(tensor: Any, indices: Any, *_: Any) -> Any:
    is_mask = any(index is not None and index.dtype == torch.bool for index in indices)
    return torch.empty_like(tensor) if is_mask and isinstance(tensor, FakeTensor) else NotImplemented


def _index_put_(tensor: Any, *_: Any) -> Any:
    return tensor


def _masked_scatter_backward(gradient: Any, mask: Any, sizes: Any) -> Any:
    return gradient.new_empty(sizes)


_SPECIAL: dict[Any, Callable[..., Any]] = {
    _aten.index: _index,
    _aten.index_put: _index_put,
    _aten.index_put_: _index_put_,
    _aten._index_put_impl_: _index_put_,
    _aten.masked_scatter_backward: _masked_scatter_backward,
    # No number is there to be read, and none decides about memory.
    _aten._local_scalar_dense: lambda tensor: 0.0 if tensor.is_floating_point() else 0,
    _aten.equal: lambda *_: False,
}
"""Operations whose result's shape depends on numbers; with real masks it is known all the same."""


def step_memory(model: LisaModel, batch: Batch, weights: dict[str, float], micro_steps: int = 1) -> StepMemory:
    """What a training step of a model on the meta device would hold; the model's weights are replaced by shapes.

    Args:
        model: tuned, in its precision, with its levers set.
        batch: real tensors; see `sample_batch`.
        weights: of the loss terms.
        micro_steps: micro-steps per optimizer step; from the second on, all gradients are there from the start. 0: a
            forward pass without gradients instead, as for segmenting.
    """
    mode = ShapeMode()
    replace_weights(model, mode)
    for value in batch.values():
        if isinstance(value, Tensor):
            mode.count(value)
    inputs, kept = mode.live, 0
    model.train(micro_steps > 0)
    with mode:
        if micro_steps == 0:
            with torch.no_grad():
                model(batch)
        for _ in range(min(micro_steps, 2)):
            before = mode.live
            terms, _ = loss_terms(model(batch), batch)
            loss = torch.stack([weights[name] * term.total for name, term in terms.items()]).sum()
            del terms
            kept = mode.live - before
            loss.backward()
            del loss
    rest = mode.peak - mode.gradients_at_peak - inputs
    kept = min(kept, rest)
    return StepMemory(mode.gradients_at_peak, kept, rest - kept + inputs)


def replace_weights(model: nn.Module, mode: ShapeMode) -> None:
    """Put tensors without numbers in the place of all weights, shared ones once; they are not counted."""
    done: dict[int, Any] = {}
    for module in model.modules():
        for values in (module._parameters, module._buffers):
            for name, value in values.items():
                if value is None or (values is module._buffers and not value.is_meta):
                    continue  # a buffer with numbers may be asked for them
                if id(value) not in done:
                    fake: Any = mode.shape_of(value.data)
                    if isinstance(value, nn.Parameter):
                        fake = nn.Parameter(fake, requires_grad=value.requires_grad)
                        if value.requires_grad:
                            fake.register_post_accumulate_grad_hook(mode.note_gradient)
                    mode.leave_out(fake)
                    done[id(value)] = fake, value  # the old one is kept, so that its id stays its own
                values[name] = done[id(value)][0]
