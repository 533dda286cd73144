"""Does an adapter's grid lie on the picture? A square that appears in a cell must show there and nowhere else."""

from __future__ import annotations

import torch
from PIL import Image

from lisa_core.vlm import VLM


@torch.no_grad()
def misplaced_cells(
    vlm: VLM, size: tuple[int, int], cells: tuple[int, int] = (4, 4)
) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Put a white square into each cell of a dark picture in turn, and look where the grid changes most.

    Args:
        vlm: the adapter; random weights will do.
        size: (width, height) of the picture in pixels.
        cells: (rows, columns) the picture is divided into.

    Returns:
        For each cell that is not found: (row, column) of the square and (row, column) of the strongest change.
    """
    width, height = size
    rows, columns = cells
    blank = Image.new("RGB", size, (40, 40, 40))
    places = [(row, column) for row in range(rows) for column in range(columns)]
    pictures = [blank]
    for row, column in places:
        picture = blank.copy()
        left, right = round(column * width / columns), round((column + 1) * width / columns)
        top, bottom = round(row * height / rows), round((row + 1) * height / rows)
        picture.paste((255, 255, 255), (left, top, right, bottom))
        pictures.append(picture)
    features = vlm.encode_image(vlm.preprocess(pictures, [""] * len(pictures)))
    change = (features.grid[1:] - features.grid[:1]).norm(dim=1)  # [cells,h,w]
    h, w = change.shape[-2:]
    misplaced = []
    for place, shown, box in zip(places, change, features.content[1:].tolist()):
        peak = int(shown.argmax())
        x = _in_picture((peak % w + 0.5) / w, 0.5 / w, box[0], box[2])
        y = _in_picture((peak // w + 0.5) / h, 0.5 / h, box[1], box[3])
        found = (int(y * rows // 1), int(x * columns // 1))
        if found != place:
            misplaced.append((place, found))
    return misplaced


def _in_picture(centre: float, half: float, low: float, high: float) -> float:
    """Where a cell's centre lies between the edges of the picture, 0..1; the picture may end inside the cell."""
    if low - half < centre < high + half:
        centre = min(max(centre, low), high - 1e-6)
    return (centre - low) / (high - low)
