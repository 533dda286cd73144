"""The options that commands which draw masks have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lisa_core.segmenter import Segmenter

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


def draw_as_told(segmenter: Segmenter, mask_temperature: float | None, flip_test: bool | None) -> None:
    """Have a model draw by these options; where one is not given, as it was trained."""
    if mask_temperature is not None:
        segmenter.cut_masks(mask_temperature)
    if flip_test is not None:
        segmenter.flip_test(flip_test)
