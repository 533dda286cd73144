"""docs/augmentation.md shows every change, says what the levels are, and its pictures are what its script draws."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lisa_core.config import AugmentationConfig

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "augmentation.md").read_text()
PICTURES = re.findall(r"^!\[[^\]]+\]\((pictures/augmentation/\S+\.png)\)$", PAGE, re.MULTILINE)
CHANGES = [item.name for item in dataclasses.fields(AugmentationConfig) if item.name != "augment"]


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_has_a_section_with_a_picture_and_its_probabilities(name):
    title = name.replace("_", " ").capitalize().replace("Copy paste", "Copy-paste")
    section = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    assert f"pictures/augmentation/{name.replace('_', '-')}.png" in section
    cells = [AugmentationConfig(augment=level).probabilities.get(name, "") for level in ("light", "strong")]  # type: ignore[arg-type]
    row = re.search(rf"^\| `--{name.replace('_', '-')}` \|([^|]*)\|([^|]*)\|", PAGE, re.MULTILINE)
    assert row and [cell.strip() for cell in row.groups()] == [str(cell) for cell in cells]


def test_the_pictures_are_there_and_small_and_all_are_shown():
    files = sorted((DOCS / "pictures" / "augmentation").glob("*"))
    assert files == sorted(DOCS / name for name in PICTURES)
    assert all(path.stat().st_size < 60_000 for path in files)


def test_its_example_runs(scenes, tmp_path):
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "shapes").symlink_to(scenes)
    process = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[0] == "the cup right of the plate"
    assert (tmp_path / "after.png").is_file()


@pytest.mark.slow
def test_the_script_draws_the_pictures(tmp_path):
    script = DOCS / "pictures" / "augmentation.py"
    subprocess.run([sys.executable, script, tmp_path], check=True, capture_output=True)
    for name in PICTURES:
        fresh, kept = (Image.open(path).convert("RGB") for path in (tmp_path / Path(name).name, DOCS / name))
        assert fresh.size == kept.size, f"run {script}"
        # Another Pillow may draw letters otherwise.
        assert np.abs(np.asarray(fresh, float) - np.asarray(kept, float)).mean() < 3, f"run {script}"
