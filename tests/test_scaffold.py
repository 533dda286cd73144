"""`lisa plugins new` writes a package that works before anybody changes a line of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lisa_core.errors import ConfigError
from lisa_core.scaffold import write_plugin

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["echo", "echo-two3"])
def test_the_package_is_complete_and_clean(tmp_path, name):
    tomllib = pytest.importorskip("tomllib", reason="Python reads TOML from 3.11 on")
    folder = write_plugin(name, tmp_path)
    package = folder.name
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["lisa"] == {name: package}
    assert project["project"]["name"] == f"lisa-{name}"
    assert any(line.startswith("lisa-core>=0.") for line in project["project"]["dependencies"])
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    modules = {f"src/{package}/{file}" for file in ("__init__.py", "vlm.py", "py.typed")}
    assert files == {"pyproject.toml", "README.md", f"tests/test_{package[5:]}.py", *modules}
    assert all("$" not in path.read_text() for path in folder.rglob("*") if path.is_file())
    ruff = [sys.executable, "-m", "ruff"]
    for check in (["check"], ["format", "--check"]):
        options = ["--config", str(ROOT / "pyproject.toml"), "--no-cache", str(folder / "src")]
        done = subprocess.run([*ruff, *check, *options], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["Echo", "2echo", "echo_two", "class", "ec ho", "", "../echo", "echo-", "naïve"])
def test_a_name_that_cannot_be_one_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="cannot be a family's name"):
        write_plugin(name, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["smolvlm", "clip-llm", "auto", "tiny"])
def test_a_name_that_is_taken_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="already: choose another name"):
        write_plugin(name, tmp_path)


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "lisa_echo").mkdir()
    (tmp_path / "lisa_echo" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="exists already"):
        write_plugin("echo", tmp_path)
    assert [path.name for path in (tmp_path / "lisa_echo").iterdir()] == ["mine.txt"]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        write_plugin("echo", tmp_path / "file")


@pytest.mark.slow
def test_it_installs_and_passes_the_kit_as_generated(tmp_path, site, run_lisa):
    assert run_lisa("plugins", "new", "echo").returncode == 0
    folder = tmp_path / "lisa_echo"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(site.folder), str(folder)], check=True, capture_output=True)
    checked = run_lisa("plugins", "check", "echo", HF_HUB_OFFLINE="1")
    assert checked.returncode == 0 and "26 passed, 0 failed" in checked.stdout, checked.stdout + checked.stderr
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder / "tests")],
        env={"PYTHONPATH": str(site.folder), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PATH": ""},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert tests.returncode == 0 and "26 passed" in tests.stdout, tests.stdout
