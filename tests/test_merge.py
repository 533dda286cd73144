from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor, Qwen3ForCausalLM

from lisa_core import staging
from lisa_core.build import build_model
from lisa_core.checkpoint import find_checkpoint, load_checkpoint, save_checkpoint, start_from
from lisa_core.clip_llm import ClipLLM
from lisa_core.errors import CheckpointError, ConfigError
from lisa_core.merge import merge_checkpoint
from lisa_core.model import LisaModel
from lisa_core.model_config import ModelConfig, TuningConfig
from lisa_core.sam import SAM_SIZES, SamImageEncoder, SamMaskDecoder
from lisa_core.segmenter import Segmenter
from lisa_core.standalone import write_sam
from lisa_core.tuning import apply_tuning
from lisa_core.unload import load_unquantized
from lisa_core.vlm import VLM

FAMILIES = ["clip-llm", "llava", "paligemma", "qwenvl", "smolvlm"]
LORA = TuningConfig(vlm_use_lora=True)
SENTENCES = ["the red ring", "Which one is the zany wombat?"]


def picture() -> Image.Image:
    noise = torch.randint(0, 255, (40, 70, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Image.fromarray(noise.numpy())


def drawn(model: LisaModel) -> np.ndarray:
    """What the model answers to the sentences, float32 [2,H,W]."""
    return np.stack([result.logits for result in Segmenter(model).set_image(picture()).segment_many(SENTENCES)])


@torch.no_grad()
def said(vlm: VLM) -> torch.Tensor:
    """The next-token scores of a row whose answer holds [SEG], float32 [L,V]."""
    batch = vlm.preprocess([picture()], ["Segment the ring."], ["It is [SEG]."])
    return vlm(batch).logits[0]


def agree(found: np.ndarray | torch.Tensor, expected: np.ndarray | torch.Tensor, share: float = 1e-5) -> None:
    """Equal but for float32's rounding, beside numbers of this size."""
    found, expected = np.asarray(found), np.asarray(expected)
    difference = abs(found - expected).max()
    assert difference <= share * max(1.0, abs(expected).max()), difference


def config_of(family: str, name: str, **changes: object) -> ModelConfig:
    return ModelConfig(vlm=family, vlm_model_name=name, sam="tiny", **changes)  # type: ignore[arg-type]


def adapters(model: LisaModel) -> list[str]:
    return [name for name in model.state_dict() if "lora_" in name or "token_adapter" in name or "base_layer" in name]


def loaded_by_transformers(folder: Path, family: str) -> dict[str, torch.Tensor]:
    """The merged VLM's weights by the names they have in our model, loaded without this project."""
    if family == "clip-llm":
        language = AutoModelForCausalLM.from_pretrained(folder / "vlm" / "language")
        return {f"vlm.language.{name}": value for name, value in language.state_dict().items()}
    AutoProcessor.from_pretrained(folder / "vlm")
    model = AutoModelForImageTextToText.from_pretrained(folder / "vlm")
    return {f"vlm.model.{name}": value for name, value in model.state_dict().items()}


TUNINGS = {
    **{family: (family, LORA) for family in FAMILIES},
    "dora": ("smolvlm", TuningConfig(vlm_use_lora=True, lora_dora=True)),
    "rslora on every layer": (
        "clip-llm",
        TuningConfig(vlm_use_lora=True, lora_rslora=True, lora_targets=("all-linear",)),
    ),
    "vision too": ("llava", TuningConfig(use_lora=True)),
    "vision alone": ("clip-llm", TuningConfig(tune_vision="lora", tune_language="freeze")),
    "lora beside a trained tower": ("smolvlm", TuningConfig(tune_vision="train", tune_language="lora")),
}


SLOW = ("llava", "paligemma", "qwenvl", "vision too", "vision alone")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in TUNINGS]
)
def test_the_masks_and_the_words_are_those_from_before(name, small_run, small_vlm, tmp_path):
    family, tuning = TUNINGS[name]
    model = small_run(tmp_path / "run", config_of(family, small_vlm(family)), tuning)
    base = build_model(config_of(family, small_vlm(family)))
    outer = {key: value for key, value in model.state_dict().items() if not key.startswith("vlm.")}
    base.load_state_dict(outer, strict=False)
    if hasattr(base.vlm, "projector"):
        base.vlm.projector.load_state_dict(model.vlm.projector.state_dict())
    masks, words = drawn(model), said(model.vlm)
    assert abs(masks - drawn(base.eval())).max() > 1e-3, "the adapters do nothing, so nothing is tested"

    folder = merge_checkpoint(tmp_path / "run", tmp_path / "merged")
    merged = load_checkpoint(folder)
    assert not adapters(merged)
    agree(drawn(merged), masks)
    agree(said(merged.vlm), words)
    ours = merged.state_dict()
    theirs = loaded_by_transformers(folder, family)
    assert theirs and all(torch.equal(ours[key], value) for key, value in theirs.items())
    assert not [key for key in load_file(folder / "model.safetensors") if key in theirs], "the VLM is there twice"


@pytest.mark.parametrize("features", ["vlm", "sam"])
def test_adapters_on_sam_and_the_connectors_are_merged_too(features, small_run, small_vlm, tmp_path):
    torch.manual_seed(0)
    write_sam(tmp_path / "sam.safetensors", [SamImageEncoder(SAM_SIZES["tiny"]), SamMaskDecoder(SAM_SIZES["tiny"])])
    config = config_of(
        "clip-llm", small_vlm("clip-llm"), mask_features=features, sam_checkpoint=str(tmp_path / "sam.safetensors")
    )
    encoder = "lora" if features == "sam" else "auto"
    tuning = TuningConfig(
        vlm_freeze=True, tune_sam_encoder=encoder, tune_sam_decoder="lora", tune_connectors="lora", lora_dora=True
    )
    model = small_run(tmp_path / "run", config, tuning)
    touched = {name.split(".")[0] for name in adapters(model)}
    assert touched == {"decoder", "text_sam", "similarity", *(["sam_encoder"] if features == "sam" else ["image_sam"])}
    masks = drawn(model)
    folder = merge_checkpoint(tmp_path / "run", tmp_path / "merged")
    (tmp_path / "sam.safetensors").unlink()
    merged = load_checkpoint(folder)
    assert not adapters(merged)
    agree(drawn(merged), masks)


def test_the_states_statistics_are_kept(small_run, small_vlm, tmp_path):
    config = config_of("clip-llm", small_vlm("clip-llm"), fusion="late", standardize_text=True)
    masks = drawn(small_run(tmp_path / "run", config, LORA))
    merged = load_checkpoint(merge_checkpoint(tmp_path / "run", tmp_path / "merged"))
    assert merged.standardization is not None and merged.standardization.heard == 1000
    agree(drawn(merged), masks)


def tied_pair(folder: Path) -> str:
    """A clip-llm whose language model's head is its embedding matrix."""
    torch.manual_seed(0)
    pair = ClipLLM.tiny()
    pair.language.config.tie_word_embeddings = True
    language = Qwen3ForCausalLM(pair.language.config)
    return ClipLLM(pair.vision, language, pair.image_processor, pair.tokenizer).save_pretrained(folder)


def test_a_tied_head_stays_tied_and_speaks_the_trained_row(small_run, tmp_path):
    model = small_run(tmp_path / "run", config_of("clip-llm", tied_pair(tmp_path / "pair")), LORA)
    wrapper = model.vlm.language.get_input_embeddings()
    row = wrapper.token_adapter.trainable_tokens_delta["default"][0].detach()
    words = said(model.vlm)
    folder = merge_checkpoint(tmp_path / "run", tmp_path / "merged")
    merged = load_checkpoint(folder).vlm
    embeddings, head = merged.language.get_input_embeddings(), merged.language.get_output_embeddings()
    assert embeddings.weight is head.weight
    assert torch.equal(head.weight[merged.seg_token_id], row)
    agree(said(merged), words)
    stored = load_file(folder / "vlm" / "language" / "model.safetensors")
    assert "lm_head.weight" not in stored and torch.equal(stored["model.embed_tokens.weight"][merged.seg_token_id], row)


def test_two_trained_rows_of_an_untied_head_stay_two(small_run, small_vlm, tmp_path):
    model = small_run(tmp_path / "run", config_of("clip-llm", small_vlm("clip-llm")), LORA)
    merged = load_checkpoint(merge_checkpoint(tmp_path / "run", tmp_path / "merged")).vlm
    for kind in ("get_input_embeddings", "get_output_embeddings"):
        row = getattr(model.vlm.language, kind)().token_adapter.trainable_tokens_delta["default"][0]
        assert torch.equal(getattr(merged.language, kind)().weight[merged.seg_token_id], row)


@pytest.mark.parametrize("kind", ["4bit", "8bit"])
def test_adapters_of_a_quantized_run_go_into_whole_weights(kind, small_run, small_vlm, tmp_path):
    pytest.importorskip("bitsandbytes", reason="4- and 8-bit loading needs bitsandbytes")
    tuning = TuningConfig(vlm_use_lora=True, vlm_quantization=kind)
    config = config_of("clip-llm", small_vlm("clip-llm"))
    rounded = small_run(tmp_path / "run", config, tuning)
    masks = drawn(rounded)
    folder = merge_checkpoint(tmp_path / "run", tmp_path / "merged")
    merged = load_checkpoint(folder)
    whole = load_unquantized(find_checkpoint(tmp_path / "run"))
    agree(drawn(merged), drawn(whole))
    assert abs(drawn(merged) - masks).max() > 1e-6, "rounding changes nothing, so nothing is tested"
    assert not any("4bit" in type(part).__name__ or "8bit" in type(part).__name__ for part in merged.modules())
    meta = json.loads((folder / "lisa.json").read_text())
    assert meta["merged_from"] == kind and find_checkpoint(folder).tuning.quantization is None
    # The base is the one that was rounded, not what rounding left of it.
    base = load_file(Path(small_vlm("clip-llm").split("+")[1]) / "model.safetensors")
    stored = load_file(folder / "vlm" / "language" / "model.safetensors")
    assert torch.equal(stored["model.layers.0.mlp.up_proj.weight"], base["model.layers.0.mlp.up_proj.weight"])


def test_the_description_names_nothing_outside(small_run, small_vlm, tmp_path):
    small_run(tmp_path / "run", config_of("smolvlm", small_vlm("smolvlm")), LORA)
    folder = merge_checkpoint(tmp_path / "run", tmp_path / "merged")
    meta = json.loads((folder / "lisa.json").read_text())
    assert meta["model"]["vlm_model_name"] == "./vlm" and meta["progress"]["step"] == 20
    assert meta["tuning"]["vlm_use_lora"] is False and "/home/" not in json.dumps(meta)
    assert str(tmp_path) not in json.dumps(meta)
    assert sorted(path.name for path in folder.iterdir()) == ["lisa.json", "model.safetensors", "vlm"]


def test_a_checkpoint_without_adapters_is_told_the_command_it_needs(small_run, small_vlm, tmp_path):
    small_run(tmp_path / "run", config_of("clip-llm", small_vlm("clip-llm")), TuningConfig(vlm_freeze=True))
    with pytest.raises(CheckpointError, match=r"no adapters to merge: `lisa export .*run .*out`"):
        merge_checkpoint(tmp_path / "run", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_vlm_s_weights_can_be_stored_in_half_precision(dtype, small_run, small_vlm, tmp_path):
    model = small_run(tmp_path / "run", config_of("smolvlm", small_vlm("smolvlm")), LORA)
    folder = merge_checkpoint(tmp_path / "run", tmp_path / "merged", dtype)
    kinds = {value.dtype for value in load_file(folder / "vlm" / "model.safetensors").values()}
    assert kinds == {getattr(torch, dtype)}
    assert {value.dtype for value in load_file(folder / "model.safetensors").values()} == {torch.float32}
    assert AutoModelForImageTextToText.from_pretrained(folder / "vlm").dtype == getattr(torch, dtype)
    agree(drawn(load_checkpoint(folder)), drawn(model), share=0.02)


@pytest.mark.parametrize("family", ["clip-llm", "smolvlm"])
def test_a_merged_model_is_a_base_to_train_on_from(family, small_run, small_vlm, tmp_path):
    """The hint in `start_from`'s refusal is true: what it refuses can be trained on once it is merged."""
    model = small_run(tmp_path / "run", config_of(family, small_vlm(family)), LORA)
    whole = build_model(config_of(family, small_vlm(family)))
    apply_tuning(whole, TuningConfig())
    with pytest.raises(CheckpointError, match="`lisa merge`, and give its base folder as --vlm-model-name"):
        start_from(whole, tmp_path / "run")
    folder = merge_checkpoint(tmp_path / "run", tmp_path / "merged")
    base = (
        "+".join(f"{folder / 'vlm' / half}" for half in ("vision", "language"))
        if family == "clip-llm"
        else folder / "vlm"
    )
    for tuning in (TuningConfig(), TuningConfig(vlm_freeze=True), LORA):
        again = build_model(config_of(family, str(base)))
        apply_tuning(again, tuning)
        start_from(again, folder)
        agree(drawn(again.eval()), drawn(model))


def test_an_adapter_that_went_wrong_is_one_line(small_run, small_vlm, tmp_path):
    small_run(tmp_path / "run", config_of("clip-llm", small_vlm("clip-llm")), LORA)
    path = tmp_path / "run" / "best" / "model.safetensors"
    state = load_file(path)
    name = next(name for name in state if "lora_B" in name)
    state[name][0] = float("nan")
    save_file(state, path)
    with pytest.raises(CheckpointError, match="numbers that are not finite"):
        merge_checkpoint(tmp_path / "run", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_base_that_is_stored_quantized_is_refused(small_run, small_vlm, tmp_path):
    pytest.importorskip("bitsandbytes", reason="4- and 8-bit loading needs bitsandbytes")
    pair = ClipLLM.from_pretrained(small_vlm("clip-llm"), quantization="4bit")
    name = pair.save_pretrained(tmp_path / "rounded")
    model = build_model(config_of("clip-llm", name))
    apply_tuning(model, LORA)
    save_checkpoint(tmp_path / "run", model, {})
    with pytest.raises(ConfigError, match="is stored in 4 or 8 bits"):
        merge_checkpoint(tmp_path / "run", tmp_path / "out")


@pytest.fixture
def run(small_run, small_vlm, tmp_path) -> Path:
    """A run on a base of its own, which may be damaged."""
    shutil.copytree(small_vlm("smolvlm"), tmp_path / "base")
    small_run(tmp_path / "run", config_of("smolvlm", str(tmp_path / "base")), LORA)
    return tmp_path / "run"


def test_nothing_is_replaced_unless_it_is_an_older_model_and_asked_for(run, tmp_path):
    merge_checkpoint(run, tmp_path / "out")
    with pytest.raises(ConfigError, match="is not empty"):
        merge_checkpoint(run, tmp_path / "out")
    merge_checkpoint(run, tmp_path / "out", "bfloat16", overwrite=True)
    assert load_file(tmp_path / "out" / "vlm" / "model.safetensors").popitem()[1].dtype == torch.bfloat16
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="holds other things than a model"):
        merge_checkpoint(run, tmp_path / "thesis", overwrite=True)
    with pytest.raises(ConfigError, match="is a file"):
        merge_checkpoint(run, tmp_path / "thesis" / "chapter.txt", overwrite=True)
    for needed in (run, run / "best", tmp_path / "base", tmp_path):
        with pytest.raises(ConfigError, match="which the model is made from"):
            merge_checkpoint(run, needed, overwrite=True)
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"
    (tmp_path / "empty").mkdir()
    merge_checkpoint(run, tmp_path / "empty")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


class Interrupted(BaseException):
    """Ctrl-C."""


@pytest.mark.parametrize("where", ["vlm", "sync", "in place"])
def test_an_interrupted_merge_leaves_the_older_model_and_nothing_else(where, run, tmp_path, monkeypatch):
    merge_checkpoint(run, tmp_path / "out")
    before = sorted(tmp_path.iterdir())
    weights = (tmp_path / "out" / "vlm" / "model.safetensors").read_bytes()

    def stop(*args, **kwargs):
        raise Interrupted

    if where == "vlm":
        monkeypatch.setattr("lisa_core.standalone.write_files", stop)
    elif where == "sync":
        monkeypatch.setattr(staging, "finish", stop)
    else:
        rename = Path.rename

        def rename_some(path, out):
            if path.name.endswith(".new"):
                raise Interrupted
            return rename(path, out)

        monkeypatch.setattr(Path, "rename", rename_some)
    with pytest.raises(Interrupted):
        merge_checkpoint(run, tmp_path / "out", "bfloat16", overwrite=True)
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "out" / "vlm" / "model.safetensors").read_bytes() == weights
