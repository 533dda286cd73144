"""Loads the entry points of group `lisa` and asks each plugin what it offers; one that fails keeps its reason."""

from __future__ import annotations

import contextlib
import importlib.metadata
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import pluggy

from lisa_core import hookspecs
from lisa_core.errors import LisaError, PluginError
from lisa_core.types import API_VERSION, DatasetSpec, FamilyOption, KnownCheckpoint, VLMSpec

Status = Literal["ok", "broken", "conflict", "unsupported", "deselected"]
S = TypeVar("S", VLMSpec, DatasetSpec)

CORE = "lisa-core"
"""Name of the distribution this package is installed by."""

_NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_TARGET = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


@dataclass
class PluginRecord:
    """What is known of one installed plugin, working or not."""

    name: str
    """Name of its entry point, or `builtin` for what core itself offers."""
    distribution: str
    """Name of the package as pip knows it: `lisa-smolvlm`."""
    version: str
    """Version of that package."""
    families: tuple[str, ...] = ()
    """VLM families it claims; they can be used if `status` is ok."""
    datasets: tuple[str, ...] = ()
    """Dataset formats it claims."""
    status: Status = "ok"
    """Whether it can be used, and if not, what kind of reason stands in `error`."""
    error: str | None = None
    """One line: what is wrong and what to do."""

    @property
    def package(self) -> str:
        """Distribution and version, as messages name it: `lisa-smolvlm 0.1.0`."""
        return f"{self.distribution} {self.version}"


@dataclass
class Plugin:
    """A record with the specs that its hooks returned; `vlms` and `datasets` are empty when the plugin is broken."""

    record: PluginRecord
    vlms: list[VLMSpec] = field(default_factory=list)
    datasets: list[DatasetSpec] = field(default_factory=list)
    claims: list[VLMSpec] = field(default_factory=list)
    """The families it announced, kept when it is broken, to say why a checkpoint of theirs cannot be read."""


class _Unsupported(PluginError):
    """The plugin was written against another version of the plugin contract."""


def one_line(error: BaseException) -> str:
    """The error as one line; its type is named unless the message was written for users."""
    text = " ".join(str(error).split())
    if isinstance(error, LisaError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def core_version() -> str:
    """Version of the installed lisa-core; `0+unknown` when its source is used without being installed."""
    try:
        return importlib.metadata.version(CORE)
    except importlib.metadata.PackageNotFoundError:
        return "0+unknown"


@contextlib.contextmanager
def failures_as_plugin_errors(prefix: str, advice: str, strict: bool) -> Iterator[None]:
    """Turn whatever the plugin code inside raises, `SystemExit` included, into a one-line PluginError.

    What that code prints goes to stderr, since stdout may carry a command's JSON. Ctrl-C passes, and under `strict`
    everything does.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except (KeyboardInterrupt, PluginError):
        raise
    except BaseException as error:
        if strict:
            raise
        raise PluginError(f"{prefix}: {one_line(error)}; {advice}") from error


def discover(selected: frozenset[str] | None, strict: bool) -> list[Plugin]:
    """Load every installed plugin, in the order of `sys.path`.

    `selected` holds entry-point or distribution names, None for all; the others are listed but not imported. `strict`
    raises the first failure instead of recording it.
    """
    plugins: list[Plugin] = []
    for distribution in _distributions():
        name, version = str(distribution.metadata["Name"]), distribution.version
        # read one package at a time: importlib.metadata.entry_points() fails for all if one file is malformed
        try:
            entries = list(distribution.entry_points.select(group=hookspecs.PROJECT))
        except Exception as error:
            if strict:
                raise
            reason = f"its entry_points.txt cannot be read: {one_line(error)}; reinstall {name}"
            plugins.append(Plugin(PluginRecord(name, name, version, status="broken", error=reason)))
            continue
        for entry in entries:
            record = PluginRecord(entry.name, name, version)
            if selected is not None and not selected & {record.name, record.distribution}:
                record.status, record.error = "deselected", f"not in LISA_PLUGINS; add {record.name} to use it"
                plugins.append(Plugin(record))
            else:
                plugins.append(ask(record, entry.load, strict))
    return plugins


def _distributions() -> Iterator[importlib.metadata.Distribution]:
    """Installed packages that have the entry-point group; of two copies on `sys.path`, the one Python imports."""
    header = re.compile(rf"^\[\s*{hookspecs.PROJECT}\s*\]", re.MULTILINE)
    seen: set[str] = set()
    for distribution in importlib.metadata.distributions():
        if header.search(distribution.read_text("entry_points.txt") or ""):
            name = re.sub(r"[-_.]+", "-", str(distribution.metadata["Name"])).lower()
            if name not in seen:
                seen.add(name)
                yield distribution


def ask(record: PluginRecord, load: Callable[[], Any], strict: bool = False) -> Plugin:
    """Import one plugin with `load` and collect what its hooks return; `record` gets the outcome.

    Each plugin has a plugin manager of its own, so none can break the hook calls of another.
    """
    plugin = Plugin(record)
    advice = f"update or uninstall {record.distribution}"
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    try:
        with failures_as_plugin_errors("cannot be imported", advice, strict):
            module = load()
        with failures_as_plugin_errors("its hooks do not fit", advice, strict):
            manager.register(module)
            manager.check_pending()
        if not manager.get_hookcallers(module):
            raise PluginError(f"has no @hookimpl of a lisa hook; {advice}")
        with failures_as_plugin_errors("lisa_vlms() failed", advice, strict):
            vlms = manager.hook.lisa_vlms()
        plugin.vlms = plugin.claims = _checked("lisa_vlms", vlms, VLMSpec)
        record.families = tuple(spec.name for spec in plugin.vlms)
        with failures_as_plugin_errors("lisa_datasets() failed", advice, strict):
            datasets = manager.hook.lisa_datasets()
        plugin.datasets = _checked("lisa_datasets", datasets, DatasetSpec)
        record.datasets = tuple(spec.name for spec in plugin.datasets)
        _check_api_version(record, [*plugin.vlms, *plugin.datasets])
    except PluginError as error:
        if strict:
            raise
        plugin.vlms, plugin.datasets = [], []
        record.status = "unsupported" if isinstance(error, _Unsupported) else "broken"
        record.error = one_line(error)
    return plugin


def _checked(hook: str, results: list[Any], spec_type: type[S]) -> list[S]:
    """The specs in a hook's results (one result per implementation), or a PluginError that says what is wrong."""
    specs: list[S] = []
    for result in results:
        if not isinstance(result, (list, tuple)):
            raise PluginError(f"{hook}() returned {type(result).__name__}, not a list of {spec_type.__name__}")
        for spec in result:
            if not isinstance(spec, spec_type):
                raise PluginError(f"{hook}() returned a list with {type(spec).__name__}, not {spec_type.__name__}")
            if spec.api_version == API_VERSION:  # a spec of another version may well look different
                _check_fields(hook, spec)
            if spec.name in {other.name for other in specs}:
                raise PluginError(f"{hook}() returned {spec.name!r} twice")
            specs.append(spec)
    return specs


def _check_fields(hook: str, spec: VLMSpec | DatasetSpec) -> None:
    """Check the types and forms that a later command would otherwise stumble over."""
    kind = type(spec).__name__
    if not isinstance(spec.name, str) or not _NAME.fullmatch(spec.name):
        raise PluginError(f"{hook}(): {kind}.name {spec.name!r} is not a lower-case name such as 'smolvlm'")
    where = f"{hook}(): {kind} {spec.name!r}"
    if not isinstance(spec.target, str) or not _TARGET.fullmatch(spec.target):
        raise PluginError(f"{where} has the target {spec.target!r}, not the form 'package.module:Class'")
    if not isinstance(spec.summary, str):
        raise PluginError(f"{where} has a summary that is not a string")
    if isinstance(spec, VLMSpec):
        types = spec.model_types
        if not isinstance(types, tuple) or not all(isinstance(name, str) for name in types):
            raise PluginError(f"{where} has model_types {types!r}, not a tuple of strings such as ('smolvlm',)")
        if not isinstance(spec.default_checkpoint, str):
            raise PluginError(f"{where} has a default_checkpoint that is not a string")
        if not isinstance(spec.geometry, str):
            raise PluginError(f"{where} has a geometry that is not a string")
        _check_parts(where, "checkpoints", spec.checkpoints, KnownCheckpoint)
        _check_parts(where, "options", spec.options, FamilyOption)
        for option in spec.options:
            _check_option(where, option)


def _check_parts(where: str, name: str, parts: object, kind: type) -> None:
    """Check a tuple of plain data, named differently each."""
    if not isinstance(parts, tuple) or not all(isinstance(part, kind) for part in parts):
        raise PluginError(f"{where} has {name} that are not a tuple of {kind.__name__}")
    names = [part.name for part in parts]
    if not all(isinstance(part, str) for part in names) or len(set(names)) < len(names):
        raise PluginError(f"{where} has {name} with names {names!r}, which must be different strings")


def _check_option(where: str, option: FamilyOption) -> None:
    what = f"{where}, option {option.name!r}:"
    if not option.name.isidentifier():
        raise PluginError(f"{what} the name is not a Python identifier such as 'image_splitting'")
    if option.kind not in (bool, int, float, str):
        raise PluginError(f"{what} its kind is not bool, int, float or str")
    if option.default is not None and type(option.default) is not option.kind:
        raise PluginError(f"{what} its default {option.default!r} is no {option.kind.__name__}")
    if not isinstance(option.help, str) or not isinstance(option.choices, tuple):
        raise PluginError(f"{what} help must be a string and choices a tuple")
    if option.choices and option.kind is not str:
        raise PluginError(f"{what} it is no str, so it cannot have choices")


def _check_api_version(record: PluginRecord, specs: Sequence[VLMSpec | DatasetSpec]) -> None:
    for spec in specs:
        if spec.api_version != API_VERSION:
            newer = isinstance(spec.api_version, int) and spec.api_version > API_VERSION
            outdated = CORE if newer else record.distribution
            raise _Unsupported(
                f"{spec.name!r} speaks plugin API {spec.api_version}, {CORE} {core_version()} speaks {API_VERSION}; "
                f"run `pip install --upgrade {outdated}`"
            )
