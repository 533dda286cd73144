"""Dilated convolutions that are as quick on CPUs as plain ones."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


def dilated_convolution(channels: int, dilation: int) -> nn.Conv2d:
    """A 3 x 3 convolution that keeps the size, [B,C,h,w] -> [B,C,h,w]; at dilation 1 a plain one, which peft adapts."""
    return nn.Conv2d(channels, channels, 3, padding=1) if dilation == 1 else DilatedConv2d(channels, dilation)


class DilatedConv2d(nn.Conv2d):
    """A 3 x 3 convolution with dilation that keeps the size: [B,C,h,w] -> [B,C,h,w].

    On CPUs, oneDNN's gradients of a dilated convolution take up to twice the time of a plain one's. So cells that are
    `dilation` apart, which hear of one another alone, are taken out as small maps, go through a plain convolution, and
    are put back (DeepLab, arXiv:1606.00915, section 3.1). Parameters and values are those of `nn.Conv2d`.

    Args:
        channels: of the map, before and after.
        dilation: cells from one tap to the next, 2 or more.
    """

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__(channels, channels, kernel_size=3, padding=dilation, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,h,w] -> [B,C,h,w]; sides that the dilation does not divide take the usual way."""
        step = self.dilation[0]
        if x.shape[-2] % step or x.shape[-1] % step or x.device.type != "cpu":
            return super().forward(x)
        parted = x.unflatten(3, (-1, step)).unflatten(2, (-1, step)).permute(0, 3, 5, 1, 2, 4)  # [B,step,step,C,..,..]
        result = F.conv2d(parted.flatten(0, 2), self.weight, self.bias, padding=1)
        return result.unflatten(0, parted.shape[:3]).permute(0, 3, 4, 1, 5, 2).flatten(4).flatten(2, 3)
