"""`lisa segment`: masks, overlays and JSON for sentences about one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lisa_core.cli.masks import FlipTest, MaskTemperature, draw_as_told
from lisa_core.errors import DataError


def segment(
    checkpoint: Annotated[
        str,
        typer.Argument(
            metavar="CKPT",
            help="Checkpoint, run folder (its best checkpoint), tiny (the packaged model), or ORG/NAME on the hub.",
        ),
    ],
    image: Annotated[Path, typer.Argument(help="The picture; a photograph is turned as its EXIF says.")],
    sentences: Annotated[
        list[str], typer.Argument(metavar="SENTENCE...", help="What to segment; several are allowed.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path("."),
    mask_temperature: MaskTemperature = None,
    flip_test: FlipTest = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Segment what a sentence names: writes a mask PNG, an overlay PNG and JSON (COCO RLE, score, box).

    Example:  lisa segment runs/shapes photo.jpg "the red ring" "the largest object" -o out

    lisa segment tiny shapes.png "the red ring" works at once, for drawn shapes: tiny comes with this package.
    """
    if any(not sentence.strip() for sentence in sentences):
        raise DataError("the sentence is empty: say what to segment, for example 'the red ring'")

    from lisa_core.data.picture_file import load_image
    from lisa_core.outputs import write_outputs
    from lisa_core.segmenter import Segmenter

    picture = load_image(image, turned=True)
    segmenter = Segmenter.load(checkpoint, device)
    draw_as_told(segmenter, mask_temperature, flip_test)
    drawn = segmenter.set_image(picture).segment_many(sentences)
    report = write_outputs(output, image.stem, picture, drawn, image_path=image)
    for result in drawn:
        share = result.mask.mean()
        print(f"{result.text!r}: {100 * share:.1f}% of the picture, score {result.score:.2f}")
    print(f"masks, overlays and JSON: {report}")
