"""The options that commands which draw masks have in common."""

from __future__ import annotations

from typing import Annotated

import typer

MaskTemperature = Annotated[
    float | None,
    typer.Option(
        min=1,
        help="Cut masks where the IoU to be expected is best, logits divided by this, instead of as trained: in "
        "doubt the more is painted, the larger it is.",
        show_default=False,
    ),
]

FlipTest = Annotated[
    bool | None,
    typer.Option(
        "--flip-test/--no-flip-test",
        help="Draw each mask in the mirrored picture too and take the mean, or not, instead of as trained: surer masks "
        "in twice the time.",
        show_default=False,
    ),
]
