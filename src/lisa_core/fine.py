"""What a grid of patches is too coarse for: finer features for SAM's mask decoder, and convolutions over its masks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lisa_core.connectors import ChannelNorm
from lisa_core.dilated import dilated_convolution


class FineFeatures(nn.Module):
    """Features at twice and four times the grid, of the picture's pixels and of what patches keep of their inside.

    They join the mask decoder where those of SAM 2's encoder do (arXiv:2408.00714, appendix D.1). They start at
    zero, so that a decoder with weights of its own starts as it was.

    Args:
        prompt_dim: channels of the mask decoder.
        patch_dim: channels of the patches that are unfolded; None: none are.
        reads_pixels: whether a light convolutional stem reads the picture.
        width: channels of the stem.
    """

    STRIDE = 4
    """Pixels of the picture in a cell of the finer map, either way."""

    def __init__(
        self, prompt_dim: int, patch_dim: int | None = None, reads_pixels: bool = True, width: int = 32
    ) -> None:
        super().__init__()
        # Straight to a quarter, like ConvNeXt's stem (arXiv:2201.03545, section 2.2): at half the picture's size, norms
        # alone would cost more than the mask decoder.
        self.quarter = (
            nn.Sequential(*_convolution(3, width, kernel_size=7, stride=self.STRIDE), *_convolution(width, width))
            if reads_pixels
            else None
        )
        self.unfold = None if patch_dim is None else PatchUnfolding(patch_dim, width)
        self.mix = None if patch_dim is None else nn.Sequential(*_convolution(width, width))
        self.eighth = nn.Sequential(*_convolution(width, 2 * width, stride=2))
        self.to_quarter = nn.Conv2d(width, prompt_dim // 8, kernel_size=1)
        self.to_eighth = nn.Conv2d(2 * width, prompt_dim // 4, kernel_size=1)
        for layer in (self.to_quarter, self.to_eighth):
            for value in layer.parameters():
                nn.init.zeros_(value)

    def stem(self, pixels: Tensor) -> Tensor:
        """Normalized pictures [U,3,S,S] -> [U,width,S/4,S/4]."""
        assert self.quarter is not None
        features: Tensor = self.quarter(pixels)
        return features

    def forward(self, seen: Tensor | None, patches: Tensor) -> tuple[Tensor, Tensor]:
        """The features [U,C/4,2h,2w] and [U,C/8,4h,4w].

        Args:
            seen: what the stem made of the pixels, in the frame of the patches, [U,width,4h,4w]; None: it is left out.
            patches: the grid, [U,patch_dim,h,w].
        """
        quarter = seen
        if self.unfold is not None and self.mix is not None:
            unfolded = self.unfold(patches)
            quarter = self.mix(unfolded if seen is None else unfolded + seen)
        assert quarter is not None
        return self.to_eighth(self.eighth(quarter)), self.to_quarter(quarter)


class PatchUnfolding(nn.Module):
    """Each patch's channels as 4 x 4 cells of the part of the picture it shows: [U,D,h,w] -> [U,width,4h,4w].

    A patch's features know a good deal of where in the patch what is; they are unfolded as in sub-pixel convolution
    (arXiv:1609.05158, section 3.1).
    """

    def __init__(self, patch_dim: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            ChannelNorm(patch_dim), nn.Conv2d(patch_dim, 16 * width, kernel_size=1), nn.PixelShuffle(4)
        )

    def forward(self, patches: Tensor) -> Tensor:
        """[U,D,h,w] -> [U,width,4h,4w]."""
        return self.layers(patches)


class MaskRefinement(nn.Module):
    """Convolutions over what the decoder draws a mask from, at its finest: [M,C,h,w] -> [M,C,h,w].

    The decoder upscales each cell by itself; here neighbours hear of one another. The dilated middle layers (arXiv:
    1511.07122, section 3) reach 8 cells far either way. The last layer starts at zero, and with it the whole.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for dilation in (1, 2, 4, 1):
            layers += [dilated_convolution(channels, dilation), nn.GELU()]
        self.layers = nn.Sequential(*layers[:-1])
        for value in self.layers[-1].parameters():
            nn.init.zeros_(value)

    def forward(self, drawn_on: Tensor) -> Tensor:
        """[M,C,h,w] -> [M,C,h,w]."""
        return drawn_on + self.layers(drawn_on)


def stem_pixels(pixels: Tensor, grid: torch.Size) -> Tensor:
    """Pictures uint8 [U,3,S,S] as float32 from -1 to 1, no finer than `FineFeatures` draws on a grid [...,h,w]."""
    side = FineFeatures.STRIDE * 4 * max(grid[-2:])
    values = pixels.float() / 127.5 - 1
    return F.interpolate(values, size=(side, side), mode="area") if values.shape[-1] > side else values


def _convolution(channels: int, out: int, kernel_size: int = 3, stride: int = 1) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(channels, out, kernel_size, stride=stride, padding=kernel_size // 2)
    return convolution, ChannelNorm(out), nn.GELU()
