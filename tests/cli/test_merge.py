from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lisa_core.model_config import ModelConfig, TuningConfig
from lisa_core.segmenter import Segmenter


@pytest.fixture(scope="module")
def made(small_run, small_vlm, tmp_path_factory) -> Path:
    """A folder with runs that have adapters (`run`, `pair`) and one that has none (`frozen`)."""
    folder = tmp_path_factory.mktemp("made")
    for name, family, tuning in (
        ("run", "smolvlm", TuningConfig(vlm_use_lora=True)),
        ("pair", "clip-llm", TuningConfig(vlm_use_lora=True)),
        ("frozen", "smolvlm", TuningConfig(vlm_freeze=True)),
    ):
        small_run(folder / name, ModelConfig(vlm=family, vlm_model_name=small_vlm(family), sam="tiny"), tuning)
    noise = np.random.default_rng(0).integers(0, 256, (45, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "photo.png")
    return folder


def drawn(name: str) -> np.ndarray:
    return Segmenter.load(name, "cpu").set_image("photo.png").segment("the red ring").logits


def test_it_says_what_it_does_and_what_comes_next(place, invoke):
    result = invoke("merge", "run", "merged")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.splitlines() == [
        "loading run/best",
        "merging the adapters",
        "8 layers were merged",
        "writing merged",
    ]
    assert result.stdout.startswith("merged: merged (") and 'lisa segment merged IMAGE "what' in result.stdout
    assert "lisa train --vlm-model-name merged/vlm --init-from merged" in result.stdout
    np.testing.assert_allclose(drawn("merged"), drawn("run"), atol=1e-4)
    told = invoke("merge", "pair", "two").stdout
    assert "--vlm-model-name two/vlm/vision+two/vlm/language --init-from two" in told


def test_commands_are_printed_as_a_shell_takes_them(place, invoke):
    (place / "run").rename("my run")
    lines = invoke("merge", "my run", "exp ü; ls").stdout.splitlines()
    assert shlex.split(lines[1])[1:4] == ["lisa", "segment", "exp ü; ls"]
    words = shlex.split(lines[2].partition(": ")[2])
    assert words[:6] == ["lisa", "train", "--vlm-model-name", "exp ü; ls/vlm", "--init-from", "exp ü; ls"]


def test_a_refusal_s_command_is_one_too(place, refusal):
    (place / "frozen").rename("my frozen")
    command = refusal("merge", "my frozen", "an out").split("`")[1]
    assert shlex.split(command) == ["lisa", "export", "my frozen", "an out"]


def test_that_a_quantized_base_is_whole_again_is_said_in_one_line(place, small_run, small_vlm, invoke):
    pytest.importorskip("bitsandbytes", reason="4- and 8-bit loading needs bitsandbytes")
    config = ModelConfig(vlm="clip-llm", vlm_model_name=small_vlm("clip-llm"), sam="tiny")
    small_run(place / "rounded", config, TuningConfig(vlm_use_lora=True, vlm_quantization="4bit"))
    (line,) = [line for line in invoke("merge", "rounded", "whole").stderr.splitlines() if "4bit" in line]
    assert "trained beside weights rounded to 4bit" in line and "masks can differ slightly" in line


def test_the_weights_type_and_overwriting(place, invoke):
    whole = invoke("merge", "run", "merged")
    half = invoke("merge", "run", "merged", "--dtype", "bfloat16", "--overwrite")
    assert half.exit_code == whole.exit_code == 0
    assert json.loads(Path("merged/vlm/config.json").read_text())["dtype"] == "bfloat16"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["frozen", "out"], "frozen/best has no adapters to merge: `lisa export frozen out` writes"),
        (["absent", "out"], "no checkpoint at absent"),
        (["run", "run"], "run is, or holds, run/best, which the model is made from"),
        (["run", "frozen"], "frozen is not empty, and holds other things than a model ("),
        (["run", "frozen", "--overwrite"], "frozen holds other things than a model"),
        (["run", "photo.png"], "photo.png is a file"),
        (["run", "photo.png/out"], "cannot be written"),
        (["run"], "Missing argument 'OUT'"),
        (["run", "out", "--dtype", "int8"], "'int8' is not one of"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(place, refusal, args, said):
    before = sorted(place.rglob("*"))
    assert said in refusal("merge", *args)
    assert sorted(place.rglob("*")) == before


def test_a_missing_base_is_one_line(small_run, small_vlm, tmp_path, monkeypatch, refusal):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(small_vlm("smolvlm"), "base")
    small_run(
        Path("run"), ModelConfig(vlm="smolvlm", vlm_model_name="base", sam="tiny"), TuningConfig(vlm_use_lora=True)
    )
    shutil.rmtree("base")
    assert f"cannot load {tmp_path / 'base'}" in refusal("merge", "run", "out")
    assert not Path("out").exists()


@pytest.mark.slow
def test_merge_in_a_real_process(place, run_lisa):
    result = run_lisa("merge", "run", "merged")
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr and "Warning" not in result.stderr
    trained = run_lisa("segment", "merged", "photo.png", "the red ring", "-o", "out")
    assert trained.returncode == 0, trained.stderr
