"""The convolutional stem sees what it should, where it should."""

from __future__ import annotations

import pytest
import torch
from PIL import Image, ImageDraw

from lisa_core.build import build_model, sam_size
from lisa_core.connectors import FineFeatures
from lisa_core.data.collate import Collator, fine_pixels
from lisa_core.model_config import ModelConfig


def test_the_stem_starts_at_zero_and_learns_from_the_first_step() -> None:
    stem = FineFeatures(128)
    pixels = torch.randn(2, 3, 96, 64)
    half, quarter = stem(pixels)
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
    difference = (stem(changed)[1] - stem(pixels)[1]).abs().sum(1)[0]  # [24,24]
    rows, columns = (difference > 1e-4).nonzero(as_tuple=True)
    assert rows.min() >= 14 and rows.max() <= 20 and columns.min() >= 2 and columns.max() <= 8
    assert difference[16:18, 4:6].min() > 0


def test_pixels_are_squashed_to_the_side_and_normalized() -> None:
    image = Image.new("RGB", (80, 40), "white")
    ImageDraw.Draw(image).rectangle((0, 0, 39, 39), fill="black")
    pixels = fine_pixels(image, 32)
    assert pixels.shape == (3, 32, 32) and pixels.dtype == torch.float32
    assert (pixels[:, :, :15] == -1).all() and (pixels[:, :, 17:] == 1).all()


@pytest.mark.parametrize("vlm", ["clip-llm", "llava", "qwenvl"])
@torch.no_grad()
def test_a_model_with_new_stem_draws_as_without(vlm: str) -> None:
    image = Image.effect_noise((90, 50), 60).convert("RGB")
    results = []
    for fine in (False, True):
        torch.manual_seed(0)
        model = build_model(ModelConfig(vlm=vlm, vlm_model_name="tiny", fine_features=fine)).eval()
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
