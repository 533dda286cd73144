"""AdamW, with Muon for the matrices of what draws."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_MOMENTUM = 0.95
_ROUNDS = 5
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic Newton-Schulz iteration, as in Muon's first description."""


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
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float, betas: tuple[float, float]) -> None:
        super().__init__(groups, lr=lr, betas=betas, fused=True)
        # A scaler is to leave steps out by itself: the fused kernel could, but Muon would not hear of it.
        self._step_supports_amp_scaling = False

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step of both; a closure is refused with ValueError."""
        if closure is not None:
            raise ValueError("MuonAdamW takes gradients as they are, not a closure that computes them")
        held = []
        for group in self.param_groups:
            for parameter in group["params"] if group["orthogonal"] else ():
                if parameter.grad is not None:
                    self._follow(parameter, parameter.grad, group["lr"], group["weight_decay"])
                    held.append((parameter, parameter.grad))
                    parameter.grad = None  # AdamW leaves it alone
        try:
            super().step()
        finally:
            for parameter, gradient in held:
                parameter.grad = gradient

    def _follow(self, parameter: Tensor, gradient: Tensor, rate: float, decay: float) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())  # what AdamW looks for in any state it reads
            state["momentum"] = torch.zeros_like(parameter)
        state["step"] += 1
        momentum = state["momentum"].lerp_(gradient, 1 - _MOMENTUM)
        ahead = gradient.lerp(momentum, _MOMENTUM).flatten(1)  # Nesterov's
        size = max(1.0, ahead.shape[0] / ahead.shape[1]) ** 0.5
        parameter.mul_(1 - rate * decay)
        parameter.add_(orthogonal(ahead).view_as(parameter), alpha=-rate * size)


def orthogonal(matrix: Tensor) -> Tensor:
    """About the orthogonal matrix nearest to a matrix [m,n].

    Singular values of more than about 0.002 of its norm end between 0.7 and 1.2; a matrix of zeros stays one.
    """
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.mT if is_tall else matrix
    x = x / x.norm().clamp(min=1e-7)
    a, b, c = _COEFFICIENTS
    for _ in range(_ROUNDS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if is_tall else x
