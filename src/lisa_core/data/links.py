"""A second name for a file, without its bytes where the file system can do that."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` the same file as `source` by a hard link, or a copy of it where the file system has none.

    Raises:
        OSError: if it can be neither.
    """
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
