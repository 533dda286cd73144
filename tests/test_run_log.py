"""`metrics.jsonl` is read whole, cut off at any byte, and with anything else in it."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_core.errors import ConfigError
from lisa_core.run_log import Columns, number, read_log

STEPS = [
    {"kind": "step", "step": k, "epoch": 1, "lr": 0.1 * k, "bce": 1 / k, "loss": 2 / k, "giou": 0.1, "masks": 4.0}
    for k in (1, 2, 4)
]
LOG = [
    *STEPS,
    {"kind": "skip", "step": 3, "epoch": 1, "loss": "nan"},
    {"kind": "epoch", "epoch": 1, "step": 4, "train_loss": 1.0, "seconds": 2.0, "val": {"giou": 0.5}},
    {"kind": "test", "step": 4, "giou": 0.4},
]
TEXT = "".join(json.dumps(record) + "\n" for record in LOG)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
RECORD = st.fixed_dictionaries(
    {"kind": st.sampled_from(["step", "skip", "epoch", "test", "else"])},
    optional=dict.fromkeys(("step", "epoch", "val", "loss", "masks", "seconds", "peak_memory_bytes"), JSON),
)


def test_a_whole_log(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(TEXT)
    log = read_log(path)
    assert log.steps.rows == 3 and list(log.steps["step"]) == [1, 2, 4]
    for name in ("lr", "bce", "loss", "giou", "masks"):
        assert list(log.steps[name]) == [record[name] for record in STEPS]
    assert "kind" not in log.steps.names()
    assert (log.left_out, log.epochs, log.test, log.last_step) == ([3], [LOG[4]], LOG[5], 4)
    assert list(log.notes()) == [] and log.damaged == []


def test_cut_off_at_any_byte_only_the_last_line_is_lost(tmp_path):
    path = tmp_path / "metrics.jsonl"
    data = TEXT.encode()
    for size in range(len(data) + 1):
        path.write_bytes(data[:size])
        log = read_log(path)
        found = log.steps.rows + len(log.left_out) + len(log.epochs) + (log.test is not None)
        whole = data[:size].count(b"\n")
        rest = data[:size].rpartition(b"\n")[2]
        if not rest or (rest.endswith(b"}") and data[size : size + 1] == b"\n"):
            assert (found, list(log.notes())) == (whole + bool(rest), [])
        else:
            assert found == whole
            (note,) = log.notes()
            assert "last line" in note and "incomplete" in note


def test_a_damaged_line_in_the_middle_is_named_and_the_others_count(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = TEXT.splitlines()
    path.write_bytes("\n".join([lines[0], "\x00\x00", lines[1], '["step"]', lines[2], '{"kind": "st']).encode())
    log = read_log(path)
    assert list(log.steps["step"]) == [1, 2, 4] and log.damaged == [2, 4, 6]
    last, inner = log.notes()
    assert "last line" in last and inner.endswith("2, 4")


@pytest.mark.parametrize(
    "line",
    [
        '{"kind": "step", "step": null}',
        '{"kind": "step"}',
        '{"kind": "epoch", "step": 3}',
        '{"kind": "epoch", "epoch": 1, "step": 3, "val": null}',
        '{"kind": "epoch", "epoch": 1, "step": 3, "val": {"giou": NaN}}',
        '{"kind": "skip", "step": "3"}',
        "12",
    ],
)
def test_what_is_no_record_is_left_out(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_text(line + "\n" + TEXT)
    log = read_log(path)
    assert log.damaged == [1] and log.steps.rows == 3 and len(log.epochs) == 1


def test_a_whole_last_line_that_is_no_record_is_damaged_and_not_cut_off(tmp_path):
    path = tmp_path / "metrics.jsonl"
    bad = '{"kind": "step", "step": "abc"}'
    path.write_text(TEXT + bad + "\n")
    assert list(read_log(path).notes()) == ["damaged lines of metrics.jsonl were left out: 7"]
    path.write_text(TEXT + bad[:-5])
    assert list(read_log(path).notes()) == [
        "the last line of metrics.jsonl is incomplete and was left out (being written, or cut off)"
    ]


def test_kinds_of_later_versions_are_passed_over(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"kind": "weather", "sun": 1}\n' + TEXT)
    assert read_log(path).damaged == [] and read_log(path).steps.rows == 3


def test_numbers_that_are_not_finite_are_gaps(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps({"kind": "step", "step": 1, "loss": 1.0, "grad_norm": math.inf}) + "\n")
    log = read_log(path)
    assert list(log.steps["loss"]) == [1.0] and math.isnan(log.steps["grad_norm"][0])


def test_what_is_no_json_becomes_null(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"kind": "test", "step": 1, "giou": NaN, "precision": {"0.5": -Infinity}}\n')
    assert read_log(path).test == {"kind": "test", "step": 1, "giou": None, "precision": {"0.5": None}}


@pytest.mark.parametrize("value", [None, True, "1", math.nan, -math.inf, 10**400, [1]])
def test_what_is_no_finite_number(value):
    assert number(value) is None
    assert number(-2) == -2.0 and number(0.5) == 0.5


def test_a_column_that_comes_late_is_empty_before():
    columns = Columns()
    columns.add({"a": 1})
    columns.add({"a": 2, "b": 3.5, "c": "word"})
    columns.add({"b": True})
    assert columns.names() == ["a", "b"] and columns.rows == 3
    assert [number(value) for value in columns["b"]] == [None, 3.5, None]
    assert [number(value) for value in columns["a"]] == [1, 2, None]
    assert [number(value) for value in columns["nothing"]] == [None, None, None]


@given(st.lists(RECORD | JSON, max_size=6), st.binary(max_size=8))
def test_no_content_is_too_strange(tmp_path_factory, records, tail):
    path = tmp_path_factory.mktemp("log") / "metrics.jsonl"
    path.write_bytes("".join(json.dumps(record) + "\n" for record in records).encode() + tail)
    log = read_log(path)
    assert log.lines >= len(log.damaged) and log.last_step is not None and list(log.notes()) is not None
    json.dumps([log.epochs, log.test], allow_nan=False)


def test_a_log_that_cannot_be_read_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_log(tmp_path)
