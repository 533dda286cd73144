"""What the `tiny` models start from: an offline tokenizer that reads any string, and positions that mean places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

TINY_IMAGE = 96
"""Side of the picture that a tiny model sees, in pixels."""
TINY_PATCH = 8
"""Side of its patches, in pixels."""
TINY_WIDTH = 128
"""Width of its hidden states, vision and text."""

# The usual 0.02 suits wide models. At this width it lets a sentence change the state at [SEG] by 0.03% of its power,
# which then takes a thousand steps to learn from; about 1/sqrt(width) keeps signals alive from the first step.
_INITIALIZER_RANGE = 0.08

# Common words of referring expressions become one token each; any other word falls back to pieces and bytes.
_WORDS = """
user assistant
a an the this that these those it its is are was be of to in on at by for with and or not no all any one two three
what which who where when how there here can could would you me i we they he she his her their my your please find
show segment mask point out select mark highlight outline object thing item shape picture image photo scene region
red green blue yellow orange purple pink white black brown grey gray cyan magenta teal dark light bright pale
circle disc disk square triangle star ring cross hexagon heart diamond rectangle oval ellipse pentagon plus box ball
dot line stripe striped stripes dotted dots checkered chequered checked plain solid spotted pattern patterned
textured filled hollow round flat
large larger largest big bigger biggest small smaller smallest tiny little huge tall taller tallest short shorter
shortest wide wider widest narrow thin thick long longer longest
left right top bottom upper lower middle centre center far near nearest next above below under over beside between
behind front corner edge side leftmost rightmost topmost bottommost highest lowest closest very inside outside
man woman person people boy girl child dog cat horse bird car bus truck bike chair table cup mug bottle plate glass
book phone door window tree flower grass sky water road house hand head wearing holding sitting standing
"""


def tiny_tokenizer(special_tokens: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer of about a thousand tokens; the same one every time.

    Args:
        special_tokens: extra tokens that must be one id each, such as image placeholders.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    named = ["<pad>", "<s>", "</s>", *special_tokens]
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        min_frequency=1,
        special_tokens=named,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words = _WORDS.split()
    forms = [form for word in words for form in (f" {word}", f" {word.capitalize()}", word.capitalize(), word)]
    tokenizer.train_from_iterator(forms, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=list(special_tokens),
        padding_side="right",
    )


def grid_positions(side: int, width: int, amplitude: float = 0.5) -> Tensor:
    """Sine and cosine position embeddings of a square grid, float32 [side*side,width], row-major.

    As of "Attention Is All You Need" (arXiv:1706.03762, section 3.5), half the width for x and half for y. Starting a
    small tower's learned table here instead of at noise spares it from finding out first which patches are neighbours.
    """
    frequencies = torch.logspace(0, -2, width // 4) * math.pi / 1.5
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    angles = [axis.flatten()[:, None] * frequencies for axis in (x, y)]
    return amplitude * torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1)


def tiny_vision_config(**changes: Any) -> dict[str, Any]:
    """Sizes of a tiny vision tower, by the names most transformers configs use; `changes` are added or replaced."""
    return {
        "hidden_size": TINY_WIDTH,
        "intermediate_size": 2 * TINY_WIDTH,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": TINY_IMAGE,
        "patch_size": TINY_PATCH,
        "initializer_range": _INITIALIZER_RANGE,
        **changes,
    }


def tiny_text_config(tokenizer: Any, **changes: Any) -> dict[str, Any]:
    """Sizes of a tiny language model, by the names most transformers configs use; `changes` are added or replaced."""
    return {
        "hidden_size": TINY_WIDTH,
        "intermediate_size": 3 * TINY_WIDTH,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "vocab_size": len(tokenizer) + 1,  # [SEG]
        "max_position_embeddings": 4096,
        "initializer_range": _INITIALIZER_RANGE,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        **changes,
    }
