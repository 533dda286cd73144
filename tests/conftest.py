"""Shared fixtures: plugins installed for one test as real distributions, and `lisa` run in a process of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parent / "fixtures" / "plugins"

Run = Callable[..., subprocess.CompletedProcess[str]]


class PluginSite:
    """A folder in the style of site-packages that plugins are put into without pip."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fixture(self, *names: str) -> None:
        """Put packages of tests/fixtures/plugins in, with the metadata that their pyproject.toml declares."""
        for name in names:
            project = (PLUGINS / name / "pyproject.toml").read_text()
            fields = dict(re.findall(r'^(name|version) = "(.+)"$', project, re.MULTILINE))
            (entry_points,) = re.findall(r"^\[project\.entry-points\.lisa\]\n((?:.+\n)+)", project, re.MULTILINE)
            shutil.copytree(PLUGINS / name / "src", self.folder, dirs_exist_ok=True)
            self._dist_info(fields["name"], fields["version"], entry_points.replace('"', ""))

    def write(self, module: str, source: str, distribution: str | None = None, entry_points: str | None = None) -> None:
        """Put a one-module package in; its entry point is called like the module unless `entry_points` says more."""
        (self.folder / f"{module}.py").write_text(source)
        self._dist_info(distribution or module.replace("_", "-"), "1.0", entry_points or f"{module} = {module}\n")

    def _dist_info(self, name: str, version: str, entry_points: str) -> None:
        info = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[lisa]\n{entry_points}")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PluginSite]:
    """An empty plugin folder at the head of `sys.path`; what is imported from it is forgotten afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    for variable in ("LISA_PLUGINS", "LISA_STRICT_PLUGINS"):
        monkeypatch.delenv(variable, raising=False)
    before = set(sys.modules)
    yield PluginSite(folder)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(folder)):
            del sys.modules[name]


@pytest.fixture
def run_lisa(tmp_path: Path) -> Run:
    """Run `lisa ARGS` as a user would, outside the repository; `tmp_path/site` is importable, if a test fills it."""

    def run(*args: str, **environ: str) -> subprocess.CompletedProcess[str]:
        env = {key: value for key, value in os.environ.items() if not key.startswith("LISA_")}
        path = os.pathsep.join(filter(None, [str(tmp_path / "site"), env.get("PYTHONPATH")]))
        env |= {"PYTHONPATH": path, "COLUMNS": "100", "NO_COLOR": "1", **environ}
        command = [sys.executable, "-m", "lisa_core", *args]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)

    return run
