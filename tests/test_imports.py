"""Which module may import which: imports point one way, and plugins see public names only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import lisa_core

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
CORE = sorted((SOURCE / "lisa_core").rglob("*.py"))
PLUGIN_FILES = sorted((ROOT / "plugins").glob("*/src/**/*.py"))

# From the bottom up. A module may import what stands in its own line or further up this list, never further down;
# a package (`data`) stands for all its modules.
LAYERS = """
durable errors position process_end run_files run_log types user_path
packaged
formats hookspecs settings
mixing model_config
config discovery registry
presets scaffold settings_file sources vetting
config_file
families run_history savings
catalogue plots run_comparison
vlm
denormals determinism interrupts processes provenance vision_size
bootstrap boundary listening matching measures metrics records run_lengths summary
dilated feature_cache geometry loading losses mask_cut muon packed prompts quantize standardization text
clip_llm connectors fine generic hf lora sam seg similarity tiny
activations by_dataset data levers model objective outputs report sharding tracking
conversion evaluation_comparison evaluation_file flip_test html_samples inspection predictions scoring svg
evaluation html_comparison html_dataset html_page html_report scored_predictions
architectures build encoder_cache inference optim precision skeleton stored_weights tuning
cards checkpoint static_memory
estimate export hub hub_errors merge model_card run_facts staging standalone unload
evaluator fit launch progress segmenter training_state
deepspeed_engine deepspeed_settings encode_ahead engine out_of_memory run_folder server testing training_model
resumption run_saving
trainer
cli
__main__ train
"""
RANK = {name: rank for rank, layer in enumerate(LAYERS.strip().splitlines()) for name in layer.split()}


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {module_name(path) for path in CORE}


def imports(path: Path) -> Iterator[tuple[str, str | None]]:
    """Every import of a file, those inside functions too, as (module, name or None)."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write the import in full, as everywhere else"
            yield from ((str(node.module), alias.name) for alias in node.names)


def core_modules(path: Path) -> set[str]:
    """The modules of lisa_core that a file imports."""
    found = set()
    for module, name in imports(path):
        if name is not None and f"{module}.{name}" in NAMES:
            found.add(f"{module}.{name}")
        elif module == "lisa_core" and name == "__version__":
            continue  # needs nothing of core but its metadata
        elif module.split(".")[0] == "lisa_core":
            found.add(module)
    return found


def layer(module: str) -> str:
    return module.split(".")[1]


@pytest.mark.parametrize("path", [path for path in CORE if module_name(path) != "lisa_core"], ids=module_name)
def test_imports_point_one_way(path: Path) -> None:
    name = module_name(path)
    assert layer(name) in RANK, f"give {layer(name)} a place in LAYERS"
    for imported in core_modules(path):
        assert imported != "lisa_core", f"{name} imports the public namespace; import the module that defines the name"
        assert RANK[layer(imported)] <= RANK[layer(name)], f"{name} must not import {imported}, which stands above it"


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {module_name(path): core_modules(path) for path in CORE if module_name(path) != "lisa_core"}
    TopologicalSorter(graph).prepare()  # raises CycleError with the cycle


def test_each_layer_exists() -> None:
    present = {layer(name) for name in NAMES if name != "lisa_core"}
    assert set(RANK) - present == set(), "LAYERS names modules that are gone"


def test_core_never_imports_a_plugin() -> None:
    for path in CORE:
        for module, _ in imports(path):
            top = module.split(".")[0]
            assert top == "lisa_core" or not top.startswith("lisa_"), f"{path} imports the plugin {top}"


@pytest.mark.parametrize("path", PLUGIN_FILES, ids=lambda path: str(path.relative_to(ROOT / "plugins")))
def test_plugins_import_public_names_only(path: Path) -> None:
    own = path.relative_to(ROOT / "plugins").parts[2]
    for module, name in imports(path):
        top = module.split(".")[0]
        if top == "lisa_core":
            assert module == "lisa_core" and name in lisa_core.__all__, f"{path}: {module}.{name} is not public"
        else:
            assert top == own or not top.startswith("lisa_"), f"{path} imports another plugin, {top}"


def test_there_is_a_plugin_to_check() -> None:
    assert any("lisa_smolvlm" in path.parts for path in PLUGIN_FILES)


def test_every_public_name_exists() -> None:
    assert len(set(lisa_core.__all__)) == len(lisa_core.__all__)
    for name in lisa_core.__all__:
        assert getattr(lisa_core, name) is not None
    assert set(lisa_core.__all__) <= set(dir(lisa_core))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        lisa_core.Nothing  # noqa: B018


def test_type_checkers_see_the_names_that_are_imported_late() -> None:
    tree = ast.parse((SOURCE / "lisa_core" / "__init__.py").read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    typed = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert typed == lisa_core._LAZY
    assert set(typed) <= set(lisa_core.__all__)
