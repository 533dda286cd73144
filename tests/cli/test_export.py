from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard
from PIL import Image

from lisa_core.model_config import ModelConfig, TuningConfig
from lisa_core.segmenter import Segmenter


@pytest.fixture(scope="module")
def made(small_run, small_vlm, tmp_path_factory) -> Path:
    """A folder with runs that have adapters (`run`), none (`frozen`), or no base (`tiny`)."""
    folder = tmp_path_factory.mktemp("made")
    name = small_vlm("smolvlm")
    for run, model, tuning in (
        ("run", name, TuningConfig(vlm_use_lora=True)),
        ("frozen", name, TuningConfig(vlm_freeze=True)),
        ("tiny", "tiny", TuningConfig(vlm_use_lora=True)),
    ):
        small_run(folder / run, ModelConfig(vlm="smolvlm", vlm_model_name=model, sam="tiny"), tuning)
    noise = np.random.default_rng(0).integers(0, 256, (45, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "photo.png")
    return folder


def drawn(name: str) -> np.ndarray:
    return Segmenter.load(name, "cpu").set_image("photo.png").segment("the red ring").logits


@pytest.mark.parametrize("run", ["run", "frozen", "tiny"])
def test_any_run_becomes_a_folder_to_share(run, place, invoke):
    result = invoke("export", run, "mine", "--license", "mit")
    assert result.exit_code == 0, result.stderr
    assert ("merging the adapters" in result.stderr) == (run != "frozen")
    lines = result.stdout.splitlines()
    assert lines[0].startswith("exported: mine (") and "mine/README.md" in lines[0]
    assert lines[-1] == "  or: lisa push mine ORG/NAME"
    expected = drawn(run)
    shutil.rmtree(run)
    np.testing.assert_allclose(drawn("mine"), expected, atol=1e-4)
    assert ModelCard.load(Path("mine/README.md")).data.license == "mit"


def test_adapters_are_kept_when_asked_for(place, invoke):
    result = invoke("export", "run", "mine", "--no-merge")
    assert result.exit_code == 0 and "the adapters are kept apart" in result.stderr
    assert json.loads(Path("mine/lisa.json").read_text())["tuning"]["vlm_use_lora"] is True
    assert np.array_equal(drawn("mine"), drawn("run"))


def test_commands_are_printed_as_a_shell_takes_them(place, invoke, refusal):
    lines = invoke("export", "frozen", "exp ü; ls").stdout.splitlines()
    assert shlex.split(lines[1])[1:4] == ["lisa", "segment", "exp ü; ls"]
    assert shlex.split(lines[2])[1:4] == ["lisa", "push", "exp ü; ls"]
    (command,) = re.findall(r"^    (lisa segment .*)$", Path("exp ü; ls/README.md").read_text(), re.MULTILINE)
    assert shlex.split(command)[2:5] == ["exp ü; ls", "photo.jpg", "the red ring"]
    (place / "run").rename("my run")
    assert shlex.split(refusal("push", "my run", "org/name").split("`")[3])[:3] == ["lisa", "export", "my run"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["frozen", "out", "--merge"], "frozen/best has no adapters to merge: leave --merge out"),
        (["run", "out", "--no-base"], "is a folder of this machine and no name on the hub: leave --no-base out"),
        (["tiny", "out", "--no-base"], "a tiny model has no base"),
        (["run", "out", "--no-base", "--merge"], "exclude one another"),
        (["absent", "out"], "no checkpoint at absent"),
        (["run", "frozen"], "frozen is not empty, and holds other things than a model ("),
        (["run", "run/best", "--overwrite"], "which the model is made from"),
        (["run", "frozen/best", "--overwrite"], "frozen/best holds other things than a model (state), which are never"),
        (["run", "photo.png/x"], "photo.png is a file; choose another folder"),
        (["run", "run"], "which the model is made from"),
        (["run", "out", "--dtype", "int8"], "'int8' is not one of"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(place, refusal, args, said):
    before = sorted(place.rglob("*"))
    assert said in refusal("export", *args)
    assert sorted(place.rglob("*")) == before


@pytest.mark.slow
def test_export_in_a_real_process(place, run_lisa):
    result = run_lisa("export", "run", "mine")
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr and "Warning" not in result.stderr
    shutil.rmtree("run")
    result = run_lisa("segment", "mine", "photo.png", "the red ring", "-o", "out")
    assert result.returncode == 0 and result.stderr == "", "no bars in a log"
    assert run_lisa("export", "mine", "mine").stderr.startswith("lisa: error: mine is, or holds, mine,")
