"""`lisa push` and `lisa pull`: models on the Hugging Face hub."""

from __future__ import annotations

import sys
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer


def push(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="What lisa export wrote.")],
    repo_id: Annotated[str, typer.Argument(metavar="ORG/NAME", help="Where to; ORG may be your user name.")],
    private: Annotated[bool, typer.Option("--private", help="Create it for you and your organization only.")] = False,
    create: Annotated[
        bool, typer.Option("--create/--no-create", help="Create the repository, or the branch, if it is not there.")
    ] = True,
    revision: Annotated[str | None, typer.Option(help="Branch to push to; default: main.")] = None,
    message: Annotated[str | None, typer.Option("--message", "-m", help="Message of the commit.")] = None,
) -> None:
    """Upload an exported model to the hub, where lisa segment ORG/NAME and lisa pull find it.

    Example:  lisa export runs/mine mine && lisa push mine ORG/NAME --private

    Log in first with hf auth login. Only the model's own files are uploaded; others in FOLDER are named and left out.
    """
    _quiet()
    from lisa_core.hub import push_to_hub

    address = push_to_hub(folder, repo_id, private, create, revision, message, _tell)
    print(f"pushed: {address}")
    print(f"others load it with Segmenter.load({repo_id!r}), or get it with: lisa pull {repo_id}")


def pull(
    repo_id: Annotated[str, typer.Argument(metavar="ORG/NAME", help="The model on the hub.")],
    out: Annotated[
        Path | None, typer.Argument(metavar="OUT", help="Folder to write; default: the hub's cache.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit; default: main.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the model that OUT holds.")] = False,
) -> None:
    """Download a model that lisa push uploaded; if that is cut off, files that came are not downloaded again.

    Example:  lisa pull ORG/NAME mine

    Without OUT it goes into the hub's cache, where lisa segment ORG/NAME finds it without a network. Only weights,
    descriptions and text are downloaded, and nothing in them is executed.
    """
    _quiet()
    from lisa_core.hub import pull as pull_model

    folder = pull_model(repo_id, out, revision, overwrite, _tell)
    shown = folder if out is None else out
    print(f"pulled: {shown}")
    print(f'next: lisa segment {repo_id if out is None else quote(str(out))} IMAGE "what to segment"')


def _tell(text: str) -> None:
    """News beside huggingface_hub's own progress bars."""
    print(text, file=sys.stderr)


def _quiet() -> None:
    """Leave it to our one line to say what went wrong; bars are for terminals, in a log they are a page of lines."""
    from huggingface_hub.utils import disable_progress_bars, logging

    logging.set_verbosity_error()
    if not sys.stderr.isatty():
        disable_progress_bars()
