"""`lisa export`: a trained model as a folder to share."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated, Literal

import typer

from lisa_core.cli.steps import steps


def export(
    checkpoint: Annotated[
        str, typer.Argument(metavar="RUN", help="Run folder (its best checkpoint), checkpoint, or merged model.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")],
    merge: Annotated[
        bool | None,
        typer.Option(
            "--merge/--no-merge",
            help="Make LoRA adapters part of the weights, or keep them apart. Default: merge, but not for a run with "
            "4- or 8-bit weights, which would need the memory of whole ones.",
            show_default=False,
        ),
    ] = None,
    base: Annotated[
        bool,
        typer.Option(
            "--base/--no-base", help="Put the VLM's weights in. Without: a small folder that names them on the hub."
        ),
    ] = True,
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"] | None,
        typer.Option(help="What the VLM's weights are stored as; default: float32, as they are loaded."),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option("--license", help="The hub's name of the model's licence; default: the base's, if it is known."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the model that OUT holds.")] = False,
) -> None:
    """Write a trained model as a folder that needs nothing else: neither the run, nor its base, nor the network.

    Example:  lisa export runs/mine mine

    It can be moved, loaded with lisa segment or Segmenter.load, and pushed to the hub with lisa push. README.md in it
    is a model card made from the run: data, figures, settings, versions.
    """
    with steps() as say:
        from lisa_core.export import export_model
        from lisa_core.staging import size_of

        folder = export_model(checkpoint, out, merge, base, dtype, licence, overwrite, say)
    print(f"exported: {out} ({size_of(folder) / 1e6:.1f} MB); read {out / 'README.md'}, it will be public")
    print(f'next: lisa segment {quote(str(out))} IMAGE "what to segment"')
    print(f"  or: lisa push {quote(str(out))} ORG/NAME")
