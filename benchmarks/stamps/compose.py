"""Composes one scene: which objects, how large, where, on which photograph, and what of each remains visible."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from catalogue import Background, Stamp
from cutout import LARGEST_ENLARGEMENT, Look, read_cutout, render
from material import read_picture
from PIL import Image, ImageFilter

SIZES = ((512, 384), (384, 512), (480, 360), (448, 448), (512, 320))
"""Pictures' width and height in pixels."""

LEAST_SEEN = 0.45
"""Share of every object's pixels that is visible, at least; below `view.LEAST_SHOWN` it is not asked for."""

_SIZE_WEIGHTS = (0.4, 0.2, 0.15, 0.15, 0.1)
_COUNT_WEIGHTS = {2: 0.15, 3: 0.35, 4: 0.3, 5: 0.2}
_KIN_WEIGHTS = {1: 0.25, 2: 0.3, 3: 0.45}  # objects of one name; 3 is a target with two distractors of its kind
# Square root of the bounding box's area in shares of the picture's short side, by the real thing's size: an ant may be
# shown as large as a horse, as in any set of photographs, but not as a rule.
_SPANS = {1: (0.27, 0.52), 2: (0.32, 0.60), 3: (0.39, 0.70), 4: (0.44, 0.80), 5: (0.37, 0.65)}
_CROWD = {2: 1.1, 3: 1.0, 4: 0.92, 5: 0.84}  # factor on the spans by the number of objects
_LONGEST = 0.85  # of the picture's width or height
_SMALLEST = 48  # pixels of the longer side
_PHOTO_SIDE = 1200  # pixels a photograph's short side is kept at


@dataclass
class Placed:
    """One object of a scene."""

    stamp: Stamp
    look: Look
    left: int
    """Column of the picture its window starts in; negative where it runs over the edge."""
    top: int
    """Row of the picture its window starts in."""
    colour: np.ndarray
    """float32 [h,w,3], 0..255."""
    alpha: np.ndarray
    """float32 [h,w], 0..1."""

    @property
    def full_area(self) -> int:
        """Pixels it would show if nothing covered it and the picture did not end."""
        return int((self.alpha > 0.5).sum())


@dataclass
class Scene:
    """A composed scene."""

    image: np.ndarray
    """uint8 [H,W,3]."""
    background: Background
    objects: list[Placed]
    """K objects, from the lowest to the topmost."""
    masks: np.ndarray
    """bool [K,H,W]: the pixels that show more of the object than of all else."""
    hidden_by: list[dict[int, float]] = field(default_factory=list)
    """Per object: share of its pixels that a higher one covers, by the higher one's index."""
    kin: int = 1
    """How many objects were chosen to share a name."""


def compose(rng: np.random.Generator, stamps: list[Stamp], backgrounds: list[Background]) -> Scene:
    """Sample and draw a scene of 2 to 5 of the cut-outs on one of the photographs."""
    background = backgrounds[int(rng.integers(len(backgrounds)))]
    width, height = SIZES[int(rng.choice(len(SIZES), p=_SIZE_WEIGHTS))]
    while True:
        chosen, kin = choose_stamps(rng, stamps)
        objects = place(rng, chosen, width, height)
        if objects is not None:
            break
    canvas = crop_photograph(rng, background.path, width, height)
    shadow = _Shadow.sample(rng)
    for item in objects:
        paste(canvas, item, shadow)
    masks, hidden_by = visible(objects, height, width)
    image = np.clip(np.rint(canvas), 0, 255).astype(np.uint8)
    return Scene(image, background, objects, masks, hidden_by, kin)


def choose_stamps(rng: np.random.Generator, stamps: list[Stamp]) -> tuple[list[Stamp], int]:
    """Different cut-outs, and how many of them were chosen to share a name: in nearly two of five scenes three do."""
    count = _weighted(rng, _COUNT_WEIGHTS)
    kin = min(_weighted(rng, _KIN_WEIGHTS), count)
    by_name: dict[str, list[Stamp]] = defaultdict(list)
    for stamp in stamps:
        for name in stamp.words.names:
            by_name[name].append(stamp)
    shared = sorted(name for name, members in by_name.items() if len(members) >= kin) if kin > 1 else []
    chosen: list[Stamp] = []
    if shared:
        members = by_name[shared[int(rng.integers(len(shared)))]]
        chosen = [members[index] for index in rng.choice(len(members), size=kin, replace=False).tolist()]
    # By family first, or every second object would be a bird or a mammal.
    families: dict[str, list[Stamp]] = defaultdict(list)
    for stamp in stamps:
        families[stamp.family].append(stamp)
    names = sorted(families)
    while len(chosen) < min(count, len(stamps)):
        weights = np.sqrt([len(families[name]) for name in names])
        family = families[names[int(rng.choice(len(names), p=weights / weights.sum()))]]
        stamp = family[int(rng.integers(len(family)))]
        if stamp not in chosen:
            chosen.append(stamp)
    return [chosen[index] for index in rng.permutation(len(chosen)).tolist()], kin if shared else 1


def place(rng: np.random.Generator, stamps: list[Stamp], width: int, height: int) -> list[Placed] | None:
    """Put the cut-outs one on top of the other; None when there is no room."""
    overlaps = rng.random() < 0.6
    least = LEAST_SEEN if overlaps else 0.97
    objects: list[Placed] = []
    for stamp in stamps:
        for attempt in range(24):
            item = _sample(rng, stamp, width, height, len(stamps), shrink=0.97**attempt)
            if overlaps and objects and rng.random() < 0.35:
                item = _beside(rng, item, objects[int(rng.integers(len(objects)))], width, height)
            trial = [*objects, item]
            masks, _ = visible(trial, height, width)
            shares = masks.sum(axis=(1, 2)) / np.maximum([other.full_area for other in trial], 1)
            if item.full_area > 0 and (shares >= least).all():
                objects.append(item)
                break
        else:
            return None
    return objects


def visible(objects: list[Placed], height: int, width: int) -> tuple[np.ndarray, list[dict[int, float]]]:
    """Bool [K,H,W] masks of what each object shows, and the shares of it that each higher one covers."""
    masks = np.zeros((len(objects), height, width), dtype=bool)
    hidden_by: list[dict[int, float]] = [{} for _ in objects]
    uncovered = np.ones((height, width), dtype=np.float32)
    above: list[tuple[int, np.ndarray]] = []
    for index in range(len(objects) - 1, -1, -1):
        item = objects[index]
        picture, window = _windows(item, height, width)
        alpha = item.alpha[window]
        masks[index][picture] = alpha * uncovered[picture] > 0.5
        uncovered[picture] *= 1 - alpha
        solid = np.zeros((height, width), dtype=bool)
        solid[picture] = alpha > 0.5
        for other, cover in above:
            covered = int((solid & cover).sum())
            if covered:
                hidden_by[index][other] = covered / max(item.full_area, 1)
        above.append((index, solid))
    return masks, hidden_by


@dataclass(frozen=True)
class _Shadow:
    """The soft shadow all objects of a scene throw the same way; no opacity, no shadow."""

    opacity: float
    dx: int
    dy: int
    blur: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> _Shadow:
        opacity = float(rng.uniform(0.2, 0.5)) if rng.random() < 0.7 else 0.0
        return cls(opacity, int(rng.integers(-9, 10)), int(rng.integers(2, 12)), float(rng.uniform(3, 9)))


def paste(canvas: np.ndarray, item: Placed, shadow: _Shadow) -> None:
    """Draw an object and its shadow on the float32 [H,W,3] canvas, in place."""
    height, width = canvas.shape[:2]
    if shadow.opacity:
        stencil = np.zeros((height, width), dtype=np.uint8)
        moved = Placed(item.stamp, item.look, item.left + shadow.dx, item.top + shadow.dy, item.colour, item.alpha)
        picture, window = _windows(moved, height, width)
        stencil[picture] = np.rint(255 * moved.alpha[window])
        soft = Image.fromarray(stencil).filter(ImageFilter.GaussianBlur(shadow.blur))
        canvas *= 1 - shadow.opacity * np.asarray(soft, dtype=np.float32)[:, :, None] / 255
    picture, window = _windows(item, height, width)
    alpha = item.alpha[window][:, :, None]
    canvas[picture] = canvas[picture] * (1 - alpha) + item.colour[window] * alpha


def crop_photograph(rng: np.random.Generator, path: Path, width: int, height: int) -> np.ndarray:
    """float32 [H,W,3]: a random part of the photograph, never enlarged, mirrored half of the time."""
    photo = _photograph(path)
    largest = min(photo.width / width, photo.height / height)
    zoom = float(np.exp(rng.uniform(0, np.log(largest))))
    w, h = width * zoom, height * zoom
    left, top = float(rng.uniform(0, photo.width - w)), float(rng.uniform(0, photo.height - h))
    part = photo.resize((width, height), Image.Resampling.LANCZOS, box=(left, top, left + w, top + h))
    if rng.random() < 0.5:
        part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(part, dtype=np.float32).copy()


@lru_cache(maxsize=32)
def _photograph(path: Path) -> Image.Image:
    photo = read_picture(path, "RGB")
    factor = _PHOTO_SIDE / min(photo.size)
    if factor < 1:
        photo = photo.resize((round(photo.width * factor), round(photo.height * factor)), Image.Resampling.LANCZOS)
    return photo


def _sample(rng: np.random.Generator, stamp: Stamp, width: int, height: int, count: int, shrink: float) -> Placed:
    """One cut-out at a random size, place and look."""
    cutout = read_cutout(stamp.path)
    low, high = _SPANS[stamp.words.size]
    span = float(np.exp(rng.uniform(np.log(low), np.log(high)))) * _CROWD.get(count, 1.0) * shrink * min(width, height)
    scale = span / (cutout.width * cutout.height) ** 0.5
    scale = max(scale, _SMALLEST / max(cutout.size))
    scale = min(scale, LARGEST_ENLARGEMENT, _LONGEST * width / cutout.width, _LONGEST * height / cutout.height)
    look = Look(
        scale,
        mirrored=stamp.may_flip and bool(rng.random() < 0.5),
        angle=float(rng.uniform(-8, 8)) if rng.random() < 0.4 else 0.0,
        feather=float(rng.uniform(0.3, 0.9)) if rng.random() < 0.7 else 0.0,
        gain=float(rng.uniform(0.88, 1.1)),
        contrast=float(rng.uniform(0.9, 1.1)),
        saturation=float(rng.uniform(0.92, 1.08)),
    )
    colour, alpha = render(cutout, look)
    h, w = alpha.shape
    over = 0.2 if rng.random() < 0.12 else 0.0  # a few run over the picture's edge
    left = int(rng.integers(round(-over * w), max(round(width - w + over * w), 0) + 1))
    top = int(rng.integers(round(-over * h), max(round(height - h + over * h), 0) + 1))
    return Placed(stamp, look, left, top, colour, alpha)


def _beside(rng: np.random.Generator, item: Placed, other: Placed, width: int, height: int) -> Placed:
    """The item moved to overlap the other one at a random side, within the picture."""
    (h, w), (other_h, other_w) = item.alpha.shape, other.alpha.shape
    angle = float(rng.uniform(0, 2 * np.pi))
    reach = float(rng.uniform(0.55, 0.9))
    x = other.left + other_w / 2 + np.cos(angle) * reach * (w + other_w) / 2 - w / 2
    y = other.top + other_h / 2 + np.sin(angle) * reach * (h + other_h) / 2 - h / 2
    left, top = int(np.clip(x, 0, max(width - w, 0))), int(np.clip(y, 0, max(height - h, 0)))
    return Placed(item.stamp, item.look, left, top, item.colour, item.alpha)


def _windows(item: Placed, height: int, width: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where the object lies in the picture, and which part of it lies there."""
    h, w = item.alpha.shape
    top, left = min(max(item.top, 0), height), min(max(item.left, 0), width)
    bottom, right = max(min(item.top + h, height), top), max(min(item.left + w, width), left)
    inner = slice(top - item.top, bottom - item.top), slice(left - item.left, right - item.left)
    return (slice(top, bottom), slice(left, right)), inner


def _weighted(rng: np.random.Generator, weights: dict[int, float]) -> int:
    return int(rng.choice(list(weights), p=list(weights.values())))
