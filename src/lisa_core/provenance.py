"""Where a run comes from: versions, git state, command line, machine."""

from __future__ import annotations

import platform
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

_PACKAGES = ("lisa-core", "torch", "transformers", "accelerate", "peft", "bitsandbytes", "safetensors", "numpy")


def environment(plugin: str | None, world_size: int) -> dict[str, Any]:
    """What else than its settings decides what a run gives, as plain data.

    Args:
        plugin: distribution of the VLM family.
        world_size: processes of the run.
    """
    packages = dict.fromkeys([*_PACKAGES, *filter(None, [plugin])])
    return {
        "versions": {name: found for name in packages if (found := _version(name)) is not None},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "git": git_state(Path.cwd()),
        "command": " ".join(sys.argv),
        "world_size": world_size,
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def git_state(folder: Path) -> dict[str, Any] | None:
    """The commit of the repository around a folder, and whether there are changes to it; None outside of one."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit, "dirty": bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))}


def revision(folder: Path) -> str:
    """The commit in a word or two, to be printed beside figures: shortened, and whether there are changes to it."""
    state = git_state(folder)
    return "unknown" if state is None else state["commit"][:7] + (" with changes" if state["dirty"] else "")


def _git(folder: Path, *args: str) -> str | None:
    try:
        process = subprocess.run(["git", *args], cwd=folder, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return process.stdout.strip() if process.returncode == 0 else None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
