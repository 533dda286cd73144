"""Makes builders.py importable by the tests of this folder, which pytest imports one by one."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
