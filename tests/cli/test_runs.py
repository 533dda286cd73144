from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from lisa_core.cli.runs import _age
from lisa_core.run_history import read_run


@pytest.fixture
def runs(workplace) -> Path:
    """`runs/good` with a higher cIoU than trained, `runs/better` with a higher gIoU, `runs/going` cut short."""
    (workplace / "runs").mkdir()
    shutil.move("run", "runs/good")
    log = Path("runs/good/metrics.jsonl")
    *lines, end = log.read_text().splitlines(keepends=True)
    last = json.loads(end)
    last["val"]["ciou"] = 0.25
    log.write_text("".join([*lines, json.dumps(last) + "\n"]))
    for name in ("better", "going"):
        shutil.copytree("runs/good", f"runs/{name}", symlinks=True)
    last["val"] |= {"giou": 0.875, "ciou": 0.125}
    test = {"kind": "test", "step": last["step"], **last["val"], "giou": 0.625}
    Path("runs/better/metrics.jsonl").write_text("".join([*lines, json.dumps(last) + "\n", json.dumps(test)]))
    config = json.loads(Path("runs/better/config.json").read_text())
    config["optim"]["learning_rate"] = 0.5
    Path("runs/better/config.json").write_text(json.dumps(config))
    Path("runs/going/metrics.jsonl").write_text(lines[0] + lines[1][:20])
    hour_ago = time.time() - 2 * 3600 - 60
    os.utime("runs/going/metrics.jsonl", (hour_ago, hour_ago))
    return workplace


def rows(output: str) -> list[list[str]]:
    """The table's cells."""
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in output.splitlines()]


def test_the_table_lists_all_runs_below_the_default_folder_the_best_first(runs, invoke):
    result = invoke("runs")
    assert result.exit_code == 0, result.stderr
    heads, _, better, good, going = rows(result.stdout)
    val = read_run(Path("runs/good")).best["val"]
    assert heads[:5] == ["run", "model", "trains", "state", "gIoU"]
    assert better[:8] == ["runs/better", "smolvlm tiny", "full", "finished 1/1", "0.8750", "1", "0.1250", good[7]]
    assert better[8] == "0.6250" and good[8] == "-", "the test's gIoU"
    assert good[4:8] == [f"{val['giou']:.4f}", "1", f"{val['ciou']:.4f}", f"{100 * val['listening']:.1f}%"]
    assert going[3:8] == ["unfinished 0/1, 2 h ago", "-", "-", "-", "-"]
    assert result.stderr == (
        "runs/going: the last line of metrics.jsonl is incomplete and was left out (being written, or cut off)\n"
    )


def test_other_orders_and_paths(runs, invoke):
    def order(*args: str) -> list[str]:
        result = invoke("runs", *args, "--json")
        assert result.exit_code == 0, result.stderr
        return [run["name"] for run in json.loads(result.stdout)["runs"]]

    assert order("--sort", "cIoU") == ["good", "better", "going"]
    assert order("--sort", "name") == ["better", "going", "good"]
    assert order("runs/good", "runs") == ["better", "good", "going"]
    assert order("runs/going") == ["going"]


def test_json_is_all_that_is_printed_and_holds_what_the_files_hold(runs, invoke):
    result = invoke("runs", "--json")
    record = json.loads(result.stdout, parse_constant=pytest.fail)
    better = record["runs"][0]
    assert (better["path"], better["best"]["giou"], better["test"]["giou"]) == ("runs/better", 0.875, 0.625)
    assert record["runs"] == [read_run(Path(run["path"])).to_dict() for run in record["runs"]]
    assert record["unreadable"] == [] and result.stderr == ""


def test_a_run_that_cannot_be_read_is_named_and_the_others_are_listed(runs, invoke, refusal):
    Path("runs/good/config.json").write_text("{")
    result = invoke("runs")
    assert result.exit_code == 0
    assert [row[0] for row in rows(result.stdout)[2:]] == ["runs/better", "runs/going"]
    assert "left out: runs/good/config.json is damaged" in result.stderr
    (unreadable,) = json.loads(invoke("runs", "--json").stdout)["unreadable"]
    assert unreadable["path"] == "runs/good" and "damaged" in unreadable["reason"]
    assert "runs/good/config.json is damaged" in refusal("runs", "runs/good")


def test_a_comparison_shows_what_differs_and_every_figure(runs, invoke):
    result = invoke("runs", "runs/good", "runs/better", "--compare")
    assert result.exit_code == 0, result.stderr
    lines = {row[0]: row[1:] for row in rows(result.stdout) if row}
    before = read_run(Path("runs/good")).best["val"]["giou"]
    assert lines["runs/good"] == ["runs/better"], "in the order they were given"
    assert lines["optim.learning_rate"] == ["0.001", "0.5"]
    assert "optim.num_epochs" not in lines and "run.output_dir" not in lines
    assert lines["val.giou"] == [f"{before:.4f}", f"0.8750 ({0.875 - before:+.4f})"]
    assert lines["val.epoch"] == ["1", "1 (=)"]
    assert lines["test.giou"] == ["-", "0.6250"]
    assert lines["peak_memory_bytes"][1].endswith("GB (=)")


def test_a_comparison_as_json_and_in_another_order(runs, invoke):
    result = invoke("runs", "runs/good", "runs/better", "runs/going", "--compare", "--json", "--sort", "gIoU")
    record = json.loads(result.stdout, parse_constant=pytest.fail)
    assert record["runs"] == ["runs/better", "runs/good", "runs/going"]
    assert record["settings"] == {"optim.learning_rate": [0.5, 0.001, 0.001]}
    figure = record["metrics"]["val.giou"]
    assert figure["values"][2] is None and figure["differences"][2] is None
    assert figure["differences"][1] == pytest.approx(figure["values"][1] - 0.875)


def test_equal_settings_are_said_to_be_equal(runs, invoke):
    assert "all settings are the same" in invoke("runs", "runs/good", "runs/going", "--compare").stdout


def test_markup_in_names_is_text(runs, invoke):
    Path("runs/good").rename("runs/[bold]")
    assert "runs/[bold]" in invoke("runs").stdout
    assert "runs/[bold]" in invoke("runs", "--compare").stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["absent"], "absent is not there or is no folder"),
        (["scenes"], "there is no run at or below scenes"),
        (["runs/good", "--compare"], "needs two runs or more, not 1"),
        (["--sort", "loss"], "'loss'"),
    ],
)
def test_bad_input_is_one_line(runs, refusal, args, said):
    assert said in refusal("runs", *args)


def test_without_a_folder_of_runs(tmp_path, monkeypatch, refusal):
    monkeypatch.chdir(tmp_path)
    assert "there is no folder runs here" in refusal("runs")


def test_a_real_process_imports_no_torch(runs):
    code = (
        "import sys; sys.argv = ['lisa', 'runs', *sys.argv[1:]]\n"
        "from lisa_core.cli.app import main\n"
        "try:\n    main()\n"
        "finally:\n    print(sorted({'torch', 'transformers', 'accelerate', 'numpy'} & set(sys.modules)))"
    )
    for args in ([], ["runs/good", "runs/better", "--compare"]):
        process = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True)
        assert "runs/better" in process.stdout, process.stderr
        assert process.stdout.splitlines()[-1] == "[]"


def test_a_real_process_writes_lines_that_are_not_broken(runs, run_lisa):
    name = "a-name-that-is-longer-than-any-terminal-" + "x" * 100
    Path("runs/good").rename(f"runs/{name}")
    result = run_lisa("runs", COLUMNS="40")
    assert result.returncode == 0, result.stderr
    assert sum(f"runs/{name} " in line for line in result.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("passed", "said"), [(-3, "0 s ago"), (59.9, "59 s ago"), (60, "1 min ago"), (7300, "2 h ago"), (2e5, "2 d ago")]
)
def test_ages(passed, said):
    now = datetime.now(timezone.utc)
    assert _age(now - timedelta(seconds=passed), now) == said
