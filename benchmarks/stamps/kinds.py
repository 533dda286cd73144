"""Breaks the figures of an evaluation down by how the object is told and by whether the nouns were trained on.

    python benchmarks/stamps/kinds.py data runs/ablations/base-seed0/eval_test_unseen.json

What `lisa eval` wrote of a split of the benchmark, joined with what the annotations say of each sentence.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from reading import read_annotation

from lisa_core.errors import DataError, LisaError
from lisa_core.evaluation_file import read_evaluation

WRONG = 0.1
"""IoU below which a mask is on something else."""


@dataclass
class Tally:
    """What was found of sentences of one kind."""

    ious: list[float] = field(default_factory=list)
    """Of each mask."""
    hits: int = 0
    """Pairs in which the mask fits its own object better than another one."""
    pairs: int = 0
    """Pairs of a mask and another object of its picture."""

    def row(self, kind: str, words: str) -> str:
        """A line of the table."""
        count = len(self.ious)
        wrong = sum(iou < WRONG for iou in self.ious) / count
        listening = f"{self.hits / self.pairs:.3f}" if self.pairs else "—"
        return f"| {kind} | {words} | {count} | {sum(self.ious) / count:.3f} | {wrong:.3f} | {listening} |"


def tallies(data: Path, evaluation: Path) -> dict[tuple[str, bool], Tally]:
    """By kind of expression, and whether all nouns of the sentence are those of training objects.

    Args:
        data: what scenes.py wrote.
        evaluation: what `lisa eval` wrote, of one phrasing of each object.

    Raises:
        ConfigError: if `evaluation` is no evaluation.
        DataError: if it is not of these data.
    """
    stored = read_evaluation(evaluation)
    result: dict[tuple[str, bool], Tally] = defaultdict(Tally)
    for record in stored.records:
        name = record.id.partition("#")[0]
        path = data / str(stored.about.get("split")) / f"{name}.json"
        told = read_annotation(path)
        if record.text not in told.texts:
            raise DataError(f"{path} does not say {record.text!r}: give the data that {evaluation} is of.")
        tally = result[told.kind, told.words_known]
        tally.ious.append(record.iou)
        tally.hits += record.listening_hits
        tally.pairs += record.listening_pairs
    return dict(result)


def table(found: dict[tuple[str, bool], Tally]) -> str:
    """As Markdown, the kinds with known nouns first."""
    head = f"| kind | nouns | masks | gIoU | IoU below {WRONG} | listening |\n|---|---|---|---|---|---|"
    rows = (
        found[key].row(key[0], "known" if key[1] else "unknown") for key in sorted(found, key=lambda k: (not k[1], k))
    )
    return "\n".join([head, *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="what scenes.py wrote")
    parser.add_argument("evaluation", type=Path, help="a run's eval_SPLIT.json")
    options = parser.parse_args()
    try:
        print(table(tallies(options.data, options.evaluation)))
    except LisaError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
