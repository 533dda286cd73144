"""The similarity map: where it points, and what it can tell apart."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from PIL import Image

from lisa_core.build import build_model, sam_size
from lisa_core.data.collate import Collator
from lisa_core.geometry import unpad
from lisa_core.model_config import ModelConfig
from lisa_core.similarity import MapAggregation, MapLevel, SimilarityMap, _places


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


def beside(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Grids [N,8,7,7] with two patches of one kind, one of them left of a patch of another; and where that one is."""
    grids, targets = 0.1 * torch.randn(count, 8, 7, 7), torch.zeros(count, 1, 7, 7)
    for number in range(count):
        upper, lower = torch.randperm(6)[:2].tolist()
        asked, other = torch.randint(0, 5, (2,)).tolist()
        grids[number, 0, upper, asked] = grids[number, 0, lower, other] = 3.0
        grids[number, 1, upper, asked + 2] = grids[number, 1, lower, max(0, other - 2)] = 3.0
        targets[number, 0, upper, asked] = 1
    return grids, targets


def learnt(
    similarity: SimilarityMap,
    sample: Callable[[], tuple[torch.Tensor, torch.Tensor]],
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Maps [N,1,h,w] of a new sample after 120 steps on others, all for one sentence; and the sample's targets."""
    optimizer = torch.optim.AdamW(similarity.parameters(), lr=1e-2)
    prompts, content = torch.randn(1, 2, 16), torch.tensor([[0.0, 0.0, 1.0, 1.0]])

    def maps(grids: torch.Tensor) -> torch.Tensor:
        count = len(grids)
        return similarity(prompts.expand(count, -1, -1), grids, torch.arange(count), content.expand(count, 4))

    for _ in range(120):
        grids, targets = sample()
        optimizer.zero_grad()
        loss(maps(grids), targets).backward()
        optimizer.step()
    grids, targets = sample()
    return maps(grids), targets


@pytest.mark.parametrize(("aggregates", "least", "most"), [(True, 0.9, None), (False, 0.2, 0.75)])
def test_what_stands_beside_what_is_told_by_neighbours(aggregates: bool, least: float, most: float | None) -> None:
    torch.manual_seed(0)
    aggregation = MapAggregation(16, num_prompts=2, dim=32) if aggregates else None
    similarity = SimilarityMap(16, 8, dim=32, aggregation=aggregation)

    def loss(found: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(found.flatten(1), targets.flatten(1).argmax(1))

    found, targets = learnt(similarity, lambda: beside(32), loss)
    right = float((found.flatten(1).argmax(1) == targets.flatten(1).argmax(1)).float().mean())
    assert right >= least and (most is None or right <= most)


def two_blobs(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Grids [N,8,9,25] with two squares of one kind, farther apart than layers see, and the larger one's patches."""
    grids, larger = 0.1 * torch.randn(count, 8, 9, 25), torch.zeros(count, 1, 9, 25)
    for number in range(count):
        small = int(torch.randint(2, 6, ()))
        sides = (small, small + 1) if number % 2 else (small + 1, small)
        for side, left in zip(sides, (0, 25 - sides[1])):
            top = int(torch.randint(0, 10 - side, ()))
            grids[number, 0, top : top + side, left : left + side] = 3.0
            larger[number, 0, top : top + side, left : left + side] = float(side == max(sides))
    return grids, larger


@pytest.mark.parametrize(
    ("hears", "least", "most"), [(True, 0.9, None), pytest.param(False, 0.2, 0.8, marks=pytest.mark.slow)]
)
def test_the_larger_of_two_is_told_by_what_stands_elsewhere(hears: bool, least: float, most: float | None) -> None:
    torch.manual_seed(0)
    aggregation = MapAggregation(16, num_prompts=2, dim=32)
    similarity = SimilarityMap(16, 8, dim=32, aggregation=aggregation)
    if not hears:
        for context in aggregation.contexts:
            context.register_forward_hook(lambda _module, _given, told: torch.zeros_like(told))
    loss = torch.nn.functional.binary_cross_entropy_with_logits
    logits, targets = learnt(similarity, lambda: two_blobs(16), loss)
    found, larger = logits > 0, targets > 0
    right = float(((found & larger).sum((1, 2, 3)) / (found | larger).sum((1, 2, 3))).mean())
    assert right >= least and (most is None or right <= most)


@torch.no_grad()
def test_a_picture_says_the_same_with_padding_beside_it() -> None:
    torch.manual_seed(0)
    aggregation = MapAggregation(16, num_prompts=3, dim=32)
    torch.nn.init.normal_(aggregation.out.weight)
    prompts, keys, padded = torch.randn(1, 3, 16), torch.randn(1, 32, 4, 8), torch.randn(1, 32, 8, 8)
    padded[:, :, 2:6] = keys
    whole = aggregation(prompts, keys, _places(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), 4, 8))
    beside = aggregation(prompts, padded, _places(torch.tensor([[0.0, 0.25, 1.0, 0.75]]), 8, 8))
    torch.testing.assert_close(beside[:, :, 2:6], whole)


@torch.no_grad()
def test_a_map_that_is_all_padding_is_no_nan() -> None:
    aggregation = MapAggregation(16, num_prompts=3, dim=32)
    torch.nn.init.normal_(aggregation.out.weight)
    places = _places(torch.tensor([[0.0, 0.51, 1.0, 0.52]]), 8, 8)  # between two rows of cells
    assert aggregation(torch.randn(1, 3, 16), torch.randn(1, 32, 8, 8), places).isfinite().all()


@torch.no_grad()
def test_a_new_aggregation_adds_nothing_and_a_grown_one_reads_all_prompts() -> None:
    torch.manual_seed(0)
    aggregation = MapAggregation(16, num_prompts=3, dim=32)
    prompts, keys = torch.randn(2, 3, 16), torch.randn(2, 32, 6, 4)
    places = _places(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), 6, 4).expand(2, -1, -1, -1)
    assert torch.equal(aggregation(prompts, keys, places), torch.zeros(2, 1, 6, 4))
    torch.nn.init.normal_(aggregation.out.weight)
    before = aggregation(prompts, keys, places)
    for number in range(3):
        # Turned about the others' mean, so that what hears the mean alone would not hear it.
        other = prompts.clone()
        other[:, number] += 1
        other[:, (number + 1) % 3] -= 1
        assert not torch.allclose(aggregation(other, keys, places), before, atol=1e-3)
    torch.testing.assert_close(aggregation(prompts[:1], keys[:1], places[:1]), before[:1])
    assert not torch.allclose(aggregation(prompts, keys, places.flip(3)), before, atol=1e-3), "places are told"


@torch.no_grad()
def test_padding_says_nothing_to_the_picture_beside_it() -> None:
    torch.manual_seed(0)
    aggregation = MapAggregation(16, num_prompts=3, dim=32)
    torch.nn.init.normal_(aggregation.out.weight)
    places = _places(torch.tensor([[0.0, 0.25, 1.0, 0.75]]), 8, 8)
    prompts, keys = torch.randn(1, 3, 16), torch.randn(1, 32, 8, 8)
    before = aggregation(prompts, keys, places)
    keys[:, :, :2], keys[:, :, 6:] = 5.0, -5.0
    after = aggregation(prompts, keys, places)
    torch.testing.assert_close(after[:, :, 2:6], before[:, :, 2:6])
    keys[:, :, 3, 3] += 1
    assert not torch.allclose(aggregation(prompts, keys, places)[:, :, 2:6], before[:, :, 2:6], atol=1e-3)
