"""Draws the objects and backgrounds of synthetic scenes, anti-aliased, with the exact visible part of each object."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from lisa_core.data.shapes import COLOURS, SHAPES

SUPERSAMPLING = 4
"""Shapes are drawn this many times larger per axis and averaged down."""

_DARK_SHADE = 0.38
_SMALLEST_PERIOD = 6.0  # pixels; finer patterns average out to one colour


@dataclass(frozen=True)
class SceneObject:
    """One object of a scene; positions and lengths in pixels."""

    shape: str
    """A key of `SHAPES`."""
    colour: str
    """A key of `COLOURS`."""
    texture: str
    """One of `TEXTURES`."""
    diameter: float
    """Nominal: the circle's diameter, other shapes reach about as far."""
    x: float
    """Centre, from the left edge."""
    y: float
    """Centre, from the upper edge."""
    angle: float
    """Rotation in radians."""
    brightness: float = 1.0
    """Factor on the colour."""
    texture_angle: float = 0.0
    """Direction of the pattern in radians."""

    @property
    def rgb(self) -> np.ndarray:
        """float64 [3], 0..255."""
        return np.clip(np.array(COLOURS[self.colour]) * self.brightness, 0, 255)


@dataclass
class Layer:
    """A drawn object on the pixels of its bounding box."""

    rows: slice
    """The box's rows of the picture."""
    columns: slice
    """The box's columns of the picture."""
    alpha: np.ndarray
    """float64 [h,w] share of the pixel that the object covers."""
    light: np.ndarray
    """float64 [h,w,3] colour of the covered share, 0..255, times `alpha`."""


def draw_object(item: SceneObject, height: int, width: int) -> Layer:
    """Draw one object, which must lie inside of the H x W picture."""
    cos, sin = np.cos(item.angle), np.sin(item.angle)
    outline = SHAPES[item.shape] @ np.array([[cos, sin], [-sin, cos]]) * (item.diameter / 2) + (item.x, item.y)
    left, top = np.maximum(np.floor(outline.min(axis=0)).astype(int), 0)
    right, bottom = np.minimum(np.ceil(outline.max(axis=0)).astype(int), (width, height))
    h, w = int(bottom - top), int(right - left)
    stencil = Image.new("L", (w * SUPERSAMPLING, h * SUPERSAMPLING))
    corners = (outline - (left, top)) * SUPERSAMPLING - 0.5  # PIL's integer coordinates are pixel centres
    ImageDraw.Draw(stencil).polygon([tuple(corner) for corner in corners.tolist()], fill=1)
    fine_alpha = np.asarray(stencil, dtype=np.float64)
    shade = np.where(_pattern(item, left, top, h, w), _DARK_SHADE, 1.0)
    light = _average(fine_alpha * shade)[:, :, None] * item.rgb
    return Layer(slice(int(top), int(bottom)), slice(int(left), int(right)), _average(fine_alpha), light)


def visible_masks(layers: list[Layer], height: int, width: int) -> np.ndarray:
    """Bool [K,H,W]: the pixels of which each object shows more than half, later layers lying on earlier ones."""
    masks = np.zeros((len(layers), height, width), dtype=bool)
    uncovered = np.ones((height, width))
    for index in range(len(layers) - 1, -1, -1):
        layer = layers[index]
        below = uncovered[layer.rows, layer.columns]
        masks[index, layer.rows, layer.columns] = layer.alpha * below > 0.5
        uncovered[layer.rows, layer.columns] = below * (1 - layer.alpha)
    return masks


def draw_scene(
    items: list[SceneObject], layers: list[Layer], height: int, width: int, rng: np.random.Generator
) -> np.ndarray:
    """uint8 [H,W,3] picture: an uneven background in colours unlike the objects', the objects, uneven light, noise."""
    picture = _background(items, height, width, rng)
    for layer in layers:
        part = picture[layer.rows, layer.columns]
        picture[layer.rows, layer.columns] = part * (1 - layer.alpha[:, :, None]) + layer.light
    picture *= 1 + rng.uniform(0, 0.14) * _ramp(height, width, rng)[:, :, None]
    picture += rng.normal(0, rng.uniform(1.5, 6), (height, width, 1))
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _average(fine: np.ndarray) -> np.ndarray:
    """Mean over blocks of SUPERSAMPLING x SUPERSAMPLING: [h*S,w*S] -> [h,w]."""
    h, w = (side // SUPERSAMPLING for side in fine.shape)
    return fine.reshape(h, SUPERSAMPLING, w, SUPERSAMPLING).mean(axis=(1, 3))


def _pattern(item: SceneObject, left: int, top: int, h: int, w: int) -> np.ndarray:
    """Bool [h*S,w*S]: where the texture shows its dark shade, in the object's own frame."""
    if item.texture == "plain":
        return np.zeros((h * SUPERSAMPLING, w * SUPERSAMPLING), dtype=bool)
    x = left - item.x + (np.arange(w * SUPERSAMPLING) + 0.5)[None, :] / SUPERSAMPLING
    y = top - item.y + (np.arange(h * SUPERSAMPLING) + 0.5)[:, None] / SUPERSAMPLING
    period = max(_SMALLEST_PERIOD, 0.26 * item.diameter)
    cos, sin = np.cos(item.texture_angle), np.sin(item.texture_angle)
    u, v = (x * cos + y * sin) / period, (y * cos - x * sin) / period
    if item.texture == "striped":
        return u % 1 < 0.45
    if item.texture == "dotted":
        return (u % 1 - 0.5) ** 2 + (v % 1 - 0.5) ** 2 < 0.3**2
    return (u % 1 < 0.5) != (v % 1 < 0.5)


def _background(items: list[SceneObject], height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """float64 [H,W,3]: a gradient between two pale colours, with soft blotches."""
    taken = np.array([item.rgb * shade for item in items for shade in (1.0, _DARK_SHADE)])
    best, best_distance = np.zeros((2, 3)), -1.0
    for _ in range(60):
        hue, other_hue = rng.uniform(0, 1), rng.normal(0, 0.12)
        ends = [
            colorsys.hsv_to_rgb((hue + turn) % 1, rng.uniform(0.03, 0.38), rng.uniform(0.45, 0.97))
            for turn in (0.0, other_hue)
        ]
        colours = 255 * np.array(ends)
        steps = np.linspace(colours[0], colours[1], 3)
        distance = float(np.linalg.norm(steps[:, None] - taken[None], axis=2).min())
        if distance > best_distance:
            best, best_distance = colours, distance
        if distance > 110:
            break
    share = (_ramp(height, width, rng)[:, :, None] + 1) / 2
    picture = best[0] * (1 - share) + best[1] * share
    coarse = Image.fromarray(rng.normal(0, 1, (5, 6)).astype(np.float32))
    blotches = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float64)
    return picture + rng.uniform(0, 11) * blotches[:, :, None]


def _ramp(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """float64 [H,W] from -1 to 1 in a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    x = np.linspace(-1, 1, width)[None, :] * np.cos(angle)
    y = np.linspace(-1, 1, height)[:, None] * np.sin(angle)
    ramp = x + y
    return ramp / max(float(np.abs(ramp).max()), 1e-9)
