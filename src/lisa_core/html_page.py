"""A page that needs nothing but itself: no server, no network, no library."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

from lisa_core.durable import write_whole
from lisa_core.errors import ConfigError
from lisa_core.html_samples import BOTH, IGNORED, PREDICTION_ONLY, TRUTH_ONLY, FilesBeside, Keep, inline
from lisa_core.outputs import Color

_PARTS = Path(__file__).parent / "page"
_INDEX = "index.html"


def write_page(path: Path, body: Callable[[Keep], str], title: str, option: str = "--report") -> Path:
    """Write a page, whole or not at all.

    Args:
        path: a file `X.html`, which holds its pictures; or a folder, which gets `index.html` and `images/`. Only those
            are replaced.
        body: makes the HTML within the page, given what keeps pictures.
        title: of the page.
        option: what the user chose the path by.

    Returns:
        The HTML file.

    Raises:
        ConfigError: if it cannot be written.
    """
    try:
        if path.suffix.lower() in (".html", ".htm"):
            _put(path, _document(body(inline), title))
            return path
        path.mkdir(parents=True, exist_ok=True)
        fresh = FilesBeside(path, "images.new")
        shutil.rmtree(path / fresh.name, ignore_errors=True)  # of one that was interrupted
        keep: Keep = lambda name, data: fresh(name, data).replace(fresh.name, "images", 1)  # noqa: E731
        text = _document(body(keep), title)
        shutil.rmtree(path / "images", ignore_errors=True)
        if fresh.written:
            os.replace(path / fresh.name, path / "images")
        _put(path / _INDEX, text)
        return path / _INDEX
    except OSError as error:
        raise ConfigError(f"cannot write {path} ({error.strerror or error}): choose another {option}") from error


def check_report(path: Path, option: str = "--report") -> None:
    """Raise ConfigError for a place that no page can be written to, before anything is computed."""
    is_file = path.suffix.lower() in (".html", ".htm")
    if is_file and path.is_dir():
        raise ConfigError(f"{option}: {path} is a folder, give it another name")
    if not is_file and path.exists() and not path.is_dir():
        raise ConfigError(f"{option}: {path} is a file; give a folder, or a name that ends in .html")
    # A folder is replaced by what it was given for the last time, never by what somebody else keeps in it.
    if not is_file and path.is_dir() and any(path.iterdir()) and not (path / _INDEX).is_file():
        raise ConfigError(f"{option}: {path} holds something else than a report; give a folder of its own")
    if not path.parent.is_dir():
        raise ConfigError(f"{option}: the folder {path.parent} does not exist")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of texts."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = ("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


OVERLAPS: tuple[tuple[str, Color], ...] = (
    ("truth, missed", TRUTH_ONLY),
    ("prediction, wrong", PREDICTION_ONLY),
    ("both", BOTH),
    ("ignored", IGNORED),
)
"""What the colours of truths and predictions mean."""


def tools(meanings: Sequence[tuple[str, Color]] = OVERLAPS) -> str:
    """The filter, the slider, and what the colours mean."""
    keys = "".join(
        f'<span><span class="key" style="background:rgb{color}"></span>{escape(meaning)}</span>'
        for meaning, color in meanings
    )
    return (
        '<div class="tools"><label>Filter <input id="filter" type="search" placeholder="words, id, file, source">'
        '</label><span id="shown" role="status"></span><label>Masks '
        f'<input id="opacity" type="range" min="0" max="100" value="60"></label>{keys}</div>'
    )


def _document(body: str, title: str) -> str:
    css, script = ((_PARTS / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title>\n<style>\n{css}</style></head>\n"
        f"<body><main>\n{body}\n</main>\n<script>\n{script}</script></body></html>\n"
    )


def _put(path: Path, text: str) -> None:
    # A file name can hold bytes that are not text.
    write_whole(path, text.encode("utf-8", errors="replace"))
