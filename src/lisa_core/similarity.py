"""Where sentence and patches agree: the similarity map, what other patches add, and what the decoder is given."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lisa_core.connectors import ChannelNorm
from lisa_core.dilated import dilated_convolution

_DIM = 128
"""Channels in which prompts and patches are compared."""


class SimilarityMap(nn.Module):
    """Where the prompts and the picture's patches agree: <W_q prompt, W_k patch> / sqrt(d) + <W_p prompt, place> + b.

    And what the aggregation adds, if there is one.

    A patch's place in the picture is told outright, as in CoordConv (arXiv:1807.03247): what a vision tower keeps of it
    takes words like "leftmost" many times longer to find.

    Args:
        prompt_dim: channels of the prompts.
        vision_dim: channels of the patches.
        dim: channels in which they are compared.
        aggregation: adds to the map what neighbouring patches and the whole picture say, of keys of `dim` channels.
    """

    def __init__(
        self, prompt_dim: int, vision_dim: int, dim: int = _DIM, aggregation: MapAggregation | None = None
    ) -> None:
        super().__init__()
        self.query = nn.Linear(prompt_dim, dim)
        self.key = nn.Sequential(ChannelNorm(vision_dim), nn.Conv2d(vision_dim, dim, kernel_size=1))
        self.place = nn.Linear(prompt_dim, _PLACES, bias=False)
        nn.init.zeros_(self.place.weight)
        self.bias = nn.Parameter(torch.tensor([-2.0]))  # most patches of a picture are not the one meant
        self.aggregation = aggregation
        self.dim = dim

    def forward(self, prompts: Tensor, grid: Tensor, image_index: Tensor, content: Tensor) -> Tensor:
        """Score each patch for each mask.

        Args:
            prompts: float [M,Q,prompt_dim].
            grid: patch features [U,Dv,h,w].
            image_index: int64 [M], the image each mask is of.
            content: the part of the grid that shows the picture, [U,4].

        Returns:
            Logits [M,1,h,w].
        """
        prompt = prompts.mean(1)
        keys = self.key(grid).index_select(0, image_index)  # [M,d,h,w]
        scores = torch.einsum("md,mdhw->mhw", self.query(prompt), keys)
        scores = scores / math.sqrt(self.dim)
        places = _places(content, keys.shape[-2], keys.shape[-1])[image_index]
        scores = scores + torch.einsum("mp,mphw->mhw", self.place(prompt), places)
        scores = scores[:, None] + self.bias
        if self.aggregation is not None:
            scores = scores + self.aggregation(prompts, keys, places)
        return scores


class MapAggregation(nn.Module):
    """What a map of single patches misses: scores of each prompt and head with them, aggregated over neighbours.

    As CAT-Seg aggregates its cost volume over space (arXiv:2303.11797), with dilated convolutions in place of windowed
    attention. A product of two vectors cannot tell "left of the saw" from "saw"; layers over the scores of several
    words can. Each layer also hears what stands elsewhere in the picture (`MapContext`): "the larger bird" needs a
    look at the other one. Padding beside the picture says nothing. The last layer starts at zero, and with it all.

    Args:
        prompt_dim: channels of the prompts.
        num_prompts: of a mask.
        dim: channels of the keys.
        heads: into which keys and prompts are parted; they divide `dim`.
        width: channels of the layers.
    """

    def __init__(self, prompt_dim: int, num_prompts: int, dim: int = _DIM, heads: int = 8, width: int = 32) -> None:
        super().__init__()
        self.query = nn.Linear(prompt_dim, dim)
        self.scores = nn.Conv2d(num_prompts * heads + _PLACES, width, kernel_size=1)
        self.sentence = nn.Linear(prompt_dim, width)
        # As far as 7 patches either way.
        self.layers = nn.ModuleList(dilated_convolution(width, dilation) for dilation in (1, 2, 4))
        self.contexts = nn.ModuleList(MapContext(width) for _ in self.layers)
        self.out = nn.Conv2d(width, 1, kernel_size=1)
        for value in self.out.parameters():
            nn.init.zeros_(value)
        self.heads = heads

    def forward(self, prompts: Tensor, keys: Tensor, places: Tensor) -> Tensor:
        """What is added to the map, [M,1,h,w].

        Args:
            prompts: float [M,Q,prompt_dim].
            keys: of the patches of each mask's picture, [M,dim,h,w].
            places: of the patches, [M,5,h,w].
        """
        query = self.query(prompts).unflatten(-1, (self.heads, -1))
        scores = torch.einsum("mqnd,mndhw->mqnhw", query, keys.unflatten(1, (self.heads, -1))).flatten(1, 2)
        scores = scores / math.sqrt(query.shape[-1])
        inside = (places[:, :2].abs() <= 1).all(1, keepdim=True)
        hidden = self.scores(torch.cat([scores, places], 1)) + self.sentence(prompts.mean(1))[..., None, None]
        hidden = F.gelu(hidden) * inside
        for layer, context in zip(self.layers, self.contexts):
            hidden = (hidden + F.gelu(layer(hidden) + context(hidden, places, inside))) * inside
        return self.out(hidden)


class MapContext(nn.Module):
    """What each patch hears of the whole picture: the places that stand out, what is there, and where that is.

    A global context block (GCNet, arXiv:1904.11492) with several attention maps, each of them told its place.

    Args:
        width: channels of the map's layers.
        heads: places attended to.
    """

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.attention = nn.Conv2d(width, heads, kernel_size=1)
        self.told = nn.Linear(heads * (width + _PLACES), width)

    def forward(self, hidden: Tensor, places: Tensor, inside: Tensor) -> Tensor:
        """The same for all patches of a map, [M,width,1,1].

        Args:
            hidden: of the layer before, [M,width,h,w].
            places: of the patches, [M,5,h,w].
            inside: bool [M,1,h,w], which patches are the picture's.
        """
        scores = self.attention(hidden)
        lowest = torch.finfo(scores.dtype).min  # not -inf: a map that is all padding would be NaN
        weights = scores.masked_fill(~inside, lowest).flatten(2).softmax(-1)
        seen = torch.cat([hidden, places], 1).flatten(2)
        return self.told(torch.einsum("mhp,mcp->mhc", weights, seen).flatten(1))[..., None, None]


class MapLevel(nn.Module):
    """Takes the level out of a similarity map and tells it to the prompts instead.

    How high a map rises says how sure it is; where it is highest says where to draw. A decoder that is given both in
    one draws nothing for sentences with words it has not been trained on.
    """

    def __init__(self, prompt_dim: int) -> None:
        super().__init__()
        self.level = nn.Linear(1, prompt_dim)
        nn.init.zeros_(self.level.weight)
        nn.init.zeros_(self.level.bias)

    def forward(self, prompts: Tensor, mask_prompt: Tensor, similarity: Tensor) -> tuple[Tensor, Tensor]:
        """Prompts [M,Q,C] that know the map's peak, and the mask prompt [M,1,h,w] below it.

        Args:
            prompts: float [M,Q,C].
            mask_prompt: the map in the frame of the mask features, [M,1,h,w].
            similarity: the map in the picture's frame, where it has its peak, [M,g,g].
        """
        peak = similarity.flatten(1).amax(1, keepdim=True)  # [M,1]
        return prompts + self.level(peak)[:, None], mask_prompt - peak[:, :, None, None]


_PLACES = 5


def _places(content: Tensor, height: int, width: int) -> Tensor:
    """x, y, x^2, y^2 and xy of each cell, [U,5,h,w]; the picture reaches from -1 to 1 either way."""
    x = (torch.arange(width, device=content.device) + 0.5) / width
    y = (torch.arange(height, device=content.device) + 0.5) / height
    left, top, right, bottom = (edge[:, None] for edge in content.float().unbind(1))
    x = (2 * (x - left) / (right - left) - 1)[:, None, :].expand(-1, height, -1)
    y = (2 * (y - top) / (bottom - top) - 1)[:, :, None].expand(-1, -1, width)
    return torch.stack([x, y, x * x, y * y, x * y], 1)
