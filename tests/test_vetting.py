from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from lisa_core.checkpoint import find_checkpoint, load_checkpoint
from lisa_core.errors import CheckpointError, LisaError
from lisa_core.export import export_model
from lisa_core.model_config import ModelConfig, TuningConfig
from lisa_core.vetting import vet


class Bomb:
    """What a pickle can be: a program that runs when it is read."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.fixture(scope="module")
def exported(small_run, small_vlm, tmp_path_factory) -> Path:
    """An exported folder; not to be written to."""
    root = tmp_path_factory.mktemp("exported")
    config = ModelConfig(vlm="smolvlm", vlm_model_name=small_vlm("smolvlm"), sam="tiny", mask_features="sam")
    small_run(root / "run", config, TuningConfig(vlm_use_lora=True))
    return export_model(root / "run", root / "model")


@pytest.fixture
def folder(exported, tmp_path) -> Path:
    """A copy of it, to be tampered with."""
    return Path(shutil.copytree(exported, tmp_path / "model"))


def refusal(folder: Path) -> str:
    with pytest.raises(LisaError) as caught:
        load_checkpoint(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def exploded(tmp_path) -> Path:
    """Exists once a planted program ran."""
    return tmp_path / "exploded"


@pytest.mark.parametrize("beside", [True, False])
def test_a_planted_pickle_is_never_read(beside, folder, exploded):
    (folder / "vlm" / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(exploded)))
    if not beside:
        (folder / "vlm" / "model.safetensors").unlink()
    assert "vlm/pytorch_model.bin does not belong into a model's folder" in refusal(folder)
    assert not exploded.exists()


def test_a_pickle_under_another_name_is_never_read(folder, exploded):
    """transformers reads the weights that `transformers_weights` in a config names, whatever they are."""
    (folder / "vlm" / "weights.txt").write_bytes(pickle.dumps(Bomb(exploded)))
    edit(folder / "vlm" / "config.json", transformers_weights="weights.txt")
    assert "vlm/config.json names the weights 'weights.txt'" in refusal(folder)
    assert not exploded.exists()


@pytest.mark.parametrize("shard", ["model.bin", "../model.safetensors", "/tmp/model.safetensors", "shard.txt"])
def test_an_index_names_safetensors_beside_it(folder, shard):
    (folder / "vlm" / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {"lm_head.weight": shard}}
    (folder / "vlm" / "model.safetensors.index.json").write_text(json.dumps(index))
    assert f"names the weights {shard!r}" in refusal(folder)


def test_a_program_beside_the_config_is_never_run(folder, exploded):
    code = f"from pathlib import Path\nPath({str(exploded)!r}).touch()\n"
    (folder / "vlm" / "modeling.py").write_text(code)
    edit(folder / "vlm" / "config.json", auto_map={"AutoConfig": "modeling.Config"}, model_type="brand_new")
    assert "modeling.py does not belong" in refusal(folder)
    # Nor from where nobody looks at it first: a folder given as a base.
    base = folder.parent / "base"
    shutil.copytree(folder / "vlm", base)
    shutil.rmtree(folder / "vlm")
    described = {key: value for key, value in describe(folder).items() if key not in ("base", "export")}
    described["model"]["vlm_model_name"] = str(base)
    (folder / "lisa.json").write_text(json.dumps(described))  # as a run's own checkpoint may
    assert "cannot load" in refusal(folder)
    assert not exploded.exists()


def test_kernels_and_adapters_from_elsewhere_are_not_fetched(folder):
    text_config = json.loads((folder / "vlm" / "config.json").read_text())["text_config"]
    edit(folder / "vlm" / "config.json", text_config={**text_config, "attn_implementation": "evil/kernel"})
    assert "asks for the kernel 'evil/kernel'" in refusal(folder)
    shutil.copy(folder / "lisa.json", folder / "vlm" / "adapter_config.json")
    assert "adapter_config.json does not belong" in refusal(folder)


@pytest.mark.parametrize("name", ["./../base", "./vlm/../../base", "./vlm/vision+./../base"])
def test_a_name_leads_nowhere_else(folder, name):
    edit(folder / "lisa.json", model={**describe(folder)["model"], "vlm_model_name": name})
    with pytest.raises(CheckpointError, match="outside of it"):
        find_checkpoint(folder)


@pytest.mark.parametrize("merged", [True, False])
@pytest.mark.parametrize("setting", ["vlm_model_name", "sam_checkpoint", "pair"])
@pytest.mark.parametrize("kind", ["absolute", "relative", "of the current folder"])
def test_what_is_shared_names_its_own_files_or_the_hub_s(kind, setting, merged, folder, exploded, monkeypatch):
    """A base or a file of SAM's elsewhere on this machine would be read without having been looked at."""
    monkeypatch.chdir(folder.parent)
    base = Path(shutil.copytree(folder / "vlm", folder.parent / "org" / "base"))
    (base / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(exploded)))
    (base / "model.safetensors").unlink()
    name = {"absolute": str(base), "relative": "../org/base", "of the current folder": "org/base"}[kind]
    if setting == "pair":
        edit(folder / "lisa.json", model={**describe(folder)["model"], "vlm_model_name": f"org/eyes+{name}"})
    else:
        edit(folder / "lisa.json", model={**describe(folder)["model"], setting: name})
    if merged:  # as `lisa merge` writes it
        described = {key: value for key, value in describe(folder).items() if key != "export"}
        (folder / "lisa.json").write_text(json.dumps(described))
    said = refusal(folder)
    assert f"names {name!r}, which is neither inside of it nor a model on the hub" in said or "outside of it" in said
    assert not exploded.exists()


def test_a_run_names_folders_of_its_machine(small_run, small_vlm, tmp_path):
    config = ModelConfig(vlm="smolvlm", vlm_model_name=small_vlm("smolvlm"), sam="tiny")
    small_run(tmp_path / "run", config, TuningConfig(vlm_freeze=True))
    checkpoint = find_checkpoint(tmp_path / "run")
    assert Path(checkpoint.model_config.vlm_model_name or "").is_absolute()
    load_checkpoint(tmp_path / "run")


@pytest.fixture
def named_base(folder, tmp_path, monkeypatch) -> Path:
    """The snapshot of a base that the folder names on the hub, in the hub's cache; no network."""
    repository = tmp_path / "cache" / "models--org--base"
    snapshot = Path(shutil.copytree(folder / "vlm", repository / "snapshots" / ("a" * 40)))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    edit(folder / "lisa.json", model={**describe(folder)["model"], "vlm_model_name": "org/base"})
    return snapshot


def test_a_base_on_the_hub_is_read_as_safetensors_only(named_base, folder):
    load_checkpoint(folder)
    torch.save(load_file(named_base / "model.safetensors"), named_base / "pytorch_model.bin")
    (named_base / "model.safetensors").unlink()
    assert "cannot load org/base: " in refusal(folder)


def test_a_base_on_the_hub_is_not_a_way_round(named_base, folder):
    edit(named_base / "config.json", configuration_files=["config.4.0.0.json"])
    assert "config.json of org/base names the configs ['config.4.0.0.json']" in refusal(folder)


@pytest.mark.parametrize("named", [True, False])
def test_a_config_for_other_versions_is_no_way_round(named, folder, exploded):
    """transformers reads the last of `configuration_files` that fits its version, in place of `config.json`."""
    config = json.loads((folder / "vlm" / "config.json").read_text())
    other = {**config, "transformers_weights": "weights.txt"}
    (folder / "vlm" / "config.4.0.0.json").write_text(json.dumps(other))
    (folder / "vlm" / "weights.txt").write_bytes(pickle.dumps(Bomb(exploded)))
    if named:
        edit(folder / "vlm" / "config.json", configuration_files=["config.4.0.0.json"])
        assert "do not trust this model" in refusal(folder)
        (folder / "vlm" / "config.4.0.0.json").unlink()
        assert "config.json names the configs ['config.4.0.0.json']" in refusal(folder)
    else:
        assert "config.4.0.0.json names the weights 'weights.txt'" in refusal(folder)
    assert not exploded.exists()


def test_every_named_part_is_looked_at(folder, exploded):
    (folder / "vlm").rename(folder / "other")
    (folder / "other" / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(exploded)))
    edit(folder / "lisa.json", model={**describe(folder)["model"], "vlm_model_name": "./other"})
    assert "other/pytorch_model.bin does not belong" in refusal(folder)
    (folder / "other" / "pytorch_model.bin").rename(folder / "sam.pth")
    edit(folder / "lisa.json", model={**describe(folder)["model"], "sam_checkpoint": "./sam.pth"})
    assert "sam.pth is not safetensors" in refusal(folder)
    assert not exploded.exists()


@pytest.mark.parametrize("package", ["x; rm -rf ~", "-r evil.txt", "a\x1b[31m", "git+https://evil", "", "a\n", None, 3])
def test_no_command_of_theirs_is_printed(package, folder):
    edit(folder / "lisa.json", plugin={"distribution": package}, model={**describe(folder)["model"], "vlm": "\x1b[2Jx"})
    said = refusal(folder)
    assert "pip install" not in said and said.isprintable() and "ask who made it" in said
    edit(folder / "lisa.json", plugin={"distribution": "lisa-x.y_z"})
    assert "`pip install lisa-x.y_z`" in refusal(folder)


def test_a_linked_folder_is_not_followed(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (folder / "vlm" / "more").symlink_to(tmp_path / "elsewhere")
    assert "vlm/more does not belong" in refusal(folder)


def test_hidden_files_of_file_managers_are_let_be(folder):
    (folder / "vlm" / ".DS_Store").write_bytes(b"\0")
    load_checkpoint(folder)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["weight_map", "a", ""]), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(JSON, st.sampled_from(["config.json", "model.safetensors.index.json"]))
def test_no_description_crashes_it(tmp_path, content, name):
    (tmp_path / name).write_text(json.dumps(content))
    try:
        vet(tmp_path)
    except CheckpointError as error:
        assert "\n" not in str(error)
    (tmp_path / name).unlink()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_description_is_one_line(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"config\.json is damaged"):
        vet(tmp_path)


def describe(folder: Path) -> dict:
    return json.loads((folder / "lisa.json").read_text())


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
