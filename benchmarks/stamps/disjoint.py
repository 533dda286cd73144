"""Proves that no picture or photograph of the validation split, and nothing of the test split, was trained on.

    .venv/bin/python benchmarks/stamps/disjoint.py OUT [--recompose 10]

The exit code is 1, with each leak named, if some was. Pictures, photographs and cut-outs are compared by the SHA-256 of
their pixels and, for near duplicates, by small thumbnails, mirrored ones included. The files must be those that were
hashed when they were written. What a scene is made of is read from `OUT/scenes.json`; some scenes of each split are
composed again and must come out as they lie on disk, so that the record is the truth.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from catalogue import SPLITS, Material, load_material
from cutout import read_cutout
from material import read_picture
from PIL import Image
from reading import read_manifest, read_records
from scene_files import SIDECAR, make_files
from scenes import MANIFEST, combined_hash

from lisa_core.errors import DataError, LisaError

SAME_CUTOUT = 12.0
"""Mean difference of two cut-outs' thumbnails, 0..255, below which they count as one."""

SAME_PHOTOGRAPH = 6.0
"""The same for whole pictures and photographs."""

_SIDE = 16  # pixels of a thumbnail
_SHAPE_TOLERANCE = 1.15  # factor between the aspect ratios of near duplicates


@dataclass(frozen=True)
class Print:
    """What one picture is recognised by."""

    name: str
    sha256: str
    """Of its size and pixels."""
    thumbnail: np.ndarray
    """float32 [C*16*16], 0..255."""
    aspect: float
    """Width over height."""

    def mirrored(self) -> np.ndarray:
        """The thumbnail of its mirror image."""
        return self.thumbnail.reshape(_SIDE, _SIDE, -1)[:, ::-1].ravel()


def fingerprint(name: str, image: Image.Image) -> Print:
    """Of an RGB picture, or of an RGBA cut-out, whose hidden colours do not count."""
    pixels = np.asarray(image)
    if image.mode == "RGBA":
        pixels = np.where(pixels[:, :, 3:] > 0, pixels, 0)
        grey = Image.new("RGBA", image.size, (128, 128, 128, 255))
        grey.alpha_composite(image)
        planes = [grey.convert("RGB"), image.getchannel("A")]
    else:
        planes = [image]
    thumbnails = [
        np.asarray(plane.resize((_SIDE, _SIDE), Image.Resampling.BOX), dtype=np.float32).reshape(_SIDE, _SIDE, -1)
        for plane in planes
    ]
    digest = hashlib.sha256(repr((image.mode, image.size)).encode() + np.ascontiguousarray(pixels).tobytes())
    return Print(
        name, digest.hexdigest(), np.concatenate(thumbnails, axis=2).ravel(), image.width / max(image.height, 1)
    )


def compare(what: str, ours: list[Print], theirs: list[Print], threshold: float) -> tuple[list[str], float]:
    """A line for each of `ours` that is, or nearly is, one of `theirs`, and the smallest distance that was met."""
    leaks: list[str] = []
    hashes = {one.sha256: one.name for one in theirs}
    smallest = float("inf")
    if not theirs:
        return leaks, smallest
    gallery = np.stack([one.thumbnail for one in theirs])
    aspects = np.array([one.aspect for one in theirs])
    for one in ours:
        if one.sha256 in hashes:
            leaks.append(f"{what} {one.name} has the pixels of {hashes[one.sha256]}")
            continue
        alike = np.maximum(aspects / one.aspect, one.aspect / aspects) <= _SHAPE_TOLERANCE
        distances = np.minimum(
            np.abs(gallery - one.thumbnail).mean(axis=1), np.abs(gallery - one.mirrored()).mean(axis=1)
        )
        distances = np.where(alike, distances, np.inf)
        nearest = int(distances.argmin())
        smallest = min(smallest, float(distances[nearest]))
        if distances[nearest] < threshold:
            leaks.append(f"{what} {one.name} looks like {theirs[nearest].name} (distance {distances[nearest]:.1f})")
    return leaks, smallest


def check(out: Path, material: Material, recompose: int = 10, say: Callable[[str], None] = print) -> list[str]:
    """A line for each leak of the benchmark below `out`; raises `DataError` when it is not complete."""
    manifest = read_manifest(out)
    records = read_records(out)
    splits = [split for split in SPLITS if split in records]
    missing = [out / split for split in splits if not (out / split).is_dir()]
    if missing:
        raise DataError(f"{missing[0]} is missing: write the benchmark again with scenes.py {out} --force.")
    hashes = {split: _hashes(out / split) for split in splits}
    leaks = changed(out, manifest, hashes) + recorded(out, records)
    pictures = {split: _pictures(hashes[split]) for split in splits}
    used = {split: {item["stamp"] for record in records[split] for item in record["objects"]} for split in splits}
    photographs = {split: {record["background"] for record in records[split]} for split in splits}
    stamps = {stamp.key: stamp for stamp in material.stamps}
    backgrounds = {background.key: background for background in material.backgrounds}

    def report(what: str, ours: list[Print], theirs: list[Print], threshold: float, against: str) -> None:
        found, smallest = compare(what, ours, theirs, threshold)
        leaks.extend(found)
        verdict = f"{len(found)} LEAKS" if found else "none shared"
        nearest = f"nearest at {smallest:.1f}, {threshold} counts as one"
        say(f"{len(ours)} {what}s against {len(theirs)} of {against}: {verdict}, {nearest}")

    cutouts = {
        split: [fingerprint(key, read_cutout(stamps[key].path)) for key in sorted(keys & stamps.keys())]
        for split, keys in used.items()
    }
    scenery = {
        split: [
            fingerprint(key, read_picture(backgrounds[key].path, "RGB")) for key in sorted(keys & backgrounds.keys())
        ]
        for split, keys in photographs.items()
    }
    leaks += [f"{split} shows the unknown {key}" for split in splits for key in sorted(used[split] - stamps.keys())]
    for split in splits[1:] if splits[:1] == ["train"] else []:
        report(f"{split} picture", pictures[split], pictures["train"], SAME_PHOTOGRAPH, "train")
        report(f"{split} photograph", scenery[split], scenery["train"], SAME_PHOTOGRAPH, "train")
    for other in ("train", "val"):
        if other in splits and "test_unseen" in splits:
            report("test_unseen cut-out", cutouts["test_unseen"], cutouts[other], SAME_CUTOUT, other)
    if "val" in splits and "test_unseen" in splits:
        report("test_unseen picture", pictures["test_unseen"], pictures["val"], SAME_PHOTOGRAPH, "val")
        report("test_unseen photograph", scenery["test_unseen"], scenery["val"], SAME_PHOTOGRAPH, "val")
    leaks += recomposed(out, material, manifest, records, recompose, say)
    return leaks


def changed(out: Path, manifest: dict[str, Any], hashes: dict[str, dict[Path, str]]) -> list[str]:
    """A line if the files, whose hashes are given by split, are not those that `benchmark.json` has the hash of."""
    ours = {
        f"{split}/{path.name}": found
        for split, files in hashes.items()
        for path, found in files.items()
        if path.name.startswith("scene_")
    }
    if combined_hash(ours) == manifest["sha256"]:
        return []
    return [f"the files are not those whose hash {MANIFEST} has: write them again with scenes.py {out} --force"]


def can_recompose(manifest: dict[str, Any]) -> bool:
    """Whether scenes would come out pixel for pixel."""
    return bool(manifest["written_with"] == _here())


def _here() -> dict[str, str]:
    return {"pillow": PIL.__version__, "numpy": np.__version__}


def recorded(out: Path, records: dict[str, list[dict[str, Any]]]) -> list[str]:
    """A line for each picture that no record speaks of: nobody could say what it shows."""
    leaks = []
    for split, lines in records.items():
        known = {f"scene_{line['scene']:05d}_{number}" for line in lines for number in range(len(line["asked"]))}
        found = {path.stem for path in (out / split).iterdir() if path.suffix in (".jpg", ".jpeg", ".png")}
        leaks += [f"{split}/{stem} is not recorded in {SIDECAR}" for stem in sorted(found - known)]
        leaks += [f"{split}/{stem} is recorded but missing" for stem in sorted(known - found)]
    return leaks


def recomposed(
    out: Path,
    material: Material,
    manifest: dict[str, Any],
    records: dict[str, list[dict[str, Any]]],
    count: int,
    say: Callable[[str], None] = print,
) -> list[str]:
    """A line for each of `count` scenes a split, spread evenly, that differs from what the record and disk say."""
    if not can_recompose(manifest):
        say(f"not composed again: written with {manifest['written_with']}, this is {_here()}")
        return []
    leaks, checked = [], 0
    for split, lines in records.items():
        for position in np.unique(np.linspace(0, len(lines) - 1, min(count, len(lines))).astype(int)).tolist():
            line = lines[position]
            files = make_files(material, manifest["seed"], split, line["scene"])
            picture = out / split / f"{files.stem}_0.jpg"
            on_disk = picture.read_bytes() if picture.is_file() else b""
            same = files.jpeg == on_disk and json.loads(json.dumps(files.record)) == line
            checked += 1
            if not same:
                leaks.append(f"{split}/{files.stem} is not what its seed composes (another processor may differ)")
    say(f"{checked} scenes composed again: {'all as recorded' if not leaks else f'{len(leaks)} DIFFER'}")
    return leaks


def _hashes(folder: Path) -> dict[Path, str]:
    """SHA-256 of every file of a split, in the order of the names."""
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def _pictures(hashes: dict[Path, str]) -> list[Print]:
    """Every different picture of a split, of its files' hashes."""
    images = (path for path in hashes if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    first = {hashes[path]: path for path in reversed(list(images))}
    return [fingerprint(f"{path.parent.name}/{path.name}", _rgb(path)) for path in sorted(first.values())]


def _rgb(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}): write the scenes again with --force.") from error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="what scenes.py wrote")
    parser.add_argument("--recompose", type=int, default=10, help="scenes of each split to compose again")
    options = parser.parse_args()
    if options.recompose < 0:
        parser.error("--recompose must be at least 0")
    try:
        leaks = check(options.out, load_material(), options.recompose)
    except LisaError as error:
        sys.exit(f"error: {error}")
    for leak in leaks:
        print(f"LEAK: {leak}")
    is_proved = options.recompose > 0 and can_recompose(read_manifest(options.out))
    if leaks:
        print(f"{len(leaks)} leaks")
    else:
        print("the splits are disjoint" + ("" if is_proved else f", if {SIDECAR} is true: no scene was composed again"))
    sys.exit(1 if leaks else 0)


if __name__ == "__main__":
    main()
