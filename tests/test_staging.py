from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from safetensors import SafetensorError

from lisa_core.errors import CheckpointError, ConfigError
from lisa_core.staging import size_of, staged, target


def test_a_folder_is_there_whole_or_not_at_all(tmp_path):
    out = target(tmp_path / "new" / "model", overwrite=False)
    with staged(out) as stage:
        (stage / "vlm").mkdir()
        (stage / "vlm" / "config.json").write_text("{}")
        assert stage.parent == out.parent and not out.exists()
    assert (out / "vlm" / "config.json").read_text() == "{}" and size_of(out) == 2
    assert os.listdir(out.parent) == ["model"]
    assert out.stat().st_mode == (tmp_path / "new").stat().st_mode, "as readable as any new folder"


@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left on device"), SafetensorError("I/O error"), Exception("File exists (os error 17)")],
)
def test_what_cannot_be_written_is_one_line_and_leaves_the_older_one(error, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "lisa.json").write_text("older")
    out = target(tmp_path / "model", overwrite=True)
    with (
        pytest.raises(CheckpointError, match=r"model cannot be written \(.*nothing was left behind") as caught,
        staged(out) as stage,
    ):
        (stage / "lisa.json").write_text("half")
        raise error
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (out / "lisa.json").read_text() == "older"


THINGS = [".git/HEAD", "LICENSE", "photos/thesis.txt", "state/rank_0.json", "vlm/thesis.pdf", "vlm/.git/HEAD", "empty/"]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("thing", THINGS)
def test_a_folder_that_holds_anything_else_is_never_replaced(thing, overwrite, tmp_path):
    model = older_model(tmp_path / "model")
    path = model / thing
    path.parent.mkdir(parents=True, exist_ok=True)
    if thing.endswith("/"):
        path.mkdir()
    else:
        path.write_text("years of work")
    name = re.escape(thing if thing.startswith("vlm/") else thing.partition("/")[0])
    with pytest.raises(ConfigError, match=rf"other things than a model \({name}\), which are never") as caught:
        target(model, overwrite)
    assert "--overwrite" not in str(caught.value), "that would not help"


def test_many_other_things_are_one_line(tmp_path):
    for number in range(9):
        (tmp_path / f"{number}.txt").touch()
    with pytest.raises(ConfigError, match=r"\(0\.txt, 1\.txt, 2\.txt and 6 more\), which"):
        target(tmp_path, overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_weights_without_a_description_are_no_model(overwrite, tmp_path):
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ConfigError, match="holds no whole model that could be replaced: choose another folder"):
        target(tmp_path, overwrite)


def test_an_older_model_is_replaced_with_all_that_belongs_to_it(tmp_path):
    model = older_model(tmp_path / "model")
    for name in (
        "README.md",
        "sam.safetensors",
        "vlm/vision/model.safetensors",
        "vlm/chat_template.jinja",
        ".DS_Store",
    ):
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).touch()
    with pytest.raises(ConfigError, match=r"is not empty: choose another folder, or replace.*--overwrite"):
        target(model, overwrite=False)
    assert target(model, overwrite=True) == model
    (model / "LICENSE").touch()
    assert target(model, overwrite=True, pulled=True) == model, "it came with the model"


@pytest.mark.parametrize("place", ["photo.jpg/x", "photo.jpg/a/b", "closed/x", "/proc/x"])
def test_a_place_that_cannot_be_written_is_found_out_at_once(place, tmp_path):
    (tmp_path / "photo.jpg").touch()
    (tmp_path / "closed").mkdir(mode=0o500)
    if place.startswith("closed") and os.access(tmp_path / "closed", os.W_OK):
        pytest.skip("nothing is closed to root")
    if place.startswith("/proc") and not Path("/proc/self").exists():
        pytest.skip("there is no /proc")
    with pytest.raises(ConfigError, match=r"cannot be written.*choose another folder"):
        target(tmp_path / place, overwrite=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["closed", "photo.jpg"]


def older_model(folder: Path) -> Path:
    (folder / "vlm").mkdir(parents=True)
    for name in ("lisa.json", "model.safetensors", "vlm/config.json", "vlm/model.safetensors"):
        (folder / name).write_text("{}")
    return folder


def test_a_bug_keeps_its_traceback(tmp_path):
    with pytest.raises(ZeroDivisionError), staged(tmp_path / "model"):
        raise ZeroDivisionError
    assert not os.listdir(tmp_path)


def test_a_link_to_an_older_model_stays_one(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "lisa.json").write_text("older")
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    with staged(target(tmp_path / "link", overwrite=True)) as stage:
        (stage / "lisa.json").write_text("newer")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "disk" / "lisa.json").read_text() == "newer"


@pytest.mark.parametrize("needed", ["model/vlm", "model", "model/vlm/vision"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_a_model_is_made_from_is_never_replaced(needed, overwrite, tmp_path):
    (tmp_path / "model" / "vlm" / "vision").mkdir(parents=True)
    (tmp_path / "model" / "lisa.json").write_text("{}")
    with pytest.raises(ConfigError, match="which the model is made from: choose another folder"):
        target(tmp_path / "model", overwrite, [tmp_path / needed])


def test_a_folder_inside_of_a_run_is_a_place_like_any_other(tmp_path, monkeypatch):
    (tmp_path / "run" / "best").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "run")
    assert target("exported", False, [Path("best"), tmp_path / "base"]) == Path(os.path.realpath("exported"))
