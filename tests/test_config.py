from __future__ import annotations

import dataclasses
import json
import math
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_core.config import (
    SECTIONS,
    AugmentationConfig,
    LossConfig,
    ModelConfig,
    OptimConfig,
    TrainConfig,
    existing_folder,
)
from lisa_core.errors import ConfigError
from lisa_core.settings import from_dict, problems

FIELDS = [(section, item) for section in SECTIONS.values() for item in dataclasses.fields(section)]

CHOICES = {
    name: get_args(hint)
    for section in SECTIONS.values()
    for name, hint in get_type_hints(section).items()
    if get_origin(hint) is Literal
}


def with_values(**values: Any) -> TrainConfig:
    """A valid config with some fields changed, whichever section they belong to."""
    values = {"data": "shapes", "output_dir": "run"} | values
    sections = {
        name: section(
            **{item.name: values.pop(item.name) for item in dataclasses.fields(section) if item.name in values}
        )
        for name, section in SECTIONS.items()
    }
    assert not values, f"no such field: {values}"
    return TrainConfig(**sections)


def complaint(**values: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        with_values(**values).validate()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def bounded() -> list[Any]:
    return [
        pytest.param(item.name, item.metadata, id=item.name)
        for _, item in FIELDS
        if any(item.metadata[bound] is not None for bound in ("low", "high", "above"))
    ]


def test_the_defaults_are_valid() -> None:
    with_values().validate()
    TrainConfig().validate()
    assert complaint(data="") == "--data is missing: give the folder that holds train and val"


def test_every_bad_value_is_named_at_once() -> None:
    text = complaint(
        batch_size=0, learning_rate=-1.0, fusion="sideways", num_epochs=0, bce_weight=math.nan, data="", eval_every=0
    )
    faults = text.split("; ")
    assert [fault.split()[0] for fault in faults] == [
        *("--fusion", "--batch-size", "--data", "--num-epochs", "--learning-rate", "--bce-weight", "--eval-every"),
    ]
    assert "--batch-size is 0, must be at least 1" in faults
    assert "--learning-rate is -1.0, must be above 0" in faults
    assert "--fusion is 'sideways', must be one of joint, late" in faults


@pytest.mark.parametrize(("name", "bounds"), bounded())
def test_bounds_are_inclusive_but_for_above(name: str, bounds: dict[str, float | None]) -> None:
    also: dict[str, object] = {"vlm_use_lora": True} if name.startswith("vlm_lora") else {}
    if name == "steps_per_epoch":
        also = {"sample_rates": "1"}
    if name == "muon_learning_rate":
        also = {"decoder_optimizer": "muon"}
    for edge, outside in (("low", -1), ("high", 1)):
        limit = bounds[edge]
        if limit is not None:
            with_values(**{name: limit}, **also).validate()
            assert f"{limit}" in complaint(**{name: limit + outside})
    if bounds["above"] is not None:
        assert "must be above" in complaint(**{name: bounds["above"]})
        with_values(**{name: bounds["above"] + 1e-9}, **also).validate()


def test_a_level_of_augmentation_stands_for_probabilities_that_are_not_given() -> None:
    assert not any(AugmentationConfig().probabilities.values())
    light, strong = (AugmentationConfig(augment=level).probabilities for level in ("light", "strong"))  # type: ignore[arg-type]
    assert light.keys() < strong.keys() and all(light[name] <= strong[name] for name in light)
    assert AugmentationConfig(augment="light", flip=0.0, copy_paste=1).probabilities == {
        **light,
        "flip": 0.0,
        "copy_paste": 1,
    }
    assert AugmentationConfig(scale_jitter=0.25).probabilities == {"scale_jitter": 0.25}


def test_turns_need_answers_to_learn() -> None:
    with_values(turns=4).validate()
    with_values(turns=1, fusion="late").validate()
    text = complaint(turns=4, fusion="late")
    assert text.startswith("--turns 4 needs --fusion joint") and text.endswith("or leave it out")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["learning_rate", "weight_decay", "warmup_ratio", "max_grad_norm", "dice_weight"])
def test_what_is_not_a_finite_number_is_refused(name: str, value: float) -> None:
    assert complaint(**{name: value}) == f"--{name.replace('_', '-')} is {value}, must be a finite number"


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("batch_size", "8", "int"),
        ("batch_size", 8.0, "int"),
        ("batch_size", True, "int"),
        ("batch_size", None, "int"),
        ("vlm", None, "str"),
        ("vlm_model_name", 3, "str | None"),
        ("learning_rate", "1e-3", "float | None"),
        ("similarity_map", 1, "bool"),
        ("fusion", None, "one of joint, late"),
        ("sam_prompt_dim", "64", "int | None"),
        ("vlm_option", "a=1", "tuple"),
        ("vlm_option", (1,), "tuple"),
    ],
)
def test_a_value_of_another_type_is_refused(name: str, value: Any, kind: str) -> None:
    assert complaint(**{name: value}) == f"--{name.replace('_', '-')} is {value!r}, must be {kind}"


def test_a_whole_number_will_do_for_a_fraction() -> None:
    with_values(learning_rate=1, warmup_ratio=0, max_train_samples=None).validate()


@given(
    st.fixed_dictionaries(
        {
            "batch_size": st.integers(-3, 3),
            "num_prompts": st.integers(-2, 70),
            "warmup_ratio": st.floats(-0.5, 1.5),
            "learning_rate": st.floats(),
            "seed": st.integers(-(2**33), 2**33),
        }
    )
)
def test_a_config_is_valid_exactly_when_each_value_is_in_its_range(values: dict[str, Any]) -> None:
    wrong = {
        "--batch-size": values["batch_size"] < 1,
        "--num-prompts": not 1 <= values["num_prompts"] <= 64,
        "--warmup-ratio": not 0 <= values["warmup_ratio"] <= 1,
        "--learning-rate": not 0 < values["learning_rate"] < math.inf,
        "--seed": not 0 <= values["seed"] < 2**32,
    }
    config = with_values(**values)
    if any(wrong.values()):
        with pytest.raises(ConfigError) as caught:
            config.validate()
        assert {fault.split()[0] for fault in str(caught.value).split("; ")} == {flag for flag in wrong if wrong[flag]}
    else:
        config.validate()


NEEDED: dict[Any, dict[str, Any]] = {
    "vlm_quantization": {"vlm_use_lora": True},
    "tune_connectors": {"init_from": "run"},
    "tune_sam_encoder": {"mask_features": "sam", "sam_checkpoint": "sam.pth"},
    "tune_sam_decoder": {"sam_checkpoint": "sam.pth"},
}
"""What else must be set for some choices to make sense."""


@pytest.mark.parametrize(("name", "choices"), CHOICES.items(), ids=CHOICES)
def test_each_choice_is_taken_and_no_other(name: str, choices: tuple[str, ...]) -> None:
    for choice in choices:
        with_values(**{name: choice, **NEEDED.get((name, choice), NEEDED.get(name, {}))}).validate()
    assert f"is 'bogus', must be one of {', '.join(choices)}" in complaint(**{name: "bogus"})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"vlm": "smolvlm", "image_encoder_model_name": "a", "text_encoder_model_name": "b"},
            "belong to --vlm clip-llm",
        ),
        ({"vlm_option": ("a",)}, "--vlm-option is 'a', must be NAME=VALUE"),
        ({"vlm_option": ("=1",)}, "--vlm-option is '=1', must be NAME=VALUE"),
        ({"vlm_option": ("a=1", "b=1", "a=2")}, "--vlm-option a is given more than once"),
        ({"vlm": "clip-llm", "image_encoder_model_name": "a"}, "are given together"),
        ({"vlm": "clip-llm", "text_encoder_model_name": "b"}, "are given together"),
        (
            {
                "vlm": "clip-llm",
                "vlm_model_name": "tiny",
                "image_encoder_model_name": "a",
                "text_encoder_model_name": "b",
            },
            "not both",
        ),
        ({"sam_prompt_dim": 12}, "multiple of 8"),
        ({"aggregate_map": True, "similarity_map": False}, "needs --similarity-map"),
        ({"vlm_freeze": True, "vlm_use_lora": True}, "--vlm-freeze and --vlm-use-lora contradict one another"),
        ({"vlm_use_quantization": True}, "4bit weights cannot be trained themselves: add --vlm-use-lora (QLoRA)"),
        ({"vlm_quantization": "8bit"}, "8bit weights cannot be trained themselves"),
        ({"vlm_lora_r": 8}, "--vlm-lora-r mean nothing without LoRA: add --vlm-use-lora"),
        ({"vlm_use_lora": True, "vlm_quantization": "8bit", "lora_dora": True}, "--lora-dora does not work on 8bit"),
        ({"tune_sam_decoder": "lora"}, "LoRA on SAM's parts needs weights to adapt"),
        ({"tune_sam_decoder": "freeze"}, "SAM's parts would stay random if frozen"),
        ({"tune_connectors": "freeze"}, "connectors start random, so --tune-connectors freeze needs --init-from"),
        ({"tune_sam_encoder": "train"}, "means nothing without --mask-features sam"),
        ({"resume": "run", "init_from": "run"}, "--resume and --init-from contradict one another"),
        ({"resume": "auto", "overwrite": True}, "--resume and --overwrite contradict one another"),
        ({"resume": "auto", "output_dir": ""}, "--resume auto needs --output-dir"),
        (
            {"parallel": "fsdp", "vlm_use_lora": True, "vlm_quantization": "4bit"},
            "--parallel fsdp cannot share out 4bit weights",
        ),
        ({"compile": True, "cpu_offload": True}, "exclude each other"),
        ({"muon_learning_rate": 0.01}, "--muon-learning-rate means nothing without --decoder-optimizer muon"),
        (
            {"fusion": "late", "similarity_map": False, "draw_each": "target"},
            "--draw-each target needs --similarity-map",
        ),
    ],
)
def test_settings_that_contradict_one_another_are_refused(values: dict[str, Any], said: str) -> None:
    assert said in complaint(**values)


def test_settings_that_agree_are_taken() -> None:
    with_values(vlm="clip-llm", image_encoder_model_name="a", text_encoder_model_name="b").validate()
    with_values(image_encoder_model_name="a", text_encoder_model_name="b").validate()
    with_values(vlm_option=("a=", "b=x=y")).validate()
    with_values(vlm="clip-llm", vlm_model_name="a+b").validate()
    with_values(vlm="clip-llm", sam_prompt_dim=64).validate()
    with_values(decoder_optimizer="muon", muon_learning_rate=0.01).validate()
    with_values(fusion="joint", similarity_map=False, draw_each="target").validate()


def test_a_section_survives_plain_data() -> None:
    section = ModelConfig(vlm="clip-llm", fusion="late", num_prompts=2, sam_prompt_dim=64)
    assert from_dict(ModelConfig, dataclasses.asdict(section)) == section
    options = ModelConfig(vlm_option=("image_fit=squash", "x=1"))
    assert from_dict(ModelConfig, json.loads(json.dumps(dataclasses.asdict(options)))) == options
    assert from_dict(OptimConfig, {}) == OptimConfig()


def test_a_setting_that_is_not_known_is_named() -> None:
    with pytest.raises(ConfigError, match=r"unknown setting frobnicate, zap: .*pip install -U lisa-core"):
        from_dict(ModelConfig, {"zap": 1, "vlm": "smolvlm", "frobnicate": True})


def test_what_auto_and_none_stand_for() -> None:
    tiny, large = with_values(vlm_model_name="tiny"), with_values(vlm_model_name="acme/large")
    assert (tiny.learning_rate, large.learning_rate) == (1e-3, 1e-4)
    assert with_values(vlm_model_name="tiny", learning_rate=0.5).learning_rate == 0.5
    assert (tiny.model.sam_size_name, large.model.sam_size_name) == ("tiny", "vit_b")
    assert with_values(vlm_model_name="tiny", sam="vit_h").model.sam_size_name == "vit_h"


def test_a_section_that_is_right_has_no_problems() -> None:
    assert list(problems(ModelConfig())) == []


def test_existing_folder(tmp_path) -> None:
    assert existing_folder(str(tmp_path), "data folder") == tmp_path
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "absent"):
        with pytest.raises(ConfigError, match=f"data folder {path} does not exist or is not a folder"):
            existing_folder(path, "data folder")


def test_weights_that_leave_nothing_to_learn_are_refused():
    names = [item.name for item in dataclasses.fields(LossConfig)]
    assert list(problems(LossConfig())) == []
    assert list(problems(LossConfig(**dict.fromkeys(names, 0.0)))) == [
        "all loss weights are 0, so nothing would be learnt"
    ]
