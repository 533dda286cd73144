from __future__ import annotations

import json

import pytest

TINY = ("estimate", "--vlm", "smolvlm", "--vlm-model-name", "tiny", "--batch-size", "2")


@pytest.mark.slow
def test_the_table_has_every_part_with_and_without_checkpointing(invoke):
    result = invoke(*TINY)
    assert result.exit_code == 0, result.stderr
    for part in ("vision tower", "language model", "projector", "sam", "connectors", "optimizer", "activations"):
        assert part in result.stdout
    assert result.stdout.count("checkpointing") == 2
    assert "parameters, of which" in result.stdout and "- pictures of 1024 x 768 pixels" in result.stdout
    assert "Warning" not in result.stderr


def test_json_is_all_there_is_on_stdout(invoke):
    result = invoke(*TINY, "--vlm-use-lora", "--json")
    record = json.loads(result.stdout)
    assert record["training"] and record["estimate"]["lora"] > 0
    assert record["with_gradient_checkpointing"]["activations"] < record["estimate"]["activations"]


@pytest.mark.slow
def test_json_of_checkpointing_and_of_inference(invoke):
    plain = json.loads(invoke(*TINY, "--vlm-use-lora", "--json").stdout)
    result = invoke(*TINY, "--vlm-use-lora", "--gradient-checkpointing", "--json")
    assert json.loads(result.stdout)["without_gradient_checkpointing"] == plain["estimate"]
    result = invoke(*TINY, "--inference", "--json")
    inference = json.loads(result.stdout)
    assert set(inference) == {"estimate", "training"} and inference["estimate"]["optimizer"] == 0


def test_settings_that_fit_are_proposed(invoke):
    result = invoke(*TINY, "--fit", "8gb")
    assert result.stdout == "fits as it is\n" and "fits" in result.stderr


@pytest.mark.slow
def test_settings_that_fit_are_proposed_as_json(invoke):
    record = json.loads(invoke(*TINY, "--fit", "8gb", "--json").stdout)
    assert record["flags"] == "" and record["config"]["data"]["batch_size"] == 2 and record["usable"] == 6.75e9


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--fit", "8 apples"), "--fit is '8 apples', must be a size such as 8gb"),
        (("--fit", "8gb", "--inference"), "--fit is about training: leave --inference out"),
        (("--vlm-freeze", "--vlm-use-lora"), "a frozen VLM has no adapters"),
        (("--vlm-quantization", "4bit", "--vlm-use-lora"), "tiny cannot be loaded in 4bit: leave that out"),
        pytest.param(("--fit", "0.51gb"), "nothing fits into 0.5 GB: the least is", marks=pytest.mark.slow),
    ],
)
def test_what_cannot_be_is_one_line(refusal, args, said):
    assert said in refusal(*TINY, *args)


def test_a_model_that_nothing_is_known_of_is_one_line(refusal, monkeypatch):
    said = refusal("estimate", "--vlm-model-name", "nobody/nothing")
    assert "nobody/nothing is no local folder and not in the hub cache" in said
