"""Saving a run: checkpoints to go on from, written by all processes together, and what is told of them afterwards."""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from lisa_core.checkpoint import META_FILE, save_checkpoint
from lisa_core.config import TrainConfig
from lisa_core.durable import write_whole
from lisa_core.engine import Engine, strategy
from lisa_core.errors import CheckpointError
from lisa_core.model import LisaModel
from lisa_core.position import Position
from lisa_core.processes import Processes
from lisa_core.run_folder import BEST, LAST, RunFolder
from lisa_core.stored_weights import state_to_save
from lisa_core.training_state import write_state

_INTACT = "what was saved before is intact"


@dataclass
class RunSaver:
    """Writes a run's checkpoints."""

    config: TrainConfig
    """Of the run."""
    model: LisaModel
    """What it trains."""
    engine: Engine
    """How; its optimizer and random numbers are part of a checkpoint."""
    folder: RunFolder
    """Of the run."""
    processes: Processes
    """All of which save together."""
    fingerprint: str
    """Of the training data."""
    saved_step: int | None
    """The step whose checkpoint is there already."""

    def save(self, position: Position) -> None:
        """Write a checkpoint to go on from, unless this step has one; all processes together.

        Raises:
            CheckpointError: on every process, if one of them cannot write.
        """
        processes, folder = self.processes, self.folder
        if position.step == self.saved_step:
            return
        if processes.is_main:
            position.log_size = folder.log_size()
        facts = {
            "position": dataclasses.asdict(position),
            "engine": self.engine.plain_state(),
            "config": dataclasses.asdict(self.config),
            "world_size": processes.world_size,
            "strategy": strategy(self.config, processes),
            "data": self.fingerprint,
        }
        target = folder.checkpoint(position.step)
        shares = target.with_name(target.name + ".shares")
        weights = state_to_save(self.model)

        def write(to: Path) -> None:
            with self.engine.saveable_optimizer() as optimizer:
                write_state(to, processes.rank, optimizer if self.engine.writes_optimizer else None, facts)

        def write_more(fresh: Path) -> None:
            write(fresh)
            for path in shares.glob("state/*"):
                path.rename(fresh / "state" / path.name)

        failure: list[CheckpointError] = []
        try:
            if not processes.is_main:
                shares.mkdir(parents=True, exist_ok=True)
                write(shares)
        except (OSError, SafetensorError) as error:
            failure = [CheckpointError(f"the training state cannot be written ({error}): free space; {_INTACT}")]
        failure = processes.gather(failure)
        if not failure and processes.is_main:
            try:
                save_checkpoint(target, self.model, _progress(position, None), weights, write_more)
                folder.point(LAST, target)
                folder.prune(self.config.run.keep_last)
            except CheckpointError as error:
                failure = [error]
            except OSError as error:
                failure = [CheckpointError(f"{folder.path} cannot be written to ({error}): free space; {_INTACT}")]
        failure = processes.gather(failure)
        if processes.is_main:
            shutil.rmtree(shares, ignore_errors=True)
        if failure:
            raise failure[0]
        self.saved_step = position.step

    def mark_best(self, position: Position, val: dict[str, Any]) -> None:
        """Add a validation result to the description of the position's checkpoint, and let `best` mean that one.

        For the main process alone.
        """
        checkpoint = self.folder.checkpoint(position.step)
        path = checkpoint / META_FILE
        meta = json.loads(path.read_text(encoding="utf-8"))
        meta["progress"] = _progress(position, val)
        write_whole(path, (json.dumps(meta, indent=2) + "\n").encode())
        self.folder.point(BEST, checkpoint)


def _progress(position: Position, val: dict[str, Any] | None) -> dict[str, Any]:
    return {"epoch": position.epoch, "step": position.step, "val": val}
