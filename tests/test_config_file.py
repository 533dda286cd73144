"""Settings from presets, files, earlier runs and flags."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lisa_core.build import build_model
from lisa_core.config import SECTIONS, TrainConfig
from lisa_core.config_file import _KEPT, as_plain, resolve, to_yaml
from lisa_core.errors import ConfigError
from lisa_core.model_config import ModelConfig
from lisa_core.presets import PRESETS
from lisa_core.settings_file import FIELD_SECTION, read_settings

ROOT = Path(__file__).parents[1]
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12)


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    if get_origin(hint) is Literal:
        return st.sampled_from(get_args(hint))
    kinds = [kind for kind in get_args(hint) or (hint,) if kind is not Ellipsis]
    if get_origin(hint) is tuple:
        return st.lists(WORDS, max_size=3).map(tuple)
    made = {
        int: st.integers(-10, 10**6),
        float: st.floats(allow_nan=False, allow_infinity=False),
        str: WORDS,
        bool: st.booleans(),
        type(None): st.none(),
    }
    return st.one_of([made[kind] for kind in kinds])


SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        item.name: values_of(get_type_hints(cls)[item.name])
        for cls in SECTIONS.values()
        for item in dataclasses.fields(cls)
        if item.name != "resume"
    },
)


@given(SETTINGS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=15)
def test_any_settings_come_back_from_yaml_and_json(tmp_path, given_settings):
    resolved = resolve(given_settings)
    (tmp_path / "run.yaml").write_text(to_yaml(resolved), encoding="utf-8")
    (tmp_path / "run.json").write_text(json.dumps(as_plain(resolved.config)), encoding="utf-8")
    for name in ("run.yaml", "run.json"):
        assert resolve(file=str(tmp_path / name)).config == resolved.config


def test_flags_override_the_file_the_file_the_preset_and_that_the_defaults(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("data:\n  batch-size: 3\nnum_epochs: 7\nlearning_rate: 1e-4\ntuning:\nvlm_option: image_fit=pad\n")
    resolved = resolve({"num_epochs": 10}, str(path), "16gb")
    config = resolved.config
    assert config.optim.num_epochs == 10 and config.data.batch_size == 3
    assert config.optim.learning_rate == 1e-4 and config.model.vlm_option == ("image_fit=pad",)
    assert config.tuning.vlm_use_lora and config.optim.gradient_accumulation_steps == 8
    origins = {name: resolved.origins[name] for name in ("num_epochs", "batch_size", "vlm_use_lora", "seed")}
    assert origins == {"num_epochs": "flag", "batch_size": str(path), "vlm_use_lora": "preset 16gb", "seed": "default"}


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_is_valid(name):
    resolve(preset=name).config.validate()


def test_an_unknown_preset_is_one_line():
    with pytest.raises(ConfigError, match="--preset 12gb is not known: choose among 8gb, 16gb, 24gb"):
        resolve(preset="12gb")
    with pytest.raises(ConfigError, match="--preset  is not known"):
        resolve(preset="8gb,")


def test_several_presets_add_up_and_the_later_one_wins():
    resolved = resolve({"dice_weight": 3.0}, preset="16gb, detailed,8gb")
    config = resolved.config
    assert config.model.refine_masks and config.loss.dice_weight == 3.0
    assert config.tuning.vlm_use_quantization and config.speed.vlm_use_mixed_precision
    assert resolved.origins["vlm_use_lora"] == "preset 8gb" and resolved.origins["fine_features"] == "preset detailed"


def test_the_detailed_preset_is_what_the_benchmark_on_photographs_has():
    base = yaml.safe_load((ROOT / "benchmarks" / "stamps" / "configs" / "base.yaml").read_text())
    chosen = {**base["model"], **base["loss"]}
    assert PRESETS["detailed"].settings.items() <= chosen.items()
    left = set(chosen) - set(PRESETS["detailed"].settings)
    towers = {"vlm", "image_encoder_model_name", "text_encoder_model_name"}
    # With a temperature no mask is empty: right where each sentence means something, but not everywhere. A flip test
    # takes twice the time to draw.
    assert left == {*towers, "fusion", "sam", "sam_prompt_dim", "sam_decoder_depth", "mask_temperature", "flip_test"}


def test_a_file_overrides_what_it_extends_and_each_setting_names_its_file(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "base.yaml").write_text("model: {vlm: smolvlm, img_size: 64}\noptim: {num_epochs: 3}")
    (tmp_path / "deep" / "middle.yaml").write_text("extends: ../base.yaml\nmodel: {img_size: 96}\nbatch_size: 4")
    (tmp_path / "deep" / "run.json").write_text('{"extends": "middle.yaml", "optim": {"num_epochs": 7}}')
    resolved = resolve({"batch_size": 5}, str(tmp_path / "deep" / "run.json"))
    config = resolved.config
    assert (config.model.vlm, config.model.img_size) == ("smolvlm", 96)
    assert (config.optim.num_epochs, config.data.batch_size) == (7, 5)
    origins = {name: Path(resolved.origins[name]).name for name in ("vlm", "img_size", "num_epochs", "batch_size")}
    assert origins == {"vlm": "base.yaml", "img_size": "middle.yaml", "num_epochs": "run.json", "batch_size": "flag"}
    middle = {"vlm": "smolvlm", "img_size": 96, "num_epochs": 3, "batch_size": 4}
    assert read_settings(tmp_path / "deep" / "middle.yaml") == middle


def test_other_data_bring_their_own_rates_and_formats(tmp_path):
    (tmp_path / "base.yaml").write_text("data: [{data: a, rate: 3, format: coco}, {data: b, rate: 1}]\nbatch_size: 4")
    (tmp_path / "same.yaml").write_text("extends: base.yaml\nbatch_size: 8")
    (tmp_path / "one.yaml").write_text("extends: base.yaml\ndata: {data: c}")
    (tmp_path / "two.yaml").write_text("extends: base.yaml\ndata: [{data: c, rate: 1}, {data: d, rate: 2}]")
    same, one, two = (resolve(file=str(tmp_path / f"{name}.yaml")).config.data for name in ("same", "one", "two"))
    assert (same.data, same.sample_rates, same.data_format, same.batch_size) == ("a||b", "3,1", "coco||auto", 8)
    assert (one.data, one.sample_rates, one.data_format, one.batch_size) == ("c", None, "auto", 4)
    assert (two.data, two.sample_rates, two.data_format) == ("c||d", "1,2", "auto")


def test_a_run_that_is_extended_is_not_written_over(trained, tmp_path):
    record = trained.folder / "run" / "config.json"
    assert json.loads(record.read_text())["run"]["output_dir"]
    (tmp_path / "longer.yaml").write_text(f"extends: {record}\nnum_epochs: 9")
    for file in (record, tmp_path / "longer.yaml"):
        config = resolve(file=str(file)).config
        assert not config.run.output_dir and not config.run.overwrite and config.run.resume is None
    assert config.optim.num_epochs == 9 and config.data.data == json.loads(record.read_text())["data"]["data"]


def test_a_start_that_is_taken_back_gives_no_shapes(trained, tmp_path):
    (tmp_path / "base.yaml").write_text(f"init_from: {trained.folder / 'run'}")
    (tmp_path / "fresh.yaml").write_text("extends: base.yaml\ninit_from: null")
    assert resolve(file=str(tmp_path / "base.yaml")).config.model != TrainConfig().model
    assert resolve(file=str(tmp_path / "fresh.yaml")).config.model == TrainConfig().model


def test_an_empty_file_sets_nothing(tmp_path):
    (tmp_path / "run.yaml").write_text("# nothing\n")
    assert resolve(file=str(tmp_path / "run.yaml")).config == TrainConfig()


def test_a_wrong_value_is_refused_as_a_flag_s_would_be(tmp_path):
    (tmp_path / "run.yaml").write_text("batch_size: many\nfusion: sideways\n")
    with pytest.raises(
        ConfigError, match=r"--fusion is 'sideways', must be one of.*--batch-size is 'many', must be int"
    ):
        resolve(file=str(tmp_path / "run.yaml")).config.validate()


def test_a_run_that_is_gone_on_with_brings_its_settings(trained):
    run = trained.folder / "run"
    for path in (run, run / "last", next((run / "checkpoints").iterdir())):
        config = resolve({"resume": str(path), "num_workers": 1}).config
        assert (
            config.optim.seed == 3
            and config.data.num_workers == 1
            and config.run.output_dir == str(run if path == run else path.resolve().parents[1])
        )
    with pytest.raises(ConfigError, match=r"there is no run with a config\.json"):
        resolve({"resume": str(trained.folder / "scenes")})


def test_a_new_run_from_another_s_weights_has_their_shapes(trained, tmp_path):
    for path in (trained.folder / "run", trained.folder / "run" / "last"):
        resolved = resolve({"init_from": str(path), "vlm_model_name": "elsewhere"})
        model = resolved.config.model
        assert model.sam == "tiny" and model.vlm_model_name == "elsewhere"  # `auto` would be vit_b beside that name
        assert resolved.origins["sam"] == str(path) and resolved.config.optim.seed == 0
    assert resolve({"init_from": str(path), "sam": "vit_l", "num_prompts": 2}).config.model.sam == "vit_l"
    (tmp_path / "run.yaml").write_text(f"init_from: {path}\n")
    assert resolve(file=str(tmp_path / "run.yaml")).config.model.sam == "tiny"
    assert resolve({"init_from": str(tmp_path)}).config.model.sam == "auto"  # refused by whoever reads the weights
    meta = tmp_path / "lisa.json"
    meta.write_text((path / "lisa.json").read_text().replace('"num_prompts": 4', '"num_prompts": 7'))
    assert resolve({"init_from": str(tmp_path)}).config.model.num_prompts == 7
    meta.write_text((path / "lisa.json").read_text().replace('"mask_temperature": null', '"mask_temperature": 2.0'))
    assert resolve({"init_from": str(tmp_path)}).config.model.mask_temperature == 2  # its masks were chosen with it
    assert resolve({"init_from": str(tmp_path), "mask_temperature": 3.0}).config.model.mask_temperature == 3
    (tmp_path / "cut.yaml").write_text("mask_temperature: null\n")
    own = resolve({"init_from": str(tmp_path)}, file=str(tmp_path / "cut.yaml"))
    assert own.config.model.mask_temperature is None
    meta.write_text("[" * 100_000)
    assert resolve({"init_from": str(tmp_path)}).config.model.num_prompts == 4


# What a setting of the model is changed to; None: it names the base weights, is a part of how they are found, or is
# about what is made of the logits.
CHANGED: dict[str, Any] = {
    **dict.fromkeys(("vlm", "vlm_model_name", "vlm_option", "use_vlm", "sam", "sam_checkpoint", "img_size")),
    **dict.fromkeys(("mask_temperature", "flip_test")),
    **dict.fromkeys(("image_encoder_model_name", "text_encoder_model_name")),
    **dict.fromkeys(("standardize_text", "aggregate_map", "fine_features", "unfold_patches", "refine_masks"), True),
    **{"fusion": "late", "mask_features": "sam", "similarity_map": False, "map_prompt": "relative"},
    **{"num_prompts": 5, "sam_prompt_dim": 64, "sam_decoder_depth": 1},
}


def test_what_changes_a_model_s_weights_comes_with_them() -> None:
    assert CHANGED.keys() == {item.name for item in dataclasses.fields(ModelConfig)}, "say what a new setting changes"

    def shapes(**change: Any) -> dict[str, Any]:
        model = build_model(ModelConfig(vlm="clip-llm", vlm_model_name="tiny", **change))
        return {name: value.shape for name, value in model.state_dict().items()}

    usual = shapes()
    for name, value in CHANGED.items():
        if value is not None:
            assert shapes(**{name: value}) != usual and name in _KEPT, name


def test_every_setting_has_one_section():
    assert len(FIELD_SECTION) == sum(len(dataclasses.fields(cls)) for cls in SECTIONS.values())


def test_a_written_file_is_yaml_with_every_setting(invoke_config):
    text = invoke_config
    assert yaml.safe_load(text)["model"] == {"vlm": "smolvlm"}
    assert all(f"{name}: " in text for name in FIELD_SECTION)


@pytest.fixture
def invoke_config() -> str:
    return to_yaml(resolve({"vlm": "smolvlm"}))
