"""Finer features see what they should, where they should."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from PIL import Image, ImageDraw

from lisa_core.build import build_model, sam_size
from lisa_core.data.collate import Collator, fine_pixels
from lisa_core.fine import FineFeatures, MaskRefinement, stem_pixels
from lisa_core.model_config import ModelConfig


def test_the_stem_starts_at_zero_and_learns_from_the_first_step() -> None:
    stem = FineFeatures(128)
    pixels = torch.randn(2, 3, 96, 64)
    half, quarter = stem(stem.stem(pixels), torch.zeros(2, 5, 6, 4))
    assert half.shape == (2, 32, 12, 8) and quarter.shape == (2, 16, 24, 16)
    assert not half.any() and not quarter.any()
    (half.sum() + quarter.sum()).backward()
    assert stem.to_quarter.weight.grad is not None and stem.to_quarter.weight.grad.any()
    assert stem.to_eighth.weight.grad is not None and stem.to_eighth.weight.grad.any()


def test_a_cell_sees_its_own_part_of_the_picture() -> None:
    torch.manual_seed(0)
    stem = FineFeatures(128)
    torch.nn.init.normal_(stem.to_quarter.weight)
    pixels = torch.zeros(1, 3, 96, 96)
    changed = pixels.clone()
    changed[..., 64:72, 16:24] = 2.0
    patches = torch.zeros(1, 5, 6, 6)
    quarters = [stem(stem.stem(picture), patches)[1] for picture in (changed, pixels)]
    difference = (quarters[0] - quarters[1]).abs().sum(1)[0]  # [24,24]
    rows, columns = (difference > 1e-4).nonzero(as_tuple=True)
    assert rows.min() >= 14 and rows.max() <= 20 and columns.min() >= 2 and columns.max() <= 8
    assert difference[16:18, 4:6].min() > 0


def test_pixels_are_squashed_to_the_side_and_normalized() -> None:
    image = Image.new("RGB", (80, 40), "white")
    ImageDraw.Draw(image).rectangle((0, 0, 39, 39), fill="black")
    pixels = fine_pixels(image, 32)
    assert pixels.shape == (3, 32, 32) and pixels.dtype == torch.uint8
    values = stem_pixels(pixels[None], torch.Size((2, 2)))[0]
    assert values.dtype == torch.float32
    assert (values[:, :, :15] == -1).all() and (values[:, :, 17:] == 1).all()


@pytest.mark.parametrize("mask_features", ["vlm", "sam"])
@pytest.mark.parametrize("vlm", ["clip-llm", "llava", "qwenvl"])
@torch.no_grad()
def test_a_model_with_new_parts_draws_as_without(vlm: str, mask_features: Literal["vlm", "sam"]) -> None:
    image = Image.effect_noise((90, 50), 60).convert("RGB")
    results = []
    for fine in (False, True):
        torch.manual_seed(0)
        parts = dict.fromkeys(("fine_features", "unfold_patches", "refine_masks"), fine)
        model = build_model(ModelConfig(vlm=vlm, vlm_model_name="tiny", mask_features=mask_features, **parts)).eval()
        batch = Collator(model.vlm, model.config, sam_size(model.config)).inputs([image], ["it"], ["It is [SEG]."], [0])
        assert ("fine_pixels" in batch) == fine
        results.append(model(batch).mask_logits)
    torch.testing.assert_close(results[0], results[1])


@torch.no_grad()
def test_the_stem_is_in_the_frame_of_the_mask_features() -> None:
    """LLaVA-1.5's picture is padded to a square: what the stem sees must move into the padded frame with it."""
    torch.manual_seed(0)
    model = build_model(ModelConfig(vlm="llava", vlm_model_name="tiny", fine_features=True)).eval()
    assert model.fine is not None
    torch.nn.init.normal_(model.fine.to_quarter.weight)
    plain = Image.new("RGB", (120, 60), "grey")
    marked = plain.copy()
    ImageDraw.Draw(marked).rectangle((0, 45, 14, 59), fill="white")  # bottom left of the picture
    collator = Collator(model.vlm, model.config, sam_size(model.config))
    fine = []
    for image in (plain, marked):
        encoded = model.encode_image(collator.inputs([image], ["it"], None, [0]))
        assert encoded.fine is not None
        fine.append(encoded.fine[1][0])
    strongest = (fine[1] - fine[0]).abs().sum(0).flatten().argmax().item()
    row, column = divmod(strongest, fine[0].shape[-1])
    side = fine[0].shape[-1]
    assert side * 0.6 < row < side * 0.76 and column < side * 0.15, (row, column, side)


@pytest.mark.parametrize("reads_pixels", [False, True])
def test_a_patch_unfolds_into_its_own_cells(reads_pixels: bool) -> None:
    torch.manual_seed(0)
    fine = FineFeatures(128, patch_dim=12, reads_pixels=reads_pixels)
    torch.nn.init.normal_(fine.to_quarter.weight)
    patches, seen = torch.randn(1, 12, 6, 6), torch.randn(1, 32, 24, 24) if reads_pixels else None
    changed = patches.clone()
    changed[0, :, 2, 4] += torch.randn(12)
    assert fine.unfold is not None
    moved = (fine.unfold(changed) - fine.unfold(patches)).abs().sum(1)[0] > 1e-4
    assert moved[8:12, 16:20].all() and moved.sum() == 16
    half, quarter = fine(seen, changed)
    assert half.shape == (1, 32, 12, 12) and quarter.shape == (1, 16, 24, 24)
    rows, columns = ((quarter - fine(seen, patches)[1]).abs().sum(1)[0] > 1e-4).nonzero(as_tuple=True)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (7, 12, 15, 20), "one cell of mixing around them"
    assert (fine.quarter is None) is not reads_pixels


@pytest.mark.parametrize("fusion", ["late", "joint"])
def test_every_new_part_is_drawn_with_and_learns(fusion: Literal["late", "joint"]) -> None:
    torch.manual_seed(0)
    model = build_model(
        ModelConfig(vlm="clip-llm", vlm_model_name="tiny", fusion=fusion, unfold_patches=True, refine_masks=True)
    )
    assert model.fine is not None and model.fine.quarter is None and model.refinement is not None
    for layer in (model.fine.to_quarter, model.fine.to_eighth, model.refinement.layers[-1]):
        torch.nn.init.normal_(layer.weight, std=0.1)  # type: ignore[arg-type]
    image = Image.effect_noise((90, 50), 60).convert("RGB")
    batch = Collator(model.vlm, model.config, sam_size(model.config)).inputs([image], ["it"], ["It is [SEG]."], [0])
    assert "fine_pixels" not in batch
    model(batch).mask_logits.square().sum().backward()
    for part in (model.fine, model.refinement):
        assert all(value.grad is not None and value.grad.any() for value in part.parameters())


def test_neighbours_hear_of_one_another() -> None:
    torch.manual_seed(0)
    refinement = MaskRefinement(16)
    drawn = torch.randn(1, 16, 40, 40)
    assert torch.equal(refinement(drawn), drawn), "a new one changes nothing"
    torch.nn.init.normal_(refinement.layers[-1].weight)  # type: ignore[arg-type]
    changed = drawn.clone()
    changed[..., 20, 20] += 3
    rows, columns = ((refinement(changed) - refinement(drawn)).abs().sum(1)[0] > 1e-6).nonzero(as_tuple=True)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (12, 28, 12, 28)


@torch.no_grad()
def test_the_stem_works_no_finer_than_the_decoder_draws():
    model = build_model(ModelConfig(vlm="clip-llm", vlm_model_name="tiny", fine_features=True)).eval()
    seen = []
    assert model.fine is not None
    assert model.fine.quarter is not None
    model.fine.quarter.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[-1]))
    collator = Collator(model.vlm, model.config, sam_size(model.config))
    batch = collator.inputs([Image.new("RGB", (40, 30))], ["the dot"], ["It is [SEG]."], [0])
    side = model.encode_image(batch).mask_features.shape[-1]
    large = {**batch, "fine_pixels": torch.randint(256, (1, 3, 384, 384), dtype=torch.uint8)}
    model.encode_image(large)
    assert seen == [batch["fine_pixels"].shape[-1], 16 * side]
