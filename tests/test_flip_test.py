from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from lisa_core.build import build_model
from lisa_core.config import ModelConfig
from lisa_core.flip_test import mirrored_turn
from lisa_core.inference import encode, predict_answers
from lisa_core.prompts import Dialogue, question
from lisa_core.segmenter import Segmenter

SENTENCES = ["the ring left of the square", "the letter R", "the rightmost ring", "Where is the star?"]
MIRRORED = ["the ring right of the square", None, "the leftmost ring", "Where is the star?"]


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


def test_the_mean_does_not_tell_left_from_right():
    """The mirrored picture, asked by mirrored words, has the mirrored mask; without the mean it has not."""
    segmenter = built(fusion="late")
    image, text, other = picture(), SENTENCES[0], str(MIRRORED[0])
    apart = [logits(segmenter, image, [text])[0], logits(segmenter, ImageOps.mirror(image), [other])[0][:, ::-1]]
    assert np.abs(apart[0] - apart[1]).max() > 0.01
    segmenter.flip_test()
    same = [logits(segmenter, image, [text])[0], logits(segmenter, ImageOps.mirror(image), [other])[0][:, ::-1]]
    np.testing.assert_allclose(same[0], same[1], atol=1e-3)


def test_where_no_sentence_can_be_mirrored_nothing_more_is_drawn():
    segmenter = built().flip_test().set_image(picture())
    calls = []
    segmenter.model.register_forward_hook(lambda *_: calls.append(1))
    segmenter.segment("the letter R")
    assert len(calls) == 1
    segmenter.segment("the ring")
    assert len(calls) == 3


def test_the_score_is_the_mean_too():
    segmenter = built()
    once = segmenter.set_image(picture()).segment("the ring").score
    mirrored = segmenter.set_image(ImageOps.mirror(picture())).segment("the ring").score
    both = segmenter.flip_test().set_image(picture()).segment("the ring").score
    assert both == pytest.approx((once + mirrored) / 2, abs=1e-4)


def test_each_mask_of_an_answer_is_of_its_own_mirror():
    segmenter = built(vlm="smolvlm", flip_test=True)
    model, collator = segmenter.model, segmenter.collator
    asked, reply = "Where is what?", "The left one is [SEG], the other [SEG]."
    both = predict_answers(model, collator, encode(model, collator, [picture()]), [asked], [reply], [0])[0]
    segmenter.flip_test(False)
    once = predict_answers(model, collator, encode(model, collator, [picture()]), [asked], [reply], [0])[0]
    mirror = encode(model, collator, [ImageOps.mirror(picture())])
    other = predict_answers(model, collator, mirror, [asked], ["The right one is [SEG], the other [SEG]."], [0])[0]
    assert len(both) == 2
    for mean, one, flipped in zip(both, once, other):
        torch.testing.assert_close(mean.logits, (one.logits + flipped.logits.flip(-1)) / 2, atol=1e-3, rtol=1e-3)


def test_what_is_mirrored_of_question_and_answer():
    asked = question("the ring on the left", is_sentence=False)
    turn = mirrored_turn(asked, "It is [SEG].")
    assert turn == (asked.replace("left", "right"), "It is [SEG].")
    assert mirrored_turn("Which one?", "[SEG] is to the right of [SEG]") == (
        "Which one?",
        "[SEG] is to the left of [SEG]",
    )
    assert mirrored_turn("Which one?", "[SEG] because it reads STOP") is None
    assert mirrored_turn(question("the letter R", is_sentence=False), "It is [SEG].") is None
    assert mirrored_turn(Dialogue("Which one?", [("Where?", "On the left.")]), "It is [SEG].") is None
