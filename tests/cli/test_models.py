"""`lisa models`: what there is, and the figures of one of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from huggingface_hub import constants

from lisa_core import catalogue
from lisa_core.catalogue import short_count
from lisa_core.registry import Registry, get_registry


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """An empty hub cache; offline."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return folder


def listed(invoke, *args: str) -> dict:
    result = invoke("models", *args, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_the_list_has_every_installed_family_with_its_checkpoints(invoke):
    found = listed(invoke)
    families = {family["name"]: family for family in found["families"]}
    assert set(families) == set(get_registry().vlms)
    for name, entry in get_registry().vlms.items():
        record = families[name]
        assert (record["package"], record["geometry"]) == (entry.record.distribution, entry.spec.geometry)
        assert [known["name"] for known in record["checkpoints"]] == [known.name for known in entry.spec.checkpoints]
        assert [option["name"] for option in record["options"]] == [option.name for option in entry.spec.options]
    clip, qwen = families["clip-llm"]["checkpoints"]
    assert (clip["parameters"], clip["vision_dim"], clip["text_dim"]) == (149_620_737, 768, None)
    assert (qwen["parameters"], qwen["vision_dim"], qwen["text_dim"]) == (596_049_920, None, 1024)
    (sam,) = found["sam"]
    assert (sam["name"], sam["parameters"], sam["vision_dim"]) == ("facebook/sam-vit-base", 93_735_728, 256)


def test_the_table_has_a_line_for_each_checkpoint(invoke):
    result = invoke("models")
    assert result.exit_code == 0
    for entry in get_registry().vlms.values():
        for known in entry.spec.checkpoints:
            (line,) = [line for line in result.stdout.splitlines() if f"{known.name} " in line and "offline" in line]
            assert short_count(known.parameters) in line and known.licence in line
            assert ("(gated)" in line) == known.gated
    assert "forbids the download" in result.stdout and "--sam-checkpoint" in result.stdout
    assert "generic: any other image-text-to-text model" in result.stdout


@pytest.mark.parametrize(
    ("count", "text"), [(7_063_427_072, "7.06B"), (596_049_920, "596.0M"), (999_999_999, "1.00B"), (944_640, "0.9M")]
)
def test_large_numbers_are_told_in_short(count, text):
    assert short_count(count) == text


def test_weights_in_the_cache_are_told_with_their_path(invoke, cache):
    repo = cache / "models--Qwen--Qwen3-0.6B-Base"
    snapshot = repo / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("abc")
    (snapshot / "model.safetensors").touch()
    clip_llm = next(family for family in listed(invoke)["families"] if family["name"] == "clip-llm")
    _, qwen = clip_llm["checkpoints"]
    assert qwen["weights"] == {
        "kind": "cache",
        "path": str(snapshot),
        "line": f"already in the hub cache: {snapshot}",
    }
    assert f"Qwen/Qwen3-0.6B-Base: already in the hub cache: {snapshot}" in invoke("models").stdout


def test_the_environment_s_cache_and_offline_switch_are_honoured(run_lisa, tmp_path):
    for offline, line in (("1", "HF_HUB_OFFLINE forbids the download"), ("0", "would be downloaded from the hub into")):
        result = run_lisa("models", HF_HOME=str(tmp_path / "home"), HF_HUB_OFFLINE=offline, LISA_PLUGINS="")
        assert result.returncode == 0 and not result.stderr
        assert line in result.stdout and str(tmp_path / "home" / "hub") in result.stdout


def test_known_plugins_that_are_not_installed_have_their_pip_line(invoke, monkeypatch):
    registry = Registry({"LISA_PLUGINS": ""})
    registry.plugins = registry.plugins[:1]
    monkeypatch.setattr(catalogue, "get_registry", lambda: registry)
    assert listed(invoke)["not_installed"]["qwenvl"] == "lisa-qwenvl"
    assert "llava is not installed: pip install lisa-llava" in invoke("models").stdout


def test_what_is_broken_is_told_below_the_list(site, run_lisa):
    site.fixture("broken_import")
    result = run_lisa("models", LISA_PLUGINS="broken_import")
    (line,) = [line for line in result.stdout.splitlines() if "cannot be used" in line and "broken" in line]
    assert "lisa-broken-import 0.3.0 cannot be used: cannot be imported: ModuleNotFoundError" in line


def test_a_family_shows_its_card_and_the_figures_of_its_default_checkpoint(invoke):
    card = listed(invoke, "smolvlm")
    (architecture,) = card["architectures"]
    assert architecture["name"] == card["family"]["default_checkpoint"] == "HuggingFaceTB/SmolVLM-Instruct"
    assert architecture["class_name"] == "Idefics3ForConditionalGeneration"
    assert (architecture["vision_dim"], architecture["text_dim"]) == (1152, 2048)
    assert (architecture["parameters"], architecture["lora_parameters"]) == (2_246_272_880, 3_145_728)
    assert len(architecture["lora_layers"]) == 48 and architecture["licence"] == "apache-2.0"
    assert architecture["weights"]["kind"] == "nowhere" and "lisa-smolvlm" in architecture["config"]
    assert "QUESTION" in card["prompt"] and card["missing"] is None
    text = invoke("models", "smolvlm").stdout
    for said in (
        "Idefics3ForConditionalGeneration",
        "2,246,272,880 (2.25B)",
        "3,145,728 trainable",
        "model.text_model.layers.*.self_attn.q_proj (24)",
        "--vlm-option image_splitting=VALUE",
        card["family"]["geometry"],
    ):
        assert said in text


def test_the_traditional_pair_shows_both_halves(invoke):
    card = listed(invoke, "clip-llm")
    assert [half["parameters"] for half in card["architectures"]] == [149_620_737, 596_049_920]
    assert card["architectures"][0]["used_parameters"] == 85_799_424
    pair = listed(invoke, card["family"]["default_checkpoint"])
    assert pair["architectures"] == card["architectures"] and pair["family"] == card["family"]


def test_sam_is_a_part_and_no_family(invoke):
    card = listed(invoke, "facebook/sam-vit-base")
    assert card["family"] is None and card["architectures"][0]["parameters"] == 93_735_728
    text = invoke("models", "facebook/sam-vit-base").stdout
    assert "SamModel" in text and "--sam-checkpoint" in text and "LoRA" not in text


def test_a_local_folder_shows_what_it_would_give(invoke, tmp_path):
    config = {
        "model_type": "idefics3",
        "text_config": {"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    card = listed(invoke, str(tmp_path), "--lora-r", "4")
    (architecture,) = card["architectures"]
    assert (card["family"]["name"], architecture["text_dim"], architecture["lora_r"]) == ("smolvlm", 64, 4)
    assert architecture["lora_parameters"] == 2 * 2 * 4 * (64 + 64)
    assert architecture["weights"]["line"] == f"local folder {tmp_path}" and architecture["licence"] is None


def test_half_a_pair_is_told_as_such(invoke, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    assert listed(invoke, str(tmp_path))["family"] is None
    assert "no vision-language model, but one half of a --vlm clip-llm" in invoke("models", str(tmp_path)).stdout


def test_a_family_without_a_checkpoint_is_shown_without_figures(invoke):
    card = listed(invoke, "generic")
    assert card["architectures"] == [] and card["prompt"] is None
    assert "masks are drawn on SAM's features alone" in invoke("models", "generic").stdout


@pytest.mark.slow
def test_a_default_checkpoint_that_is_not_at_hand_says_why_there_are_no_figures(site, run_lisa):
    site.write(
        "lisa_echo",
        "from lisa_core import VLMSpec, hookimpl\n\n@hookimpl\ndef lisa_vlms():\n"
        "    return [VLMSpec('echo', 'lisa_core.clip_llm:ClipLLM', 'acme/echo', ('echo',), 'Echo')]",
    )
    result = run_lisa("models", "echo", LISA_PLUGINS="lisa_echo", HF_HUB_OFFLINE="1", HF_HOME="home")
    assert result.returncode == 0, result.stderr
    assert (
        "no figures of its default checkpoint: acme/echo is no local folder and not in the hub cache" in result.stdout
    )
    assert "family echo (lisa-echo 1.0): Echo" in result.stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["frobnicator"], "'frobnicator' is no installed family (clip-llm, generic,"),
        (["acme/absent"], "acme/absent is no local folder and not in the hub cache"),
        (["not a name"], "neither a folder nor a hub name"),
        (["openai/clip-vit-base-patch16+openai/clip-vit-base-patch16"], "is no pair for clip-llm"),
        (["llava", "--lora-r", "0"], "--lora-r"),
    ],
)
def test_what_is_not_known_is_one_line(refusal, args, said):
    assert said in refusal("models", *args)


def test_a_family_that_is_broken_or_not_installed_has_its_line(site, run_lisa):
    site.fixture("broken_import")
    result = run_lisa("models", "broken_import", LISA_PLUGINS="broken_import")
    assert result.returncode == 2 and "a_module_nobody_has" in result.stderr
    result = run_lisa("models", "llava", LISA_PLUGINS="")
    assert result.returncode == 2 and result.stderr.count("\n") == 1 and "llava" in result.stderr
