"""`lisa data info`, `check`, `convert` and `view`, as a user runs them."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lisa_core.data import open_dataset


@pytest.fixture
def dataset(tmp_path: Path, scenes: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(scenes, tmp_path / "set")
    return tmp_path / "set"


def spoil(dataset: Path) -> list[str]:
    """Break two pictures and a text; return the stems."""
    pictures = sorted((dataset / "train").glob("*.jpg"))[:2]
    for picture in pictures:
        picture.write_bytes(b"no picture")
    annotation = sorted((dataset / "val").glob("*.json"))[0]
    annotation.write_text(json.dumps(json.loads(annotation.read_text()) | {"text": [" "]}))
    return [*(picture.stem for picture in pictures), annotation.stem]


def test_check_says_ok_or_what_is_wrong(invoke: Callable[..., Any], dataset: Path) -> None:
    result = invoke("data", "check", "set")
    assert result.exit_code == 0 and "no fault" in result.stdout and "set (reasonseg): train:" in result.stdout
    stems = spoil(dataset)
    result = invoke("data", "check", "set")
    assert result.exit_code == 1
    assert all(stem in result.stdout for stem in stems) and ": 3 faults" in result.stdout
    assert "corrupt-image" in result.stdout and "write what to segment" in result.stdout
    result = invoke("data", "check", "set", "--show", "1")
    assert sum(stem in result.stdout for stem in stems) == 2 and "and 1 more" in result.stdout
    result = invoke("data", "check", "set", "--ignore", "corrupt-image", "--ignore", "text")
    assert result.exit_code == 0


def test_check_s_json_is_the_same_on_stdout_and_in_a_file(invoke: Callable[..., Any], dataset: Path) -> None:
    spoil(dataset)
    result = invoke("data", "check", "set", "--json", "-o", "faults.json", "--split", "train", "--split", "val")
    assert result.exit_code == 1
    record = json.loads(result.stdout)
    assert record == json.loads(Path("faults.json").read_text())
    assert record["counts"] == {"corrupt-image": 2, "text": 1} and record["format"] == "reasonseg"
    assert set(record["faults"][0]) == {"kind", "split", "path", "message", "samples"}
    assert record["faults"][0]["samples"] and record["splits"].keys() == {"train", "val"}


def test_check_in_a_process_of_its_own(run_lisa: Callable[..., Any], dataset: Path) -> None:
    spoil(dataset)
    result = run_lisa("data", "check", "set", "--workers", "2")
    assert result.returncode == 1 and ": 3 faults" in result.stdout and result.stderr == ""
    assert run_lisa("data", "check", "set", "--format", "reasonseg", "--ignore", "text").returncode == 1


@pytest.mark.parametrize("command", ["info", "check", "view", "convert"])
def test_what_cannot_be_read_is_one_line(refusal: Callable[..., str], dataset: Path, command: str) -> None:
    more = ("out", "--to", "jsonl") if command == "convert" else ()
    assert "absent is not a folder" in refusal("data", command, "absent", *more)
    assert "no split 'nosuch'" in refusal("data", command, "set", *more, "--split", "nosuch")
    assert "unknown dataset format 'nosuch'" in refusal("data", command, "set", *more, "--format", "nosuch")
    (dataset.parent / "empty").mkdir()
    assert "no known format" in refusal("data", command, "empty", *more)


def test_bad_options_are_one_line(refusal: Callable[..., str], dataset: Path) -> None:
    assert "no such kind of fault" in refusal("data", "check", "set", "--ignore", "nosuch")
    assert "does not exist" in refusal("data", "check", "set", "-o", "nowhere/x.json")
    assert "is a folder" in refusal("data", "check", "set", "-o", "set")
    assert "--plots: set/synth.json is a file" in refusal("data", "info", "set", "--plots", "set/synth.json")
    assert "--output: set holds something else" in refusal("data", "view", "set", "-o", "set")
    assert "ade20k cannot be written" in refusal("data", "convert", "set", "out", "--to", "ade20k")
    assert "reasonseg holds no png masks" in refusal(
        "data", "convert", "set", "out", "--to", "reasonseg", "--masks", "png"
    )
    assert not Path("out").exists()


def test_info_counts_and_plots(invoke: Callable[..., Any], dataset: Path) -> None:
    result = invoke("data", "info", "set", "--plots", "plots")
    assert (
        result.exit_code == 0 and "mask's share of its picture" in result.stdout and "words of a text" in result.stdout
    )
    assert sorted(path.name for path in Path("plots").iterdir()) == [
        *("counts.png", "mask_areas.png", "picture_sizes.png", "text_lengths.png")
    ]
    for path in Path("plots").iterdir():
        with Image.open(path) as image:
            assert image.width > 400
    result = invoke("data", "info", "set", "--json", "--split", "val", "--max-pictures", "2")
    figures = json.loads(result.stdout)["splits"]["val"]
    assert figures["samples"] == len(open_dataset(dataset, "val")) and 0 < figures["measured"] < figures["samples"]
    spoil(dataset)
    assert "lisa data check" in invoke("data", "info", "set").stdout


def test_info_says_how_to_get_matplotlib(
    refusal: Callable[..., str], invoke: Callable[..., Any], dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "lisa_core.inspection.plots", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.style", None)
    assert "pip install 'lisa-core[plot]'" in refusal("data", "info", "set", "--plots", "plots")
    assert not Path("plots").exists() and invoke("data", "info", "set").exit_code == 0


def test_convert_says_what_it_wrote_and_lost(
    invoke: Callable[..., Any], refusal: Callable[..., str], dataset: Path
) -> None:
    result = invoke("data", "convert", "set", "out", "--to", "refcoco", "--split", "val")
    assert result.exit_code == 0 and "val:" in result.stdout and "full sentences" in result.stderr
    assert len(open_dataset("out", "val", format="refcoco")) == len(open_dataset(dataset, "val"))
    assert "--force" in refusal("data", "convert", "set", "out", "--to", "jsonl")
    result = invoke("data", "convert", "set", "out", "--to", "jsonl", "--masks", "png", "--force", "--json")
    assert json.loads(result.stdout)["lost"] == {} and Path("out/masks/train").is_dir()
    stems = spoil(dataset)
    assert stems[2] in refusal("data", "convert", "set", "new", "--to", "coco", "--split", "val")
    result = invoke("data", "convert", "set", "new", "--to", "coco", "--on-error", "skip")
    assert result.exit_code == 0 and all(f"{stem}." in result.stderr for stem in stems)


def test_view_writes_one_file_or_a_folder(invoke: Callable[..., Any], dataset: Path) -> None:
    assert invoke("data", "view", "set", "-n", "3").exit_code == 0
    page = Path("view.html").read_text()
    assert page.count('<article class="card"') == 6 and "data:image/jpeg" in page and "http" not in page
    assert invoke("data", "view", "set", "-n", "3", "--split", "val", "-o", "page").exit_code == 0
    page = Path("page/index.html").read_text()
    assert page.count('<article class="card"') == 3 and len(list(Path("page/images").iterdir())) == 6
    first = Path("view.html").read_text()
    assert invoke("data", "view", "set", "-n", "3").exit_code == 0
    assert Path("view.html").read_text() == first
    assert invoke("data", "view", "set", "-n", "3", "--seed", "1").exit_code == 0
    assert Path("view.html").read_text() != first
