"""Plain data that plugins hand to the core. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass

API_VERSION = 1
"""Version of the plugin contract (hooks and the VLM protocol) that this core speaks."""

IGNORE = 255
"""Value of the mask pixels that neither the loss nor the metrics count."""


@dataclass(frozen=True)
class KnownCheckpoint:
    """A published checkpoint of a family, for `lisa models`.

    Its architecture lies beside the plugin as `configs/ORG__NAME.json`, so that it can be looked at without the hub.
    """

    name: str
    """Hub name: `org/name`."""
    parameters: int
    """Number of parameters, embeddings included."""
    vision_dim: int | None
    """Width of the vision tower's features; None for a model without one."""
    text_dim: int | None
    """Width of the language model's hidden states; None for a model without one."""
    licence: str
    """Licence of the weights, as its model card names it."""
    gated: bool = False
    """Whether the hub asks for an account that accepted the licence."""


@dataclass(frozen=True)
class FamilyOption:
    """A setting of one family, given as `--vlm-option NAME=VALUE`; the adapter's `configure` receives its value."""

    name: str
    """A Python identifier: `image_splitting`."""
    kind: type
    """bool, int, float or str."""
    default: bool | int | float | str | None
    """None: what the checkpoint itself says."""
    help: str
    """One line."""
    choices: tuple[str, ...] = ()
    """What a str option may be; empty: anything."""


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
    geometry: str = ""
    """One line: how the whole picture reaches the grid."""
    checkpoints: tuple[KnownCheckpoint, ...] = ()
    """Published checkpoints this family is known to read; there may be more."""
    options: tuple[FamilyOption, ...] = ()
    """Settings of this family alone."""
    api_version: int = API_VERSION
    """The contract the plugin was written against."""


@dataclass(frozen=True)
class DatasetSpec:
    """What a plugin says about one dataset format."""

    name: str
    """Format name, lower case: `reasonseg`."""
    target: str
    """Where the reader class is, `"package.module:Reader"`; made as `Reader(root, split, phrasings, on_error=...)`."""
    summary: str
    """One line for `lisa plugins`."""
    api_version: int = API_VERSION
    """The contract the plugin was written against."""
