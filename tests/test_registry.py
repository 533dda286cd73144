"""Plugins as real distributions: what works is found, and what does not has its line and harms nothing else."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_core.data import SegmentationDataset
from lisa_core.errors import PluginError
from lisa_core.formats import BUILTIN_FORMATS
from lisa_core.registry import CLIP_LLM, GENERIC, KNOWN_PLUGINS, PluginRecord, Registry, get_registry

FIXTURES = ["good", "broken_import", "raising_hook", "bad_api"]
HOOK = "from lisa_core import DatasetSpec, VLMSpec, hookimpl\n\n@hookimpl\ndef lisa_vlms():\n    "


OPTIONS = "from lisa_core import FamilyOption as F\n" + HOOK + "return [VLMSpec('a', 'b:C', 'd', (), 'e', options="


def record(registry: Registry, name: str) -> PluginRecord:
    (found,) = [plugin for plugin in registry.plugins if plugin.name == name]
    return found


def why_not(registry: Registry, name: str) -> str:
    with pytest.raises(PluginError) as caught:
        registry.vlm_spec(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_core_offers_its_own_family_and_format_without_any_plugin() -> None:
    registry = Registry({"LISA_PLUGINS": ""})
    builtin = registry.plugins[0]
    assert (builtin.name, builtin.distribution, builtin.status, builtin.error) == ("builtin", "lisa-core", "ok", None)
    assert list(registry.vlms) == ["clip-llm", "generic"]
    assert list(registry.datasets) == [spec.name for spec in BUILTIN_FORMATS]
    assert registry.vlm_spec("clip-llm").default_checkpoint.count("+") == 1
    assert registry.dataset_spec("reasonseg").target == "lisa_core.data.reasonseg:ReasonSeg"


def test_what_core_offers_can_be_loaded() -> None:
    registry = Registry({"LISA_PLUGINS": ""})
    assert registry.load_dataset_class("reasonseg").__name__ == "ReasonSeg"
    for spec in BUILTIN_FORMATS:
        assert issubclass(registry.load_dataset_class(spec.name), SegmentationDataset)
    assert registry.load_vlm_class("clip-llm").__name__ == "ClipLLM"


def test_a_good_plugin_is_found_and_its_adapter_imported_only_on_use(site, capsys) -> None:
    site.fixture("good")
    registry = Registry()
    good = PluginRecord("good", "lisa-good", "1.2.0", ("good",), ("goodset",), "ok", None)
    assert record(registry, "good") == good
    assert registry.vlms["good"].record is record(registry, "good")
    assert registry.dataset_spec("goodset").target == "lisa_good.data:GoodSet"
    assert "lisa_good.vlm" not in sys.modules
    assert registry.load_vlm_class("good").__name__ == "Good"
    assert registry.load_dataset_class("goodset").__name__ == "GoodSet"
    greeting = capsys.readouterr()
    assert (greeting.out, greeting.err) == ("", "hello from lisa_good.vlm\n")  # stdout may be a command's JSON


def test_each_failing_plugin_has_its_line_and_the_others_work(site) -> None:
    site.fixture(*FIXTURES)
    registry = Registry()
    assert record(registry, "good").status == "ok" and "good" in registry.vlms

    broken = record(registry, "broken_import")
    assert (broken.status, broken.families) == ("broken", ())
    assert broken.error == (
        "cannot be imported: ModuleNotFoundError: No module named 'a_module_nobody_has'; "
        "update or uninstall lisa-broken-import"
    )
    raising = record(registry, "raising_hook")
    assert raising.status == "broken"
    assert raising.error == (
        "lisa_datasets() failed: RuntimeError: no folder for the data; update or uninstall lisa-raising-hook"
    )
    assert "raising" not in registry.vlms  # half a plugin is not offered
    future = record(registry, "bad_api")
    assert (future.status, future.families) == ("unsupported", ("future",))
    assert "speaks plugin API 99" in str(future.error) and "pip install --upgrade lisa-core`" in str(future.error)
    assert "future" not in registry.vlms


def test_a_family_claimed_twice_is_usable_from_neither_and_the_rest_is(site) -> None:
    site.fixture("good", "duplicate")
    registry = Registry()
    assert record(registry, "good").status == record(registry, "duplicate").status == "conflict"
    message = why_not(registry, "good")
    assert message == record(registry, "good").error == record(registry, "duplicate").error
    assert "lisa-good 1.2.0" in message and "lisa-duplicate 0.5.0" in message and "pip uninstall lisa-good" in message
    assert "good" not in registry.vlms
    assert registry.vlm_spec("single").default_checkpoint == "acme/single"
    assert registry.dataset_spec("goodset")


def test_a_clash_can_be_resolved_by_selecting_one(site) -> None:
    site.fixture("good", "duplicate")
    registry = Registry({"LISA_PLUGINS": "duplicate"})
    assert registry.vlm_spec("good").default_checkpoint == "acme/other-good"
    assert record(registry, "good").status == "deselected"


def test_a_builtin_family_cannot_be_taken_over_silently(site) -> None:
    site.write("lisa_usurper", HOOK + "return [VLMSpec('clip-llm', 'a.b:C', 'acme/c', (), 'Mine')]")
    registry = Registry()
    assert registry.plugins[0].status == record(registry, "lisa_usurper").status == "conflict"
    message = why_not(registry, "clip-llm")
    assert "lisa-core" in message and "lisa-usurper 1.0" in message and "`pip uninstall lisa-usurper`" in message
    assert "pip uninstall lisa-core" not in message
    assert registry.dataset_spec("reasonseg")


def test_a_builtin_format_cannot_be_taken_over_silently(site) -> None:
    source = HOOK.replace("lisa_vlms", "lisa_datasets") + "return [DatasetSpec('coco', 'a.b:C', 'Mine')]"
    site.write("lisa_usurper", source)
    with pytest.raises(PluginError, match=r"dataset format 'coco' is claimed by lisa-core .* and lisa-usurper 1\.0"):
        Registry().dataset_spec("coco")
    assert Registry().dataset_spec("jsonl")


def test_two_entry_points_of_one_package_that_clash_are_told_apart(site) -> None:
    source = HOOK + "return [VLMSpec('twin', 'a.b:C', 'acme/c', (), 'Twin')]"
    (site.folder / "lisa_twin_b.py").write_text(source)
    site.write("lisa_twin_a", source, "lisa-twins", "first = lisa_twin_a\nsecond = lisa_twin_b\n")
    message = why_not(Registry(), "twin")
    assert "(entry point first)" in message and "(entry point second)" in message


@pytest.mark.parametrize(
    ("source", "status", "line"),
    [
        ("raise SystemExit(3)", "broken", "cannot be imported: SystemExit: 3; "),
        ("import sys\nsys.exit()", "broken", "cannot be imported: SystemExit; "),
        ("def f(:\n  pass", "broken", "cannot be imported: SyntaxError: "),
        ("x = 1", "broken", "has no @hookimpl of a lisa hook; "),
        (HOOK + "return ['name']", "broken", "lisa_vlms() returned a list with str, not VLMSpec"),
        (HOOK + "return VLMSpec('a', 'b:C', 'd', (), 'e')", "broken", "lisa_vlms() returned VLMSpec, not a list of"),
        (HOOK + "return [DatasetSpec('a', 'b:C', 'e')]", "broken", "a list with DatasetSpec, not VLMSpec"),
        (HOOK + "return [VLMSpec('A b', 'b:C', 'd', (), 'e')]", "broken", "'A b' is not a lower-case name"),
        (HOOK + "return [VLMSpec('a', 'b.C', 'd', (), 'e')]", "broken", "not the form 'package.module:Class'"),
        (HOOK + "return [VLMSpec('a', 'b:C', 'd', ('x'), 'e')]", "broken", "model_types 'x', not a tuple of strings"),
        (HOOK + "return [VLMSpec('a', 'b:C', None, (), 'e')]", "broken", "default_checkpoint that is not a string"),
        (HOOK + "return [VLMSpec('a', 'b:C', 'd', (), 'e', 3)]", "broken", "geometry that is not a string"),
        (
            HOOK + "return [VLMSpec('a', 'b:C', 'd', (), 'e', '', ('org/m',))]",
            "broken",
            "not a tuple of KnownCheckpoint",
        ),
        (OPTIONS + "[])]", "broken", "options that are not a tuple of FamilyOption"),
        (OPTIONS + "(F('x', int, 1, ''), F('x', int, 2, '')))]", "broken", "which must be different strings"),
        (OPTIONS + "(F('a b', int, 1, ''),))]", "broken", "'a b': the name is not a Python identifier"),
        (OPTIONS + "(F('x', list, None, ''),))]", "broken", "its kind is not bool, int, float or str"),
        (OPTIONS + "(F('x', int, True, ''),))]", "broken", "its default True is no int"),
        (OPTIONS + "(F('x', int, None, '', ('1',)),))]", "broken", "it is no str, so it cannot have choices"),
        (OPTIONS + "(F('x', str, 'y', None),))]", "broken", "help must be a string"),
        (HOOK + "return [VLMSpec('a', 'b:C', 'd', (), 'e')] * 2", "broken", "lisa_vlms() returned 'a' twice"),
        (HOOK + "return [VLMSpec('a', 'b:C', 'd', (), 'e', api_version=0)]", "unsupported", "--upgrade lisa-edge`"),
        (HOOK + "return [VLMSpec('a', 'b:C', 'd', (), 'e', api_version='2')]", "unsupported", "speaks plugin API 2"),
        (HOOK + "raise SystemExit('bye')", "broken", "lisa_vlms() failed: SystemExit: bye; "),
        (HOOK.replace("lisa_vlms()", "lisa_vlms(torch)") + "return []", "broken", "its hooks do not fit: PluginValid"),
        (HOOK.replace("lisa_vlms", "lisa_vlm") + "return []", "broken", "unknown hook 'lisa_vlm'"),
        (HOOK + "return []", "ok", ""),
    ],
)
def test_every_way_to_be_wrong_has_a_line_and_takes_nothing_down(site, source, status, line) -> None:
    site.fixture("good")
    site.write("lisa_edge", source)
    registry = Registry()
    edge = record(registry, "lisa_edge")
    assert edge.status == status and line in (edge.error or "")
    assert "\n" not in (edge.error or "")
    assert registry.load_vlm_class("good")
    if status != "ok":
        assert "a" not in registry.vlms
        assert edge.error in why_not(registry, "lisa_edge")
        with pytest.raises((Exception, SystemExit)):
            Registry({"LISA_STRICT_PLUGINS": "1"})


def test_ctrl_c_while_a_plugin_loads_is_the_users_and_not_the_plugins_failure(site) -> None:
    site.write("lisa_edge", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        Registry()


def test_an_unreadable_entry_point_file_hides_only_its_own_package(site) -> None:
    site.fixture("good")
    site.write("lisa_edge", "", entry_points="no equals sign\n")
    registry = Registry()
    assert record(registry, "lisa-edge").status == "broken" and "good" in registry.vlms


def test_an_entry_point_to_a_missing_name_is_broken(site) -> None:
    site.write("lisa_edge", "", entry_points="edge = lisa_edge:nothing\n")
    assert "AttributeError" in str(record(Registry(), "edge").error)


def test_of_two_copies_on_the_path_the_one_python_imports_counts(site, tmp_path, monkeypatch) -> None:
    site.fixture("good")
    older = type(site)(tmp_path / "older")
    older.folder.mkdir()
    older.write("lisa_good", "raise RuntimeError", "Lisa_Good")
    monkeypatch.setattr(sys, "path", [*sys.path, str(older.folder)])
    registry = Registry()
    assert [plugin.version for plugin in registry.plugins if "good" in plugin.name] == ["1.2.0"]
    assert "good" in registry.vlms


@pytest.mark.parametrize("selection", ["good", "lisa-good", " good , "])
def test_a_selection_imports_nothing_else(site, selection) -> None:
    site.fixture("good", "broken_import")
    registry = Registry({"LISA_PLUGINS": selection})
    assert record(registry, "good").status == "ok"
    assert record(registry, "broken_import").status == "deselected"
    assert "not in LISA_PLUGINS" in why_not(registry, "broken_import")
    assert registry.unknown_selection == ()


def test_a_selected_name_that_is_not_installed_is_told() -> None:
    registry = Registry({"LISA_PLUGINS": "nobody"})
    assert registry.unknown_selection == ("nobody",)
    assert "nobody" in why_not(registry, "x")


@pytest.mark.parametrize("value", ["", "0", "false"])
def test_strict_is_off_unless_asked_for(site, value) -> None:
    site.fixture("broken_import")
    assert record(Registry({"LISA_STRICT_PLUGINS": value}), "broken_import").status == "broken"


def test_strict_raises_what_the_plugin_raised(site) -> None:
    site.fixture("broken_import")
    with pytest.raises(ModuleNotFoundError, match="a_module_nobody_has"):
        Registry({"LISA_STRICT_PLUGINS": "1"})
    registry = Registry({"LISA_STRICT_PLUGINS": "1", "LISA_PLUGINS": ""})
    assert "clip-llm" in registry.vlms


def test_strict_raises_a_clash(site) -> None:
    site.fixture("good", "duplicate")
    with pytest.raises(PluginError, match="claimed by"):
        Registry({"LISA_STRICT_PLUGINS": "1"})


def test_a_known_family_that_is_not_installed_has_its_pip_line() -> None:
    registry = Registry({"LISA_PLUGINS": ""})
    for name, known in KNOWN_PLUGINS.items():
        registry.plugins = [plugin for plugin in registry.plugins if plugin.name != name]
        assert f"run `pip install {known.distribution}`" in why_not(registry, name)


def test_an_unknown_family_names_what_is_installed_what_is_broken_and_what_was_meant(site) -> None:
    site.fixture("good", "broken_import")
    message = why_not(Registry({"LISA_PLUGINS": "good,broken_import"}), "god")
    assert "did you mean 'good'?" in message
    assert "clip-llm" in message and "`pip install lisa-qwenvl`" in message
    assert "broken_import of lisa-broken-import 0.3.0 is broken" in message and "a_module_nobody_has" in message
    assert "did you mean 'qwenvl' (`pip install lisa-qwenvl`)" in why_not(Registry({"LISA_PLUGINS": ""}), "qwen-vl")
    assert "did you mean" not in why_not(Registry(), "zzzzzz")


def test_an_unknown_format_has_its_line() -> None:
    with pytest.raises(PluginError, match=r"unknown dataset format 'reason-seg'; did you mean 'reasonseg'\?"):
        Registry().dataset_spec("reason-seg")


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("lisa_edge_missing:Adapter", "ModuleNotFoundError: No module named 'lisa_edge_missing'"),
        ("lisa_edge_vlm:Missing", "lisa_edge_vlm has no 'Missing'"),
        ("lisa_edge_vlm:number", "has something that is not a class as 'number'"),
        ("lisa_edge_exit:Adapter", "SystemExit: no GPU, no fun"),
    ],
)
def test_an_adapter_that_cannot_be_loaded_is_one_line(site, target, line) -> None:
    (site.folder / "lisa_edge_vlm.py").write_text("number = 3\n")
    (site.folder / "lisa_edge_exit.py").write_text("import sys\nsys.exit('no GPU,\\nno fun')\n")
    site.write("lisa_edge", HOOK + f"return [VLMSpec('edge', {target!r}, 'd', (), 'e')]")
    registry = Registry()
    with pytest.raises(PluginError) as caught:
        registry.load_vlm_class("edge")
    message = str(caught.value)
    assert message.startswith("VLM family 'edge' of lisa-edge 1.0 cannot be loaded") and line in message
    assert "pip install --force-reinstall lisa-edge" in message and "\n" not in message


@given(st.text())
def test_no_name_crashes_the_lookup(name: str) -> None:
    registry = Registry({"LISA_PLUGINS": ""})
    if name not in (CLIP_LLM.name, GENERIC.name):
        assert why_not(registry, name)


def test_the_registry_of_a_process_is_read_once() -> None:
    assert get_registry() is get_registry()
