"""Runs side by side: the settings that differ, and every figure with its difference to the first run's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lisa_core.errors import ConfigError
from lisa_core.run_history import Run
from lisa_core.run_log import number
from lisa_core.settings import differences
from lisa_core.settings_file import ENVIRONMENT

_NO_SETTING = ("run.output_dir", "run.overwrite", "run.resume")  # where and how it was started: not what it is
_SURROUNDINGS = ("device", "world_size", "python")


@dataclass(frozen=True)
class Comparison:
    """Two runs or more; the lists go with `runs`."""

    runs: list[Run]
    """The first is what the others are compared with."""
    settings: dict[str, list[Any]]
    """By `section.name`: the values of a setting that is not the same in all runs; None where a run has none."""
    metrics: dict[str, list[float | None]]
    """By name, as in `metrics.jsonl` (`val.giou`, of the best epoch): the runs' figures; None where a run has none."""

    def changes(self, name: str) -> list[float | None]:
        """The differences of a figure to the first run's; None where either is missing."""
        first, *_ = values = self.metrics[name]
        return [None if value is None or first is None else value - first for value in values]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        metrics = {name: {"values": self.metrics[name], "differences": self.changes(name)} for name in self.metrics}
        return {"runs": [str(run.path) for run in self.runs], "settings": self.settings, "metrics": metrics}


def compare(runs: Sequence[Run]) -> Comparison:
    """Compare runs with the first of them.

    Raises:
        ConfigError: if there are fewer than two.
    """
    if len(runs) < 2:
        raise ConfigError(f"a comparison needs two runs or more, not {len(runs)}: name them, or a folder above them")
    configs = [{**run.config, ENVIRONMENT: dict(_surroundings(run))} for run in runs]
    first, *others = configs
    # In both directions, since a setting may be missing from either.
    found = (name for other in others for a, b in ((first, other), (other, first)) for name, _, _ in differences(a, b))
    names = [name for name in dict.fromkeys(found) if name not in _NO_SETTING]
    split = [(name, *name.split(".", 1)) for name in names]
    figures = [dict(_figures(run)) for run in runs]
    return Comparison(
        runs=list(runs),
        settings={name: [config.get(section, {}).get(key) for config in configs] for name, section, key in split},
        metrics={
            name: [figure.get(name) for figure in figures] for name in dict.fromkeys(n for f in figures for n in f)
        },
    )


def _surroundings(run: Run) -> Iterable[tuple[str, Any]]:
    """What else than settings may make the difference."""
    yield "commit", run.commit
    yield from ((name, run.environment.get(name)) for name in _SURROUNDINGS)
    versions = run.environment.get("versions")
    if isinstance(versions, dict):
        yield from versions.items()


def _figures(run: Run) -> Iterable[tuple[str, float]]:
    """Every figure of a run that is there."""
    best = run.best
    if best is not None:
        yield "val.epoch", float(best["epoch"])
        yield from _numbers("val", best["val"])
        yield from _numbers("train", {name: best.get(f"train_{name}") for name in ("giou", "loss")})
    if run.log.test is not None:
        yield from _numbers("test", {k: value for k, value in run.log.test.items() if k not in ("kind", "step")})
    yield "epochs", float(run.epochs_done)
    yield "steps", float(run.log.last_step)
    yield "left_out_steps", float(len(run.log.left_out))
    effort = ("seconds", "sentences_per_second", "peak_memory_bytes")
    yield from _numbers("", {name: getattr(run, name) for name in effort})


def _numbers(prefix: str, record: dict[str, Any]) -> Iterable[tuple[str, float]]:
    """The numbers of nested plain data, by dotted name."""
    for key, value in record.items():
        name = f"{prefix}.{key}".lstrip(".")
        if isinstance(value, dict):
            yield from _numbers(name, value)
        elif (found := number(value)) is not None:
            yield name, found
