"""Turn what goes wrong while loading from the hub or a folder into one line that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lisa_core.errors import ConfigError


@contextmanager
def load_errors(name: str) -> Iterator[None]:
    """Raise ConfigError for what `from_pretrained` raises when `name` cannot be loaded."""
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        reason = reason if len(reason) < 240 else reason[:237] + "..."
        if Path(name).is_dir():
            hint = "the folder must hold config.json, the weights and the processor files of one checkpoint"
        else:
            hint = "give a local folder or a hub name; gated models need `hf auth login`"
        raise ConfigError(f"cannot load {name}: {reason}; {hint}") from error
