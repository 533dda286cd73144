"""Checks that an adapter's author can run; nothing here needs pytest."""

from __future__ import annotations

from lisa_core.testing.registration import misplaced_cells

__all__ = ["misplaced_cells"]
