from __future__ import annotations

import json
from pathlib import Path

import baselines
import numpy as np
import pytest
from PIL import Image
from scenes import Counts, synthesize

from lisa_core.data import Example, Sample
from lisa_core.errors import DataError


def brightness(image: Image.Image) -> np.ndarray:
    """Stands in for the network: what is bright is salient."""
    return np.asarray(image.convert("L"), dtype=np.float32) / 255


def example(image: Image.Image, box: tuple[int, int, int, int]) -> Example:
    mask = np.zeros((image.height, image.width), dtype=np.uint8)
    mask[box[1] : box[3], box[0] : box[2]] = 1
    return Example(Sample("a#0", Path("a.jpg"), Path("a.json"), "it", False), image, mask)


def test_what_each_baseline_answers() -> None:
    image = Image.new("RGB", (40, 30), (20, 20, 20))
    image.paste((250, 250, 250), (0, 0, 10, 10))  # small and bright
    small, large = example(image, (0, 0, 10, 10)), example(image, (20, 5, 40, 25))
    found = baselines.guesses([large, small], brightness)
    assert list(found) == list(baselines.NAMES)
    assert found["whole_image"].all()
    assert np.array_equal(found["salient_region"], small.mask == 1)
    assert np.array_equal(found["salient_object"], small.mask == 1)
    assert np.array_equal(found["largest_object"], large.mask == 1)
    assert found["centre_blob"][15, 20] and not found["centre_blob"][0, 0]


def test_figures_of_a_split(material, tmp_path: Path) -> None:
    synthesize(tmp_path / "data", material, Counts(0, 3, 0))
    found = baselines.score(tmp_path / "data", "val", brightness)
    assert found["pictures"] == 3 and found["n"] >= 6
    assert set(found["giou"]) == set(baselines.NAMES)
    assert all(0 <= value <= 1 for value in found["giou"].values())
    assert all(value <= 0.5 for value in found["listening"].values())  # one answer for all of a picture's sentences
    # One of the objects is always right, so each picture of k objects gives at least 1/k.
    assert found["giou"]["largest_object"] >= 3 / found["n"]
    assert found["n"] == len(list((tmp_path / "data" / "val").glob("*.json")))
    manifest = json.loads((tmp_path / "data" / "benchmark.json").read_text())
    assert f"seed 0, sha256 {manifest['sha256']}, written with pillow " in baselines.of_what(tmp_path / "data")


def test_other_data_are_refused(material, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a benchmark"):
        baselines.of_what(tmp_path)
    synthesize(tmp_path / "data", material, Counts(0, 1, 0))
    for path in (tmp_path / "data" / "val").glob("*.json"):
        told = json.loads(path.read_text())
        del told["kind"]
        path.write_text(json.dumps(told))
    with pytest.raises(DataError, match="no annotation of the benchmark"):
        baselines.score(tmp_path / "data", "val", brightness)


@pytest.mark.parametrize("size", [(512, 384), (384, 512), (448, 448), (31, 90)])
def test_the_map_lies_where_the_picture_does(size: tuple[int, int]) -> None:
    """The padding to a square is taken off again: with a network that returns its input, the map is the picture."""

    class Echo:
        def run(self, names, feeds):
            return [feeds["input_image"].mean(axis=1, keepdims=True)]

    saliency = baselines.Saliency.__new__(baselines.Saliency)
    saliency.session = Echo()
    image = Image.new("RGB", size)
    width, height = size
    box = (width // 2, height // 4, 3 * width // 4, height // 2)
    image.paste((255, 255, 255), box)
    heat = saliency(image)
    assert heat.shape == (height, width)
    bright = heat > (heat.max() + heat.min()) / 2
    truth = np.zeros((height, width), dtype=bool)
    truth[box[1] : box[3], box[0] : box[2]] = True
    assert (bright & truth).sum() / (bright | truth).sum() > 0.75
