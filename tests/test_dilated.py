"""Dilated convolutions by parts: the values and gradients of torch's own, whatever the size."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lisa_core.dilated import DilatedConv2d, dilated_convolution


@pytest.mark.parametrize("size", [(12, 24), (8, 8), (7, 9), (12, 10)])
@pytest.mark.parametrize("dilation", [1, 2, 3, 4])
def test_values_and_gradients_are_those_of_a_dilated_convolution(dilation: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer = dilated_convolution(6, dilation).double()
    assert isinstance(layer, DilatedConv2d) == (dilation > 1)
    maps = torch.randn(3, 6, *size, dtype=torch.float64, requires_grad=True)
    values = (maps, layer.weight, layer.bias)
    found, wanted = layer(maps), F.conv2d(*values, padding=dilation, dilation=dilation)
    torch.testing.assert_close(found, wanted)
    told = torch.randn_like(wanted)
    for one, other in zip(torch.autograd.grad(found, values, told), torch.autograd.grad(wanted, values, told)):
        torch.testing.assert_close(one, other)


def test_it_parts_what_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    """What saves the time: only sides that do not divide, or other devices, are left to torch's dilated convolution."""
    seen = []

    def conv2d(maps: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        seen.append(tuple(maps.shape))
        return maps

    monkeypatch.setattr(F, "conv2d", conv2d)
    layer = DilatedConv2d(5, 4)
    for height, width in ((8, 12), (8, 10)):
        layer(torch.zeros(2, 5, height, width))
    layer.to("meta")(torch.zeros(2, 5, 8, 12, device="meta"))
    assert seen == [(32, 5, 2, 3), (2, 5, 8, 10), (2, 5, 8, 12)]


def test_weights_are_named_as_those_of_a_convolution() -> None:
    assert {name: tuple(value.shape) for name, value in DilatedConv2d(4, 2).state_dict().items()} == {
        "weight": (4, 4, 3, 3),
        "bias": (4,),
    }


def test_no_maps_give_none() -> None:
    assert DilatedConv2d(6, 2)(torch.zeros(0, 6, 8, 8)).shape == (0, 6, 8, 8)
