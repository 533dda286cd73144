"""Made-up cut-outs and photographs, so that the benchmark's composer is tested without the packages it is made for."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

STAMPS = Path(__file__).parents[2] / "benchmarks" / "stamps"

collect_ignore_glob = [] if STAMPS.is_dir() else ["test_*.py"]  # a source archive has no benchmarks

sys.path.insert(0, str(STAMPS))

# name, colour word, RGB, corners of a polygon in a 100 x 80 picture
_SHAPES = [
    ("crow", "black", (20, 20, 20), [(10, 40), (50, 5), (90, 40), (50, 75)]),
    ("gull", "white", (240, 240, 240), [(5, 5), (95, 20), (60, 75)]),
    ("robin", "red", (200, 30, 30), [(10, 70), (20, 10), (90, 60)]),
    ("wren", "brown", (120, 80, 40), [(10, 10), (90, 10), (90, 40), (10, 70)]),
    ("apple", "red", (220, 20, 20), [(20, 20), (80, 20), (80, 70), (20, 70)]),
    ("pear", "green", (60, 170, 50), [(40, 5), (60, 5), (95, 75), (5, 75)]),
    ("lemon", "yellow", (240, 220, 40), [(5, 40), (30, 10), (70, 10), (95, 40), (50, 75)]),
    ("plum", "purple", (110, 40, 140), [(30, 5), (95, 40), (30, 75)]),
    ("saw", "grey", (130, 130, 130), [(5, 60), (95, 5), (95, 30), (5, 75)]),
    ("hammer", "brown", (110, 70, 40), [(5, 5), (40, 5), (95, 70), (80, 75)]),
]
_FAMILIES = dict.fromkeys(("crow", "gull", "robin", "wren"), "bird")
_FAMILIES |= dict.fromkeys(("apple", "pear", "lemon", "plum"), "fruit")


def draw_cutout(path: Path, rgb: tuple[int, int, int], corners: list[tuple[int, int]]) -> None:
    image = Image.new("RGBA", (100, 80), (255, 0, 255, 0))
    ImageDraw.Draw(image).polygon(corners, fill=(*rgb, 255))
    shade = np.asarray(image).copy()
    shade[:, :, :3] = np.clip(shade[:, :, :3] + np.linspace(-25, 25, 80)[:, None, None], 0, 255).astype(np.uint8)
    Image.fromarray(shade, "RGBA").save(path)


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory):
    """Twenty cut-outs in three families, six photographs."""
    from catalogue import Background, Material, Stamp, Words

    folder = tmp_path_factory.mktemp("material")
    stamps = []
    for copy in range(2):
        for name, colour, rgb, corners in _SHAPES:
            family = _FAMILIES.get(name, "tool")
            key = f"{name}{copy}.png"
            # The second one is another shape: upside down and slightly narrower.
            shape = corners if copy == 0 else [(x * 0.8, 79 - y) for x, y in corners]
            draw_cutout(folder / key, rgb, shape)
            words = Words((name, family), frozenset(), (colour,), frozenset(), (), frozenset(), 2)
            stamps.append(Stamp(key, folder / key, family, words, may_flip=name != "saw"))
    rng = np.random.default_rng(0)
    backgrounds = []
    for number, split in enumerate(["train", "train", "train", "val", "test_unseen", "test_unseen"]):
        path = folder / f"photo{number}.jpg"
        coarse = Image.fromarray(rng.integers(0, 255, (9, 12, 3), dtype=np.uint8))
        coarse.resize((800, 600), Image.Resampling.BICUBIC).save(path, quality=95)
        backgrounds.append(Background(f"photo{number}", path, split, frozenset({"tool"} if number == 0 else ())))
    return Material(tuple(stamps), tuple(backgrounds))
