"""One training run in a process of its own; whoever runs this file gives it `config`."""

from __future__ import annotations

import sys
from typing import Any

import torch

from lisa_core.errors import LisaError
from lisa_core.trainer import Trainer

config: Any = globals()["config"]
torch.set_num_threads(1)  # another number of threads adds up in another order
try:
    Trainer(config).run()
except LisaError as error:
    print(error)
    sys.exit(getattr(error, "exit_code", 2))
