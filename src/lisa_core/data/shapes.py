"""The words of synthetic scenes and what they look like: colours, textures, and the outline of every shape."""

from __future__ import annotations

import numpy as np

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (215, 35, 40),
    "orange": (243, 130, 20),
    "yellow": (242, 222, 40),
    "green": (40, 150, 60),
    "cyan": (40, 205, 215),
    "blue": (40, 75, 215),
    "purple": (125, 45, 175),
    "pink": (247, 120, 190),
}
"""RGB of each colour word, before a small change of brightness per object."""

TEXTURES = ("plain", "striped", "dotted", "checkered")
"""Texture words; every one but `plain` adds a dark shade of the object's colour."""


def _arc(radius: float, start: float, stop: float, centre_x: float = 0.0) -> np.ndarray:
    """[40,2] points on a circle's arc, angles in radians."""
    angle = np.linspace(start, stop, 40)
    return np.stack([centre_x + radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _heart() -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([x, y], axis=1) / 16


def _star() -> np.ndarray:
    angle = -np.pi / 2 + np.arange(10) * np.pi / 5
    radius = np.where(np.arange(10) % 2 == 0, 1.12, 0.5)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _cross() -> np.ndarray:
    arm, end = 0.36, 1.0
    quarter = [(arm, -end), (arm, -arm), (end, -arm)]
    corners = []
    for _ in range(4):
        corners += quarter
        quarter = [(-y, x) for x, y in quarter]
    return np.array(corners)


def _ring() -> np.ndarray:
    """Once around outside, and back inside; where the two ways meet, the line between them lies within the ring."""
    return np.concatenate([_arc(1.0, 0, 2 * np.pi), _arc(0.52, 2 * np.pi, 0)])


def _centred(points: np.ndarray) -> np.ndarray:
    """Points moved so that their bounding box is centred on (0, 0)."""
    return points - (points.min(axis=0) + points.max(axis=0)) / 2


SHAPES: dict[str, np.ndarray] = {
    "circle": _arc(1.0, 0, 2 * np.pi),
    "square": 0.86 * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], dtype=float),
    "triangle": _centred(1.15 * np.array([(0, -1), (0.866, 0.5), (-0.866, 0.5)])),
    "star": _star(),
    "cross": _cross(),
    "heart": _centred(_heart()),
    "ring": _ring(),
}
"""Outline [P,2] of each shape word, (x, y) with y down, for a nominal radius of 1."""

REACH = max(float(np.linalg.norm(outline, axis=1).max()) for outline in SHAPES.values())
"""No outline point is farther from the centre than this many radii."""
