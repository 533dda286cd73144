from __future__ import annotations

import json
from pathlib import Path

import pytest

from lisa_core.errors import ConfigError
from lisa_core.evaluation_file import evaluation_path, read_evaluation, replaced, write_evaluation
from lisa_core.matching import InstanceCounts
from lisa_core.records import SampleRecord


def record(k: int, **changes) -> SampleRecord:
    fields = {
        **{"index": k, "id": f"{k}#0", "text": 'a "ring"\n\u2028', "is_sentence": False, "image": "a.jpg"},
        **{"picture": "0#0", "source": "made up", "intersection": 1, "union": 3, "truth_pixels": 2},
        **{"predicted_pixels": 2, "counted_pixels": 10, "blind": {"blank": 0.5}},
    }
    return SampleRecord(**{**fields, **changes})


def _with(**changes) -> str:
    """A file whose second sample is changed; `...` leaves a field out."""
    changed = {key: value for key, value in {**record(1).to_dict(), **changes}.items() if value is not ...}
    return json.dumps({"samples": [record(0).to_dict(), changed]})


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
        (_with(union="x"), "(sample 2, '1#0': `union` must be a whole number from 0, not 'x')"),
        (_with(truth_pixels=True), "`truth_pixels` must be a whole number from 0, not True"),
        (_with(predicted_pixels=10**400), "`predicted_pixels` must be a whole number from 0, not 1000"),
        (_with(boundary_union=-1), "`boundary_union` must be a whole number from 0 or null, not -1"),
        (_with(text=None), "(sample 2, '1#0': `text` must be text, not None)"),
        (_with(score="high"), "`score` must be a number in 0..1 or null, not 'high'"),
        (_with(score=float("nan")), "`score` must be a number in 0..1 or null, not nan"),
        (_with(score=1.5), "`score` must be a number in 0..1 or null, not 1.5"),
        (_with(is_sentence=0), "`is_sentence` must be true or false, not 0"),
        (_with(blind=[1]), "`blind` must be numbers in 0..1 by name, not [1]"),
        (_with(blind={"blank": None}), "`blind` must be numbers in 0..1 by name"),
        (_with(instances={"objects": 1}), "`instances` must be counts of matched objects or null"),
        (_with(instances={"objects": 1, "drawn": 1, "found": None, "iou": 1}), "`instances` must be counts"),
        (_with(colour=1), "(sample 2, '1#0': `colour` is not known)"),
        (_with(union=...), "(sample 2, '1#0': `union` is missing)"),
        (_with(id=3), "(sample 2: `id` must be text, not 3)"),
        ('{"samples": [3]}', "(sample 1: a sample is an object, not 3)"),
        (json.dumps({"samples": [record(0).to_dict()] * 2}), "holds a sentence twice"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(tmp_path, content, said):
    path = tmp_path / "eval.json"
    path.write_text(content)
    with pytest.raises(ConfigError) as error:
        read_evaluation(path)
    assert said in str(error.value) and "\n" not in str(error.value) and str(path) in str(error.value)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "eval_val.json"),
        ({"protocol": None}, "eval_val.json"),
        ({"protocol": "teacher-forced", "phrasings": "first"}, "eval_val.json"),
        ({"protocol": "generated"}, "eval_val_generated.json"),
        ({"first": 2}, "eval_val_first2.json"),
        ({"phrasings": "all"}, "eval_val_all_phrasings.json"),
        (
            {"protocol": "generated", "phrasings": "all", "first": 9},
            "eval_val_generated_all_phrasings_first9.json",
        ),
        ({"temperature": 2.0}, "eval_val_temperature2.json"),
    ],
)
def test_only_the_plain_evaluation_of_all_sentences_has_the_plain_name(options, name):
    assert evaluation_path(Path("run"), "val", **options) == Path("run") / name


def test_what_a_new_evaluation_would_replace_is_told(tmp_path):
    path = tmp_path / "eval_val.json"
    about = {"data": "mine", "protocol": "teacher-forced", "phrasings": "first", "giou": 0.25}
    records = [record(0), record(1)]
    assert replaced(path, about, records) is None, "nothing is there"
    write_evaluation(path, about, records)
    better = [record(0, intersection=2, union=2), record(1)]
    assert replaced(path, {**about, "data": "../mine", "giou": 0.5}, better) is None, "the same, done again"
    said = "another evaluation (data mine, teacher-forced, 2 sentences, gIoU 0.2500)"
    assert replaced(path, about, records[:1]) == said
    assert replaced(path, {**about, "data": "yours"}, [record(0), record(1, text="it")]) == said
    assert replaced(path, about, [record(0), record(1, counted_pixels=11)]) == said
    assert replaced(path, {**about, "protocol": "generated"}, records) == said
    assert replaced(path, {**about, "checkpoint": "org/other"}, records) is None, "old files say less"
    write_evaluation(path, {"checkpoint": "org/name"}, records)
    assert replaced(path, {"checkpoint": "org/name"}, records) is None
    said = "another evaluation (checkpoint org/name, 2 sentences)"
    assert replaced(path, {"checkpoint": "org/other"}, records) == said
    path.write_text("no evaluation")
    assert replaced(path, about, records) is None


def test_a_run_evaluated_by_its_own_path_from_elsewhere_replaces_its_own(tmp_path):
    path = tmp_path / "run" / "eval_val.json"
    path.parent.mkdir()
    write_evaluation(path, {"checkpoint": "run"}, [record(0)])
    assert replaced(path, {"checkpoint": str(tmp_path / "run")}, [record(0)]) is None


def test_other_evaluations_of_a_folder_are_named(tmp_path):
    for name in ("eval_val_generated.json", "eval_val_first2.json", "eval_test.json", "eval_val_unseen.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(ConfigError) as error:
        read_evaluation(tmp_path)
    assert str(error.value) == (
        f"{tmp_path} was not evaluated on all of split val, teacher-forced: "
        f"run `lisa eval {tmp_path} --data DATA --split val`, or give one of the files there: "
        "eval_val_first2.json, eval_val_generated.json"
    )


def test_what_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="was not evaluated on split test: run `lisa eval"):
        read_evaluation(tmp_path, "test")
    with pytest.raises(ConfigError, match="does not exist"):
        read_evaluation(tmp_path / "absent.json")
    with pytest.raises(ConfigError, match="choose another --output"):
        write_evaluation(tmp_path / "absent" / "eval.json", {}, [record(0)])
