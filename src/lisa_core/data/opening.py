"""Which reader a dataset needs: the one named, or the one that knows the folder's layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lisa_core.discovery import CORE, failures_as_plugin_errors
from lisa_core.errors import DataError, PluginError
from lisa_core.formats import ALIASES, AUTO, HF_PREFIX
from lisa_core.registry import Registry, get_registry


def reader_class(root: str | Path, format: str = AUTO) -> type[Any]:
    """The reader class of format `format`, or with `auto` that of the format whose layout the folder has.

    Raises `PluginError` when the format is unknown or its plugin broken, `DataError` when no format or more than one
    fits the folder.
    """
    return get_registry().load_dataset_class(format_name(root, format))


def format_name(root: str | Path, format: str = AUTO) -> str:
    """The name of the format that `reader_class` takes; raises as it does."""
    registry = get_registry()
    if format != AUTO:
        return format if format in registry.datasets else ALIASES.get(format, format)
    if str(root).startswith(HF_PREFIX):
        return "hf"
    folder = Path(root)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder: give the folder that holds the dataset, or hf:ORG/NAME.")
    found, failed = [], []
    for name in registry.datasets:
        try:
            if _knows(registry, name, folder):
                found.append(name)
        except PluginError as error:  # a plugin that fails must not keep the others from being used
            failed.append(str(error))
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(f"{folder} could be {' or '.join(found)}: say which with --data-format.")
    trouble = f" (not asked: {'; '.join(failed)})" if failed else ""
    raise DataError(
        f"{folder} has the layout of no known format{trouble}: give the folder that a format's page shows, or name the "
        f"format with --data-format, one of {', '.join(registry.datasets)}."
    )


def _knows(registry: Registry, name: str, folder: Path) -> bool:
    """Whether a format's reader knows the folder's layout; raises `PluginError` if the plugin fails to say."""
    reader, record = registry.load_dataset_class(name), registry.datasets[name].record
    if not hasattr(reader, "looks_like"):  # a plugin may have it named only
        return False
    if record.distribution == CORE:
        return reader.looks_like(folder)
    where = f"dataset format {name!r} of {record.package} cannot look at {folder}"
    with failures_as_plugin_errors(where, f"update or uninstall {record.distribution}", registry.strict):
        return bool(reader.looks_like(folder))
