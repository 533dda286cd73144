"""`lisa train` and `lisa eval` on every format, as a user gives them: by the folder alone, or by name."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "data"))
import builders

WRITERS: dict[str, Callable[[Path], None]] = {
    "jsonl": builders.write_jsonl,
    "refer": builders.write_refer,
    "grefcoco": builders.write_grefcoco,
    "coco": builders.write_coco,
    "labelme": builders.write_labelme,
    "sa2va": lambda root: [builders.write_sa2va(root, split=split) for split in ("train", "val")],
    "ade20k": builders.write_ade20k,
    "cocostuff": builders.write_cocostuff,
    "mapillary": builders.write_mapillary,
    "paco": builders.write_paco,
    "pascal-part": builders.write_pascal_part,
}
TRAIN = ["train", "--vlm", "smolvlm", "--vlm-model-name", "tiny", "--num-epochs", "1", "--device", "cpu"]


def build(tmp_path: Path, name: str) -> str:
    root = tmp_path / "meine Daten" / "b" / "set"
    root.mkdir(parents=True)
    WRITERS[name](root)
    return str(root)


QUICK = ("jsonl", "refer", "ade20k")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in WRITERS]
)
def test_every_format_trains_and_evaluates(tmp_path: Path, name: str, invoke: Callable[..., Any]) -> None:
    data, run = build(tmp_path, name), str(tmp_path / "run")
    result = invoke(*TRAIN, "--data", data, "--output-dir", run)
    assert result.exit_code == 0, result.stderr
    result = invoke("eval", run, "--data", data, "--data-format", name, "--split", "val", "--json")
    assert result.exit_code == 0, result.stderr
    counts = {"grefcoco": 3, "ade20k": 1, "cocostuff": 1, "mapillary": 1}
    assert json.loads(result.stdout)["n"] == counts.get(name, 2)


def test_hugging_face_datasets_train(tmp_path: Path, invoke: Callable[..., Any]) -> None:
    datasets = pytest.importorskip("datasets")
    splits = {}
    for split in ("train", "val"):
        scenes = [(scene, thing) for scene in builders.of(split) for thing in scene.things]
        columns = {
            "image": [scene.picture() for scene, _ in scenes],
            "caption": [thing.texts for _, thing in scenes],
            "mask": [thing.mask.tolist() for _, thing in scenes],
        }
        features = {"image": datasets.Image(), "caption": datasets.List(datasets.Value("string"))}
        features["mask"] = datasets.List(datasets.List(datasets.Value("bool")))
        splits[split] = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "set")
    data = f"hf:{tmp_path / 'set'}?text=caption"
    result = invoke(*TRAIN, "--data", data, "--output-dir", str(tmp_path / "run"))
    assert result.exit_code == 0, result.stderr
    assert json.loads((tmp_path / "run" / "config.json").read_text())["data"]["data"] == data


def test_what_cannot_be_read_is_one_line(tmp_path: Path, refusal: Callable[..., str]) -> None:
    data = build(tmp_path, "coco")
    assert "unknown dataset format 'cocoa'; did you mean 'coco'" in refusal(
        *TRAIN, "--data", data, "--data-format", "cocoa", "--output-dir", str(tmp_path / "run")
    )
    line = refusal(*TRAIN, "--data", str(tmp_path), "--output-dir", str(tmp_path / "run"))
    assert "the layout of no known format" in line and "pascal-part" in line


def test_a_program_in_a_pickle_is_named_and_not_run(tmp_path: Path, refusal: Callable[..., str]) -> None:
    root = Path(build(tmp_path, "refer"))
    (root / "refs(unc).p").write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "was_here").encode() + b"'\ntR.")
    line = refusal(*TRAIN, "--data", str(root), "--output-dir", str(tmp_path / "run"))
    assert "refs(unc).p asks for os.system, a program and not data" in line
    assert not (tmp_path / "was_here").exists()
