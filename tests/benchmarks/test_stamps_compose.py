from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from catalogue import Material, Stamp, Words
from compose import LEAST_SEEN, Placed, choose_stamps, compose, visible
from cutout import LARGEST_ENLARGEMENT, Look, read_cutout, render
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lisa_core.errors import DataError


def square(left: int, top: int, side: int, value: float = 1.0) -> Placed:
    stamp = Stamp("x.png", Path("x.png"), "f", Words(("x",)))
    return Placed(stamp, Look(1.0), left, top, np.zeros((side, side, 3), np.float32), np.full((side, side), value))


def test_an_object_shows_what_no_higher_one_covers() -> None:
    masks, hidden_by = visible([square(0, 0, 10), square(5, 5, 10), square(25, 15, 10)], 20, 30)
    assert masks[0].sum() == 75 and masks[1].sum() == 100
    assert not masks[0][5:10, 5:10].any() and masks[1][5:15, 5:15].all()
    assert hidden_by == [{1: 0.25}, {}, {}]
    assert masks[2].sum() == 25  # the rest lies outside of the picture
    assert masks[2][15:, 25:].all()


def test_a_half_transparent_cover_hides_nothing() -> None:
    masks, hidden_by = visible([square(0, 0, 10), square(0, 0, 10, 0.4)], 20, 20)
    assert masks[0].sum() == 100 and masks[1].sum() == 0 and hidden_by == [{}, {}]


@given(st.lists(st.tuples(st.integers(-8, 40), st.integers(-8, 40), st.integers(1, 20)), min_size=1, max_size=5))
def test_masks_never_overlap_and_add_up_to_what_is_covered(boxes: list[tuple[int, int, int]]) -> None:
    objects = [square(*box) for box in boxes]
    masks, hidden_by = visible(objects, 32, 36)
    union = np.zeros((32, 36), dtype=bool)
    for left, top, side in boxes:
        union[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = True
    assert masks.sum(axis=0).max() <= 1
    assert np.array_equal(masks.any(axis=0), union)
    for index, shares in enumerate(hidden_by):
        assert all(other > index and 0 < share <= 1 for other, share in shares.items())


@pytest.mark.parametrize("seed", range(12))
def test_a_composed_scene(material: Material, seed: int) -> None:
    stamps, backgrounds = material.of_split("train")
    scene = compose(np.random.default_rng(seed), stamps, backgrounds)
    height, width = scene.image.shape[:2]
    assert 2 <= len(scene.objects) <= 5 and scene.masks.shape == (len(scene.objects), height, width)
    assert len({item.stamp.key for item in scene.objects}) == len(scene.objects)
    assert scene.background.split == "train"
    for item, mask in zip(scene.objects, scene.masks):
        assert item.look.scale <= LARGEST_ENLARGEMENT
        assert mask.sum() >= LEAST_SEEN * item.full_area > 0
        assert not (item.look.mirrored and not item.stamp.may_flip)


def test_the_visible_part_shows_the_object_s_colour(material: Material) -> None:
    stamps, backgrounds = material.of_split("train")
    reds = [stamp for stamp in stamps if stamp.words.colours == ("red",)]
    seen = 0
    for seed in range(20):
        scene = compose(np.random.default_rng(seed), stamps, backgrounds)
        for item, mask in zip(scene.objects, scene.masks):
            if item.stamp in reds:
                red, green, blue = np.median(scene.image[mask], axis=0)
                assert red > 1.8 * green and red > 1.8 * blue
                seen += 1
    assert seen >= 5


def test_kin_share_a_name(material: Material) -> None:
    stamps, _ = material.of_split("train")
    kins = []
    for seed in range(60):
        chosen, kin = choose_stamps(np.random.default_rng(seed), stamps)
        kins.append(kin)
        most = max(sum(name in stamp.words.names for stamp in chosen) for one in chosen for name in one.words.names)
        assert most >= kin and len(set(chosen)) == len(chosen)
    assert {1, 2, 3} == set(kins) and 0.25 < np.mean(np.array(kins) == 3) < 0.65


def test_a_damaged_file_of_the_material_is_named(tmp_path: Path) -> None:
    (tmp_path / "owl.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match=r"owl\.png cannot be read .*: install its package again"):
        read_cutout(tmp_path / "owl.png")


def test_a_source_is_never_enlarged_more_than_it_bears() -> None:
    with pytest.raises(ValueError, match=r"1\.60 blurs"):
        render(Image.new("RGBA", (10, 10), (1, 2, 3, 255)), Look(1.6))


@given(
    scale=st.floats(0.3, 1.5),
    angle=st.floats(-8, 8),
    feather=st.sampled_from([0.0, 0.4, 0.9]),
    gain=st.floats(0.88, 1.1),
)
def test_a_rendered_cutout_keeps_its_shape_and_hue(scale: float, angle: float, feather: float, gain: float) -> None:
    image = Image.new("RGBA", (60, 40), (0, 255, 0, 0))  # what is hidden is green
    image.paste((200, 40, 40, 255), (5, 5, 55, 35))
    colour, alpha = render(image, Look(scale, True, angle, feather, gain))
    assert alpha.min() >= 0 and alpha.max() <= 1 and colour.min() >= 0 and colour.max() <= 255
    width, height = 50 * scale, 30 * scale
    area = (alpha > 0.5).sum()  # an edge may fall half a pixel farther out
    assert 0.7 * width * height < area < 1.02 * (width + 1) * (height + 1)
    red, green, _ = colour[alpha > 0.5].mean(axis=0)
    assert red > 3 * green  # no fringe of the hidden colour


def test_a_cutout_is_read_without_its_empty_border(tmp_path: Path) -> None:
    image = Image.new("RGBA", (60, 40))
    image.paste((1, 2, 3, 255), (10, 5, 30, 25))
    image.save(tmp_path / "a.png")
    assert read_cutout(tmp_path / "a.png").size == (20, 20)
