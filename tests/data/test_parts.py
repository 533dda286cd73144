"""What objects and their parts are called, the usual name first."""

from __future__ import annotations

from pathlib import Path

import builders
import pytest

from lisa_core.data import open_dataset
from lisa_core.data.parts import PartReader


@pytest.mark.parametrize(
    ("category", "texts"),
    [
        ("bicycle:wheel", ["bicycle wheel", "the wheel of the bicycle"]),
        ("trash_can", ["trash can"]),
        ("mouse_(computer_equipment):scroll_wheel", ["mouse scroll wheel", "the scroll wheel of the mouse"]),
        ("book:", ["book"]),
    ],
)
def test_names_read_as_english(category: str, texts: list[str]) -> None:
    assert PartReader.texts(PartReader.__new__(PartReader), category) == texts


def test_evaluation_takes_the_first_name(tmp_path: Path) -> None:
    root = tmp_path / "vlpart" / "paco"
    builders.write_paco(root)
    assert [s.text for s in open_dataset(root, "train", "first").samples] == ["dog paw", "picture frame", "kite tail"]
    assert len({sample.id for sample in open_dataset(root, "train").samples}) == 5
