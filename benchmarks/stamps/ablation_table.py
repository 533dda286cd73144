"""What the configurations reach, as a table: means over seeds, and how each differs from the one it extends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lisa_core.bootstrap import by_picture, interval, resampled
from lisa_core.errors import ConfigError
from lisa_core.evaluation_file import read_evaluation
from lisa_core.records import SampleRecord

SPLITS = ("val", "test_unseen")
_FIGURES = {"giou": (0, 1), "listening": (2, 3), "blank": (4, 5), "swapped": (6, 7)}
"""By name: which of a record's numbers is divided by which."""
_WITHOUT, _GUESS = ("blank", "swapped"), "largest_object"
"""What is drawn without the sentence, and a guess that never reads one."""
_UNPAIRED = "two runs were evaluated on other pictures: delete --out, or give another"


@dataclass(frozen=True)
class Run:
    """One configuration trained with one seed, and evaluated."""

    folder: Path
    """With the files of `lisa eval` for both splits."""
    seed: int
    """Of the training."""
    seconds: float
    """Of training, with what was encoded before the first step."""
    revision: str
    """Of the code that trained."""


@dataclass(frozen=True)
class Estimate:
    """A figure over all seeds of a configuration."""

    mean: float
    """Of the seeds' figures."""
    spread: float
    """Largest less smallest of the seeds' figures."""
    seeds: int
    """How many there are."""
    pictures: tuple[str, ...]
    """Whose sentences were asked, in their order."""
    draws: np.ndarray
    """The mean in bootstrap resamples of the pictures, float64 [R]; the same draws for all configurations."""

    def less(self, other: Estimate) -> tuple[float, float, float]:
        """The difference from another estimate, and the 95% interval of it that other pictures would give.

        Raises:
            ConfigError: if the two are not of the same pictures.
        """
        if self.pictures != other.pictures:
            raise ConfigError(_UNPAIRED)
        low, high = interval(self.draws - other.draws) or (float("nan"), float("nan"))
        return self.mean - other.mean, low, high


def estimates(runs: Sequence[Path], split: str) -> dict[str, Estimate]:
    """gIoU, listening accuracy and gIoU with the sentence blanked or swapped, over all runs of a configuration.

    Raises:
        ConfigError: if they are not of the same pictures.
    """
    shares = []
    pictures: list[tuple[str, ...]] = []
    for run in runs:
        records = read_evaluation(run, split).records
        rows = np.array([_row(record) for record in records])
        pictures.append(tuple(dict.fromkeys(record.picture for record in records)))
        shares.append(by_picture(rows, [record.picture for record in records]))
    if len(set(pictures)) > 1:
        raise ConfigError(_UNPAIRED)
    # One draw of pictures serves all seeds: they were asked about the same ones.
    draws = np.stack([resampled(share) for share in shares])  # [seeds,R,8]
    totals = np.stack([share.sum(0) for share in shares])  # [seeds,8]
    found = {}
    for name, (top, bottom) in _FIGURES.items():
        with np.errstate(invalid="ignore"):  # NaN where no sentence has what is counted
            each, drawn = totals[:, top] / totals[:, bottom], draws[..., top] / draws[..., bottom]
        spread = float(each.max() - each.min())
        found[name] = Estimate(float(each.mean()), spread, len(runs), pictures[0], drawn.mean(0))
    return found


def _row(record: SampleRecord) -> list[float]:
    blind = [record.blind.get(name) for name in _WITHOUT]
    told = [number for iou in blind for number in ((0.0, 0) if iou is None else (iou, 1))]
    return [record.iou, 1, record.listening_hits, record.listening_pairs, *told]


def goes_by_words(runs: Sequence[Path], split: str) -> bool:
    """Whether the sentences decide, in all of the runs: other pictures would say so too (95%, bootstrap).

    Without its sentence, or with another object's, a mask is worth less, and on average no more than that of a guess
    that always draws the largest of the objects asked for. Of sentences that have all three to compare with.
    """
    for run in runs:
        records = [one for one in read_evaluation(run, split).records if {*_WITHOUT, _GUESS} <= one.blind.keys()]
        lost = np.array([[record.iou - record.blind[name] for name in _WITHOUT] + [1] for record in records])
        if not len(lost):
            return False
        draws = resampled(by_picture(lost, [record.picture for record in records]))  # [R,3]
        guess = np.mean([record.blind[_GUESS] for record in records])
        for place, name in enumerate(_WITHOUT):
            found = interval(draws[:, place] / draws[:, -1])
            mean = np.mean([record.blind[name] for record in records])
            if mean > guess or (found or (0.0,))[0] <= 0:
                return False
    return True


def table(
    results: Mapping[str, Sequence[Run]],
    parents: Mapping[str, str | None],
    data_hash: str | None,
    command: str | None = None,
) -> str:
    """A Markdown table, one line per configuration; under it what the figures are of, and which do not go by the words.

    Args:
        results: runs by configuration.
        parents: what each configuration extends, and is compared with if it is among the results.
        data_hash: of the benchmark's files, if known.
        command: that made it.
    """
    lines = [
        "| configuration | compared with | val gIoU | val listening | unseen gIoU | unseen listening "
        "| val gIoU, blanked | swapped | minutes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    found = {
        name: {split: estimates([run.folder for run in runs], split) for split in SPLITS}
        for name, runs in results.items()
    }
    for name, runs in results.items():
        parent = parents[name] if parents[name] in found else None
        cells = [
            _cell(found[name][split][figure], None if parent is None else found[parent][split][figure])
            for split in SPLITS
            for figure in ("giou", "listening")
        ]
        blind = [f"{found[name]['val'][figure].mean:.3f}" for figure in _WITHOUT]
        minutes = sum(run.seconds for run in runs) / len(runs) / 60
        compared = f"`{parent}`" if parent else "—"
        lines.append(f"| `{name}` | {compared} | {' | '.join([*cells, *blind])} | {minutes:.0f} |")
    everything = [run for runs in results.values() for run in runs]
    facts = {
        "seeds": ", ".join(str(seed) for seed in sorted({run.seed for run in everything})),
        "data": f"sha256 `{data_hash[:12]}...`" if data_hash else "of no benchmark of scenes.py",
        "code": ", ".join(sorted({run.revision for run in everything})),
        "not by the words": _deaf(results),
    }
    if command is not None:
        facts["made by"] = f"`{command}`"
    return "\n".join([*lines, "", "; ".join(f"{name}: {fact}" for name, fact in facts.items()) + "."])


def _deaf(results: Mapping[str, Sequence[Run]]) -> str:
    """Whose gIoU does not fall to that of a guess without their sentence."""
    folders = {name: [run.folder for run in runs] for name, runs in results.items()}
    found = (name for name in folders if not all(goes_by_words(folders[name], split) for split in SPLITS))
    return ", ".join(f"`{name}`" for name in found) or "none"


def _cell(value: Estimate, parent: Estimate | None) -> str:
    spread = f"; seeds within {value.spread:.3f}" if value.seeds > 1 else ""
    if parent is None:
        low, high = interval(value.draws) or (float("nan"), float("nan"))
        return f"{value.mean:.3f} ({low:.3f} to {high:.3f}{spread})"
    difference, low, high = value.less(parent)
    return f"{value.mean:.3f} ({difference:+.3f}: {low:+.3f} to {high:+.3f}{spread})"
