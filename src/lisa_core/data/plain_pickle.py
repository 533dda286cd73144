"""Pickles that hold plain data, read without running anything: whatever asks for a class or a function is refused."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any, NoReturn

from lisa_core.errors import DataError


class _PlainUnpickler(pickle.Unpickler):
    """Builds dicts, lists, tuples, sets, texts and numbers, which pickles make without naming a class."""

    def __init__(self, data: bytes, path: Path, encoding: str) -> None:
        super().__init__(io.BytesIO(data), encoding=encoding)
        self._path = path

    def find_class(self, module: str, name: str) -> NoReturn:
        message = f"{self._path} asks for {module}.{name}, a program and not data: do not use this file."
        raise DataError(message, "pickle")


def read_plain_pickle(path: Path) -> Any:
    """The plain data in a pickle, those of Python 2 included; raises `DataError` that names the file otherwise."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}; restore the file.") from error
    for encoding in ("utf-8", "cp1252", "latin-1"):  # of Python 2's byte strings
        try:
            return _PlainUnpickler(data, path, encoding).load()
        except DataError:
            raise
        except UnicodeDecodeError:
            continue
        # A damaged pickle makes the machine that reads it raise nearly anything; for the user it all means the same.
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            message = f"{path} is not a pickle that can be read ({reason}): download it again."
            raise DataError(message, "pickle") from error
    raise DataError(f"{path} holds text that cannot be decoded: download it again.", "pickle")
