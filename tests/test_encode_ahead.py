"""What a run's frozen encoders see is encoded before its first step, each picture by one process."""

from __future__ import annotations

import dataclasses
import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

import lisa_core.trainer
from lisa_core.config import DataConfig, OptimConfig, RunConfig, SpeedConfig, TrainConfig
from lisa_core.data.base import SegmentationDataset
from lisa_core.data.loader import train_loader
from lisa_core.data.same_picture import group_by_image
from lisa_core.encode_ahead import encode_ahead, encodes_ahead
from lisa_core.encoder_cache import encoder_cache
from lisa_core.errors import DataError
from lisa_core.interrupts import Interrupts, RunInterrupted
from lisa_core.model_config import ModelConfig, TuningConfig
from lisa_core.progress import Reporter
from lisa_core.trainer import Trainer


def config_of(scenes: Path, folder: Path, *, kept: bool = True, data: dict[str, Any] | None = None, **model: Any):
    return TrainConfig(
        model=ModelConfig(**{"vlm": "clip-llm", "vlm_model_name": "tiny", "fusion": "late", **model}),
        tuning=TuningConfig(vlm_freeze=True),
        data=DataConfig(
            **{"data": str(scenes), "batch_size": 4, "max_val_samples": 2, "num_workers": 0, **(data or {})}
        ),
        optim=OptimConfig(num_epochs=1, learning_rate=1e-3),
        speed=SpeedConfig(feature_cache=str(folder / "kept") if kept else None),
        run=RunConfig(output_dir=str(folder / "run"), device="cpu", sample_masks=0),
    )


class Heard(Reporter):
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.done: list[tuple[int, int]] = []

    def line(self, text: str) -> None:
        self.lines.append(text)

    def encoding(self, done: int, total: int) -> None:
        self.done.append((done, total))


class Share:
    """One of several processes, as far as they matter here."""

    device = torch.device("cpu")

    def __init__(self, rank: int, world_size: int) -> None:
        self.rank, self.world_size = rank, world_size

    def sum(self, values: list[float]) -> list[float]:
        return values


def calls(part: torch.nn.Module) -> list[int]:
    """How many rows each call of an encoder had, filled as it is called."""
    rows: list[int] = []
    part.register_forward_pre_hook(
        lambda _, args, kwargs: rows.append(len(next(iter([*args, *kwargs.values()])))), with_kwargs=True
    )
    return rows


def ahead(trainer: Trainer, share: Share, interrupts: Interrupts | None = None) -> Heard:
    heard = Heard()
    data, collator = trainer.train_data, trainer.collator
    signals, config = interrupts or Interrupts(), trainer.config
    groups = train_loader(data, collator, config).batch_sampler.groups  # type: ignore[union-attr]
    encode_ahead(trainer.model, data, groups, collator, config, share, heard, signals)  # type: ignore[arg-type]
    return heard


def kept_files(folder: Path, kind: str) -> set[str]:
    return {path.name for path in (folder / "kept" / kind).rglob("*.safetensors")}


@pytest.mark.parametrize("model", [{}, {"fusion": "joint"}, {"vlm": "qwenvl"}], ids=["late", "joint", "qwenvl"])
def test_the_steps_find_everything_encoded(scenes: Path, tmp_path: Path, model: dict[str, str]) -> None:
    trainer = Trainer(config_of(scenes, tmp_path, **model), heard := Heard())
    vlm, late = trainer.model.vlm, trainer.config.model.fusion == "late"
    encoders = [part for part in (vlm.vision_tower, vlm.language_model if late else None) if part is not None]
    step = trainer._train

    def without_encoders(*args: Any) -> None:
        saved = [part.forward for part in encoders]
        for part in encoders:
            part.forward = None  # type: ignore[assignment]
        step(*args)
        for part, forward in zip(encoders, saved):
            part.forward = forward  # type: ignore[method-assign]

    trainer._train = without_encoders  # type: ignore[method-assign]
    trainer.run()
    assert heard.done == [(0, 6), (4, 6), (6, 6)], "in batches of the run's size"
    assert [line for line in heard.lines if line.startswith("6 of 6 pictures encoded before the first step")]


def test_sam_s_features_are_kept_as_well(scenes: Path, tmp_path: Path) -> None:
    trainer = Trainer(config_of(scenes, tmp_path, mask_features="sam"))
    assert trainer.model.sam_encoder is not None
    trainer.model.sam_encoder.requires_grad_(False)
    trainer.model.cache = encoder_cache(trainer.model, tmp_path / "kept")
    trainer.collator.stores = trainer.model.cache.pictures
    rows = calls(trainer.model.sam_encoder)
    ahead(trainer, Share(0, 1))
    ahead(trainer, Share(0, 1))
    assert sum(rows) == 6 and len(kept_files(tmp_path, "sam")) == len(kept_files(tmp_path, "vision")) == 6


def test_a_run_learns_the_same_as_without(scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = []
    for is_ahead in (True, False):
        monkeypatch.setattr(lisa_core.trainer, "encodes_ahead", lambda _, found=is_ahead: found)
        folder = tmp_path / str(is_ahead)
        config = config_of(scenes, folder)
        optim = dataclasses.replace(config.optim, feature_dropout=0.3)
        Trainer(dataclasses.replace(config, optim=optim)).run()
        records = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
        losses.append([record["loss"] for record in records if record["kind"] == "step"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4) and len(losses[0]) > 1


@pytest.mark.parametrize("workers", [0, 1])
def test_no_random_number_is_drawn_and_encoders_do_not_train(scenes: Path, tmp_path: Path, workers: int) -> None:
    trainer = Trainer(config_of(scenes, tmp_path, data={"num_workers": workers}))
    trainer.model.vlm.train()
    before = torch.get_rng_state()
    ahead(trainer, Share(0, 1))
    assert torch.equal(torch.get_rng_state(), before) and len(kept_files(tmp_path, "vision")) == 6
    assert not any(module.training for part in trainer.model.cache.parts for module in part.modules())


def test_processes_share_the_pictures_out(scenes: Path, tmp_path: Path) -> None:
    pictures = []
    for rank in (0, 1):
        trainer = Trainer(config_of(scenes, tmp_path))
        assert trainer.model.vlm.vision_tower is not None
        rows = calls(trainer.model.vlm.vision_tower)
        heard = ahead(trainer, Share(rank, 2))
        assert sum(rows) == 3 and heard.done[-1] == (6, 6) and "3 of 6 pictures" in heard.lines[0]
        pictures.append(kept_files(tmp_path, "vision"))
    assert len(pictures[0]) == 3 and len(pictures[1]) == 6


def test_what_is_kept_is_not_encoded_again(scenes: Path, tmp_path: Path) -> None:
    ahead(Trainer(config_of(scenes, tmp_path)), Share(0, 1))
    trainer = Trainer(config_of(scenes, tmp_path))
    assert trainer.model.vlm.vision_tower is not None and trainer.model.vlm.language_model is not None
    rows = [calls(part) for part in (trainer.model.vlm.vision_tower, trainer.model.vlm.language_model)]
    heard = ahead(trainer, Share(0, 1))
    assert rows == [[], []] and not heard.lines


def test_of_known_and_unknown_pictures_only_these_are_encoded(scenes: Path, tmp_path: Path) -> None:
    trainer = Trainer(config_of(scenes, tmp_path))
    ahead(trainer, Share(0, 1))
    lost = sorted((tmp_path / "kept" / "vision").rglob("*.safetensors"))[2]
    lost.unlink()
    assert trainer.model.vlm.vision_tower is not None
    rows = calls(trainer.model.vlm.vision_tower)
    heard = ahead(trainer, Share(0, 1))
    assert rows == [1] and lost.exists() and heard.lines[0].startswith("1 of 6 pictures")


def test_no_batch_is_larger_than_the_run_s(scenes: Path, tmp_path: Path) -> None:
    trainer = Trainer(config_of(scenes, tmp_path, data={"batch_size": 2}))
    assert trainer.model.vlm.vision_tower is not None and trainer.model.vlm.language_model is not None
    rows = [calls(part) for part in (trainer.model.vlm.vision_tower, trainer.model.vlm.language_model)]
    ahead(trainer, Share(0, 1))
    assert rows[0] == [2, 2, 2] and max(rows[1]) <= 2


def test_a_picture_without_a_file_of_its_own_is_encoded_once(scenes: Path, tmp_path: Path) -> None:
    trainer = Trainer(config_of(scenes, tmp_path, data={"batch_size": 8}))

    class Rows(SegmentationDataset):
        """As from the hub: a row for each sentence, its picture in it."""

        def __init__(self, inner: SegmentationDataset) -> None:
            self.inner = inner
            self.samples = [
                dataclasses.replace(sample, image_path=Path(f"row-{number}"))
                for number, sample in enumerate(inner.samples[:4])
            ]

        def load(self, index: int) -> Any:
            return self.inner.load(index)

    assert len(group_by_image(trainer.train_data.samples[:4])) == 1
    trainer.train_data = Rows(trainer.train_data)
    assert trainer.model.vlm.vision_tower is not None
    rows = calls(trainer.model.vlm.vision_tower)
    ahead(trainer, Share(0, 1))
    assert rows == [1]


def test_sentences_are_encoded_where_pictures_are_kept_already(scenes: Path, tmp_path: Path) -> None:
    ahead(Trainer(config_of(scenes, tmp_path, data={"prompt_style": "varied"})), Share(0, 1))
    assert kept_files(tmp_path, "vision") and not kept_files(tmp_path, "text"), "sentences are worded anew each time"
    trainer = Trainer(config_of(scenes, tmp_path))
    ahead(trainer, Share(0, 1))
    assert len(kept_files(tmp_path, "text")) == len({sample.text for sample in trainer.train_data.samples})


def test_only_what_the_run_trains_on(scenes: Path, tmp_path: Path) -> None:
    trainer = Trainer(config_of(scenes, tmp_path, data={"max_train_samples": 1}))
    heard = ahead(trainer, Share(0, 1))
    assert heard.done[-1] == (1, 1) and len(kept_files(tmp_path, "vision")) == 1
    assert ahead(trainer, Share(1, 2)).done == [(0, 1), (1, 1)], "more processes than pictures"


def test_a_picture_that_cannot_be_read_is_left_to_training(scenes: Path, tmp_path: Path) -> None:
    trainer = Trainer(config_of(scenes, tmp_path, data={"on_error": "skip"}))

    class Broken(SegmentationDataset):
        def __init__(self, inner: SegmentationDataset) -> None:
            self.inner, self.samples = inner, inner.samples
            self.lost = inner.samples[0].image_path

        def load(self, index: int) -> Any:
            if self.samples[index].image_path == self.lost:
                raise DataError(f"{self.lost} is not an image that can be read")
            return self.inner.load(index)

    trainer.train_data = Broken(trainer.train_data)
    ahead(trainer, Share(0, 1))
    assert len(kept_files(tmp_path, "vision")) == 5


def test_a_signal_ends_it_and_the_run_can_be_gone_on_with(scenes: Path, tmp_path: Path) -> None:
    config = config_of(scenes, tmp_path)
    told = Interrupts()
    told.signal = signal.SIGTERM
    heard = ahead(Trainer(config_of(scenes, tmp_path, data={"batch_size": 1})), Share(0, 1), told)
    assert heard.done[-1] == (5, 6) and heard.lines[0].startswith("5 of 6 pictures")

    class Stops(Heard):
        def encoding(self, done: int, total: int) -> None:
            if done == 0:
                signal.raise_signal(signal.SIGTERM)

    with pytest.raises(RunInterrupted, match="all saved"):
        Trainer(config, Stops()).run()
    lost = sorted((tmp_path / "kept" / "vision").rglob("*.safetensors"))[0]
    lost.unlink()
    resumed = dataclasses.replace(config, run=dataclasses.replace(config.run, resume=config.run.output_dir))
    trainer = Trainer(resumed, heard := Heard())
    assert trainer.run().giou >= 0 and [line for line in heard.lines if line.startswith("1 of 6 pictures")]


@pytest.mark.parametrize(
    ("data", "kept", "expected"),
    [("scenes", True, True), ("scenes", False, False), ("a=scenes||b=others", True, True)],
)
def test_when_it_is_worth_it(data: str, kept: bool, expected: bool, tmp_path: Path) -> None:
    config = config_of(Path(data), tmp_path, kept=kept)
    assert encodes_ahead(config) is expected
    if "||" in data:
        drawn = dataclasses.replace(config, data=dataclasses.replace(config.data, sample_rates="3,1"))
        assert not encodes_ahead(drawn), "an epoch may show few of them"
