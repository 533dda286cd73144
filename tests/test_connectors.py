"""What the connectors read, and what they do not."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from PIL import Image

from lisa_core.build import build_model, sam_size
from lisa_core.connectors import MapLevel, SimilarityMap, TextSAMConnector, _places
from lisa_core.data.collate import Collator
from lisa_core.geometry import unpad
from lisa_core.model_config import ModelConfig


def test_places_are_those_in_the_picture_not_in_the_grid() -> None:
    whole = _places(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), 2, 4)[0]
    assert torch.allclose(whole[0], torch.tensor([-0.75, -0.25, 0.25, 0.75]).expand(2, 4))
    assert torch.allclose(whole[1], torch.tensor([[-0.5], [0.5]]).expand(2, 4))
    assert torch.allclose(whole[4], whole[0] * whole[1]) and torch.allclose(whole[2], whole[0] ** 2)
    # Of a picture that is padded above and below, the grid's middle half shows all of it.
    padded = _places(torch.tensor([[0.0, 0.25, 1.0, 0.75]]), 8, 4)[0]
    assert torch.allclose(padded[1, 2:6, 0], torch.tensor([-0.75, -0.25, 0.25, 0.75]))
    assert padded[1, 0, 0] < -1 and padded[1, 7, 0] > 1


def test_the_map_learns_a_side_that_no_patch_shows() -> None:
    torch.manual_seed(0)
    similarity = SimilarityMap(16, 8)
    optimizer = torch.optim.AdamW(similarity.parameters(), lr=1e-2)
    grid, content = torch.zeros(1, 8, 6, 6), torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    prompts, index = torch.randn(2, 4, 16), torch.zeros(2, dtype=torch.long)
    target = torch.zeros(2, 1, 6, 6)
    target[0, ..., :3] = target[1, ..., 3:] = 1
    for _ in range(60):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(similarity(prompts, grid, index, content), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.equal(similarity(prompts, grid, index, content) > 0, target.bool())


def test_one_state_is_read_as_it_is_and_padding_is_not_read() -> None:
    torch.manual_seed(0)
    connector = TextSAMConnector(24, 16, 4)
    state = torch.randn(3, 1, 24)
    assert connector.gate is None and connector(state, torch.ones(3, 1, dtype=torch.bool)).shape == (3, 4, 16)
    words, mask = torch.randn(2, 5, 24), torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]).bool()
    changed = words.clone()
    changed[0, 3:] = 7.0
    assert torch.allclose(connector(words, mask), connector(changed, mask), atol=1e-6)
    torch.testing.assert_close(connector(words[:1, :3], mask[:1, :3]), connector(words, mask)[:1])


def test_every_word_is_heard_before_anything_is_learnt_and_patches_are_not() -> None:
    torch.manual_seed(0)
    connector = TextSAMConnector(24, 16, 4, reads_patches=True)
    words, mask = torch.randn(1, 6, 24), torch.ones(1, 6, dtype=torch.bool)
    patches = torch.randn(1, 300, 24)
    before = connector(words, mask, patches)
    assert torch.equal(before, connector(words, mask, torch.randn(1, 300, 24)))
    for word in range(6):
        other = words.clone()
        other[0, word] = torch.randn(24)
        assert (connector(other, mask, patches) - before).abs().mean() > 0.02 * before.abs().mean()
    before.sum().backward()
    assert connector.gate is not None and connector.gate.grad is not None and connector.gate.grad.abs() > 0


def with_an_open_gate() -> TextSAMConnector:
    torch.manual_seed(0)
    connector = TextSAMConnector(24, 16, 4, reads_patches=True)
    assert connector.gate is not None
    torch.nn.init.ones_(connector.gate)
    return connector


def test_sentences_about_one_picture_read_its_patches_once() -> None:
    connector = with_an_open_gate()
    words, mask = torch.randn(3, 6, 24), torch.ones(3, 6, dtype=torch.bool)
    patches, index = torch.randn(2, 9, 24), torch.tensor([1, 0, 1])
    shared = connector(words, mask, patches, index)
    torch.testing.assert_close(shared, connector(words, mask, patches[index]))
    assert not torch.allclose(shared, connector(words, mask, patches.flip(0), index), atol=1e-3)


@torch.no_grad()
def test_late_prompts_read_averages_of_the_picture_alone() -> None:
    """LLaVA-1.5 pads pictures to squares; of the padding the prompts hear nothing."""
    torch.manual_seed(0)
    model = build_model(ModelConfig(vlm="llava", vlm_model_name="tiny", fusion="late")).eval()
    assert model.image_text is not None
    read: list[torch.Tensor] = []
    model.image_text.register_forward_pre_hook(lambda _, args: read.append(args[0]))
    image = Image.effect_noise((120, 40), 60).convert("RGB")
    batch = Collator(model.vlm, model.config, sam_size(model.config)).inputs([image], ["it"], None, [0])
    encoded = model.encode_image(batch)
    for nothing in (0.0, 50.0):
        patches = encoded.patches.clone()
        top = encoded.patch_content[0, 1] * patches.shape[-2]
        assert top >= 2, "the picture must be padded for this to show anything"
        patches[:, :, : int(top) - 1] = nothing
        model(batch, dataclasses.replace(encoded, patches=patches))
    assert read[0].shape[1] <= 64 and read[0].std() > 0
    torch.testing.assert_close(read[0], read[1])


@torch.no_grad()
def test_a_map_that_rises_nowhere_points_all_the_same() -> None:
    """What the decoder is given of a relative map does not depend on its level, but for what the prompts know of it."""
    level = MapLevel(8)
    prompts, maps = torch.randn(2, 3, 8), torch.randn(2, 1, 4, 4)
    told, shown = level(prompts, maps, maps[:, 0])
    assert torch.equal(told, prompts), "a new one changes no prompt"
    assert torch.equal(shown.amax((1, 2, 3)), torch.zeros(2))
    torch.testing.assert_close(level(prompts, maps - 9, maps[:, 0] - 9)[1], shown)
    torch.nn.init.ones_(level.level.weight)
    told = level(prompts, maps - 9, maps[:, 0] - 9)[0]
    torch.testing.assert_close(told - prompts, (maps.amax((1, 2, 3)) - 9)[:, None, None].expand(2, 3, 8))


@torch.no_grad()
def test_the_peak_is_sought_in_the_picture_not_beside_it() -> None:
    """LLaVA-1.5 pads pictures to squares; what the map says of the padding is no place to draw."""
    torch.manual_seed(0)
    model = build_model(ModelConfig(vlm="llava", vlm_model_name="tiny", map_prompt="relative")).eval()
    collator = Collator(model.vlm, model.config, sam_size(model.config))
    batch = collator.inputs([Image.effect_noise((120, 40), 60).convert("RGB")], ["it"], ["It is [SEG]."], [0])
    given: list[torch.Tensor] = []
    model.decoder.register_forward_pre_hook(lambda _, args: given.append(args[3]))
    output = model(batch)
    assert model.map_level is not None and output.similarity_logits is not None
    content = model.encode_image(batch).mask_content
    shown = unpad(given[0], content, output.similarity_logits.shape[-2:])[:, 0]
    assert shown.amax().item() == pytest.approx(0, abs=0.2)
    torch.testing.assert_close(shown, output.similarity_logits - output.similarity_logits.amax(), atol=0.3, rtol=0)
