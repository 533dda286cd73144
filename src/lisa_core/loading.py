"""Turn what goes wrong while loading from the hub or a folder into one line that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from transformers.utils import logging as hf_logging

from lisa_core.errors import ConfigError

hf_logging.set_verbosity_error()  # a missing head or an unused key is ours to report, not a page of warnings


@contextmanager
def load_errors(name: str) -> Iterator[None]:
    """Raise ConfigError for what `from_pretrained` raises when `name` cannot be loaded."""
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        reason = reason if len(reason) < 240 else reason[:237] + "..."
        if Path(name).is_dir():
            hint = "the folder must hold config.json, the weights and the processor files of one checkpoint"
        else:
            hint = "give a local folder or a hub name; gated models need `hf auth login`"
        raise ConfigError(f"cannot load {name}: {reason}; {hint}") from error
