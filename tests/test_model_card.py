from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from hypothesis import given
from hypothesis import strategies as st

from lisa_core.export import export_model
from lisa_core.merge import merge_checkpoint
from lisa_core.model_card import model_card
from lisa_core.model_config import ModelConfig, TuningConfig

LORA = TuningConfig(vlm_use_lora=True, vlm_lora_r=8)


@pytest.fixture(scope="module")
def exported(small_run, small_vlm, tmp_path_factory) -> Path:
    """An exported run's folder; not to be written to."""
    root = tmp_path_factory.mktemp("card")
    small_run(root / "run", ModelConfig(vlm="smolvlm", vlm_model_name=small_vlm("smolvlm"), sam="tiny"), LORA)
    return export_model(root / "run", root / "ring-finder")


@pytest.fixture
def meta(exported) -> dict:
    return json.loads((exported / "lisa.json").read_text())


def test_the_hub_reads_its_front_matter(exported):
    card = ModelCard.load(exported / "README.md")
    assert card.data.library_name == "lisa-core" and card.data.pipeline_tag == "image-segmentation"
    assert "smolvlm" in card.data.tags and card.data.base_model is None and card.data.license is None
    assert card.data.model_name == "ring-finder"
    found = {(result.dataset_split, result.metric_type): result for result in card.data.eval_results}
    assert {key: result.metric_value for key, result in found.items()} == {
        ("val", "giou"): 0.4123,
        ("val", "ciou"): 0.3987,
        ("val", "listening"): 0.75,
        ("test", "giou"): 0.3911,
        ("test", "ciou"): 0.3702,
        ("test", "listening"): 0.7,
    }
    assert {result.dataset_name for result in card.data.eval_results} == {"my_scenes"}
    yaml.safe_load((exported / "README.md").read_text().split("---\n")[1])


def test_what_its_readers_need_is_in_it(exported):
    text = (exported / "README.md").read_text()
    for said in (
        'pip install "lisa-core>=0.1.0" "lisa-smolvlm>=0.1.0"',
        'Segmenter.load("ring-finder")',
        'lisa segment ring-finder photo.jpg "the red ring" -o out',
        "| gIoU (mean IoU of the masks) | 0.4123 | 0.3911 |",
        "| sentences | 40 | 50 |",
        "| 1 | 2.5000 | 0.3000 | 0.3987 |",
        "`my_scenes`: 12 training sentences an epoch, 40 of val, 50 of test",
        "after step 20 (epoch 2)",
        "| `--vlm-lora-r` | `8` |",
        "torch 2.",
        "Which model it was trained from is not recorded.",
    ):
        assert said in text, said
    assert "| `--batch-size`" not in text, "a default"
    assert "None" not in text and "null" not in text


def test_a_bare_checkpoint_s_card_says_what_is_not_known(exported, tmp_path, small_run):
    small_run(tmp_path / "run", ModelConfig(vlm="clip-llm", vlm_model_name="tiny"), TuningConfig(vlm_freeze=True))
    shutil.copytree(tmp_path / "run" / "best", tmp_path / "alone")
    path = tmp_path / "alone" / "lisa.json"
    described = json.loads(path.read_text())
    described["progress"] = {}
    path.write_text(json.dumps(described))
    text = (export_model(tmp_path / "alone", tmp_path / "out") / "README.md").read_text()
    card = ModelCard(text)
    assert card.data.eval_results is None and "model-index" not in text
    for said in (
        "None are recorded with this checkpoint.",
        "## Data\n\nNot recorded with this checkpoint.",
        "The settings are not recorded with this checkpoint.",
        "How good it is has not been recorded",
        "was trained from random weights",
        "`vlm` holds two checkpoints",
    ):
        assert said in text, said
    assert not re.search(r"\d\.\d{4}", text), "a figure from nowhere"


def test_the_base_and_its_licence_are_named_where_they_are_known(meta):
    meta["base"] = ["HuggingFaceTB/SmolVLM-Instruct"]
    card = model_card(meta, "mine")
    assert card.data.base_model == "HuggingFaceTB/SmolVLM-Instruct" and card.data.license == "apache-2.0"
    assert card.data.base_model_relation == "finetune"
    assert "[HuggingFaceTB/SmolVLM-Instruct](https://huggingface.co/HuggingFaceTB/SmolVLM-Instruct)" in card.text
    assert model_card(meta, "mine", "mit").data.license == "mit"
    meta["base"] = ["somebody/unknown"]
    assert model_card(meta, "mine").data.license is None
    # One of the two names no licence, so none is known of both.
    meta["base"] = ["openai/clip-vit-base-patch16", "Qwen/Qwen3-0.6B-Base"]
    card = model_card(meta, "mine")
    assert card.data.base_model == meta["base"] and card.data.license is None


def test_how_it_is_stored_is_said(meta):
    meta["export"]["adapters"] = True
    meta["tuning"].update(vlm_use_lora=True, vlm_use_quantization=True)
    text = model_card(meta, "mine").text
    assert "LoRA adapters beside it" in text and "loaded in 4bit" in text and "lisa-core[quantize]" in text
    meta["base"], meta["export"]["contains_base"] = ["org/base"], False
    card = model_card(meta, "mine")
    assert "The base, org/base, is not in this folder" in card.text and card.data.base_model_relation == "adapter"
    meta["merged_from"], meta["rounded_to"] = "8bit", "float16"
    assert "rounded to 8bit" in model_card(meta, "mine").text and "rounded to float16" in model_card(meta, "mine").text


def test_a_validation_that_chose_the_checkpoint_is_not_taken_for_a_test(meta):
    assert "a little too good" not in model_card(meta, "mine").text
    meta["run"]["test"] = None
    assert "a little too good" in model_card(meta, "mine").text


def test_many_epochs_are_thinned_and_that_is_said(meta):
    record = meta["run"]["epochs"][0]
    meta["run"]["epochs"] = [{**record, "epoch": number} for number in range(1, 101)]
    text = model_card(meta, "mine").text
    rows = re.findall(r"^\| (\d+) \| 2\.5000", text, re.MULTILINE)
    assert len(rows) == 20 and (rows[0], rows[-1]) == ("1", "100") and "some of its epochs" in text


@given(st.text(min_size=1, max_size=30), st.text(min_size=1, max_size=30))
def test_no_name_breaks_the_card(name, data):
    meta = {
        "plugin": {"family": "clip-llm", "distribution": "lisa-core", "version": "1"},
        "model": {"mask_features": "vlm", "fusion": "joint", "vlm_model_name": "./vlm"},
        "tuning": {"vlm_use_quantization": False, "vlm_quantization": "auto"},
        "base": [],
        "from_scratch": False,
        "export": {"version": "1", "contains_base": True, "adapters": False},
        "run": {"val": {"giou": 0.5, "n": 1}, "data": data, "settings": {"vlm_option": [data]}},
    }
    card = ModelCard(model_card(meta, name).content)
    (call,) = [line for line in card.text.split("\n") if line.startswith("segmenter = ")]
    (argument,) = ast.walk(ast.parse(call).body[0].value.args[0])
    assert argument.value == name
    (command,) = [line for line in card.text.split("\n") if line.startswith("    lisa segment ")]
    assert shlex.split(command)[2] == " ".join(name.split())
    assert card.data.pipeline_tag == "image-segmentation" and card.data.eval_results[0].metric_value == 0.5
    assert card.text.count("\n## ") == 5
    rows = [line for line in card.text.splitlines() if line.startswith("| `--")]
    assert len(rows) == 1 and re.fullmatch(r"\| `--\S*` \| `.*` \|", rows[0])


def test_a_merged_model_s_card_tells_of_its_run(small_run, small_vlm, tmp_path):
    small_run(tmp_path / "run", ModelConfig(vlm="smolvlm", vlm_model_name=small_vlm("smolvlm"), sam="tiny"), LORA)
    direct = (export_model(tmp_path / "run", tmp_path / "a" / "mine") / "README.md").read_text()
    merged = merge_checkpoint(tmp_path / "run", tmp_path / "merged")
    assert (export_model(merged, tmp_path / "b" / "mine") / "README.md").read_text() == direct
