"""The folder that a generator writes scenes to: emptied of its own files alone, and marked as begun."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from lisa_core.errors import DataError

_SCENE_FILES = re.compile(r"scene_\d{5,}_\d+\.(jpg|json)")


def prepare_scene_folder(folder: Path, manifest: str, generator: str, splits: Sequence[str], force: bool) -> None:
    """Make the folder, or empty its splits of scenes, and write a manifest that says that they are not complete.

    Args:
        folder: for the splits' folders.
        manifest: name of the file that says what was written; where it is, the files are the generator's.
        generator: what writes them, by name.
        splits: folders of scenes.
        force: replace what the generator wrote.

    Raises:
        DataError: if it is a file, holds something else, or holds scenes that are not to be replaced.
        OSError: if it cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file: choose a folder to write the scenes to.")
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        if not (folder / manifest).is_file():
            raise DataError(f"{folder} is not empty and was not written by `{generator}`: choose another folder.")
        if not force:
            raise DataError(f"{folder} already holds scenes: choose another folder, or replace them with --force.")
        for split in splits:
            for path in (folder / split).glob("scene_*"):
                if _SCENE_FILES.fullmatch(path.name):
                    path.unlink()
    # Written first, so that a run that was interrupted can be repeated with --force.
    begun = json.dumps({"generator": generator, "complete": False})
    (folder / manifest).write_text(begun + "\n", encoding="utf-8")
