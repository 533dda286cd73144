"""The page of a dataset: what it draws, and what it leaves out and says so."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lisa_core.errors import DataError
from lisa_core.html_dataset import TARGET, write_viewer
from lisa_core.html_samples import IGNORED


def layers(page: Path) -> list[np.ndarray]:
    """uint8 [H,W,4] of each mask."""
    found = re.findall(r'class="mask" src="data:image/png;base64,([^"]+)"', page.read_text())
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in found]


def test_masks_are_drawn_where_they_are(tmp_path: Path) -> None:
    Image.new("RGB", (40, 20), (200, 10, 10)).save(tmp_path / "a.png")
    lines = [
        {"image": "a.png", "text": "the <b>cup</b>", "box": [5, 5, 10, 10], "ignore": {"box": [20, 0, 10, 20]}},
        {"image": "a.png", "text": "unicorn", "no_target": True, "answer": "No & never."},
    ]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, lines)))
    page = write_viewer(tmp_path / "x.html", tmp_path)
    first, second = layers(page)
    scale = first.shape[1] / 40
    expected = np.zeros(first.shape, np.uint8)
    expected[round(5 * scale) : round(15 * scale), round(5 * scale) : round(15 * scale)] = (*TARGET, 255)
    expected[:, round(20 * scale) : round(30 * scale)] = (*IGNORED, 255)
    assert (first == expected).all(axis=2).mean() > 0.97 and not second.any()
    text = page.read_text()
    assert "the &lt;b&gt;cup&lt;/b&gt;" in text and "No &amp; never." in text and "no target" in text
    assert "2 of 2 samples" in text and "Not shown" not in text


def test_others_take_the_places_of_what_is_broken(tmp_path: Path) -> None:
    Image.new("RGB", (40, 20)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"<script>")
    lines = [{"image": f"{'ab'[k % 2]}.png", "text": f"thing {k}", "box": [5, 5, 10, 10]} for k in range(10)]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n{")
    text = write_viewer(tmp_path / "x.html", tmp_path, samples=5).read_text()
    assert text.count('<article class="card"') == 5 and "Not shown" in text
    assert "b.png is not an image" in text and "line 11 is not valid JSON" in text
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="is not"):
        write_viewer(tmp_path / "y.html", tmp_path)
    assert not (tmp_path / "y.html").exists()
