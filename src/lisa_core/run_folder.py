"""A run's folder: its config, its log, its checkpoints and which of them are the best and the last.

config.json                every setting resolved, versions, git state, command line
metrics.jsonl              a line for each step, epoch, left-out step and test
checkpoints/step-00000120  weights and JSON, and in the newest ones `state/` to go on from
best, last                 links to two of them
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from lisa_core.checkpoint import META_FILE
from lisa_core.durable import sync, write_whole
from lisa_core.errors import ConfigError
from lisa_core.run_files import BEST, CHECKPOINTS, CONFIG_FILE, LAST, METRICS_FILE
from lisa_core.training_state import STATE_FOLDER

_STEP = re.compile(r"step-(\d+)")


class RunFolder:
    """The files of one run; only the main process writes them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def holds_run(self) -> bool:
        """Whether a run was started here."""
        return any((self.path / name).exists() for name in (CONFIG_FILE, CHECKPOINTS, BEST, LAST))

    def check(self, overwrite: bool) -> None:
        """Raise ConfigError unless a new run can be put here."""
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f"--output-dir {self.path} is a file: give a folder")
        if self.holds_run() and not overwrite:
            raise ConfigError(
                f"{self.path} already holds a run: choose another --output-dir, go on with it (--resume auto), or add "
                "--overwrite"
            )
        above = next(path for path in (self.path, *self.path.absolute().parents) if path.exists())
        try:
            tempfile.TemporaryFile(dir=above).close()
        except OSError as error:
            raise ConfigError(f"--output-dir {self.path} cannot be written to ({error}): choose another") from error
        foreign = [path for path in (self.path / CHECKPOINTS).glob("*") if not _STEP.match(path.name)]
        foreign += [self.path / name for name in (BEST, LAST) if self._is_foreign(self.path / name)]
        if foreign:
            raise ConfigError(f"{foreign[0]} is no checkpoint and would be replaced: choose another --output-dir")

    def create(self) -> None:
        """Make the folder, without what an earlier run left: a run cut off early must not be taken for that one."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if (self.path / CONFIG_FILE).exists():
                for name in (BEST, LAST):
                    self.remove(self.path / name)
                self.remove(self.path / CHECKPOINTS)
                for path in self.path.glob("eval_*.json"):
                    path.unlink()
            (self.path / CHECKPOINTS).mkdir(exist_ok=True)
            tempfile.TemporaryFile(dir=self.path).close()
            (self.path / METRICS_FILE).write_text("", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"--output-dir {self.path} cannot be written to ({error}): choose another") from error

    def write_config(self, resolved: dict[str, Any]) -> None:
        """Write `config.json`, whole or not at all."""
        write_whole(self.path / CONFIG_FILE, (json.dumps(resolved, indent=2) + "\n").encode())

    def log(self, record: dict[str, Any]) -> None:
        """Add a line to `metrics.jsonl`."""
        with open(self.path / METRICS_FILE, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def log_size(self) -> int:
        """Bytes of the log, safe on the disk."""
        path = self.path / METRICS_FILE
        sync(path)
        return path.stat().st_size

    def cut_log(self, size: int) -> None:
        """Forget what was logged after a checkpoint that held `size` bytes: those steps are done again."""
        path = self.path / METRICS_FILE
        if path.is_file() and path.stat().st_size > size:
            os.truncate(path, size)

    def checkpoint(self, step: int) -> Path:
        """Where the checkpoint after a step is."""
        return self.path / CHECKPOINTS / f"step-{step:08d}"

    def recover(self) -> None:
        """Take back a checkpoint whose replacement was cut off between the two renames of `save_checkpoint`."""
        for stale in (self.path / CHECKPOINTS).glob("step-*.old"):
            place = stale.with_suffix("")
            if not place.exists() and (stale / META_FILE).is_file():
                stale.rename(place)

    def checkpoints(self) -> list[Path]:
        """All complete checkpoints, oldest first."""
        found = [path for path in (self.path / CHECKPOINTS).glob("step-*") if _STEP.fullmatch(path.name)]
        return sorted((path for path in found if (path / META_FILE).is_file()), key=_step_of)

    def point(self, name: str, checkpoint: Path) -> None:
        """Let `best` or `last` mean a checkpoint; it means the old one or the new one at any moment."""
        fresh = self.path / f"{name}.new"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(Path(CHECKPOINTS) / checkpoint.name, target_is_directory=True)
        os.replace(fresh, self.path / name)
        sync(self.path)

    def prune(self, keep_last: int) -> None:
        """Remove all but the newest checkpoints and the best one; of an older best, its state."""
        kept = self.checkpoints()[-keep_last:]
        best = (self.path / BEST).resolve()
        for path in self.checkpoints():
            if path not in kept:
                self.remove(path / STATE_FOLDER if path.resolve() == best else path)
        for path in (self.path / CHECKPOINTS).glob("*.*"):  # what was cut off
            if path.suffix in (".new", ".old", ".gone"):
                shutil.rmtree(path, ignore_errors=True)

    def remove(self, path: Path) -> None:
        """Remove a link or a folder; a folder is renamed first, so that no half of one is ever found."""
        if path.is_symlink():
            path.unlink()
        elif path.exists():
            gone = (
                (self.path / CHECKPOINTS / f"{path.parent.name}-{path.name}.gone") if path.parent != self.path else None
            )
            gone = gone or path.with_name(f"{path.name}.gone")
            shutil.rmtree(gone, ignore_errors=True)
            path.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)

    @staticmethod
    def _is_foreign(path: Path) -> bool:
        return path.exists() and not (path / META_FILE).is_file()


def _step_of(path: Path) -> int:
    match = _STEP.fullmatch(path.name)
    assert match is not None
    return int(match[1])
