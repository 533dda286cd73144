"""`lisa push` and `lisa pull` as a user runs them; what they do is in tests/test_hub.py."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import constants
from PIL import Image

from lisa_core.export import export_model
from lisa_core.model_config import ModelConfig, TuningConfig


@pytest.fixture(scope="module")
def made(small_run, small_vlm, tmp_path_factory) -> Path:
    """A folder with a run and what was exported from it, `mine`."""
    folder = tmp_path_factory.mktemp("made")
    config = ModelConfig(vlm="smolvlm", vlm_model_name=small_vlm("smolvlm"), sam="tiny")
    small_run(folder / "run", config, TuningConfig(vlm_use_lora=True))
    export_model(folder / "run", folder / "mine")
    noise = np.random.default_rng(0).integers(0, 256, (45, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "photo.png")
    return folder


@pytest.mark.slow
def test_push_pull_and_segment_in_real_processes(place, run_lisa):
    location = importlib.util.spec_from_file_location("hub_stand_in", Path(__file__).parents[1] / "hub_stand_in.py")
    assert location is not None and location.loader is not None
    module: Any = importlib.util.module_from_spec(location)
    sys.modules["hub_stand_in"] = module
    location.loader.exec_module(module)
    with module.StandIn() as hub:
        environ = hub.environ(place / "home")
        pushed = run_lisa("push", "mine", "org/rings", "--private", "--message", "Rings", **environ)
        assert pushed.returncode == 0, pushed.stderr
        assert pushed.stdout.splitlines()[0] == f"pushed: {hub.endpoint}/org/rings"
        assert hub.repositories["org/rings"].private and hub.repositories["org/rings"].messages[-1] == "Rings"
        pulled = run_lisa("pull", "org/rings", "theirs", **environ)
        assert pulled.returncode == 0, pulled.stderr
        assert pulled.stdout.splitlines() == ["pulled: theirs", 'next: lisa segment theirs IMAGE "what to segment"']
        masks = []
        for model, out in (("mine", "a"), ("theirs", "b"), ("org/rings", "c")):
            drawn = run_lisa("segment", model, "photo.png", "the red ring", "-o", out, **environ)
            assert drawn.returncode == 0, drawn.stderr
            masks.append(Path(out, "photo_0_mask.png").read_bytes())
        assert masks[0] == masks[1] == masks[2]
        absent = run_lisa("segment", "org/absent", "photo.png", "it", **environ)
        assert absent.returncode == 2 and absent.stderr.startswith(
            "lisa: error: no checkpoint at org/absent: there is no"
        )
        cached = run_lisa("pull", "org/rings", **environ)
        assert cached.stdout.splitlines()[1] == 'next: lisa segment org/rings IMAGE "what to segment"'
        for text in (pushed.stderr, pulled.stderr, cached.stderr):
            assert "%" not in text and "Warning" not in text, "no progress bars in a log"


@pytest.fixture
def offline(tmp_path, monkeypatch) -> None:
    """No network, and nothing in the cache."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["push", "run", "org/name"], "run is not a folder that `lisa export` wrote: write a folder to share first"),
        (["push", "absent", "org/name"], "no checkpoint at absent"),
        (["push", "mine", "name"], "name is no name on the hub: give ORG/NAME"),
        (["push", "mine", "org/name"], "HF_HUB_OFFLINE is set, so nothing can be pushed: unset it"),
        (["push", "mine"], "Missing argument 'ORG/NAME'"),
        (["pull", "org/name"], "org/name is not in the hub's cache"),
        (["pull", "org/name", "run"], "run is not empty, and holds other things than a model (best,"),
        (["pull", "org/name", "run", "--overwrite"], "run holds other things than a model"),
        (["pull", "org/name", "photo.png"], "photo.png is a file"),
        (
            ["segment", "org/name", "photo.png", "it"],
            "no checkpoint at org/name: there is no such folder here, and org/",
        ),
        (["segment", "run/nothing", "photo.png", "it"], "no checkpoint at run/nothing: give a folder with lisa.json"),
        (["eval", "org/name", "--data", "."], "no checkpoint at org/name"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(place, offline, refusal, args, said):
    before = sorted(place.rglob("*"))
    assert said in refusal(*args)
    assert sorted(place.rglob("*")) == before
