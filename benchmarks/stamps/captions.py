"""What each training scene shows, in words, as conversations in LLaVA-Instruct's format: for aligning a projector.

    python benchmarks/stamps/captions.py data captions

`captions/train.json` has a conversation for each training scene of `data`, whose pictures are linked beside it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from catalogue import Material, load_material
from reading import read_manifest, read_records

from lisa_core.data.links import link_or_copy
from lisa_core.data.llava_instruct import IMAGE_PLACEHOLDER
from lisa_core.errors import DataError, LisaError

_PLURAL = {"binoculars", "boars", "cherries", "flowers", "grapes", "leaves", "pliers", "scissors"}
"""Last words of names that take no article."""
QUESTION = f"{IMAGE_PLACEHOLDER}\nWhat is in this picture, from left to right?"


def caption(record: dict[str, Any], names: dict[str, str]) -> str:
    """The objects of a scene by their names, in the order of their left edges.

    Args:
        record: one of `scenes.json`.
        names: what each cut-out is called.
    """
    found = sorted(record["objects"], key=lambda thing: thing["left"])
    words = [_with_article(names[thing["stamp"]]) for thing in found]
    text = words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
    return f"{text[0].upper()}{text[1:]}."


def _with_article(name: str) -> str:
    words = name.split()
    is_proper = words[0].islower() and words[-1].istitle()  # planet Mars
    if words[-1] in _PLURAL or is_proper:
        return name
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def write(data: Path, out: Path, material: Material) -> int:
    """Write the conversations; returns how many there are.

    Raises:
        DataError: if `data` is not what `scenes.py` wrote, or `out` is there already or cannot be written.
    """
    read_manifest(data)
    records = read_records(data).get("train", [])
    if out.exists():
        raise DataError(f"{out} is there already: remove it, or give another folder")
    if not records:
        raise DataError(f"{data} has no scenes to train on: write some with scenes.py.")
    names = {stamp.key: stamp.words.names[0] for stamp in material.stamps}
    entries = []
    try:
        out.mkdir(parents=True)
        for record in records:
            name = f"scene_{record['scene']:05d}.jpg"
            link_or_copy(data / "train" / f"scene_{record['scene']:05d}_0.jpg", out / name)
            turns = [{"from": "human", "value": QUESTION}, {"from": "gpt", "value": caption(record, names)}]
            entries.append({"id": name.removesuffix(".jpg"), "image": name, "conversations": turns})
        (out / "train.json").write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        what = f"{error.filename or out}: {error.strerror or error}"
        raise DataError(f"{what}; mend that, remove {out} and begin again") from error
    return len(entries)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="what scenes.py wrote")
    parser.add_argument("out", type=Path, help="folder to write")
    options = parser.parse_args()
    try:
        print(f"{write(options.data, options.out, load_material())} conversations in {options.out}")
    except LisaError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
