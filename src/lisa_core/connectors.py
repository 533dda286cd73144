"""The small trained modules between the VLM and SAM's mask decoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ChannelNorm(nn.LayerNorm):
    """Layer normalization of each cell of a map over its channels, [B,C,h,w] -> [B,C,h,w].

    The same as segment-anything's `LayerNorm2d`, parameters included, in one kernel instead of six passes over memory.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,h,w] -> [B,C,h,w]."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ImageTextConnector(nn.Module):
    """Projects patch features into the language model's space: [B,N,Dv] -> [B,N,Dt]."""

    def __init__(self, vision_dim: int, text_dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(vision_dim), nn.Linear(vision_dim, text_dim), nn.GELU(), nn.Linear(text_dim, text_dim)
        )

    def forward(self, sequence: Tensor) -> Tensor:
        """[B,N,Dv] -> [B,N,Dt]."""
        return self.layers(sequence)


class TextSAMConnector(nn.Module):
    """Q learned queries read the context by cross-attention and become SAM's sparse prompts.

    The scheme is that of Q-Former's learned queries (BLIP-2, arXiv:2301.12597, section 3.1), one layer deep. The
    values are the projected context itself, without further projections: a context of one state reaches the prompts
    through one linear layer, which small models learn several times sooner than a chain of them. Of several states the
    mean is added, so that every word is heard before the queries have learnt what to listen for.

    The picture, where it is part of the context (late fusion), is read apart from the words and through a gate that
    starts closed (Flamingo, arXiv:2204.14198, section 2.2): in one softmax, many patches drown a few words.
    """

    def __init__(
        self, text_dim: int, prompt_dim: int, num_prompts: int, reads_patches: bool = False, num_heads: int = 4
    ) -> None:
        super().__init__()
        self.context = nn.Sequential(nn.LayerNorm(text_dim), nn.Linear(text_dim, prompt_dim))
        self.queries = nn.Parameter(torch.randn(num_prompts, prompt_dim) * 0.02)
        self.query = nn.Linear(prompt_dim, prompt_dim)
        self.key = nn.Linear(prompt_dim, prompt_dim)
        self.norm = nn.LayerNorm(prompt_dim)
        self.feed_forward = nn.Sequential(
            nn.Linear(prompt_dim, 2 * prompt_dim), nn.GELU(), nn.Linear(2 * prompt_dim, prompt_dim)
        )
        self.gate = nn.Parameter(torch.zeros(1)) if reads_patches else None
        self.num_heads = num_heads

    def forward(
        self,
        context: Tensor,
        mask: Tensor,
        patches: Tensor | None = None,
        image_index: Tensor | None = None,
    ) -> Tensor:
        """Read prompts out of a context.

        Args:
            context: states of the words, or the one at `[SEG]`, float [M,L,Dt].
            mask: bool [M,L], True where the context counts; every row needs one True.
            patches: projected patches of U pictures, float [U,N,Dt].
            image_index: int64 [M], the picture each context is about; None: U is M, in the same order.

        Returns:
            float [M,Q,prompt_dim].
        """
        values = self.context(context)
        prompts = self.queries.expand(len(context), -1, -1) + self._read(values, mask)
        if values.shape[1] > 1:
            weight = mask[..., None].to(values.dtype)
            prompts = prompts + (values * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True)
        if patches is not None and self.gate is not None:
            prompts = prompts + self.gate.tanh() * self._read(self.context(patches), index=image_index)
        return prompts + self.feed_forward(self.norm(prompts))

    def _read(self, values: Tensor, mask: Tensor | None = None, index: Tensor | None = None) -> Tensor:
        """What each query attends to in the rows of `values` that `index` names, all by default; [M,Q,C]."""
        keys, values = self._heads(self.key(values)), self._heads(values)
        if index is not None:  # after the projections, which are the same for all sentences about a picture
            keys, values = keys.index_select(0, index), values.index_select(0, index)
        read = F.scaled_dot_product_attention(
            self._heads(self.query(self.queries)[None]).expand(len(values), -1, -1, -1),
            keys,
            values,
            attn_mask=None if mask is None else mask[:, None, None, :],
        )
        return read.transpose(1, 2).flatten(2)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # [M,L,C] -> [M,heads,L,C/heads]


class ImageSAMConnector(nn.Module):
    """Turns the VLM's grid into mask features; the layers are those of SAM's neck (arXiv:2304.02643, appendix A)."""

    def __init__(self, vision_dim: int, prompt_dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            ChannelNorm(vision_dim),
            nn.Conv2d(vision_dim, prompt_dim, kernel_size=1, bias=False),
            ChannelNorm(prompt_dim),
            nn.Conv2d(prompt_dim, prompt_dim, kernel_size=3, padding=1, bias=False),
            ChannelNorm(prompt_dim),
        )

    def forward(self, grid: Tensor) -> Tensor:
        """[U,Dv,h,w] -> [U,prompt_dim,h,w]."""
        return self.layers(grid)
