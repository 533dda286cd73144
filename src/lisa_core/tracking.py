"""Logging to TensorBoard, Weights & Biases, trackio and whatever else accelerate knows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from accelerate.tracking import LOGGER_TYPE_TO_CLASS
from accelerate.utils import LoggerType
from PIL import Image

from lisa_core.config import TrainConfig
from lisa_core.discovery import one_line
from lisa_core.errors import ConfigError
from lisa_core.processes import Processes


def check_trackers(names: Sequence[str]) -> None:
    """Raise ConfigError for a tracker that accelerate does not know, or whose package is not installed."""
    from accelerate.tracking import get_available_trackers

    known = sorted(str(name) for name in LOGGER_TYPE_TO_CLASS)
    available = {str(name) for name in get_available_trackers()}
    for name in names:
        if name not in known:
            raise ConfigError(f"--track {name} is not known: choose among {', '.join(known)}")
        if name not in available:
            raise ConfigError(f"--track {name} needs its package: run `pip install {name}`")


class Tracking:
    """The trackers of a run; without any, nothing happens."""

    def __init__(self, config: TrainConfig, processes: Processes) -> None:
        self.accelerator = processes.accelerator
        self.active = bool(config.run.track)
        if not self.active:
            return
        settings = {
            f"{section}.{name}": value if isinstance(value, (int, float, str, bool)) else str(value)
            for section, values in dataclasses.asdict(config).items()
            for name, value in values.items()
        }
        try:
            self.accelerator.init_trackers(config.run.track_project, config=settings)
        except Exception as error:  # each service fails in its own way: no login, no network, a folder not writable
            raise ConfigError(f"--track {' '.join(config.run.track)} cannot start: {one_line(error)[:200]}") from error

    def log(self, prefix: str, record: dict[str, Any], step: int) -> None:
        """Log the numbers of a record as `prefix/name`."""
        if self.active:
            self.accelerator.log({f"{prefix}/{key}": value for key, value in _as_numbers(record).items()}, step=step)

    def picture(self, name: str, image: Image.Image, step: int) -> None:
        """Log a picture, where the tracker takes pictures."""
        if not self.active or not self.accelerator.is_main_process:
            return
        for tracker in self.accelerator.trackers:
            if tracker.name == LoggerType.TENSORBOARD.value:
                tracker.log_images({name: np.asarray(image)[None]}, step=step, dataformats="NHWC")
            elif hasattr(tracker, "log_images"):
                tracker.log_images({name: [image]}, step=step)

    def finish(self) -> None:
        """Let the trackers write what they still hold."""
        if self.active:
            self.accelerator.end_training()


def _as_numbers(record: dict[str, Any]) -> dict[str, float]:
    """The numbers of a record, as trackers take them."""
    return {
        key: float(value)
        for key, value in record.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
