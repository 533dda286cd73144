"""docs/custom-data.md from the first command to the last, as its reader would: real processes, in one folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "custom-data.md").read_text(encoding="utf-8")
PROGRAMS = ("lisa", "python", "mv", "rm", "sed", "pip")
"""What a line of a block of commands begins with."""
NOT_RUN = ("pip",)
"""The tests' environment has what it would install."""


@dataclass(frozen=True)
class Script:
    """A file that the page asks its reader to write."""

    name: str
    content: str


def steps(page: str) -> list[str | Script]:
    """The page's commands and scripts, in its order."""
    found: list[str | Script] = []
    # A block of code in a fence, or lines that are indented, blank ones among them.
    for language, fenced, indented in re.findall(
        r"^```(\w+)\n((?:.*\n)*?)```$|^((?:    .*\n|\n(?=    ))+)", page, re.MULTILINE
    ):
        if language == "python":
            found.append(Script(re.match(r'"""python (\S+\.py) ', fenced)[1], fenced))  # type: ignore[index]
        elif not language and indented.split()[0] in PROGRAMS:
            lines = [line.strip() for line in indented.splitlines() if line.strip()]
            assert all(line.split()[0] in PROGRAMS for line in lines), f"commands and other text in one block: {lines}"
            found += lines
    return found


def shown(page: str, first: str) -> list[str]:
    """The lines of the block of output that begins with `first`."""
    block = re.search(rf"^    {re.escape(first)}.*\n(?:    .*\n)*", page, re.MULTILINE)
    assert block is not None, first
    return [line[4:] for line in block[0].splitlines()]


Check = Callable[[Path, "subprocess.CompletedProcess[str]"], None]
CHECKS: dict[str, list[Check]] = {}
"""What must be so after a command of the page, by its beginning; of a command that comes twice, one after the other."""
FAULTY = "lisa data check labelled"
"""Exits with 1 when it is run first."""


def after(command: str) -> Callable[[Check], Check]:
    def note(check: Check) -> Check:
        CHECKS.setdefault(command, []).append(check)
        return check

    return note


def figures(path: Path) -> dict[str, float]:
    """By name, of a file that `lisa eval` wrote."""
    return {name: figure["value"] for name, figure in json.loads(path.read_text())["figures"].items()}


def jsonl(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@after("python to_jsonl.py shelf")
def _(folder: Path, _result: object) -> None:
    lines = jsonl(folder / "shelf" / "all.jsonl")
    assert len({line["image"] for line in lines}) == 20 and len(lines) == 80
    assert sum("no_target" in line for line in lines) == 20 and any("ignore" in line for line in lines)


@after("lisa data check shelf")
def _(_folder: Path, result: subprocess.CompletedProcess[str]) -> None:
    assert "about 18 pictures; val: " in result.stdout and result.stdout.endswith("no fault\n")


@after(FAULTY)
def _(_folder: Path, result: subprocess.CompletedProcess[str]) -> None:
    said = result.stdout.splitlines()
    assert [line for line in shown(PAGE, "missing-file: ") if line not in said] == []
    assert said[-1].endswith("4 faults")


@after("python upright.py")
def _(folder: Path, result: subprocess.CompletedProcess[str]) -> None:
    assert result.stdout.split() == ["turned", "labelled/train/IMG_0003.jpg"]
    with Image.open(folder / "labelled" / "train" / "IMG_0003.jpg") as image:
        assert image.size == (160, 120)


@after(FAULTY)
def _(_folder: Path, result: subprocess.CompletedProcess[str]) -> None:
    assert result.stdout == (
        "labelled (labelme): train: 120 samples about 40 pictures; val: 30 samples about 10 pictures: no fault\n"
    )


@after("lisa data info labelled")
def _(_folder: Path, result: subprocess.CompletedProcess[str]) -> None:
    assert re.search(r"^pictures +40 +10$", result.stdout, re.MULTILINE)


@after("lisa data view labelled")
def _(folder: Path, _result: object) -> None:
    assert "the red mug" in (folder / "view.html").read_text()


@after("lisa data convert")
def _(folder: Path, _result: object) -> None:
    from lisa_core.data import open_dataset

    def masks(name: str) -> dict[tuple[str, str], bytes]:
        data = open_dataset(folder / name, "train")
        examples = [data.load(index) for index in range(len(data))]
        return {(item.sample.image_path.name, item.sample.text): item.mask.tobytes() for item in examples}

    assert masks("table") == masks("labelled")


@after("python add_sentences.py table")
def _(folder: Path, _result: object) -> None:
    lines = jsonl(folder / "table" / "train.jsonl")
    assert sum("no_target" in line for line in lines) == 40
    assert ["the red mug", "the red cup"] in [line["text"] for line in lines]


@after("lisa data check table")
def _(_folder: Path, result: subprocess.CompletedProcess[str]) -> None:
    assert "val: " in result.stdout and result.stdout.endswith("no fault\n")


@after("lisa data view table")
def _(folder: Path, _result: object) -> None:
    assert "no target" in (folder / "view.html").read_text()


@after("lisa eval tiny")
def _(folder: Path, _result: object) -> None:
    assert 0 < figures(folder / "before.json")["giou"] < 0.8


@after("lisa train --init-from tiny")
def _(folder: Path, _result: object) -> None:
    run = folder / "runs" / "first"
    assert (run / "best" / "model.safetensors").is_file() and any((run / "samples").iterdir())


@after("lisa plot")
def _(folder: Path, _result: object) -> None:
    assert (folder / "runs" / "first" / "curves.png").is_file()


@after("lisa models")
def _(_folder: Path, result: subprocess.CompletedProcess[str]) -> None:
    assert "HuggingFaceTB/SmolVLM-Instruct" in result.stdout


@after("lisa estimate")
def _(_folder: Path, result: subprocess.CompletedProcess[str]) -> None:
    total = float(re.search(r"^total +(\S+)", result.stdout, re.MULTILINE)[1])  # type: ignore[index]
    assert total < 8, "the page says that it trains in 8 GB"


@after("lisa train --vlm-model-name")
def _(folder: Path, result: subprocess.CompletedProcess[str]) -> None:
    assert "VLM loaded: smolvlm" in result.stderr and "lora" in result.stderr.lower()
    assert (folder / "runs" / "smolvlm" / "best" / "model.safetensors").is_file()


@after("lisa eval runs/first")
def _(folder: Path, _result: object) -> None:
    before, found = figures(folder / "before.json"), figures(folder / "runs" / "first" / "eval_val.json")
    assert found["giou"] > max(0.6, before["giou"] + 0.08), "it learnt"
    assert found["listening"] > 0.75 and found["swapped_giou"] < found["giou"] / 3, "and goes by the words"
    assert found["blank_giou"] < 0.7 * found["giou"] and found["largest_object_giou"] < 0.7 * found["giou"]
    assert "gIoU" in (folder / "report.html").read_text()


@after("lisa compare")
def _(_folder: Path, result: subprocess.CompletedProcess[str]) -> None:
    assert "B better" in result.stdout


def segmented(folder: Path) -> np.ndarray:
    """Bool [H,W]: the red plate of new.jpg, which must be found."""
    out = json.loads((folder / "new.json").read_text())
    assert out["segmentations"][0]["text"] == "the red plate"
    with Image.open(folder / "new_0_mask.png") as image:
        return np.asarray(image.convert("L")) > 0


@after("lisa segment runs/first")
def _(folder: Path, _result: object) -> None:
    mask = segmented(folder / "out")
    pixels = np.asarray(Image.open(folder / "new.jpg").convert("RGB"), dtype=int)
    is_red = (pixels[..., 0] > pixels[..., 1] + 70) & (np.arange(160)[None] > 53) & (np.arange(160)[None] < 107)
    assert is_red.sum() > 500, "the plate is in the middle"
    assert (mask & is_red).sum() / (mask | is_red).sum() > 0.5


@after("lisa export")
def _(folder: Path, _result: object) -> None:
    assert (folder / "mine" / "README.md").is_file()
    (folder / "runs").rename(folder / "elsewhere")  # it needs nothing else
    command = ("lisa", "segment", "mine", "new.jpg", "the red plate", "-o", "out_of_mine")
    subprocess.run(command, cwd=folder, check=True, env=environment(), capture_output=True)
    assert np.array_equal(segmented(folder / "out"), segmented(folder / "out_of_mine"))


def environment() -> dict[str, str]:
    """Nothing of the hub, one thread, and `lisa` and `python` of the environment that runs the tests."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    kept = {key: value for key, value in os.environ.items() if not key.startswith("LISA_")}
    return kept | {"PATH": path, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "120", "NO_COLOR": "1"}


def test_all_blocks_of_the_page_are_commands_scripts_or_known_to_be_neither():
    found = steps(PAGE)
    commands = [step for step in found if isinstance(step, str)]
    assert [name for name in CHECKS if not any(command.startswith(name) for command in commands)] == []
    # Every command that ever stood at a line's beginning is one of those that are run.
    assert re.findall(r"^ *(lisa .*)$", PAGE, re.MULTILINE) == [line for line in commands if line.startswith("lisa ")]
    scripts = [step.name for step in found if isinstance(step, Script)]
    assert scripts == ["to_jsonl.py", "upright.py", "add_sentences.py"]
    for name in scripts:
        assert any(command.startswith(f"python {name} ") for command in commands)


@pytest.mark.slow
def test_its_commands_lead_from_photographs_to_a_model(tmp_path: Path, small_vlm: Callable[[str], str]) -> None:
    # The one thing that is not as the page has it: what is downloaded there is small and from here.
    appended = {
        "lisa train --vlm-model-name": [
            *("--vlm-model-name", small_vlm("smolvlm"), "--num-epochs", "1"),
            *("--max-train-samples", "8", "--max-val-samples", "4"),
        ]
    }
    (tmp_path / "lisa-core").symlink_to(ROOT)
    faults_are_found = {FAULTY: [1, 0]}
    waiting = {name: list(checks) for name, checks in CHECKS.items()}
    for step in steps(PAGE):
        if isinstance(step, Script):
            (tmp_path / step.name).write_text(step.content, encoding="utf-8")
            continue
        if step.split()[0] in NOT_RUN:
            continue
        more = next((flags for name, flags in appended.items() if step.startswith(name)), ())
        start = time.monotonic()
        result = subprocess.run(
            ["bash", "-c", f'{step} "$@"', "bash", *more],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
        )
        print(f"{time.monotonic() - start:6.1f} s  {step}")
        expected = faults_are_found[step].pop(0) if step in faults_are_found else 0
        assert result.returncode == expected, f"{step}\n{result.stdout}\n{result.stderr}"
        for name, checks in waiting.items():
            if step.startswith(name) and checks:
                checks.pop(0)(tmp_path, result)
    assert not any(waiting.values()) and not any(faults_are_found.values())
