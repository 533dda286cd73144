"""The five examples of the predecessor's guide, its flags as they are spelled there, hub names replaced by folders."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lisa_core.build import build_vlm
from lisa_core.config import ModelConfig

EXAMPLES = {
    "llava lora": (
        "llava",
        "--use_vlm --vlm_model_name {} --vlm_use_lora --num_epochs 10 --batch_size 1 --run_test",
        {"vlm_use_lora": True, "vlm_lora_r": 16, "vlm_lora_alpha": 32, "vlm_lora_dropout": 0.1},
    ),
    "smolvlm bf16 lora": (
        "smolvlm",
        "--use_vlm --vlm_model_name {} --vlm_use_mixed_precision --vlm_mixed_precision bf16 --vlm_use_lora "
        "--num_epochs 20",
        {"vlm_use_mixed_precision": True, "vlm_mixed_precision": "bf16", "num_epochs": 20},
    ),
    "qwen2-vl 8bit lora": (
        "qwenvl",
        "--use_vlm --vlm_model_name {} --vlm_use_quantization --vlm_quantization 8bit --vlm_use_lora --vlm_lora_r 8 "
        "--batch_size 2",
        {"vlm_use_quantization": True, "vlm_quantization": "8bit", "vlm_lora_r": 8, "batch_size": 2},
    ),
    "paligemma frozen": (
        "paligemma",
        "--use_vlm --vlm_model_name {} --vlm_freeze --learning_rate 1e-3 --num_epochs 15",
        {"vlm_freeze": True, "learning_rate": 1e-3, "num_epochs": 15},
    ),
    "clip and a language model": (
        "clip-llm",
        "--use_lora --image_encoder_model_name {} --text_encoder_model_name {} --num_epochs 20",
        {"use_lora": True, "num_epochs": 20},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_of_the_guide_runs(tmp_path, name):
    from lisa_core.data.synth import SynthConfig, synthesize

    family, flags, expected = EXAMPLES[name]
    synthesize(tmp_path / "data", SynthConfig(train=2, val=1, test=1, size=64))
    folder = build_vlm(ModelConfig(vlm=family, vlm_model_name="tiny")).save_pretrained(tmp_path / "model")
    args = flags.format(*folder.split("+")).split()
    # Small parts of SAM for a CPU's sake; data and output are where the command looks for them by itself.
    command = [sys.executable, "-m", "accelerate.commands.launch", "-m", "lisa_core.train", *args, "--sam", "tiny"]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=400)
    assert process.returncode == 0, process.stderr[-3000:]
    (run,) = (tmp_path / "runs").iterdir()
    config = json.loads((run / "config.json").read_text())
    found = {key: value for section in config.values() if isinstance(section, dict) for key, value in section.items()}
    assert found["vlm"] == family and all(found[key] == value for key, value in expected.items())
    assert (run / "best" / "lisa.json").is_file()
    kinds = [json.loads(line)["kind"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert kinds.count("epoch") == found["num_epochs"] and ("test" in kinds) == ("--run_test" in args)


FLAGS = (
    *("use_vlm", "vlm_model_name", "vlm_use_mixed_precision", "vlm_mixed_precision", "vlm_use_quantization"),
    *("vlm_quantization", "vlm_freeze", "vlm_use_lora", "vlm_lora_r", "vlm_lora_alpha", "vlm_lora_dropout"),
    *("num_epochs", "batch_size", "gradient_accumulation_steps", "learning_rate", "img_size", "num_workers"),
    *("max_train_samples", "max_val_samples", "run_test", "use_lora", "image_encoder_model_name"),
    "text_encoder_model_name",
)


@pytest.mark.parametrize("flag", FLAGS)
def test_each_flag_of_the_guide_is_known_in_either_spelling(invoke, flag):
    for spelling in (f"--{flag}", f"--{flag.replace('_', '-')}"):
        assert "No such option" not in invoke("train", spelling, "1", "--data", "absent").stderr


def test_a_flag_that_is_not_known_is_told(invoke):
    assert "No such option: --bogus" in invoke("train", "--bogus", "1", "--data", "absent").stderr


def test_only_flags_are_respelled(tmp_path: Path, refusal):
    assert "data folder my_data does not exist" in refusal("train", "--vlm", "clip-llm", "--data=my_data")
