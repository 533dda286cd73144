"""The kit passes a right adapter, and catches each way of being wrong with the check that is meant for it."""

from __future__ import annotations

import dataclasses
import importlib.util
import socket
import sys
from pathlib import Path

import pytest
import torch
from transformers import SmolVLMForConditionalGeneration

from lisa_core import SEG_TOKEN, VLMDims
from lisa_core.registry import get_registry
from lisa_core.testing import ALL_CHECKS, Subject, VLMSuite, run_checks
from lisa_core.vlm import VLMOutput
from lisa_paligemma.vlm import PaliGemma
from lisa_qwenvl.vlm import QwenVL
from lisa_smolvlm.vlm import SmolVLM

SPEC = get_registry().vlm_spec("smolvlm")


class TestClipLLM(VLMSuite):
    @pytest.fixture(scope="class")
    def adapter(self):
        return "clip-llm"


class ConnectsToTheNetwork(SmolVLM):
    @classmethod
    def tiny(cls):
        socket.create_connection(("127.0.0.1", 9), timeout=1)
        return super().tiny()


class StandIn(SmolVLMForConditionalGeneration):
    """What only looks like the family's class."""


class IsAStandIn(SmolVLM):
    def __init__(self, model, processor):
        super().__init__(model, processor)
        model.__class__ = StandIn


class AcceptsAnyOption(SmolVLM):
    def configure(self, **options):
        pass


class SaysWrongWidths(SmolVLM):
    @property
    def dims(self):
        return VLMDims(vision=super().dims.vision + 8, text=super().dims.text)


class ForgetsASetting(SmolVLM):
    limit = 1e9

    @classmethod
    def tiny(cls):
        vlm = super().tiny()
        vlm.limit = 0.5
        return vlm

    def image_grid(self, output, batch):
        return super().image_grid(output, batch).clamp(-self.limit, self.limit)

    @classmethod
    def from_pretrained(cls, model_name, quantization=None):
        vlm = super().from_pretrained(model_name, quantization)
        vlm.limit = 0.5
        return vlm


class LoadsNoWeights(SmolVLM):
    @classmethod
    def from_pretrained(cls, model_name, quantization=None):
        if quantization is not None:
            return super().from_pretrained(model_name, quantization)
        return cls.from_config(Path(model_name))


class IgnoresQuantization(SmolVLM):
    @classmethod
    def from_pretrained(cls, model_name, quantization=None):
        return super().from_pretrained(model_name)


class DoesNotRefuseQuantization(IgnoresQuantization):
    quantizations = ()


class TransposesTheGrid(SmolVLM):
    def image_grid(self, output, batch):
        return super().image_grid(output, batch).transpose(2, 3)


class IsOnePatchOff(SmolVLM):
    def image_grid(self, output, batch):
        return super().image_grid(output, batch).flatten(2).roll(1, 2).unflatten(2, (12, 12))


class SaysAnotherGridSide(SmolVLM):
    @property
    def grid_side(self):
        return super().grid_side + 1


class CropsTheCentre(SmolVLM):
    def prepare_image(self, image):
        side = min(image.size) * 3 // 4
        left, top = (image.width - side) // 2, (image.height - side) // 2
        return image.crop((left, top, left + side, top + side))


class CoversTheCentreOnly(SmolVLM):
    """Registered where it looks, blind at the border."""

    def prepare_image(self, image):
        picture = image.copy()
        width, height = image.size
        for box in ((0, 0, width // 8, height), (width - width // 8, 0, width, height)):
            picture.paste((40, 40, 40), box)
        return picture


class ReversesTheSequence(SmolVLM):
    def encode_image(self, batch):
        features = super().encode_image(batch)
        return dataclasses.replace(features, sequence=features.sequence.flip(1))


class NormalizesOverTheBatch(SmolVLM):
    def image_grid(self, output, batch):
        grid = super().image_grid(output, batch)
        return grid - grid.mean(0, keepdim=True)


class ForgetsThatGridsDiffer(QwenVL):
    dynamic_grid = False


class IgnoresTheImageIndex(SmolVLM):
    def select_images(self, output, index):
        return super().select_images(output, torch.arange(len(index)) % len(output.pooler_output))


class HidesThePicture(SmolVLM):
    def __init__(self, model, processor):
        super().__init__(model, processor)
        model.model.connector.register_forward_hook(lambda _module, _args, output: output * 0)


class LeaksPadding(SmolVLM):
    def encode_text(self, batch):
        states = super().encode_text(batch)
        return states - states.mean(1, keepdim=True)


class DropsAKeyOfTheBatch(SmolVLM):
    def preprocess(self, *args, **kwargs):
        batch = super().preprocess(*args, **kwargs)
        del batch["pixel_attention_mask"]
        return batch


class DropsTokenTypes(PaliGemma):
    def _text_inputs(self, batch):
        return {key: value for key, value in super()._text_inputs(batch).items() if key != "token_type_ids"}


class AnswersTwice(SmolVLM):
    def rows(self, questions, answers):
        prompts, replies = super().rows(questions, answers)
        return prompts, [reply and f" {SEG_TOKEN}{reply}" for reply in replies]


class LabelsEverything(SmolVLM):
    def preprocess(self, *args, **kwargs):
        batch = super().preprocess(*args, **kwargs)
        return {**batch, "labels": batch["input_ids"].clone()} if "labels" in batch else batch


class IsOneStateLate(SmolVLM):
    def forward(self, batch, features=None, with_logits=True):
        output = super().forward(batch, features, with_logits)
        late = torch.cat([output.hidden[:, :1], output.hidden[:, :-1]], 1)
        return VLMOutput(hidden=late, logits=output.logits)


class ForgetsWhoSpeaks(PaliGemma):
    """Reads what was generated as if it were the question."""

    @property
    def continuation_values(self):
        return {}


class GeneratesWithoutThePrompt(SmolVLM):
    def generate(self, batch, max_new_tokens=32):
        lengths = batch["attention_mask"].sum(1).tolist()
        return [row[length:] for row, length in zip(super().generate(batch, max_new_tokens), lengths)]


class RestoresTypedTokens(SmolVLM):
    def preprocess(self, images, questions, *args, **kwargs):
        return super().preprocess(images, [text.replace("[ SEG]", SEG_TOKEN) for text in questions], *args, **kwargs)


class CountsOnOneSeg(SmolVLM):
    def rows(self, questions, answers):
        full = [text if SEG_TOKEN in text else f"{text} {SEG_TOKEN}" for text in answers] if answers else answers
        return super().rows(questions, full)


class ThawsTheVisionTower(SmolVLM):
    def train(self, mode=True):
        if mode:
            self.model.model.vision_model.requires_grad_(True)
        return super().train(mode)


class CutsTheGradient(SmolVLM):
    def forward(self, batch, features=None, with_logits=True):
        output = super().forward(batch, features, with_logits)
        return VLMOutput(hidden=output.hidden.detach(), logits=output.logits)


class AdaptsTheVisionTower(SmolVLM):
    def lora_targets(self):
        names = [name for name, _ in self.model.named_modules()]
        return [name for name in names if "vision_model" in name and name.endswith("q_proj")]


class ScoresWithoutGradient(SmolVLM):
    def lm_logits(self, hidden):
        return super().lm_logits(hidden.detach())


class PeeksAtThePicture(SmolVLM):
    def encode_text(self, batch):
        return super().encode_text(batch) + batch["pixel_values"].mean()


class MovesABuffer(SmolVLM):
    def __init__(self, model, processor):
        super().__init__(model, processor)
        model.model.connector.register_buffer("calls", torch.zeros(1))

    def encode_image(self, batch):
        self.model.model.connector.calls += self.training
        return super().encode_image(batch)


class CutsTheEmbedding(SmolVLM):
    def __init__(self, model, processor):
        super().__init__(model, processor)

        def cut(_module, args, kwargs):
            embeds = kwargs.get("inputs_embeds")
            return args, {**kwargs, "inputs_embeds": embeds.detach() if embeds is not None else None}

        model.model.text_model.register_forward_pre_hook(cut, with_kwargs=True)


class TrainsAllRows(SmolVLM):
    """Thaws the whole table where only one row may move."""

    def train(self, mode=True):
        if mode:
            self.model.get_input_embeddings().requires_grad_(True)
        return super().train(mode)


class AnswersInFloat32(SmolVLM):
    def forward(self, batch, features=None, with_logits=True):
        output = super().forward(batch, features, with_logits)
        return VLMOutput(hidden=output.hidden.float(), logits=output.logits)


def mutant(cls: type, check: str, *related: str) -> object:
    return pytest.param(Subject(cls.tiny), check, set(related), id=cls.__name__)


NEEDS_DIMS = ("config_round_trip", "masks_keep_their_own", "seg_counts", "gradients", "seg_row_trains")
"""Checks that put connectors around the VLM, whose shapes come from `dims`."""

MUTANTS = [
    pytest.param(Subject(SmolVLM.tiny, module="heavy_plugin"), "light_import", set(), id="ImportsTorch"),
    pytest.param(
        Subject(SmolVLM.tiny, dataclasses.replace(SPEC, model_types=("smolvlm",))), "spec_valid", set(), id="ClaimsLess"
    ),
    pytest.param(
        Subject(SmolVLM.tiny, dataclasses.replace(SPEC, target="lisa_smolvlm.vlm:Any")), "spec_valid", set(), id="NoVLM"
    ),
    mutant(IsAStandIn, "tiny_offline"),
    mutant(AcceptsAnyOption, "options_declared"),
    mutant(SaysWrongWidths, "dims_true", *NEEDS_DIMS),
    mutant(ForgetsASetting, "config_round_trip"),
    mutant(LoadsNoWeights, "pretrained_round_trip"),
    mutant(IgnoresQuantization, "quantization_declared"),
    mutant(DoesNotRefuseQuantization, "quantization_declared"),
    mutant(TransposesTheGrid, "registration"),
    mutant(IsOnePatchOff, "registration"),
    mutant(CropsTheCentre, "grid_covers_picture", "registration"),
    mutant(CoversTheCentreOnly, "grid_covers_picture"),
    mutant(ReversesTheSequence, "sequence_is_grid"),
    mutant(SaysAnotherGridSide, "sequence_is_grid"),
    mutant(NormalizesOverTheBatch, "batched_equals_single", "masks_keep_their_own"),
    mutant(ForgetsThatGridsDiffer, "masks_keep_their_own"),
    mutant(IgnoresTheImageIndex, "pictures_are_shared"),
    mutant(HidesThePicture, "picture_reaches_language"),
    mutant(LeaksPadding, "padding_changes_nothing", "masks_keep_their_own"),
    mutant(DropsAKeyOfTheBatch, "opaque_keys_survive"),
    # Without token types the prompt is not read as a whole, and training refuses to start.
    mutant(
        DropsTokenTypes,
        "opaque_keys_survive",
        *("batched_equals_single", "masks_keep_their_own", "padding_changes_nothing", "pictures_are_shared"),
        *("generation_parity", "gradients", "seg_row_trains", "seg_positions"),
    ),
    # With more masks than targets, training refuses to start.
    mutant(AnswersTwice, "seg_is_one_token", "seg_counts", "masks_keep_their_own", "gradients", "seg_row_trains"),
    mutant(LabelsEverything, "labels_are_the_answer"),
    mutant(IsOneStateLate, "seg_positions"),
    mutant(ForgetsWhoSpeaks, "generation_parity"),
    mutant(GeneratesWithoutThePrompt, "generation_parity"),
    mutant(RestoresTypedTokens, "typed_tokens_are_words"),
    mutant(CountsOnOneSeg, "seg_counts"),
    mutant(ThawsTheVisionTower, "gradients"),
    mutant(CutsTheGradient, "gradients", "seg_row_trains", "quantization_declared"),
    mutant(AdaptsTheVisionTower, "gradients"),
    mutant(ScoresWithoutGradient, "gradients"),
    mutant(PeeksAtThePicture, "picture_reaches_language", "masks_keep_their_own"),
    mutant(MovesABuffer, "gradients"),
    mutant(CutsTheEmbedding, "seg_row_trains", "gradients"),
    mutant(TrainsAllRows, "seg_row_trains", "gradients"),
    mutant(AnswersInFloat32, "bfloat16_agrees"),
]


def failures(adapter: object) -> dict[str, str]:
    return {result.name: result.message for result in run_checks(adapter) if result.status == "failed"}


@pytest.fixture
def heavy_plugin(tmp_path, monkeypatch):
    (tmp_path / "heavy_plugin.py").write_text("import torch\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("heavy_plugin")
@pytest.mark.parametrize(("subject", "check", "related"), MUTANTS)
def test_a_wrong_adapter_fails_the_check_meant_for_it_and_no_unrelated_one(subject, check, related):
    failed = failures(Subject(subject.build, subject.spec, subject.module))
    assert check in failed, f"not caught; failed instead: {failed}"
    assert set(failed) <= {check, *related}, failed


def test_every_check_has_a_wrong_adapter_that_it_catches():
    assert {parameter.values[1] for parameter in MUTANTS} == {check.name for check in ALL_CHECKS}


def test_a_tiny_model_that_needs_the_network_is_caught():
    # Nothing else can be checked of it.
    results = run_checks(ConnectsToTheNetwork.tiny, ["tiny_offline"])
    assert [(result.status, result.message) for result in results] == [("failed", "`tiny` opens a network connection")]


def test_a_failure_says_what_is_wrong_and_how_to_mend_it():
    (result,) = run_checks(TransposesTheGrid.tiny, ["registration"])
    assert (
        "30 of 36 cells of a square picture are misplaced: cell (row 0, column 1) shows at (row 1, column 0)"
        in result.message
    )
    assert "row-major" in result.mend
    assert all(check.mend and check.title for check in ALL_CHECKS)


def test_without_bitsandbytes_a_clear_refusal_is_all_that_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)  # importing it now fails
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "bitsandbytes" else find_spec(name))
    (result,) = run_checks(SmolVLM.tiny, ["quantization_declared"])
    assert result.status == "not applicable" and "pip install lisa-core[quantize]" in result.message
    (result,) = run_checks(IgnoresQuantization.tiny, ["quantization_declared"])
    assert result.status == "failed" and "impossible without bitsandbytes" in result.message
