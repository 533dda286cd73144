"""Going on where an earlier run stopped: which checkpoint, whether it may be, and what it fills in."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

from lisa_core.checkpoint import META_FILE, find_checkpoint
from lisa_core.config import TrainConfig
from lisa_core.data import SegmentationDataset
from lisa_core.data.mixture import first_samples
from lisa_core.discovery import one_line
from lisa_core.engine import Engine, strategy
from lisa_core.errors import CheckpointError, ConfigError
from lisa_core.position import Position
from lisa_core.processes import Processes
from lisa_core.run_folder import BEST, LAST, RunFolder
from lisa_core.settings import differences
from lisa_core.training_state import read_facts, read_state
from lisa_core.user_path import user_path

# What may be another at a resumption: it is about where and how the same sums are computed, and what is shown of them.
_FREE = (
    *("data.data", "data.num_workers", "optim.on_nan", "speed.attn", "speed.compile", "speed.gradient_checkpointing"),
    *("run.output_dir", "run.device", "run.overwrite", "run.save_every", "run.keep_last", "run.resume", "run.run_test"),
    *("run.init_from", "run.num_processes", "run.track", "run.track_project", "run.sample_masks"),
    *("run.eval_batch_size", "data.dataset", "data.data_format", "data.max_val_samples", "speed.feature_cache"),
)


def find_resumption(config: TrainConfig, folder: RunFolder, processes: Processes) -> tuple[Path, Position] | None:
    """The checkpoint to go on from and where it stands, compared with this run's settings; None for a new run.

    Raises:
        CheckpointError: if there is none, or it is damaged.
        ConfigError: if it is another run's, its settings were others, or no new run can be put here.
    """
    resume = config.run.resume
    if resume is not None and processes.is_main:
        folder.recover()
    processes.wait()
    if resume is None or (resume == "auto" and not folder.checkpoints()):
        # A run that was cut off before its first checkpoint begins anew.
        folder.check(config.run.overwrite or resume == "auto")
        return None
    if resume == "auto":
        found = folder.checkpoints()[-1]
    else:
        path = user_path(resume)
        own = RunFolder(path).checkpoints()
        found = own[-1] if own else path
        if not (found / META_FILE).is_file():
            raise CheckpointError(f"--resume {resume}: no checkpoint there: give a run's folder, or `auto`")
        if folder.checkpoint(0).parent.resolve() not in found.resolve().parents:
            raise ConfigError(
                f"--resume {resume} is of another run than --output-dir {folder.path}: give that run's folder, or "
                "start a new run from its weights with --init-from"
            )
    find_checkpoint(found)
    facts = read_facts(found)
    try:
        _refuse_changes(facts, found, config, folder, processes)
        position = Position(**facts["position"])
    except (KeyError, TypeError, AttributeError) as error:  # of a version that wrote down something else
        raise CheckpointError(
            f"the training state of {found} is none that this lisa-core can read ({one_line(error)}): go on with "
            "the version that wrote it, or start a new run from its weights with --init-from"
        ) from error
    return found.resolve(), position


def _refuse_changes(
    facts: dict[str, Any], found: Path, config: TrainConfig, folder: RunFolder, processes: Processes
) -> None:
    """Raise ConfigError unless this run's settings and processes are those of the run it goes on with."""
    # Settings that are newer than the run have their defaults.
    had = {name: {**new, **facts["config"].get(name, {})} for name, new in dataclasses.asdict(TrainConfig()).items()}
    changed = [
        f"{name} was {before!r}, now {now!r}"
        for name, before, now in differences(had, dataclasses.asdict(config))
        if name not in _FREE
    ]
    if facts["world_size"] != processes.world_size:
        changed.append(f"processes were {facts['world_size']}, now {processes.world_size}")
    now = strategy(config, processes)
    before = facts.get("strategy", now)  # not in the facts of earlier runs
    if before != now:
        changed.append(f"processes shared the work by {before}, now {now}")
    if changed:
        raise ConfigError(
            f"{found} cannot be gone on from with other settings ({'; '.join(changed)}): repeat them as they were "
            f"(`lisa train --resume {folder.path}` has them, a launcher is up to you), or start a new run with "
            "--init-from"
        )


def go_on(
    found: Path, position: Position, engine: Engine, folder: RunFolder, processes: Processes, fingerprint: str
) -> None:
    """Fill in optimizer, schedule, scaler and random numbers, and forget what was logged afterwards.

    Args:
        found: of `find_resumption`.
        position: the same; its best result is forgotten if its checkpoint is gone.
        engine: of the new run, its weights loaded.
        folder: of the run.
        processes: all of which do this together.
        fingerprint: of the training data, `data_fingerprint`.

    Raises:
        ConfigError: if the training data were others.
        CheckpointError: if the training state is damaged.
    """
    facts = read_facts(found)
    if facts["data"] != fingerprint:
        raise ConfigError(
            f"the training data is not that of the run in {folder.path} (other samples or order): restore it, or "
            "start a new run with --init-from"
        )
    with engine.saveable_optimizer() as optimizer:
        read_state(found, processes.rank, optimizer, engine.optimizer_rank)
    engine.load_plain_state(facts["engine"])
    best = folder.path / BEST
    if processes.is_main:
        folder.cut_log(position.log_size)
        for later in folder.checkpoints():
            if later.name > found.name:
                folder.remove(later)
        if not best.exists():  # it was one of those
            best.unlink(missing_ok=True)
        folder.point(LAST, found)
    processes.wait()
    if not best.exists():
        position.best = None


def data_fingerprint(data: SegmentationDataset, most: int | None) -> str:
    """What the first so many samples are, in order."""
    digest = hashlib.sha256()
    for sample in first_samples(data, most):
        digest.update(f"{sample.id}\0{sample.text}\0{sample.image_path.name}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
