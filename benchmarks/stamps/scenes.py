"""Composes the benchmark: photographs with pasted cut-outs, and sentences that each mean one of them.

    .venv/bin/python benchmarks/stamps/scenes.py OUT [--train 4000 --val 300 --test 300 --seed 0 --workers 2]

writes `OUT/{train,val,test_unseen}` in the ReasonSeg layout, one annotation for each object asked for,
`OUT/scenes.json` with what each scene is made of, and `OUT/benchmark.json` with counts, splits and a hash of all
files. A scene depends on the seed, its split and its number alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from catalogue import SPLITS, Material, load_material
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from scene_files import SIDECAR, VERSION, Files, make_files
from view import KINDS

from lisa_core.data.links import link_or_copy
from lisa_core.data.scene_folder import prepare_scene_folder
from lisa_core.errors import ConfigError, DataError, LisaError

MANIFEST = "benchmark.json"
"""File that marks a folder as written by this script."""

_GENERATOR = "benchmarks/stamps"


@dataclass(frozen=True)
class Counts:
    """How many scenes each split has."""

    train: int = 4000
    val: int = 300
    test_unseen: int = 300


def synthesize(
    out: Path, material: Material, counts: Counts, seed: int = 0, workers: int = 1, force: bool = False
) -> dict[str, Any]:
    """Write the benchmark below `out` and return its manifest.

    Raises `ConfigError` for settings out of range, `DataError` for a folder that cannot be written or holds something
    else.
    """
    wanted = {split: getattr(counts, split) for split in SPLITS}
    if min(wanted.values()) < 0 or not any(wanted.values()) or max(wanted.values()) > 99_999 or seed < 0 or workers < 1:
        raise ConfigError(
            "counts are 0 to 99999 scenes, not all 0, a seed is 0 or more, workers are 1 or more: change the settings."
        )
    jobs = [(split, index) for split in SPLITS for index in range(wanted[split])]
    started = time.monotonic()
    try:
        prepare_scene_folder(out, MANIFEST, _GENERATOR, SPLITS, force)
        summary = _Summary()
        with (out / SIDECAR).open("w", encoding="utf-8") as sidecar, _progress() as bar:
            task = bar.add_task("scenes", total=len(jobs))
            for files in _made(jobs, material, seed, workers):
                summary.add(files, _write(out / files.split, files))
                sidecar.write(("," if summary.scenes > 1 else "[") + "\n" + json.dumps(files.record))
                bar.advance(task)
            sidecar.write("\n]\n")
        manifest = {
            "generator": _GENERATOR,
            "version": VERSION,
            "complete": True,
            "seed": seed,
            "written_with": {"pillow": PIL.__version__, "numpy": np.__version__},
            "counts": {split: dict(counts) for split, counts in summary.counts.items()},
            "kinds": {split: {kind: found[kind] for kind in KINDS} for split, found in summary.kinds.items()},
            "objects": {split: sorted(keys) for split, keys in summary.objects.items()},
            "backgrounds": {split: sorted(keys) for split, keys in summary.backgrounds.items()},
            "sha256": combined_hash(summary.hashes),
            "sha256_annotations": combined_hash(
                {name: found for name, found in summary.hashes.items() if name.endswith(".json")}
            ),
            "seconds": round(time.monotonic() - started, 1),
        }
        (out / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(f"{out} cannot be written ({error.strerror or error}): choose another folder.") from error
    return manifest


def combined_hash(hashes: dict[str, str]) -> str:
    """SHA-256 over the files' names and SHA-256, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(hashes):
        digest.update(f"{name}\0{hashes[name]}\n".encode())
    return digest.hexdigest()


class _Summary:
    """What was written so far, by split."""

    def __init__(self) -> None:
        self.scenes = 0
        self.counts: dict[str, Counter[str]] = {}
        self.kinds: dict[str, Counter[str]] = {}
        self.objects: dict[str, set[str]] = {}
        self.backgrounds: dict[str, set[str]] = {}
        self.hashes: dict[str, str] = {}

    def add(self, files: Files, written: dict[str, bytes]) -> None:
        split, record = files.split, files.record
        self.scenes += 1
        counts = self.counts.setdefault(split, Counter())
        asked = record["asked"]
        counts.update(scenes=1, annotations=len(asked), texts=sum(len(one["text"]) for one in asked))
        counts.update(annotations_with_rivals=sum(one["rivals"] > 0 for one in asked))
        counts.update(annotations_with_two_rivals=sum(one["rivals"] > 1 for one in asked))
        counts.update(scenes_with_two_rivals=any(one["rivals"] > 1 for one in asked))
        counts.update(annotations_with_new_nouns=sum(not one["words_known"] for one in asked))
        self.kinds.setdefault(split, Counter()).update(one["kind"] for one in asked)
        self.objects.setdefault(split, set()).update(item["stamp"] for item in record["objects"])
        self.backgrounds.setdefault(split, set()).add(record["background"])
        for name, content in written.items():
            self.hashes[f"{split}/{name}"] = hashlib.sha256(content).hexdigest()


def _made(jobs: list[tuple[str, int]], material: Material, seed: int, workers: int) -> Iterator[Files]:
    """The scenes in order, made by several processes."""
    make = partial(_make_job, material, seed)
    if workers == 1:
        yield from map(make, jobs)
        return
    context = multiprocessing.get_context("spawn")  # a fork would inherit whatever threads the parent has
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(make,)) as pool:
        yield from pool.map(_work, jobs, chunksize=8)


_worker_make: Any = None


def _start_worker(make: Any) -> None:
    global _worker_make
    _worker_make = make


def _work(job: tuple[str, int]) -> Files:
    files: Files = _worker_make(job)
    return files


def _make_job(material: Material, seed: int, job: tuple[str, int]) -> Files:
    return make_files(material, seed, *job)


def _write(folder: Path, files: Files) -> dict[str, bytes]:
    """Write one pair per object asked for, the picture once, and return names and contents."""
    folder.mkdir(exist_ok=True)
    picture = folder / f"{files.stem}_0.jpg"
    picture.write_bytes(files.jpeg)
    written = {}
    for number, annotation in enumerate(files.annotations):
        name = f"{files.stem}_{number}"
        (folder / f"{name}.json").write_bytes(annotation)
        if number:
            link_or_copy(picture, folder / f"{name}.jpg")
        written[f"{name}.jpg"], written[f"{name}.json"] = files.jpeg, annotation
    return written


def _progress() -> Progress:
    return Progress(
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("scenes, ETA"),
        TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--train", type=int, default=Counts.train, help="training scenes")
    parser.add_argument(
        "--val", type=int, default=Counts.val, help="scenes with training objects, on other photographs"
    )
    parser.add_argument("--test", type=int, default=Counts.test_unseen, help="scenes with objects never trained on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes; the result does not depend on them")
    parser.add_argument("--force", action="store_true", help="replace scenes this script wrote")
    options = parser.parse_args()
    try:
        counts = Counts(options.train, options.val, options.test)
        manifest = synthesize(options.out, load_material(), counts, options.seed, options.workers, options.force)
    except LisaError as error:
        sys.exit(f"error: {error}")
    print(f"version {VERSION}, seed {options.seed}, {manifest['seconds']} s, sha256 {manifest['sha256']}")
    for split, counted in manifest["counts"].items():
        objects, photographs = len(manifest["objects"][split]), len(manifest["backgrounds"][split])
        kinds = ", ".join(f"{kind} {number}" for kind, number in manifest["kinds"][split].items())
        asked = f"{counted['annotations']} objects asked for in {counted['texts']} texts"
        print(f"{split}: {counted['scenes']} scenes, {asked}")
        print(f"  {objects} cut-outs, {photographs} photographs; {kinds}")
        print(
            f"  two rivals that the noun might mean, too: {counted['annotations_with_two_rivals']} of the objects, "
            f"in {counted['scenes_with_two_rivals']} scenes; a noun of no training object: "
            f"{counted['annotations_with_new_nouns']} of the objects"
        )


if __name__ == "__main__":
    main()
