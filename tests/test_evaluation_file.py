from __future__ import annotations

import json

import pytest

from lisa_core.errors import ConfigError
from lisa_core.evaluation_file import evaluation_path, read_evaluation, write_evaluation
from lisa_core.matching import InstanceCounts
from lisa_core.records import SampleRecord


def record(k: int, **changes) -> SampleRecord:
    fields = {
        **{"index": k, "id": f"{k}#0", "text": 'a "ring"\n\u2028', "is_sentence": False, "image": "a.jpg"},
        **{"picture": "0#0", "source": "made up", "intersection": 1, "union": 3, "truth_pixels": 2},
        **{"predicted_pixels": 2, "counted_pixels": 10, "blind": {"blank": 0.5}},
    }
    return SampleRecord(**{**fields, **changes})


def test_written_and_read_again(tmp_path):
    records = [record(0), record(1, score=0.25, instances=InstanceCounts(1, 2, 1, 0.75))]
    path = evaluation_path(tmp_path, "deep/val")
    assert path.name == "eval_deep_val.json"
    write_evaluation(path, {"giou": 0.5, "split": "deep/val"}, records)
    assert not list(tmp_path.glob("*.new"))
    for place in (path, tmp_path):
        stored = read_evaluation(place, "deep/val")
        assert (stored.path, stored.about, stored.records) == (path, {"giou": 0.5, "split": "deep/val"}, records)
    plain = json.loads(path.read_text())
    assert plain["samples"][1]["iou"] == 1 / 3 and len(path.read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is no evaluation"),
        ("[]", "it holds a list"),
        ('{"giou": 1}', "it has no `samples`"),
        ('{"samples": []}', "it has no `samples`"),
        ('{"samples": [3]}', "is no evaluation"),
        ('{"samples": [{"id": "a"}]}', "is no evaluation"),
        (json.dumps({"samples": [{**record(0).to_dict(), "union": 9}]}), "0#0 contradict"),
        (json.dumps({"samples": [record(0).to_dict()] * 2}), "holds a sentence twice"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(tmp_path, content, said):
    path = tmp_path / "eval.json"
    path.write_text(content)
    with pytest.raises(ConfigError) as error:
        read_evaluation(path)
    assert said in str(error.value) and "\n" not in str(error.value) and str(path) in str(error.value)


def test_what_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="was not evaluated on split test: run `lisa eval"):
        read_evaluation(tmp_path, "test")
    with pytest.raises(ConfigError, match="does not exist"):
        read_evaluation(tmp_path / "absent.json")
    with pytest.raises(ConfigError, match="choose another --output"):
        write_evaluation(tmp_path / "absent" / "eval.json", {}, [record(0)])
