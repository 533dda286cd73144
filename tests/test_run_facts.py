from __future__ import annotations

import json
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_core.checkpoint import find_checkpoint
from lisa_core.model_config import ModelConfig, TuningConfig
from lisa_core.run_facts import _told, last_name, run_facts


@pytest.fixture
def run(small_run, tmp_path):
    small_run(tmp_path / "run", ModelConfig(vlm="clip-llm", vlm_model_name="tiny"), TuningConfig(vlm_use_lora=True))
    return tmp_path / "run"


def test_what_a_run_tells(run):
    facts = run_facts(find_checkpoint(run))
    assert (facts["epoch"], facts["step"]) == (2, 20)
    assert facts["val"]["giou"] == 0.4123 and facts["test"]["giou"] == 0.3911
    assert facts["data"] == "my_scenes" and facts["train_sentences"] == 12
    assert facts["settings"] == {
        "model.vlm": "clip-llm",
        "model.vlm_model_name": "tiny",
        "tuning.vlm_use_lora": True,
    }
    assert [record["val"]["giou"] for record in facts["epochs"]] == [0.3, 0.4123]
    assert {"versions", "python", "device"} <= set(facts["environment"]) and "command" not in facts["environment"]
    told = json.dumps(facts)
    assert "/home/" not in told and str(run) not in told


def test_a_checkpoint_means_its_own_run_by_whatever_name(run):
    facts = run_facts(find_checkpoint(run))
    for name in ("best", "last", "checkpoints/step-00000020"):
        assert run_facts(find_checkpoint(run / name)) == facts


def test_figures_of_another_checkpoint_are_not_its_own(run):
    path = run / "best" / "lisa.json"
    meta = json.loads(path.read_text())
    path.write_text(json.dumps({**meta, "progress": {"epoch": 1, "step": 10, "val": None}}))
    facts = run_facts(find_checkpoint(run))
    assert facts["val"]["giou"] == 0.3, "of the epoch that it was saved after"
    assert facts["test"] is None, "the test is of step 20"
    path.write_text(json.dumps({**meta, "progress": {"epoch": 1, "step": 7, "val": None}}))
    assert run_facts(find_checkpoint(run))["val"] is None


def test_a_checkpoint_by_itself_tells_what_it_knows(run, tmp_path):
    shutil.copytree(run / "best", tmp_path / "alone")
    facts = run_facts(find_checkpoint(tmp_path / "alone"))
    assert facts.keys() == {"epoch", "step", "val"} and facts["val"]["n"] == 40


@pytest.mark.parametrize("damage", ["config.json", "metrics.jsonl"])
def test_a_damaged_run_is_as_good_as_none(run, damage):
    (run / damage).unlink()
    assert "settings" not in run_facts(find_checkpoint(run))


@pytest.mark.parametrize("progress", [None, 3, [], {"val": 3}, {"val": {"giou": "high"}}])
def test_no_progress_crashes_it(run, progress):
    path = run / "best" / "lisa.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "progress": progress}))
    run_facts(find_checkpoint(run))


NAMES = st.text(alphabet="abcXYZ._ -", min_size=1, max_size=6).filter(lambda name: name.strip(". ") != "")


@given(st.lists(NAMES, min_size=1, max_size=4), NAMES, st.sampled_from(["/", "C:\\", "\\\\host\\", "~/", "./", "../"]))
def test_no_folder_of_a_path_is_told(folders, name, root):
    separator = "\\" if "\\" in root else "/"
    path = root + separator.join([*(f"secret{part}" for part in folders), name])
    for value in (path, f"option={path}", f"org/model+{path}", (path,)):
        assert "secret" not in str(_told(value)), value
    assert "secret" not in last_name(path)


@pytest.mark.parametrize("name", ["org/name", "tiny", "longest_edge=512", "openai/clip+Qwen/Qwen3", "all-linear"])
def test_what_is_no_path_is_told_whole(name):
    assert _told(name) == name
