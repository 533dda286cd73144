"""The configurations are what they say, and the table's figures are those of the runs."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import ablation_configs
import ablation_table
import ablations
import pytest
import yaml

from lisa_core.config_file import resolve
from lisa_core.errors import ConfigError
from lisa_core.evaluation_file import write_evaluation
from lisa_core.records import SampleRecord

NAMES = sorted(path.stem for path in ablation_configs.CONFIGS.glob("*.yaml"))
PLACES = (Path("/d"), Path("/w"), Path("/f"))


def record(index: int, iou: float, hits: int, picture: str) -> SampleRecord:
    return SampleRecord(
        index=index,
        id=f"{picture}_{index}#0",
        text="the crow",
        is_sentence=False,
        image=f"{picture}.jpg",
        picture=picture,
        source="reasonseg",
        intersection=round(iou * 1000),
        union=1000,
        truth_pixels=1000,
        predicted_pixels=round(iou * 1000),
        counted_pixels=10_000,
        listening_hits=hits,
        listening_pairs=2,
        blind={"largest_object": 0.3, "blank": 0.25, **({"swapped": 0.1} if hits == 2 else {})},
    )


def run_of(folder: Path, seed: int = 0, seconds: float = 60, revision: str = "abc1234") -> ablation_table.Run:
    return ablation_table.Run(folder, seed, seconds, revision)


@pytest.mark.parametrize("name", NAMES)
def test_each_configuration_is_one_that_train_takes(tmp_path: Path, name: str) -> None:
    config = ablation_configs.settings(ablation_configs.read_config(name), *PLACES, epochs=1.0)
    assert config["model"]["image_encoder_model_name"].startswith("/w/dinov2")
    assert config["data"]["data"] == "/d"
    path = tmp_path / "one.yaml"
    path.write_text(yaml.safe_dump(config))
    for file in (path, ablation_configs.CONFIGS / f"{name}.yaml"):
        resolve({}, str(file)).config.validate()  # refuses what is no setting, and settings that contradict each other


def test_the_axes_that_defaults_are_judged_by_are_there() -> None:
    configs = {name: ablation_configs.read_config(name)["model"] for name in NAMES}
    assert {model["fusion"] for model in configs.values()} == {"late", "joint"}
    assert {model.get("similarity_map", True) for model in configs.values()} == {True, False}
    assert {model.get("num_prompts", 4) for model in configs.values()} == {1, 4, 8}
    assert {model.get("sam_decoder_depth", 2) for model in configs.values()} == {1, 2, 3}
    towers = {model["image_encoder_model_name"] for model in configs.values()}
    assert {f"weights/dinov2-{side}-l8" for side in (224, 280, 336)} <= towers
    assert ablation_configs.read_config("lora")["tuning"]["vlm_use_lora"]


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"base"}))
def test_each_configuration_changes_something_and_keeps_the_rest(name: str) -> None:
    parent = ablation_configs.parent_of(name)
    assert parent is not None
    base, other = ablation_configs.read_config(parent), ablation_configs.read_config(name)
    changed = [
        f"{section}.{key}"
        for section in {*base, *other}
        for key in {*base.get(section, {}), *other.get(section, {})}
        if base.get(section, {}).get(key) != other.get(section, {}).get(key)
    ]
    assert 1 <= len(changed) <= 3, changed


def test_epochs_are_scaled_and_at_least_one() -> None:
    config = ablation_configs.read_config("base")
    optim = {**config["optim"], "num_epochs": 6, "map_epochs": 2}
    for epochs, expected in ((1, (6, 2)), (0.5, (3, 1)), (0.01, (1, 0))):
        found = ablation_configs.settings({**config, "optim": optim}, *PLACES, epochs=epochs)["optim"]
        assert (found["num_epochs"], found["map_epochs"]) == expected


def test_shorter_runs_still_differ() -> None:
    configs = {name: ablation_configs.read_config(name) for name in NAMES}
    shortened = {name: ablation_configs.settings(config, *PLACES, epochs=0.5) for name, config in configs.items()}
    texts = {yaml.safe_dump(config, sort_keys=True): name for name, config in shortened.items()}
    assert len(texts) == len(NAMES), sorted(set(NAMES) - set(texts.values()))


def test_fewer_sentences_are_trained_on_if_that_is_asked_for() -> None:
    config = ablation_configs.read_config("base")
    own = config["data"]["max_train_samples"]
    assert own != 800 and ablation_configs.settings(config, *PLACES)["data"]["max_train_samples"] == own
    assert ablation_configs.settings(config, *PLACES, samples=800)["data"]["max_train_samples"] == 800


def test_a_run_beside_others_has_one_process_and_batches_as_large() -> None:
    config = ablation_configs.read_config("base")
    assert config["run"]["num_processes"] == 2
    alone = ablation_configs.settings(config, *PLACES, alone=True)
    assert "num_processes" not in alone["run"] and alone["data"]["batch_size"] == 2 * config["data"]["batch_size"]
    config["run"]["num_processes"] = None  # as a file takes it back from the one that it extends
    assert ablation_configs.settings(config, *PLACES, alone=True)["data"]["batch_size"] == config["data"]["batch_size"]


def test_an_unknown_configuration_is_said() -> None:
    with pytest.raises(ConfigError, match=r"no configuration 'bas'.*base"):
        ablation_configs.read_config("bas")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "cannot be read"),
        ("words", "must hold settings by name"),
        ("model: {vlm: clip-llm}", "lacks model, data or optim"),
        ("extends: b.yaml\noptim: {}", "extends b.yaml, which"),
        ("extends: c.yaml\noptim: {}", "there is no file 'c.yaml' to extend"),
        ("extends: ../base.yaml\noptim: {}", "extends a file of another folder"),
        ("model: {}\ndata: {data: d}\noptim: {num_epochs: null}", "num-epochs is None"),
    ],
)
def test_a_configuration_that_cannot_be_read_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "base.yaml").write_text("optim: {num_epochs: 1}")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "b.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        ablation_configs.read_config("b", tmp_path / "configs")
    assert "\n" not in str(caught.value)


def test_figures_are_means_over_seeds_with_an_interval_over_pictures(tmp_path: Path) -> None:
    runs = []
    for seed, (first, second) in enumerate([(0.2, 0.6), (0.4, 0.8)]):
        run = tmp_path / f"run{seed}"
        run.mkdir()
        rows = [record(0, first, 1, "a"), record(1, second, 2, "b")]
        write_evaluation(run / "eval_val.json", {"giou": 0.0}, rows)
        runs.append(run)
        write_evaluation(run / "eval_test_unseen.json", {"giou": 0.0}, rows)
    found = ablation_table.estimates(runs, "val")
    assert found["giou"].mean == pytest.approx(0.5) and found["giou"].spread == pytest.approx(0.2)
    assert found["listening"].mean == pytest.approx(0.75)
    assert found["blank"].mean == pytest.approx(0.25)
    better = ablation_table.estimates(runs[1:], "val")["giou"]
    assert better.less(found["giou"]) == pytest.approx((0.1, 0.1, 0.1)), "of every picture, so of every draw"
    assert found["swapped"].mean == pytest.approx(0.1), "of the sentences that have another object"
    results = {
        "base": [run_of(runs[0], 0, 600), run_of(runs[1], 1, 900)],
        "one": [run_of(runs[1], 1, 180, "def5678")],
        "two": [run_of(runs[1], 1, 180)],
    }
    text = ablation_table.table(results, {"base": None, "one": "base", "two": "one"}, "0123456789abcdef")
    assert "| `base` | — | 0.500 (0.300 to 0.700; seeds within 0.200) |" in text and "| 0.250 | 0.100 | 12 |" in text
    assert "| `one` | `base` | 0.600 (+0.100: +0.100 to +0.100) |" in text and "| 3 |" in text
    assert "| `two` | `one` | 0.600 (+0.000: +0.000 to +0.000) |" in text, "with what it extends"
    said = "seeds: 0, 1; data: sha256 `0123456789ab...`; code: abc1234, def5678"
    assert text.endswith(f"{said}; not by the words: none.")
    alone = ablation_table.table({"two": results["two"]}, {"two": "one"}, None, "ablations.py data --seeds 1")
    assert "| `two` | — | 0.600 (0.400 to 0.800) |" in alone
    assert alone.endswith("; made by: `ablations.py data --seeds 1`.")


@pytest.mark.parametrize(
    ("own", "swapped", "blank", "largest", "heeded"),
    [
        (0.6, 0.1, 0.2, 0.4, True),
        (0.3, 0.1, 0.2, 0.4, True),  # little, but by the words
        (0.2, 0.1997, 0.1998, 0.4, False),  # one mask for all, but for chance
        (0.6, 0.1, 0.5, 0.4, False),  # knows the object without being told
        (0.6, 0.5, 0.2, 0.4, False),  # and when told another
    ],
)
def test_the_sentence_left_out_or_swapped_leaves_a_guess(tmp_path: Path, own, swapped, blank, largest, heeded) -> None:
    blind = {"swapped": swapped, "blank": blank, "largest_object": largest}
    rows = [
        dataclasses.replace(record(number, own + (-1) ** number * 0.1, 2, picture), blind=blind)
        for number, picture in enumerate("aabbccddeeef")
    ]
    rows.append(dataclasses.replace(record(12, own, 2, "a"), blind={"blank": 0.9, "largest_object": 0.0}))
    for split in ablation_table.SPLITS:
        write_evaluation(tmp_path / f"eval_{split}.json", {"giou": own}, rows)
    assert all(ablation_table.goes_by_words([tmp_path], split) is heeded for split in ablation_table.SPLITS)
    text = ablation_table.table({"x": [run_of(tmp_path)]}, {"x": None}, None)
    assert f"; not by the words: {'none' if heeded else '`x`'}." in text


def test_without_guesses_nothing_is_said_to_go_by_the_words(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "eval_val.json", {"giou": 0.9}, [dataclasses.replace(record(0, 0.9, 2, "a"), blind={})])
    assert not ablation_table.goes_by_words([tmp_path], "val")


def test_runs_of_other_pictures_are_not_compared(tmp_path: Path) -> None:
    runs = []
    for pictures in ("ab", "ac"):
        run = tmp_path / pictures
        run.mkdir()
        for split in ablation_table.SPLITS:
            rows = [record(number, 0.5, 1, picture) for number, picture in enumerate(pictures)]
            write_evaluation(run / f"eval_{split}.json", {"giou": 0.0}, rows)
        runs.append(run)
    with pytest.raises(ConfigError, match="evaluated on other pictures"):
        ablation_table.estimates(runs, "val")
    with pytest.raises(ConfigError, match="evaluated on other pictures"):
        results = {name: [run_of(run)] for name, run in zip("xy", runs)}
        ablation_table.table(results, {"x": None, "y": "x"}, None)


def test_after_a_failure_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []

    def run_one(name: str, seed: int, *_: object) -> ablation_table.Run:
        begun.append(f"{name}{seed}")
        if name == "b":
            raise ConfigError("b failed")
        return run_of(tmp_path, seed)

    monkeypatch.setattr(ablations, "run_one", run_one)
    configs: dict[str, dict[str, Any]] = {name: {} for name in "abcd"}
    done = []
    with pytest.raises(ConfigError, match="b failed"):
        for name, runs in ablations.run_all(configs, [0, 1], tmp_path):
            done.append((name, [run.seed for run in runs]))
    assert begun == ["a0", "a1", "b0"] and done == [("a", [0, 1])]


def test_a_run_that_was_cut_off_is_no_other_one_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    config = {"data": {"data": str(data)}}
    trained: list[str] = []

    def lisa(*arguments: str, log: Path | None = None) -> None:
        trained.extend(arguments[:1])
        (out / "a-seed0").mkdir(exist_ok=True)
        if "batch_size" in (out / "a-seed0.yaml").read_text():
            raise ConfigError("cut off")

    monkeypatch.setattr(ablations, "_lisa", lisa)
    ablations.run_one("a", 0, config, out)
    ablations.run_one("a", 0, config, out)
    assert trained == ["train", "eval", "eval"], "what is done is not repeated"
    other = {"data": {"data": str(data), "batch_size": 2}}
    for attempt in (
        lambda: ablations.run_one("a", 0, other, out),
        lambda: next(ablations.run_all({"a": other}, [0], out)),
    ):
        with pytest.raises(ConfigError, match="a-seed0 is a complete run with other settings or data"):
            attempt()
    assert trained == ["train", "eval", "eval"] and ablations.finished("a", 0, config, out), "nothing is lost"
    with pytest.raises(ConfigError, match="cut off"):
        ablations.run_one("a", 0, other, out, replace=True)
    trained.clear()
    ablations.run_one("a", 0, config, out)
    assert trained == ["train", "eval", "eval"], "the folder holds another run's files now"


def test_missing_weights_are_said_before_anything_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_one(*_: object) -> ablation_table.Run:
        raise AssertionError("begun")

    monkeypatch.setattr(ablations, "run_one", run_one)
    (tmp_path / "there").mkdir()
    for setting in ("image_encoder_model_name", "text_encoder_model_name", "vlm_model_name"):
        config = {"model": {setting: str(tmp_path / "absent")}}
        there = {"model": {setting: str(tmp_path / "there")}}
        with pytest.raises(ConfigError, match=r"no folder \S+/absent: write it with weights\.py, or give another --we"):
            next(ablations.run_all({"a": there, "b": config}, [0], tmp_path / "out"))
        with pytest.raises(AssertionError, match="begun"):
            next(ablations.run_all({"a": there}, [0], tmp_path / "out"))


def test_a_run_evaluated_on_other_data_since_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    config = {"data": {"data": str(data)}}

    def lisa(command: str, *arguments: str, log: Path | None = None) -> None:
        if command == "eval":
            of, split = arguments[2], arguments[4]
            write_evaluation(out / "a-seed0" / f"eval_{split}.json", {"data": of}, [record(0, 0.5, 1, "a")])
        else:
            (out / "a-seed0").mkdir()

    monkeypatch.setattr(ablations, "_lisa", lisa)
    ablations.run_one("a", 0, config, out)
    assert ablations.finished("a", 0, config, out)
    other = out / "a-seed0" / "eval_test_unseen.json"
    write_evaluation(other, {"data": str(tmp_path / "other")}, [record(0, 0.5, 1, "a")])
    with pytest.raises(ConfigError, match=r"eval_test_unseen\.json is of \S+/other: `lisa eval \S+ --data \S+/data "):
        ablations.finished("a", 0, config, out)
    assert ablations.finished("a", 0, config, out, replace=True) is None
    monkeypatch.chdir(tmp_path)
    write_evaluation(other, {"data": "data"}, [record(0, 0.5, 1, "a")])
    assert ablations.finished("a", 0, config, out), "the same data by another path"


def test_scenes_that_were_cut_off_are_said(tmp_path: Path) -> None:
    assert ablations.data_hash(tmp_path) is None
    for text in ('{"complete": false}', '{"sha256": "ab', "[]"):
        (tmp_path / "benchmark.json").write_text(text)
        with pytest.raises(ConfigError, match=r"not complete: run scenes\.py"):
            ablations.data_hash(tmp_path)
    with pytest.raises(ConfigError, match="there is no folder"):
        ablations.data_hash(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--epochs", "-3"), "--epochs must be above 0"),
        (("--jobs", "0"), "--jobs must be at least 1"),
        (("--samples", "0"), "--samples must be at least 1"),
        (("--seeds", "0", "-1"), "--seeds must be 0 or above"),
        (("--out", "file", "--only", "base"), "ablation.json: Not a directory; mend that, or give another --out"),
        (("--weights", "nowhere", "--only", "base"), "/nowhere/dinov2-336-l8: write it with weights.py"),
    ],
)
def test_options_that_cannot_be_are_one_line(tmp_path: Path, monkeypatch, capsys, options, said) -> None:
    (tmp_path / "data").mkdir()
    for tower in ("dinov2-336-l8", "smollm2-l10"):
        (tmp_path / "weights" / tower).mkdir(parents=True)
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ablations.py", "data", *options])
    with pytest.raises(SystemExit) as ended:
        ablations.main()
    assert ended.value.code != 0 and said in f"{capsys.readouterr().err}{ended.value.code}"


@pytest.mark.slow
def test_the_command_trains_evaluates_and_does_not_repeat_itself(tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    run("-m", "lisa_core", "data", "synth", "data", "--train", "8", "--val", "4", "--test", "4")
    (tmp_path / "data" / "test").rename(tmp_path / "data" / "test_unseen")
    configs = tmp_path / "configs"
    configs.mkdir()
    base = {
        "model": {"vlm": "clip-llm", "vlm_model_name": "tiny", "fusion": "late"},
        "tuning": {"tune_vision": "train"},
        "data": {"batch_size": 8},
        "optim": {"num_epochs": 1},
    }
    (configs / "base.yaml").write_text(yaml.safe_dump(base))
    (configs / "one.yaml").write_text(yaml.safe_dump({"extends": "base.yaml", "model": {"num_prompts": 1}}))
    arguments = (str(ablations.__file__), "data", "--configs", "configs", "--out", "out", "--seeds", "0", "1")
    first = run(*arguments)
    assert first.count("$ lisa train") == 4 and "| `one` |" in first
    again = run(*arguments)
    assert "$ lisa" not in again and again.splitlines()[-4:] == first.splitlines()[-4:]
    told = json.loads((tmp_path / "out" / "one-seed1" / "config.json").read_text())
    assert told["model"]["num_prompts"] == 1 and told["optim"]["seed"] == 1
    assert yaml.safe_load((tmp_path / "out" / "one-seed1.yaml").read_text())["optim"]["seed"] == 1
    (tmp_path / "data" / "benchmark.json").write_text('{"sha256": "other"}')
    kept = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=tmp_path)
    assert kept.returncode == 1 and "is a complete run with other settings or data" in kept.stderr
    other = run(*arguments[:-1], "--jobs", "2", "--replace")
    assert other.count("$ lisa train") == 2 and "sha256 `other" in other, "runs on other data are no runs on these"
    assert "gIoU" in (tmp_path / "out" / "base-seed0.log").read_text()
    (tmp_path / "data" / "val" / "scene_00000_0.json").write_text("{")
    shutil.rmtree(tmp_path / "out")
    broken = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=tmp_path)
    assert broken.returncode == 1 and broken.stderr.splitlines()[-1].startswith("error: `lisa train --config ")
