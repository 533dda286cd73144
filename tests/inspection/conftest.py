"""Makes the builders of datasets importable by the tests of this folder, which pytest imports one by one."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1] / "data")]
