"""A run's `metrics.jsonl` read without torch, while it is being written or after the run was cut off as well."""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lisa_core.errors import ConfigError
from lisa_core.run_files import METRICS_FILE


def number(value: object) -> float | None:
    """The value if it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return None
    return found if math.isfinite(found) else None


class Columns:
    """Numbers by name, a row for each record; NaN where a record has no such number. Small, since runs are long."""

    def __init__(self) -> None:
        self.rows = 0
        self._columns: dict[str, array[float]] = {}

    def add(self, record: dict[str, Any]) -> None:
        """Add a row."""
        for name, value in record.items():
            if name not in self._columns and number(value) is not None:
                self._columns[name] = array("d", [math.nan]) * self.rows
        for name, column in self._columns.items():
            value = number(record.get(name))
            column.append(math.nan if value is None else value)
        self.rows += 1

    def names(self) -> list[str]:
        """The columns there are."""
        return list(self._columns)

    def __getitem__(self, name: str) -> array[float]:
        """float64 [rows]; all NaN for a name that no record had."""
        found = self._columns.get(name)
        return array("d", [math.nan]) * self.rows if found is None else found


@dataclass
class RunLog:
    """What a run logged so far."""

    steps: Columns = field(default_factory=Columns)
    """A row for each optimizer step: `step`, `epoch`, `lr`, the loss terms, `loss`, `giou`, `masks`, `grad_norm`."""
    left_out: list[int] = field(default_factory=list)
    """Numbers of the steps that were left out for a loss or gradient that was not finite."""
    epochs: list[dict[str, Any]] = field(default_factory=list)
    """Records of the epochs; each has an `epoch` and a `step`, and a `val` with a `giou` if it was validated."""
    test: dict[str, Any] | None = None
    """Record of the test."""
    damaged: list[int] = field(default_factory=list)
    """Numbers of the lines that cannot be read, from 1."""
    lines: int = 0
    """How many lines there are."""
    breaks_off: bool = False
    """Whether the last line is damaged and has no end: it is being written, or was cut off."""

    @property
    def last_step(self) -> int:
        """Optimizer steps so far, those left out included."""
        steps = [int(step) for step in self.steps["step"][-1:]]
        return max([*steps, *self.left_out, *(int(record["step"]) for record in self.epochs)], default=0)

    def notes(self) -> Iterable[str]:
        """What its reader should know, one phrase each."""
        inner = self.damaged[:-1] if self.breaks_off else self.damaged
        if self.breaks_off:
            yield f"the last line of {METRICS_FILE} is incomplete and was left out (being written, or cut off)"
        if inner:
            shown = ", ".join(map(str, inner[:5])) + (f" and {len(inner) - 5} more" if len(inner) > 5 else "")
            yield f"damaged lines of {METRICS_FILE} were left out: {shown}"


def read_log(path: Path) -> RunLog:
    """Read a `metrics.jsonl`; lines that are damaged are left out and counted, kinds that are not known are left out.

    Raises:
        ConfigError: if the file cannot be read at all.
    """
    log = RunLog()
    try:
        # A line cut in the middle of a character must not keep the others from being read.
        with open(path, encoding="utf-8", errors="replace") as file:
            for log.lines, line in enumerate(file, start=1):
                if line.strip() and not _take(log, line):
                    log.damaged.append(log.lines)
                    log.breaks_off = not line.endswith("\n")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror or error})") from error
    return log


def _take(log: RunLog, line: str) -> bool:
    """Put one line where it belongs; False if it is damaged."""
    try:
        # NaN and Infinity are no JSON, and whoever reads ours again may refuse them.
        record = json.loads(line, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return False
    if not isinstance(record, dict):
        return False
    kind = record.get("kind")
    if kind in ("step", "skip", "epoch") and number(record.get("step")) is None:
        return False
    if kind == "step":
        log.steps.add(record)
    elif kind == "skip":
        log.left_out.append(int(record["step"]))
    elif kind == "epoch":
        if number(record.get("epoch")) is None:
            return False
        val = record.get("val", {"giou": 0.0})
        if not isinstance(val, dict) or number(val.get("giou")) is None:
            return False
        log.epochs.append(record)
    elif kind == "test":
        log.test = record
    return True
