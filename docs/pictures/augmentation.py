"""Draws the pictures of docs/augmentation.md: made-up scenes before and after each change, with their sentences.

    python docs/pictures/augmentation.py [FOLDER]

The same files every time. The last picture needs the plugins of all families.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lisa_core.data import Example, open_dataset
from lisa_core.data.augmentation.colour import colour
from lisa_core.data.augmentation.copy_paste import copy_paste
from lisa_core.data.augmentation.crop import crop
from lisa_core.data.augmentation.flip import flip
from lisa_core.data.augmentation.scale_jitter import scale_jitter
from lisa_core.data.synth import SynthConfig, synthesize

HERE = Path(__file__).parent
COLOURS = ((235, 60, 40), (20, 110, 230))
TILE, GAP, LINE = 200, 12, 18
INK, PAPER = (28, 32, 38), (255, 255, 255)

Change = Callable[[Sequence[Example], Random], "list[Example] | None"]


def main(folder: Path) -> None:
    """Write all pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scenes:
        synthesize(Path(scenes) / "scenes", SynthConfig(train=120, val=0, test=0, size=200))
        groups = list(pictures(Path(scenes) / "scenes"))
    everything = [example for group in groups for example in group]

    def pasted(examples: Sequence[Example], rng: Random) -> list[Example] | None:
        others = [one for one in everything if one.image.tobytes() != examples[0].image.tobytes()]
        return copy_paste(examples, rng.sample(others, 40), rng)

    def sided(group: Sequence[Example]) -> bool:
        return all(" left" in one.sample.text or " right" in one.sample.text for one in group)

    def placed(group: Sequence[Example]) -> bool:
        return any(one.sample.text.endswith(("left", "right", "top", "bottom")) for one in group)

    save(before_and_after(groups, lambda group, rng: flip(group), [0], sided), folder / "flip.png")
    save(before_and_after(groups, crop, [0, 1]), folder / "crop.png")
    save(before_and_after(groups, scale_jitter, [1, 6]), folder / "scale-jitter.png")
    save(before_and_after(groups, scale_jitter, [1], placed), folder / "scale-jitter-place.png")
    save(before_and_after(groups, colour, [0, 1]), folder / "colour.png")
    save(before_and_after(groups, pasted, [0, 1]), folder / "copy-paste.png")
    save(as_families_see_it(groups[4][0].image), folder / "families.png")


def pictures(root: Path) -> Iterator[list[Example]]:
    """For each picture its sentences, one for each target."""
    dataset = open_dataset(root, "train", "first")
    numbered = enumerate(dataset.samples)
    for _, group in groupby(numbered, key=lambda item: item[1].image_path.stem.rpartition("_")[0]):
        yield [dataset.load(index) for index, _ in group]


def before_and_after(
    groups: Sequence[Sequence[Example]],
    change: Change,
    seeds: Sequence[int],
    fits: Callable[[Sequence[Example]], bool] = lambda group: True,
) -> Image.Image:
    """The first picture that can be changed with two of its sentences (or one), and what each seed makes of it."""
    for most in (2, 1):
        for group in groups:
            one_by_one = [one for one in group if fits([one]) and change([one], Random(seeds[0])) is not None][:most]
            after = [change(one_by_one, Random(seed)) for seed in seeds] if len(one_by_one) == most else [None]
            shown = [examples for examples in after if examples is not None]
            if len(shown) == len(seeds):
                return beside([panel(one_by_one, "before"), *(panel(examples, "after") for examples in shown)])
    raise SystemExit("no scene can be changed like that: make more of them")


def panel(examples: Sequence[Example], label: str) -> Image.Image:
    """A picture with its targets outlined, each in the colour of its sentence below."""
    image = examples[0].image.copy()
    draw = ImageDraw.Draw(image)
    for example, ink in zip(examples, COLOURS):
        inside = np.pad(example.mask == 1, 1)
        core = inside[1:-1, :-2] & inside[1:-1, 2:] & inside[:-2, 1:-1] & inside[2:, 1:-1]
        for y, x in np.argwhere((example.mask == 1) & ~core).tolist():
            draw.point((x, y), fill=ink)
    width, height = max(image.width, TILE), max(image.height, TILE)
    font = ImageFont.load_default(13)
    lines = [
        (label, INK),
        *((line, c) for e, c in zip(examples, COLOURS) for line in wrapped(e.sample.text, font, width)),
    ]
    page = Image.new("RGB", (width, height + LINE * len(lines) + 6), PAPER)
    page.paste(image, ((width - image.width) // 2, (height - image.height) // 2))
    for number, (text, ink) in enumerate(lines):
        ImageDraw.Draw(page).text((0, height + 4 + LINE * number), text, fill=ink, font=font)
    return page


def wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """The text in lines that are no wider than `width` pixels."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def as_families_see_it(image: Image.Image) -> Image.Image:
    """A picture, and what the processor of each family's small model makes of it, brought back to colours."""
    from lisa_core.registry import get_registry

    panels = [titled(image, "the picture")]
    for family in ("clip-llm", "paligemma", "smolvlm", "llava", "qwenvl"):
        vlm = get_registry().load_vlm_class(family).tiny()
        batch = vlm.preprocess([image], ["Segment it."], joint=True)
        pixels = batch["pixel_values"].float().numpy()
        if "image_grid_thw" in batch:  # patches, in blocks of `merge` x `merge`
            (_, h, w), merge = batch["image_grid_thw"][0].tolist(), vlm.model.config.vision_config.spatial_merge_size
            side = vlm.model.config.vision_config.patch_size
            blocks = pixels.reshape(h // merge, w // merge, merge, merge, 3, -1, side, side)[:, :, :, :, :, 0]
            pixels = blocks.transpose(4, 0, 2, 5, 1, 3, 6).reshape(3, h * side, w * side)
        pixels = pixels.reshape(-1, *pixels.shape[-3:])[-1]  # the whole picture is the last tile
        low, high = pixels.min(), pixels.max()
        seen = Image.fromarray(((pixels - low) / (high - low) * 255).round().astype(np.uint8).transpose(1, 2, 0))
        panels.append(titled(seen, f"{family}: {seen.width} x {seen.height}"))
    return beside(panels)


def titled(image: Image.Image, title: str) -> Image.Image:
    """A picture with a line below it."""
    font = ImageFont.load_default(13)
    page = Image.new("RGB", (max(image.width, round(font.getlength(title))), TILE + LINE + 6), PAPER)
    page.paste(image, (0, (TILE - image.height) // 2))
    ImageDraw.Draw(page).text((0, TILE + 4), title, fill=INK, font=font)
    return page


def beside(panels: Sequence[Image.Image]) -> Image.Image:
    """Panels in a row."""
    width = sum(panel.width for panel in panels) + GAP * (len(panels) + 1)
    page = Image.new("RGB", (width, max(panel.height for panel in panels) + 2 * GAP), PAPER)
    x = GAP
    for one in panels:
        page.paste(one, (x, GAP))
        x += one.width + GAP
    return page


def save(image: Image.Image, path: Path) -> None:
    """As a small PNG."""
    image.quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "augmentation")
