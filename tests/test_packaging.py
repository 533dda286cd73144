"""The wheels of core and plugin install and work without the repository, together and core alone."""

from __future__ import annotations

import email
import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from email.message import Message
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PROJECTS = {"lisa_core": ROOT, "lisa_smolvlm": ROOT / "plugins" / "lisa_smolvlm"}
ENVIRON = {key: value for key, value in os.environ.items() if not key.startswith(("LISA_", "PYTHON"))}


def run(*command: object, cwd: Path) -> str:
    result = subprocess.run([str(part) for part in command], cwd=cwd, env=ENVIRON, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The built wheel of each project."""
    folder = tmp_path_factory.mktemp("wheels")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder]
    run(*pip, *PROJECTS.values(), cwd=folder)
    return {name: next(folder.glob(f"{name}-*.whl")) for name in PROJECTS}


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """An environment with the dependencies of this one (as links: torch is large) but neither core nor plugins."""
    folder = tmp_path / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=tmp_path)
    target = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    for source in {Path(sysconfig.get_path("purelib")), Path(sysconfig.get_path("platlib"))}:
        for entry in source.iterdir():
            if "lisa" not in entry.name.lower() and not entry.name.endswith(".pth"):
                (target / entry.name).symlink_to(entry)
    return folder


def install(venv: Path, *wheels: Path) -> None:
    """Install wheels with pip, offline: it fails if the environment lacks what they declare to depend on."""
    pip = [sys.executable, "-m", "pip", "--python", venv / "bin" / "python", "install", "--quiet", "--no-index"]
    run(*pip, *wheels, cwd=venv)


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(archive.read(name))


def test_core_and_plugin_install_from_wheels_alone(wheels: dict[str, Path], venv: Path) -> None:
    install(venv, *wheels.values())
    for package in PROJECTS:
        code = f"import {package}; print({package}.__file__)"
        assert Path(run(venv / "bin" / "python", "-c", code, cwd=venv).strip()).is_relative_to(venv)
    listed = json.loads(run(venv / "bin" / "lisa", "plugins", "--json", cwd=venv))
    records = {record["name"]: record for record in listed}
    assert set(records) == {"builtin", "smolvlm"}
    assert records["smolvlm"]["distribution"] == "lisa-smolvlm" and records["smolvlm"]["status"] == "ok"
    load = "from lisa_core.registry import get_registry; print(get_registry().load_vlm_class('smolvlm').__module__)"
    assert run(venv / "bin" / "python", "-c", load, cwd=venv) == "lisa_smolvlm.vlm\n"


def test_core_works_with_no_plugin(wheels: dict[str, Path], venv: Path) -> None:
    install(venv, wheels["lisa_core"])
    (builtin,) = json.loads(run(venv / "bin" / "lisa", "plugins", "--json", cwd=venv))
    assert builtin["families"] == ["clip-llm"] and builtin["status"] == "ok"
    load = "from lisa_core.registry import get_registry; get_registry().load_vlm_class({!r})"
    run(venv / "bin" / "python", "-c", load.format("clip-llm"), cwd=venv)
    missing = f"import lisa_core\ntry: {load.format('smolvlm')}\nexcept lisa_core.PluginError as error: print(error)"
    assert "run `pip install lisa-smolvlm`" in run(venv / "bin" / "python", "-c", missing, cwd=venv)


@pytest.mark.parametrize("project", PROJECTS)
def test_metadata(wheels: dict[str, Path], project: str) -> None:
    fields = metadata(wheels[project])
    assert fields["Requires-Python"] == ">=3.10"
    assert fields["License-Expression"] == "Apache-2.0"
    classifiers = fields.get_all("Classifier", [])
    for version in ("3.10", "3.11", "3.12", "3.13"):
        assert f"Programming Language :: Python :: {version}" in classifiers
    description = fields.get_payload()
    assert isinstance(description, str) and description.startswith("# lisa-")


def test_core_declares_what_its_imports_need(wheels: dict[str, Path]) -> None:
    required = [line.split(";")[0] for line in metadata(wheels["lisa_core"]).get_all("Requires-Dist", [])]
    names = {line.split(">")[0].split("=")[0].split("<")[0].strip() for line in required}
    # segment-anything imports torchvision without declaring it
    assert {"torch", "torchvision", "transformers", "segment-anything", "accelerate", "typer", "pluggy"} <= names


def test_a_plugin_depends_on_core(wheels: dict[str, Path]) -> None:
    assert any(line.startswith("lisa-core") for line in metadata(wheels["lisa_smolvlm"]).get_all("Requires-Dist", []))


@pytest.mark.parametrize("project", PROJECTS)
def test_a_wheel_holds_the_package_its_types_marker_and_no_tests(wheels: dict[str, Path], project: str) -> None:
    with zipfile.ZipFile(wheels[project]) as archive:
        names = archive.namelist()
    assert f"{project}/py.typed" in names
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {project}
    source = PROJECTS[project] / "src" / project
    assert {path.relative_to(source.parent).as_posix() for path in source.rglob("*.py")} <= set(names)
    assert not [name for name in names if "test_" in name or "conftest" in name]
