from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from lisa_core.checkpoint import find_checkpoint, load_checkpoint
from lisa_core.errors import CheckpointError, ConfigError
from lisa_core.export import export_model, is_exported
from lisa_core.merge import merge_checkpoint
from lisa_core.model import LisaModel
from lisa_core.model_config import ModelConfig, TuningConfig
from lisa_core.sam import SAM_SIZES, SamImageEncoder, SamMaskDecoder
from lisa_core.segmenter import Segmenter
from lisa_core.standalone import write_sam

FAMILIES = ["clip-llm", "llava", "paligemma", "qwenvl", "smolvlm"]
LORA = TuningConfig(vlm_use_lora=True)
FREEZE = TuningConfig(vlm_freeze=True)
SENTENCES = ["the red ring", "Which one is the zany wombat?"]


def picture() -> Image.Image:
    noise = torch.randint(0, 255, (40, 70, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Image.fromarray(noise.numpy())


def drawn(model: LisaModel | Path) -> np.ndarray:
    """What the model answers to the sentences, float32 [2,H,W]."""
    segmenter = Segmenter(model) if isinstance(model, LisaModel) else Segmenter.load(model, "cpu")
    return np.stack([result.logits for result in segmenter.set_image(picture()).segment_many(SENTENCES)])


def agree(found: np.ndarray, expected: np.ndarray, share: float = 1e-5) -> None:
    """Equal but for float32's rounding."""
    difference = abs(found - expected).max()
    assert difference <= share * max(1.0, abs(expected).max()), difference


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder for all that an exported model must do without."""
    (tmp_path / "machine").mkdir()
    torch.manual_seed(0)
    parts = [SamImageEncoder(SAM_SIZES["tiny"]), SamMaskDecoder(SAM_SIZES["tiny"])]
    write_sam(tmp_path / "machine" / "sam.safetensors", parts)
    return tmp_path / "machine"


def own_base(name: str, place: Path) -> str:
    """A copy of a small VLM in the place, under the name it is loaded by."""
    parts = name.split("+")
    root = Path(os.path.commonpath(parts)) if len(parts) > 1 else Path(name)
    shutil.copytree(root, place / "base")
    return name.replace(str(root), str(place / "base"))


def moved_away(exported: Path, place: Path) -> Path:
    """The exported folder on another machine: elsewhere, everything it was made from deleted."""
    shutil.rmtree(place)
    away = exported.parent / "another" / "machine"
    away.parent.mkdir()
    return Path(shutil.move(exported, away))


CASES = {
    **{family: (family, LORA, "vlm") for family in FAMILIES},
    **{f"{family}, frozen, on SAM's features": (family, FREEZE, "sam") for family in FAMILIES},
    "trained as a whole": ("smolvlm", TuningConfig(), "vlm"),
    "adapters on SAM": (
        "smolvlm",
        TuningConfig(vlm_use_lora=True, tune_sam_encoder="lora", tune_sam_decoder="lora"),
        "sam",
    ),
    "SAM trained": ("clip-llm", TuningConfig(vlm_freeze=True, tune_sam_encoder="train"), "sam"),
}


QUICK = ("clip-llm", "smolvlm", "llava, frozen, on SAM's features", "adapters on SAM", "SAM trained")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in CASES]
)
def test_it_needs_neither_the_run_nor_its_base_nor_sam_s_file(name, small_run, small_vlm, place):
    family, tuning, features = CASES[name]
    sam = str(place / "sam.safetensors") if features == "sam" else None
    config = ModelConfig(
        vlm=family,
        vlm_model_name=own_base(small_vlm(family), place),
        sam="tiny",
        mask_features=features,
        sam_checkpoint=sam,
    )
    masks = drawn(small_run(place / "run", config, tuning))
    folder = moved_away(export_model(place / "run", place.parent / "mine"), place)
    agree(drawn(folder), masks)
    assert is_exported(folder) and not find_checkpoint(folder).tuning.vlm_use_lora
    held = {path.name for path in folder.iterdir()}
    assert held == {"README.md", "lisa.json", "model.safetensors", "vlm", *(["sam.safetensors"] if sam else [])}
    keys = load_file(folder / "model.safetensors")
    assert not [key for key in keys if key.startswith(("vlm.model.", "vlm.vision.", "vlm.language.", "sam_encoder."))]
    assert not [key for key in keys if "lora_" in key or "optimizer" in key or "random" in key]
    told = (folder / "lisa.json").read_text() + (folder / "README.md").read_text()
    assert str(place.parent) not in told and "/home/" not in told


def test_the_states_statistics_are_kept(small_run, small_vlm, place):
    base = own_base(small_vlm("clip-llm"), place)
    config = ModelConfig(vlm="clip-llm", vlm_model_name=base, sam="tiny", fusion="late", standardize_text=True)
    masks = drawn(small_run(place / "run", config, FREEZE))
    agree(drawn(moved_away(export_model(place / "run", place.parent / "mine"), place)), masks)


@pytest.mark.parametrize("features", ["vlm", "sam"])
def test_a_tiny_model_becomes_a_plain_one(features, small_run, place):
    """Its weights were nowhere but in the checkpoint; exported, they are a checkpoint of transformers' own."""
    config = ModelConfig(vlm="qwenvl", vlm_model_name="tiny", mask_features=features)
    masks = drawn(small_run(place / "run", config, LORA))
    folder = moved_away(export_model(place / "run", place.parent / "mine"), place)
    agree(drawn(folder), masks)
    assert (folder / "vlm" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("llava", ("image_fit=squash",)),
        ("qwenvl", ("min_pixels=256", "max_pixels=1024")),
        ("smolvlm", ("image_splitting=true", "longest_edge=192")),
    ],
)
def test_the_family_s_options_are_those_it_was_trained_with(family, options, small_run, small_vlm, place):
    config = ModelConfig(vlm=family, vlm_model_name=small_vlm(family), sam="tiny")
    plain = drawn(small_run(place / "plain", config, FREEZE))
    masks = drawn(small_run(place / "run", dataclasses.replace(config, vlm_option=options), FREEZE))
    assert abs(masks - plain).max() > 1e-3, "the options change nothing, so nothing is tested"
    folder = export_model(place / "run", place / "mine")
    assert np.array_equal(drawn(folder), masks)
    # And once more: what it was saved with must not be applied twice.
    assert np.array_equal(drawn(export_model(folder, place / "again")), masks)


@pytest.mark.parametrize("architecture", ["internvl", "gemma3"])
def test_a_model_without_a_family_of_its_own(architecture, small_run, small_checkpoint, place):
    config = ModelConfig(
        vlm="generic", vlm_model_name=str(small_checkpoint(architecture)), sam="tiny", mask_features="sam"
    )
    masks = drawn(small_run(place / "run", config, LORA))
    agree(drawn(export_model(place / "run", place / "mine")), masks)


KEPT = {
    "lora": LORA,
    "lora on both": TuningConfig(use_lora=True, lora_dora=True),
    "lora beside a trained tower": TuningConfig(tune_vision="train", tune_language="lora"),
    "4bit": TuningConfig(vlm_use_lora=True, vlm_quantization="4bit"),
    "8bit": TuningConfig(vlm_use_lora=True, vlm_quantization="8bit"),
    "4bit, frozen": TuningConfig(vlm_freeze=True, vlm_quantization="4bit"),
}


@pytest.mark.parametrize("name", KEPT)
def test_adapters_can_be_kept_and_beside_quantized_weights_are(name, small_run, small_vlm, place):
    tuning = KEPT[name]
    if tuning.quantization is not None:
        pytest.importorskip("bitsandbytes", reason="4- and 8-bit loading needs bitsandbytes")
    config = ModelConfig(vlm="clip-llm", vlm_model_name=own_base(small_vlm("clip-llm"), place), sam="tiny")
    masks = drawn(small_run(place / "run", config, tuning))
    merge = None if tuning.quantization is not None else False
    folder = moved_away(export_model(place / "run", place.parent / "mine", merge), place)
    assert np.array_equal(drawn(folder), masks)
    found = find_checkpoint(folder)
    assert found.tuning.quantization == tuning.quantization
    assert found.meta["export"]["adapters"] == (tuning.language == "lora")
    weights = load_file(folder / "model.safetensors")
    assert any("lora_A" in key for key in weights) == (tuning.language == "lora")
    assert not any(key.endswith("embeddings.patch_embedding.weight") for key in weights), "the tower is there twice"


def test_kept_adapters_of_a_tiny_model_stand_beside_its_own_weights(small_run, place):
    config = ModelConfig(vlm="smolvlm", vlm_model_name="tiny", mask_features="sam")
    masks = drawn(small_run(place / "run", config, LORA))
    folder = moved_away(export_model(place / "run", place.parent / "mine", merge=False), place)
    assert np.array_equal(drawn(folder), masks)


def test_a_quantized_run_is_merged_when_that_is_asked_for(small_run, small_vlm, place):
    pytest.importorskip("bitsandbytes", reason="4- and 8-bit loading needs bitsandbytes")
    config = ModelConfig(vlm="clip-llm", vlm_model_name=small_vlm("clip-llm"), sam="tiny")
    small_run(place / "run", config, TuningConfig(vlm_use_lora=True, vlm_quantization="4bit"))
    exported = export_model(place / "run", place / "exported", merge=True)
    merged = merge_checkpoint(place / "run", place / "merged")
    assert np.array_equal(drawn(exported), drawn(merged))
    assert "weights rounded to 4bit" in (exported / "README.md").read_text()


def test_what_was_merged_or_exported_can_be_exported_again(small_run, small_vlm, place):
    config = ModelConfig(vlm="smolvlm", vlm_model_name=small_vlm("smolvlm"), sam="tiny")
    model = small_run(place / "run", config, LORA)
    merged = merge_checkpoint(place / "run", place / "merged", "bfloat16")
    first = export_model(merged, place / "first")
    second = export_model(first, place / "second")
    kept = export_model(export_model(place / "run", place / "kept", merge=False), place / "late")
    for folder in (first, second):
        assert np.array_equal(drawn(folder), drawn(merged))
        meta = json.loads((folder / "lisa.json").read_text())
        assert meta["run"]["test"]["giou"] == 0.3911 and meta["rounded_to"] == "bfloat16"
        assert "rounded to bfloat16 after training" in (folder / "README.md").read_text()
    agree(drawn(kept), drawn(model))
    assert "my_scenes" in (kept / "README.md").read_text()


def cached_base(small: str, cache: Path, name: str = "acme/small-vlm") -> str:
    """Put a small VLM into a hub cache's layout, as if it had been downloaded; returns its hub name."""
    repository = cache / f"models--{name.replace('/', '--')}"
    commit = "a" * 40
    shutil.copytree(small, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    return name


@pytest.fixture
def hub_cache(place, monkeypatch) -> Path:
    """A hub cache of this test's own, offline."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(place / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return place / "cache"


def test_without_its_base_it_is_small_and_names_it(small_run, small_vlm, place, hub_cache):
    name = cached_base(small_vlm("smolvlm"), hub_cache)
    config = ModelConfig(
        vlm="smolvlm",
        vlm_model_name=name,
        sam="tiny",
        mask_features="sam",
        sam_checkpoint=str(place / "sam.safetensors"),
    )
    masks = drawn(small_run(place / "run", config, LORA))
    folder = export_model(place / "run", place.parent / "mine", base=False)
    shutil.rmtree(place / "run")
    (place / "sam.safetensors").unlink()
    assert np.array_equal(drawn(folder), masks)
    meta = json.loads((folder / "lisa.json").read_text())
    assert meta["model"]["vlm_model_name"] == name and meta["base"] == [name]
    assert sorted(path.name for path in folder.iterdir()) == [
        *("README.md", "lisa.json", "model.safetensors", "sam.safetensors"),
    ]
    assert not [key for key in load_file(folder / "model.safetensors") if key.endswith("base_layer.weight")]
    assert str(place.parent) not in (folder / "lisa.json").read_text()
    shutil.rmtree(hub_cache)
    with pytest.raises(ConfigError, match=name):
        load_checkpoint(folder)


def test_the_base_s_hub_name_outlives_merging_and_training_on(small_run, small_vlm, place, hub_cache):
    name = cached_base(small_vlm("smolvlm"), hub_cache)
    small_run(place / "run", ModelConfig(vlm="smolvlm", vlm_model_name=name, sam="tiny"), LORA)
    merged = merge_checkpoint(place / "run", place / "merged")
    config = ModelConfig(vlm="smolvlm", vlm_model_name=str(merged / "vlm"), sam="tiny")
    small_run(place / "second", config, LORA)
    folder = export_model(place / "second", place / "mine")
    assert json.loads((folder / "lisa.json").read_text())["base"] == [name]
    assert f"base_model: {name}\n" in (folder / "README.md").read_text()


@pytest.mark.parametrize("family", ["smolvlm", "clip-llm"])
def test_that_it_began_with_random_weights_outlives_merging_and_training_on(family, small_run, place):
    small_run(place / "run", ModelConfig(vlm=family, vlm_model_name="tiny"), LORA)
    merged = merge_checkpoint(place / "run", place / "merged")
    halves = ["vlm/vision", "vlm/language"] if family == "clip-llm" else ["vlm"]
    name = "+".join(str(merged / half) for half in halves)
    small_run(place / "second", ModelConfig(vlm=family, vlm_model_name=name, sam="tiny"), LORA)
    folder = export_model(place / "second", place / "mine")
    assert json.loads((folder / "lisa.json").read_text())["from_scratch"] is True
    card = (folder / "README.md").read_text()
    assert "was trained from random weights" in card and "not recorded.\n" not in card
    told = "+".join(f"merged/{half}" for half in halves)
    assert f"| `--vlm-model-name` | `{told}` |" in card and str(place) not in card


def test_choices_that_exclude_one_another_are_one_line(small_run, small_vlm, place):
    small_run(place / "frozen", ModelConfig(vlm="smolvlm", vlm_model_name=small_vlm("smolvlm"), sam="tiny"), FREEZE)
    small_run(place / "tiny", ModelConfig(vlm="smolvlm", vlm_model_name="tiny"), LORA)
    for run, choices, said in (
        ("frozen", {"merge": True}, "has no adapters to merge: leave --merge out"),
        ("frozen", {"base": False}, f"{small_vlm('smolvlm')} is a folder of this machine"),
        ("tiny", {"base": False}, "a tiny model has no base"),
        ("tiny", {"base": False, "merge": True}, "exclude one another"),
        ("tiny", {"base": False, "dtype": "float16"}, "--no-base leaves out"),
    ):
        with pytest.raises(ConfigError) as caught:
            export_model(place / run, place / "out", **choices)
        assert said in str(caught.value) and "\n" not in str(caught.value)
        assert not (place / "out").exists()
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        export_model(place / "absent", place / "out")


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1_000, 60_000, 2_000_000])
def test_a_full_disk_is_one_line_and_leaves_nothing(limit, small_run, small_vlm, place):
    """The operating system refuses to let any file grow beyond the limit: descriptions, tokenizer or weights."""
    small_run(place / "run", ModelConfig(vlm="smolvlm", vlm_model_name=small_vlm("smolvlm"), sam="tiny"), LORA)
    program = (
        "import resource, signal, sys\n"
        "from lisa_core.export import export_model\n"
        "from lisa_core.errors import CheckpointError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "try:\n    export_model('run', 'out')\n"
        "except CheckpointError as error:\n    print(error)\n"
    )
    process = subprocess.run([sys.executable, "-c", program], cwd=place, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith(f"{place / 'out'} cannot be written (") and process.stdout.count("\n") == 1
    assert "free space" in process.stdout
    assert sorted(path.name for path in place.iterdir()) == ["run", "sam.safetensors"]
