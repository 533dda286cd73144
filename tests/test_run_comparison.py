"""Side by side: what was set differently, and every figure with its difference to the first run's."""

from __future__ import annotations

import json

import pytest

from lisa_core.errors import ConfigError
from lisa_core.run_comparison import compare
from lisa_core.run_history import read_run


@pytest.fixture
def two(workplace):
    """The real run and a copy of it, as if trained with other settings and with more success."""
    folder, other = workplace / "run", workplace / "other"
    other.mkdir()
    config = json.loads((folder / "config.json").read_text())
    config["optim"]["learning_rate"] = 1e-3  # what the first run got by default
    config["optim"]["weight_decay"] = 0.5
    config["tuning"] |= {"lora_targets": ["q_proj"], "of_the_future": 7}
    config["run"]["output_dir"] = "other"
    config["environment"]["versions"]["torch"] = "0.1"
    (other / "config.json").write_text(json.dumps(config))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    lines[-1]["val"]["giou"] += 0.25
    lines[-1]["val"]["listening"] = None
    lines.append({"kind": "test", "step": 1, "giou": 0.125, "baselines": {"centre_blob": 0.5}})
    (other / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return read_run(folder), read_run(other)


def test_only_settings_that_differ_are_shown(two):
    settings = compare(two).settings
    torch = two[0].environment["versions"]["torch"]
    assert settings == {
        "optim.weight_decay": [0.01, 0.5],
        "tuning.lora_targets": [[], ["q_proj"]],
        "tuning.of_the_future": [None, 7],
        "environment.torch": [torch, "0.1"],
    }
    assert compare([two[0], two[0]]).settings == {}


def test_a_setting_that_the_later_run_lacks_is_shown(two):
    assert compare(two[::-1]).settings["tuning.of_the_future"] == [7, None]


def test_all_figures_with_their_differences(two):
    comparison = compare([*two, two[0]])
    val = two[0].best["val"]
    assert comparison.metrics["val.giou"] == [val["giou"], val["giou"] + 0.25, val["giou"]]
    assert comparison.changes("val.giou") == [0, pytest.approx(0.25), 0]
    assert comparison.metrics["val.precision.0.5"] == [val["precision"]["0.5"]] * 3
    assert comparison.metrics["train.loss"] == [two[0].best["train_loss"]] * 3
    assert comparison.metrics["seconds"] == [two[0].seconds] * 3
    assert comparison.metrics["test.baselines.centre_blob"] == [None, 0.5, None]
    assert comparison.changes("test.giou") == [None, None, None]
    assert comparison.changes("val.listening") == [0, None, 0]
    record = comparison.to_dict()
    assert record["runs"] == [str(run.path) for run in comparison.runs]
    assert record["metrics"]["val.ciou"]["values"] == [val["ciou"]] * 3
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_one_run_is_no_comparison(two):
    with pytest.raises(ConfigError, match="two runs or more, not 1"):
        compare(two[:1])
