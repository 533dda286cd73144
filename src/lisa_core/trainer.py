"""The training run: accelerate's loop around LisaModel, with validation, checkpoints and a log after every epoch."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.utils.data import DataLoader

from lisa_core.build import build_model, resolve_sources, sam_size, vlm_source
from lisa_core.checkpoint import META_FILE, save_checkpoint
from lisa_core.config import TrainConfig, existing_folder
from lisa_core.data import SegmentationDataset, open_dataset
from lisa_core.data.collate import Collator
from lisa_core.data.loader import train_loader
from lisa_core.errors import ConfigError, DataError
from lisa_core.evaluator import EvaluationResult, evaluate
from lisa_core.model import LisaModel
from lisa_core.objective import loss_terms, loss_weights, term_counts
from lisa_core.optim import build_optimizer, build_schedule, set_trainable, trainable_line
from lisa_core.progress import Reporter, peak_memory
from lisa_core.vlm import Batch

METRICS_FILE = "metrics.jsonl"
CONFIG_FILE = "config.json"
_CHECKPOINTS = ("best", "last")


@dataclass
class EpochTotals:
    """Running sums of one epoch, for its means."""

    loss: float = 0.0
    iou: float = 0.0
    masks: int = 0
    steps: int = 0

    @property
    def mean_loss(self) -> float:
        """Mean loss of the optimizer steps."""
        return self.loss / max(self.steps, 1)

    @property
    def giou(self) -> float:
        """Mean IoU of the training masks, at the logits' own resolution."""
        return self.iou / max(self.masks, 1)


class Trainer:
    """One run from a config to a folder of checkpoints.

    Args:
        config: all settings; validated here.
        reporter: told about progress; by default nobody is.

    Raises:
        ConfigError, DataError, PluginError: for anything the user can mend, before the first step.
    """

    def __init__(self, config: TrainConfig, reporter: Reporter | None = None) -> None:
        config.validate()
        config = dataclasses.replace(config, model=resolve_sources(config.model))
        self.config = config
        self.reporter = reporter or Reporter()
        existing_folder(config.data.data, "data folder")
        self.output = _output_folder(config)
        self.skipped: set[str] = set()
        self.accelerator = Accelerator(cpu=config.run.device == "cpu")
        if config.run.device == "cuda" and self.accelerator.device.type != "cuda":
            raise ConfigError("--device cuda, but torch sees no CUDA device here: use --device cpu (or auto)")
        set_seed(config.optim.seed)
        self.train_data = self._open("train", "all")
        self.val_data = self._open("val", "first")
        self.model = build_model(config.model)
        set_trainable(self.model, config)
        dims = self.model.vlm.dims
        self.reporter.line(f"✓ VLM loaded: {config.model.vlm} ({vlm_source(config.model)})")
        self.reporter.line(f"  Vision dim: {dims.vision}, Text dim: {dims.text}")
        self.reporter.line(trainable_line(self.model))
        self.collator = Collator(self.model.vlm, config.model, sam_size(config.model))
        self.best_giou = -1.0

    def run(self) -> EvaluationResult:
        """Train for all epochs; returns the best validation result, whose weights are in `best/`."""
        config = self.config
        loader = train_loader(self.train_data, self.collator, config)
        sampler = loader.batch_sampler
        accumulation = config.optim.gradient_accumulation_steps
        steps_per_epoch = -(-len(loader) // accumulation)
        optimizer = build_optimizer(self.model, self.config.learning_rate, config.optim.weight_decay)
        schedule = build_schedule(optimizer, config, steps_per_epoch * config.optim.num_epochs)
        model, optimizer, loader = self.accelerator.prepare(self.model, optimizer, loader)
        _make_output_folder(self.output)
        self._write_config()
        self.reporter.start(steps_per_epoch * config.optim.num_epochs)
        best: EvaluationResult | None = None
        step = 0
        for epoch in range(1, config.optim.num_epochs + 1):
            sampler.set_epoch(epoch)  # type: ignore[union-attr]
            started, totals = time.monotonic(), EpochTotals()
            model.train()
            for window in _windows(loader, accumulation):
                batches = [batch for batch in window if self._usable(batch)]
                if not batches:
                    continue
                record = self._step(model, optimizer, batches, totals)
                rate = optimizer.param_groups[0]["lr"]
                schedule.step()
                step += 1
                self._log({"kind": "step", "step": step, "epoch": epoch, "lr": rate, **record})
                self.reporter.step(loss=record["loss"], giou=record["giou"], samples=int(record["masks"]))
            if not totals.steps:
                raise DataError("no training sample could be read: see the lines above, and `--on-error fail`")
            # Before validation: a picture it cannot read must not cost the epoch.
            self._save("last", epoch, step, None)
            result = None
            if epoch % config.run.eval_every == 0 or epoch == config.optim.num_epochs:
                result = self._validate(model)
                if result.giou > self.best_giou:
                    self.best_giou, best = result.giou, result
                    self._save("best", epoch, step, result)
            self._finish_epoch(epoch, step, totals, result, time.monotonic() - started)
        self.reporter.stop()
        assert best is not None  # the last epoch is always validated, and any result beats the initial -1
        return best

    def _step(self, model: Any, optimizer: Any, batches: list[Batch], totals: EpochTotals) -> dict[str, float]:
        """One optimizer step over the micro-batches of a window, averaged as if they were one batch."""
        counts = self._global_counts(batches)
        weights = loss_weights(self.config.loss)
        record = dict.fromkeys([*weights, "loss"], 0.0)
        iou_sum, masks = 0.0, 0
        for number, batch in enumerate(batches, start=1):
            last = number == len(batches)
            with _sync_only(self.accelerator, model, last), self.accelerator.autocast():
                terms, iou = loss_terms(model(batch), batch)
                # Sums over the window's own counts, not means of means: micro-batches of unequal size weigh right.
                # DDP averages over processes, so each one's share is scaled back up to a sum.
                shares = {name: term.total / max(counts[name], 1.0) for name, term in terms.items()}
                loss = torch.stack([weights[name] * share for name, share in shares.items()]).sum()
                self.accelerator.backward(loss * self.accelerator.num_processes)
            for name, share in shares.items():
                record[name] += share.item()
            record["loss"] += loss.item()
            iou_sum += iou.sum().item()
            masks += len(iou)
        if not torch.isfinite(torch.tensor(record["loss"])):
            raise ConfigError(
                f"the loss is {record['loss']} at samples {', '.join(batches[0]['sample_ids'][:4])}...: lower "
                "--learning-rate or check these samples; what was saved before is intact"
            )
        if self.config.optim.max_grad_norm > 0:
            norm = self.accelerator.clip_grad_norm_(model.parameters(), self.config.optim.max_grad_norm)
            record["grad_norm"] = float(norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        totals.loss += record["loss"]
        totals.iou += iou_sum
        totals.masks += masks
        totals.steps += 1
        return {**record, "giou": iou_sum / max(masks, 1), "masks": float(masks)}

    def _global_counts(self, batches: list[Batch]) -> dict[str, float]:
        """What each term of the window is averaged over, on all processes together."""
        counts = [term_counts(batch) for batch in batches]
        names = list(counts[0])
        local = torch.tensor([sum(count[name] for count in counts) for name in names], device=self.accelerator.device)
        total = self.accelerator.reduce(local, reduction="sum")
        return dict(zip(names, total.tolist()))

    def _usable(self, batch: Batch) -> bool:
        """Report the samples that could not be read, or raise; False for a batch of which nothing is left."""
        for line in batch.pop("skipped", []):
            if self.config.data.on_error == "fail":
                raise DataError(line)
            self._name_skipped(line)
        return "targets" in batch

    def _name_skipped(self, line: str) -> None:
        """Name a file that was left out, once a run: its sentences are many, and every epoch meets it again."""
        if line not in self.skipped:
            self.skipped.add(line)
            self.reporter.line(f"skipped: {line}")

    def _validate(self, model: Any) -> EvaluationResult:
        config = self.config
        result = evaluate(
            self.accelerator.unwrap_model(model),
            self.val_data,
            self.collator,
            batch_size=config.run.eval_batch_size or config.data.batch_size,
            max_samples=config.data.max_val_samples,
            on_error=config.data.on_error,
            blank=False,
        )
        for line in result.skipped:
            self._name_skipped(line)
        return result

    def _save(self, name: str, epoch: int, step: int, result: EvaluationResult | None) -> None:
        if self.accelerator.is_main_process:
            progress = {"epoch": epoch, "step": step, "val": result.to_dict() if result else None}
            save_checkpoint(self.output / name, self.model, progress)

    def _finish_epoch(
        self, epoch: int, step: int, totals: EpochTotals, result: EvaluationResult | None, seconds: float
    ) -> None:
        record: dict[str, Any] = {
            "kind": "epoch",
            "epoch": epoch,
            "step": step,
            "train_loss": totals.mean_loss,
            "train_giou": totals.giou,
            "seconds": seconds,
            "peak_memory_bytes": peak_memory(),
        }
        if result is not None:
            record["val"] = result.to_dict()
        self._log(record)
        self.reporter.epoch(record, self.config.optim.num_epochs)

    def _open(self, split: str, phrasings: Any) -> SegmentationDataset:
        dataset = open_dataset(self.config.data.data, split, phrasings, on_error=self.config.data.on_error)
        for _, reason in dataset.skipped:
            self._name_skipped(reason)
        return dataset

    def _write_config(self) -> None:
        versions = {name: version(name) for name in ("lisa-core", "torch", "transformers", "accelerate")}
        resolved = {**dataclasses.asdict(self.config), "learning_rate": self.config.learning_rate, "versions": versions}
        (self.output / CONFIG_FILE).write_text(json.dumps(resolved, indent=2) + "\n", encoding="utf-8")
        (self.output / METRICS_FILE).write_text("", encoding="utf-8")

    def _log(self, record: dict[str, Any]) -> None:
        if self.accelerator.is_main_process:
            with open(self.output / METRICS_FILE, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")


def _output_folder(config: TrainConfig) -> Path:
    folder = Path(config.run.output_dir).expanduser()
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--output-dir {folder} is a file: give a folder")
    if any((folder / name).exists() for name in (CONFIG_FILE, *_CHECKPOINTS)) and not config.run.overwrite:
        raise ConfigError(f"{folder} already holds a run: choose another --output-dir, or add --overwrite")
    for name in _CHECKPOINTS:
        if (folder / name).exists() and not (folder / name / META_FILE).is_file():
            raise ConfigError(f"{folder / name} is no checkpoint and would be replaced: choose another --output-dir")
    return folder


def _make_output_folder(folder: Path) -> None:
    """Make the run's folder, without what an earlier run left there: a run cut off early must not be taken for it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / CONFIG_FILE).exists():
            for checkpoint in (folder / f"{name}{suffix}" for name in _CHECKPOINTS for suffix in ("", ".old")):
                if (checkpoint / META_FILE).is_file():
                    shutil.rmtree(checkpoint, ignore_errors=True)
            for path in folder.glob("eval_*.json"):
                path.unlink()
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ConfigError(f"--output-dir {folder} cannot be written to ({error}): choose another") from error


def _windows(loader: DataLoader | Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """Micro-batches in groups of `size`; the last group of an epoch may be smaller."""
    window: list[Batch] = []
    for batch in loader:
        window.append(batch)
        if len(window) == size:
            yield window
            window = []
    if window:
        yield window


def _sync_only(accelerator: Accelerator, model: LisaModel, last: bool) -> Any:
    """Let processes exchange gradients on the last micro-step of a window only."""
    return torch.enable_grad() if last else accelerator.no_sync(model)
