from __future__ import annotations

import pytest

from lisa_core.config import DataConfig, ModelConfig, OptimConfig, SpeedConfig, TrainConfig, TuningConfig
from lisa_core.savings import flags_between, savings

HUB = "HuggingFaceTB/SmolVLM-Instruct"


def flags(config: TrainConfig) -> list[str]:
    return [saving.flags for saving in savings(config)]


def config(tuning: dict | None = None, name: str = HUB, **speed) -> TrainConfig:
    return TrainConfig(
        model=ModelConfig(vlm_model_name=name, vlm="smolvlm"),
        tuning=TuningConfig(**(tuning or {})),
        data=DataConfig(batch_size=5),
        speed=SpeedConfig(**speed),
    )


QUANTIZE = "--vlm-use-quantization --vlm-quantization "


def test_a_full_run_has_every_lever_left_the_mildest_first():
    assert flags(config()) == [
        "--vlm-use-mixed-precision --vlm-mixed-precision bf16",
        "--gradient-checkpointing",
        "--batch-size 3 --gradient-accumulation-steps 2",
        "--vlm-use-lora",
        f"--vlm-use-lora {QUANTIZE}8bit",
        f"--vlm-use-lora {QUANTIZE}4bit",
        "--img-size 224",
        "--vlm-freeze",
    ]


def test_what_is_done_already_is_not_proposed():
    lora = config({"vlm_use_lora": True, "vlm_lora_r": 8}, vlm_mixed_precision="bf16", gradient_checkpointing=True)
    assert flags(lora) == [
        "--batch-size 3 --gradient-accumulation-steps 2",
        f"{QUANTIZE}8bit",
        f"{QUANTIZE}4bit",
        "--img-size 224",
        "--vlm-freeze --no-vlm-use-lora --vlm-lora-r 16",
    ]
    eight = config({"vlm_use_lora": True, "vlm_quantization": "8bit", "vlm_use_quantization": True})
    assert "--vlm-quantization 4bit" in flags(eight) and f"{QUANTIZE}8bit" not in flags(eight)
    assert not [line for line in flags(config(name="tiny")) if "quantization" in line]


def test_what_is_frozen_can_leave_the_gpu():
    assert "--cpu-offload" in flags(config({"vlm_freeze": True}))
    assert "--cpu-offload" not in flags(config({"vlm_freeze": True}, name="tiny"))
    assert "--cpu-offload" not in flags(config({"vlm_freeze": True, "vlm_quantization": "4bit"}))


def test_parts_told_apart_are_undone_by_name():
    apart = config({"tune_vision": "train", "tune_language": "lora"})
    assert "--vlm-use-lora --tune-vision auto --tune-language auto" in flags(apart)
    frozen = config({"tune_vision": "freeze", "tune_language": "freeze"})
    assert not [line for line in flags(frozen) if "freeze" in line]


@pytest.mark.parametrize("saving", savings(config()), ids=lambda saving: saving.flags)
def test_the_flags_make_the_config(saving):
    from lisa_core.cli.options import train_options

    found = []

    @train_options
    def command(config: TrainConfig) -> None:
        found.append(config)

    import typer
    from typer.testing import CliRunner

    app = typer.Typer()
    app.command()(command)
    args = ["--vlm", "smolvlm", "--vlm-model-name", HUB, "--batch-size", "5", *saving.flags.split()]
    result = CliRunner().invoke(app, args, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert found == [saving.config]


def test_lists_are_repeated_flags():
    before = TrainConfig()
    after = TrainConfig(tuning=TuningConfig(lora_targets=("q_proj", "v_proj")), optim=OptimConfig(learning_rate=1e-3))
    assert flags_between(before, after) == "--lora-targets q_proj --lora-targets v_proj --learning-rate 0.001"
