from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from lisa_core.errors import ConfigError
from lisa_core.segmenter import Segmenter

SENTENCES = ["the red circle", "Which one is the largest?"]


@pytest.fixture
def picture(workplace):
    """A picture that is not square, in the current directory."""
    noise = np.random.default_rng(0).integers(0, 256, (45, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(workplace / "photo.png")
    return noise


def check_outputs(folder, picture, segmenter):
    """The files show what the Python API draws."""
    record = json.loads((folder / "photo.json").read_text())
    assert (record["image"], record["height"], record["width"]) == ("photo.png", 45, 80)
    assert [entry["text"] for entry in record["segmentations"]] == SENTENCES
    for entry, drawn in zip(record["segmentations"], segmenter.set_image(picture).segment_many(SENTENCES)):
        assert np.array_equal(np.asarray(Image.open(folder / entry["mask_file"])) > 0, drawn.mask)
        assert np.array_equal(coco_mask.decode(entry["rle"]).astype(bool), drawn.mask)
        assert entry["area"] == drawn.mask.sum() and entry["score"] == pytest.approx(drawn.score)
        assert Image.open(folder / entry["overlay_file"]).size == (80, 45)


@pytest.mark.slow
def test_segment_in_a_real_process(workplace, picture, run_lisa):
    result = run_lisa("segment", "run", "photo.png", *SENTENCES, "-o", "out")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "masks, overlays and JSON: out/photo.json"
    assert "Warning" not in result.stderr and "Traceback" not in result.stderr
    check_outputs(workplace / "out", picture, Segmenter.load(workplace / "run", "cpu"))


def test_each_sentence_gets_a_mask_an_overlay_and_an_entry(workplace, picture, invoke):
    result = invoke("segment", "run", "photo.png", *SENTENCES, "-o", "out", "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    check_outputs(workplace / "out", picture, Segmenter.load(workplace / "run", "cpu"))
    assert sorted(path.name for path in (workplace / "out").iterdir()) == [
        *("photo.json", "photo_0_mask.png", "photo_0_overlay.png", "photo_1_mask.png", "photo_1_overlay.png"),
    ]
    lines = result.stdout.splitlines()
    assert len(lines) == 3 and all(repr(text) in line for text, line in zip(SENTENCES, lines))


def test_masks_are_cut_where_their_expected_iou_is_best(workplace, picture, invoke, refusal):
    args = ("segment", "run", "photo.png", *SENTENCES, "--device", "cpu")
    assert invoke(*args, "--mask-temperature", "2").exit_code == 0
    check_outputs(workplace, picture, Segmenter.load(workplace / "run", "cpu").cut_masks(2))
    assert "Invalid value for '--mask-temperature'" in refusal(*args, "--mask-temperature", "0")
    assert "the temperature of masks is inf, must be a finite number" in refusal(*args, "--mask-temperature", "inf")
    segmenter = Segmenter.load(workplace / "run", "cpu")
    with pytest.raises(ConfigError, match="is nan, must be a finite number of at least 1"):
        segmenter.cut_masks(float("nan"))
    plain = segmenter.set_image(picture).segment("it").logits
    assert not np.array_equal(segmenter.cut_masks(5).segment("it").logits, plain)
    assert np.array_equal(segmenter.cut_masks(None).segment("it").logits, plain)


def test_masks_are_flip_tested(workplace, picture, invoke):
    args = ("segment", "tiny", "photo.png", *SENTENCES, "--device", "cpu")
    assert invoke(*args, "--flip-test").exit_code == 0
    check_outputs(workplace, picture, Segmenter.load("tiny", "cpu").flip_test())
    with pytest.raises(AssertionError):
        check_outputs(workplace, picture, Segmenter.load("tiny", "cpu"))


def test_a_photograph_is_segmented_and_shown_upright(workplace, invoke):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn
    Image.new("RGB", (80, 45)).save(workplace / "photo.jpg", exif=exif)
    assert invoke("segment", "run", "photo.jpg", "it").exit_code == 0
    record = json.loads((workplace / "photo.json").read_text())
    assert (record["height"], record["width"]) == (80, 45)
    assert {Image.open(workplace / f"photo_0_{kind}.png").size for kind in ("mask", "overlay")} == {(45, 80)}


def test_without_a_folder_the_results_are_here(workplace, picture, invoke):
    assert invoke("segment", "run", "photo.png", "it").exit_code == 0
    assert (workplace / "photo.json").is_file() and (workplace / "photo_0_mask.png").is_file()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["segment", "run", "photo.png", ""], "the sentence is empty"),
        (["segment", "run", "photo.png", "the red ring", " \t"], "the sentence is empty"),
        (["segment", "run", "photo.png"], "Missing argument 'SENTENCE...'"),
        (["segment", "run", "photo.png", "the \udcff ring"], "broken character"),
        (["segment", "run", "absent.png", "it"], "absent.png does not exist"),
        (["segment", "run", "run/config.json", "it"], "run/config.json is not an image"),
        (["segment", "run", "scenes", "it"], "scenes does not exist or is not a file"),
        (["segment", "absent", "photo.png", "it"], "no checkpoint at absent"),
        (["segment", "run", "photo.png", "it", "-o", "run/config.json"], "cannot write to run/config.json"),
        pytest.param(
            ["segment", "run", "photo.png", "it", "--device", "cuda"],
            "--device cuda, but torch sees no CUDA device here",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here"),
        ),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(workplace, picture, refusal, args, said):
    before = {path: path.read_bytes() for path in workplace.rglob("*") if path.is_file()}
    assert said in refusal(*args)
    assert {path: path.read_bytes() for path in workplace.rglob("*") if path.is_file()} == before


def test_an_empty_sentence_in_a_real_process(run_lisa):
    result = run_lisa("segment", "run", "photo.png", "")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("lisa: error: the sentence is empty") and result.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_file_that_is_no_picture_in_a_real_process(workplace, run_lisa):
    result = run_lisa("segment", "run", "run/config.json", "it")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("lisa: error: run/config.json is not an image") and result.stderr.count("\n") == 1
