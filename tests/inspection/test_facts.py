"""The figures are those of what was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import builders
import numpy as np
import pytest
from builders import HEIGHT, WIDTH
from PIL import Image

from lisa_core.errors import DataError
from lisa_core.inspection import describe_dataset
from lisa_core.inspection.facts import quantiles


def write(root: Path) -> None:
    Image.new("RGB", (20, 10)).save(root / "a.png")
    Image.new("RGB", (10, 40)).save(root / "b.png")
    lines: list[dict[str, Any]] = [
        {"image": "a.png", "text": ["one", "one two three"], "box": [0, 0, 10, 10], "answer": "Yes."},
        {"image": "a.png", "text": "Is there a unicorn?", "no_target": True},
        {"image": "b.png", "text": "dog", "box": [0, 0, 10, 4], "ignore": {"box": [0, 20, 10, 10]}},
        {"image": "b.png", "text": "bad", "rle": {"size": [1, 1], "counts": [1]}},
        {"image": "b.png", "text": "", "box": [0, 0, 10, 4]},
    ]
    (root / "train.jsonl").write_text("\n".join(map(json.dumps, lines)))


def test_counts_and_distributions(tmp_path: Path) -> None:
    write(tmp_path)
    facts = describe_dataset(tmp_path)
    assert facts.format == "jsonl" and list(facts.splits) == ["train"]
    train = facts.splits["train"]
    assert (train.samples, train.pictures, train.sentences, train.answers, train.without_target) == (5, 2, 1, 2, 1)
    assert (train.broken, train.measured, train.ignored) == (2, 4, 1)
    assert sorted(train.words) == [1, 1, 1, 3, 4] and sorted(train.per_picture) == [2, 3]
    assert train.sizes == {(20, 10): 1, (10, 40): 1}
    assert np.allclose(sorted(train.shares), [0.1, 0.5, 0.5])
    said = json.loads(json.dumps(facts.to_dict()))["splits"]["train"]
    assert said["mask_share"]["median"] == 0.5 and said["words"]["mean"] == 2
    assert said["longest_side"] == {"least": 20, "5%": 21, "median": 30, "95%": 39, "most": 40, "mean": 30}
    assert said["sizes"] == [{"width": w, "height": h, "pictures": 1} for w, h in ((20, 10), (10, 40))]


@pytest.mark.parametrize(
    "write", [builders.write_coco, builders.write_labelme, builders.write_ade20k, builders.write_sa2va]
)
def test_every_reader_s_masks_are_measured_by_the_header_alone(
    tmp_path: Path, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path)

    def refuse(path: Path) -> None:
        raise AssertionError(f"{path} was decoded")

    monkeypatch.setattr("lisa_core.data.reader.load_image", refuse)
    monkeypatch.setattr("lisa_core.data.labelme.load_image", refuse)
    facts = describe_dataset(tmp_path)
    assert all(split.measured == split.samples and not split.broken for split in facts.splits.values())
    assert {size for split in facts.splits.values() for size in split.sizes} == {(WIDTH, HEIGHT)}
    assert all(len(split.words) == split.samples for split in facts.splits.values())


def test_a_sample_of_pictures_is_the_same_for_a_seed(tmp_path: Path) -> None:
    builders.write_coco(tmp_path)
    few = [describe_dataset(tmp_path, max_pictures=1, seed=seed).splits["train"] for seed in (0, 0, 1, 2, 3, 4)]
    assert few[0] == few[1] and any(other.shares != few[0].shares for other in few[2:])
    assert all(split.samples == 3 and 0 < split.measured < 3 for split in few)


def test_what_cannot_be_described_is_an_error(tmp_path: Path) -> None:
    builders.write_refer(tmp_path / "set")
    (tmp_path / "set" / "refs(unc).p").write_bytes(b"junk")
    with pytest.raises(DataError, match="is not a pickle"):
        describe_dataset(tmp_path / "set")


def test_quantiles() -> None:
    assert quantiles([]) is None
    assert quantiles([3]) == {"least": 3, "5%": 3, "median": 3, "95%": 3, "most": 3, "mean": 3}


def test_plots_hold_the_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    from matplotlib.axes import Axes

    from lisa_core.inspection.plots import draw_facts

    drawn: dict[str, Any] = {}
    bar, stairs = Axes.bar, Axes.stairs

    def bars(self: Axes, x: Any, height: Any, *more: Any, **options: Any) -> Any:
        drawn[options["label"]] = list(height)
        return bar(self, x, height, *more, **options)

    def steps(self: Axes, values: Any, edges: Any, **options: Any) -> Any:
        drawn.setdefault(options["label"], []).append((list(values), list(edges)))
        return stairs(self, values, edges, **options)

    monkeypatch.setattr(Axes, "bar", bars)
    monkeypatch.setattr(Axes, "stairs", steps)
    write(tmp_path)
    pictures = draw_facts(describe_dataset(tmp_path))
    assert list(pictures) == ["counts", "text_lengths", "picture_sizes", "mask_areas"]
    for data in pictures.values():
        with Image.open(io.BytesIO(data)) as image:
            assert image.format == "PNG" and len(set(image.convert("L").tobytes())) > 10
    assert drawn["samples"] == [5] and drawn["pictures"] == [2]
    (words, areas) = drawn["train"]
    assert words == ([60, 0, 20, 20], [0.5, 1.5, 2.5, 3.5, 4.5])
    assert abs(sum(areas[0]) - 100) < 1e-9 and areas[0][int(0.5**0.5 * 30)] > 60
