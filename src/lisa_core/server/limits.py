"""What a request may ask for, and the refusal of larger ones before they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import HTTPException
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lisa_core.errors import DataError

TOO_LARGE = 413
"""HTTP's code for a body that is too large."""


@dataclass(frozen=True)
class Limits:
    """The most that one request may ask for."""

    upload: int = 20_000_000
    """Bytes of its body."""
    pixels: int = 25_000_000
    """Pixels of the picture."""
    sentences: int = 16
    """Sentences."""
    letters: int = 300
    """Characters of each sentence."""


LIMITS = Limits()
"""What `lisa demo` allows."""


def check_sentences(texts: Sequence[str], limits: Limits) -> None:
    """Raise DataError for sentences that are too many, too long or empty."""
    if not texts:
        raise DataError("there is no sentence: say what to segment, for example 'the red ring'")
    if len(texts) > limits.sentences:
        raise DataError(f"{len(texts)} sentences are more than the {limits.sentences} of one request: ask in parts")
    for text in texts:
        if not text.strip():
            raise DataError("the sentence is empty: say what to segment, for example 'the red ring'")
        if len(text) > limits.letters:
            raise DataError(f"a sentence has {len(text)} characters, at most {limits.letters} are read: shorten it")


class BodyLimit:
    """ASGI middleware that answers 413 to a body that is too large, by its header or once so much of it has come."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app = app
        self.most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        message = f"the request is larger than {self.most / 1e6:g} MB: send a smaller picture"
        lengths = [value for name, value in scope["headers"] if name == b"content-length"]
        if any(value.isdigit() and int(value) > self.most for value in lengths):
            await JSONResponse({"error": message}, TOO_LARGE)(scope, receive, send)
            return
        came = 0

        async def counted() -> Message:
            nonlocal came
            part = await receive()
            came += len(part.get("body", b""))
            if came > self.most:  # it had no header, or a wrong one
                raise HTTPException(TOO_LARGE, message)
            return part

        await self.app(scope, counted, send)
