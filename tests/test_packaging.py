"""The wheels of core and plugins install and work without the repository: each plugin alone, all, and all but one."""

from __future__ import annotations

import email
import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email.message import Message
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
FAMILIES = ("llava", "paligemma", "qwenvl", "smolvlm")
PROJECTS = {"lisa_core": ROOT} | {f"lisa_{name}": ROOT / "plugins" / f"lisa_{name}" for name in FAMILIES}
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


def families(venv: Path) -> dict[str, str]:
    """Status of each installed family."""
    listed = json.loads(run(venv / "bin" / "lisa", "plugins", "--json", cwd=venv))
    return {family: record["status"] for record in listed for family in record["families"]}


def passes_the_kit(venv: Path, family: str) -> bool:
    return " 0 failed" in run(venv / "bin" / "lisa", "plugins", "check", family, cwd=venv)


@pytest.mark.parametrize("family", FAMILIES)
def test_core_and_any_one_plugin_install_from_wheels_and_work(wheels: dict[str, Path], venv: Path, family: str) -> None:
    install(venv, wheels["lisa_core"], wheels[f"lisa_{family}"])
    for package in ("lisa_core", f"lisa_{family}"):
        code = f"import {package}; print({package}.__file__)"
        assert Path(run(venv / "bin" / "python", "-c", code, cwd=venv).strip()).is_relative_to(venv)
    assert {name for name in families(venv) if name in FAMILIES} == {family}
    assert passes_the_kit(venv, family)


def test_all_install_together_and_without_any_one_the_rest_works(wheels: dict[str, Path], venv: Path) -> None:
    install(venv, *wheels.values())
    assert dict.fromkeys(FAMILIES, "ok").items() <= families(venv).items()
    for family in FAMILIES:
        run(*uninstall(venv), f"lisa-{family}", cwd=venv)
        rest = families(venv)
        assert family not in rest and all(rest[name] == "ok" for name in FAMILIES if name != family)
        names = [name for name in FAMILIES if name != family]
        load = "from lisa_core.registry import get_registry as registry\n"
        load += f"print(*[registry().load_vlm_class(name).tiny().family for name in {names}])"
        assert run(venv / "bin" / "python", "-c", load, cwd=venv).split() == names
        install(venv, wheels[f"lisa_{family}"])


def uninstall(venv: Path) -> list[object]:
    return [sys.executable, "-m", "pip", "--python", venv / "bin" / "python", "uninstall", "--quiet", "--yes"]


def test_core_works_with_no_plugin(wheels: dict[str, Path], venv: Path) -> None:
    install(venv, wheels["lisa_core"])
    (builtin,) = json.loads(run(venv / "bin" / "lisa", "plugins", "--json", cwd=venv))
    assert "clip-llm" in builtin["families"] and builtin["status"] == "ok"
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


@pytest.mark.parametrize("family", FAMILIES)
def test_a_plugin_depends_on_core_and_ships_the_configs_it_lists(wheels: dict[str, Path], family: str) -> None:
    wheel, source = wheels[f"lisa_{family}"], PROJECTS[f"lisa_{family}"] / "src"
    assert any(line.startswith("lisa-core") for line in metadata(wheel).get_all("Requires-Dist", []))
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if name.endswith(".json")}
    assert shipped == {path.relative_to(source).as_posix() for path in source.rglob("*.json")} != set()


def test_core_ships_the_style_and_script_of_its_pages(wheels: dict[str, Path]) -> None:
    with zipfile.ZipFile(wheels["lisa_core"]) as archive:
        assert {"lisa_core/page/report.css", "lisa_core/page/report.js"} <= set(archive.namelist())


PRETRAINED = {
    f"lisa_core/pretrained/tiny/{name}"
    for name in (
        *("lisa.json", "model.safetensors", "README.md", "vlm/vision/config.json", "vlm/vision/model.safetensors"),
        *("vlm/language/config.json", "vlm/language/model.safetensors", "vlm/language/tokenizer.json"),
    )
}


def test_core_ships_its_packaged_model_and_the_page_of_its_demo(wheels: dict[str, Path]) -> None:
    with zipfile.ZipFile(wheels["lisa_core"]) as archive:
        names = set(archive.namelist())
    assert PRETRAINED | {"lisa_core/server/page.html"} <= names
    source = ROOT / "src"
    files = {path.relative_to(source).as_posix() for path in (source / "lisa_core" / "pretrained").rglob("*.*")}
    assert {name for name in names if "/pretrained/" in name} == files


def test_the_source_archive_holds_the_packaged_model(tmp_path: Path) -> None:
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path, cwd=ROOT)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    assert {f"src/{name}" for name in PRETRAINED} | {"src/lisa_core/server/page.html"} <= names


def test_the_packaged_model_answers_right_after_the_installation(wheels: dict[str, Path], venv: Path) -> None:
    install(venv, wheels["lisa_core"])
    draw = "from lisa_core.server.scenes import made_up_scene as scene; open('shapes.png', 'wb').write(scene(0).png)"
    run(venv / "bin" / "python", "-c", draw, cwd=venv)
    said = run(venv / "bin" / "lisa", "segment", "tiny", "shapes.png", "the red ring", "-o", "out", cwd=venv)
    assert "'the red ring': " in said and (venv / "out" / "shapes_0_mask.png").is_file()


@pytest.mark.parametrize("project", PROJECTS)
def test_a_wheel_holds_the_package_its_types_marker_and_no_tests(wheels: dict[str, Path], project: str) -> None:
    with zipfile.ZipFile(wheels[project]) as archive:
        names = archive.namelist()
    assert f"{project}/py.typed" in names
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {project}
    source = PROJECTS[project] / "src" / project
    assert {path.relative_to(source.parent).as_posix() for path in source.rglob("*.py")} <= set(names)
    assert not [name for name in names if "test_" in name or "conftest" in name]
