from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lisa_core.data import IGNORE, Example, Sample
from lisa_core.scoring import Drawn, score_picture


def example(k: int, left: int, text: str = "the bar") -> Example:
    """A bar of 4 x 10 pixels in a picture of 10 x 30; the last column is ignored."""
    mask = np.zeros((10, 30), np.uint8)
    mask[3:7, left : left + 10] = 1
    mask[:, 29] = IGNORE
    sample = Sample(f"{k}#0", Path(f"folder/{k}.jpg"), Path(f"{k}.json"), text, True, source="bars")
    return Example(sample, Image.new("RGB", (30, 10)), mask)


def test_counts_by_hand():
    examples = [example(0, 0, "the left bar"), example(1, 15)]
    half = np.zeros((10, 30), bool)
    half[3:7, 0:5] = half[3:7, 29] = True
    everything = np.ones((10, 30), bool)
    first, second = score_picture(
        examples, [Drawn(half, 0.25), Drawn(everything)], [7, 3], blank=Drawn(everything), boundary=True
    )
    assert (first.index, first.id, first.image, first.source, first.is_sentence) == (7, "0#0", "0.jpg", "bars", True)
    assert (first.intersection, first.union, first.truth_pixels, first.predicted_pixels) == (20, 40, 40, 20)
    assert first.counted_pixels == 290 and first.words == 3 and first.score == 0.25
    assert first.picture == second.picture == "0#0"
    assert (second.intersection, second.union, second.iou) == (40, 290, 40 / 290)
    assert (first.listening_hits, first.listening_pairs, second.listening_hits) == (1, 1, 0)
    assert first.blind["blank"] == 40 / 290 and first.blind["largest_object"] == 1.0
    assert second.blind["largest_object"] == 0.0 and set(second.blind) == {
        *("blank", "swapped", "centre_blob", "largest_object")
    }
    assert first.blind["swapped"] == 40 / 290 and second.blind["swapped"] == 0.0
    # Edges one pixel wide: the bar's frame has 24 pixels, its left half's 14, of which 12 are shared.
    assert (first.boundary_intersection, first.boundary_union) == (12, 26)


def test_what_was_not_asked_for_is_not_there():
    (record,) = score_picture([example(0, 0)], [Drawn(np.zeros((10, 30), bool), answered=False)], [0])
    assert record.boundary_iou is None and record.instances is None
    assert set(record.blind) == {"centre_blob", "largest_object"}
    assert record.score is None and not record.answered and record.iou == 0.0


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match="shape"):
        score_picture([example(0, 0)], [Drawn(np.zeros((30, 10), bool))], [0])
