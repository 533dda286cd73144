"""Which VLM families and dataset formats can be used, and a clear line for each that cannot.

Nothing here imports torch, and no adapter is imported before it is asked for (`Registry.load_vlm_class`).
"""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic

from lisa_core.discovery import CORE, Plugin, PluginRecord, S, ask, core_version, discover, failures_as_plugin_errors
from lisa_core.errors import PluginError
from lisa_core.formats import BUILTIN_FORMATS
from lisa_core.hookspecs import hookimpl
from lisa_core.types import DatasetSpec, KnownCheckpoint, VLMSpec

__all__ = [
    "CLIP_LLM",
    "GENERIC",
    "KNOWN_PLUGINS",
    "SAM_CHECKPOINTS",
    "KnownPlugin",
    "PluginRecord",
    "Registered",
    "Registry",
    "get_registry",
]


@dataclass(frozen=True)
class KnownPlugin:
    """A plugin that may be named to those who have not installed it."""

    distribution: str
    """What pip installs it as."""
    model_types: tuple[str, ...]
    """`model_type` values of the checkpoints it reads."""


KNOWN_PLUGINS = {
    "llava": KnownPlugin("lisa-llava", ("llava", "llava_next")),
    "paligemma": KnownPlugin("lisa-paligemma", ("paligemma",)),
    "qwenvl": KnownPlugin("lisa-qwenvl", ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")),
    "smolvlm": KnownPlugin("lisa-smolvlm", ("idefics3", "smolvlm")),
}
"""The families that have a plugin."""

CLIP_LLM = VLMSpec(
    name="clip-llm",
    target="lisa_core.clip_llm:ClipLLM",
    # image encoder and text encoder; `+` cannot be part of a hub name
    default_checkpoint="openai/clip-vit-base-patch16+Qwen/Qwen3-0.6B-Base",
    model_types=(),  # it is made of two checkpoints, and none of them alone asks for it
    summary="a CLIP vision tower beside any causal language model",
    geometry="the picture squashed to a square",
    checkpoints=(
        KnownCheckpoint("openai/clip-vit-base-patch16", 149_620_737, 768, None, "none named"),
        KnownCheckpoint("Qwen/Qwen3-0.6B-Base", 596_049_920, None, 1024, "apache-2.0"),
    ),
)
"""The traditional pair that core brings itself; its default checkpoint is `IMAGE_ENCODER+TEXT_ENCODER`."""

GENERIC = VLMSpec(
    name="generic",
    target="lisa_core.generic:GenericVLM",
    default_checkpoint="",
    model_types=(),  # `--vlm auto` falls back to it for what no family claims
    summary="any other image-text-to-text model of transformers, for `--mask-features sam`",
    geometry="none: masks are drawn on SAM's features alone",
)
"""Models without an adapter: they read and answer, but nobody has said where in the picture their features are."""

SAM_CHECKPOINTS = (KnownCheckpoint("facebook/sam-vit-base", 93_735_728, 256, None, "apache-2.0"),)
"""Published SAM weights, in transformers' form; `vision_dim` is the width of its mask features."""


_PIP_LINES = {name: known.distribution for name, known in KNOWN_PLUGINS.items()}


class _Builtin:
    """What core offers without any plugin, announced through the same hooks."""

    @hookimpl
    def lisa_vlms(self) -> list[VLMSpec]:
        return [CLIP_LLM, GENERIC]

    @hookimpl
    def lisa_datasets(self) -> list[DatasetSpec]:
        return list(BUILTIN_FORMATS)


@dataclass(frozen=True)
class Registered(Generic[S]):
    """A usable spec and the plugin it came from."""

    spec: S
    record: PluginRecord


class Registry:
    """The installed plugins and what can be used of them.

    `LISA_PLUGINS=a,b` in `environ` loads only these entry points or packages (none, if it is empty), and
    `LISA_STRICT_PLUGINS=1` raises what goes wrong in a plugin instead of recording it.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        """Read the installed packages. `environ` defaults to `os.environ`."""
        environ = os.environ if environ is None else environ
        self.strict = environ.get("LISA_STRICT_PLUGINS", "").lower() not in ("", "0", "false", "no")
        selection = environ.get("LISA_PLUGINS")
        selected = None
        if selection is not None:
            selected = frozenset(name.strip() for name in selection.split(",") if name.strip())
        builtin = ask(PluginRecord("builtin", CORE, core_version()), _Builtin, strict=True)
        found = [builtin, *discover(selected, self.strict)]
        self.plugins: list[PluginRecord] = [plugin.record for plugin in found]
        """Every plugin found, core's own first."""
        self.vlms: dict[str, Registered[VLMSpec]] = {}
        """Usable VLM families by name."""
        self.datasets: dict[str, Registered[DatasetSpec]] = {}
        """Usable dataset formats by name."""
        installed = {name for record in self.plugins for name in (record.name, record.distribution)}
        self.unknown_selection: tuple[str, ...] = tuple(sorted((selected or frozenset()) - installed))
        """Names in `LISA_PLUGINS` that nothing installed goes by."""
        self._found = found
        self._clashes: dict[str, str] = {}
        self._fill(self.vlms, [(spec, plugin) for plugin in found for spec in plugin.vlms], "VLM family")
        self._fill(self.datasets, [(spec, plugin) for plugin in found for spec in plugin.datasets], "dataset format")

    def vlm_spec(self, name: str) -> VLMSpec:
        """The spec of VLM family `name`; raises PluginError that says what is installed, broken, or to be installed."""
        if name not in self.vlms:
            raise PluginError(self._why_not(name, "VLM family", "families", list(self.vlms), _PIP_LINES))
        return self.vlms[name].spec

    def dataset_spec(self, name: str) -> DatasetSpec:
        """The spec of dataset format `name`; raises PluginError that says what is installed or broken."""
        if name not in self.datasets:
            raise PluginError(self._why_not(name, "dataset format", "datasets", list(self.datasets), {}))
        return self.datasets[name].spec

    def load_vlm_class(self, name: str) -> type[Any]:
        """Import the adapter class of VLM family `name`; raises PluginError if it is unknown or fails to import."""
        self.vlm_spec(name)
        return self._load("VLM family", self.vlms[name])

    def load_dataset_class(self, name: str) -> type[Any]:
        """Import the reader class of dataset format `name`; raises PluginError if it is unknown or fails to import."""
        self.dataset_spec(name)
        return self._load("dataset format", self.datasets[name])

    def families_of(self, model_type: str) -> list[Registered[VLMSpec]]:
        """The usable families that claim checkpoints of this `model_type`, by name."""
        return [entry for _, entry in sorted(self.vlms.items()) if model_type in entry.spec.model_types]

    def why_no_family_of(self, model_type: str) -> str | None:
        """One line on the plugin that would read this `model_type` but is unusable or not installed; None: no such."""
        for plugin in self._found:
            for spec in plugin.claims:
                # the plugin may be broken because its spec is
                claimed = spec.model_types if isinstance(spec.model_types, tuple) else ()
                if model_type in claimed and spec.name not in self.vlms:
                    return self._why_not(spec.name, "VLM family", "families", list(self.vlms), _PIP_LINES)
        for name, known in KNOWN_PLUGINS.items():
            if model_type in known.model_types and name not in self.vlms:
                return self._why_not(name, "VLM family", "families", list(self.vlms), _PIP_LINES)
        return None

    def _fill(self, table: dict[str, Registered[S]], claims: list[tuple[S, Plugin]], kind: str) -> None:
        """Enter each name that one plugin claims; a name that several claim is usable from none of them."""
        claimants: dict[str, list[Registered[S]]] = {}
        for spec, plugin in claims:
            claimants.setdefault(spec.name, []).append(Registered(spec, plugin.record))
        for name, rivals in claimants.items():
            if len(rivals) == 1:
                table[name] = rivals[0]
                continue
            records = [rival.record for rival in rivals]
            packages = " and ".join(f"{record.package} (entry point {record.name})" for record in records)
            removable = sorted({record.distribution for record in records} - {CORE})
            advice = " or ".join(f"`pip uninstall {distribution}`" for distribution in removable)
            clash = f"{kind} {name!r} is claimed by {packages}; keep one: {advice}, or choose with LISA_PLUGINS"
            if self.strict:
                raise PluginError(clash)
            self._clashes[name] = clash
            for record in records:
                record.status = "conflict"
                record.error = clash if record.error is None else f"{record.error}; {clash}"

    def _why_not(self, name: str, kind: str, claim: str, usable: list[str], known: Mapping[str, str]) -> str:
        """One line on why `name` cannot be used and what to do."""
        if name in self._clashes:
            return self._clashes[name]
        for record in self.plugins:
            if record.status not in ("ok", "conflict") and name in (record.name, *getattr(record, claim)):
                return f"{kind} {name!r} of {record.package} is {record.status}: {record.error}"
        state = f"installed: {', '.join(sorted(usable))}"
        broken = [f"{r.name} of {r.package} is {r.status}: {r.error}" for r in self.plugins if r.status != "ok"]
        if broken:
            state += f"; not usable: {', '.join(broken)}"
        if self.unknown_selection:
            state += f"; LISA_PLUGINS names what is not installed: {', '.join(self.unknown_selection)}"
        if name in known:
            return f"{kind} {name!r} is not installed; run `pip install {known[name]}` ({state})"
        near = difflib.get_close_matches(name.lower(), {*usable, *known}, n=1)
        guess = ""
        if near:
            how = "" if near[0] in usable else f" (`pip install {known[near[0]]}`)"
            guess = f"; did you mean {near[0]!r}{how}?"
        to_install = [f"`pip install {known[key]}`" for key in known if key not in usable and key not in near]
        more = f"; available: {', '.join(to_install)}" if to_install else ""
        return f"unknown {kind} {name!r}{guess} ({state}{more})"

    def _load(self, kind: str, entry: Registered[S]) -> type[Any]:
        module_name, _, attribute = entry.spec.target.partition(":")
        where = f"{kind} {entry.spec.name!r} of {entry.record.package}"
        advice = f"run `pip install --force-reinstall {entry.record.distribution}` or see its README"
        with failures_as_plugin_errors(f"{where} cannot be loaded", advice, self.strict):
            module = importlib.import_module(module_name)
        target = getattr(module, attribute, None)
        if not isinstance(target, type):
            found = "has no" if target is None else "has something that is not a class as"
            raise PluginError(f"{where} cannot be loaded: {module_name} {found} {attribute!r}; {advice}")
        return target


@lru_cache(maxsize=1)
def get_registry() -> Registry:
    """The registry of this process, read once."""
    return Registry()
