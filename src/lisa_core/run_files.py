"""Names of the files in a run's folder, for those who write them and those who read them without torch."""

from __future__ import annotations

CONFIG_FILE = "config.json"
"""Every setting resolved, and where the run comes from."""
METRICS_FILE = "metrics.jsonl"
"""A line for each step, epoch, left-out step and test."""
CHECKPOINTS = "checkpoints"
"""Folder of the checkpoints."""
META_FILE = "lisa.json"
"""What a checkpoint's model is built from."""
BEST, LAST = "best", "last"
"""Links to two of them."""
