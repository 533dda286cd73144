"""The training run: epochs of optimizer steps, validation, checkpoints, and going on where an earlier one stopped."""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import torch
from accelerate.utils import set_seed

from lisa_core.build import resolve_sources, sam_size
from lisa_core.checkpoint import find_checkpoint, load_weights, read_weights
from lisa_core.config import TrainConfig, existing_data
from lisa_core.data import SegmentationDataset
from lisa_core.data.collate import Collator
from lisa_core.data.loader import stand_in, train_loader
from lisa_core.data.mixture import Mixture, first_samples
from lisa_core.data.sources import open_sources
from lisa_core.deepspeed_engine import make_engine
from lisa_core.deepspeed_settings import check_deepspeed
from lisa_core.denormals import flushed_denormals
from lisa_core.determinism import deterministic
from lisa_core.encode_ahead import encode_ahead, encodes_ahead
from lisa_core.encoder_cache import encoder_cache
from lisa_core.engine import MicroBatch, Step, strategy
from lisa_core.errors import ConfigError, DataError
from lisa_core.evaluator import EvaluationResult, Judged, evaluate
from lisa_core.interrupts import Interrupts, RunInterrupted
from lisa_core.optim import check_optimizer
from lisa_core.out_of_memory import advice_when_out_of_memory
from lisa_core.position import Position
from lisa_core.processes import Processes
from lisa_core.progress import Reporter, peak_memory
from lisa_core.provenance import environment
from lisa_core.registry import get_registry
from lisa_core.report import SheetRow, contact_sheet
from lisa_core.resumption import data_fingerprint, find_resumption, go_on
from lisa_core.run_folder import RunFolder
from lisa_core.run_saving import RunSaver
from lisa_core.sharding import fill
from lisa_core.tracking import Tracking, check_trackers
from lisa_core.training_model import training_model
from lisa_core.user_path import user_path
from lisa_core.vlm import Batch

_MOST_SKIPPED = 20  # steps in a row that were left out, after which nothing good can be expected any more


class Trainer:
    """One run from a config to a folder of checkpoints.

    Args:
        config: all settings; validated here.
        reporter: told about progress; by default nobody is.

    Raises:
        ConfigError, DataError, PluginError, CheckpointError: for anything the user can mend, before the first step.
    """

    def __init__(self, config: TrainConfig, reporter: Reporter | None = None) -> None:
        config.validate()
        config = dataclasses.replace(config, model=resolve_sources(config.model))
        for source in config.data.sources:
            existing_data(source.data)
        check_trackers(config.run.track)
        self.processes = Processes(config.run.device, config.run.track, config.run.parallel == "deepspeed")
        check_deepspeed(config, self.processes)
        check_optimizer(config.optim.optimizer, self.processes.device)
        if config.speed.feature_cache is not None and strategy(config, self.processes) in ("fsdp", "zero3"):
            raise ConfigError(
                "--feature-cache does not go with sharded weights, which all processes have to compute with at once: "
                "leave it out, or use --parallel ddp"
            )
        if config.optim.decoder_optimizer == "muon" and strategy(config, self.processes) != "ddp":
            raise ConfigError("--decoder-optimizer muon needs whole matrices on every process: use --parallel ddp")
        if strategy(config, self.processes) == "fsdp" and not torch.distributed.is_initialized():
            raise ConfigError("--parallel fsdp needs several processes: add --num-processes 2, or use a launcher")
        if config.run.init_from is not None:
            find_checkpoint(config.run.init_from)
        self.config = config = self._with_output(config)
        self.processes.put_logs_into(config.run.output_dir)
        self.reporter = (reporter or Reporter()) if self.processes.is_main else Reporter()
        for remark in self.processes.remarks():
            self.reporter.line(remark)
        self.output = user_path(config.run.output_dir)
        self.folder = RunFolder(self.output)
        resumption = find_resumption(config, self.folder, self.processes)
        self.resumed_from = None if resumption is None else resumption[0]
        self.position = Position() if resumption is None else resumption[1]
        set_seed(config.optim.seed)
        self.train_data = self._open("train", "all")
        if config.model.fusion == "late" and any(sample.kind == "text" for sample in self.train_data.samples):
            raise ConfigError(
                "answers in words alone teach nothing to --fusion late: leave that dataset out, or use joint"
            )
        self.val_data = self._open("val", "first")
        if config.run.run_test:
            self._open("test", "first")
        device = self.processes.device
        with advice_when_out_of_memory(config, device), flushed_denormals(device):
            self.model = training_model(config, self.processes.device, self.reporter)
        if config.speed.feature_cache is not None:
            self.model.cache = encoder_cache(self.model, config.speed.feature_cache)
        stores = self.model.cache.pictures
        size, turns = sam_size(config.model), config.data.turns
        self.collator = Collator(self.model.vlm, config.model, size, stores, turns, config.optim.draw_each)
        if self.processes.rank > 0:
            set_seed(config.optim.seed + self.processes.rank)  # the same weights everywhere, but not the same dropout

    def _with_output(self, config: TrainConfig) -> TrainConfig:
        """The config with an output folder; without one given, all processes take the main one's clock."""
        if config.run.output_dir:
            return config
        stamp = self.processes.from_main(datetime.now().strftime("%Y%m%d-%H%M%S"))
        run = dataclasses.replace(config.run, output_dir=f"runs/{config.model.vlm}-{stamp}")
        return dataclasses.replace(config, run=run)

    def run(self) -> EvaluationResult:
        """Train what is left to train; returns the best validation result, whose weights are in `best/`.

        Raises:
            RunInterrupted: after SIGTERM or SIGINT, once a checkpoint is saved.
            ConfigError, DataError, CheckpointError: for what the user can mend; what was saved before is intact.
        """
        device = self.processes.device
        with Interrupts() as interrupts, deterministic(device), flushed_denormals(device):
            try:
                with advice_when_out_of_memory(self.config, device):
                    return self._run(interrupts)
            finally:
                self.reporter.stop()

    def _run(self, interrupts: Interrupts) -> EvaluationResult:
        config = self.config
        loader = train_loader(self.train_data, self.collator, config, self.processes.rank, self.processes.world_size)
        sampler: Any = loader.batch_sampler
        total = sampler.steps * config.optim.num_epochs
        if self.resumed_from is not None:
            load_weights(self.model, find_checkpoint(self.resumed_from))
        names = self.train_data.names if isinstance(self.train_data, Mixture) else ()
        self.engine = make_engine(self.model, config, self.processes, total, names)
        fingerprint = data_fingerprint(self.train_data, config.data.max_train_samples)
        if self.resumed_from is None:
            self._start_folder()
        else:
            go_on(self.resumed_from, self.position, self.engine, self.folder, self.processes, fingerprint)
            self.reporter.line(f"going on after step {self.position.step} ({self.resumed_from.name})")
        saved_step = None if self.resumed_from is None else self.position.step
        self.saver = RunSaver(config, self.model, self.engine, self.folder, self.processes, fingerprint, saved_step)
        self.tracking = Tracking(config, self.processes)
        position = self.position
        if position.epoch == 1 and encodes_ahead(config):
            encode_ahead(
                self.model,
                self.train_data,
                sampler.groups,
                self.collator,
                config,
                self.processes,
                self.reporter,
                interrupts,
            )
        self.reporter.start(total, position.step)
        while position.epoch <= config.optim.num_epochs:
            sampler.set_epoch(position.epoch, position.epoch_step)
            loader.generator.manual_seed(config.optim.seed * 100_003 + position.epoch)
            self.model.map_only = position.epoch <= config.optim.map_epochs
            self.model.feature_dropout = config.optim.dropout_of(position.epoch)
            self.engine.wrapped.train()
            if position.epoch_step < sampler.steps:
                self._train(loader, interrupts)
                # Before validation: a picture it cannot read must not cost the epoch.
                self.saver.save(position)
            result = None
            due = position.epoch % config.run.eval_every == 0 or position.epoch == config.optim.num_epochs
            if due and not self.model.map_only:  # nothing that a checkpoint draws by itself could be judged yet
                result = self._validate()
            self._finish_epoch(result)
            position.next_epoch()
        if config.run.run_test:
            self._test()
        self.tracking.finish()
        assert position.best is not None  # the last epoch is always validated
        return EvaluationResult.from_dict(position.best)

    def _train(self, loader: Iterable[Batch], interrupts: Interrupts) -> None:
        """The rest of an epoch."""
        position, config = self.position, self.config
        trained = False
        for window in _windows(loader, config.optim.gradient_accumulation_steps):
            started = time.monotonic()
            micros = self._micro_batches(window)
            if micros:
                step = self.engine.step(micros)
                trained = True
                self._count(step, micros)
            position.step += 1
            position.epoch_step += 1
            position.seconds += time.monotonic() - started
            stop = self.processes.sum([float(interrupts.signal is not None)])[0] > 0
            every = config.run.save_every
            if stop or (every is not None and position.step % every == 0):
                self.saver.save(position)
            if stop:
                raise RunInterrupted(
                    f"stopped by a signal after step {position.step}, all saved: go on with `lisa train --resume "
                    f"{self.output}`",
                    interrupts.signal or signal.SIGTERM,
                )
        if not trained and not position.masks:
            raise DataError("no training sample could be read: see the lines above, and `--on-error fail`")

    def _micro_batches(self, window: list[Batch]) -> list[MicroBatch]:
        """What this process does in a window; unreadable samples are reported, or raise."""
        micros = []
        for batch in window:
            for line in batch.pop("skipped", []):
                if self.config.data.on_error == "fail":
                    raise DataError(line)
                self._name_skipped(line)
            if "targets" in batch:
                micros.append(MicroBatch(batch))
            elif self.processes.world_size > 1:
                micros.append(MicroBatch(stand_in(self.collator), counts=False))
        return micros

    def _count(self, step: Step, micros: list[MicroBatch]) -> None:
        """Log a step and add it to the epoch's sums; or say why it was left out, or stop the run for it."""
        position = self.position
        number = position.step + 1
        rate = self.engine.optimizer.param_groups[0]["lr"]
        if step.finite:
            position.skipped_steps = 0
            position.loss += step.record["loss"]
            position.iou += step.iou_sum
            position.masks += int(step.record["masks"])
            position.add(step.datasets)
            record = {"kind": "step", "step": number, "epoch": position.epoch, "lr": rate, **step.record}
            self._log({**record, **({"datasets": step.datasets} if step.datasets else {})})
            self.tracking.log("train", step.record | {"lr": rate}, number)
            for name, of in step.datasets.items():
                self.tracking.log(f"train/{name}", of, number)
            self.reporter.step(step.record["loss"], step.record["giou"], int(step.record["masks"]))
            return
        names = self.processes.gather([name for micro in micros if micro.counts for name in micro.batch["sample_ids"]])
        what = f"step {number}: loss {step.record['loss']}, gradient norm {step.record['grad_norm']}"
        shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        position.skipped_steps += 1
        if self.config.optim.on_nan == "stop" or position.skipped_steps > _MOST_SKIPPED:
            hint = "what was saved before is intact; lower --learning-rate, look at these samples, or --on-nan skip"
            raise ConfigError(f"{what}, at samples {shown}: {hint}")
        self.reporter.line(f"left out {what}, at samples {shown}")
        self._log({"kind": "skip", "step": number, "epoch": position.epoch, "loss": str(step.record["loss"])})
        self.reporter.step(0.0, 0.0, 0)

    def _validate(self) -> EvaluationResult:
        """Evaluate, and let `best` mean the last checkpoint if none was better."""
        config, rows = self.config, list[SheetRow]()

        def keep(judged: Judged) -> None:
            if len(rows) < config.run.sample_masks:
                example = judged.example
                rows.append(SheetRow(example.image, example.sample.text, example.mask, judged.mask, judged.iou))

        result = evaluate(
            self.engine.inference_model,
            self.val_data,
            self.collator,
            batch_size=config.run.eval_batch_size or config.data.batch_size,
            max_samples=len(first_samples(self.val_data, config.data.max_val_samples)),
            on_error=config.data.on_error,
            blank=False,
            on_judged=keep,
            processes=self.processes,
        )
        for line in result.skipped:
            self._name_skipped(line)
        position = self.position
        if rows and self.processes.is_main:
            self._show(rows)
        if position.best is None or result.giou > position.best["giou"]:
            position.best = result.to_dict()
            if self.processes.is_main:
                self.saver.mark_best(position, position.best)
        return result

    def _show(self, rows: list[SheetRow]) -> None:
        sheet = contact_sheet(rows, title=f"epoch {self.position.epoch}, step {self.position.step}")
        samples = self.output / "samples"
        samples.mkdir(exist_ok=True)
        sheet.save(samples / f"epoch-{self.position.epoch:03d}.png")
        self.tracking.picture("val/masks", sheet, self.position.step)

    def _finish_epoch(self, result: EvaluationResult | None) -> None:
        position = self.position
        record: dict[str, Any] = {
            "kind": "epoch",
            "epoch": position.epoch,
            "step": position.step,
            **position.train_record,
            "seconds": position.seconds,
            "peak_memory_bytes": max(self.processes.gather([peak_memory()])),
        }
        if result is not None:
            record["val"] = _figures(result, self.val_data)
            self.tracking.log("val", record["val"], position.step)
            for name, of in record["val"].get("datasets", {}).items():
                self.tracking.log(f"val/{name}", of, position.step)
        self._log(record)
        self.tracking.log("epoch", record, position.step)
        self.reporter.epoch(record, self.config.optim.num_epochs)
        if self.processes.is_main:
            self.folder.prune(self.config.run.keep_last)

    def _test(self) -> None:
        """Evaluate the best checkpoint on the test split."""
        best = find_checkpoint(self.output)
        if self.engine.is_sharded:
            fill(self.model, read_weights(best))
        else:
            load_weights(self.model, best)
        data = self._open("test", "first")
        result = evaluate(
            self.engine.inference_model,
            data,
            self.collator,
            batch_size=self.config.run.eval_batch_size or self.config.data.batch_size,
            on_error=self.config.data.on_error,
            processes=self.processes,
        )
        record = {"kind": "test", "step": best.meta["progress"]["step"], **_figures(result, data)}
        self._log(record)
        self.tracking.log("test", record, self.position.step)
        self.reporter.line(f"test gIoU {result.giou:.4f} | test cIoU {result.metrics.ciou:.4f}")

    def _start_folder(self) -> None:
        if self.processes.is_main:
            self.folder.create()
            self._write_config()
        self.processes.wait()

    def _write_config(self) -> None:
        plugin = get_registry().vlms[self.config.model.vlm].record.distribution
        resolved = dataclasses.asdict(self.config)
        about = environment(plugin, self.processes.world_size)
        self.folder.write_config({**resolved, "environment": {**about, "learning_rate": self.config.learning_rate}})

    def _name_skipped(self, line: str) -> None:
        """Name a file that was left out, once a run: its sentences are many, and every epoch meets it again."""
        if line not in self.position.skipped:
            self.position.skipped.append(line)
            self.reporter.line(f"skipped: {line}")

    def _open(self, split: str, phrasings: Any) -> SegmentationDataset:
        dataset = open_sources(self.config.data, split, phrasings, self.reporter.line)
        for _, reason in dataset.skipped:
            self._name_skipped(reason)
        return dataset

    def _log(self, record: dict[str, Any]) -> None:
        if self.processes.is_main:
            self.folder.log(record)


def _figures(result: EvaluationResult, data: SegmentationDataset) -> dict[str, Any]:
    """The figures of an evaluation as plain data, those of each dataset among several too."""
    if not isinstance(data, Mixture):
        return result.to_dict()
    return {**result.to_dict(), "datasets": {name: of.to_dict() for name, of in result.by_source().items()}}


def _windows(loader: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """Micro-batches in groups of `size`; the last group of an epoch may be smaller."""
    window: list[Batch] = []
    for batch in loader:
        window.append(batch)
        if len(window) == size:
            yield window
            window = []
    if window:
        yield window
