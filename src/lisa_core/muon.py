"""AdamW, with Muon for the matrices of what draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_MOMENTUM = 0.95
_ROUNDS = 5
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic Newton-Schulz iteration, as in Muon's first description."""


class MuonAdamW(torch.optim.AdamW):
    """AdamW whose groups with `orthogonal` follow Muon instead: the momentum's nearest orthogonal matrix is the step.

    Muon is K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024; the step's size is that
    of arXiv:2502.16982, section 2.2, which has the usual size of AdamW's, so that its rates and weight decay hold. A
    convolution's kernel is the matrix [out, the rest]. torch.optim.Muon takes matrices alone, no kernels and no
    vectors beside them.

    Args:
        groups: as of AdamW, each with `orthogonal`; all parameters of one that is have at least two dimensions.
        lr: of groups without a rate.
        betas: AdamW's.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float, betas: tuple[float, float]) -> None:
        # Not the fused one: it has gradients scaled back and steps left out inside its kernel, of which Muon knows not.
        super().__init__(groups, lr=lr, betas=betas)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """One step of both."""
        held = []
        for group in self.param_groups:
            for parameter in group["params"] if group["orthogonal"] else ():
                if parameter.grad is not None:
                    self._follow(parameter, parameter.grad, group["lr"], group["weight_decay"])
                    held.append((parameter, parameter.grad))
                    parameter.grad = None  # AdamW leaves it alone
        result = super().step(closure)
        for parameter, gradient in held:
            parameter.grad = gradient
        return result

    def _follow(self, parameter: Tensor, gradient: Tensor, rate: float, decay: float) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())  # what AdamW looks for in any state it reads
            state["momentum"] = torch.zeros_like(parameter)
        state["step"] += 1
        momentum = state["momentum"].lerp_(gradient, 1 - _MOMENTUM)
        ahead = gradient.lerp(momentum, _MOMENTUM).flatten(1)  # Nesterov's
        size = 0.2 * max(ahead.shape) ** 0.5
        parameter.mul_(1 - rate * decay)
        parameter.add_(orthogonal(ahead).view_as(parameter), alpha=-rate * size)


def orthogonal(matrix: Tensor) -> Tensor:
    """About the orthogonal matrix nearest to a matrix [m,n]: its singular values end between about 0.7 and 1.2.

    A matrix of zeros stays one.
    """
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.mT if is_tall else matrix
    x = x / x.norm().clamp(min=1e-7)
    a, b, c = _COEFFICIENTS
    for _ in range(_ROUNDS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if is_tall else x
