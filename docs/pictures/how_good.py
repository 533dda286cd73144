"""Draws the pictures of docs/how-good.md: what lisa-tiny makes of held-out sentences, some by lot and its worst.

    python docs/pictures/how_good.py [FOLDER]

The scenes are those of `make demo`'s validation split (`lisa data synth`, seed 0), which it was not trained on.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

from lisa_core import Segmenter
from lisa_core.data import open_dataset
from lisa_core.data.synth import SynthConfig, synthesize
from lisa_core.metrics import iou
from lisa_core.report import SheetRow, contact_sheet

HERE = Path(__file__).parent
SHOWN = 6
LOOKED_AT = 240
"""Sentences among which the worst are sought: the first of the split."""


def main(folder: Path) -> None:
    """Write both pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    segmenter = Segmenter.load("tiny", "cpu")
    with tempfile.TemporaryDirectory() as scratch:
        synthesize(Path(scratch) / "scenes", SynthConfig(train=0, val=240, test=0, seed=0))
        dataset = open_dataset(Path(scratch) / "scenes", "val", "first")
        rows = []
        for index in range(min(LOOKED_AT, len(dataset))):
            example = dataset.load(index)
            drawn = segmenter.set_image(example.image).segment(example.sample.text, example.sample.is_sentence)
            found = iou(drawn.mask, example.mask)
            rows.append(SheetRow(example.image, example.sample.text, example.mask, drawn.mask, found))
    by_lot = random.Random(0).sample(rows, SHOWN)
    worst = sorted(rows, key=lambda row: row.iou)[:SHOWN]
    for name, shown in {"by-lot": by_lot, "worst": worst}.items():
        sheet = contact_sheet(shown, tile=(168, 128))
        sheet.save(folder / f"{name}.jpg", quality=85, subsampling=0)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "how-good")
