from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file

from lisa_core import checkpoint as checkpoint_module
from lisa_core.build import build_model
from lisa_core.checkpoint import FORMAT_VERSION, find_checkpoint, load_checkpoint, save_checkpoint
from lisa_core.clip_llm import ClipLLM
from lisa_core.errors import CheckpointError, ConfigError
from lisa_core.model import LisaModel
from lisa_core.model_config import ModelConfig, TuningConfig
from lisa_core.registry import Registry
from lisa_core.segmenter import Segmenter
from lisa_core.settings import problems
from lisa_core.tuning import apply_tuning

SENTENCES = ["the red ring", "Which one is the zany wombat?"]


@pytest.mark.skipif(sys.platform == "win32", reason="file modes are POSIX")
def test_others_may_read_a_checkpoint_if_they_may_read_what_else_one_writes(tmp_path):
    before = os.umask(0o027)
    try:
        save_checkpoint(tmp_path / "saved", trained(ModelConfig(vlm="clip-llm", vlm_model_name="tiny")), {})
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "saved").rglob("*") if path.is_file()}
    assert modes["model.safetensors"] == 0o640 and set(modes.values()) == {0o640}


def trained(config: ModelConfig, vlm_freeze: bool = False, seed: int = 0) -> LisaModel:
    """A model whose trainable weights no seed and no file but its own checkpoint can give back."""
    model = build_model(config)
    apply_tuning(model, TuningConfig(vlm_freeze=vlm_freeze))
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=noise))
    return model.eval()


def picture() -> Image.Image:
    noise = torch.randint(0, 255, (40, 70, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Image.fromarray(noise.numpy())


def drawn(model: LisaModel) -> np.ndarray:
    """What the model answers to the sentences, float32 [2,H,W]."""
    return np.stack([result.logits for result in Segmenter(model).set_image(picture()).segment_many(SENTENCES)])


def tiny(vlm: str = "clip-llm", **config: Any) -> ModelConfig:
    return ModelConfig(vlm=vlm, vlm_model_name="tiny", **config)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> tuple[Path, np.ndarray]:
    """A run folder with one checkpoint, `best`, and the masks of its model; not to be written to."""
    model = trained(tiny())
    run = tmp_path_factory.mktemp("saved") / "run"
    save_checkpoint(run / "best", model, {"epoch": 3, "val": {"giou": 0.5}})
    return run, drawn(model)


@pytest.fixture
def run(saved, tmp_path) -> Path:
    """A copy of the run folder, to be damaged."""
    shutil.copytree(saved[0], tmp_path / "run")
    return tmp_path / "run"


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    return message


CONFIGS = {
    f"{vlm}-{fusion}-{features}": tiny(vlm, fusion=fusion, mask_features=features)
    for vlm in ("clip-llm", "smolvlm")
    for fusion in ("joint", "late")
    for features in ("vlm", "sam")
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_checkpoint_gives_the_same_masks_bit_for_bit(name, tmp_path):
    model = trained(CONFIGS[name])
    save_checkpoint(tmp_path / "ckpt", model, {})
    loaded = load_checkpoint(tmp_path / "ckpt")
    assert not loaded.training and loaded.config == model.config
    assert np.array_equal(drawn(loaded), drawn(model))


@pytest.mark.slow
def test_a_new_process_draws_the_same_masks_bit_for_bit(tmp_path):
    expected = {}
    for name, config in CONFIGS.items():
        model = trained(config)
        save_checkpoint(tmp_path / name / "last", model, {})
        expected[name] = drawn(model)
    picture().save(tmp_path / "picture.png")
    program = (
        "import sys, numpy\nfrom lisa_core import Segmenter\n"
        f"for name in {list(CONFIGS)!r}:\n"
        "    drawn = Segmenter.load(name, 'cpu').set_image('picture.png')\n"
        f"    numpy.save(name, [result.logits for result in drawn.segment_many({SENTENCES!r})])\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=120)
    for name, masks in expected.items():
        assert np.array_equal(np.load(tmp_path / f"{name}.npy"), masks), name


@pytest.fixture
def pretrained(tmp_path) -> ModelConfig:
    """A `clip-llm` whose two halves are folders, as a user downloads them."""
    torch.manual_seed(5)
    vlm = ClipLLM.tiny()
    for part, half in (
        (vlm.vision, "clip"),
        (vlm.image_processor, "clip"),
        (vlm.language, "llm"),
        (vlm.tokenizer, "llm"),
    ):
        part.save_pretrained(tmp_path / "hub" / half)
    names = {
        f"{half}_encoder_model_name": str(tmp_path / "hub" / name)
        for half, name in (("image", "clip"), ("text", "llm"))
    }
    return ModelConfig(vlm="clip-llm", sam="tiny", **names)


def test_a_frozen_pretrained_vlm_is_left_out_and_read_from_where_it_came(pretrained, tmp_path):
    model = trained(pretrained, vlm_freeze=True)
    save_checkpoint(tmp_path / "ckpt", model, {})
    assert not (tmp_path / "ckpt" / "vlm").exists()
    keys = set(load_file(tmp_path / "ckpt" / "model.safetensors"))
    assert not [key for key in keys if key.startswith(("vlm.vision.", "vlm.language."))]
    # The projector between the halves is nobody's but this run's, frozen or not.
    assert {key.split(".")[1] for key in keys if key.startswith("vlm.")} == {"projector"}
    assert np.array_equal(drawn(load_checkpoint(tmp_path / "ckpt")), drawn(model))
    shutil.rmtree(tmp_path / "hub")
    with pytest.raises(ConfigError, match=r"cannot load .*hub"):
        load_checkpoint(tmp_path / "ckpt")


def test_a_trained_pretrained_vlm_is_in_the_file(pretrained, tmp_path):
    model = trained(pretrained)
    save_checkpoint(tmp_path / "ckpt", model, {})
    keys = set(load_file(tmp_path / "ckpt" / "model.safetensors"))
    assert {name for name, _ in model.named_parameters()} <= keys
    assert np.array_equal(drawn(load_checkpoint(tmp_path / "ckpt")), drawn(model))


def test_frozen_sam_parts_are_read_from_their_own_checkpoint(tmp_path):
    parts = build_model(tiny(mask_features="sam"))
    weights = {**parts.decoder.state_dict(), **parts.sam_encoder.state_dict()}
    save_file({key: value.contiguous() for key, value in weights.items()}, tmp_path / "sam.safetensors")
    model = trained(tiny(mask_features="sam", sam_checkpoint=str(tmp_path / "sam.safetensors")))
    save_checkpoint(tmp_path / "ckpt", model, {})
    keys = set(load_file(tmp_path / "ckpt" / "model.safetensors"))
    assert not any(key.startswith("sam_encoder.") for key in keys) and any(key.startswith("decoder.") for key in keys)
    assert np.array_equal(drawn(load_checkpoint(tmp_path / "ckpt")), drawn(model))


def test_sam_s_checkpoint_is_not_missed_where_nothing_of_it_is_needed(tmp_path):
    """The decoder was trained, so its weights are in our file; the encoder is not part of the model."""
    decoder = build_model(tiny()).decoder
    save_file({key: value.contiguous() for key, value in decoder.state_dict().items()}, tmp_path / "sam.safetensors")
    model = trained(tiny(sam_checkpoint=str(tmp_path / "sam.safetensors")))
    save_checkpoint(tmp_path / "ckpt", model, {})
    (tmp_path / "sam.safetensors").unlink()
    loaded = load_checkpoint(tmp_path / "ckpt")
    assert np.array_equal(drawn(loaded), drawn(model)) and loaded.config == model.config


def test_what_the_description_says(saved):
    meta = json.loads((saved[0] / "best" / "lisa.json").read_text())
    assert meta["format_version"] == FORMAT_VERSION
    assert meta["plugin"]["family"] == "clip-llm" and meta["plugin"]["distribution"] == "lisa-core"
    assert meta["model"]["vlm_model_name"] == "tiny" and meta["progress"] == {"epoch": 3, "val": {"giou": 0.5}}
    found = find_checkpoint(saved[0])
    assert found.folder == saved[0] / "best" and found.model_config == tiny() and found.meta == meta


def test_a_run_means_its_best_checkpoint_else_its_last(run):
    assert find_checkpoint(run).folder == find_checkpoint(run / "best").folder == run / "best"
    shutil.copytree(run / "best", run / "last")
    assert find_checkpoint(str(run)).folder == run / "best"
    shutil.rmtree(run / "best")
    assert find_checkpoint(run).folder == run / "last"


def test_a_missing_plugin_is_named_with_the_package_to_install(tmp_path, monkeypatch):
    save_checkpoint(tmp_path / "ckpt", trained(tiny("smolvlm")), {})
    monkeypatch.setattr(checkpoint_module, "get_registry", lambda: Registry({"LISA_PLUGINS": ""}))
    message = refusal(tmp_path / "ckpt")
    assert "smolvlm" in message and "`pip install lisa-smolvlm`" in message


@pytest.mark.slow
def test_a_missing_plugin_is_one_line_on_the_command_line(tmp_path, run_lisa):
    save_checkpoint(tmp_path / "ckpt", trained(tiny("smolvlm")), {})
    picture().save(tmp_path / "picture.png")
    result = run_lisa("segment", "ckpt", "picture.png", "the red ring", LISA_PLUGINS="")
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.startswith("lisa: error: ckpt was trained with the smolvlm plugin")
    assert "`pip install lisa-smolvlm`" in result.stderr and result.stderr.count("\n") == 1


def test_no_checkpoint_is_one_line(tmp_path):
    for path in (tmp_path, tmp_path / "absent"):
        assert f"no checkpoint at {path}" in refusal(path)


@pytest.mark.parametrize(
    "content", ["{", "", "[]", "null", "3", '{"model": {}}', '{"format_version": "one", "model": {}}', b"\xff\xfe\0"]
)
def test_a_damaged_description_is_one_line(run, content):
    path = run / "best" / "lisa.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert f"{path} is damaged" in refusal(run)


JSON = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=3) | st.just([]) | st.just({"a": 1})
)
KEYS = st.sampled_from(
    ["format_version", "plugin", "model", "progress", "model.fusion", "model.num_prompts", "model.vlm"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(KEYS, JSON)
def test_no_value_in_the_description_crashes(run, key, value):
    path = run / "best" / "lisa.json"
    meta = json.loads(path.read_text())
    section, _, name = key.partition(".")
    changed = {**meta, section: {**meta[section], name: value} if name else value}
    path.write_text(json.dumps(changed))
    try:
        found = find_checkpoint(run)
        assert not list(problems(found.model_config))
        assert isinstance(found.meta["plugin"], dict)
    except CheckpointError as error:
        assert "\n" not in str(error)
    finally:
        path.write_text(json.dumps(meta))


@pytest.mark.parametrize("extra", [{}, {"model": {"brand_new": 1}}, {"model": "elsewhere"}, {"plugin": 7}])
def test_a_newer_format_asks_for_a_newer_core(run, extra):
    path = run / "best" / "lisa.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": FORMAT_VERSION + 1, **extra}))
    assert f"format {FORMAT_VERSION + 1}" in refusal(run) and "pip install -U lisa-core" in refusal(run)


def test_a_setting_of_a_newer_core_is_named(run):
    path = run / "best" / "lisa.json"
    meta = json.loads(path.read_text())
    meta["model"]["brand_new"] = 1
    path.write_text(json.dumps(meta))
    assert "unknown setting brand_new" in refusal(run)


@pytest.mark.parametrize("left", [0, 4, 100, 0.5, 0.999])
def test_truncated_weights_are_one_line(run, left):
    path = run / "best" / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(left if left in (0, 4, 100) else left * len(content))])
    assert f"{path} is missing or damaged" in refusal(run)
    path.unlink()
    assert f"{path} is missing or damaged" in refusal(run)


@pytest.mark.parametrize("change", ["missing", "unknown", "shape"])
def test_weights_that_do_not_fit_are_one_line(run, change):
    path = run / "best" / "model.safetensors"
    state = load_file(path)
    if change == "missing":
        del state["text_sam.queries"]
    elif change == "unknown":
        state["text_sam.brand_new"] = torch.zeros(1)
    else:
        state = {key: value[:1].clone() if value.ndim else value for key, value in state.items()}
    save_file(state, path)
    assert "does not fit the model it describes" in refusal(run)


class Interrupted(BaseException):
    """Ctrl-C, or a full disk, in the middle of a save."""


def interrupt(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Let the next save end in the middle: while weights, description or a rename are on their way."""
    if where == "weights":

        def save_half(state, path, metadata):
            Path(path).write_bytes(b"half")
            raise Interrupted

        monkeypatch.setattr(checkpoint_module, "save_file", save_half)
    elif where == "description":
        monkeypatch.setattr(Path, "write_text", lambda *_, **__: (_ for _ in ()).throw(Interrupted()))
    elif where == "sync":
        monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(Interrupted()))
    else:
        rename, seen = Path.rename, []

        def rename_some(path, target):
            seen.append(path)
            if len(seen) > int(where.split()[1]):
                raise Interrupted
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", rename_some)


@pytest.mark.parametrize("where", ["weights", "description", "sync", "after 0 renames", "after 1 rename"])
def test_an_interrupted_save_leaves_the_old_checkpoint_usable(saved, run, where, monkeypatch):
    shutil.copytree(run / "best", run / "last")
    other = trained(tiny(num_prompts=2), seed=1)
    save_checkpoint(run / "last", other, {})
    newer = trained(tiny(), seed=2)
    with monkeypatch.context() as patch:
        interrupt(patch, where)
        with pytest.raises(Interrupted):
            save_checkpoint(run / "best", newer, {})
    # Still the best one, not the last.
    assert np.array_equal(drawn(load_checkpoint(run)), saved[1])
    save_checkpoint(run / "best", newer, {})
    assert np.array_equal(drawn(load_checkpoint(run / "best")), drawn(newer))
    assert sorted(path.name for path in run.iterdir()) == ["best", "last"]
