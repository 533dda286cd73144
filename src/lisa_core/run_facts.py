"""What may be told to others of the run a model comes from: settings and figures, but no path of this machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from lisa_core.checkpoint import META_FILE, Checkpoint, find_checkpoint
from lisa_core.config import SECTIONS
from lisa_core.errors import CheckpointError, ConfigError
from lisa_core.mixing import parse_sources
from lisa_core.run_history import Run, read_run
from lisa_core.user_path import user_path

_TOLD = (
    "model",
    "tuning",
    "data",
    "augmentation",
    "optim",
    "loss",
    "speed",
)  # of `run`, nothing says what was learnt but init_from
_EVERYWHERE = ("versions", "python", "device", "world_size", "started")
_FIGURES = ("giou", "ciou", "listening", "listening_pairs", "blank_giou", "swapped_giou", "n", "precision", "baselines")


def run_facts(checkpoint: Checkpoint) -> dict[str, Any]:
    """The facts about the run that a checkpoint comes from, as plain data for `lisa.json`.

    Returns:
        `epoch`, `step`, `val`: those of the checkpoint, as far as it says. And where the run's own files are beside
        it: `settings`: those that differ from the defaults, by `section.name`; `data`: name of the data's folder;
        `train_sentences`: sentences an epoch; `epochs`: a record each; `test`: figures of this checkpoint;
        `environment`.
    """
    known = checkpoint.meta.get("run")
    if isinstance(known, dict):  # it is no run's own, but was written by `lisa merge` or `lisa export`
        return known
    progress = checkpoint.meta.get("progress")
    progress = progress if isinstance(progress, dict) else {}
    facts: dict[str, Any] = {name: progress.get(name) for name in ("epoch", "step")}
    facts["val"] = _figures(progress.get("val"))
    run = _run_of(checkpoint.folder)
    if run is None:
        return facts
    if facts["val"] is None:
        found = [record.get("val") for record in run.log.epochs if record.get("step") == facts["step"]]
        facts["val"] = _figures(found[-1]) if found else None
    test, steps = run.log.test, run.log.steps
    masks = [count for epoch, count in zip(steps["epoch"], steps["masks"]) if epoch == 1 and count == count]
    return {
        **facts,
        "test": _figures(test) if test is not None and test.get("step") == facts["step"] else None,
        "data": _data_name(run),
        "train_sentences": int(sum(masks)) if masks else None,
        "settings": dict(_settings(run.config)),
        "epochs": [
            {name: record.get(name) for name in ("epoch", "step", "train_loss")} | {"val": _figures(record.get("val"))}
            for record in run.log.epochs
        ],
        "environment": {name: run.environment[name] for name in _EVERYWHERE if name in run.environment},
    }


def _run_of(folder: Path) -> Run | None:
    """The run that a checkpoint lies in, RUN/checkpoints/step-N or RUN/best; None for a checkpoint by itself."""
    real = folder.resolve()
    for parent in (real.parent.parent, real.parent):
        try:
            return read_run(parent)
        except ConfigError:  # none there, or damaged: then nothing is known of it
            continue
    return None


def _figures(record: Any) -> dict[str, Any] | None:
    return {name: record[name] for name in _FIGURES if name in record} if isinstance(record, dict) else None


def _data_name(run: Run) -> str | None:
    section = run.config["data"]
    data = section.get("data")
    if not isinstance(data, str) or not data:
        return None
    try:
        sources = parse_sources(data, section.get("dataset"))
    except (ConfigError, TypeError, AttributeError):
        return last_name(data)
    return last_name(data) if len(sources) == 1 else " + ".join(source.name for source in sources)


_PATHS = (("data", "data"), ("data", "dataset"))  # told by `_data_name`


def _settings(config: dict[str, dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Settings that differ from the defaults, paths cut down to their last names."""
    for section in _TOLD:
        for item in dataclasses.fields(SECTIONS[section]):
            value = config.get(section, {}).get(item.name, item.default)
            value = tuple(value) if isinstance(value, list) else value
            if value != item.default and (section, item.name) not in _PATHS:
                yield f"{section}.{item.name}", _told(value)
    init_from = config.get("run", {}).get("init_from")
    if isinstance(init_from, str):
        yield "run.init_from", last_name(init_from)


def _told(value: Any) -> Any:
    """A setting's value without the folders of this machine; several names may be joined by `+`, or follow a `=`."""
    if isinstance(value, tuple):
        return [_told(item) for item in value]
    if not isinstance(value, str):
        return value
    name, equals, rest = value.rpartition("=")
    return name + equals + "+".join(_base_name(part) if _is_path(part) else part for part in rest.split("+"))


def _is_path(name: str) -> bool:
    absolute = PurePosixPath(name).is_absolute() or PureWindowsPath(name).is_absolute()
    return absolute or name.startswith((".", "~")) or "\\" in name or name.count("/") > 1


def model_around(vlm: Path) -> Checkpoint | None:
    """The merged or exported model whose `vlm` (or half of it) a folder is; None for any other folder."""
    for parent in list(vlm.parents)[:2]:
        if vlm.is_dir() and (parent / META_FILE).is_file():
            try:
                return find_checkpoint(parent)
            except CheckpointError:
                return None
    return None


def _base_name(path: str) -> str:
    """The last name of a path; of a part of a model, which is called `vlm` in all of them, with the model's name."""
    folder = user_path(path)
    model = model_around(folder)
    return last_name(path) if model is None else folder.relative_to(model.folder.parent).as_posix()


def last_name(path: str) -> str:
    """The last name of a path, of whatever system."""
    return PureWindowsPath(user_path(path).resolve() if path.startswith(".") else path).name or "data"
