"""Every mode learns: the loss falls and the masks of eight pictures are learnt by heart, wide ones like square ones."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from lisa_core.config import DataConfig, ModelConfig, OptimConfig, RunConfig, TrainConfig
from lisa_core.data import open_dataset
from lisa_core.metrics import iou
from lisa_core.run_folder import METRICS_FILE
from lisa_core.segmenter import Segmenter
from lisa_core.trainer import Trainer

pytestmark = pytest.mark.slow

COLOURS = {"red": (220, 40, 40), "blue": (40, 80, 220), "yellow": (235, 215, 50), "green": (40, 160, 70)}


@pytest.fixture(scope="module")
def eight_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four square and four wide (320x180) pictures with two discs each; the sentence names one by its colour."""
    root = tmp_path_factory.mktemp("eight")
    (root / "train").mkdir()
    random = np.random.default_rng(0)
    for number in range(8):
        width, height = (320, 180) if number % 2 else (180, 180)
        names = random.permutation(list(COLOURS))[:2].tolist()
        picture = Image.new("RGB", (width, height), (120, 125, 130))
        outlines = []
        for half, name in enumerate(names):
            radius = random.uniform(0.2, 0.28) * height
            x = (half + 0.5) * width / 2 + random.uniform(-0.5, 0.5) * (width / 2 - 2 * radius)
            y = random.uniform(radius, height - radius)
            turns = np.arange(40) * 2 * math.pi / 40
            outline = np.stack([x + radius * np.cos(turns), y + radius * np.sin(turns)], 1)
            outlines.append(outline.tolist())
            ImageDraw.Draw(picture).polygon([tuple(point) for point in outline.tolist()], fill=COLOURS[name])
        stem = root / "train" / f"discs_{number}"
        picture.save(stem.with_suffix(".jpg"), quality=95)
        annotation = {
            "text": [f"the {names[0]} disc"],
            "is_sentence": False,
            "shapes": [{"label": "target", "points": outlines[0]}],
        }
        stem.with_suffix(".json").write_text(json.dumps(annotation))
    (root / "val").symlink_to(root / "train")
    return root


@pytest.mark.parametrize("vlm", ["llava", "smolvlm", "qwenvl", "paligemma", "clip-llm"])
@pytest.mark.parametrize("fusion", ["joint", "late"])
@pytest.mark.parametrize("mask_features", ["vlm", "sam"])
def test_eight_samples_are_learnt_by_heart(eight_pictures, tmp_path, vlm, fusion, mask_features):
    config = TrainConfig(
        model=ModelConfig(vlm=vlm, vlm_model_name="tiny", fusion=fusion, mask_features=mask_features),
        data=DataConfig(data=str(eight_pictures), batch_size=8),
        optim=OptimConfig(num_epochs=160),
        run=RunConfig(output_dir=str(tmp_path / "run"), eval_every=160),
    )
    result = Trainer(config).run()
    assert result.giou >= 0.9

    records = [json.loads(line) for line in (tmp_path / "run" / METRICS_FILE).read_text().splitlines()]
    losses = [record["loss"] for record in records if record["kind"] == "step"]
    assert np.mean(losses[-10:]) < 0.25 * np.mean(losses[:10])

    dataset, segmenter = open_dataset(eight_pictures, "val", "first"), Segmenter.load(tmp_path / "run")
    scores: dict[bool, list[float]] = {True: [], False: []}
    for index in range(len(dataset)):
        example = dataset.load(index)
        drawn = segmenter.set_image(example.image).segment(example.sample.text)
        assert drawn.mask.shape == example.mask.shape
        scores[example.image.width > example.image.height].append(iou(drawn.mask, example.mask))
        shift = np.argwhere(drawn.mask).mean(0) - np.argwhere(example.mask == 1).mean(0)
        assert np.abs(shift).max() < 2  # pixels of 180 x 180 or 320 x 180
    assert abs(np.mean(scores[True]) - np.mean(scores[False])) < 0.05
