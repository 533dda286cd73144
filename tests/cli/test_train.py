from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path

import pytest
import torch

from lisa_core.build import build_vlm
from lisa_core.checkpoint import load_checkpoint
from lisa_core.config import DataConfig, ModelConfig, OptimConfig, RunConfig, TrainConfig
from lisa_core.data import open_dataset
from lisa_core.trainer import Trainer

BASE = ("train", "--vlm", "clip-llm", "--vlm-model-name", "tiny", "--num-epochs", "1", "--batch-size", "8")
TRAIN = (*BASE, "--data", "scenes", "--output-dir", "out", "--device", "cpu")


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def log(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def break_picture(folder: Path) -> Path:
    """Make one picture of a split unreadable; returns its path."""
    path = sorted(folder.glob("*.jpg"))[2]
    path.unlink()
    path.write_bytes(b"not a picture")
    return path


@pytest.fixture
def here(scenes, tmp_path, monkeypatch) -> Path:
    """A folder with a copy of the scenes, as the current directory."""
    shutil.copytree(scenes, tmp_path / "scenes")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_leaves_two_checkpoints_a_log_and_its_config(trained):
    run = trained.folder / "run"
    names = ["best", "checkpoints", "config.json", "last", "metrics.jsonl", "samples"]
    assert sorted(path.name for path in run.iterdir()) == names
    for name in ("best", "last"):
        assert {"lisa.json", "model.safetensors", "state", "vlm"} == {path.name for path in (run / name).iterdir()}
        meta = json.loads((run / name / "lisa.json").read_text())
        assert meta["plugin"]["distribution"] == "lisa-smolvlm" and meta["progress"]["epoch"] == 1
    config = json.loads((run / "config.json").read_text())
    assert config["optim"]["seed"] == 3 and config["data"]["batch_size"] == 8 and config["tuning"]["vlm_lora_r"] == 16
    about = config["environment"]
    assert about["learning_rate"] == 1e-3 and about["world_size"] == 1 and about["command"].endswith("--seed 3")
    assert about["versions"].keys() >= {"lisa-core", "lisa-smolvlm", "torch", "transformers", "accelerate", "peft"}


def test_the_log_has_every_step_and_epoch(trained):
    *steps, epoch = log(trained.folder / "run")
    samples = len(open_dataset(trained.folder / "scenes", "train"))
    assert [record["step"] for record in steps] == list(range(1, -(-samples // 8) + 1))
    assert all(record["kind"] == "step" and math.isfinite(record["loss"]) for record in steps)
    assert sum(record["masks"] for record in steps) == samples
    assert epoch["kind"] == "epoch" and epoch["epoch"] == 1 and epoch["step"] == len(steps)
    assert epoch["train_loss"] == pytest.approx(sum(record["loss"] for record in steps) / len(steps))
    assert epoch["val"]["n"] == len(open_dataset(trained.folder / "scenes", "val", "first"))
    assert epoch["peak_memory_bytes"] > 1e7


def test_what_a_run_says(trained):
    assert trained.process.stdout == ""
    lines = trained.process.stderr.splitlines()
    assert lines[0] == "✓ VLM loaded: smolvlm (tiny)"
    assert lines[1].startswith("  Vision dim: ") and lines[4].startswith("trainable params: ")
    assert any(line.startswith("Epoch 1/1 | train loss ") for line in lines)
    assert lines[-1] == 'next: lisa segment run IMAGE "what to segment"'
    assert not any("Warning" in line or "Traceback" in line for line in lines), trained.process.stderr


def test_the_same_seed_gives_the_same_weights_and_another_one_does_not(trained, workplace, invoke):
    torch.manual_seed(1234)  # what happened before must not matter
    torch.randn(7)
    weights = {}
    for out, seed in (("again", "3"), ("other", "4")):
        args = [*trained.args, "--output-dir", out, "--seed", seed]
        assert invoke(*args).exit_code == 0
        weights[out] = (workplace / out / "last" / "model.safetensors").read_bytes()
    first = (trained.folder / "run" / "last" / "model.safetensors").read_bytes()
    assert weights["again"] == first
    assert weights["other"] != first


def test_a_folder_that_holds_a_run_is_refused_and_not_touched(workplace, trained, refusal):
    before = contents(workplace / "run")
    assert (
        "run already holds a run: choose another --output-dir, go on with it (--resume auto), or add --overwrite"
        in refusal(*trained.args)
    )
    assert contents(workplace / "run") == before


def test_a_folder_that_holds_a_run_can_be_used_again(workplace, invoke):
    stale = workplace / "run" / "best" / "stale"
    stale.write_text("of the run before")
    result = invoke(*BASE, "--data", "scenes", "--output-dir", "run", "--device", "cpu", "--overwrite")
    assert result.exit_code == 0, result.stderr
    assert json.loads((workplace / "run" / "last" / "lisa.json").read_text())["model"]["vlm"] == "clip-llm"
    assert [record["kind"] for record in log(workplace / "run")].count("epoch") == 1
    assert not stale.exists()


def test_a_val_picture_that_cannot_be_read_does_not_cost_the_epoch(here, refusal):
    broken = break_picture(here / "scenes" / "val")
    assert broken.name in refusal(*TRAIN)
    assert json.loads((here / "out" / "last" / "lisa.json").read_text())["progress"]["epoch"] == 1


def test_an_output_folder_that_cannot_be_made_is_one_line(here, refusal):
    (here / "file").write_text("")
    assert "--output-dir file/run cannot be written to" in refusal(
        *BASE, "--data", "scenes", "--output-dir", "file/run", "--device", "cpu"
    )


@pytest.mark.parametrize("name", ["best", "last"])
def test_a_folder_of_the_user_s_own_is_never_replaced_by_a_checkpoint(here, refusal, name):
    """An output folder may be one that holds other things, and `best` is a name that a user can think of."""
    (here / "out" / name).mkdir(parents=True)
    (here / "out" / name / "precious.txt").write_text("thesis")
    (here / "out" / "eval_thesis.json").write_text("{}")
    before = contents(here / "out")
    assert "add --overwrite" in refusal(*TRAIN)
    assert f"out/{name} is no checkpoint" in refusal(*TRAIN, "--overwrite")
    assert contents(here / "out") == before


def test_other_files_in_the_output_folder_are_left_alone(here, invoke):
    (here / "out").mkdir()
    for name in ("notes.txt", "eval_thesis.json"):
        (here / "out" / name).write_text("{}")
    before = contents(here / "out")
    assert invoke(*TRAIN, "--max-train-samples", "8").exit_code == 0
    assert before.items() <= contents(here / "out").items()


def test_accumulated_batches_are_one_step(here, invoke):
    result = invoke(*TRAIN, "--gradient-accumulation-steps", "2", "--max-train-samples", "20", "--max-val-samples", "2")
    assert result.exit_code == 0, result.stderr
    *steps, epoch = log(here / "out")
    assert [record["masks"] for record in steps] == [16, 4]
    assert epoch["val"]["n"] == 2


@pytest.mark.parametrize("num_workers", ["0", "1"])
def test_a_corrupt_picture_stops_the_run_in_one_line_that_names_it(here, refusal, num_workers):
    path = break_picture(here / "scenes" / "train")
    line = refusal(*TRAIN, "--num-workers", num_workers)
    assert line.startswith(f"lisa: error: {path.relative_to(here)} is not an image") and "Traceback" not in line


def test_a_corrupt_picture_can_be_left_out(here, invoke):
    train, val = break_picture(here / "scenes" / "train"), break_picture(here / "scenes" / "val")
    annotation = sorted((here / "scenes" / "train").glob("*.json"))[0]
    annotation.write_text("{")
    result = invoke(*TRAIN, "--on-error", "skip", "--num-epochs", "2")
    assert result.exit_code == 0, result.stderr
    for path in (train, val, annotation):
        assert result.stderr.count(f"skipped: {path.relative_to(here)}") == 1
    *steps, epoch = log(here / "out")
    masks = sum(record["masks"] for record in steps if record["kind"] == "step" and record["epoch"] == 2)
    assert 0 < masks < len(open_dataset(here / "scenes", "train", on_error="skip"))
    assert epoch["val"]["skipped"] == 1


def test_nothing_left_to_train_on_is_one_line(here, refusal):
    for path in (here / "scenes" / "train").glob("*.jpg"):
        path.unlink()
        path.write_bytes(b"not a picture")
    assert "no training sample could be read" in refusal(*TRAIN, "--on-error", "skip")


def test_a_loss_that_is_no_number_is_one_line(here, refusal):
    line = refusal(*TRAIN, "--learning-rate", "1e30", "--warmup-ratio", "0", "--max-grad-norm", "0")
    assert re.search(r"step \d+: loss (nan|inf).*, at samples \w+#\d.*lower --learning-rate", line)


def test_shared_out_weights_need_somebody_to_share_with(here, refusal):
    assert "--parallel fsdp needs several processes: add --num-processes 2" in refusal(*TRAIN, "--parallel", "fsdp")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--init-from", "absent"), "no checkpoint at absent"),
        (("--optimizer", "adamw_8bit"), "runs on CUDA only"),
        (("--output-dir", "/proc/nowhere/run"), "cannot be written to"),
    ],
)
def test_what_is_told_before_the_model_is_loaded(here, refusal, invoke, args, said):
    assert said in refusal(*TRAIN, *args)
    assert "VLM loaded" not in invoke(*TRAIN, *args).stderr


def test_each_epoch_has_its_own_order(here):
    trainer = Trainer(
        TrainConfig(
            model=ModelConfig(vlm="clip-llm", vlm_model_name="tiny", fusion="late"),
            data=DataConfig(data="scenes", batch_size=4, max_train_samples=12, max_val_samples=1),
            optim=OptimConfig(num_epochs=3),
            run=RunConfig(output_dir="out", device="cpu"),
        )
    )
    drawn: list[list[str]] = []
    prepare = trainer._micro_batches

    def recorded(window):
        drawn.extend(batch["sample_ids"] for batch in window)
        return prepare(window)

    trainer._micro_batches = recorded
    trainer.run()
    epochs = [[name for batch in drawn[start : start + 3] for name in batch] for start in (0, 3, 6)]
    assert len(drawn) == 9 and all(sorted(order) == sorted(epochs[0]) for order in epochs)
    assert len({tuple(order) for order in epochs}) == 3


SHAPES = [{"label": "target", "points": [[1, 1], [9, 1], [9, 9]]}]
ANNOTATIONS = {
    "no shapes": ({"text": ["it"]}, "has no `shapes`"),
    "two points": ({"text": ["it"], "shapes": [{"label": "target", "points": [[1, 1], [9, 9]]}]}, "has 2 points"),
    "no text": ({"shapes": SHAPES}, "`text`"),
    "blank text": ({"text": [" "], "shapes": SHAPES}, "must be a sentence"),
}


@pytest.mark.parametrize("name", ANNOTATIONS)
@pytest.mark.parametrize("split", ["train", "val"])
def test_an_annotation_that_cannot_be_used_is_named_before_training(here, refusal, name, split):
    content, said = ANNOTATIONS[name]
    path = sorted((here / "scenes" / split).glob("*.json"))[-1]
    path.write_text(json.dumps(content))
    line = refusal(*TRAIN)
    assert str(path.relative_to(here)) in line and said in line
    assert not (here / "out").exists()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--data", "absent"], "data folder absent does not exist"),
        (["--data", "scenes/synth.json"], "data folder scenes/synth.json does not exist or is not a folder"),
        (["--data", "scenes/train"], "scenes/train has no split 'train'"),
        (["--batch-size", "0"], "--batch-size is 0, must be at least 1"),
        (["--batch-size", "0", "--num-epochs", "-1"], "--batch-size is 0, must be at least 1; --num-epochs is -1"),
        (["--batch-size", "few"], "Invalid value for '--batch-size'"),
        (["--learning-rate", "nan"], "--learning-rate is nan, must be a finite number"),
        (["--vlm", "frobnicator"], "unknown VLM family 'frobnicator'"),
        (["--vlm", "qwen-vl"], "did you mean 'qwenvl'"),
        (["--vlm-model-name", "scenes"], "clip-llm needs two models"),
        (["--vlm", "smolvlm", "--vlm-model-name", "scenes"], "scenes: Unrecognized model"),
        (["--image-encoder-model-name", "a"], "are given together"),
        (["--sam-checkpoint", "absent.pth"], "no SAM checkpoint at absent.pth"),
        (["--fusion", "sideways"], "'sideways' is not one of 'joint', 'late'"),
        (["--output-dir", "scenes/synth.json"], "--output-dir scenes/synth.json is a file"),
        (["--bogus"], "No such option"),
        pytest.param(
            ["--device", "cuda"],
            "--device cuda, but torch sees no CUDA device here",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here"),
        ),
    ],
)
def test_bad_settings_are_one_line_and_write_nothing(here, refusal, args, said):
    assert said in refusal(*TRAIN, *args)
    assert not (here / "out").exists()


def test_what_is_missing_is_named(here, refusal):
    assert refusal("train", "--data", "") == "lisa: error: --data is missing: give the folder that holds train and val"
    assert "data folder data does not exist" in refusal(*BASE)


def test_a_wrong_flag_in_a_real_process(run_lisa):
    result = run_lisa("train", "--data", ".", "--output-dir", "run", "--batch-size", "0")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "lisa: error: --batch-size is 0, must be at least 1\n"


def test_a_checkpoint_of_any_family_trains_without_naming_it(here, invoke):
    """The run's settings and its checkpoints name the family that was found, and the options it was given."""
    folder = build_vlm(ModelConfig(vlm="smolvlm", vlm_model_name="tiny")).save_pretrained(here / "downloaded")
    result = invoke(
        *("train", "--vlm-model-name", "downloaded", "--vlm-option", "image_splitting=no", "--sam", "tiny"),
        *("--data", "scenes", "--output-dir", "out", "--num-epochs", "1", "--batch-size", "4", "--device", "cpu"),
        *("--max-train-samples", "8", "--max-val-samples", "2"),
    )
    assert result.exit_code == 0, result.stderr
    assert f"✓ VLM loaded: smolvlm ({folder})" in result.stderr
    for settings in (
        json.loads((here / "out" / "config.json").read_text())["model"],
        json.loads((here / "out" / "last" / "lisa.json").read_text())["model"],
    ):
        assert (settings["vlm"], settings["vlm_model_name"]) == ("smolvlm", folder)
        assert settings["vlm_option"] == ["image_splitting=no"]
    assert load_checkpoint(here / "out").config.vlm_option == ("image_splitting=no",)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "no model is named: give --vlm FAMILY"),
        (["--vlm-model-name", "tiny"], "tiny does not say of which family: give --vlm FAMILY"),
        (["--vlm-model-name", "scenes"], "the folder scenes has no config.json"),
        (["--vlm-model-name", "scenes/synth.json"], "is a file: give the folder of a checkpoint"),
        (["--vlm", "generic", "--vlm-model-name", "tiny"], "--vlm generic has neither a default checkpoint nor"),
        (
            ["--vlm", "smolvlm", "--vlm-option", "sides=3"],
            "--vlm smolvlm has no option 'sides'; its options: image_spl",
        ),
        (["--vlm", "smolvlm", "--vlm-option", "longest_edge=big"], "longest_edge is 'big', must be a whole number"),
        (["--vlm-option", "big"], "--vlm-option is 'big', must be NAME=VALUE"),
    ],
)
def test_a_family_that_is_not_clear_is_told_before_the_data_is_looked_at(here, refusal, args, said):
    assert said in refusal("train", "--data", "absent", "--output-dir", "out", *args)


@pytest.mark.parametrize("args", [["--vlm", "smolvlm"], ["--vlm=smolvlm"], ["--vlm", "clip-llm", "--vlm", "smolvlm"]])
def test_the_help_lists_the_options_of_the_family_it_is_asked_for(invoke, args):
    page = " ".join(invoke("train", *args, "--help").stdout.replace("│", " ").split())
    assert "--vlm-option, for --vlm smolvlm" in page
    assert "image_splitting=VALUE: Also cut the picture into crops" in page and "longest_edge=VALUE: " in page


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--vlm", "clip-llm"], "This family has none."),
        (["--vlm", "frobnicator"], "unknown VLM family 'frobnicator'"),
        (["--vlm", "auto"], None),
        (["--vlm"], None),
        ([], None),
    ],
)
def test_the_help_of_other_families_has_nothing_to_list(invoke, args, said):
    result = invoke("train", *args, "--help")
    page = " ".join(result.stdout.replace("│", " ").split())
    assert ("for --vlm" in page) == (said is not None) and (said or "") in page


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "said"),
    [(["--vlm", "frobnicator"], "unknown VLM family 'frobnicator'"), (["--data", "absent"], "absent does not exist")],
)
def test_bad_settings_in_a_real_process_that_had_to_load_torch(here, run_lisa, args, said):
    result = run_lisa(*TRAIN, *args)
    assert (result.returncode, result.stdout) == (2, "")
    assert said in result.stderr and result.stderr.startswith("lisa: error: ") and result.stderr.count("\n") == 1
