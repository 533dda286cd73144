"""Figures of real architectures, built from their published configs without any weights."""

from __future__ import annotations

import pytest

from lisa_core.architectures import figures, grouped_layers, prompt_of
from lisa_core.catalogue import shipped_config
from lisa_core.errors import ConfigError
from lisa_core.registry import SAM_CHECKPOINTS, get_registry

KNOWN = [
    pytest.param(known, entry.spec, id=known.name)
    for entry in get_registry().vlms.values()
    for known in entry.spec.checkpoints
] + [pytest.param(known, None, id=known.name) for known in SAM_CHECKPOINTS]
LORA = {
    "llava-hf/llava-1.5-7b-hf": 8_388_608,
    "llava-hf/llava-1.5-13b-hf": 13_107_200,
    "llava-hf/llava-v1.6-mistral-7b-hf": 6_815_744,
    "HuggingFaceTB/SmolVLM-Instruct": 3_145_728,
    "HuggingFaceTB/SmolVLM-Base": 3_145_728,
    "Qwen/Qwen2-VL-2B-Instruct": 2_179_072,
    "Qwen/Qwen2-VL-7B-Instruct": 5_046_272,
    "google/paligemma-3b-pt-224": 1_843_200,
    "google/paligemma-3b-mix-224": 1_843_200,
    "Qwen/Qwen3-0.6B-Base": 2_293_760,
    "openai/clip-vit-base-patch16": None,
    "facebook/sam-vit-base": None,
}
"""Parameters of rank 16 adapters on the language model's q_proj and v_proj."""


@pytest.mark.parametrize(("known", "spec"), KNOWN)
def test_a_known_checkpoint_has_the_figures_it_is_listed_with(known, spec):
    config = shipped_config(known.name, spec)
    assert config is not None, "its config must lie beside its plugin, as configs/ORG__NAME.json"
    adapter = None if spec is None else get_registry().load_vlm_class(spec.name)
    found = figures(config, known.name, adapter)
    assert (found.parameters, found.vision_dim, found.text_dim) == (
        known.parameters,
        known.vision_dim,
        known.text_dim,
    )
    if known.name in LORA:
        assert found.lora_parameters == LORA[known.name]
    if "architectures" in config:
        assert found.class_name in config["architectures"]


def test_core_s_own_parts_are_the_published_ones():
    figures_of = {case.values[0].name: case.values[0].parameters for case in KNOWN}
    assert figures_of["openai/clip-vit-base-patch16"] == 149_620_737
    assert figures_of["Qwen/Qwen3-0.6B-Base"] == 596_049_920
    assert figures_of["facebook/sam-vit-base"] == 93_735_728


def test_of_an_image_encoder_the_part_that_is_used_is_told():
    spec = get_registry().vlm_spec("clip-llm")
    found = figures(shipped_config("openai/clip-vit-base-patch16", spec) or {}, "clip")
    assert found.used_parameters == 85_799_424 < found.parameters


def test_adapters_grow_with_their_rank():
    config = shipped_config("Qwen/Qwen3-0.6B-Base", get_registry().vlm_spec("clip-llm")) or {}
    eight, sixteen = (figures(config, "qwen", lora_r=r).lora_parameters for r in (8, 16))
    assert eight is not None and sixteen == 2 * eight


def test_a_model_no_family_reads_has_figures_too():
    found = figures({"model_type": "gemma3"}, "acme/gemma")
    assert found.class_name == "Gemma3ForConditionalGeneration" and (found.vision_dim, found.text_dim) == (768, 2304)
    assert grouped_layers(found.lora_layers) == [
        f"model.language_model.layers.*.self_attn.{name} (26)" for name in ("q_proj", "v_proj")
    ]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "frobnicator"}, "acme/x is a frobnicator checkpoint, which this version of transformers"),
        ({"model_type": "llava", "vision_config": 3}, "the config of acme/x cannot be built"),
        ({"model_type": "wav2vec2"}, "neither an image encoder nor a language model"),
    ],
)
def test_what_cannot_be_built_is_one_line(config, said):
    with pytest.raises(ConfigError) as caught:
        figures(config, "acme/x")
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_prompt_shows_what_a_row_holds():
    assert prompt_of(get_registry().load_vlm_class("clip-llm")) == "USER: QUESTION\nASSISTANT: It is [SEG].</s>"
    prompt = prompt_of(get_registry().load_vlm_class("smolvlm"))
    assert "<image> x 16" in prompt and " QUESTION<end_of_utterance>\nAssistant: It is [SEG]." in prompt
    with pytest.raises(ConfigError, match="no tiny model"):
        prompt_of(get_registry().load_vlm_class("generic"))
