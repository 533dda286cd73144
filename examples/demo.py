"""The whole path on one machine: make scenes, train a small real VLM segmenter, measure it, look at its masks.

`clip-llm` starts from `tiny`, the model that comes with this package, and is measured before and after; with
`--from-scratch`, and for every other family, the weights start at random. Every step is the command a user would type;
only the contact sheet at the end is made through the Python API.
"""

from __future__ import annotations

import argparse
import json
import random
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PACKAGED = "clip-llm"
"""The family of the packaged model."""
FROM_TINY = ("--init-from", "tiny", "--learning-rate", "1e-4")
"""How the packaged model is trained on; a family's tiny model starts at 1e-3."""
FROM_SCRATCH = ("--vlm-model-name", "tiny")
LIKE_TINY = ("--fusion", "late", "--fine-features")
"""How the packaged model was trained, for the same family from scratch."""
EPOCHS = {"tiny": 2, "scratch": 4}
"""By what is started from."""


def from_scratch(family: str) -> tuple[str, ...]:
    """How a family's tiny model starts from random weights."""
    return (*FROM_SCRATCH, *(LIKE_TINY if family == PACKAGED else ()))


def lisa(*arguments: str) -> None:
    """Run a `lisa` command, showing it first; if it fails, it has said why, and nothing can follow it."""
    print("\n$ lisa", shlex.join(arguments), flush=True)
    code = subprocess.run([sys.executable, "-m", "lisa_core", *arguments], check=False).returncode
    if code != 0:
        sys.exit(code if code > 0 else f"`lisa {arguments[0]}` was ended by signal {-code}")


def figures(checkpoint: str, data: Path, split: str, output: Path) -> dict[str, Any]:
    """What `lisa eval` finds."""
    lisa("eval", checkpoint, "--data", str(data), "--split", split, "-o", str(output))
    return json.loads(output.read_text(encoding="utf-8"))


def line(what: str, found: dict[str, Any]) -> str:
    """The two figures that matter most."""
    return f"  {what:42} gIoU {found['giou']:.3f}, listening {100 * found['listening']:.1f}%"


def contact_sheet_of(run: Path, data: Path, path: Path, count: int = 16) -> None:
    """Draw held-out sentences with truth and prediction side by side."""
    from lisa_core import Segmenter
    from lisa_core.data import open_dataset
    from lisa_core.metrics import iou
    from lisa_core.report import SheetRow, contact_sheet

    dataset = open_dataset(data, "val", "first")
    segmenter = Segmenter.load(run)
    rows = []
    for index in sorted(random.Random(0).sample(range(len(dataset)), min(count, len(dataset)))):
        example = dataset.load(index)
        drawn = segmenter.set_image(example.image).segment(example.sample.text, example.sample.is_sentence)
        rows.append(
            SheetRow(example.image, example.sample.text, example.mask == 1, drawn.mask, iou(drawn.mask, example.mask))
        )
    contact_sheet(rows).save(path)


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vlm", default=PACKAGED, help="VLM family")
    parser.add_argument("--from-scratch", action="store_true", help="start at random where there is a packaged model")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for data, run and pictures")
    parser.add_argument("--epochs", type=int, help=f"default: {EPOCHS['tiny']}, from scratch {EPOCHS['scratch']}")
    options = parser.parse_args()
    data, run, pictures = options.out / "shapes", options.out / options.vlm, options.out / "segmented"
    start = "tiny" if options.vlm == PACKAGED and not options.from_scratch else "scratch"
    epochs = options.epochs or EPOCHS[start]
    starting = FROM_TINY if start == "tiny" else from_scratch(options.vlm)
    options.out.mkdir(parents=True, exist_ok=True)

    lisa("plugins")
    manifest = data / "synth.json"
    if not manifest.exists() or not json.loads(manifest.read_text(encoding="utf-8"))["complete"]:
        lisa("data", "synth", str(data), "--force")
    before = figures("tiny", data, "val", options.out / "eval_tiny_val.json") if start == "tiny" else None
    started = time.monotonic()
    lisa(
        *("train", "--vlm", options.vlm, *starting),
        *("--data", str(data), "--output-dir", str(run), "--num-epochs", str(epochs), "--seed", "0"),
        *("--eval-every", "2", "--max-val-samples", "200", "--overwrite"),
    )
    minutes = (time.monotonic() - started) / 60
    after = {split: figures(str(run), data, split, run / f"eval_{split}.json") for split in ("val", "test")}
    first = sorted((data / "val").glob("*.jpg"))[0]
    sentences = [
        json.loads(path.read_text())["text"][0] for path in sorted((data / "val").glob(f"{first.stem[:-1]}*.json"))
    ]
    lisa("segment", str(run), str(first), *sentences, "-o", str(pictures))
    sheet = options.out / "contact_sheet.png"
    contact_sheet_of(run, data, sheet)

    passes, weights = "1 epoch" if epochs == 1 else f"{epochs} epochs", "tiny" if before else "random weights"
    print(f"\nTrained for {minutes:.1f} minutes, {passes} from {weights}:")
    if before:
        print(line("tiny, before: val", before))
    print(line("val", after["val"]))
    print(line("test (pairs never trained on)", after["test"]))
    print("\nWhere everything is:")
    for what, where in {
        "scenes": data,
        "checkpoints, metrics.jsonl, config.json": run,
        "figures": run / "eval_val.json",
        "masks and overlays of one picture": pictures,
        "held-out sentences, truth and prediction": sheet,
    }.items():
        print(f"  {what:42} {where}")


if __name__ == "__main__":
    main()
