"""Files of predictions: a line of JSON for each sentence, with its mask as COCO run lengths, by any tool.

    {"id": "cat_3#0", "text": "the cat", "image": "cat_3.jpg", "rle": {"size": [480, 640], "counts": "..."},
     "score": 0.9}    (all in one line)

`id` and `rle` have to be there; `rle` is null where there is no mask. `instances`, a list of run lengths, tells apart
the masks that `rle` is the union of; `reply` is what the model said.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lisa_core.errors import ConfigError, DataError
from lisa_core.outputs import mask_to_rle
from lisa_core.run_lengths import rle_size, rle_to_mask, union_of
from lisa_core.scoring import Drawn


@dataclass(frozen=True)
class SavedMask:
    """What was drawn for one sentence."""

    id: str
    """`Sample.id`."""
    text: str | None
    """The sentence; None: not said."""
    image: str | None
    """File name of the picture; None: not said."""
    rle: dict[str, Any] | None
    """COCO run lengths of the mask; None: there is none."""
    score: float | None = None
    """The model's own estimate of the IoU, 0..1."""
    instances: list[dict[str, Any]] = field(default_factory=list)
    """Run lengths of the masks that `rle` is the union of."""
    reply: str | None = None
    """What the model said."""
    index: int = -1
    """Place in the dataset, if known; no part of the file."""

    @classmethod
    def of(cls, drawn: Drawn, id: str, text: str, image: str, reply: str | None, index: int) -> SavedMask:
        """What was drawn, packed."""
        rle = mask_to_rle(drawn.mask) if drawn.answered else None
        return cls(id, text, image, rle, drawn.score, [mask_to_rle(mask) for mask in drawn.instances], reply, index)

    def drawn(self, height: int, width: int) -> Drawn:
        """The masks; raises ValueError if they are not of that size, damaged, or contradict each other."""
        if self.rle is None:
            return Drawn(np.zeros((height, width), dtype=bool), None, answered=False)
        for rle in (self.rle, *self.instances):
            if rle_size(rle) != (height, width):
                raise ValueError(f"its size is {list(rle_size(rle))}, but the picture's is [{height}, {width}]")
        mask, instances = rle_to_mask(self.rle), [rle_to_mask(rle) for rle in self.instances]
        if instances and not np.array_equal(union_of(instances, (height, width)), mask):
            raise ValueError("its `rle` is not the union of its `instances`")
        return Drawn(mask, self.score, True, instances)

    def to_dict(self) -> dict[str, Any]:
        """A line of the file."""
        record = {"id": self.id, "text": self.text, "image": self.image, "rle": self.rle, "score": self.score}
        further = {"instances": self.instances or None, "reply": self.reply}
        return record | {key: value for key, value in further.items() if value is not None}


def write_predictions(path: Path, masks: Iterable[SavedMask]) -> Path:
    """Write a file of predictions, whole or not at all, and return its path; raises ConfigError if that fails."""
    temporary = path.with_name(path.name + ".new")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            for mask in masks:
                file.write(json.dumps(mask.to_dict(), allow_nan=False) + "\n")
        os.replace(temporary, path)
    except OSError as error:
        raise ConfigError(f"cannot write {path} ({error.strerror or error}): choose another file") from error
    return path


def read_predictions(path: Path) -> dict[str, SavedMask]:
    """All predictions of a file by id; run lengths are looked at when they are drawn.

    Raises:
        DataError: in one line that names the line of the file, for anything that it cannot mean.
    """
    found: dict[str, SavedMask] = {}
    lines: dict[str, int] = {}
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path} cannot be read as predictions ({reason}): give a file of JSON lines") from error
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            mask = _parsed(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}, line {number}: {error}; mend or remove the line") from error
        if mask.id in found:
            raise DataError(
                f"{path}, line {number}: {mask.id!r} was predicted in line {lines[mask.id]} already; remove one of them"
            )
        found[mask.id], lines[mask.id] = mask, number
    if not found:
        raise DataError(f"{path} holds no prediction: give a file of JSON lines, one for each sentence")
    return found


def _parsed(record: Any) -> SavedMask:
    """One line; raises ValueError."""
    if not isinstance(record, dict):
        raise ValueError(f'a prediction is {{"id": ..., "rle": ...}}, not {type(record).__name__}')
    name, score, instances = record.get("id"), record.get("score"), record.get("instances") or []
    if not isinstance(name, str) or not name:
        raise ValueError("it has no `id` in words")
    if "rle" not in record:
        raise ValueError(f"{name!r} has no `rle`; write null where there is no mask")
    if not isinstance(instances, list):
        raise ValueError(f"the `instances` of {name!r} must be a list of run lengths")
    for rle in (*([] if record["rle"] is None else [record["rle"]]), *instances):
        try:
            rle_size(rle)
        except ValueError as error:
            raise ValueError(f"the `rle` of {name!r} is none: {error}") from error
    if instances and record["rle"] is None:
        raise ValueError(f"{name!r} has `instances` but no `rle`, which is their union")
    number = isinstance(score, (int, float)) and not isinstance(score, bool)
    if score is not None and not (number and 0 <= score <= 1):
        raise ValueError(f"the `score` of {name!r} must be in 0..1 or null, not {score!r}")
    for key in ("text", "image", "reply"):
        if not isinstance(record.get(key), (str, type(None))):
            raise ValueError(f"the `{key}` of {name!r} must be text")
    return SavedMask(
        id=name,
        text=record.get("text"),
        image=record.get("image"),
        rle=record["rle"],
        score=None if score is None else float(score),
        instances=instances,
        reply=record.get("reply"),
    )
