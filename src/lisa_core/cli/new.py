"""`lisa plugins new`: a package to start a VLM family from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def new(
    name: Annotated[str, typer.Argument(help="The family's name, lower case, as for --vlm.", metavar="NAME")],
    parent: Annotated[Path, typer.Option("--dir", help="Where to write the folder lisa_NAME.")] = Path("."),
) -> None:
    """Write a complete adapter package; it installs and passes `lisa plugins check` as it is.

    Example:  lisa plugins new myvlm
    """
    from lisa_core.scaffold import write_plugin

    folder = write_plugin(name, parent)
    print(f"written: {folder}")
    print("next:")
    print(f"  pip install -e '{folder}[test]'")
    print(f"  lisa plugins check {name}")
    print(f"then change what is marked CHANGE, in the order that {folder / 'README.md'} gives")
