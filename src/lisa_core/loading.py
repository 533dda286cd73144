"""Turn what goes wrong while loading from the hub or a folder into one line that says what to do."""

from __future__ import annotations

import pickle
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers.utils import logging as hf_logging

from lisa_core.errors import ConfigError

hf_logging.set_verbosity_error()  # a missing head or an unused key is ours to report, not a page of warnings

PICKLE = "it is damaged, or a pickle that holds more than tensors, which is never read"
"""What torch's `Weights only load failed`, a page of advice on how to read it all the same, comes to."""
_safetensors_only: ContextVar[bool] = ContextVar("safetensors_only", default=False)


@contextmanager
def safetensors_only(wanted: bool) -> Iterator[None]:
    """Let `weights_options` ask for safetensors: for bases that somebody else's model names."""
    token = _safetensors_only.set(wanted)
    try:
        yield
    finally:
        _safetensors_only.reset(token)


def weights_options() -> dict[str, Any]:
    """Further arguments of a model's `from_pretrained`."""
    return {"use_safetensors": True} if _safetensors_only.get() else {}


@contextmanager
def load_errors(name: str) -> Iterator[None]:
    """Raise ConfigError for what `from_pretrained` raises when `name` cannot be loaded."""
    try:
        with bars_for_terminals():
            yield
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError, pickle.UnpicklingError) as error:
        raise ConfigError(f"cannot load {name}: {_reason(error)}; {_hint(name)}") from error


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, pickle.UnpicklingError):
        return PICKLE
    if isinstance(error, OSError) and "file named model.safetensors" in text:
        return "it has no weights (model.safetensors)"
    return textwrap.shorten(text, 240, placeholder=" ...")


def _hint(name: str) -> str:
    if Path(name).is_dir():
        return "the folder must hold config.json, the weights and the processor files of one checkpoint"
    return "give a local folder or a hub name; gated models need `hf auth login`"


@contextmanager
def bars_for_terminals() -> Iterator[None]:
    """Put transformers' progress bars away where nobody watches: in a log they are a page of lines."""
    if sys.stderr.isatty() or not hf_logging.is_progress_bar_enabled():
        yield
        return
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.enable_progress_bar()
