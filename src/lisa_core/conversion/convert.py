"""A dataset of any format read, and written in another one: whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lisa_core.conversion.own import JsonlWriter, LabelmeWriter, ReasonSegWriter
from lisa_core.conversion.published import CocoWriter, GReferWriter, ReferWriter, Sa2VAWriter
from lisa_core.conversion.targets import targets_of
from lisa_core.conversion.writer import Masks, Writer, write_json
from lisa_core.data import OnError, open_dataset
from lisa_core.durable import put_in_place
from lisa_core.errors import ConfigError, DataError
from lisa_core.formats import ALIASES, AUTO
from lisa_core.inspection.opened import Dataset
from lisa_core.user_path import user_path

TARGETS: dict[str, type[Writer]] = {
    "jsonl": JsonlWriter,
    "reasonseg": ReasonSegWriter,
    "coco": CocoWriter,
    "refer": ReferWriter,
    "grefcoco": GReferWriter,
    "sa2va": Sa2VAWriter,
    "labelme": LabelmeWriter,
}
"""What can be written, by format."""

SUMMARY = "conversion.json"
"""Says what a folder was made from; only a folder that has it is ever replaced."""

Progress = Callable[[str, int, int], None]
"""Told the split, how many of its samples are done, and how many there are."""


@dataclass
class Conversion:
    """What `convert_dataset` did."""

    source: str
    """The dataset that was read."""
    source_format: str
    """Its format."""
    format: str
    """The format written."""
    masks: str
    """The form of the outlines."""
    splits: dict[str, dict[str, int]] = field(default_factory=dict)
    """`samples` read and `targets` they are of, by split."""
    lost: dict[str, int] = field(default_factory=dict)
    """What the format cannot hold, and how often that was; empty if everything was kept."""
    skipped: list[str] = field(default_factory=list)
    """A line for each annotation or sample that cannot be used."""

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return dict(vars(self))


def convert_dataset(
    root: str | Path,
    out: str | Path,
    to: str,
    *,
    format: str = AUTO,
    splits: Sequence[str] | None = None,
    masks: Masks | None = None,
    on_error: OnError = "fail",
    force: bool = False,
    progress: Progress | None = None,
) -> Conversion:
    """Write a dataset in another format, its pictures copied. Masks are exact to the pixel in every form.

    Args:
        root: folder of the dataset, or `hf:ORG/NAME`.
        out: folder to write; made when missing.
        to: one of `TARGETS`, or `refcoco` and its like.
        format: as of `open_dataset`.
        splits: those to convert; None: all that are there.
        masks: how outlines are written; None: as is usual in the format.
        on_error: what is broken stops the conversion, or is left out.
        force: replace what an earlier conversion wrote to `out`.
        progress: is told how far it got.

    Raises:
        ConfigError: when the format cannot be written, or `out` holds something else or cannot be written.
        DataError: for broken data, and when there is nothing to convert.
    """
    to = ALIASES.get(to, to)
    if to not in TARGETS:
        raise ConfigError(f"{to} cannot be written: choose one of {', '.join(TARGETS)}")
    writer_class = TARGETS[to]
    masks = masks or writer_class.forms[0]
    if masks not in writer_class.forms:
        raise ConfigError(f"{to} holds no {masks} masks: choose one of {', '.join(writer_class.forms)}")
    dataset = Dataset(root, format, splits)
    place = check_place(out, dataset.root, force)
    if dataset.errors:
        raise DataError(dataset.errors[0][2])
    result = Conversion(str(root), dataset.format, to, masks)
    stage = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}.new")
    try:
        stage.mkdir(parents=True)
        writer = writer_class(stage, masks)
        _write(dataset, writer, result, on_error, progress)
        if not any(counts["targets"] for counts in result.splits.values()):
            raise DataError(result.skipped[0] if result.skipped else f"{root} has no sample to convert.")
        result.lost = {what: count for what, count in writer.lost.items() if count}
        write_json(stage / SUMMARY, result.to_dict())
        put_in_place(stage, place)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"{out} cannot be written ({reason}): free space, or choose another folder") from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return result


def check_place(out: str | Path, root: str | Path, force: bool) -> Path:
    """The absolute path of a folder that may be written; raises `ConfigError` before anything is read."""
    place = Path(os.path.realpath(user_path(out)))
    if place.exists() and not place.is_dir():
        raise ConfigError(f"{out} is a file: give the name of a new folder")
    source = Path(os.path.realpath(root))
    if isinstance(root, Path) and (place == source or place in source.parents or source in place.parents):
        raise ConfigError(f"{out} and {root} lie in one another: choose a folder elsewhere")
    if place.is_dir() and any(place.iterdir()):
        if not (place / SUMMARY).is_file():
            raise ConfigError(f"{out} holds something else than a converted dataset: choose another folder")
        if not force:
            raise ConfigError(f"{out} is not empty: choose another folder, or replace the dataset there (--force)")
    return place


def _write(dataset: Dataset, writer: Writer, result: Conversion, on_error: OnError, progress: Progress | None) -> None:
    try:
        for opened in dataset.open():
            lines = [line for _, _, line in opened.errors]
            if lines and (on_error == "fail" or opened.dataset is None):
                raise DataError(lines[0])
            if opened.dataset is None:
                continue
            if any(sample.kind != "mask" for sample in opened.dataset.samples):
                raise ConfigError(
                    f"{dataset.root} has answers in words alone or several targets in one answer, which formats of one "
                    "mask a sentence cannot hold: leave it as it is"
                )
            first = open_dataset(dataset.root, opened.split, "first", on_error="skip", format=dataset.format)
            firsts = {sample.id for sample in first.samples}
            del first
            skipped: list[tuple[Path, str]] = []
            counts = result.splits[opened.split] = {"samples": 0, "targets": 0}
            for target in targets_of(opened.dataset, firsts, on_error, skipped):
                writer.add(Path(opened.split).name, target)
                counts["samples"] += len(target.samples)
                counts["targets"] += 1
                if progress is not None:
                    progress(opened.split, counts["samples"] + len(skipped), len(opened.dataset))
            result.skipped += list(dict.fromkeys([*lines, *(line for _, line in skipped)]))
    finally:
        writer.close()
