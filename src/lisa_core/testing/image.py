"""Checks of how pictures become features: registered, whole, and the same in any company."""

from __future__ import annotations

from typing import Literal

import torch
from PIL import Image, ImageOps
from torch import Tensor

from lisa_core.testing.check import CheckFailure, check, require, require_close
from lisa_core.testing.registration import misplaced_cells
from lisa_core.testing.subject import ANSWERS, QUESTIONS, SIZES, Subject
from lisa_core.vlm import VLM, ImageFeatures


@check(
    "a bright cell of a square, wide or tall picture shows where it should in the grid",
    "order the raw features as a row-major grid of the whole picture: undo merge blocks and windows, drop class "
    "tokens, take the tile that shows everything, and give `content` boxes where the picture was padded",
)
def registration(subject: Subject) -> None:
    """Move a white square over a dark picture."""
    subject.needs_grid()
    for shape, (width, height) in SIZES.items():
        cells = _finest(subject.vlm, (2 * width, 2 * height))
        wrong = misplaced_cells(subject.vlm, (2 * width, 2 * height), cells)
        if wrong:
            (row, column), (found_row, found_column) = wrong[0]
            raise CheckFailure(
                f"{len(wrong)} of {cells[0] * cells[1]} cells of a {shape} picture are misplaced: cell (row {row}, "
                f"column {column}) shows at (row {found_row}, column {found_column})"
            )


@torch.no_grad()
def _finest(vlm: VLM, size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of cells of about two patches a side, so that even a shift by one patch shows; at most 6 x 6."""
    features = vlm.encode_image(vlm.preprocess([Image.new("RGB", size)], [""]))
    x0, y0, x1, y1 = features.content[0].tolist()
    height, width = features.grid.shape[-2:]
    rows, columns = (max(2, min(6, int(extent) // 2)) for extent in (height * (y1 - y0), width * (x1 - x0)))
    return rows, columns


@check(
    "the grid shows the whole picture: what happens at its borders reaches it",
    "do not crop: pad the picture to the shape the model wants (and say so in `content`), or squash it",
)
@torch.no_grad()
def grid_covers_picture(subject: Subject) -> None:
    """Draw a bright strip along each border, and along the middle."""
    subject.needs_grid()
    for shape, (width, height) in SIZES.items():
        blank = Image.new("RGB", (2 * width, 2 * height), (40, 40, 40))
        across, down = width // 4, height // 4
        strips = {
            "left": (0, 0, across, 2 * height),
            "right": (2 * width - across, 0, 2 * width, 2 * height),
            "top": (0, 0, 2 * width, down),
            "bottom": (0, 2 * height - down, 2 * width, 2 * height),
            "middle": (width - across // 2, 0, width + across // 2, 2 * height),
        }
        pictures = [blank]
        for box in strips.values():
            picture = blank.copy()
            picture.paste((255, 255, 255), box)
            pictures.append(picture)
        batch = subject.batch(pictures, [""] * len(pictures), None)
        features = subject.vlm.encode_image(batch)
        boxes = features.content
        inside = bool(((boxes >= -1e-6) & (boxes <= 1 + 1e-6)).all() and (boxes[:, 2:] - boxes[:, :2] > 0.02).all())
        require(inside, f"content boxes are not (x0, y0, x1, y1) in fractions of the grid: {boxes[0].tolist()}")
        change = (features.grid[1:] - features.grid[:1]).norm(dim=1).flatten(1).amax(1)  # [strips]
        for name, strength in zip(strips, change.tolist()):
            seen = strength > 0.2 * float(change[-1])
            require(seen, f"a strip along the {name} border of a {shape} picture does not show in the grid")


@check(
    "sequence and grid hold the same features, row by row",
    "return `grid.flatten(2).transpose(1, 2)` as the sequence",
)
@torch.no_grad()
def sequence_is_grid(subject: Subject) -> None:
    """Compare the two forms."""
    features = subject.vlm.encode_image(subject.batch())
    count, _, height, width = features.grid.shape
    require(count == 3, f"{count} grids for 3 pictures")
    side = subject.vlm.grid_side
    require(
        side is None or (height, width) == (side, side),
        f"`grid_side` (`fixed_grid`) says {side}, the grid is {height} x {width}: correct that",
    )
    length = features.sequence.shape[1]
    require(length == height * width, f"the sequence has {length} patches, the grid {height} x {width}")
    require(
        torch.equal(features.grid.flatten(2).transpose(1, 2), features.sequence),
        "the sequence holds other values than the grid, or in another order",
    )
    if features.mask is not None:
        require(features.mask.shape == features.sequence.shape[:2], f"mask is {list(features.mask.shape)}")
        require(
            features.mask.dtype == torch.bool and bool(features.mask.any(1).all()), "mask must be bool, no row empty"
        )


@check(
    "a picture alone gives what it gives among pictures of other sizes",
    "let nothing but the picture decide its features, and mask what pads it (`ImageFeatures.mask`, attention masks)",
)
@torch.no_grad()
def batched_equals_single(subject: Subject) -> None:
    """Encode three pictures of different shapes together and one by one."""
    vlm, batch = subject.vlm, subject.batch()
    together, output = vlm.encode_image(batch), vlm(batch)
    for row, shape in enumerate(SIZES):
        single = subject.batch([subject.pictures[row]], QUESTIONS[row : row + 1], ANSWERS[:1])
        alone = vlm.encode_image(single)
        require_close(
            _patches(together, row), _patches(alone, 0), f"patch features of the {shape} picture, alone or with others"
        )
        length = int(single["attention_mask"].sum())
        require(
            int(batch["attention_mask"][row].sum()) == length,
            f"the {shape} picture has other tokens alone than with others",
        )
        require_close(
            output.hidden[row, :length],
            vlm(single).hidden[0, :length],
            f"hidden states about the {shape} picture, alone or with others",
        )


@check(
    "a mask is the same whatever else is in the batch",
    "say `dynamic_grid = True` if grids differ in size, and let `ImageFeatures.mask` be False where one is padded",
)
@torch.no_grad()
def masks_keep_their_own(subject: Subject) -> None:
    """Draw masks for three pictures of different shapes together and one by one, in either fusion."""
    vlm = subject.vlm
    collator = subject.collator(vlm)
    fusions: tuple[Literal["joint", "late"], ...] = ("joint", "late") if vlm.has_grid else ("joint",)
    for fusion in fusions:
        model = subject.model(vlm, fusion)
        masks = model(collator.inputs(subject.pictures, QUESTIONS, ANSWERS, range(3))).mask_logits
        for row, shape in enumerate(SIZES):
            alone = collator.inputs([subject.pictures[row]], QUESTIONS[row : row + 1], ANSWERS[:1], [0])
            require_close(model(alone).mask_logits[0], masks[row], f"the {shape} picture's mask ({fusion} fusion)")


def _patches(features: ImageFeatures, row: int) -> Tensor:
    sequence = features.sequence[row]
    return sequence if features.mask is None else sequence[features.mask[row]]


@check(
    "several sentences about one picture share its encoding",
    "follow `image_index` in `forward` and `preprocess`: U pictures in, N sentences about them",
)
@torch.no_grad()
def pictures_are_shared(subject: Subject) -> None:
    """Ask twice about one picture, once about another, and compare with three separate pictures."""
    vlm, (first, second) = subject.vlm, subject.pictures[1:]
    shared = subject.batch([first, second], image_index=[1, 0, 1])
    repeated = subject.batch([second, first, second])
    if vlm.has_grid:
        count = len(vlm.encode_image(shared).grid)
        require(count == 2, f"2 pictures with 3 sentences are encoded as {count}")
    require_close(vlm(shared).hidden, vlm(repeated).hidden, "hidden states of sentences that share a picture")
    require_close(
        vlm(shared, vlm.encode_image(shared)).hidden, vlm(shared).hidden, "hidden states from features encoded before"
    )


@check(
    "the language model sees the picture",
    "hand the image features to the model in `forward`, for the sentence they belong to",
)
@torch.no_grad()
def picture_reaches_language(subject: Subject) -> None:
    """Swap two pictures of one size: states at [SEG] change; in `encode_text` they do not."""
    vlm, picture = subject.vlm, subject.pictures[0]
    other = ImageOps.invert(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    batches = [subject.batch([image], QUESTIONS[:1], ANSWERS[:1]) for image in (picture, other)]
    hidden = [vlm(batch).hidden[0][batch["input_ids"][0] == vlm.seg_token_id] for batch in batches]
    require(hidden[0].shape == hidden[1].shape, "another picture of the same size has another number of tokens")
    changed = (hidden[0] - hidden[1]).abs().max() > 1e-5 * hidden[0].abs().max()
    require(bool(changed), "the state at [SEG] is the same for a picture and its mirrored negative")
    text = [vlm.encode_text(batch) for batch in batches]
    require_close(text[1], text[0], "`encode_text` of the same sentence with another picture", 1e-5)
