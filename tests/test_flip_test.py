from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from lisa_core.build import build_model
from lisa_core.config import ModelConfig
from lisa_core.data.augmentation.mirror_words import mirrored
from lisa_core.flip_test import mirrored_answer, mirrored_question
from lisa_core.inference import encode, predict_answers
from lisa_core.prompts import answer, question
from lisa_core.segmenter import Segmenter

SENTENCES = ["the ring left of the square", "the letter R", "right star", "Where is the star?"]
MIRRORED = ["the ring right of the square", None, "left star", "Where is the star?"]


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 70, 3), dtype=np.uint8))


def built(**config) -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(build_model(ModelConfig(**{"vlm": "clip-llm", "vlm_model_name": "tiny", **config})))


def logits(segmenter: Segmenter, image: Image.Image, texts: list[str]) -> list[np.ndarray]:
    return [drawn.logits for drawn in segmenter.set_image(image).segment_many(texts)]


@pytest.mark.parametrize("vlm", ["clip-llm", "smolvlm"])
@pytest.mark.parametrize("config", [{}, {"fusion": "late", "mask_features": "sam"}], ids=str)
def test_a_mask_is_the_mean_of_that_in_the_picture_and_in_its_mirror(vlm, config):
    segmenter = built(vlm=vlm, **config)
    plain = logits(segmenter, picture(), SENTENCES)
    other = logits(segmenter, ImageOps.mirror(picture()), [text or "any" for text in MIRRORED])
    both = logits(segmenter.flip_test(), picture(), SENTENCES)
    for text, one, mirror, mean in zip(MIRRORED, plain, other, both):
        expected = one if text is None else (one + mirror[:, ::-1]) / 2
        np.testing.assert_allclose(mean, expected, atol=1e-3)
    assert np.abs(both[0] - plain[0]).max() > 0.01, "the mirrored picture must count"
    again = logits(segmenter.flip_test(False), picture(), SENTENCES)
    np.testing.assert_allclose(again, plain, atol=1e-4)


@pytest.mark.parametrize("text", ["the ring left of the square", "left ring", "the right ring", "Where is the star?"])
def test_the_mirrored_question_about_the_mirrored_picture_has_the_mirrored_mask(text):
    segmenter = built(fusion="late")
    other = str(mirrored(text, text.endswith("?")))

    def both() -> tuple[np.ndarray, np.ndarray]:
        straight, mirror = logits(segmenter, picture(), [text]), logits(segmenter, ImageOps.mirror(picture()), [other])
        return straight[0], mirror[0][:, ::-1]

    plain = both()
    assert np.abs(plain[0] - plain[1]).max() > 0.01
    segmenter.flip_test()
    np.testing.assert_allclose(*both(), atol=1e-3)


def test_mirrored_pictures_are_encoded_once_and_drawn_whatever_the_words(monkeypatch):
    """Processes that share weights out draw equally often, though only one has words that can be mirrored."""
    segmenter = built().set_image(picture())
    drawn, encoded = [], []
    encode_image = segmenter.model.encode_image
    monkeypatch.setattr(segmenter.model, "encode_image", lambda batch: encoded.append(1) or encode_image(batch))
    segmenter.model.register_forward_hook(lambda *_: drawn.append(1))
    segmenter.flip_test()
    for times, text in enumerate(("the letter R", "the ring", "the letter R"), start=1):
        segmenter.segment(text)
        assert (len(drawn), len(encoded)) == (2 * times, 1)
    segmenter.flip_test(False).segment("the ring")
    assert (len(drawn), len(encoded)) == (7, 1)


def test_the_score_is_the_mean_too():
    segmenter = Segmenter.load("tiny", "cpu")  # a trained one: at random, scores lie below 0 and are cut there
    once = segmenter.set_image(picture()).segment("the ring").score
    mirrored = segmenter.set_image(ImageOps.mirror(picture())).segment("the ring").score
    assert once > 0.01 and mirrored > 0.01 and abs(once - mirrored) > 1e-3
    both = segmenter.flip_test().set_image(picture()).segment("the ring").score
    assert both == pytest.approx((once + mirrored) / 2, abs=1e-4)


def test_each_mask_of_an_answer_is_of_its_own_mirror():
    segmenter = built(vlm="smolvlm", flip_test=True)
    model, collator = segmenter.model, segmenter.collator
    asked, reply = "Where is what?", "The left one is [SEG], the other [SEG]."
    seen = encode(model, collator, [picture()])
    both = predict_answers(model, collator, seen, [asked], [reply], [0], [asked])[0]
    segmenter.flip_test(False)
    once = predict_answers(model, collator, encode(model, collator, [picture()]), [asked], [reply], [0])[0]
    mirror = encode(model, collator, [ImageOps.mirror(picture())])
    other = predict_answers(model, collator, mirror, [asked], ["The right one is [SEG], the other [SEG]."], [0])[0]
    assert len(both) == 2
    for mean, one, flipped in zip(both, once, other):
        torch.testing.assert_close(mean.logits, (one.logits + flipped.logits.flip(-1)) / 2, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("text", "is_sentence", "other"),
    [
        ("the ring on the left", False, "the ring on the right"),
        ("left man", False, "right man"),
        ("the right man", False, "the left man"),
        ("Is the cup to the right of the plate?", True, "Is the cup to the left of the plate?"),
        ("", False, ""),
        ("the letter R", False, None),
        ("Which is the right answer?", True, None),
    ],
)
def test_a_question_is_mirrored_by_its_own_words(text, is_sentence, other):
    assert mirrored_question(text, is_sentence) == (None if other is None else question(other, is_sentence))


def test_an_answer_is_mirrored_around_its_masks():
    assert mirrored_answer(answer()) == answer()
    assert mirrored_answer("[SEG] is to the right of [SEG]") == "[SEG] is to the left of [SEG]"
    assert mirrored_answer("[SEG] because it reads STOP") is None
