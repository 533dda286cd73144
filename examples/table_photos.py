"""Draws the folders that docs/custom-data.md works on: `python examples/table_photos.py` makes them where you are.

    labelled/   "photographs" of mugs, plates and spoons, with labelme's files beside them, and four faults
    shelf/      pictures with a list of outlines, as another tool may export it

Everything is drawn from a seed. The faults are those that one finds in real folders; docs/custom-data.md mends them.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

WIDTH, HEIGHT = 160, 120
COLOURS = {"red": (190, 50, 45), "blue": (50, 80, 180), "green": (60, 140, 70), "white": (225, 222, 215)}
KINDS = ("mug", "plate", "spoon")
SUPERSAMPLING = 4
TURNED = 0x0112
"""EXIF's tag for how a camera was held."""

Outline = list[list[float]]
"""Corners (x, y) in pixels."""


@dataclass
class Thing:
    """Something on the table."""

    label: str
    """What labelme's dialog was given."""
    outline: Outline
    rgb: tuple[int, ...]


def ellipse(x: float, y: float, rx: float, ry: float, corners: int = 20) -> np.ndarray:
    """[P,2] corners around (x, y)."""
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1)


def outline_of(kind: str, x: float, y: float, size: float) -> Outline:
    """Where a thing of `size` pixels is, around (x, y)."""
    s = size / 2
    if kind == "plate":
        points = ellipse(x, y, s, 0.8 * s)
    elif kind == "mug":  # a body with a handle on its right
        corners = [(-0.8, -0.9), (0.5, -0.9), (0.5, -0.6), (0.9, -0.5), (0.9, 0.3), (0.5, 0.4), (0.4, 0.9), (-0.7, 0.9)]
        points = np.array([x, y]) + s * np.array(corners)
    else:  # a bowl, and below it a handle
        bowl = ellipse(x, y - 0.6 * s, 0.4 * s, 0.5 * s)[6:25]
        points = np.concatenate([bowl, [[x + 0.12 * s, y + s], [x - 0.12 * s, y + s]]])
        points = points[np.argsort(np.arctan2(points[:, 1] - (y - 0.3 * s), points[:, 0] - x))]
    return [[round(float(px), 1), round(float(py), 1)] for px, py in points]


def table(rng: np.random.Generator) -> tuple[Image.Image, list[Thing]]:
    """A picture with three things side by side, no two of one colour and kind, and what they are."""
    pairs = [(colour, kind) for colour in COLOURS for kind in KINDS]
    chosen = [pairs[index] for index in rng.choice(len(pairs), 3, replace=False)]
    things = []
    for place, (colour, kind) in enumerate(chosen):
        size = rng.uniform(36, 48)
        x = WIDTH * (2 * place + 1) / 6 + rng.uniform(-2, 2)
        y = rng.uniform(size / 2 + 2, HEIGHT - size / 2 - 2)
        rgb = tuple(int(value) for value in np.clip(np.array(COLOURS[colour]) * rng.uniform(0.9, 1.1), 0, 255))
        things.append(Thing(f"the {colour} {kind}", outline_of(kind, x, y, size), rgb))
    return photograph(rng, things), things


def photograph(rng: np.random.Generator, things: list[Thing]) -> Image.Image:
    """Things on wood, in light from one side, a little blurred and noisy."""
    k = SUPERSAMPLING
    wood = 110 + 14 * np.sin(np.linspace(0, 40, k * HEIGHT) + rng.uniform(0, 6))[:, None]
    pixels = wood[..., None] * np.array([1.05, 0.85, 0.62]) * np.ones((1, k * WIDTH, 1))
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for thing in things:
        draw.polygon([(k * px, k * py) for px, py in thing.outline], fill=thing.rgb, outline=(60, 50, 40), width=k)
    image = image.resize((WIDTH, HEIGHT), Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(0.4))
    light = np.linspace(rng.uniform(0.85, 1), rng.uniform(0.85, 1.1), WIDTH)[None, :, None]
    noisy = np.asarray(image) * light + rng.normal(0, 4, (HEIGHT, WIDTH, 1))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def labelme_file(name: str, things: list[Thing]) -> dict[str, Any]:
    """What labelme 6 writes for a picture."""
    shapes = [
        {
            "label": thing.label,
            "points": thing.outline,
            "group_id": None,
            "description": "",
            "shape_type": "polygon",
            "flags": {},
            "mask": None,
        }
        for thing in things
    ]
    head = {"version": "6.3.1", "flags": {}, "shapes": shapes, "imagePath": name, "imageData": None}
    return head | {"imageHeight": HEIGHT, "imageWidth": WIDTH}


def write_labelled(folder: Path, rng: np.random.Generator, train: int, val: int) -> None:
    """Pairs IMG_0001.jpg and IMG_0001.json in train/ and val/; every fifth picture has an ignored corner."""
    for split, first, count in (("train", 1, train), ("val", 201, val)):
        (folder / split).mkdir(parents=True)
        for number in range(first, first + count):
            name = f"IMG_{number:04}.jpg"
            image, things = table(rng)
            if number % 5 == 0:
                things.append(Thing("__ignore__", [[0, 0], [14, 0], [14, 10], [0, 10]], ()))
            image.save(folder / split / name, quality=92)
            content = json.dumps(labelme_file(name, things), indent=2)
            (folder / split / name).with_suffix(".json").write_text(content, encoding="utf-8")


def spoil(folder: Path) -> None:
    """What goes wrong in real folders, once each."""
    train, val = folder / "train", folder / "val"
    # a phone was held upright: the pixels lie on their side, and labelme showed (and measured) them upright
    with Image.open(train / "IMG_0003.jpg") as image:
        exif = Image.Exif()
        exif[TURNED] = 6
        image.transpose(Image.Transpose.ROTATE_90).save(train / "IMG_0003.jpg", quality=92, exif=exif)
    # an outline drawn with labelme's tool for lines
    path = train / "IMG_0005.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"polygon"', '"linestrip"', 1), encoding="utf-8")
    # a picture renamed after it was labelled
    (train / "IMG_0007.jpg").rename(train / "breakfast.jpg")
    # a picture that came into both splits
    for ending in ("jpg", "json"):
        shutil.copyfile(train / f"IMG_0009.{ending}", val / f"IMG_0299.{ending}")
    path = val / "IMG_0299.json"
    path.write_text(path.read_text(encoding="utf-8").replace("IMG_0009", "IMG_0299"), encoding="utf-8")


def write_shelf(folder: Path, rng: np.random.Generator, count: int) -> None:
    """photos/*.jpg and outlines.csv: a row for each thing, one for each thing that is not there, some to ignore."""
    (folder / "photos").mkdir(parents=True)
    rows = []
    for number in range(1, count + 1):
        name = f"photos/shelf_{number:03}.jpg"
        image, things = table(rng)
        image.save(folder / name, quality=92)
        for thing in things:
            noun = thing.label.removeprefix("the ")
            text = f"{thing.label} | the {noun.split()[1]} that is {noun.split()[0]}"
            rows.append((name, text, " ".join(f"{value:g}" for point in thing.outline for value in point)))
        there = {thing.label for thing in things}
        others = [f"the {colour} {kind}" for colour in COLOURS for kind in KINDS if f"the {colour} {kind}" not in there]
        rows.append((name, others[int(rng.integers(len(others)))], ""))
        if number % 5 == 0:
            rows.append((name, "ignore", "0 0 14 0 14 10 0 10"))
    with (folder / "outlines.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("photo", "sentences", "outline"), *rows])


def main() -> None:
    """Parse the command line and draw."""
    parser = argparse.ArgumentParser(description="Draw the folders that docs/custom-data.md works on.")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("."), help="where to; default: here")
    parser.add_argument("--train", type=int, default=40, help="labelled pictures to train on")
    parser.add_argument("--val", type=int, default=10, help="labelled pictures to validate on")
    parser.add_argument("--shelf", type=int, default=20, help="pictures with a list of outlines")
    args = parser.parse_args()
    if args.train < 9:
        parser.error("--train must be at least 9: that is where the faults are")
    for name in ("labelled", "shelf"):
        if (args.folder / name).exists():
            parser.error(f"{args.folder / name} is there already: choose another folder")
    write_labelled(args.folder / "labelled", np.random.default_rng(0), args.train, args.val)
    spoil(args.folder / "labelled")
    write_shelf(args.folder / "shelf", np.random.default_rng(1), args.shelf)
    image, _ = table(np.random.default_rng(2))
    image.save(args.folder / "new.jpg", quality=92)
    print(f"drawn: {args.folder / 'labelled'}, {args.folder / 'shelf'}, {args.folder / 'new.jpg'}")


if __name__ == "__main__":
    main()
