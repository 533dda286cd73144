from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText

import lisa_qwenvl
from lisa_core import ConfigError
from lisa_core.lora import LoraSettings, count_lora_parameters
from lisa_core.testing import Subject, VLMSuite
from lisa_qwenvl.tiny import tiny_qwen2, tiny_qwen2_5, tiny_qwen3
from lisa_qwenvl.vlm import QwenVL

(SPEC,) = lisa_qwenvl.lisa_vlms()
BUILDERS = {"qwen2": tiny_qwen2, "qwen2.5": tiny_qwen2_5, "qwen3": tiny_qwen3}
LORA = {"Qwen/Qwen2-VL-2B-Instruct": 2_179_072, "Qwen/Qwen2-VL-7B-Instruct": 5_046_272}


class TestQwen2VL(VLMSuite):
    @pytest.fixture(scope="class")
    def adapter(self):
        return "qwenvl"


@pytest.mark.slow
class TestQwen25VL(VLMSuite):
    @pytest.fixture(scope="class")
    def adapter(self):
        return lambda: QwenVL(*tiny_qwen2_5())


@pytest.mark.slow
class TestQwen3VL(VLMSuite):
    @pytest.fixture(scope="class")
    def adapter(self):
        return lambda: QwenVL(*tiny_qwen3())


@pytest.fixture(scope="module", params=BUILDERS)
def subject(request):
    return Subject(lambda: QwenVL(*BUILDERS[request.param]()))


KEYS = ("input_ids", "attention_mask", "mm_token_type_ids", "pixel_values", "image_grid_thw")


@torch.no_grad()
def test_hidden_states_and_logits_are_those_of_a_plain_transformers_call(subject):
    batch = subject.batch()
    expected = subject.vlm.model(**{key: batch[key] for key in KEYS}, output_hidden_states=True)
    output = subject.vlm(batch)
    assert torch.equal(output.hidden, expected.hidden_states[-1])
    assert torch.equal(output.logits, expected.logits)


@torch.no_grad()
def test_the_positions_in_it_do_matter(subject):
    batch = subject.batch()
    plain = subject.vlm(batch).hidden
    flat = subject.vlm({**batch, "mm_token_type_ids": torch.zeros_like(batch["mm_token_type_ids"])}).hidden
    assert not torch.allclose(plain, flat, atol=1e-2)


def windowed(grids, merge, size):
    """Merge blocks in the order Qwen2.5's tower visits them: (picture, row, column), windows of size x size blocks."""
    for picture, (_, height, width) in enumerate(grids):
        rows, columns = height // merge, width // merge
        for top in range(0, rows, size):
            for left in range(0, columns, size):
                for row in range(top, min(top + size, rows)):
                    for column in range(left, min(left + size, columns)):
                        yield picture, row, column


@torch.no_grad()
def test_image_features_are_the_tower_s_own_out_of_blocks_and_windows(subject):
    vlm, batch = subject.vlm, subject.batch()
    vision = vlm.model.config.vision_config
    grids, merge = batch["image_grid_thw"].tolist(), vision.spatial_merge_size
    raw = vlm.model.model.visual(batch["pixel_values"], grid_thw=batch["image_grid_thw"]).last_hidden_state
    largest = max(height // merge for _, height, _ in grids), max(width // merge for _, _, width in grids)
    size = max(largest)  # one window holds a whole picture: blocks row by row
    if vision.model_type.startswith("qwen2_5"):
        size = vision.window_size // merge // vision.patch_size
        assert size < max(largest)
    features = vlm.encode_image(batch)
    position = 0
    for picture, row, column in windowed(grids, merge, size):
        for y in range(merge):
            for x in range(merge):
                cell = features.grid[picture, :, row * merge + y, column * merge + x]
                assert torch.equal(cell, raw[position])
                position += 1
    assert position == len(raw)


def test_a_picture_keeps_its_shape_and_options_bound_its_size():
    vlm = QwenVL(*tiny_qwen2())
    picture = Image.new("RGB", (400, 200))

    def grid():
        return vlm.preprocess([picture], ["a"])["image_grid_thw"][0].tolist()

    assert grid() == [1, 8, 16]  # 64 x 128 pixels
    vlm.configure(max_pixels=64 * 64, min_pixels=32 * 32)
    assert grid()[1] * grid()[2] * 64 <= 64 * 64
    vlm.configure(min_pixels=256 * 256, max_pixels=512 * 512)
    assert grid()[1] * grid()[2] * 64 >= 256 * 256
    before = grid()
    vlm.configure()
    assert grid() == before
    with pytest.raises(ConfigError, match="0 < min_pixels <= max_pixels"):
        vlm.configure(min_pixels=100, max_pixels=10)


def test_sentences_about_one_picture_hold_its_patches_once(subject):
    batch = subject.batch(subject.pictures[:2], image_index=[1, 0, 1])
    assert len(batch["pixel_values"]) == batch["image_grid_thw"].prod(1).sum()
    assert len(batch["image_grid_thw"]) == 2


@pytest.mark.parametrize("known", SPEC.checkpoints, ids=lambda known: known.name)
def test_published_checkpoints_have_the_figures_that_are_listed(known):
    path = Path(lisa_qwenvl.__file__).parent / "configs" / f"{known.name.replace('/', '__')}.json"
    config = AutoConfig.for_model(**json.loads(path.read_text()))
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == known.parameters
    dims = QwenVL.dims_of(config)
    assert (dims.vision, dims.text) == (known.vision_dim, known.text_dim)
    assert count_lora_parameters(model, QwenVL.lora_layers(model), LoraSettings(r=16)) == LORA[known.name]


def test_a_checkpoint_without_a_template_gets_the_family_s():
    vlm = QwenVL(*tiny_qwen2())
    (prompt,), (reply,) = vlm.rows(["Segment it."], ["It is [SEG]."])
    assert prompt == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
        "<|vision_start|><|image_pad|><|vision_end|>Segment it.<|im_end|>\n<|im_start|>assistant\n"
    )
    assert reply == "It is [SEG].<|im_end|>\n"


def test_a_checkpoint_of_another_family_is_refused_before_it_is_loaded(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llava"}')
    with pytest.raises(ConfigError, match=r"llava checkpoint.*qwen2_vl, qwen2_5_vl, qwen3_vl"):
        QwenVL.from_pretrained(str(tmp_path))
