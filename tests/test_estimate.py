"""Memory told from settings alone, against what torch really holds."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from lisa_core.activations import step_memory
from lisa_core.build import build_model, resolve_sources
from lisa_core.config import DataConfig, ModelConfig, OptimConfig, RunConfig, SpeedConfig, TrainConfig, TuningConfig
from lisa_core.errors import ConfigError
from lisa_core.estimate import PARTS, estimate
from lisa_core.levers import apply_levers
from lisa_core.objective import loss_terms, loss_weights
from lisa_core.precision import set_precision
from lisa_core.registry import get_registry
from lisa_core.skeleton import build_skeleton, sample_batch
from lisa_core.tuning import apply_tuning

FAMILIES = ["clip-llm", "llava", "paligemma", "qwenvl", "smolvlm"]


def settings(family: str = "smolvlm", tuning: dict | None = None, model: dict | None = None, **speed) -> TrainConfig:
    return TrainConfig(
        model=ModelConfig(vlm=family, vlm_model_name="tiny", **(model or {})),
        tuning=TuningConfig(**(tuning or {})),
        data=DataConfig(batch_size=4),
        speed=SpeedConfig(**speed),
    )


@pytest.fixture(scope="module")
def plain():
    """The estimate of `settings()`."""
    return estimate(settings())


def prepared(model, config: TrainConfig):
    apply_tuning(model, config.tuning)
    set_precision(model, config.speed.precision)
    apply_levers(model.vlm, config.speed, torch.device("cpu"))
    return model


def really_kept(config: TrainConfig) -> int:
    """Bytes that a real forward pass keeps for its backward pass, weights and batch aside."""
    torch.manual_seed(0)
    model = prepared(build_model(config.model), config).train()
    batch = sample_batch(model, config)
    not_ours = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    not_ours |= {value.untyped_storage().data_ptr() for value in batch.values() if torch.is_tensor(value)}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in not_ours:
            kept[storage.data_ptr()] = storage  # held, so that no other takes its place
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        terms, _ = loss_terms(model(batch), batch)
    assert terms
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.slow
def test_a_batch_of_conversations_is_that_of_the_run():
    config = settings()
    config = dataclasses.replace(config, data=DataConfig(batch_size=7, sentences_per_image=4, turns=3))
    skeleton = prepared(build_skeleton(config.model), config)
    batch = sample_batch(skeleton, config)
    assert batch["image_index"].tolist() == [0, 0, 1] and batch["seg_row"].tolist() == [0, 0, 0, 1, 2, 2, 2]
    assert (batch["input_ids"] == skeleton.vlm.seg_token_id).sum(1).tolist() == [3, 1, 3]
    told = step_memory(skeleton, batch, loss_weights(config.loss))
    assert told.activations == pytest.approx(really_kept(config), rel=0.1)


@pytest.mark.parametrize(
    ("tuning", "model", "speed"),
    [
        pytest.param({}, {}, {}, marks=pytest.mark.slow),
        ({"vlm_use_lora": True}, {}, {"vlm_mixed_precision": "bf16"}),
        ({"vlm_freeze": True}, {"mask_features": "sam", "fusion": "late"}, {}),
        pytest.param({"vlm_use_lora": True}, {}, {"attn": "eager"}, marks=pytest.mark.slow),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "family", [family if family == "smolvlm" else pytest.param(family, marks=pytest.mark.slow) for family in FAMILIES]
)
def test_what_a_step_keeps_is_what_torch_keeps(family, tuning, model, speed):
    config = settings(family, tuning, model, **speed)
    skeleton = prepared(build_skeleton(config.model), config)
    told = step_memory(skeleton, sample_batch(skeleton, config), loss_weights(config.loss))
    assert told.activations == pytest.approx(really_kept(config), rel=0.1)


@pytest.mark.slow
def test_checkpointing_keeps_less_and_larger_batches_more(plain):
    checkpointed = estimate(settings(gradient_checkpointing=True))
    assert checkpointed.activations < 0.6 * plain.activations
    assert dataclasses.replace(checkpointed, activations=0, workspace=0, gradients=0, notes=()) == dataclasses.replace(
        plain, activations=0, workspace=0, gradients=0, notes=()
    )
    config = settings()
    twice = dataclasses.replace(config, data=DataConfig(batch_size=8))
    assert estimate(twice).activations == pytest.approx(2 * plain.activations, rel=0.1)


def test_accumulation_has_all_gradients_from_its_second_micro_step(plain):
    more = estimate(dataclasses.replace(settings(), optim=OptimConfig(gradient_accumulation_steps=2)))
    assert more.gradients == pytest.approx(4 * more.trainable, rel=1e-3)
    assert plain.gradients < more.gradients and plain.total < more.total


def test_segmenting_takes_weights_and_little_else():
    config = settings(tuning={"vlm_use_lora": True})
    found, training = estimate(config, training=False), estimate(config)
    assert found.gradients == found.optimizer == found.trainable == 0
    assert found.weights == training.weights and found.total < training.total


def test_the_parts_and_the_total_are_in_the_record(plain):
    record = plain.to_dict()
    assert record["total"] == sum(record[name] for name in PARTS)
    assert record["largest"] == max(PARTS, key=lambda name: record[name])
    assert plain.is_complete and any("1024 x 768" in note for note in plain.notes)


@pytest.mark.slow
def test_a_hub_name_needs_neither_network_nor_weights():
    """A 1.2 GB model in 16 bits, whose config comes with core."""
    config = TrainConfig(
        model=ModelConfig(
            image_encoder_model_name="openai/clip-vit-base-patch16", text_encoder_model_name="Qwen/Qwen3-0.6B-Base"
        ),
        tuning=TuningConfig(use_lora=True),
        data=DataConfig(batch_size=1),
        speed=SpeedConfig(vlm_mixed_precision="bf16"),
    )
    found = estimate(config)
    assert found.vision_tower == pytest.approx(2 * 85.8e6, rel=0.01)
    assert found.language_model == pytest.approx(2 * 596e6, rel=0.01)
    assert found.is_complete and found.activations > 10e6


@pytest.mark.slow
def test_what_stays_in_the_machine_s_memory_is_told(tmp_path):
    name = get_registry().load_vlm_class("smolvlm").tiny().save_pretrained(tmp_path)
    config = settings(tuning={"vlm_freeze": True})
    config = dataclasses.replace(config, model=ModelConfig(vlm="smolvlm", vlm_model_name=name, sam="tiny"))
    moved = dataclasses.replace(config, speed=SpeedConfig(cpu_offload=True))
    before, after = estimate(config), estimate(moved)
    assert after.vision_tower == 0 and after.total < before.total
    assert sum("stay in the machine's own memory" in note for note in after.notes) == 2


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (settings(tuning={"vlm_quantization": "4bit", "vlm_use_lora": True}), "tiny cannot be loaded in 4bit"),
        (settings(tuning={"vlm_quantization": "4bit"}), "4bit weights cannot be trained themselves"),
        (settings(tuning={"vlm_freeze": True, "vlm_use_lora": True}), "a frozen VLM has no adapters"),
        (settings(model={"img_size": 100}), "--img-size 100 must be a multiple of"),
    ],
)
def test_settings_that_no_run_would_take_are_refused(config, said):
    with pytest.raises(ConfigError, match=said):
        estimate(config)


def test_code_that_asks_for_numbers_leaves_a_lower_bound(monkeypatch):
    cls = get_registry().load_vlm_class("smolvlm")
    real = cls.image_grid

    def nosy(self, output, batch):
        assert output.last_hidden_state.detach().numpy().any()
        return real(self, output, batch)

    monkeypatch.setattr(cls, "image_grid", nosy)
    found = estimate(settings())
    assert not found.is_complete and found.activations == 0 and found.total == found.weights + found.optimizer
    assert any("lower bound" in note for note in found.notes)


def test_a_run_s_figures_do_not_depend_on_where_it_writes(plain):
    config = settings()
    there = dataclasses.replace(config, run=RunConfig(output_dir="/nowhere/at/all"))
    assert estimate(there) == plain
    assert resolve_sources(config.model).vlm == "smolvlm"


@pytest.mark.parametrize("fusion", ["late", pytest.param("joint", marks=pytest.mark.slow)])
def test_standardized_states_are_told_too(fusion):
    assert estimate(settings("clip-llm", model={"fusion": fusion, "standardize_text": True})).is_complete
