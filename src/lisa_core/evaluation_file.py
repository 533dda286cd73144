"""The JSON that `lisa eval` writes: figures for whoever reads it, and every sentence's counts for what comes later."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lisa_core.durable import write_whole
from lisa_core.errors import ConfigError
from lisa_core.records import SampleRecord, shortened
from lisa_core.user_path import user_path

_HOW_DRAWN = ("protocol", "mask_temperature", "flip_test")
"""What an evaluation says of it."""
_OTHERWISE = r"_(generated|all_phrasings|first\d|temperature\d|flip_test|no_flip_test).*"
"""What follows the split in the name of an evaluation that is not of all of it, or not as the model does by itself."""


@dataclass(frozen=True)
class StoredEvaluation:
    """An evaluation read back."""

    path: Path
    """Its file."""
    about: dict[str, Any]
    """Everything but the sentences."""
    records: list[SampleRecord]
    """One for each sentence."""


def evaluation_path(
    folder: Path,
    split: str,
    protocol: str | None = "teacher-forced",
    phrasings: str = "first",
    first: int | None = None,
    temperature: float | None = None,
    flipped: bool | None = None,
) -> Path:
    """Where the evaluation of a run or checkpoint on a split is.

    Args:
        folder: of the run or checkpoint.
        split: which split.
        protocol: of `Protocol`; None for masks of a file.
        phrasings: which sentences of a target.
        first: how many sentences, if not all.
        temperature: that masks were cut with, if not as the model cuts them by itself.
        flipped: whether masks were flip-tested, if not as the model does by itself.
    """
    parts = [
        f"eval_{split.replace('/', '_')}",
        *([] if protocol in (None, "teacher-forced") else [protocol]),
        *([] if phrasings == "first" else [f"{phrasings}_phrasings"]),
        *([] if first is None else [f"first{first}"]),
        *([] if temperature is None else [f"temperature{temperature:g}"]),
        *([] if flipped is None else ["flip_test" if flipped else "no_flip_test"]),
    ]
    return folder / f"{'_'.join(parts)}.json"


def replaced(path: Path, about: dict[str, Any], records: list[SampleRecord]) -> str | None:
    """In a few words, the evaluation in a file if one to be written is no repetition of it; None: nothing is lost.

    A repetition is of the same sentences and truths, wherever the data are, drawn in the same way.
    """
    try:
        old = read_evaluation(path) if path.is_file() else None
    except ConfigError:
        old = None  # damaged
    if old is None or (_sentences(old.records) == _sentences(records) and not _drawn_otherwise(old, about)):
        return None
    facts = [f"{key} {old.about[key]}" for key in ("checkpoint", "predictions", "data") if old.about.get(key)]
    facts += filter(None, [how_drawn(old.about)])
    facts.append(f"{len(old.records)} sentences")
    if isinstance(old.about.get("giou"), float):
        facts.append(f"gIoU {old.about['giou']:.4f}")
    return f"another evaluation ({', '.join(facts)})"


def how_drawn(about: dict[str, Any]) -> str | None:
    """By which protocol, how masks were cut if not at logit 0, and whether flip-tested; None: they are a file's."""
    protocol, temperature = about.get("protocol"), about.get("mask_temperature")
    ways = [] if temperature is None else [f"mask temperature {temperature:g}"]
    ways += ["flip test"] if about.get("flip_test") else []
    return f"{protocol} with {' and '.join(ways)}" if ways else protocol


def _sentences(records: list[SampleRecord]) -> set[tuple[str, str, int, int]]:
    return {(record.id, record.text, record.truth_pixels, record.counted_pixels) for record in records}


def _drawn_otherwise(old: StoredEvaluation, about: dict[str, Any]) -> bool:
    # Files of before there were flip tests do not name them.
    if any((old.about.get(key) or None) != (about.get(key) or None) for key in _HOW_DRAWN):
        return True
    checkpoint, before = about.get("checkpoint"), old.about.get("checkpoint")
    # The file in a checkpoint's own folder is about that one, by whatever path it was given.
    if checkpoint is None or before is None or user_path(checkpoint).resolve() == old.path.parent.resolve():
        return False
    return bool(before != checkpoint)


def write_evaluation(path: Path, record: dict[str, Any], records: list[SampleRecord]) -> Path:
    """Write figures and sentences, whole or not at all, and return the path; raises ConfigError if that fails."""
    samples = [one.to_dict() for one in records]
    # A line for each sentence: large files can be looked through.
    lines = ",\n".join(json.dumps(sample, allow_nan=False) for sample in samples)
    text = json.dumps({**record, "samples": []}, allow_nan=False)
    assert text.endswith("[]}")
    try:
        write_whole(path, f"{text[:-2]}\n{lines}\n]}}\n".encode())
    except OSError as error:
        raise ConfigError(f"cannot write {path} ({error.strerror or error}): choose another --output") from error
    return path


def read_evaluation(path: Path, split: str = "val") -> StoredEvaluation:
    """Read what `lisa eval` wrote.

    Args:
        path: the file, or the folder of a run or checkpoint.
        split: which evaluation of a folder: that on all of the split, teacher-forced.

    Raises:
        ConfigError: in one line, if there is none, or it is damaged.
    """
    if path.is_dir():
        folder, path = path, evaluation_path(path, split)
        if not path.is_file():
            command = f"run `lisa eval {folder} --data DATA --split {split}`"
            kinds = re.compile(re.escape(path.stem) + _OTHERWISE + re.escape(path.suffix))
            others = sorted(other.name for other in folder.iterdir() if kinds.fullmatch(other.name))
            if others:
                raise ConfigError(
                    f"{folder} was not evaluated on all of split {split}, teacher-forced: {command}, or give one of "
                    f"the files there: {', '.join(others)}"
                )
            raise ConfigError(f"{folder} was not evaluated on split {split}: {command}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise TypeError(f"it holds a {type(content).__name__}")
        samples = content.pop("samples", None)
        if not isinstance(samples, list) or not samples:
            raise TypeError("it has no `samples`")
        records = [_record(sample, number) for number, sample in enumerate(samples, start=1)]
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist: give a file that `lisa eval` wrote, or a run's folder") from error
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{path} is no evaluation ({reason}): write it again with `lisa eval`") from error
    if len({record.id for record in records}) < len(records):
        raise ConfigError(f"{path} holds a sentence twice: write it again with `lisa eval`")
    return StoredEvaluation(path, content, records)


def _record(sample: Any, number: int) -> SampleRecord:
    """One sentence; raises TypeError or ValueError that names it."""
    try:
        return SampleRecord.from_dict(sample)
    except (TypeError, ValueError) as error:
        name = sample.get("id") if isinstance(sample, dict) else None
        named = f"sample {number}, {shortened(name)}" if isinstance(name, str) else f"sample {number}"
        raise type(error)(f"{named}: {error}") from error
