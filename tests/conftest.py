"""Shared fixtures: plugins installed for one test as real distributions, and `lisa` run in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import filelock
import hypothesis
import pytest

# How long an example takes says more about the machine than about the code.
hypothesis.settings.register_profile("lisa", deadline=None)
hypothesis.settings.load_profile("lisa")

# A shell's background jobs ignore Ctrl-C, and with them the programs whose Ctrl-C is tested.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

PLUGINS = Path(__file__).parent / "fixtures" / "plugins"

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True, scope="session")
def no_waiting_for_the_disk() -> Iterator[None]:
    """Bytes are written, but not waited for: that matters when the power fails, which no test tries."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


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


def lisa(folder: Path, *args: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `lisa ARGS` as a user would, from `folder`; `folder/site` is importable, if a test fills it."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("LISA_")}
    path = os.pathsep.join(filter(None, [str(folder / "site"), env.get("PYTHONPATH")]))
    env |= {"PYTHONPATH": path, "COLUMNS": "100", "NO_COLOR": "1", **environ}
    command = [sys.executable, "-m", "lisa_core", *args]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120)


@pytest.fixture
def run_lisa(tmp_path: Path) -> Run:
    """`lisa ARGS` in a process of its own, outside the repository; see `lisa`."""
    return partial(lisa, tmp_path)


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders with small checkpoints of published architectures, by `model_type`; see small_models.py."""
    location = importlib.util.spec_from_file_location("small_models", Path(__file__).parent / "small_models.py")
    assert location is not None and location.loader is not None
    small_models = importlib.util.module_from_spec(location)
    location.loader.exec_module(small_models)
    folder = tmp_path_factory.mktemp("checkpoints")

    def save(architecture: str) -> Path:
        path = folder / architecture
        return path if path.is_dir() else small_models.save(architecture, path)

    return save


@pytest.fixture(scope="session")
def small_vlm(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Small checkpoints of the families' own real classes, as `--vlm-model-name` takes them; not to be written to."""
    names: dict[str, str] = {}

    def name_of(family: str) -> str:
        import torch

        from lisa_core.registry import get_registry

        if family not in names:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                vlm = get_registry().load_vlm_class(family).tiny()
            names[family] = vlm.save_pretrained(tmp_path_factory.mktemp(family) / "vlm")
        return names[family]

    return name_of


@pytest.fixture(scope="session")
def small_run() -> Callable[..., Any]:
    """`make(folder, model_config, tuning_config)` makes a run's folder as training leaves it; see small_runs.py."""
    location = importlib.util.spec_from_file_location("small_runs", Path(__file__).parent / "small_runs.py")
    assert location is not None and location.loader is not None
    small_runs = importlib.util.module_from_spec(location)
    location.loader.exec_module(small_runs)
    return small_runs.make_run


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dataset of made-up scenes, 6 train and 4 val pictures of 64 pixels; not to be written to."""
    from lisa_core.data.synth import SynthConfig, synthesize

    folder = tmp_path_factory.mktemp("data") / "scenes"
    synthesize(folder, SynthConfig(train=6, val=4, test=0, size=64))
    return folder


TRAINING = (
    *("train", "--vlm", "smolvlm", "--vlm-model-name", "tiny", "--data", "scenes", "--output-dir", "run"),
    *("--num-epochs", "1", "--batch-size", "8", "--device", "cpu", "--seed", "3"),
)
"""A command line that trains for a moment, for a folder that holds `scenes`."""


@dataclass(frozen=True)
class TrainedRun:
    """What a `lisa train` in a process of its own left behind."""

    folder: Path
    """The working folder, with `scenes` and `run`; not to be written to."""
    args: tuple[str, ...]
    """What came after `lisa`."""
    process: subprocess.CompletedProcess[str]
    """Exit code and output."""


@pytest.fixture(scope="session")
def trained(scenes: Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """One short training by the `lisa` command, for all tests of the session, whichever worker needs it first."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if hasattr(request.config, "workerinput") else base) / "trained"
    output = folder / "process.json"
    with filelock.FileLock(folder.with_suffix(".lock")):
        if not output.exists():
            shutil.rmtree(folder, ignore_errors=True)  # what another worker could not finish
            shutil.copytree(scenes, folder / "scenes")
            process = lisa(folder, *TRAINING)
            output.write_text(json.dumps([process.returncode, process.stdout, process.stderr]))
    process = subprocess.CompletedProcess(TRAINING, *json.loads(output.read_text()))
    assert process.returncode == 0, process.stderr
    return TrainedRun(folder, TRAINING, process)


@pytest.fixture
def workplace(trained: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the trained run's folder as the current directory, to be written to and damaged."""
    for name in ("scenes", "run"):
        shutil.copytree(trained.folder / name, tmp_path / name, symlinks=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def run_on_two_processes() -> Callable[[str], None]:
    """`run(script)` runs Python source on two processes that find one another, as a launcher starts them."""

    def run(script: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        together = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        children = [
            subprocess.Popen(
                [sys.executable, "-c", script],
                env={**together, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stderr=subprocess.PIPE,
            )
            for rank in range(2)
        ]
        try:
            said = [child.communicate(timeout=120)[1].decode() for child in children]
        finally:
            for child in children:
                child.kill()
        assert [child.returncode for child in children] == [0, 0], said[0][-2000:] + said[1][-2000:]

    return run
