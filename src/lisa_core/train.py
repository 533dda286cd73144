"""`accelerate launch -m lisa_core.train FLAGS` (or torchrun): `lisa train FLAGS`, for launchers of modules."""

from __future__ import annotations

import sys

from lisa_core.cli.app import main as lisa


def main() -> None:
    """Run `lisa train` with the arguments of this process."""
    sys.argv[:] = ["lisa", "train", *sys.argv[1:]]
    lisa()


if __name__ == "__main__":
    main()
