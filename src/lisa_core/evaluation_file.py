"""The JSON that `lisa eval` writes: figures for whoever reads it, and every sentence's counts for what comes later."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lisa_core.errors import ConfigError
from lisa_core.records import SampleRecord


@dataclass(frozen=True)
class StoredEvaluation:
    """An evaluation read back."""

    path: Path
    """Its file."""
    about: dict[str, Any]
    """Everything but the sentences."""
    records: list[SampleRecord]
    """One for each sentence."""


def evaluation_path(folder: Path, split: str) -> Path:
    """Where the evaluation of a run or checkpoint on a split is."""
    return folder / f"eval_{split.replace('/', '_')}.json"


def write_evaluation(path: Path, record: dict[str, Any], records: list[SampleRecord]) -> Path:
    """Write figures and sentences, whole or not at all, and return the path; raises ConfigError if that fails."""
    samples = [one.to_dict() for one in records]
    # A line for each sentence: large files can be looked through.
    lines = ",\n".join(json.dumps(sample, allow_nan=False) for sample in samples)
    text = json.dumps({**record, "samples": []}, allow_nan=False)
    assert text.endswith("[]}")
    temporary = path.with_name(path.name + ".new")
    try:
        temporary.write_text(f"{text[:-2]}\n{lines}\n]}}\n", encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise ConfigError(f"cannot write {path} ({error.strerror or error}): choose another --output") from error
    return path


def read_evaluation(path: Path, split: str = "val") -> StoredEvaluation:
    """Read what `lisa eval` wrote.

    Args:
        path: the file, or the folder of a run or checkpoint.
        split: which evaluation of a folder.

    Raises:
        ConfigError: in one line, if there is none, or it is damaged.
    """
    if path.is_dir():
        folder, path = path, evaluation_path(path, split)
        if not path.is_file():
            raise ConfigError(f"{folder} was not evaluated on split {split}: run `lisa eval {folder} --split {split}`")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise TypeError(f"it holds a {type(content).__name__}")
        samples = content.pop("samples", None)
        if not isinstance(samples, list) or not samples:
            raise TypeError("it has no `samples`")
        records = [SampleRecord.from_dict(sample) for sample in samples]
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist: give a file that `lisa eval` wrote, or a run's folder") from error
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{path} is no evaluation ({reason}): write it again with `lisa eval`") from error
    if len({record.id for record in records}) < len(records):
        raise ConfigError(f"{path} holds a sentence twice: write it again with `lisa eval`")
    return StoredEvaluation(path, content, records)
