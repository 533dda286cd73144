"""What the docs show is true: quoted code stands in the files, other code runs, commands and tables exist."""

from __future__ import annotations

import ast
import itertools
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import lisa_core
from lisa_core import testing
from lisa_core.cli.app import app
from lisa_core.data.jsonl import FIELDS
from lisa_core.formats import BUILTIN_FORMATS
from lisa_core.testing import run_checks
from lisa_example_vlm.vlm import InternVL

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs" / "write-an-adapter.md"
EXAMPLE = ROOT / "examples" / "lisa_example_vlm"
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted(ROOT.glob("plugins/*/README.md")),
    *sorted(ROOT.glob("benchmarks/*/README.md")),
]
SET = r"(?:[A-Z_]+=\S+ )*"
"""Variables set for one command."""
HELPS: dict[tuple[str, ...], str] = {}
"""Help pages by command, each asked for once."""
SOURCES = "\n".join(path.read_text() for path in [*EXAMPLE.rglob("*.py"), EXAMPLE / "pyproject.toml"])


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """Every `lisa ...` line of a page's indented and inline code."""
    text = page.read_text().replace("\\\n", " ")
    lines = re.findall(rf"^    {SET}(lisa [a-z].*)$", text, re.MULTILINE)
    lines += re.findall(rf"`{SET}(lisa [a-z][^`]*)`", text)
    return [shlex.split(line, comments=True) for line in lines]


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(block, marks=pytest.mark.slow if "run_checks(" in block else ())
        for block in blocks(GUIDE, "python")
    ],
    ids=lambda block: block.strip().splitlines()[-1][:40],
)
def test_the_guide_s_python_is_the_example_s_or_runs(block, tmp_path):
    if block.strip("\n") in SOURCES:
        return
    ast.parse(block)
    assert "import" in block, "code that is not quoted from the example must stand alone"
    (tmp_path / "test_block.py").write_text(block)
    process = subprocess.run([sys.executable, "test_block.py"], cwd=tmp_path, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr


def test_most_of_the_guide_is_quoted_from_the_example():
    quoted = [block for block in blocks(GUIDE, "python") + blocks(GUIDE, "toml") if block.strip("\n") in SOURCES]
    assert len(quoted) >= 6


def test_the_failed_check_it_shows_is_what_the_kit_says():
    class WithClassToken(InternVL):
        def image_grid(self, output, batch):
            output.last_hidden_state = output.last_hidden_state.roll(1, 1)  # the class token now stands second
            return super().image_grid(output, batch)

    (result,) = run_checks(WithClassToken.tiny, ["registration"])
    shown = GUIDE.read_text()
    assert f"    ✗ {result.title}\n        {result.message}\n        to mend it: {result.mend}\n" in shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_it_names_exist_with_their_options(page):
    groups = ("config", "data", "plugins")
    for words in commands(page):
        command = tuple(word for word in words[1:3] if re.fullmatch(r"[a-z]+", word))
        if command[0] not in groups:
            command = command[:1]
        if command == ("plugins",) or command[0] not in groups or len(command) == 2:
            if command not in HELPS:
                result = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"})
                assert result.exit_code == 0, words
                HELPS[command] = result.stdout
            for option in (word for word in words if word.startswith("--")):
                assert option.partition("=")[0] in HELPS[command], f"{' '.join(words)}: no {option}"


def script_lines(page: Path) -> list[list[str]]:
    """Every line of a page's code that runs a script of this repository."""
    text = page.read_text().replace("\\\n", " ")
    script = r"python (?:lisa-core/)?((?:benchmarks|docs|examples)/[^`\n]*)"
    lines = re.findall(rf"(?:^    |`){SET}{script}", text, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_scripts_it_names_are_there_with_their_options(page):
    for script, *words in script_lines(page):
        source = (ROOT / script).read_text()
        for option in (word for word in words if word.startswith("--")):
            assert f'add_argument("{option}"' in re.sub(r"\(\s+", "(", source), f"{script}: no {option}"
        if "--only" in words and script.endswith("ablations.py"):
            names = itertools.takewhile(lambda word: not word.startswith("--"), words[words.index("--only") + 1 :])
            for name in names:
                assert (ROOT / script).parent.joinpath("configs", f"{name}.yaml").is_file(), name


def test_scripts_are_found_in_the_docs():
    assert len([line for page in PAGES for line in script_lines(page)]) >= 12


def test_the_table_of_adapter_lengths_is_that_of_the_files():
    script = ROOT / "benchmarks" / "adapter_lines.py"
    table = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout.strip()
    assert table in GUIDE.read_text(), f"run {script.relative_to(ROOT)} --write {GUIDE.relative_to(ROOT)}"
    lengths = [int(row.split("|")[2]) for row in table.splitlines()[2:]]
    assert max(lengths) <= 80


def test_every_method_an_adapter_may_override_is_in_the_guide():
    text = GUIDE.read_text()
    for cls in (lisa_core.VLM, lisa_core.HFVLM):
        for name in vars(cls):
            # `features` and ids flow between these and the core; nobody overrides how
            inner = (
                "forward",
                "lora_base",
                "lora_targets",
                "lora_layers",
                "seg_token_id",
                "pretrained_prefixes",
                "continued",
            )
            if not name.startswith("_") and name not in inner and name != "tokenizer":
                assert name in text, f"docs/write-an-adapter.md says nothing of {cls.__name__}.{name}"
    for name in ("VLMSuite", "run_checks"):
        assert name in testing.__all__


@pytest.mark.parametrize("name", [spec.name for spec in BUILTIN_FORMATS])
def test_every_dataset_format_has_a_page_with_a_command_and_a_line_in_the_index(name):
    page = ROOT / "docs" / "formats" / f"{'refer' if name.startswith('refer-') else name}.md"
    text = page.read_text()
    assert f"--data-format {name}" in text or f"`{name}`" in text
    assert any(words[1] == "train" for words in commands(page)) and re.search(r"^    \S+/$", text, re.MULTILINE)
    assert f"(formats/{page.name})" in (ROOT / "docs" / "data.md").read_text()


def test_the_fields_of_our_own_format_are_those_the_page_lists():
    text = (ROOT / "docs" / "formats" / "jsonl.md").read_text()
    assert tuple(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == FIELDS
