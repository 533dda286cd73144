from __future__ import annotations

import numpy as np
import pytest

from lisa_core.data.scenes import LARGEST, LEAST_VISIBLE, SMALLEST, Scene, sample_scene


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [sample_scene(np.random.default_rng(seed), 160, 2, 4) for seed in range(120)]


def test_pictures_are_wide_square_and_tall_with_the_longest_side_asked_for(scenes: list[Scene]) -> None:
    aspects = []
    for scene in scenes:
        width, height = scene.size
        assert max(width, height) == 160 and scene.image.shape == (height, width, 3)
        assert scene.masks.shape == (len(scene.objects), height, width)
        aspects.append(width / height)
    assert 0.74 <= min(aspects) < 0.85 and 1.55 < max(aspects) <= 1.79 and 1.0 in aspects


def test_sizes_vary_within_bounds_and_no_object_leaves_the_picture(scenes: list[Scene]) -> None:
    shares = []
    for scene in scenes:
        border = np.ones(scene.masks.shape[1:], dtype=bool)
        border[1:-1, 1:-1] = False
        assert not (scene.masks & border).any()
        shares += [item.diameter / min(scene.size) for item in scene.objects]
    assert SMALLEST <= min(shares) < 0.31 and 0.5 < max(shares) <= LARGEST


def test_objects_stay_visible_and_some_are_partly_covered(scenes: list[Scene]) -> None:
    visible = np.concatenate([scene.areas / scene.full_areas for scene in scenes])
    assert visible.min() >= LEAST_VISIBLE
    assert 0.03 < (visible < 0.95).mean() < 0.4
    assert all(scene.masks.sum(axis=0).max() <= 1 for scene in scenes)


def test_most_objects_share_a_colour_or_a_shape_with_another(scenes: list[Scene]) -> None:
    shared = [
        any(i != j and (a.colour == b.colour or a.shape == b.shape) for j, b in enumerate(scene.objects))
        for scene in scenes
        for i, a in enumerate(scene.objects)
    ]
    assert np.mean(shared) > 0.7


def test_objects_stand_out_from_their_background(scenes: list[Scene]) -> None:
    contrasts = []
    for scene in scenes:
        background = scene.image[~scene.masks.any(axis=0)].mean(axis=0)
        contrasts += [float(np.linalg.norm(scene.image[mask].mean(axis=0) - background)) for mask in scene.masks]
    assert np.percentile(contrasts, 2) > 60


def test_the_largest_object_is_no_good_guess(scenes: list[Scene]) -> None:
    positions = [int(np.argmax(scene.areas)) for scene in scenes]
    assert len(set(positions)) > 2, "the largest is always drawn at the same place in the order"
