"""The model that comes with this package: what is in its folder, and that its name does wherever a model's does."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import load_file, save_file

from lisa_core.build import build_model
from lisa_core.checkpoint import find_checkpoint, start_from, vet_checkpoint
from lisa_core.config_file import resolve
from lisa_core.data.synth import SynthConfig, synthesize
from lisa_core.errors import CheckpointError, ConfigError
from lisa_core.export import is_exported
from lisa_core.hub import local_model, push_to_hub
from lisa_core.model_config import ModelConfig
from lisa_core.packaged import PACKAGED, PRETRAINED, is_packaged, model_folder
from lisa_core.segmenter import Segmenter
from lisa_core.staging import size_of

ROOT = Path(__file__).parents[1]
TINY = PRETRAINED / "tiny"
SENTENCE = "the red ring"


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty current directory with a picture."""
    noise = np.random.default_rng(0).integers(0, 256, (45, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def drawn(segmenter: Segmenter) -> np.ndarray:
    return segmenter.set_image("photo.png").segment(SENTENCE).logits


def test_the_folder_is_small_exported_and_names_nothing_outside():
    assert {path.name for path in PRETRAINED.iterdir()} == {*PACKAGED}
    assert size_of(TINY) <= 12_000_000
    assert is_exported(TINY)
    vet_checkpoint(find_checkpoint(TINY), portable=True)
    for path in TINY.rglob("*"):
        assert path.stat().st_mode & 0o444 == 0o444, f"{path} is for its owner alone"
        if path.suffix in (".json", ".md"):
            text = path.read_text(encoding="utf-8")
            assert "/work/" not in text and "/root/" not in text and "/home/" not in text and "/tmp/" not in text


@pytest.mark.parametrize("page", ["README.md", "docs/how-good.md"])
def test_pages_tell_the_figures_of_the_card(page):
    results = ModelCard.load(TINY / "README.md").data.eval_results
    found = {(one.metric_type, one.dataset_split): one.metric_value for one in results}
    text = (ROOT / page).read_text(encoding="utf-8")
    assert f"| gIoU | {found['giou', 'val']:.3f} | {found['giou', 'test']:.3f} |" in text
    assert f"| listening accuracy | {found['listening', 'val']:.1%} | {found['listening', 'test']:.1%} |" in text


def test_the_card_tells_how_to_make_it_again():
    card = ModelCard.load(TINY / "README.md")
    assert card.data.license == "apache-2.0"
    measured = {(result.dataset_split, result.metric_type) for result in card.data.eval_results}
    assert measured == {(split, name) for split in ("val", "test") for name in ("giou", "ciou", "listening")}
    for words in (
        *("`python examples/lisa_tiny/train_tiny.py", "sha256 of the scenes", "minutes", "torch", "`--vlm`"),
        *("It has never seen a photograph", "No third-party weights or pictures"),
    ):
        assert words in card.text, f"nothing about {words}"
    assert (ROOT / "examples" / "lisa_tiny" / "train_tiny.py").is_file()


def test_weights_are_stored_in_half_precision_and_computed_in_whole():
    stored = [load_file(path) for path in TINY.rglob("*.safetensors")]
    assert {value.dtype for tensors in stored for value in tensors.values()} <= {torch.float16, torch.int64}
    model = Segmenter.load(TINY, "cpu").model
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_a_folder_of_that_name_is_meant_first(here):
    assert is_packaged("tiny") and model_folder("tiny") == TINY == local_model("tiny")
    assert not is_packaged("tiny/") and not is_packaged("other") and model_folder("other") == Path("other")
    (here / "tiny").write_text("a file is no folder")
    assert model_folder("tiny") == TINY
    (here / "tiny").unlink()
    (here / "tiny").mkdir()
    assert model_folder("tiny") == Path("tiny")
    with pytest.raises(CheckpointError, match=r"no checkpoint at tiny: .*hidden by this folder"):
        Segmenter.load("tiny", "cpu")
    with pytest.raises(CheckpointError, match=r"lisa train`$"):
        Segmenter.load("other", "cpu")


def test_it_loads_by_its_name(here):
    by_name = Segmenter.load("tiny", "cpu")
    assert by_name.folder == TINY and by_name.model.config.vlm == "clip-llm"
    np.testing.assert_array_equal(drawn(by_name), drawn(Segmenter.load(TINY, "cpu")))
    with pytest.raises(CheckpointError, match="--revision is of the hub's models, and tiny is none"):
        Segmenter.load("tiny", "cpu", revision="main")


def test_training_starts_from_all_of_its_weights(here):
    config = resolve({"init_from": "tiny"}).config.model
    assert (config.vlm, config.vlm_model_name, config.sam) == ("clip-llm", "tiny", "tiny")
    torch.manual_seed(1)
    model = build_model(config)
    packaged = Segmenter.load("tiny", "cpu")
    assert np.abs(drawn(Segmenter(model)) - drawn(packaged)).max() > 0.1
    assert start_from(model, "tiny") == []
    np.testing.assert_array_equal(drawn(Segmenter(model)), drawn(packaged))


def test_another_base_keeps_its_own_family():
    for given in ({"vlm_model_name": "elsewhere"}, {"image_encoder_model_name": "a", "text_encoder_model_name": "b"}):
        model = resolve({"init_from": "tiny", **given}).config.model
        assert model.vlm == "auto" and model.vlm_model_name == given.get("vlm_model_name")
        assert model.sam == "tiny"
    assert resolve({"init_from": "tiny", "vlm": "smolvlm"}).config.model.vlm == "smolvlm"
    with pytest.raises(CheckpointError, match="is a clip-llm model and this run's is smolvlm"):
        start_from(build_model(ModelConfig(vlm="smolvlm", vlm_model_name="tiny")), "tiny")


@pytest.mark.slow
def test_every_command_takes_the_name(here, scenes, run_lisa):
    segmented = run_lisa("segment", "tiny", "photo.png", SENTENCE, "-o", "out")
    assert segmented.returncode == 0, segmented.stderr
    assert "Warning" not in segmented.stderr and (here / "out" / "photo.json").is_file()
    evaluated = run_lisa("eval", "tiny", "--data", str(scenes), "--resamples", "0")
    assert evaluated.returncode == 0, evaluated.stderr
    assert (here / "eval_val.json").is_file(), "not into the package"
    trained = run_lisa(
        *("train", "--init-from", "tiny", "--data", str(scenes), "--output-dir", "run", "--num-epochs", "1"),
        *("--device", "cpu", "--learning-rate", "1e-6"),
    )
    assert trained.returncode == 0, trained.stderr
    assert "weights from tiny; 0 tensors start anew" in trained.stdout + trained.stderr
    exported = run_lisa("export", "tiny", "mine")
    assert exported.returncode == 0, exported.stderr
    for name in ("mine", "run"):
        assert run_lisa("segment", name, "photo.png", SENTENCE, "-o", name + "_out").returncode == 0
    merged = run_lisa("merge", "tiny", "merged")
    assert merged.returncode == 2 and "has no adapters to merge: `lisa export tiny merged`" in merged.stderr


def test_pushing_takes_the_name(here):
    with pytest.raises(CheckpointError, match="nowhere is no name on the hub"):  # after all files were looked at
        push_to_hub("tiny", "nowhere")


@pytest.mark.slow
def test_the_figures_of_the_card_are_those_it_reaches(here):
    from lisa_core.data import open_dataset
    from lisa_core.data.synth import SynthConfig, synthesize
    from lisa_core.evaluator import evaluate

    synthesize(here / "scenes", SynthConfig(train=0, val=240, test=0))
    segmenter = Segmenter.load("tiny", "cpu")
    found = evaluate(segmenter.model, open_dataset(here / "scenes", "val", "first"), segmenter.collator, blank=False)
    results = ModelCard.load(TINY / "README.md").data.eval_results
    told = {result.metric_type: result.metric_value for result in results if result.dataset_split == "val"}
    assert found.giou == pytest.approx(told["giou"], abs=0.003)
    assert found.listening == pytest.approx(told["listening"], abs=0.01)


@pytest.fixture(scope="module")
def recipe():
    path = ROOT / "examples" / "lisa_tiny" / "train_tiny.py"
    location = importlib.util.spec_from_file_location("train_tiny", path)
    assert location is not None and location.loader is not None
    module = importlib.util.module_from_spec(location)
    location.loader.exec_module(module)
    return module


def test_the_recipe_s_settings_are_settings(recipe, tmp_path):
    import yaml

    found = yaml.safe_load(recipe.RECIPE.read_text())
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(found["training"]))
    config = resolve({"data": "scenes"}, str(tmp_path / "train.yaml")).config
    config.validate()
    assert (config.model.vlm, config.model.vlm_model_name) == ("clip-llm", "tiny")
    assert (
        set(found["scenes"]) == {"train", "val", "test", "seed", "comparing"}
        and found["scenes"]["seed"] != recipe.DEMO["seed"]
    )


def test_the_recipe_rounds_what_can_be_rounded(recipe, tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.tensor([1.0, 1e-3]), "b": torch.arange(3)}, path)
    assert recipe.halve(path) == 5
    found = load_file(path)
    assert found["a"].dtype == torch.float16 and found["b"].dtype == torch.int64
    save_file({"a": torch.tensor([1e6])}, path)
    with pytest.raises(ValueError, match="too large for half precision"):
        recipe.halve(path)


def test_the_recipe_refuses_the_scenes_it_is_measured_on(recipe, monkeypatch, here):
    monkeypatch.setattr(sys, "argv", ["train_tiny.py", "--scenes-seed", "0", "--work", "work"])
    with pytest.raises(SystemExit, match="choose another seed"):
        recipe.main()
    assert not (here / "work").exists()


def test_the_recipe_finds_pictures_that_are_trained_on_and_measured_on(recipe, tmp_path):
    for folder, settings in {"a": {"train": 3, "seed": 1}, "b": {"train": 2, "val": 2, "seed": 2}}.items():
        synthesize(tmp_path / folder, SynthConfig(**{"val": 0, "test": 0, **settings}))
    assert recipe.shared_pictures(tmp_path / "a", tmp_path / "b") == []
    copy = tmp_path / "b" / "val" / "scene_00009_0.jpg"
    shutil.copy(tmp_path / "a" / "train" / "scene_00001_0.jpg", copy)
    assert recipe.shared_pictures(tmp_path / "a", tmp_path / "b") == [
        f"{tmp_path / 'a' / 'train' / 'scene_00001_0.jpg'} is {copy}"
    ]


def test_the_recipe_does_not_train_on_what_it_is_measured_on(recipe, monkeypatch, tmp_path):
    monkeypatch.setattr(
        sys, "argv", ["train_tiny.py", "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]
    )
    monkeypatch.setattr(recipe, "scenes", lambda folder, settings: {})
    monkeypatch.setattr(recipe, "shared_pictures", lambda ours, theirs: ["a is b"])
    monkeypatch.setattr(recipe, "lisa", lambda *arguments: pytest.fail(f"lisa {arguments[0]} was run"))
    with pytest.raises(SystemExit, match="measured on what it was trained on: a is b"):
        recipe.main()


def test_the_recipe_packages_only_what_is_small_and_whole(recipe, tmp_path, monkeypatch):
    made = tmp_path / "made"
    shutil.copytree(TINY, made)
    recipe.package(made, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "lisa.json").read_text())["export"]
    monkeypatch.setattr(recipe, "LARGEST", 1000)
    with pytest.raises(ValueError, match="more than 1000"):
        recipe.package(made, tmp_path / "out")
    (made / "vlm" / "evil.py").write_text("")
    with pytest.raises(CheckpointError, match=r"evil\.py does not belong"):
        recipe.package(made, tmp_path / "out")
    assert (tmp_path / "out" / "lisa.json").is_file()


def test_an_unknown_setting_of_a_start_is_still_refused():
    with pytest.raises(ConfigError, match="--preset none is not known"):
        resolve({"init_from": "tiny"}, preset="none")
