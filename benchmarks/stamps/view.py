"""A scene as expressions see it: what each object may be called, where it is and how much of it shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from catalogue import Words

Kind = Literal["noun", "category", "attribute", "position", "size", "relation"]
KINDS: tuple[Kind, ...] = ("noun", "category", "attribute", "position", "size", "relation")
"""What tells the object that is meant."""

LEAST_SHOWN = 0.6
"""Share of an object's pixels that is visible, if it is asked for or another one's place is told by it."""

LEAST_AREA = 0.006
"""Share of the picture that an object asked for covers, at least."""


@dataclass(frozen=True)
class Thing:
    """One object as expressions see it."""

    words: Words
    x: float
    """Mean column of its visible pixels, in pixels."""
    y: float
    """Mean row."""
    area: int
    """Visible pixels."""
    full_area: int
    """Pixels it would show if nothing covered it."""
    box: tuple[float, float, float, float]
    """Left, upper, right and lower end of what is visible, in pixels."""
    hidden_by: dict[int, float] = field(default_factory=dict)
    """Share of its pixels that a higher object covers, by that one's index."""

    @property
    def shown(self) -> float:
        """Share of its pixels that is visible."""
        return self.area / max(self.full_area, 1)

    @property
    def diagonal(self) -> float:
        """Of the box, in pixels."""
        left, top, right, bottom = self.box
        return float(np.hypot(right - left, bottom - top))


@dataclass(frozen=True)
class View:
    """A scene as expressions see it."""

    things: tuple[Thing, ...]
    width: int
    height: int
    background: frozenset[str] = frozenset()
    """Nouns that might be used for something the photograph shows."""

    def askable(self) -> list[int]:
        """Objects that show enough to be asked for."""
        least = LEAST_AREA * self.width * self.height
        return [i for i, thing in enumerate(self.things) if thing.shown >= LEAST_SHOWN and thing.area >= least]

    def called(self, name: str) -> list[int]:
        """Objects that anybody might call so."""
        return [i for i, thing in enumerate(self.things) if thing.words.may_be(name)]

    def surely(self, name: str) -> bool:
        """Whether the photograph shows nothing of the name, and no object's being one is in doubt."""
        return name not in self.background and all(name in self.things[i].words.names for i in self.called(name))
