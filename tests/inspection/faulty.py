"""A JSONL dataset of any size with faults planted in it, each where it is known."""

from __future__ import annotations

import functools
import json
import random
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

SIDE = 48


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def huge_png(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG whose header claims so many pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@functools.cache
def bomb_png() -> bytes:
    """A few kilobytes that swell to hundreds of megabytes: 12,000 x 12,000 pixels of nothing, really there."""
    squeezed = zlib.compressobj(9)
    row = b"\0" * (12_000 * 3 + 1)
    data = b"".join(squeezed.compress(row) for _ in range(12_000)) + squeezed.flush()
    return huge_png(12_000, 12_000, data)


def text_bomb_png(picture: Path) -> bytes:
    """A good picture with a comment that swells."""
    data = picture.read_bytes()
    return data[:33] + _swelling_comment() + data[33:]


@functools.cache
def _swelling_comment() -> bytes:
    return chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"\0" * (64 << 20), 9))


def rle(mask: np.ndarray) -> dict[str, Any]:
    runs = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(side) for side in runs["size"]], "counts": runs["counts"].decode()}


def write(root: Path, samples: int, pictures: int, faults: int = 50, seed: int = 0) -> dict[str, int]:
    """Write `train.jsonl` with so many lines and `val.jsonl` with a tenth more, and plant faults in them.

    Returns how many of each kind there are; every fault stands alone, so that none hides another.
    """
    rng = random.Random(seed)
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for split, count in (("train", pictures), ("val", max(pictures // 10, 3))):
        for number in range(count):
            pixels = np.full((SIDE, SIDE, 3), (number % 251, number // 251 % 251, split == "val"), np.uint8)
            Image.fromarray(pixels).save(root / "images" / f"{split}_{number}.png")
    square = np.zeros((SIDE, SIDE), bool)
    square[10:30, 5:25] = True
    Image.fromarray(square.astype(np.uint8) * 255).save(root / "masks" / "square.png")
    outlines: list[dict[str, Any]] = [
        {"rle": rle(square)},
        {"polygons": [[5, 10, 25, 10, 25, 30, 5, 30]]},
        {"mask": "masks/square.png"},
        {"box": [5, 10, 20, 20]},
    ]
    kinds = _kinds(root)
    planted: dict[int, tuple[str, Callable[[dict[str, Any], int], Any]]] = {}
    places = rng.sample(range(1, samples), faults)
    for place, number in zip(sorted(places), range(faults)):
        planted[place] = kinds[number % len(kinds)]
    counts: dict[str, int] = {}
    with (root / "train.jsonl").open("w") as file:
        for number in range(samples):
            text = f"the thing number {number} on the {rng.choice(['left', 'right', 'far side'])}"
            entry: Any = {"image": f"images/train_{number % pictures}.png", "text": text, "id": f"t{number}"}
            entry |= outlines[number % len(outlines)]
            if number in planted:
                kind, spoil = planted[number]
                entry = spoil(entry, number)
                counts[kind] = counts.get(kind, 0) + 1
            file.write((entry if isinstance(entry, str) else json.dumps(entry)) + "\n")
    with (root / "val.jsonl").open("w") as file:
        for number in range(max(samples // 10, 3)):
            entry = {"image": f"images/val_{number % max(pictures // 10, 3)}.png", "text": "a dog", **outlines[0]}
            file.write(json.dumps(entry) + "\n")
    return counts


def _kinds(root: Path) -> list[tuple[str, Callable[[dict[str, Any], int], Any]]]:
    """Kinds of fault, and what each does to a line."""

    def bare(entry: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {name: entry[name] for name in ("image", "text", "id")} | more

    def own_picture(data: Callable[[], bytes]) -> Callable[[dict[str, Any], int], Any]:
        def spoil(entry: dict[str, Any], number: int) -> Any:
            (root / "images" / f"own_{number}.png").write_bytes(data())
            return entry | {"image": f"images/own_{number}.png"}

        return spoil

    def copied(entry: dict[str, Any], number: int) -> Any:
        """A picture of train, saved anew under another name and put into val."""
        with Image.open(root / "images" / "val_1.png") as image:
            image.save(root / "images" / f"copy_{number}.png", compress_level=number % 9)
        return entry | {"image": f"images/copy_{number}.png"}

    def other_size(entry: dict[str, Any], number: int) -> Any:
        Image.new("L", (SIDE + 1, SIDE), 255).save(root / "masks" / f"own_{number}.png")
        return bare(entry, mask=f"masks/own_{number}.png")

    first = root / "images" / "train_0.png"
    return [
        ("missing-file", lambda entry, number: entry | {"image": f"images/none_{number}.png"}),
        ("corrupt-image", own_picture(lambda: first.read_bytes()[:60])),
        ("corrupt-image", own_picture(lambda: b"no picture")),
        ("corrupt-image", own_picture(lambda: huge_png(60_000, 60_000))),
        ("corrupt-image", own_picture(bomb_png)),
        ("corrupt-image", own_picture(lambda: text_bomb_png(first))),
        ("polygon", lambda entry, number: bare(entry, polygons=[[1, 1, 2, 2]])),
        ("polygon", lambda entry, number: bare(entry, polygons=[[1, 1, 9, 1, 9, float("nan")]])),
        ("rle", lambda entry, number: bare(entry, rle={"size": [SIDE, SIDE], "counts": [SIDE * SIDE + 5]})),
        ("rle", lambda entry, number: bare(entry, rle={"size": [SIDE, SIDE], "counts": "o"})),
        ("mask-size", other_size),
        ("mask-size", lambda entry, number: bare(entry, rle=rle(np.ones((SIDE, SIDE + 1), bool)))),
        ("empty-mask", lambda entry, number: bare(entry, polygons=[[900, 900, 950, 900, 950, 950]])),
        ("text", lambda entry, number: entry | {"text": "  "}),
        ("duplicate-id", lambda entry, number: entry | {"id": "t0"}),
        ("leak", copied),
        ("outside-path", lambda entry, number: entry | {"image": "../../../etc/passwd"}),
        ("json", lambda entry, number: '{"image": ' + "[" * 10_000 + "]" * 10_000 + "}"),
        ("json", lambda entry, number: json.dumps(entry)[:40]),
        ("annotation", lambda entry, number: entry | {"outline": 1}),
    ]


def main(arguments: list[str]) -> Iterator[str]:
    """By hand: python faulty.py FOLDER SAMPLES PICTURES."""
    folder = Path(arguments[0])
    shutil.rmtree(folder, ignore_errors=True)
    yield json.dumps(write(folder, int(arguments[1]), int(arguments[2])))


if __name__ == "__main__":
    import sys

    print(*main(sys.argv[1:]))
