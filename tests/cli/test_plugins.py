"""`lisa plugins` as a user runs it, with plugins installed as real distributions."""

from __future__ import annotations

import json

ALL = ["good", "broken_import", "raising_hook", "duplicate", "bad_api"]


def test_json_lists_every_plugin_with_its_line_and_nothing_else_on_stdout(site, run_lisa) -> None:
    site.fixture(*ALL)
    site.write("lisa_noisy", "print('hello')\nraise SystemExit(1)")
    result = run_lisa("plugins", "--json")
    assert result.returncode == 0
    records = {record["name"]: record for record in json.loads(result.stdout)}
    assert set(records["good"]) == {"name", "distribution", "version", "families", "datasets", "status", "error"}
    assert records["builtin"]["status"] == "ok" and records["builtin"]["families"] == ["clip-llm", "generic"]
    statuses = {name: records[name]["status"] for name in [*ALL, "lisa_noisy"]}
    assert statuses == {
        "good": "conflict",
        "broken_import": "broken",
        "raising_hook": "broken",
        "duplicate": "conflict",
        "bad_api": "unsupported",
        "lisa_noisy": "broken",
    }
    assert all("\n" not in records[name]["error"] for name in statuses)
    assert "hello" in result.stderr


def test_the_table_shows_every_plugin_and_its_line_unwrapped(site, run_lisa) -> None:
    site.fixture("good", "broken_import")
    result = run_lisa("plugins", COLUMNS="100")
    assert result.returncode == 0 and not result.stderr
    assert "Good, a VLM that works" in result.stdout and "lisa-good 1.2.0" in result.stdout
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("broken_import (")]
    assert (
        line.endswith("; update or uninstall lisa-broken-import") and "0.3.0" in line and "a_module_nobody_has" in line
    )


def test_text_of_a_plugin_is_not_read_as_markup(site, run_lisa) -> None:
    site.write("lisa_edge", "raise RuntimeError('see [/the] [red]docs')")
    result = run_lisa("plugins")
    assert result.returncode == 0 and "see [/the] [red]docs" in result.stdout


def test_a_wrong_selection_is_told_on_stderr(run_lisa) -> None:
    result = run_lisa("plugins", "--json", LISA_PLUGINS="nobody")
    assert result.returncode == 0 and json.loads(result.stdout)
    assert result.stderr == "lisa: warning: LISA_PLUGINS names 'nobody', which is not installed\n"


def test_strict_shows_the_plugins_own_traceback(site, run_lisa) -> None:
    site.fixture("broken_import")
    result = run_lisa("plugins", LISA_STRICT_PLUGINS="1")
    assert result.returncode == 1 and "Traceback" in result.stderr and "lisa_broken_import/__init__.py" in result.stderr
