"""Pictures at another size than the checkpoint was made for."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    SiglipVisionConfig,
    SiglipVisionModel,
    ViTConfig,
    ViTModel,
)

from lisa_core import ConfigError, Segmenter, tiny_vision_config
from lisa_core.config import DataConfig, ModelConfig, OptimConfig, RunConfig, TrainConfig
from lisa_core.registry import get_registry
from lisa_core.testing import run_checks
from lisa_core.trainer import Trainer
from lisa_core.vision_size import resize_vision_tower

TOWERS = {
    "clip": (CLIPVisionConfig, CLIPVisionModel),
    "siglip": (SiglipVisionConfig, SiglipVisionModel),
    "dinov2": (Dinov2Config, Dinov2Model),
    "vit": (ViTConfig, ViTModel),
}
# Another size of each family's tiny model: whole patches, and for smolvlm whole blocks of three.
SIDES = {"clip-llm": 128, "llava": 144, "paligemma": 64, "qwenvl": 128, "smolvlm": 120}


@pytest.mark.parametrize("side", [64, 160])
@pytest.mark.parametrize("kind", TOWERS)
def test_it_is_what_interpolating_in_each_pass_gives(kind, side):
    config, cls = TOWERS[kind]
    torch.manual_seed(0)
    tower = cls(config(**tiny_vision_config(num_hidden_layers=2))).eval()
    pixels = torch.randn(2, 3, side, side)
    options = {} if kind == "dinov2" else {"interpolate_pos_encoding": True}
    expected = tower(pixels, **options).last_hidden_state
    resize_vision_tower(tower, side)
    assert tower.config.image_size == side
    torch.testing.assert_close(tower(pixels).last_hidden_state, expected)
    again = cls(tower.config)
    again.load_state_dict(tower.state_dict())  # the config describes the weights


@pytest.mark.parametrize(
    "family",
    [pytest.param(family, marks=() if family in ("clip-llm", "smolvlm") else pytest.mark.slow) for family in SIDES],
)
def test_the_grid_still_shows_the_picture(family):
    cls, side = get_registry().load_vlm_class(family), SIDES[family]

    def build():
        vlm = cls.tiny()
        before = vlm.preprocess([_picture()], ["Segment it."])["pixel_values"].numel()
        vlm.resize_images(side)
        assert vlm.preprocess([_picture()], ["Segment it."])["pixel_values"].numel() != before
        return vlm

    for result in run_checks(
        build,
        ["registration", "grid_covers_picture", "sequence_is_grid", "pictures_are_shared", "picture_reaches_language"],
    ):
        assert result.status != "failed", result


@pytest.mark.slow
def test_llava_next_keeps_its_tiles():
    from lisa_llava.tiny import tiny_llava_next
    from lisa_llava.vlm import Llava

    def build():
        vlm = Llava(*tiny_llava_next())
        vlm.resize_images(144)
        assert vlm.model.config.image_grid_pinpoints[0] == [144, 288]
        return vlm

    (result,) = run_checks(build, ["registration"])
    assert result.status == "passed", result


def test_its_own_size_changes_nothing():
    for family in SIDES:
        if family == "qwenvl":  # any size is its own
            continue
        vlm = get_registry().load_vlm_class(family).tiny()
        before = {name: value.clone() for name, value in vlm.state_dict().items()}
        batch = vlm.preprocess([_picture()], ["Segment it."])
        vlm.resize_images(96)
        assert all(torch.equal(before[name], value) for name, value in vlm.state_dict().items())
        after = vlm.preprocess([_picture()], ["Segment it."])
        assert all(torch.equal(batch[name], after[name]) for name in batch if torch.is_tensor(batch[name]))


@pytest.mark.parametrize(
    ("family", "side", "said"),
    [
        ("clip-llm", 100, "--img-size 100 must be a multiple of 8, what the vision tower reads at once: 96 or 104"),
        ("smolvlm", 104, "must be a multiple of 24, what the vision tower reads at once: 96 or 120"),
        ("qwenvl", 100, "multiple of 16"),
        ("llava", 8, "must be a multiple of 12, what the vision tower reads at once: 12"),
    ],
)
def test_a_side_that_is_not_whole_patches_is_refused(family, side, said):
    with pytest.raises(ConfigError, match=said):
        get_registry().load_vlm_class(family).tiny().resize_images(side)


def test_a_tower_without_a_table_is_refused():
    vlm = get_registry().load_vlm_class("qwenvl").tiny()
    vlm.vision_tower.config.image_size = 96
    with pytest.raises(ConfigError, match="has no table of positions to fit to --img-size"):
        resize_vision_tower(vlm.vision_tower, 128)


@pytest.mark.parametrize("family", ["clip-llm", "smolvlm"])
def test_a_run_at_another_size_can_be_used(scenes, tmp_path, family):
    trainer = Trainer(
        TrainConfig(
            model=ModelConfig(vlm=family, vlm_model_name="tiny", img_size=SIDES[family]),
            data=DataConfig(data=str(scenes), max_train_samples=4, max_val_samples=2, batch_size=4),
            optim=OptimConfig(num_epochs=1),
            run=RunConfig(output_dir=str(tmp_path / "run"), device="cpu", sample_masks=0),
        )
    )
    trainer.run()
    segmenter = Segmenter.load(tmp_path / "run")
    assert segmenter.model.vlm.vision_tower.config.image_size == SIDES[family]
    found = segmenter.set_image(_picture()).segment("the red ring")
    assert found.mask.shape == (240, 320)
    batch = segmenter.collator.inputs([_picture()], ["x"], None, [0])
    grid = trainer.model.eval().vlm.encode_image(batch).grid
    torch.testing.assert_close(segmenter.model.vlm.encode_image(batch).grid, grid)


def _picture():
    return Image.new("RGB", (320, 240), "red")
