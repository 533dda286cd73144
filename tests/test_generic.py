"""Models that no adapter knows: real architectures, small, read through nothing but transformers' own conventions."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from PIL import Image

from lisa_core import generic
from lisa_core.build import build_model, build_vlm
from lisa_core.checkpoint import load_checkpoint, save_checkpoint
from lisa_core.config import ModelConfig
from lisa_core.errors import ConfigError
from lisa_core.generic import GenericVLM
from lisa_core.segmenter import Segmenter
from lisa_core.testing import ALL_CHECKS, Subject
from lisa_core.testing.run import run_check

ARCHITECTURES = ["llava_onevision", "internvl", "gemma3"]
QUESTIONS = ["Segment the red circle.", "Segment the zany wombat on the far left, please.", "Segment it."]
ANSWERS = ["It is [SEG]."] * 3
KEYS = {
    "llava_onevision": {"pixel_values", "image_sizes", "batch_num_images"},
    "internvl": {"pixel_values"},
    "gemma3": {"pixel_values", "token_type_ids"},
}


@pytest.fixture(scope="module", params=ARCHITECTURES)
def folder(request, small_checkpoint):
    return small_checkpoint(request.param)


@pytest.fixture(scope="module")
def vlm(folder):
    return GenericVLM.from_pretrained(str(folder)).eval()


@pytest.fixture(scope="module")
def subject(folder):
    return Subject(lambda: GenericVLM.from_pretrained(str(folder)))


@pytest.fixture(scope="module")
def pictures():
    generator = torch.Generator().manual_seed(0)
    sizes = [(160, 90), (96, 96), (70, 150)]
    noise = [
        torch.randint(0, 255, (height, width, 3), dtype=torch.uint8, generator=generator) for width, height in sizes
    ]
    return [Image.fromarray(picture.numpy()) for picture in noise]


@pytest.mark.parametrize("check", ALL_CHECKS, ids=lambda check: check.name)
def test_the_conformance_kit_finds_nothing_wrong(subject, check):
    result = run_check(check, subject)
    assert result.status != "failed", result.message
    needs_grid = {"registration", "grid_covers_picture"}
    assert (result.status == "not applicable") == (check.name in needs_grid | {"light_import", "spec_valid"})


@torch.no_grad()
def test_hidden_states_and_logits_are_those_of_a_plain_transformers_call(vlm, pictures):
    batch = vlm.preprocess(pictures[:2], QUESTIONS, ANSWERS, image_index=[1, 0, 1])
    kind = vlm.model.config.model_type
    inputs = {key: batch[key] for key in {"input_ids", "attention_mask", *KEYS[kind]}}
    expected = vlm.model(**inputs, output_hidden_states=True)
    output = vlm(batch)
    assert torch.equal(output.hidden, expected.hidden_states[-1]) and torch.equal(output.logits, expected.logits)


@torch.no_grad()
def test_there_are_no_patches_for_as_many_pictures_as_there_are(vlm, pictures):
    features = vlm.encode_image(vlm.preprocess(pictures[:2], QUESTIONS, ANSWERS, image_index=[1, 0, 1]))
    assert features.sequence.shape == (2, 0, vlm.dims.vision) and features.grid.shape == (2, vlm.dims.vision, 0, 0)
    assert features.content.tolist() == [[0, 0, 1, 1]] * 2


def test_the_text_part_alone_reads_no_picture(vlm, pictures):
    with pytest.raises(ConfigError, match="needs --fusion joint"):
        vlm.preprocess(pictures, QUESTIONS, joint=False)


@pytest.mark.parametrize("config", [{}, {"mask_features": "sam", "fusion": "late"}], ids=["vlm", "late"])
def test_what_needs_a_grid_is_refused_before_anything_is_loaded(folder, monkeypatch, config):
    monkeypatch.setattr(GenericVLM, "from_pretrained", lambda *_: pytest.fail("loaded"))
    with pytest.raises(ConfigError, match="knows of no image grid"):
        build_model(ModelConfig(vlm="generic", vlm_model_name=str(folder), sam="tiny", **config))


@torch.no_grad()
@pytest.mark.parametrize("similarity_map", [True, False])
def test_a_checkpoint_gives_the_same_masks_bit_for_bit(folder, pictures, tmp_path, similarity_map):
    config = ModelConfig(
        vlm="generic", vlm_model_name=str(folder), mask_features="sam", sam="tiny", similarity_map=similarity_map
    )
    torch.manual_seed(0)
    model = build_model(config).eval()
    for parameter in model.parameters():
        parameter.add_(0.02 * torch.randn(parameter.shape))
    save_checkpoint(tmp_path / "ckpt", model, {})
    loaded = load_checkpoint(tmp_path / "ckpt")
    assert type(loaded.vlm) is GenericVLM and loaded.config == config
    masks = [Segmenter(one).set_image(pictures[0]).segment_many(QUESTIONS) for one in (model, loaded)]
    for one, other in zip(*masks):
        assert one.logits.shape == (90, 160) and (one.logits == other.logits).all()


def test_it_is_warned_of_once(folder, monkeypatch, capsys):
    monkeypatch.setattr(generic, "_warned", set())
    for _ in range(2):
        build_vlm(ModelConfig(vlm="generic", vlm_model_name=str(folder), mask_features="sam"))
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lisa: warning: ")]
    assert "without an image grid" in line and "lisa plugins new NAME" in line and "docs/write-an-adapter.md" in line


@pytest.mark.slow
def test_train_and_segment_on_the_command_line(folder, scenes, run_lisa, tmp_path):
    shutil.copytree(scenes, tmp_path / "scenes")
    environ = {"LISA_PLUGINS": "", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    trained = run_lisa(
        *("train", "--vlm-model-name", str(folder), "--mask-features", "sam", "--sam", "tiny", "--data", "scenes"),
        *("--output-dir", "run", "--num-epochs", "1", "--batch-size", "8", "--device", "cpu"),
        **environ,
    )
    assert trained.returncode == 0, trained.stderr
    assert trained.stderr.count("lisa: warning: --vlm generic") == 1
    assert f"✓ VLM loaded: generic ({folder})" in trained.stderr
    meta = json.loads((tmp_path / "run" / "best" / "lisa.json").read_text())
    assert (meta["model"]["vlm"], meta["plugin"]["distribution"]) == ("generic", "lisa-core")
    picture = sorted((tmp_path / "scenes" / "val").glob("*.jpg"))[0]
    drawn = run_lisa("segment", "run", str(picture), "the red ring", "the ring", "-o", "out", **environ)
    assert drawn.returncode == 0, drawn.stderr
    assert len(list((tmp_path / "out").glob("*.png"))) >= 2


def test_it_has_no_tiny_model():
    with pytest.raises(ConfigError, match="no tiny model"):
        GenericVLM.tiny()


@pytest.mark.parametrize(
    ("model_type", "said"),
    [("qwen3", "does not load as an image-text-to-text model"), ("clip", "is a clip checkpoint")],
)
def test_other_checkpoints_are_refused_before_they_are_loaded(tmp_path, model_type, said):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    with pytest.raises(ConfigError, match=said):
        GenericVLM.from_pretrained(str(tmp_path))


class TestWhatItCannotRead:
    """Each way a model may not fit into rows of tokens with one chat template is one line."""

    @pytest.fixture
    def parts(self, small_checkpoint):
        vlm = GenericVLM.from_pretrained(str(small_checkpoint("gemma3")))
        return vlm.model, vlm.processor

    def refusal(self, model, processor) -> str:
        with pytest.raises(ConfigError) as caught:
            GenericVLM(model, processor)
        assert "docs/write-an-adapter.md" in str(caught.value)
        return str(caught.value)

    def test_no_chat_template(self, parts):
        parts[1].chat_template = None
        assert "has no chat template" in self.refusal(*parts)

    def test_no_processor_for_both(self, parts):
        assert "no processor for pictures and text" in self.refusal(parts[0], parts[1].tokenizer)

    def test_an_encoder_and_a_decoder(self, parts):
        parts[0].config.is_encoder_decoder = True
        assert "in two separate rows" in self.refusal(*parts)

    def test_states_that_are_not_the_tokens(self, parts, monkeypatch, pictures):
        vlm = GenericVLM(*parts)
        batch = vlm.preprocess(pictures[:1], QUESTIONS[:1])
        inner = vlm.model.model.forward

        def longer(*args, **inputs):
            output = inner(*args, **inputs)
            output.last_hidden_state = torch.cat([output.last_hidden_state[:, :3], output.last_hidden_state], 1)
            return output

        monkeypatch.setattr(vlm.model.model, "forward", longer)
        with pytest.raises(ConfigError, match="it is not known which of them is"):
            vlm(batch)

    def test_inputs_with_several_values_for_each_position(self, parts, pictures):
        vlm = GenericVLM(*parts)
        batch = vlm.preprocess(pictures[:1], QUESTIONS[:1])
        batch["cross_attention_mask"] = torch.ones(*batch["input_ids"].shape, 1, 4)
        for refused in (lambda: vlm.generate(batch), lambda: vlm.continued(batch, [batch["input_ids"][0]])):
            with pytest.raises(ConfigError, match="cross_attention_mask"):
                refused()


@torch.no_grad()
def test_a_model_without_an_inner_one_is_read_by_its_last_hidden_states(small_checkpoint, pictures):
    vlm = GenericVLM.from_pretrained(str(small_checkpoint("gemma3"))).eval()
    batch = vlm.preprocess(pictures, QUESTIONS, ANSWERS)
    expected = vlm(batch).hidden

    class Whole(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.whole, self.config, self.dtype = model, model.config, model.dtype

        def forward(self, **inputs):
            return self.whole(**inputs)

        def get_output_embeddings(self):
            return self.whole.get_output_embeddings()

    vlm.model = Whole(vlm.model)
    assert torch.equal(vlm(batch).hidden, expected)


def test_lora_leaves_the_vision_tower_alone(vlm):
    assert vlm.lora_targets() and not [name for name in vlm.lora_targets() if "vision" in name]
    layers = [name for name, _ in vlm.model.named_modules() if name.endswith(("q_proj", "v_proj")) and "vision" in name]
    assert layers, "the test needs a tower with layers of the same names"
