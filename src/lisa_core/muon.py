"""AdamW, with Muon for the matrices of what draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lisa_core.processes import Processes

_MOMENTUM = 0.95
_COEFFICIENTS = (
    (8.3837, -24.7659, 18.3571),
    (4.0434, -3.0114, 0.5695),
    (3.5056, -2.6267, 0.5257),
    (2.4901, -1.8343, 0.4368),
)
"""Of a quintic for each round: the best ones in turn for singular values from 0.003 to 1 (Polar Express, arXiv:
2505.16932, section 3). One and the same in five rounds, as in Muon's first description, comes no nearer."""
_ROUNDS = len(_COEFFICIENTS)


class MuonAdamW(torch.optim.AdamW):
    """AdamW whose groups with `orthogonal` follow Muon instead: the momentum's nearest orthogonal matrix is the step.

    Muon is K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024, the size of its steps
    too: whatever the gradient's, so rates are other ones than AdamW's. A kernel is the matrix [first dimension,
    the rest]. A gradient of zeros leaves the momentum to go on at full size. torch.optim.Muon takes matrices alone, no
    kernels and no vectors beside them.

    Args:
        groups: as of AdamW, each with `orthogonal`; all parameters of one that is have at least two dimensions.
        lr: of groups without a rate.
        betas: AdamW's.
        processes: who have the same parameters and gradients, and share the work; None: this one is alone.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        lr: float,
        betas: tuple[float, float],
        processes: Processes | None = None,
    ) -> None:
        super().__init__(groups, lr=lr, betas=betas, fused=True)
        self.processes = processes
        # A scaler is to leave steps out by itself: the fused kernel could, but Muon would not hear of it.
        self._step_supports_amp_scaling = False

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step of both; a closure is refused with ValueError."""
        if closure is not None:
            raise ValueError("MuonAdamW takes gradients as they are, not a closure that computes them")
        followers = [
            (parameter, group)
            for group in self.param_groups
            for parameter in (group["params"] if group["orthogonal"] else ())
            if parameter.grad is not None
        ]
        steps = self._orthogonals([self._ahead(parameter) for parameter, _ in followers])
        held = []
        for (parameter, group), step in zip(followers, steps):
            rows, columns = step.shape
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(step.view_as(parameter), alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)
            held.append((parameter, parameter.grad))
            parameter.grad = None  # AdamW leaves it alone
        try:
            super().step()
        finally:
            for parameter, gradient in held:
                parameter.grad = gradient

    def _ahead(self, parameter: Tensor) -> Tensor:
        """The momentum that this gradient leaves, as Nesterov looks ahead of it, [m,n]."""
        assert parameter.grad is not None
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())  # what AdamW looks for in any state it reads
            state["momentum"] = torch.zeros_like(parameter)
        state["step"] += 1
        momentum = state["momentum"].lerp_(parameter.grad, 1 - _MOMENTUM)
        return parameter.grad.lerp(momentum, _MOMENTUM).flatten(1)

    def _orthogonals(self, matrices: Sequence[Tensor]) -> list[Tensor]:
        """`orthogonal` of each; of several processes, each computes some of them and hears of the others'."""
        if self.processes is None or self.processes.world_size == 1 or not matrices:
            return [orthogonal(matrix) for matrix in matrices]
        owners = _shared_out([_work(matrix) for matrix in matrices], self.processes.world_size)
        shares = [
            orthogonal(matrix) if owner == self.processes.rank else torch.zeros_like(matrix)
            for matrix, owner in zip(matrices, owners)
        ]
        whole = self.processes.sum_tensor(torch.cat([share.flatten() for share in shares]))
        parts = whole.split([share.numel() for share in shares])
        return [part.view_as(share) for part, share in zip(parts, shares)]


def _work(matrix: Tensor) -> int:
    """How many products of two numbers `orthogonal` takes."""
    short, long = sorted(matrix.shape)
    if _is_wide(short, long):
        return 2 * short**2 * long + (4 * _ROUNDS - 2) * short**3
    return _ROUNDS * (2 * short**2 * long + short**3)


def _shared_out(work: Sequence[int], shares: int) -> list[int]:
    """Which of the shares each piece of work goes to: the largest first, each to who has the least."""
    owners, taken = [0] * len(work), [0] * shares
    for piece in sorted(range(len(work)), key=lambda piece: -work[piece]):
        owners[piece] = taken.index(min(taken))
        taken[owners[piece]] += work[piece]
    return owners


def orthogonal(matrix: Tensor) -> Tensor:
    """About the orthogonal matrix nearest to a matrix [m,n].

    Singular values of more than 0.003 of its norm end between 0.8 and 1.21; a matrix of zeros stays one.
    """
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.mT if is_tall else matrix
    x = x / x.norm().clamp(min=1e-7)
    x = _by_square(x) if _is_wide(*x.shape) else _by_rows(x)
    return x.mT if is_tall else x


def _is_wide(rows: int, columns: int) -> bool:
    """Whether matrices of that shape take fewer products by their squares."""
    return 2 * rows <= columns


def _by_rows(x: Tensor) -> Tensor:
    for a, b, c in _COEFFICIENTS:
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x


def _by_square(x: Tensor) -> Tensor:
    """The same of a matrix [m,n] with many columns, by matrices [m,m]: a round multiplies it by a function of x x^T.

    Such functions commute, so that the next round's square follows from this one's.
    """
    square = x @ x.mT
    one = torch.eye(len(x), dtype=x.dtype, device=x.device)
    product = factor = one
    for number, (a, b, c) in enumerate(_COEFFICIENTS):
        if number:
            square = factor @ square @ factor
        factor = a * one + b * square + c * square @ square
        product = factor @ product
    return product @ x
