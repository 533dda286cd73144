"""Changes of training pictures that leave every sentence about them true; docs/augmentation.md shows them."""

from __future__ import annotations

from lisa_core.data.augmentation.augmenter import Augmenter
from lisa_core.data.augmentation.mirror_words import mirrored

__all__ = ["Augmenter", "mirrored"]
