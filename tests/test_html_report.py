from __future__ import annotations

import base64
import importlib.util
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lisa_core.errors import ConfigError
from lisa_core.evaluation_comparison import compare_evaluations
from lisa_core.html_comparison import write_comparison
from lisa_core.html_page import check_report
from lisa_core.html_report import picked, write_report
from lisa_core.html_samples import BOTH, PREDICTION_ONLY, TRUTH_ONLY, Shown, card
from lisa_core.records import SampleRecord
from lisa_core.summary import Settings, summarize
from lisa_core.types import IGNORE

location = importlib.util.spec_from_file_location("report_pages", Path(__file__).parent / "report_pages.py")
assert location is not None and location.loader is not None
report_pages = importlib.util.module_from_spec(location)
location.loader.exec_module(report_pages)

VOID = {"meta", "link", "img", "input", "br"}


class Page(HTMLParser):
    """A page's tags with their attributes, and its text; fails where a tag is closed that is not open."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(path.read_text())
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def made(scenes, tmp_path_factory):
    return report_pages.scored(scenes, tmp_path_factory.mktemp("report") / "scenes")


def report(made, path: Path, samples: int = 3) -> Path:
    summary = summarize(made.result.records, Settings(epsilon=1e-5, resamples=50))
    about = {"checkpoint": "runs/<mine>", "data": "scenes", "split": "val", "protocol": "generated"}
    return write_report(path, made.result, summary, made.dataset, about, samples)


def test_one_file_holds_everything(made, tmp_path):
    path = report(made, tmp_path / "report.html")
    assert path == tmp_path / "report.html" and list(tmp_path.iterdir()) == [path]
    page = Page(path)
    addresses = [attrs["src"] for attrs in page.all("img")]
    assert len(addresses) == 9 * 7 and all(address.startswith("data:image/") for address in addresses)
    for address in addresses:
        Image.open(io.BytesIO(base64.b64decode(address.partition("base64,")[2]))).load()
    for tag, attrs in page.tags:
        for name in ("src", "href"):
            assert (attrs.get(name) or "data:").startswith("data:"), f"{tag} loads {attrs[name]}"
    assert not re.search(r"url\(|@import|https?://", path.read_text())
    assert [tag for tag, _ in page.tags].count("script") == 1 and "onerror" not in {n for _, a in page.tags for n in a}


def test_figures_sentences_and_names_are_there_as_they_are(made, tmp_path):
    page = Page(report(made, tmp_path / "report.html", samples=20))
    assert report_pages.EVIL in page.text, "the sentence is text, to the letter"
    assert "a<b>&'.jpg" in page.text and "runs/<mine>" in page.text and "<b>bold</b>" in page.text
    giou = made.result.giou
    assert f"{giou:.4f}" in page.text and "gIoU, I/(U + 1e-05)" in page.text
    assert "Random" not in page.text, "none is left for it"
    for heading in ("Worst", "Best", "Calibration of the score", "gIoU by mask size"):
        assert heading in page.text
    assert page.text.count("no mask") == 2
    searched = [attrs["data-text"] for attrs in page.all("article")]
    assert len(searched) == len(set(searched)) == len(made.result.records), "each is shown once"
    assert any(report_pages.EVIL.lower() in text for text in searched)


def test_a_folder_gets_a_page_and_its_pictures(made, tmp_path):
    folder = tmp_path / "report"
    path = report(made, folder)
    assert path == folder / "index.html"
    addresses = {attrs["src"] for attrs in Page(path).all("img")}
    assert addresses == {f"images/{file.name}" for file in (folder / "images").iterdir()}
    report(made, folder, samples=1)  # once more, with fewer
    assert len(list((folder / "images").iterdir())) == 3 * 4
    report(made, folder, samples=0)
    assert [file.name for file in folder.iterdir()] == ["index.html"]


def test_each_colour_is_where_it_belongs(made):
    truth, drawn = np.zeros((140, 280), np.uint8), np.zeros((140, 280), bool)
    truth[:, 40:120], truth[:, 240:], drawn[:, 100:200] = 1, IGNORE, True
    kept = {}

    def keep(name: str, data: bytes) -> str:
        kept[name] = Image.open(io.BytesIO(data))
        return name

    record = made.result.records[0]
    card(Shown(record, Image.new("RGB", (280, 140)), truth, [("prediction", drawn, 0.1)]), "x", keep)
    # The colour of each column, None where the picture shows through.
    columns = {}
    for name in ("truth", "prediction0", "overlap0"):
        row = np.asarray(kept[f"x_{name}.png"].convert("RGBA"))[70].tolist()
        columns[name] = [tuple(pixel[:3]) if pixel[3] == 255 else None for pixel in row]
        assert all(pixel[3] in (0, 255) for pixel in row)
    grey = (120, 120, 120)
    assert columns["truth"] == [None] * 40 + [TRUTH_ONLY] * 80 + [None] * 120 + [grey] * 40
    assert columns["prediction0"] == [None] * 100 + [PREDICTION_ONLY] * 100 + [None] * 80
    overlap = [None] * 40 + [TRUTH_ONLY] * 60 + [BOTH] * 20 + [PREDICTION_ONLY] * 80 + [None] * 40 + [grey] * 40
    assert columns["overlap0"] == overlap


def test_which_samples_are_picked(made):
    records = made.result.records
    found = picked(records, 4)
    ious = sorted(record.iou for record in records)
    assert [record.iou for record in found["Worst"]] == ious[:4]
    assert [record.iou for record in found["Best"]] == ious[::-1][:4]
    assert len({record.id for record in found["Random"]}) == 4 and found["Random"] == picked(records, 4)["Random"]
    few = picked(records, 2)
    assert few["Random"] != picked(records, 2, seed=1)["Random"]


@given(st.lists(st.integers(0, 10), min_size=1, max_size=40), st.integers(0, 15))
def test_no_sample_is_picked_twice(hits, count):
    records = [numbered(k, hit) for k, hit in enumerate(hits)]
    found = picked(records, count)
    ids = [record.id for part in found.values() for record in part]
    assert len(ids) == len(set(ids)) == min(3 * count, len(records))
    worst, best = found.get("Worst", []), found.get("Best", [])
    assert count == 0 or 0 <= len(worst) - len(best) <= 1
    rest = [record.iou for record in records if record not in worst and record not in best]
    for low in worst:
        assert all(low.iou <= iou for iou in rest) and all(low.iou <= high.iou for high in best)
    assert all(high.iou >= iou for high in best for iou in rest)
    assert all(part for part in found.values()), "no heading without a sample"


def numbered(k: int, hits: int) -> SampleRecord:
    fields = {"is_sentence": False, "image": "a.jpg", "picture": "0#0", "source": "made up", "counted_pixels": 50}
    counts = {"intersection": hits, "union": 10, "truth_pixels": 10, "predicted_pixels": hits}
    return SampleRecord(index=k, id=f"{k}#0", text="it", **fields, **counts)


def test_a_comparison_with_and_without_pictures(made, scenes, tmp_path):
    other = report_pages.scored(scenes, Path(made.dataset.samples[0].image_path).parents[1], shift=1)
    comparison = compare_evaluations(made.result.records, other.result.records, Settings(resamples=50))
    names = ("runs/<a>", "b.jsonl")
    plain = Page(write_comparison(tmp_path / "plain.html", comparison, names, 5))
    assert "runs/<a>" in plain.text and "B better" in plain.text and plain.all("img") == []
    noted = Page(write_comparison(tmp_path / "noted.html", comparison, names, 5, notes=["A is <generated>"]))
    assert "A is <generated>." in noted.text and "generated" not in plain.text
    change = comparison.whole.figures["giou"].difference
    assert f"{change:+.4f}" in plain.text and change > 0
    page = Page(write_comparison(tmp_path / "c.html", comparison, names, 5, made.dataset, (made.masks, other.masks)))
    assert len(page.all("article")) == 5 and len(page.all("img")) == 5 * (1 + 2 + 2 * 2)


def test_places_that_are_no_place_for_a_report(tmp_path):
    (tmp_path / "x.html").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("")
    for path, said in (
        ("x.html", "is a folder"),
        ("file", "is a file"),
        ("photos", "holds something else than a report"),
        ("absent/x.html", "does not exist"),
    ):
        with pytest.raises(ConfigError, match=said):
            check_report(tmp_path / path)
    (tmp_path / "empty").mkdir()
    for path in ("new.html", "new", "empty"):
        check_report(tmp_path / path)


def test_a_report_that_cannot_be_written_is_one_line(made, tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.replace", refuse)
    for name in ("report.html", "report"):
        with pytest.raises(ConfigError, match=r"Permission denied.*choose another --report"):
            report(made, tmp_path / name)
