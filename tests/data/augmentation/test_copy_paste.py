from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from lisa_core.data import IGNORE
from lisa_core.data.augmentation.copy_paste import SIDES, copy_paste

from .conftest import example, phrases

SIZE = (120, 90)
BOX = (40, 30, 80, 60)


def donor(text: str = "the cat", **fields):
    """A picture that is red where its target is, and blue elsewhere."""
    one = example(text, (10, 10, 40, 30), (64, 48), **fields)
    one.image.paste((0, 0, 255), (0, 0, 64, 48))
    one.image.paste((255, 0, 0), (10, 10, 40, 30))
    return one


@pytest.mark.parametrize("seed", range(20))
def test_the_object_is_put_beside_the_targets_and_what_it_covers_is_known(about, seed):
    before = about("the dog", "the bus", size=SIZE, boxes=[BOX, (0, 0, 20, 20)])
    before[1].mask[60:, :] = IGNORE
    after = copy_paste(before, [donor()], Random(seed)) or []
    assert after[0].image is after[1].image
    new = (np.asarray(after[0].image) != np.asarray(before[0].image)).any(axis=-1)
    assert new.any() and (np.asarray(after[0].image)[new] == (255, 0, 0)).all(), "the object alone, without its ground"
    rows, columns = np.nonzero(new)
    longest = max(np.ptp(rows), np.ptp(columns)) + 1
    assert SIDES[0] * 90 - 1 <= longest <= SIDES[1] * 90 + 1
    for one, other in zip(before, after):
        assert np.array_equal(one.mask == 1, other.mask == 1) and not (one.mask == 1)[new].any()
        assert (other.mask[new] == 0).all() and np.array_equal(one.mask[~new], other.mask[~new])
        assert other.sample == one.sample


MORE_THAN_A_NOUN = """
the animal|the puppy and its bowl|the largest dog|dogs on the left|only dog|two dogs|dog next to the bus
the thing to sit on|the large dog|der Hund|a kitten|cats|the dog that barks
"""


@pytest.mark.parametrize("text", phrases(MORE_THAN_A_NOUN))
def test_a_sentence_that_the_object_might_make_untrue_blocks_it(about, text):
    before = about("the dog", text, size=SIZE, boxes=[BOX, (0, 0, 20, 20)])
    assert copy_paste(before, [donor()], Random(0)) is None


@pytest.mark.parametrize(
    "text", ["the animal", "the person", "a dog", "puppies or cats", "the wall", "the red thing", "disc"]
)
def test_an_object_of_unknown_or_like_kind_is_not_pasted(about, text):
    assert copy_paste(about("the dog", size=SIZE, boxes=[BOX]), [donor(text)], Random(0)) is None


def test_answers_and_targets_that_are_not_there_block_it(about):
    before = about("the dog", size=SIZE, boxes=[BOX])
    assert copy_paste(before, [donor(no_target=True)], Random(0)) is None
    assert copy_paste(before, [replace(donor(), mask=np.zeros((48, 64), np.uint8))], Random(0)) is None
    before[0].sample = replace(before[0].sample, answer="The only animal that there is.")
    assert copy_paste(before, [donor()], Random(0)) is None


def test_a_picture_that_is_all_target_has_no_room(about):
    assert copy_paste(about("the dog", size=SIZE, boxes=[(0, 0, *SIZE)]), [donor()], Random(0)) is None


def test_the_next_donor_is_taken_where_one_does_not_fit(about):
    before = about("the dog", size=SIZE, boxes=[BOX])
    assert copy_paste(before, [donor("the puppy"), donor()], Random(0)) is not None
