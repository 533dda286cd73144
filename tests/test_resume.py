"""Runs that are killed, told to stop, or find their disk full go on as if nothing had happened."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import pickle
import random
import runpy
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lisa_core import run_saving
from lisa_core.checkpoint import load_checkpoint
from lisa_core.config import (
    AugmentationConfig,
    DataConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
    SpeedConfig,
    TrainConfig,
    TuningConfig,
)
from lisa_core.errors import CheckpointError, ConfigError
from lisa_core.interrupts import RunInterrupted
from lisa_core.run_folder import RunFolder
from lisa_core.trainer import Trainer
from lisa_core.training_state import STATE_FOLDER


def settings(
    scenes: Path,
    out: Path,
    tuning: dict | None = None,
    speed: dict | None = None,
    augmentation: AugmentationConfig = AugmentationConfig(),  # noqa: B008
    **run,
) -> TrainConfig:
    run = {"save_every": 1, "sample_masks": 0, "device": "cpu"} | run
    return TrainConfig(
        model=ModelConfig(vlm="clip-llm", vlm_model_name="tiny"),
        tuning=TuningConfig(**{"vlm_use_lora": True, **(tuning or {})}),
        data=DataConfig(data=str(scenes), batch_size=4, max_train_samples=10, max_val_samples=3),
        augmentation=augmentation,
        optim=OptimConfig(num_epochs=3, gradient_accumulation_steps=1, seed=5),
        speed=SpeedConfig(**(speed or {})),
        run=RunConfig(output_dir=str(out), **run),
    )


# Forks of a process that has imported everything and computed nothing: it spares the seconds of importing, and autograd
# refuses to work in the fork of a process whose own threads have.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["lisa_core.trainer"])


def in_a_child(config: TrainConfig, kill_after: float | None = None) -> int:
    """Train in a process of its own; returns its exit status."""
    program = str(Path(__file__).with_name("train_child.py"))
    child = SERVER.Process(target=runpy.run_path, args=(program, {"config": config}))
    child.start()
    if kill_after is not None:
        time.sleep(kill_after)
        child.kill()
    child.join()
    assert child.exitcode is not None
    return child.exitcode


def curve(run: Path) -> list[dict]:
    """What was logged, without what says how long it took."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if k not in ("seconds", "peak_memory_bytes")} for record in records]


def weights(run: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return load_file(run / name / "model.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Another number of threads adds up in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def unbroken(scenes, tmp_path_factory) -> tuple[Path, list[str]]:
    """A run that nothing happened to, and the checkpoints it saved one after another."""
    out = tmp_path_factory.mktemp("unbroken") / "run"
    saved: list[str] = []
    real = run_saving.save_checkpoint
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            run_saving, "save_checkpoint", lambda folder, *rest: (saved.append(folder.name), real(folder, *rest))
        )
        Trainer(settings(scenes, out)).run()
    return out, saved


@pytest.fixture(scope="module")
def stopped(scenes, tmp_path_factory) -> Callable[..., Path]:
    """Copies of runs that were told to stop after a step; each is trained once."""
    made: dict[tuple, Path] = {}

    def copied(out: Path, step: int, **changes) -> Path:
        key = (step, *sorted(changes.items()))
        if key not in made:
            folder = tmp_path_factory.mktemp("stopped") / "run"
            stop_after(scenes, folder, step, **changes)
            made[key] = folder
        return shutil.copytree(made[key], out, symlinks=True)

    return copied


KILLS = 20


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_in_the_same_bits(scenes, tmp_path, unbroken):
    reference, out, moments = unbroken[0], tmp_path / "run", random.Random(7)
    started = time.monotonic()
    assert in_a_child(settings(scenes, tmp_path / "child")) == 0
    seconds = time.monotonic() - started
    assert same(weights(tmp_path / "child"), weights(reference)) and curve(tmp_path / "child") == curve(reference)
    kills = 0
    while kills < KILLS:
        # A run that gets to its end is begun again, until enough were killed.
        if in_a_child(settings(scenes, out, resume="auto"), kill_after=moments.uniform(0.05, 0.6) * seconds) != 0:
            kills += 1
        folder = RunFolder(out)
        for checkpoint in [*folder.checkpoints(), *(out / name for name in ("best", "last") if (out / name).exists())]:
            load_checkpoint(checkpoint)
        if kills < KILLS and len(folder.checkpoints()) and folder.checkpoints()[-1].name == "step-00000009":
            assert in_a_child(settings(scenes, out, resume="auto")) == 0
            assert same(weights(out), weights(reference)) and curve(out) == curve(reference)
            shutil.rmtree(out)
    assert in_a_child(settings(scenes, out, resume="auto")) == 0
    assert same(weights(out), weights(reference)) and same(weights(out, "best"), weights(reference, "best"))
    assert curve(out) == curve(reference)
    assert not [path for path in out.rglob("*") if path.suffix in (".new", ".old", ".gone", ".shares")]


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_saves_and_stops_and_the_run_goes_on(scenes, tmp_path, unbroken, number, monkeypatch):
    out = tmp_path / "run"
    count = Trainer._count

    def interrupted(self, step, micros):
        count(self, step, micros)
        if self.position.step == 3:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Trainer, "_count", interrupted)
    with pytest.raises(RunInterrupted, match="stopped by a signal after step 4, all saved: go on with") as caught:
        Trainer(settings(scenes, out, save_every=None)).run()
    assert caught.value.exit_code == 128 + number
    monkeypatch.setattr(Trainer, "_count", count)
    assert (out / "last").resolve().name == "step-00000004"
    Trainer(settings(scenes, out, resume="auto")).run()
    assert same(weights(out), weights(unbroken[0])) and curve(out) == curve(unbroken[0])


@pytest.mark.parametrize("renames", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_kill_between_the_renames_of_a_second_save_loses_nothing(scenes, stopped, tmp_path, unbroken, renames):
    """A checkpoint that is written again is put aside first: what is cut off then is taken back."""
    out = tmp_path / "run"
    stopped(out, 4)
    newest = RunFolder(out).checkpoints()[-1]
    shutil.copytree(newest, newest.with_name(newest.name + ".new"))
    newest.rename(newest.with_name(newest.name + ".old"))
    if renames == 2:
        newest.with_name(newest.name + ".new").rename(newest)
    Trainer(settings(scenes, out, resume="auto")).run()
    assert same(weights(out), weights(unbroken[0])) and curve(out) == curve(unbroken[0])
    assert not [path for path in out.rglob("*") if path.suffix in (".new", ".old", ".gone")]


def test_a_step_is_saved_once(unbroken):
    assert unbroken[1] == [f"step-{step:08d}" for step in range(1, 10)]


def test_a_state_of_another_version_is_one_line(scenes, stopped, tmp_path):
    out = tmp_path / "run"
    stopped(out, 2)
    path = RunFolder(out).checkpoints()[-1] / STATE_FOLDER / "rank_0.json"
    record = json.loads(path.read_text())
    record["facts"]["position"]["mood"] = "cheerful"
    path.write_text(json.dumps(record))
    with pytest.raises(CheckpointError, match="is none that this lisa-core can read"):
        Trainer(settings(scenes, out, resume="auto"))


@pytest.mark.slow
def test_half_precision_with_a_scaler_goes_on_in_the_same_bits(scenes, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    torch.set_num_threads(2)
    speed = {"vlm_mixed_precision": "fp16"}
    Trainer(settings(scenes, whole, speed=speed)).run()
    stop_after(scenes, parts, 4, speed=speed)
    Trainer(settings(scenes, parts, speed=speed, resume="auto")).run()
    torch.set_num_threads(1)
    assert same(weights(parts), weights(whole)) and curve(parts) == curve(whole)


@pytest.mark.slow
def test_augmented_pictures_come_back_whatever_the_number_of_workers(scenes, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    augmented = AugmentationConfig(augment="strong", colour=0.0)
    Trainer(settings(scenes, whole, augmentation=augmented)).run()
    stop_after(scenes, parts, 2, augmentation=augmented)  # in the midst of the first epoch
    workers = settings(scenes, parts, augmentation=augmented, resume="auto")
    Trainer(dataclasses.replace(workers, data=dataclasses.replace(workers.data, num_workers=1))).run()
    assert same(weights(parts), weights(whole)) and curve(parts) == curve(whole)
    with pytest.raises(ConfigError, match=r"augmentation.augment was 'strong', now 'none'"):
        Trainer(settings(scenes, parts, resume="auto"))


def test_a_run_from_before_there_was_a_setting_goes_on_with_its_default(scenes, stopped, tmp_path, unbroken):
    out = tmp_path / "run"
    stopped(out, 2)
    path = RunFolder(out).checkpoints()[-1] / STATE_FOLDER / "rank_0.json"
    record = json.loads(path.read_text())
    del record["facts"]["config"]["augmentation"], record["facts"]["config"]["data"]["bucket"]
    path.write_text(json.dumps(record))
    Trainer(settings(scenes, out, resume="auto")).run()
    assert same(weights(out), weights(unbroken[0])) and curve(out) == curve(unbroken[0])


def stop_after(scenes: Path, out: Path, step: int, **changes) -> None:
    """A run that is told to stop after a step."""
    trainer = Trainer(settings(scenes, out, **changes))
    count = trainer._count

    def stop(made, micros):
        count(made, micros)
        if trainer.position.step + 1 == step:
            os.kill(os.getpid(), signal.SIGTERM)

    trainer._count = stop  # type: ignore[method-assign]
    with pytest.raises(RunInterrupted):
        trainer.run()


def test_the_newest_checkpoints_and_the_best_one_are_kept(scenes, tmp_path):
    out = tmp_path / "run"
    Trainer(settings(scenes, out, keep_last=2)).run()
    folder = RunFolder(out)
    best = (out / "best").resolve()
    names = {path.name for path in folder.checkpoints()}
    assert names == {"step-00000008", "step-00000009", best.name}
    with_state = {path.name for path in folder.checkpoints() if (path / STATE_FOLDER).is_dir()}
    assert with_state == {"step-00000008", "step-00000009"}
    assert (out / "last").resolve().name == "step-00000009"
    assert json.loads((best / "lisa.json").read_text())["progress"]["val"]["giou"] >= 0


def test_another_setting_is_refused_and_the_checkpoint_stays(scenes, stopped, tmp_path):
    out = tmp_path / "run"
    stopped(out, 2)
    before = sorted((path, path.stat().st_mtime_ns) for path in out.rglob("*"))
    changed = settings(scenes, out, {"vlm_lora_r": 4}, resume="auto")
    with pytest.raises(ConfigError, match=r"other settings \(tuning.vlm_lora_r was 16, now 4\): repeat them"):
        Trainer(changed).run()
    assert sorted((path, path.stat().st_mtime_ns) for path in out.rglob("*")) == before


@pytest.mark.slow
def test_an_older_checkpoint_can_be_gone_on_from_though_the_best_is_a_later_one(scenes, tmp_path, unbroken):
    out = tmp_path / "run"
    Trainer(settings(scenes, out, keep_last=9)).run()
    first = RunFolder(out).checkpoints()[0]
    assert (out / "best").resolve().name > first.name
    Trainer(settings(scenes, out, keep_last=9, resume=str(first))).run()
    assert same(weights(out), weights(unbroken[0])) and curve(out) == curve(unbroken[0])
    assert same(weights(out, "best"), weights(unbroken[0], "best"))


def test_other_data_is_refused(scenes, tmp_path):
    out, data = tmp_path / "run", tmp_path / "data"
    shutil.copytree(scenes, data)
    stop_after(data, out, 2)
    for path in sorted((data / "train").glob("*.jp*g"))[:1]:
        path.with_suffix(".json").unlink()
        path.unlink()
    with pytest.raises(ConfigError, match="the training data is not that of the run"):
        Trainer(settings(data, out, resume="auto")).run()


@pytest.mark.parametrize(
    "name",
    [
        "rank_0.safetensors",
        pytest.param("rank_0.json", marks=pytest.mark.slow),
        pytest.param("../model.safetensors", marks=pytest.mark.slow),
        "../lisa.json",
    ],
)
def test_a_damaged_checkpoint_is_named_and_nothing_is_lost(scenes, stopped, tmp_path, name):
    out = tmp_path / "run"
    stopped(out, 3, keep_last=2)
    newest = RunFolder(out).checkpoints()[-1]
    broken = newest / STATE_FOLDER / name
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"step-00000003.*damaged"):
        Trainer(settings(scenes, out, keep_last=2, resume="auto")).run()
    older = RunFolder(out).checkpoints()[0]
    assert older.name == "step-00000002"
    Trainer(settings(scenes, out, keep_last=2, resume=str(older))).run()
    assert curve(out)[-1]["epoch"] == 3


class Trap:
    """A pickle that does something when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_no_pickle_in_a_checkpoint_is_ever_run(scenes, stopped, tmp_path):
    out, sign = tmp_path / "run", tmp_path / "sign"
    stopped(out, 2)
    newest = RunFolder(out).checkpoints()[-1]
    trap = pickle.dumps(Trap(sign))
    for folder in (newest, newest / STATE_FOLDER):
        for name in ("optimizer.bin", "scheduler.pt", "random_states_0.pkl", "pytorch_model.bin", "rank_0.pkl"):
            (folder / name).write_bytes(trap)
    Trainer(settings(scenes, out, resume="auto", keep_last=9)).run()
    assert not sign.exists()
    stopped(tmp_path / "other", 2)
    newest = RunFolder(tmp_path / "other").checkpoints()[-1]
    for path in (newest / STATE_FOLDER).iterdir():
        path.write_bytes(trap)
    with pytest.raises(CheckpointError, match="damaged"):
        Trainer(settings(scenes, tmp_path / "other", resume="auto")).run()
    assert not sign.exists()
    pickle.loads(trap)
    assert sign.exists()  # the trap does work


def test_a_full_disk_is_one_line_and_the_checkpoint_before_stays(scenes, tmp_path, monkeypatch):
    out = tmp_path / "run"
    import lisa_core.checkpoint as module

    real, calls = module.save_file, []

    def full(tensors, path, metadata=None):
        calls.append(path)
        if len(calls) == 3:
            Path(path).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        real(tensors, path, metadata=metadata)

    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(CheckpointError, match=r"No space left on device.*what was saved before is intact"):
        Trainer(settings(scenes, out)).run()
    monkeypatch.setattr(module, "save_file", real)
    assert (out / "last").resolve().name == "step-00000002"
    load_checkpoint(out)
    Trainer(settings(scenes, out, resume="auto")).run()
    assert curve(out)[-1]["epoch"] == 3


def test_auto_starts_a_run_that_is_not_there_and_a_folder_without_one_is_refused(scenes, tmp_path):
    Trainer(settings(scenes, tmp_path / "new", resume="auto"))
    with pytest.raises(CheckpointError, match="no checkpoint there"):
        Trainer(settings(scenes, tmp_path / "new", resume=str(tmp_path / "nowhere")))


def test_a_new_run_starts_from_another_s_weights(scenes, tmp_path, unbroken):
    first, second = unbroken[0], tmp_path / "second"
    trainer = Trainer(settings(scenes, second, init_from=str(first)))
    started = trainer.model.state_dict()
    assert all(torch.equal(started[name], value) for name, value in weights(first, "best").items())
    trainer.run()
    with pytest.raises(CheckpointError, match=r"text_sam.queries is \[4, \d+\] there and \[2, \d+\] here"):
        config = settings(scenes, tmp_path / "third", init_from=str(first))
        model = ModelConfig(**{**vars(config.model), "num_prompts": 2})
        Trainer(TrainConfig(**{**vars(config), "model": model}))
