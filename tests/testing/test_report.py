from __future__ import annotations

import json

import pytest

from lisa_core.errors import ConfigError
from lisa_core.testing import Result, write_report

RESULTS = [
    Result("one", "a <thing> is so", "passed", "", "", 0.1),
    Result("two", "another is so", "failed", "it is <b>not</b>", "look & mend", 0.2),
    Result("three", "a third", "not applicable", "there is none", "", 0.0),
]


def test_json_holds_every_result_and_the_verdict(tmp_path):
    write_report(tmp_path / "out.json", "clip-llm", RESULTS)
    record = json.loads((tmp_path / "out.json").read_text())
    assert record["passed"] is False and record["package"].startswith("lisa-core ")
    assert [(check["name"], check["status"]) for check in record["checks"]] == [
        ("one", "passed"),
        ("two", "failed"),
        ("three", "not applicable"),
    ]


def test_the_page_shows_what_is_wrong_and_takes_no_text_for_markup(tmp_path):
    write_report(tmp_path / "out.html", "<family>", RESULTS)
    page = (tmp_path / "out.html").read_text()
    assert "1 of 3 checks failed" in page and "To mend it: look &amp; mend" in page
    assert "&lt;family&gt;" in page and "<b>not</b>" not in page and "it is &lt;b&gt;not" in page


def test_a_file_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="cannot be written"):
        write_report(tmp_path / "missing" / "out.html", "clip-llm", RESULTS)
    with pytest.raises(ConfigError, match=r"ends in \.html or \.json"):
        write_report(tmp_path / "out.txt", "clip-llm", RESULTS)
