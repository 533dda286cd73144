"""`lisa plugins new`: a package to start a VLM family from."""

from __future__ import annotations


def new() -> None:
    """Placeholder until the scaffold arrives."""
