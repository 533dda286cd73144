"""Which weights train, part by part."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from PIL import Image

from lisa_core.build import build_model, sam_size
from lisa_core.config import TrainConfig
from lisa_core.data.collate import Collator
from lisa_core.errors import ConfigError
from lisa_core.model import LisaModel
from lisa_core.model_config import ModelConfig, TuningConfig
from lisa_core.tuning import apply_tuning


def tuned(vlm: str, **changes: object) -> LisaModel:
    model = build_model(ModelConfig(vlm=vlm, vlm_model_name="tiny"))
    apply_tuning(model, TuningConfig(**changes))  # type: ignore[arg-type]
    return model


def trained_of_the_vlm(model: LisaModel) -> set[str]:
    return {name for name, value in model.vlm.named_parameters() if value.requires_grad}


def of_projector(model: LisaModel, part: str) -> set[str]:
    names = {name for name, _ in model.vlm.named_parameters() if part in name}
    assert names
    return names


@pytest.mark.parametrize(
    ("vlm", "part"),
    [("llava", "multi_modal_projector"), ("smolvlm", "connector"), ("paligemma", "multi_modal_projector")],
)
def test_a_projector_trains_alone(vlm: str, part: str) -> None:
    model = tuned(vlm, vlm_freeze=True, tune_projector="train")
    assert trained_of_the_vlm(model) == of_projector(model, part)
    assert all(value.requires_grad for value in model.text_sam.parameters())
    assert not trained_of_the_vlm(tuned(vlm, vlm_freeze=True))


def test_a_projector_trains_beside_adapters() -> None:
    model = tuned("llava", vlm_use_lora=True, tune_projector="train")
    names = trained_of_the_vlm(model)
    projector = of_projector(model, "multi_modal_projector")
    assert projector < names and all("lora_" in name or "trainable_tokens" in name for name in names - projector)


def test_a_projector_is_frozen_while_its_neighbours_train() -> None:
    model = tuned("llava", tune_projector="freeze")
    every = {name for name, _ in model.vlm.named_parameters()}
    assert trained_of_the_vlm(model) == every - of_projector(model, "multi_modal_projector")


def test_the_pair_s_own_projector_trains_unless_it_is_told_not_to() -> None:
    assert trained_of_the_vlm(tuned("clip-llm", vlm_freeze=True, tune_projector="train")) == of_projector(
        tuned("clip-llm"), "projector"
    )
    assert not trained_of_the_vlm(tuned("clip-llm", vlm_freeze=True, tune_projector="freeze"))
    config = TrainConfig(
        model=ModelConfig(vlm="clip-llm", vlm_model_name="tiny"), tuning=TuningConfig(tune_projector="freeze")
    )
    with pytest.raises(ConfigError, match="--tune-projector freeze needs --init-from"):
        config.validate()


@pytest.mark.parametrize("mode", ["freeze", "lora"])
def test_all_that_is_between_vlm_and_decoder_follows_tune_connectors(mode: Literal["freeze", "lora"]) -> None:
    parts: dict[str, Any] = dict.fromkeys(("aggregate_map", "fine_features", "unfold_patches", "refine_masks"), True)
    model = build_model(ModelConfig(vlm="clip-llm", vlm_model_name="tiny", map_prompt="relative", **parts))
    apply_tuning(model, TuningConfig(vlm_freeze=True, tune_projector="freeze", tune_connectors=mode))
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    outside = {name for name in trained if not name.startswith(("decoder.", "vlm."))}
    assert all("lora_" in name for name in outside) and bool(outside) == (mode == "lora")
    image = Image.effect_noise((90, 50), 60).convert("RGB")
    batch = Collator(model.vlm, model.config, sam_size(model.config)).inputs([image], ["it"], ["It is [SEG]."], [0])
    assert model(batch).mask_logits.requires_grad
