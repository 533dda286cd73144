"""gRefCOCO: expressions that mean several objects, or none; grefs(unc).json and instances.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from lisa_core.data.base import Example
from lisa_core.data.refer import Refer
from lisa_core.errors import DataError


class GRefer(Refer):
    """The REFER layout with lists of objects: the mask is their union, `[-1]` means that nothing is referred to.

    A sample without a target has an empty mask and `no_target`; `Example.instances` are the objects one by one.
    """

    name = "grefcoco"
    layout: ClassVar[str] = "grefs(unc).json and instances.json"
    prefix = "grefs"

    def painted(self, index: int, image: Image.Image) -> Example:
        """See `Reader`."""
        sample, (entry, annotations) = self.samples[index], self._targets[index]
        mask, each = self._file.paint_apart(annotations, image, entry)
        return Example(sample, image, mask, instances=each)

    def _annotations(self, reference: dict[str, Any], where: str, path: Path) -> list[dict[str, Any]]:
        keys = reference.get("ann_id")
        keys = keys if isinstance(keys, list) else [keys]
        if keys == [-1]:
            return []
        if not keys:
            raise DataError(f"{path}: {where} has an empty `ann_id`: it is [-1] where nothing is referred to.")
        return [self._annotation(key, where, path) for key in keys]
