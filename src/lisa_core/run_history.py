"""Runs found on the disk: what each was, how far it came and how good it got. Needs no torch, so it answers at once."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal, get_args

from lisa_core.discovery import one_line
from lisa_core.errors import ConfigError
from lisa_core.model_config import TuningConfig
from lisa_core.run_files import CHECKPOINTS, CONFIG_FILE, METRICS_FILE
from lisa_core.run_log import RunLog, number, read_log
from lisa_core.settings_file import ENVIRONMENT
from lisa_core.user_path import user_path

Sort = Literal["gIoU", "cIoU", "started", "name"]
"""What runs are sorted by: the best validation result or the newest first, or from A to Z."""


@dataclass(frozen=True)
class Run:
    """One run, as its folder tells it."""

    path: Path
    """The folder."""
    config: dict[str, dict[str, Any]]
    """All settings by section, the learning rate's default resolved."""
    environment: dict[str, Any]
    """Versions, git state, command line, time of the start."""
    log: RunLog
    """What it logged so far."""
    last_write: datetime
    """When it last logged something."""

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.resolve().name

    @property
    def family(self) -> str:
        """The VLM family."""
        return str(self.config["model"].get("vlm"))

    @property
    def model(self) -> str | None:
        """Hub name, folder or `tiny`; a pair's two joined by `+`; None for the family's default."""
        model = self.config["model"]
        pair = [model.get("image_encoder_model_name"), model.get("text_encoder_model_name")]
        if all(pair):
            return "+".join(map(str, pair))
        name = model.get("vlm_model_name")
        return None if name is None else str(name)

    @property
    def trains(self) -> str:
        """What happens to the VLM: `full`, `freeze`, `lora r=16`, `lora r=16 4bit`, ..."""
        known = {item.name for item in dataclasses.fields(TuningConfig)}
        tuning = TuningConfig(**{name: value for name, value in self.config["tuning"].items() if name in known})
        language, vision = str(tuning.language), str(tuning.vision)
        parts = [{"train": "full", "lora": f"lora r={tuning.vlm_lora_r}"}.get(language, language)]
        # LoRA is on the language model, and the vision tower frozen, unless said otherwise.
        if vision != ("train" if language == "train" else "freeze"):
            parts.append(f"+ vision {'full' if vision == 'train' else vision}")
        if tuning.quantization is not None:
            parts.append(str(tuning.quantization))
        return " ".join(parts)

    @property
    def epochs_planned(self) -> int | None:
        """Epochs asked for; None if the config does not say."""
        planned = number(self.config["optim"].get("num_epochs"))
        return None if planned is None else int(planned)

    @property
    def epochs_done(self) -> int:
        """Epochs that were trained (and validated, where that was asked for)."""
        return max((int(record["epoch"]) for record in self.log.epochs), default=0)

    @property
    def state(self) -> Literal["finished", "unfinished"]:
        """`finished` once all epochs are done; unfinished runs may be running, stopped or dead: see `last_write`."""
        return "finished" if self.epochs_planned and self.epochs_done >= self.epochs_planned else "unfinished"

    @property
    def best(self) -> dict[str, Any] | None:
        """Record of the epoch with the best validation gIoU, the first of equals, which `best/` is of; None without."""
        validated = [record for record in self.log.epochs if "val" in record]
        return max(validated, key=lambda record: record["val"]["giou"], default=None)

    @property
    def seconds(self) -> float:
        """Time spent training in the epochs that are done, without validation."""
        return sum(number(record.get("seconds")) or 0.0 for record in self.log.epochs)

    @property
    def sentences_per_second(self) -> float | None:
        """Training throughput over the epochs that are done; None before the first."""
        done = {int(record["epoch"]) for record in self.log.epochs}
        steps = self.log.steps
        masks = sum(count for epoch, count in zip(steps["epoch"], steps["masks"]) if epoch in done and count == count)
        return masks / self.seconds if self.seconds else None

    @property
    def peak_memory_bytes(self) -> int | None:
        """The most memory that one process held, on its GPU if it used one; None before the end of the first epoch."""
        peaks = [number(record.get("peak_memory_bytes")) for record in self.log.epochs]
        return int(max(filter(None, peaks), default=0)) or None

    @property
    def seed(self) -> int | None:
        """Seed of everything random."""
        return self.config["optim"].get("seed")

    @property
    def commit(self) -> str | None:
        """Commit of the repository the run was started in, `+` behind it if there were changes; None outside of one."""
        git = self.environment.get("git")
        if not isinstance(git, dict) or not git.get("commit"):
            return None
        return f"{git['commit']}{'+' if git.get('dirty') else ''}"

    @property
    def started(self) -> datetime | None:
        """When it was started, in UTC; None if the config does not say."""
        try:
            found = datetime.fromisoformat(self.environment["started"])
        except (KeyError, TypeError, ValueError):
            return None
        return found if found.tzinfo is not None else found.replace(tzinfo=timezone.utc)

    def to_dict(self) -> dict[str, Any]:
        """The run as plain data for JSON; figures have the names of `metrics.jsonl`."""
        best, started = self.best, self.started
        return {
            "path": str(self.path),
            "name": self.name,
            "family": self.family,
            "model": self.model,
            "trains": self.trains,
            "state": self.state,
            "epochs_done": self.epochs_done,
            "epochs_planned": self.epochs_planned,
            "steps": self.log.last_step,
            "left_out_steps": len(self.log.left_out),
            "best": None if best is None else {"epoch": best["epoch"], "step": best["step"], **best["val"]},
            "test": None if self.log.test is None else {k: v for k, v in self.log.test.items() if k != "kind"},
            "seconds": self.seconds,
            "sentences_per_second": self.sentences_per_second,
            "peak_memory_bytes": self.peak_memory_bytes,
            "data": self.config["data"].get("data"),
            "seed": self.seed,
            "commit": self.commit,
            "started": None if started is None else started.isoformat(),
            "last_write": self.last_write.isoformat(timespec="seconds"),
            "notes": list(self.log.notes()),
        }


def is_run(folder: Path) -> bool:
    """Whether a run was started in a folder; its files may be damaged or gone."""
    parts = [(folder / name).exists() for name in (CONFIG_FILE, METRICS_FILE, CHECKPOINTS)]
    return sum(parts) >= 2 or parts[1]  # a config.json alone is that of any model


def find_runs(paths: Iterable[str | Path]) -> list[Path]:
    """The folders of all runs at or below some paths, each once: in the order of the paths, below a path by name.

    Raises:
        ConfigError: if a path is not there, or there is no run at or below it.
    """
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        root = user_path(path)
        if not root.is_dir():
            raise ConfigError(f"{path} is not there or is no folder: give the folder of a run, or one that holds runs")
        runs = list(_runs_below(root))
        if not runs:
            raise ConfigError(
                f"there is no run at or below {path}: give the --output-dir of a `lisa train`, or a folder above it"
            )
        for run in runs:
            found.setdefault(run.resolve(), run)
    return list(found.values())


def _runs_below(root: Path) -> Iterable[Path]:
    for here, names, _ in os.walk(root):  # does not follow links, such as `best` and `last`
        folder = Path(here)
        inside = is_run(folder)
        if inside:
            yield folder
        names[:] = sorted(name for name in names if not name.startswith(".") and not (inside and name == CHECKPOINTS))
        yield from (folder / name for name in names if (folder / name).is_symlink() and is_run(folder / name))


def read_run(folder: Path) -> Run:
    """Read one run.

    Raises:
        ConfigError: in one line, if its config or its log is missing or damaged.
    """
    path = folder / CONFIG_FILE
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise TypeError(f"it holds a {type(config).__name__}")
        environment = config.pop(ENVIRONMENT, None)
        absent = [name for name in ("model", "tuning", "data", "optim") if not isinstance(config.get(name), dict)]
        if absent:
            raise TypeError(f"it has no {', '.join(absent)}: is it the config of a run?")
    except FileNotFoundError as error:
        raise ConfigError(f"{path} is missing, so there is no telling what was trained") from error
    except (OSError, ValueError, TypeError, RecursionError) as error:
        reason = str(error) if isinstance(error, TypeError) else one_line(error)
        raise ConfigError(f"{path} is damaged ({reason})") from error
    environment = environment if isinstance(environment, dict) else {}
    config = {name: section for name, section in config.items() if isinstance(section, dict)}
    if config["optim"].get("learning_rate") is None:
        config["optim"]["learning_rate"] = environment.get("learning_rate")
    log = folder / METRICS_FILE
    if not log.is_file():
        raise ConfigError(f"{log} is missing, so there is no telling how it went")
    written = datetime.fromtimestamp(log.stat().st_mtime, timezone.utc)
    return Run(folder, config, environment, read_log(log), written)


def read_runs(folders: Iterable[Path]) -> tuple[list[Run], dict[Path, str]]:
    """All runs that can be read, and for the others, by folder, one line that says why not."""
    runs: list[Run] = []
    faults: dict[Path, str] = {}
    for folder in folders:
        try:
            runs.append(read_run(folder))
        except ConfigError as error:
            faults[folder] = str(error)
    return runs, faults


def sorted_runs(runs: Sequence[Run], by: Sort = "gIoU") -> list[Run]:
    """The runs in order; those that lack the figure come last, and equals are sorted by path.

    Raises:
        ConfigError: if they cannot be sorted by that.
    """
    if by not in get_args(Sort):
        raise ConfigError(f"runs are not sorted by {by!r}: choose among {', '.join(get_args(Sort))}")
    if by == "name":
        return sorted(runs, key=lambda run: (run.name, str(run.path)))
    rank: dict[str, Callable[[Run], float | None]] = {
        "gIoU": lambda run: run.best["val"]["giou"] if run.best else None,
        "cIoU": lambda run: number(run.best["val"].get("ciou")) if run.best else None,
        "started": lambda run: run.started.timestamp() if run.started else None,
    }

    def place(run: Run) -> tuple[float, str]:
        value = rank[by](run)
        return (float("inf") if value is None else -value, str(run.path))

    return sorted(runs, key=place)
