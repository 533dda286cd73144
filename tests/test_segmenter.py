from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from lisa_core.build import build_model
from lisa_core.checkpoint import save_checkpoint
from lisa_core.config import ModelConfig
from lisa_core.errors import CheckpointError, ConfigError, DataError
from lisa_core.inference import Pictures, predict
from lisa_core.model import LisaModel, LisaOutput
from lisa_core.segmenter import Segmenter, pick_device

SENTENCES = ["the red ring", "Which one would roll down a hill?", "it", "the zany wombat on the far left, in the grass"]


def build(**config) -> LisaModel:
    torch.manual_seed(0)
    return build_model(ModelConfig(**{"vlm": "clip-llm", "vlm_model_name": "tiny", **config}))


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter(build())


def noise(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("vlm", ["clip-llm", "smolvlm"])
@pytest.mark.parametrize("config", [{}, {"fusion": "late", "mask_features": "sam"}], ids=str)
def test_several_sentences_at_once_are_those_one_by_one(vlm, config):
    segmenter = Segmenter(build(vlm=vlm, **config)).set_image(noise(70, 40))
    together = segmenter.segment_many(SENTENCES)
    assert [result.text for result in together] == SENTENCES
    for text, result in zip(SENTENCES, together):
        alone = segmenter.segment(text)
        np.testing.assert_allclose(result.logits, alone.logits, atol=1e-4)
        assert result.score == pytest.approx(alone.score, abs=1e-4)
    logits = np.stack([result.logits for result in together])
    assert np.ptp(logits, axis=0).max() > 1e-3, "the words must count, or the order could not be told"


def test_the_picture_is_encoded_once(segmenter, monkeypatch):
    calls = []
    encode_image = segmenter.model.encode_image
    monkeypatch.setattr(segmenter.model, "encode_image", lambda batch: calls.append(1) or encode_image(batch))
    segmenter.set_image(noise(70, 40))
    assert [len(segmenter.segment_many(SENTENCES)), len(segmenter.segment_many(["it"])), len(calls)] == [4, 1, 1]


def test_nothing_is_encoded_a_second_time_by_another_process(tmp_path):
    expected = Segmenter(build(fusion="late")).set_image(noise(70, 40)).segment("the red ring").logits
    first = Segmenter(build(fusion="late")).keep_features(tmp_path)
    np.testing.assert_allclose(first.set_image(noise(70, 40)).segment("the red ring").logits, expected, atol=1e-4)
    again = Segmenter(build(fusion="late")).keep_features(tmp_path)
    for part in (again.model.vlm.vision_tower, again.model.vlm.language_model):
        part.forward = None
    np.testing.assert_allclose(again.set_image(noise(70, 40)).segment("the red ring").logits, expected, atol=1e-4)
    with pytest.raises(ConfigError, match="nothing to keep"):
        Segmenter(build(vlm="smolvlm")).keep_features(tmp_path)


@pytest.mark.parametrize("size", [(70, 40), (33, 90), (96, 96), (400, 25)])
@pytest.mark.parametrize("features", ["vlm", "sam"])
def test_masks_have_the_picture_s_own_size(size, features):
    result = Segmenter(build(mask_features=features)).set_image(noise(*size)).segment("the red ring")
    width, height = size
    assert result.mask.shape == result.logits.shape == (height, width)
    assert result.mask.dtype == bool and result.logits.dtype == np.float32
    assert np.array_equal(result.mask, result.logits > 0)
    assert 0 <= result.score <= 1


class Drawn(torch.nn.Module):
    """Stands where a model does, and draws these logits [M,h,w]."""

    def __init__(self, logits: torch.Tensor, mask_temperature: float | None = None) -> None:
        super().__init__()
        self.one = torch.nn.Parameter(torch.zeros(1))
        self.config = ModelConfig(mask_temperature=mask_temperature)
        self.logits = logits

    def forward(self, batch, encoded):
        count = len(self.logits)
        return LisaOutput(self.logits, torch.arange(1, count + 1) / 10, torch.arange(count), None, None, None)


COLLATOR = SimpleNamespace(inputs=lambda *_: {})


def test_a_mask_lies_where_it_was_drawn():
    """Half of the model's square map is the same half of a picture of any shape."""
    logits = torch.full((3, 8, 8), -1.0)
    logits[0, :4] = logits[2, :, 4:] = 1.0
    images = [Image.new("RGB", (64, 32)), Image.new("RGB", (16, 80))]
    drawn = predict(Drawn(logits), COLLATOR, Pictures(images, None), ["a", "b", "c"], [1, 1, 0])
    upper, right = np.zeros((80, 16), bool), np.zeros((32, 64), bool)
    upper[:40] = right[:, 32:] = True
    assert [prediction.iou for prediction in drawn] == pytest.approx([0.1, 0.2, 0.3])
    assert np.array_equal(drawn[0].logits.numpy() > 0, upper)
    assert drawn[1].logits.shape == (80, 16) and not (drawn[1].logits > 0).any()
    assert np.array_equal(drawn[2].logits.numpy() > 0, right)


def test_a_mask_in_doubt_is_cut_where_its_expected_iou_is_best_if_that_is_asked_for():
    logits = torch.full((2, 8, 8), -9.0)
    logits[0, :4] = -2.0
    logits[1, :4] = 9.0
    pictures = Pictures([Image.new("RGB", (16, 16))], None)
    upper = np.zeros((16, 16), bool)
    upper[:8] = True

    def masks(temperature: float | None) -> list[np.ndarray]:
        drawn = predict(Drawn(logits, temperature), COLLATOR, pictures, ["a", "b"], [0, 0])
        return [prediction.logits.numpy() > 0 for prediction in drawn]

    unsure, sure = masks(None)
    assert not unsure.any() and np.array_equal(sure, upper)
    unsure, sure = masks(1.0)
    assert np.array_equal(unsure, upper) and np.array_equal(sure, upper)
    assert masks(9.0)[0].all()


def test_a_picture_may_be_a_file_an_image_or_an_array(segmenter, tmp_path):
    pixels = noise(50, 30)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    forms = [pixels, Image.fromarray(pixels), tmp_path / "picture.png", str(tmp_path / "picture.png")]
    drawn = [segmenter.set_image(form).segment("the red ring").logits for form in forms]
    assert all(np.array_equal(logits, drawn[0]) for logits in drawn)


def test_a_file_is_read_upright_and_pixels_as_they_are(segmenter, tmp_path):
    pixels, exif = noise(50, 30), Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    Image.fromarray(pixels).save(tmp_path / "photo.png", exif=exif)
    upright = segmenter.set_image(np.ascontiguousarray(np.rot90(pixels, -1))).segment("the red ring")
    drawn = segmenter.set_image(tmp_path / "photo.png").segment("the red ring")
    assert drawn.mask.shape == upright.mask.shape != pixels.shape[:2]
    assert np.array_equal(drawn.logits, upright.logits)
    with Image.open(tmp_path / "photo.png") as opened:
        assert segmenter.set_image(opened).segment("the red ring").mask.shape == pixels.shape[:2]


def test_a_picture_of_any_mode_is_read_as_rgb():
    segmenter = Segmenter(build(mask_features="sam"))  # unlike the VLM's processor, SAM's preparation takes RGB alone
    grey = noise(50, 30)[..., 0]
    forms = [grey, Image.fromarray(grey), Image.fromarray(grey).convert("RGBA"), np.stack([grey] * 3, -1)]
    drawn = [segmenter.set_image(form).segment("it").logits for form in forms]
    assert all(np.array_equal(logits, drawn[0]) for logits in drawn)


@pytest.mark.parametrize("shape", [(8, 8, 4), (8,), (1, 3, 8, 8), (3, 8, 8)])
def test_an_array_of_another_shape_is_refused(segmenter, shape):
    with pytest.raises(DataError, match=r"must be uint8 \[H,W,3\] or \[H,W\], not uint8"):
        segmenter.set_image(np.zeros(shape, np.uint8))


def test_an_array_of_another_type_is_refused(segmenter):
    with pytest.raises(DataError, match="not float64"):
        segmenter.set_image(np.zeros((8, 8, 3)))


def test_a_file_that_is_no_picture_is_named(segmenter, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match=r"notes\.txt is not an image"):
        segmenter.set_image(tmp_path / "notes.txt")
    with pytest.raises(DataError, match=r"absent\.png does not exist"):
        segmenter.set_image(tmp_path / "absent.png")


@pytest.mark.parametrize("text", ["", "  ", "\n\t"])
def test_an_empty_sentence_is_refused(segmenter, text):
    segmenter.set_image(noise(20, 20))
    with pytest.raises(DataError, match="the sentence is empty"):
        segmenter.segment_many(["the red ring", text])


def test_a_sentence_of_broken_bytes_is_refused(segmenter):
    """What Python makes of a command line that is not text."""
    segmenter.set_image(noise(20, 20))
    with pytest.raises(DataError, match="broken character") as caught:
        segmenter.segment("the \udcff ring")
    str(caught.value).encode()


@pytest.mark.parametrize("vlm", ["clip-llm", "smolvlm"])
@pytest.mark.parametrize("word", ["[SEG]", "<image>", "</s>"])
def test_special_tokens_in_a_sentence_are_only_words(vlm, word):
    segmenter = Segmenter(build(vlm=vlm)).set_image(noise(40, 40))
    odd, plain = segmenter.segment_many([f"the {word} ring", "the blue cross"])
    assert odd.text == f"the {word} ring"
    np.testing.assert_allclose(plain.logits, segmenter.segment("the blue cross").logits, atol=1e-4)


def test_no_sentence_gives_no_mask(segmenter):
    assert segmenter.set_image(noise(20, 20)).segment_many([]) == []


def test_a_picture_must_be_set_first():
    with pytest.raises(ConfigError, match="set_image"):
        Segmenter(build()).segment("the red ring")


def test_full_sentences_are_told_by_their_punctuation_unless_one_says(segmenter, monkeypatch):
    segmenter.set_image(noise(20, 20))
    asked = []
    inputs = segmenter.collator.inputs
    monkeypatch.setattr(segmenter.collator, "inputs", lambda *args: asked.extend(args[1]) or inputs(*args))
    segmenter.segment_many(["the red ring", "Where can one sit? "])
    segmenter.segment("the red ring", is_sentence=True)
    segmenter.segment("Where can one sit?", is_sentence=False)
    assert asked[0] == "Segment the red ring." and asked[1].startswith("Where can one sit?")
    assert asked[2].startswith("the red ring ") and asked[3] == "Segment Where can one sit?."


def test_a_run_folder_is_loaded_by_path_or_name(segmenter, tmp_path):
    save_checkpoint(tmp_path / "run" / "best", segmenter.model, {})
    expected = segmenter.set_image(noise(30, 20)).segment("it").logits
    for path in (tmp_path / "run", str(tmp_path / "run" / "best")):
        assert np.array_equal(Segmenter.load(path, "cpu").set_image(noise(30, 20)).segment("it").logits, expected)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        Segmenter.load(tmp_path / "absent")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
def test_a_device_that_is_not_there_is_refused():
    assert pick_device("auto") == pick_device("cpu") == torch.device("cpu")
    for name in ("cuda", "cuda:1"):
        with pytest.raises(ConfigError, match=f"--device {name}, but torch sees no CUDA device here"):
            pick_device(name)
    with pytest.raises(ConfigError, match="'toaster' is not a device that can be used"):
        pick_device("toaster")
