from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lisa_core.build import sam_size
from lisa_core.checkpoint import load_checkpoint
from lisa_core.cli.eval import _default_output
from lisa_core.conversion import convert_dataset
from lisa_core.data import open_dataset
from lisa_core.data.collate import Collator
from lisa_core.errors import ConfigError
from lisa_core.evaluation_file import read_evaluation
from lisa_core.evaluator import evaluate
from lisa_core.predictions import read_predictions
from lisa_core.records import metrics_of

MASKS = ("eval", "--predictions", "masks.jsonl", "--data", "scenes")
EVAL = ("eval", "run", "--data", "scenes", "--device", "cpu")


def expected(folder: Path, split: str = "val", phrasings: str = "first", **options) -> dict:
    """The figures from the Python API."""
    model = load_checkpoint(folder / "run")
    collator = Collator(model.vlm, model.config, sam_size(model.config))
    return evaluate(model, open_dataset(folder / "scenes", split, phrasings), collator, **options).to_dict()


def without_samples(path: Path) -> dict:
    """The figures of a file, as `--json` prints them."""
    record = json.loads(path.read_text())
    assert len(record.pop("samples")) == record["n"]
    return record


def break_picture(folder: Path) -> Path:
    path = sorted(folder.glob("*.jpg"))[2]
    path.unlink()
    path.write_bytes(b"not a picture")
    return path


@pytest.mark.slow
def test_json_is_all_that_a_real_process_prints(workplace, run_lisa):
    result = run_lisa(*EVAL, "--split", "val", "--json")
    assert result.returncode == 0, result.stderr
    record = json.loads(result.stdout)
    assert {"giou", "ciou", "listening", "n"} <= record.keys()
    assert result.stdout.count("\n") == 1
    assert record == without_samples(workplace / "run" / "eval_val.json")
    assert record["giou"] == pytest.approx(expected(workplace)["giou"], abs=1e-6)
    assert "Warning" not in result.stderr and "Traceback" not in result.stderr


def test_the_json_holds_the_evaluator_s_figures(workplace, invoke):
    result = invoke(*EVAL, "--json")
    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    figures = expected(workplace)
    assert {key: record[key] for key in figures} == figures
    assert (record["checkpoint"], record["data"], record["split"], record["phrasings"]) == (
        "run",
        "scenes",
        "val",
        "first",
    )
    assert without_samples(workplace / "run" / "eval_val.json") == record
    assert record["protocol"] == "teacher-forced" and record["predictions"] is None and record["unanswered"] == 0
    assert record["figures"]["giou"]["value"] == record["giou"]
    assert record["figures"]["giou"]["low"] <= record["giou"] <= record["figures"]["giou"]["high"]
    assert "boundary_iou" in record["figures"] and "giou_epsilon" not in record["figures"]
    stored = read_evaluation(workplace / "run")
    assert len(stored.records) == record["n"] and metrics_of(stored.records).giou == record["giou"]
    assert not list((workplace / "run").glob("*.new"))


def test_the_table_says_the_same_and_where_the_json_is(workplace, invoke):
    result = invoke(*EVAL)
    assert result.exit_code == 0, result.stderr
    figures = expected(workplace)
    for line in (f"gIoU {figures['giou']:.4f}", f"cIoU {figures['ciou']:.4f}", f"sentences {figures['n']}"):
        name, value = line.split()
        assert any(name in row and value in row for row in result.stdout.splitlines()), line
    assert f"listening accuracy ({figures['listening_pairs']} pairs)" in result.stdout
    assert "gIoU, sentence blanked" in result.stdout and f"{figures['blank_giou']:.4f}" in result.stdout
    for name in ("centre blob", "largest object"):
        assert f"always the {name}" in result.stdout
    assert result.stderr.endswith("written to run/eval_val.json\n")


def test_a_checkpoint_s_own_folder_will_do(workplace, invoke):
    giou = {}
    for path in ("run", "run/best"):
        result = invoke("eval", path, "--data", "scenes", "--json", "--device", "cpu")
        giou[path] = json.loads(result.stdout)["giou"]
    assert giou["run"] == giou["run/best"]
    assert (workplace / "run" / "best" / "eval_val.json").is_file()


def test_options_reach_the_evaluation(workplace, invoke):
    args = ["--split", "train", "--phrasings", "all", "--max-samples", "7", "--no-blank", "-o", "figures.json"]
    args += ["--epsilon", "1e-5", "--resamples", "0", "--no-boundary"]
    result = invoke(*EVAL, *args, "--json")
    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    figures = expected(workplace, "train", "all", max_samples=7, blank=False)
    assert record["n"] == 7 and record["blank_giou"] is None and record["split"] == "train"
    assert {key: record[key] for key in figures} == figures
    assert without_samples(Path("figures.json")) == record
    assert record["figures"]["giou_epsilon"]["value"] <= record["giou"] and record["epsilon"] == 1e-5
    assert record["figures"]["giou"]["low"] is None and "boundary_iou" not in record["figures"]
    assert not list((workplace / "run").glob("eval_*"))


def test_masks_are_cut_where_their_expected_iou_is_best(workplace, invoke):
    args = ("eval", "tiny", "--data", "scenes", "--device", "cpu", "--no-boundary", "--no-blank", "-o", "figures.json")
    painted = []
    for temperature, option in ((None, ()), (1.0, ("--mask-temperature", "1")), (9.0, ("--mask-temperature", "9"))):
        result = invoke(*args, *option)
        assert result.exit_code == 0, result.stderr
        record = json.loads(Path("figures.json").read_text())
        assert record["mask_temperature"] == temperature
        painted.append(sum(sample["predicted_pixels"] for sample in record["samples"]))
        assert temperature is None or all(sample["predicted_pixels"] for sample in record["samples"])
    assert "held another evaluation" in result.stderr and "mask temperature 1," in result.stderr
    assert painted[1] != painted[0] and painted[2] > painted[1]


def test_masks_are_flip_tested_where_they_are_drawn(workplace, invoke, refusal):
    args = ("eval", "tiny", "--data", "scenes", "--device", "cpu", "--no-boundary", "--no-blank")
    painted = []
    for option in ((), ("--flip-test",), ("--no-flip-test",)):
        result = invoke(*args, *option, "-o", "figures.json")
        assert result.exit_code == 0, result.stderr
        record = json.loads(Path("figures.json").read_text())
        assert record["flip_test"] is ("--flip-test" in option)
        painted.append([sample["predicted_pixels"] for sample in record["samples"]])
    assert "held another evaluation" in result.stderr and "teacher-forced with flip test," in result.stderr
    assert painted[0] == painted[2] != painted[1]
    assert invoke(*EVAL, "--flip-test").exit_code == invoke(*EVAL, "--no-flip-test").exit_code == 0
    assert (workplace / "run" / "eval_val_flip_test.json").is_file()
    assert (workplace / "run" / "eval_val_no_flip_test.json").is_file()
    assert "--no-flip-test go with CKPT" in refusal(
        "eval", "--predictions", "x.jsonl", "--data", "scenes", "--flip-test"
    )
    for option in ("--flip-test", "--no-flip-test"):
        assert "teacher-forced: what a model writes" in refusal(*EVAL, option, "--protocol", "generated")


def test_kept_features_give_the_same_figures(workplace, invoke, refusal):
    args = ("eval", "tiny", "--data", "scenes", "--device", "cpu", "--no-boundary", "--json", "-o", "figures.json")
    giou = []
    for kept in ((), ("--feature-cache", "kept"), ("--feature-cache", "kept")):  # without, kept, read
        result = invoke(*args, *kept)
        assert result.exit_code == 0, result.stderr
        giou.append(json.loads(result.stdout)["giou"])
    assert giou == pytest.approx([giou[0]] * 3, abs=1e-3)
    assert {path.name for path in Path("kept").iterdir()} == {"vision", "text"}
    assert "--feature-cache has nothing to keep" in refusal(*EVAL, "--feature-cache", "kept")


def test_a_corrupt_sample_stops_or_is_left_out(workplace, invoke, refusal):
    path = break_picture(workplace / "scenes" / "val").relative_to(workplace)
    assert refusal(*EVAL).startswith(f"lisa: error: {path} is not an image")
    annotation = sorted((workplace / "scenes" / "val").glob("*.json"))[0].relative_to(workplace)
    annotation.write_text("[]")
    assert str(annotation) in refusal(*EVAL)
    result = invoke(*EVAL, "--on-error", "skip", "--json")
    assert result.exit_code == 0, result.stderr
    for name in (path, annotation):
        assert f"skipped: {name}" in result.stderr
    assert json.loads(result.stdout)["skipped"] == 2


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["eval", "absent", "--data", "scenes"], "no checkpoint at absent"),
        (["eval", "scenes", "--data", "scenes"], "no checkpoint at scenes"),
        (["eval", "run", "--data", "absent"], "data folder absent does not exist"),
        (["eval", "run"], "Missing option '--data'"),
        ([*EVAL, "--split", "nosuch"], "scenes has no split 'nosuch'"),
        ([*EVAL, "--batch-size", "0"], "Invalid value for '--batch-size'"),
        ([*EVAL, "-o", "absent/figures.json"], "--output: the folder absent does not exist"),
        ([*EVAL, "-o", "scenes"], "--output: scenes is a folder"),
        ([*EVAL, "-o", "run/config.json"], "--output run/config.json is there, and no evaluation: give another file"),
        pytest.param(
            [*EVAL, "--device", "cuda"],
            "--device cuda, but torch sees no CUDA device here",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here"),
        ),
        ([*EVAL, "--device", "toaster"], "'toaster' is not a device that can be used here"),
        (["eval", "--data", "scenes"], "Missing argument 'CKPT', or --predictions FILE (see `lisa eval --help`)"),
        ([*EVAL, "--predictions", "masks.jsonl"], "CKPT draws masks and --predictions has some: give one of them"),
        ([*MASKS, "--save-predictions", "m.jsonl"], "--save-predictions goes with CKPT"),
        ([*MASKS, "--feature-cache", "kept"], "--feature-cache goes with CKPT"),
        ([*MASKS, "--mask-temperature", "2"], "--mask-temperature goes with CKPT"),
        ([*EVAL, "--mask-temperature", "0.5"], "Invalid value for '--mask-temperature'"),
        ([*EVAL, "--save-predictions", "absent/m.jsonl"], "--save-predictions: the folder absent does not exist"),
        ([*EVAL, "--report", "scenes"], "--report: scenes holds something else than a report"),
        ([*EVAL, "--epsilon", "-1"], "Invalid value for '--epsilon'"),
        (MASKS, "masks.jsonl cannot be read as predictions (No such file or directory)"),
    ],
)
def test_bad_input_is_one_line(workplace, refusal, args, said):
    assert said in refusal(*args)
    assert not list((workplace / "run").glob("eval_*"))


def test_figures_that_cannot_be_written_are_printed_all_the_same(workplace, invoke, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.replace", refuse)
    result = invoke(*EVAL, "--json")
    assert json.loads(result.stdout)["n"] == len(open_dataset("scenes", "val", "first"))
    assert result.exit_code == 2
    assert result.stderr.endswith(
        "lisa: error: cannot write run/eval_val.json (Permission denied): choose another --output\n"
    )


def test_a_report_that_cannot_be_written_costs_no_other_file(workplace, invoke, monkeypatch):
    def refuse(*_):
        raise ConfigError("cannot write report.html")

    monkeypatch.setattr("lisa_core.html_report.write_report", refuse)
    dataset = open_dataset("scenes", "val", "first")
    Path("masks.jsonl").write_text("".join(json.dumps({"id": s.id, "rle": None}) + "\n" for s in dataset.samples))
    result = invoke(*MASKS, "--report", "report.html")
    assert result.exit_code == 2
    assert result.stderr.endswith("written to masks.eval_val.json\nlisa: error: cannot write report.html\n"), (
        result.stderr
    )


def test_a_model_of_the_hub_has_no_folder_here(workplace):
    assert _default_output("org/name", None, "a/val") == Path("eval_a_val.json")
    assert _default_output("run", None, "val") == Path("run/eval_val.json")


def test_the_json_of_a_model_of_the_hub_is_in_the_current_folder(workplace, invoke, monkeypatch):
    from lisa_core.segmenter import Segmenter

    loaded = Segmenter.load("run", "cpu")
    monkeypatch.setattr(Segmenter, "load", lambda name, *_, **__: loaded)
    result = invoke("eval", "org/name", "--data", "scenes", "--no-blank", "--no-boundary", "--resamples", "0")
    assert result.exit_code == 0 and result.stderr.endswith("written to eval_val.json\n"), result.stderr
    assert without_samples(Path("eval_val.json"))["checkpoint"] == "org/name"


def test_another_evaluation_is_not_replaced_in_silence(workplace, invoke):
    dataset = open_dataset("scenes", "val", "first")
    Path("masks.jsonl").write_text("".join(json.dumps({"id": s.id, "rle": None}) + "\n" for s in dataset.samples))
    count = len(dataset.samples)
    for args, name in (
        ((), "masks.eval_val.json"),
        (("--max-samples", str(count)), "masks.eval_val.json"),
        (("--max-samples", "2"), "masks.eval_val_first2.json"),
    ):
        result = invoke(*MASKS, *args, "--resamples", "0")
        assert result.exit_code == 0 and result.stderr.endswith(f"\nwritten to {name}\n"), result.stderr
        assert "replaced" not in result.stderr
    whole = without_samples(Path("masks.eval_val.json"))
    assert whole["n"] == count and without_samples(Path("masks.eval_val_first2.json"))["n"] == 2
    # The same ids over other pictures.
    (workplace / "scenes").rename("others")
    for path in Path("others/val").glob("*.json"):
        content = json.loads(path.read_text())
        path.write_text(json.dumps({**content, "text": ["something else"]}))
    result = invoke("eval", "--predictions", "masks.jsonl", "--data", "others", "--json", "--resamples", "0")
    assert result.exit_code == 0 and json.loads(result.stdout)["data"] == "others"
    assert result.stderr.splitlines()[-1] == (
        "note: masks.eval_val.json held another evaluation (predictions masks.jsonl, data scenes, "
        f"{count} sentences, gIoU {whole['giou']:.4f}), which is replaced"
    )


def test_a_split_in_a_folder_of_a_folder(workplace, invoke):
    (workplace / "scenes" / "val").rename(workplace / "scenes" / "held")
    (workplace / "all").mkdir()
    (workplace / "scenes").rename(workplace / "all" / "scenes")
    result = invoke("eval", "run", "--data", "all", "--split", "scenes/held", "--json")
    assert result.exit_code == 0, result.stderr
    assert without_samples(workplace / "run" / "eval_scenes_held.json") == json.loads(result.stdout)


def test_several_datasets_at_once_each_with_its_figures(workplace, invoke, refusal):
    convert_dataset("scenes", "lines", "jsonl")
    args = ("--save-predictions", "masks.jsonl", "--report", "report.html", "--report-samples", "3", "--no-blank")
    both = ("--data", "scenes||mine=lines")
    result = invoke("eval", "run", *both, *args)
    assert result.exit_code == 0, result.stderr
    record = without_samples(workplace / "run" / "eval_val.json")
    alone = expected(workplace, blank=False)
    assert record["n"] == 2 * alone["n"] and record["giou"] == pytest.approx(alone["giou"])
    parts = record["breakdowns"]["source"]
    assert {name: part["n"] for name, part in parts.items()} == {"scenes": alone["n"], "mine": alone["n"]}
    assert all(part["figures"]["giou"]["value"] == pytest.approx(alone["giou"]) for part in parts.values())
    assert {mask.split(":")[0] for mask in read_predictions(Path("masks.jsonl"))} == {"scenes", "mine"}
    assert Path("report.html").read_text().count("<article") == 9
    result = invoke("eval", "--predictions", "masks.jsonl", *both, "--data-format", "auto||jsonl", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["breakdowns"] == record["breakdowns"]
    assert "data folder absent does not exist" in refusal("eval", "run", "--data", "scenes||absent")
    assert "--max-samples counts the sentences of one dataset" in refusal("eval", "run", *both, "--max-samples", "3")
    assert "scenes has no split 'nosuch'" in refusal("eval", "run", *both, "--split", "nosuch")


def test_a_missing_folder_in_a_real_process(run_lisa):
    result = run_lisa("eval", "run", "--data", "absent")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == ("lisa: error: data folder absent does not exist or is not a folder: check the path\n")


def test_masks_are_saved_and_score_the_same_without_the_model(workplace, invoke, monkeypatch):
    args = ("--save-predictions", "masks.jsonl", "--report", "report.html", "--report-samples", "2", "--no-blank")
    result = invoke(*EVAL, *args)
    assert result.exit_code == 0, result.stderr
    assert result.stderr.endswith("written to run/eval_val.json\nwritten to masks.jsonl\nwritten to report.html\n"), (
        result.stderr
    )
    assert "run (teacher-forced) on scenes, split val" in result.stdout
    own = without_samples(workplace / "run" / "eval_val.json")
    assert len(read_predictions(Path("masks.jsonl"))) == own["n"]
    page = Path("report.html").read_text()
    assert f"{own['giou']:.4f}" in page and page.count("<article") == 6
    monkeypatch.setattr("lisa_core.segmenter.Segmenter.load", None)
    result = invoke(*MASKS, "--report", "pages")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == "written to masks.eval_val.json\nwritten to pages/index.html\n"
    again = without_samples(workplace / "masks.eval_val.json")
    told = {"checkpoint": None, "predictions": "masks.jsonl", "protocol": None, "flip_test": None}
    assert again == {**own, **told}
    assert read_evaluation(Path("masks.eval_val.json")).records == read_evaluation(Path("run")).records


def test_masks_that_are_missing_are_named_and_wrong_ones_refused(workplace, invoke, refusal):
    dataset = open_dataset("scenes", "val", "first")
    lines = []
    for k, sample in enumerate(dataset.samples):
        width, height = dataset.load(k).image.size
        lines.append({"id": sample.id, "rle": {"size": [height, width], "counts": [0, height * width]}})
    path = Path("masks.jsonl")
    path.write_text("".join(json.dumps(line) + "\n" for line in lines[:-2]))
    result = invoke(*MASKS, "--json")
    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    assert record["n"] == len(lines) and record["unanswered"] == 2
    Path("masks.eval_val.json").unlink()
    first, second = (line["id"] for line in lines[-2:])
    assert result.stderr == (
        f"2 of {len(lines)} sentences count as empty masks, since masks.jsonl has no mask for them: {first}, {second}\n"
    )
    path.write_text("".join(json.dumps(line) + "\n" for line in [*lines, lines[0]]))
    assert f"masks.jsonl, line {len(lines) + 1}: {lines[0]['id']!r} was predicted in line 1 already" in refusal(*MASKS)
    path.write_text(json.dumps({**lines[0], "id": "nobody"}))
    assert "1 of 1 predictions are for no sample of this split ('nobody')" in refusal(*MASKS)
    path.write_text(json.dumps({**lines[0], "rle": {"size": [1, 1], "counts": [1]}}))
    assert "cannot be used: its size is [1, 1], but the picture's is" in refusal(*MASKS)
    assert not list(workplace.glob("masks.eval*"))


def test_the_generated_protocol_is_named(workplace, invoke):
    args = ("--protocol", "generated", "--max-new-tokens", "4", "--max-samples", "3", "--no-blank")
    result = invoke(*EVAL, *args, "--save-predictions", "masks.jsonl")
    assert result.exit_code == 0, result.stderr
    assert "run (generated) on scenes, split val" in result.stdout
    assert [path.name for path in (workplace / "run").glob("eval_*")] == ["eval_val_generated_first3.json"]
    record = without_samples(workplace / "run" / "eval_val_generated_first3.json")
    assert record["protocol"] == "generated" and record["n"] == 3
    masks = read_predictions(Path("masks.jsonl")).values()
    assert all(mask.reply is not None for mask in masks)
    silent = [mask.id for mask in masks if "[SEG]" not in mask.reply]
    assert record["unanswered"] == len(silent) == sum(mask.rle is None for mask in masks)
    if silent:
        assert "sentences count as empty masks, since the model wrote no [SEG] for them" in result.stderr


@pytest.mark.slow
def test_two_processes_count_every_sentence_once(workplace):
    command = [sys.executable, "-m", "lisa_core", *EVAL, "--batch-size", "3", "--no-blank", "--json"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    alone = subprocess.run(command, env=env, capture_output=True, text=True, timeout=200)
    assert alone.returncode == 0, alone.stderr
    one = read_evaluation(Path("run"))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    env["ACCELERATE_USE_CPU"] = "true"
    both = subprocess.run([*torchrun, *command[1:]], env=env, capture_output=True, text=True, timeout=300)
    assert both.returncode == 0, both.stderr
    assert both.stdout.count("\n") == 1, "one process speaks"
    two = read_evaluation(Path("run"))
    assert [record.id for record in two.records] == [record.id for record in one.records]
    assert two.records == one.records and json.loads(both.stdout) == json.loads(alone.stdout)
