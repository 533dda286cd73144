"""The page of a dataset: samples with their masks, to be looked at, filtered and faded."""

from __future__ import annotations

import random
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from lisa_core.data import IGNORE, Example
from lisa_core.errors import DataError
from lisa_core.formats import AUTO
from lisa_core.html_page import tools, write_page
from lisa_core.html_samples import IGNORED, SIDE, Keep, colored_layer, encoded
from lisa_core.inspection.opened import Dataset, Opened
from lisa_core.outputs import Color
from lisa_core.report import scaled

TARGET: Color = (230, 120, 0)
"""Of the pixels that belong to the target."""
_FAULTS = 20  # lines about what cannot be shown


def write_viewer(
    path: Path,
    root: str | Path,
    format: str = AUTO,
    splits: Sequence[str] | None = None,
    samples: int = 48,
    seed: int = 0,
) -> Path:
    """Write a page of samples drawn at random.

    Args:
        path: as of `write_page`.
        root: folder of the dataset, or `hf:ORG/NAME`.
        format: as of `open_dataset`.
        splits: those to show; None: all that are there.
        samples: how many of each split.
        seed: of the draw.

    Returns:
        The HTML file.

    Raises:
        ConfigError: if it cannot be written.
        DataError: as `check_dataset`, and when no sample can be shown.
    """
    dataset = Dataset(root, format, splits)
    title = f"{root} ({dataset.format})"

    def body(keep: Keep) -> str:
        meanings = (("target", TARGET), ("not counted", IGNORED))
        parts = [f"<h1>{escape(title)}</h1>", tools(meanings)]
        faults = [line for _, _, line in dataset.errors]
        is_empty = True
        for number, opened in enumerate(dataset.open()):
            cards, lines = _cards(opened, f"s{number}", samples, seed, keep)
            faults += [line for _, _, line in opened.errors] + lines
            if cards and opened.dataset is not None:
                is_empty = False
                note = f"{len(cards)} of {len(opened.dataset)} samples, seed {seed}"
                parts.append(f'<h2>{escape(opened.split)}</h2><p class="about">{escape(note)}</p>')
                parts.append(f'<div class="cards narrow">{"".join(cards)}</div>')
        if is_empty:
            raise DataError(faults[0] if faults else f"{root} has no sample to show.")
        return "\n".join([*parts, *_faults(list(dict.fromkeys(faults)))])

    return write_page(path, body, title, "--output")


def _cards(opened: Opened, number: str, samples: int, seed: int, keep: Keep) -> tuple[list[str], list[str]]:
    """The cards of a split, and lines about samples that cannot be shown; others take their places."""
    if opened.dataset is None:
        return [], []
    order = list(range(len(opened.dataset)))
    random.Random(seed).shuffle(order)
    drawn: list[tuple[int, str]] = []
    faults = []
    for index in order:
        if len(drawn) == samples:
            break
        try:
            example = opened.dataset.load(index)
        except DataError as error:
            faults.append(str(error))
            continue
        drawn.append((index, _card(example, opened.split, f"{number}_{index}", keep)))
    return [card for _, card in sorted(drawn)], faults


def _card(example: Example, split: str, number: str, keep: Keep) -> str:
    """The HTML of one sample: its picture, and its mask over it."""
    sample, mask = example.sample, example.mask
    picture = ImageOps.contain(example.image, (SIDE, SIDE), Image.Resampling.LANCZOS)
    source = keep(f"{number}.jpg", encoded(picture, "JPEG"))
    colored = [(scaled(mask == IGNORE, picture.size), IGNORED), (scaled(mask == 1, picture.size), TARGET)]
    layer = keep(f"{number}_mask.png", encoded(colored_layer(colored), "PNG"))
    size = f'width="{picture.width}" height="{picture.height}"'
    tiles = (
        f'<figure><div class="stack"><img src="{source}" {size} alt="the picture"></div></figure>'
        f'<figure><div class="stack"><img class="under" src="{source}" {size} alt="">'
        f'<img class="mask" src="{layer}" {size} alt="mask"></div></figure>'
    )
    facts = [
        sample.id,
        sample.image_path.name,
        f"{example.image.width} x {example.image.height}",
        "no target" if sample.no_target else f"mask {np.mean(mask == 1):.1%} of the picture",
        "sentence" if sample.is_sentence else "phrase",
    ]
    answer = "" if sample.answer is None else f'<p class="reply" dir="auto">answer: {escape(sample.answer)}</p>'
    searched = " ".join([split, sample.text, *facts, sample.source, sample.answer or ""]).lower()
    return (
        f'<article class="card" data-text="{escape(searched)}"><header>'
        f'<p class="sentence" dir="auto">{escape(sample.text)}</p></header>'
        f'<p class="facts">{escape(" · ".join(facts))}</p>{answer}<div class="tiles">{tiles}</div></article>\n'
    )


def _faults(lines: Sequence[str]) -> list[str]:
    """What is not shown, and why."""
    if not lines:
        return []
    shown = "".join(f"<li>{escape(line)}</li>" for line in lines[:_FAULTS])
    more = f"<li>and {len(lines) - _FAULTS} more</li>" if len(lines) > _FAULTS else ""
    about = "<code>lisa data check</code> finds everything that is broken."
    return [f'<h2>Not shown</h2><p class="about">{about}</p><ul class="facts">{shown}{more}</ul>']
