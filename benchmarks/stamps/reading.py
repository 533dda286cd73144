"""What scenes.py wrote, read back: what it says of the whole, and of one object asked for."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from scene_files import SIDECAR, VERSION
from scenes import MANIFEST

from lisa_core.errors import DataError


def read_manifest(out: Path) -> dict[str, Any]:
    """The record of a whole benchmark; raises `DataError` for none, and one unfinished or of another version."""
    try:
        manifest: dict[str, Any] = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
        is_complete = bool(manifest.get("complete")) and manifest.get("version") == VERSION
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"{out} is not a benchmark that scenes.py wrote ({error}): give its folder.") from error
    if not is_complete or not {"sha256", "written_with"} <= manifest.keys():
        raise DataError(f"{out} is unfinished or of another version than {VERSION}: write it again with --force.")
    return manifest


def read_records(out: Path) -> dict[str, list[dict[str, Any]]]:
    """The scenes' records by split; raises `DataError` if there are none, or they were cut off."""
    records: dict[str, list[dict[str, Any]]] = defaultdict(list)
    try:
        for record in json.loads((out / SIDECAR).read_text(encoding="utf-8")):
            records[record["split"]].append(record)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{out} is not a benchmark that scenes.py wrote ({error}): give its folder.") from error
    return dict(records)


class Annotation(NamedTuple):
    """What a file of the benchmark says of one object, beside its mask."""

    kind: str
    """Of expression."""
    words_known: bool
    """Whether all of its nouns are those of training objects."""
    texts: tuple[str, ...]
    """Its phrasings."""


def read_annotation(path: Path) -> Annotation:
    """What is said of an object; raises `DataError` for another annotation than ours."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return Annotation(str(told["kind"]), bool(told["words_known"]), tuple(map(str, told["text"])))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no annotation of the benchmark: give the data that scenes.py wrote.") from error
