"""The lines of a text file, read one at a time and found again by their place, so that a large file is never held."""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lisa_core.errors import DataError

_CHUNK = 1 << 20


class Line(NamedTuple):
    """One line of a file."""

    number: int
    """From 1."""
    offset: int
    """Where it begins, in bytes."""
    text: str
    """With its end."""
    check: int
    """Checksum of its bytes."""


class Lines:
    """A text file, UTF-8 first (with or without a byte order mark), then cp1252, as `read_text` reads it.

    Raises:
        DataError: by every method, when the file is gone, changed, or in neither encoding.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._encoding = next(name for name in ("utf-8", "cp1252") if _is_encoded(path, name))
        except OSError as error:
            raise _unreadable(path, error) from error
        except StopIteration:
            raise DataError(f"{path} is neither UTF-8 nor cp1252 text: save it as UTF-8.") from None

    def __iter__(self) -> Iterator[Line]:
        """Every line that is not blank."""
        try:
            with self.path.open("rb") as file:
                offset = 0
                for number, data in enumerate(file, 1):
                    text = self._text(data, offset)
                    if text.strip():
                        yield Line(number, offset, text, zlib.crc32(data))
                    offset += len(data)
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def at(self, offset: int, check: int) -> str:
        """The line that begins at `offset`, whose checksum was `check` when it was first read."""
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                data = file.readline()
        except OSError as error:
            raise _unreadable(self.path, error) from error
        if zlib.crc32(data) != check:
            raise DataError(f"{self.path} was changed while it was in use: start again.")
        return self._text(data, offset)

    def _text(self, data: bytes, offset: int) -> str:
        try:
            text = data.decode(self._encoding)
        except UnicodeDecodeError as error:  # it was checked at first
            raise DataError(f"{self.path} was changed while it was in use: start again.") from error
        return text.removeprefix("\ufeff") if offset == 0 else text


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path} cannot be read: {error.strerror or error}; restore the file.", "missing-file")


def _is_encoded(path: Path, name: str) -> bool:
    """Whether a file's bytes are text of this encoding."""
    decoder = codecs.getincrementaldecoder(name)()
    with path.open("rb") as file:
        try:
            while chunk := file.read(_CHUNK):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True
