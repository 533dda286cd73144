"""The hooks a plugin may implement. Each returns plain data; nothing heavy is imported until a family is used."""

from __future__ import annotations

import pluggy

from lisa_core.types import DatasetSpec, VLMSpec

PROJECT = "lisa"
"""Name of the pluggy project and of the entry-point group that plugins register in."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a plugin's function as the implementation of the hook of the same name."""


@hookspec
def lisa_vlms() -> list[VLMSpec]:  # type: ignore[empty-body]
    """Return the VLM families the plugin offers.

    >>> from lisa_core import VLMSpec, hookimpl
    >>> @hookimpl
    ... def lisa_vlms():
    ...     return [
    ...         VLMSpec(
    ...             name="echo",
    ...             target="lisa_echo.vlm:Echo",
    ...             default_checkpoint="acme/echo-2b",
    ...             model_types=("echo",),
    ...             summary="Echo, a small VLM",
    ...         )
    ...     ]
    >>> [spec.name for spec in lisa_vlms()]
    ['echo']
    """


@hookspec
def lisa_datasets() -> list[DatasetSpec]:  # type: ignore[empty-body]
    """Return the dataset formats the plugin can read.

    >>> from lisa_core import DatasetSpec, hookimpl
    >>> @hookimpl
    ... def lisa_datasets():
    ...     return [DatasetSpec(name="echo", target="lisa_echo.data:EchoReader", summary="Echo's own folders")]
    >>> [spec.target for spec in lisa_datasets()]
    ['lisa_echo.data:EchoReader']
    """
