from __future__ import annotations

import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from lisa_core.errors import ConfigError, DataError
from lisa_core.outputs import mask_to_rle
from lisa_core.predictions import SavedMask, read_predictions, write_predictions
from lisa_core.scoring import Drawn

MASK = np.zeros((4, 6), bool)
MASK[1:3, 2:5] = True
RLE = mask_to_rle(MASK)


def line(**changes) -> str:
    record = {"id": "a#0", "text": "the ring", "image": "a.jpg", "rle": RLE, "score": 0.5, **changes}
    return json.dumps({key: value for key, value in record.items() if value is not ...})


def test_written_and_read_again(tmp_path):
    parts = [MASK & (np.arange(6) < 3), MASK & (np.arange(6) >= 3)]
    masks = [
        SavedMask.of(Drawn(MASK, 0.75), "a#0", "the ring \u2028 of \N{RING}", "a.jpg", None, 0),
        SavedMask.of(Drawn(np.zeros((4, 6), bool), None, answered=False), "b#0", "it", "b.jpg", "No.", 1),
        SavedMask.of(Drawn(MASK, 0.5, True, parts), "c#0", "them", "c.jpg", "[SEG] [SEG]", 2),
    ]
    path = tmp_path / "masks.jsonl"
    write_predictions(path, masks)
    assert len(path.read_bytes().splitlines()) == 3 and not list(tmp_path.glob("*.new"))
    found = read_predictions(path)
    assert [mask.to_dict() for mask in found.values()] == [mask.to_dict() for mask in masks]
    assert np.array_equal(found["a#0"].drawn(4, 6).mask, MASK) and found["a#0"].drawn(4, 6).score == 0.75
    none = found["b#0"].drawn(4, 6)
    assert not none.answered and not none.mask.any() and found["b#0"].reply == "No."
    assert [part.tolist() for part in found["c#0"].drawn(4, 6).instances] == [part.tolist() for part in parts]


def test_others_can_read_a_line(tmp_path):
    write_predictions(tmp_path / "m.jsonl", [SavedMask.of(Drawn(MASK, 0.5), "a#0", "it", "a.jpg", None, 0)])
    record = json.loads((tmp_path / "m.jsonl").read_text())
    assert np.array_equal(coco_mask.decode(record["rle"]) == 1, MASK)
    assert record == {"id": "a#0", "text": "it", "image": "a.jpg", "rle": RLE, "score": 0.5}


def test_the_least_that_a_line_needs(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text(
        '\ufeff{"id": "a#0", "rle": {"size": [1, 3], "counts": [1, 1, 1]}}\n\n{"id": "b#0", "rle": null}\r\n'
    )
    found = read_predictions(path)
    assert found["a#0"].drawn(1, 3).mask.tolist() == [[False, True, False]] and found["a#0"].score is None
    assert not found["b#0"].drawn(1, 3).answered


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([line(), line(id="b#0"), line()], "line 3: 'a#0' was predicted in line 1 already"),
        (["{"], "line 1: "),
        (["[]"], "not list"),
        ([line(id=...)], "no `id`"),
        ([line(id=3)], "no `id`"),
        ([line(rle=...)], "'a#0' has no `rle`; write null"),
        ([line(rle="PPP")], "the `rle` of 'a#0' is none"),
        ([line(rle={"size": [4, 6, 1], "counts": "0"})], "the `rle` of 'a#0' is none"),
        ([line(score=1.5)], "the `score` of 'a#0' must be in 0..1 or null, not 1.5"),
        ([line(score=float("nan"))], "must be in 0..1"),
        ([line(score=True)], "must be in 0..1"),
        ([line(text=["x"])], "the `text` of 'a#0' must be text"),
        ([line(instances=3)], "`instances` of 'a#0'"),
        ([line(instances=[{}])], "the `rle` of 'a#0' is none"),
        ([line(rle=None, instances=[RLE])], "'a#0' has `instances` but no `rle`, which is their union"),
        ([], "holds no prediction"),
        (["\n"], "holds no prediction"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(tmp_path, lines, said):
    path = tmp_path / "m.jsonl"
    path.write_text("\n".join(lines))
    with pytest.raises(DataError) as error:
        read_predictions(path)
    assert said in str(error.value) and str(path) in str(error.value) and "\n" not in str(error.value)


def test_files_that_are_none(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path, tmp_path / "absent", tmp_path / "binary"):
        with pytest.raises(DataError, match="cannot be read as predictions"):
            read_predictions(path)
    with pytest.raises(ConfigError, match="cannot write"):
        write_predictions(tmp_path / "absent" / "m.jsonl", [])


def test_a_mask_of_another_size_or_damaged_is_refused():
    with pytest.raises(ValueError, match=r"its size is \[4, 6\], but the picture's is \[6, 4\]"):
        SavedMask("a", None, None, RLE).drawn(6, 4)
    other = mask_to_rle(MASK & (np.arange(6) < 3))
    with pytest.raises(ValueError, match="its `rle` is not the union of its `instances`"):
        SavedMask("a", None, None, RLE, instances=[other]).drawn(4, 6)
    with pytest.raises(ValueError, match="not the union"):
        SavedMask("a", None, None, other, instances=[other, RLE]).drawn(4, 6)
    with pytest.raises(ValueError, match="sum up to"):
        SavedMask("a", None, None, {"size": [4, 6], "counts": [3]}).drawn(4, 6)
