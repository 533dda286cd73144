"""`lisa merge`: adapters into the weights they adapt."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated, Literal

import typer

from lisa_core.cli.steps import steps


def merge(
    checkpoint: Annotated[
        str, typer.Argument(metavar="RUN", help="Run folder (its best checkpoint) or checkpoint with LoRA adapters.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")],
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"] | None,
        typer.Option(help="What the VLM's weights are stored as; default: float32, as they are loaded."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the model that OUT holds.")] = False,
) -> None:
    """Merge a run's LoRA adapters into the weights they adapt: the same masks, from a model without adapters.

    Example:  lisa merge runs/mine merged

    OUT is a checkpoint that lisa segment, eval and export take, without the run or its base. OUT/vlm is a checkpoint
    of transformers' own (of clip-llm: OUT/vlm/vision and OUT/vlm/language), to train on from.
    """
    with steps() as say:
        from lisa_core.build import source_names
        from lisa_core.checkpoint import find_checkpoint
        from lisa_core.merge import merge_checkpoint
        from lisa_core.staging import size_of

        folder = merge_checkpoint(checkpoint, out, dtype, overwrite, say)
        merged = find_checkpoint(folder)
        if merged.meta["merged_from"] is not None:
            say(
                f"the adapters were trained beside weights rounded to {merged.meta['merged_from']} and are now in "
                "whole ones: masks can differ slightly (lisa eval tells)"
            )
    base = "+".join(source_names(merged.model_config)).replace(str(folder), str(out))
    print(f"merged: {out} ({size_of(folder) / 1e6:.1f} MB)")
    print(f'next: lisa segment {quote(str(out))} IMAGE "what to segment"')
    print(f"to train on from it: lisa train --vlm-model-name {quote(base)} --init-from {quote(str(out))} ...")
