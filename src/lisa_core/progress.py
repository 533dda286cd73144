"""What a long run shows: a progress bar with loss, gIoU, rate and memory, and a summary line for every epoch."""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def peak_memory() -> int:
    """The most memory held so far, bytes: of the GPU if one is used, else of this process."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated() > 0:
        return torch.cuda.max_memory_allocated()
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


def dataset_lines(record: dict[str, Any]) -> list[str]:
    """A line for each dataset of an epoch of several."""
    trained, val = record.get("train_datasets", {}), record.get("val", {}).get("datasets", {})
    lines = []
    for name in dict.fromkeys([*trained, *val]):
        parts = [f"  {name}"]
        if name in trained:
            of = trained[name]
            parts.append(f"{of['samples']:.0f} samples, train loss {of['loss']:.4f}")
            if of["masks"]:
                parts.append(f"train gIoU {of['giou']:.4f}")
        if name in val:
            parts += [f"val gIoU {val[name]['giou']:.4f}", f"val cIoU {val[name]['ciou']:.4f}"]
        lines.append(" | ".join(parts))
    return lines


class Reporter:
    """Hears about a run; this one says nothing."""

    def line(self, text: str) -> None:
        """One line of news."""

    def encoding(self, done: int, total: int) -> None:
        """So many of the pictures have been encoded for all epochs, before training begins."""

    def start(self, total_steps: int, done: int = 0) -> None:
        """Training begins; so many optimizer steps are planned, and so many of them done by an earlier run."""

    def step(self, loss: float, giou: float, samples: int) -> None:
        """One optimizer step is done."""

    def epoch(self, record: dict[str, Any], total_epochs: int) -> None:
        """One epoch is done; the record is that of `metrics.jsonl`."""

    def stop(self) -> None:
        """Training is over."""


class RichReporter(Reporter):
    """Shows a run on the console."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.bar = Progress(
            BarColumn(bar_width=10),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.3f} gIoU {task.fields[giou]:.3f} {task.fields[rate]:.0f}/s"),
            TextColumn("{task.fields[memory]:.1f} GB"),
            TextColumn("ETA"),
            TimeRemainingColumn(compact=True),
            console=self.console,
        )
        self.ahead = Progress(
            TextColumn("encoding pictures, once for all epochs"),
            BarColumn(bar_width=10),
            MofNCompleteColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(compact=True),
            console=self.console,
            transient=True,
        )
        self.samples = 0
        self.loss = self.giou = 0.0

    def line(self, text: str) -> None:
        """Print above the bar."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def encoding(self, done: int, total: int) -> None:
        """Show a bar of its own."""
        if not self.ahead.tasks:
            self.ahead.add_task("encoding", total=total)
            self.ahead.start()
        self.ahead.update(self.ahead.task_ids[0], completed=done)

    def start(self, total_steps: int, done: int = 0) -> None:
        """Show the bar of training in place of that of encoding."""
        _take_down(self.ahead)
        self.started = time.monotonic()
        self.task = self.bar.add_task(
            "training", total=total_steps, completed=done, loss=0.0, giou=0.0, rate=0.0, memory=0.0
        )
        self.bar.start()

    def step(self, loss: float, giou: float, samples: int) -> None:
        """Advance the bar; loss and gIoU are shown as running means, since single batches jump."""
        if not samples:  # a step that was left out
            self.bar.update(self.task, advance=1)
            return
        weight = 0.05 if self.samples else 1.0
        self.loss += weight * (loss - self.loss)
        self.giou += weight * (giou - self.giou)
        self.samples += samples
        rate = self.samples / max(time.monotonic() - self.started, 1e-9)
        self.bar.update(self.task, advance=1, loss=self.loss, giou=self.giou, rate=rate, memory=peak_memory() / 1e9)

    def epoch(self, record: dict[str, Any], total_epochs: int) -> None:
        """Print the epoch's summary."""
        parts = [
            f"Epoch {record['epoch']}/{total_epochs}",
            f"train loss {record['train_loss']:.4f}",
            f"train gIoU {record['train_giou']:.4f}",
        ]
        if "val" in record:
            val = record["val"]
            parts += [f"val gIoU {val['giou']:.4f}", f"val cIoU {val['ciou']:.4f}"]
            if val["listening"] is not None:
                parts.append(f"listening {100 * val['listening']:.1f}%")
        parts += [f"{record['seconds']:.0f} s", f"peak memory {record['peak_memory_bytes'] / 1e9:.2f} GB"]
        self.line(" | ".join(parts))
        for line in dataset_lines(record):
            self.line(line)

    def stop(self) -> None:
        """Take the bars down."""
        _take_down(self.ahead)
        _take_down(self.bar)


def _take_down(bar: Progress) -> None:
    """Stop a bar that is up; where there is no terminal, rich prints an empty line for one that is not."""
    if bar.live.is_started:
        bar.stop()
