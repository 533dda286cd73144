"""One scene as files: the picture, an annotation for each object that is asked for, and a record of what it shows."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from catalogue import SPLITS, Material
from compose import Scene, compose
from expressions import Expression, choose
from PIL import Image
from view import Thing, View

from lisa_core.data.polygons import mask_to_polygons

VERSION = 2
"""Raised when the same seed starts to give other scenes."""

SIDECAR = "scenes.json"
"""File of the records, a list with one scene a line; not .jsonl, which would be a dataset of its own."""

QUALITY = 92
MOST_ASKED = 4
"""Objects of a scene that are asked for, at most; at least two, so that every scene has sentences to tell apart.
In training all are."""

KINDS_EACH = 2
"""Most kinds of expressions for an object in training: features are computed once, whatever is said of a picture."""

_SENTENCES = (
    "Please find the {}.",
    "Can you segment the {}?",
    "Show me the {}.",
    "Point out the {}.",
    "Please mark the {} in this picture.",
    "Could you outline the {}?",
)
_NOUN_PHRASES = ("the {}", "{}")


@dataclass(frozen=True)
class Files:
    """One scene ready to be written."""

    split: str
    index: int
    jpeg: bytes
    annotations: tuple[bytes, ...]
    """JSON of each object asked for."""
    record: dict[str, Any]
    """What it is made of, one of `scenes.json`."""

    @property
    def stem(self) -> str:
        """File name before the number of the object."""
        return f"scene_{self.index:05d}"


def make_files(material: Material, seed: int, split: str, index: int) -> Files:
    """Compose one scene with its sentences; the same arguments give the same bytes, in any process."""
    stamps, backgrounds = material.of_split(split)
    trains = split == "train"
    known = known_words(material)
    rng = np.random.default_rng(np.random.SeedSequence([VERSION, seed, SPLITS.index(split), index]))
    while True:
        scene = compose(rng, stamps, backgrounds)
        asked = len(scene.objects) if trains else int(rng.integers(2, MOST_ASKED + 1))
        chosen = choose(rng, view_of(scene), asked, known, KINDS_EACH if trains else 1)
        if len(chosen) >= 2:
            break
    buffer = io.BytesIO()
    # Colour at full resolution: the usual 4:2:0 would smear the edges of small objects.
    Image.fromarray(scene.image).save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    annotations = []
    for said in chosen:
        is_sentence = bool(rng.random() < 0.35)
        expression = said[0]
        texts = (
            [phrase(rng, one, is_sentence, 1)[0] for one in said] if trains else phrase(rng, expression, is_sentence)
        )
        annotation = {
            "text": list(dict.fromkeys(texts)),
            "is_sentence": is_sentence,
            "shapes": [{"label": "target", "points": polygon} for polygon in outline(scene.masks[expression.target])],
            "kind": expression.kind,
            "object": scene.objects[expression.target].stamp.key,
            "rivals": expression.rivals,
            # The nouns only: no colour, side or size is new in any split.
            "words_known": expression.nouns <= known,
        }
        annotations.append(annotation)
    record = _record(scene, split, index, annotations)
    return Files(split, index, buffer.getvalue(), tuple(json.dumps(a).encode() for a in annotations), record)


def view_of(scene: Scene) -> View:
    """What expressions need to know of a scene."""
    things = []
    for item, mask, hidden_by in zip(scene.objects, scene.masks, scene.hidden_by):
        rows, columns = np.nonzero(mask)
        # At least LEAST_SEEN of an object shows, so there are pixels.
        x, y = float(columns.mean()) + 0.5, float(rows.mean()) + 0.5
        box = float(columns.min()), float(rows.min()), float(columns.max()) + 1, float(rows.max()) + 1
        things.append(Thing(item.stamp.words, x, y, len(rows), item.full_area, box, hidden_by))
    height, width = scene.image.shape[:2]
    return View(tuple(things), width, height, scene.background.words)


def outline(mask: np.ndarray) -> list[list[tuple[int, int]]]:
    """Polygons that paint exactly the bool [H,W] mask; traced within its bounding box, which is many times faster."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return []
    top, left = int(rows[0]), int(columns[0])
    polygons = mask_to_polygons(mask[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1])
    return [[(x + left, y + top) for x, y in polygon] for polygon in polygons]


def phrase(rng: np.random.Generator, expression: Expression, is_sentence: bool, count: int | None = None) -> list[str]:
    """Different texts that mean the expression, one or two unless said, all sentences or all noun phrases."""
    templates = _SENTENCES if is_sentence else _NOUN_PHRASES
    count = int(rng.integers(1, 3)) if count is None else count
    texts: dict[str, None] = {}
    for number in rng.permutation(len(templates) * len(expression.phrases)).tolist()[:count]:
        template, wording = divmod(number, len(expression.phrases))
        texts[templates[template].format(expression.phrases[wording])] = None
    return list(texts)


def known_words(material: Material) -> frozenset[str]:
    """Nouns that some training object is called by."""
    return frozenset(name for stamp in material.of_split("train")[0] for name in stamp.words.names)


def _record(scene: Scene, split: str, index: int, annotations: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "split": split,
        "scene": index,
        "background": scene.background.key,
        "size": [scene.image.shape[1], scene.image.shape[0]],
        "kin": scene.kin,
        "objects": [
            {
                "stamp": item.stamp.key,
                "left": item.left,
                "top": item.top,
                "scale": round(item.look.scale, 4),
                "mirrored": item.look.mirrored,
                "shown": round(float(mask.sum()) / max(item.full_area, 1), 4),
            }
            for item, mask in zip(scene.objects, scene.masks)
        ],
        "asked": [{name: value for name, value in one.items() if name != "shapes"} for one in annotations],
    }
