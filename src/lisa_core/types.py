"""Plain data that plugins hand to the core. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass

API_VERSION = 1
"""Version of the plugin contract (hooks and the VLM protocol) that this core speaks."""

IGNORE = 255
"""Value of the mask pixels that neither the loss nor the metrics count."""


@dataclass(frozen=True)
class VLMSpec:
    """What a plugin says about one VLM family; `target` is imported only when the family is used."""

    name: str
    """Family name as given to `--vlm`, lower case: `smolvlm`."""
    target: str
    """Where the adapter class lives: `"lisa_smolvlm.vlm:SmolVLM"`."""
    default_checkpoint: str
    """Hub name used when `--vlm-model-name` is not given."""
    model_types: tuple[str, ...]
    """`model_type` values of the checkpoint configs this family claims."""
    summary: str
    """One line for `lisa plugins`."""
    api_version: int = API_VERSION
    """The contract the plugin was written against."""


@dataclass(frozen=True)
class DatasetSpec:
    """What a plugin says about one dataset format."""

    name: str
    """Format name, lower case: `reasonseg`."""
    target: str
    """Where the reader class lives: `"package.module:Reader"`."""
    summary: str
    """One line for `lisa plugins`."""
    api_version: int = API_VERSION
    """The contract the plugin was written against."""
