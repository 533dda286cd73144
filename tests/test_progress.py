from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from lisa_core.progress import Reporter, RichReporter, peak_memory


def record(**changes: Any) -> dict[str, Any]:
    return {"epoch": 2, "train_loss": 1.23456, "train_giou": 0.5, "seconds": 61.2, "peak_memory_bytes": 2.5e9} | changes


@pytest.fixture
def reporter() -> RichReporter:
    return RichReporter(Console(file=io.StringIO(), width=200, force_terminal=False))


def printed(reporter: RichReporter) -> str:
    return reporter.console.file.getvalue()  # type: ignore[attr-defined]


def test_peak_memory_is_in_bytes_and_never_falls():
    before = peak_memory()
    assert 10e6 < before < 1e12
    block = np.ones(100_000_000, dtype=np.uint8)
    during = peak_memory()
    del block
    assert during >= before and peak_memory() >= during


def test_an_epoch_is_summed_up_in_one_line(reporter):
    reporter.epoch(record(val={"giou": 0.61234, "ciou": 0.7, "listening": 0.875}), total_epochs=5)
    assert printed(reporter) == (
        "Epoch 2/5 | train loss 1.2346 | train gIoU 0.5000 | val gIoU 0.6123 | val cIoU 0.7000 | listening 87.5% | "
        "61 s | peak memory 2.50 GB\n"
    )


def test_an_epoch_says_only_what_was_measured(reporter):
    reporter.epoch(record(), total_epochs=5)
    reporter.epoch(record(val={"giou": 0.6, "ciou": 0.7, "listening": None}), total_epochs=5)
    first, second = printed(reporter).splitlines()
    assert "val" not in first and "listening" not in first + second and "val gIoU 0.6000" in second


def test_a_line_is_printed_as_it_is(reporter):
    reporter.line("skipped: pictures/[red]x[/red].jpg is not an image")
    assert printed(reporter) == "skipped: pictures/[red]x[/red].jpg is not an image\n"


def test_the_bar_counts_steps_and_shows_running_means(reporter):
    reporter.start(total_steps=4)
    reporter.step(loss=2.0, giou=0.1, samples=8)
    (task,) = reporter.bar.tasks
    assert task.total == 4 and task.completed == 1 and task.fields["loss"] == 2.0 and task.fields["giou"] == 0.1
    reporter.step(loss=1.0, giou=0.2, samples=8)
    assert task.completed == 2 and 1.0 < task.fields["loss"] < 2.0 and 0.1 < task.fields["giou"] < 0.2
    assert task.fields["rate"] > 0 and task.fields["memory"] > 0.01
    reporter.stop()
    assert "2/4" in printed(reporter) and "ETA" in printed(reporter)


def test_a_run_that_never_started_can_be_stopped(reporter):
    reporter.stop()
    reporter.stop()
    assert printed(reporter) == ""


def test_the_plain_reporter_says_nothing(capsys):
    quiet = Reporter()
    quiet.line("x")
    quiet.start(3)
    quiet.step(1.0, 0.5, 8)
    quiet.epoch(record(), 3)
    quiet.stop()
    assert capsys.readouterr() == ("", "")


def test_encoding_has_a_bar_that_gives_way_to_that_of_training():
    reporter = RichReporter(Console(file=io.StringIO(), width=200, force_terminal=True))
    reporter.encoding(0, 40)
    reporter.encoding(16, 40)
    (task,) = reporter.ahead.tasks
    assert (task.completed, task.total) == (16, 40) and reporter.ahead.live.is_started
    assert not reporter.bar.live.is_started
    reporter.start(total_steps=4)
    assert reporter.bar.live.is_started and not reporter.ahead.live.is_started
    reporter.stop()
    assert "encoding pictures" in printed(reporter) and "16/40" in printed(reporter)
