"""`lisa plugins check` as an adapter's author runs it."""

from __future__ import annotations

import json
import textwrap

import pytest

WRONG = """
from lisa_core import VLMSpec, hookimpl
@hookimpl
def lisa_vlms():
    return [VLMSpec("wrong", "lisa_wrong_vlm:Wrong", "acme/wrong", ("idefics3", "smolvlm"), "Transposed")]
"""
ADAPTER = """
from lisa_smolvlm.vlm import SmolVLM
class Wrong(SmolVLM):
    family = "wrong"
    def image_grid(self, output, batch):
        return super().image_grid(output, batch).transpose(2, 3)
"""


@pytest.fixture
def wrong(site):
    site.write("lisa_wrong", textwrap.dedent(WRONG), entry_points="wrong = lisa_wrong\n")
    (site.folder / "lisa_wrong_vlm.py").write_text(ADAPTER)


@pytest.mark.slow
def test_a_wrong_adapter_is_told_what_is_wrong_and_how_to_mend_it(wrong, run_lisa, tmp_path) -> None:
    result = run_lisa("plugins", "check", "wrong", "--report", "out.json", HF_HUB_OFFLINE="1")
    assert result.returncode == 1, result.stderr
    assert "✗ a bright cell of a square, wide or tall picture shows where it should in the grid" in result.stdout
    assert "misplaced: cell (row 0, column 1) shows at (row 1, column 0)" in result.stdout
    assert "to mend it: order the raw features as a row-major grid" in result.stdout
    record = json.loads((tmp_path / "out.json").read_text())
    assert record["family"] == "wrong" and record["package"] == "lisa-wrong 1.0" and record["passed"] is False
    assert [check["name"] for check in record["checks"] if check["status"] == "failed"] == ["registration"]


def test_a_right_one_leaves_exit_code_0_and_a_page(invoke, tmp_path) -> None:
    result = invoke("plugins", "check", "clip-llm", "--report", str(tmp_path / "out.html"))
    assert result.exit_code == 0 and " 0 failed" in result.stdout, result.stdout + result.stderr
    assert not result.stderr.strip(), result.stderr
    page = (tmp_path / "out.html").read_text()
    assert "clip-llm: no check failed" in page and page.count("<tr>") >= 20


def test_what_cannot_be_checked_is_one_line(refusal) -> None:
    for args, line in (
        (("nobody",), "unknown VLM family 'nobody'"),
        (("clip-llm", "--report", "out.pdf"), "give a name that ends in .html or .json"),
    ):
        assert line in refusal("plugins", "check", *args)
