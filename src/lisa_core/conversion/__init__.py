"""Datasets written in another format, masks exact to the pixel. Nothing here imports torch."""

from __future__ import annotations

from lisa_core.conversion.convert import TARGETS, Conversion, convert_dataset

__all__ = ["TARGETS", "Conversion", "convert_dataset"]
