"""Which reader a folder gets: the one named, the one that knows it, or a line that lists them; nothing is trusted."""

from __future__ import annotations

import functools
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import builders
import pytest
from PIL import Image

from lisa_core.data import ReasonSeg, open_dataset
from lisa_core.errors import DataError, PluginError
from lisa_core.formats import BUILTIN_FORMATS
from lisa_core.registry import Registry, get_registry

WRITERS = {
    "jsonl": builders.write_jsonl,
    "coco": builders.write_coco,
    "refer": builders.write_refer,
    "grefcoco": builders.write_grefcoco,
    "labelme": builders.write_labelme,
    "sa2va": builders.write_sa2va,
    "ade20k": builders.write_ade20k,
    "cocostuff": builders.write_cocostuff,
    "mapillary": builders.write_mapillary,
    "paco": builders.write_paco,
    "pascal-part": builders.write_pascal_part,
    "llava-instruct": builders.write_llava_instruct,
    "muse": builders.write_muse,
}


def build(tmp_path: Path, name: str) -> Path:
    root = tmp_path / "a" / "b" / "set"
    root.mkdir(parents=True)
    WRITERS[name](root)
    return root


@pytest.mark.parametrize("name", WRITERS)
def test_exactly_one_reader_knows_a_published_layout(tmp_path: Path, name: str) -> None:
    root = build(tmp_path, name)
    claims = [spec.name for spec in BUILTIN_FORMATS if get_registry().load_dataset_class(spec.name).looks_like(root)]
    assert claims == [name]


def test_an_unknown_folder_lists_the_formats(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match="the layout of no known format: give the folder") as caught:
        open_dataset(tmp_path, "train")
    assert all(spec.name in str(caught.value) for spec in BUILTIN_FORMATS) and "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"notes\.txt is not a folder: give the folder that holds the dataset"):
        open_dataset(tmp_path / "notes.txt", "train")


def test_an_ambiguous_folder_names_the_readers_and_either_can_be_chosen(tmp_path: Path) -> None:
    root = build(tmp_path, "coco")
    builders.write_jsonl(root)
    with pytest.raises(DataError, match="set could be jsonl or coco: say which with --data-format"):
        open_dataset(root, "train")
    assert len(open_dataset(root, "train", "first", format="jsonl")) == 4
    assert len(open_dataset(root, "train", format="coco")) == 3


def test_an_unknown_format_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="unknown dataset format 'coc'; did you mean 'coco'"):
        open_dataset(tmp_path, "train", format="coc")


def test_lists_of_reasonseg_are_known(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "p" / "x.png")
    builders.write_json(tmp_path / "p" / "y.json", {"text": ["x"], "shapes": []})
    builders.write_json(tmp_path / "train.json", [{"image": "p/x.png", "json": "p/y.json"}])
    assert type(open_dataset(tmp_path, "train")) is ReasonSeg


HOOK = (
    "from lisa_core import DatasetSpec, hookimpl\n@hookimpl\n"
    "def lisa_datasets():\n    return [DatasetSpec({!r}, {!r}, 's')]\n"
)


def test_plugins_readers_are_asked_too_and_a_broken_one_harms_nobody(
    site: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    (site.folder / "lisa_mine_data.py").write_text(
        "class Mine:\n"
        "    def __init__(self, root, split, phrasings, *, on_error):\n"
        "        self.told = (root.name, split, phrasings, on_error)\n"
        "    @classmethod\n"
        "    def looks_like(cls, root):\n"
        "        return (root / 'mine.txt').exists()\n"
    )
    (site.folder / "lisa_odd_data.py").write_text(
        "class Odd:\n    @classmethod\n    def looks_like(cls, root):\n        raise RuntimeError('odd')\n"
    )
    site.write("lisa_mine", HOOK.format("mine", "lisa_mine_data:Mine"))
    site.write("lisa_odd", HOOK.format("odd", "lisa_odd_data:Odd"))
    site.write("lisa_gone", HOOK.format("gone", "lisa_gone_data:Gone"))
    monkeypatch.setattr("lisa_core.data.opening.get_registry", Registry)
    root = tmp_path / "set"
    root.mkdir()
    with pytest.raises(DataError, match="no known format") as caught:
        open_dataset(root, "train")
    assert "RuntimeError: odd" in str(caught.value) and "No module named 'lisa_gone_data'" in str(caught.value)
    (root / "mine.txt").touch()
    assert open_dataset(root, "val", "first", on_error="skip").told == ("set", "val", "first", "skip")  # type: ignore[attr-defined]


@functools.cache
def huge_png(width: int, height: int, rows: int = 0) -> bytes:
    """A PNG whose header claims this size; `rows` of zeros are really in it, which compress to nearly nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    data = zlib.compress(bytes(rows * (width + 1)), 9)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("bomb", ["header", "zeros"])
@pytest.mark.parametrize("name", WRITERS)
def test_a_picture_that_claims_too_much_is_one_line_and_costs_nothing(tmp_path: Path, name: str, bomb: str) -> None:
    root = build(tmp_path, name)
    data = open_dataset(root, "train")
    claim = (60_000, 60_000) if bomb == "header" else (10_000, 10_000)
    data.samples[0].image_path.write_bytes(huge_png(*claim, rows=10_000 if bomb == "zeros" else 0))
    tracemalloc.start()
    with pytest.raises(DataError, match=r"is not an image that can be read: .*pixels") as caught:
        data.load(0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert data.samples[0].image_path.name in str(caught.value) and "\n" not in str(caught.value)
    assert peak < 20_000_000


@pytest.mark.parametrize("name", ["ade20k", "cocostuff", "mapillary", "jsonl"])
def test_a_mask_that_claims_too_much_is_one_line(tmp_path: Path, name: str) -> None:
    root = build(tmp_path, name)
    data = open_dataset(root, "train", format=name)
    path = root / "masks" / "0.png" if name == "jsonl" else data.samples[0].annotation_path
    path.write_bytes(huge_png(60_000, 60_000))
    with pytest.raises(DataError, match=r"\.png is not an image that can be read: .*pixels"):
        data.load(0)


@pytest.mark.parametrize("name", ["coco", "refer", "grefcoco", "sa2va", "paco", "pascal-part", "labelme", "mapillary"])
def test_json_nested_ten_thousand_deep_is_one_line(tmp_path: Path, name: str) -> None:
    root = build(tmp_path, name)
    for path in sorted(root.rglob("*.json")):
        whole = path.read_bytes()
        path.write_text('{"images": ' * 10_000 + "1" + "}" * 10_000)
        if not (path.parent.name in ("val", "test") or "val" in path.name or "test" in path.name):
            with pytest.raises(DataError, match="is not valid JSON") as caught:
                open_dataset(root, "train", format=name)
            assert path.name in str(caught.value) and "\n" not in str(caught.value)
        path.write_bytes(whole)
