"""Writes a seeded set of referring-expression scenes to disk in the ReasonSeg layout."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lisa_core.data.expressions import COMPARING, describe
from lisa_core.data.links import link_or_copy
from lisa_core.data.polygons import mask_to_polygons
from lisa_core.data.scene_folder import prepare_scene_folder
from lisa_core.data.scenes import HELD_OUT, Scene, sample_scene
from lisa_core.data.wording import Expression, phrase
from lisa_core.errors import ConfigError, DataError

FORMAT_VERSION = 1
"""Raised when the same seed starts to give other files."""

MANIFEST = "synth.json"
"""Name of the file that marks a folder as written by `synthesize`."""

_SPLITS = ("train", "val", "test")
_GENERATOR = "lisa data synth"
_SMALLEST_PICTURE = 32

Progress = Callable[[int, int], None]
"""Called with (pictures written, pictures in all)."""


@dataclass(frozen=True)
class SynthConfig:
    """What to generate."""

    train: int = 1200
    """Training pictures; each gives an annotated file for every object it describes, up to four."""
    val: int = 240
    """Validation pictures."""
    test: int = 240
    """Test pictures; each describes a (colour, shape) pair that the other splits never show."""
    size: int = 160
    """Longest side in pixels."""
    seed: int = 0
    """Same seed and settings, same bytes; a split does not depend on the other splits' counts."""
    min_objects: int = 3
    """Fewest objects in a picture."""
    max_objects: int = 4
    """Most objects in a picture."""
    comparing: float = COMPARING
    """Share of the sentences that compare objects (superlatives, positions, relations) instead of describing one."""

    def check(self) -> None:
        """Raise `ConfigError` that names every setting out of range."""
        faults = [f"{split} is {getattr(self, split)}, not 0 or more" for split in _SPLITS if getattr(self, split) < 0]
        if not faults and self.train + self.val + self.test == 0:
            faults.append("train, val and test are all 0, so there is nothing to write")
        if not _SMALLEST_PICTURE <= self.size <= 4096:
            faults.append(f"size is {self.size}, not {_SMALLEST_PICTURE} to 4096 pixels")
        if self.seed < 0:
            faults.append(f"seed is {self.seed}, not 0 or more")
        if not 1 <= self.min_objects <= self.max_objects <= 6:
            faults.append(f"objects are {self.min_objects} to {self.max_objects}, not a range within 1 to 6")
        if not 0 <= self.comparing <= 1:
            faults.append(f"comparing is {self.comparing}, not a share from 0 to 1")
        if faults:
            raise ConfigError(f"cannot generate these scenes: {'; '.join(faults)}; change the settings.")


def synthesize(
    directory: str | Path, config: SynthConfig | None = None, *, force: bool = False, progress: Progress | None = None
) -> dict[str, Any]:
    """Write `config`'s scenes below `directory` and return what was written (also stored as `synth.json`).

    A scene with k described objects becomes k pairs, `SPLIT/scene_00012_0.jpg` + `.json` onwards, with one picture: the
    ReasonSeg layout has one target per file. Raises `ConfigError` for settings out of range, `DataError` for a folder
    that cannot be written, and for one that is not empty, unless `force` is given and `synthesize` wrote it.
    """
    config = config or SynthConfig()
    config.check()
    directory = Path(directory)
    total = config.train + config.val + config.test
    try:
        prepare_scene_folder(directory, MANIFEST, _GENERATOR, _SPLITS, force)
        digest = hashlib.sha256()
        counts: dict[str, Counter[str]] = {split: Counter() for split in _SPLITS}
        kinds: Counter[str] = Counter()
        done = 0
        for code, split in enumerate(_SPLITS):
            pictures = getattr(config, split)
            if pictures:
                (directory / split).mkdir(exist_ok=True)
            for index in range(pictures):
                # One stream per picture: neither other splits nor other pictures can shift what it draws.
                rng = np.random.default_rng(np.random.SeedSequence([config.seed, code, index]))
                scene, expressions = make_scene(rng, config, held_out=split == "test")
                texts = _write_scene(directory / split, index, scene, expressions, rng, digest)
                counts[split].update(images=1, annotations=len(expressions), texts=texts)
                kinds.update(expression.kind for expression in expressions)
                done += 1
                if progress is not None:
                    progress(done, total)
        summary = {
            "generator": _GENERATOR,
            "version": FORMAT_VERSION,
            "complete": True,
            "settings": asdict(config),
            "counts": {split: dict(counter) for split, counter in counts.items() if counter},
            "kinds": dict(sorted(kinds.items())),
            "held_out": sorted(f"{colour} {shape}" for colour, shape in HELD_OUT),
            "sha256": digest.hexdigest(),
        }
        (directory / MANIFEST).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(f"{directory} cannot be written ({error.strerror or error}): choose another folder.") from error
    return summary


def make_scene(
    rng: np.random.Generator, config: SynthConfig, *, held_out: bool = False
) -> tuple[Scene, list[Expression]]:
    """Sample a scene and expressions for two or three of its objects (one, when it has but one).

    With `held_out` the first expression is for an object of a held-out (colour, shape) pair.
    """
    while True:
        scene = sample_scene(rng, config.size, config.min_objects, config.max_objects, held_out=held_out)
        first = (
            [i for i, item in enumerate(scene.objects) if (item.colour, item.shape) in HELD_OUT] if held_out else None
        )
        wanted = int(rng.integers(3, 5))
        expressions = describe(rng, scene, min(wanted, len(scene.objects)), first, config.comparing)
        if len(expressions) >= min(2, len(scene.objects)) and (not first or expressions[0].target in first):
            return scene, expressions


def _write_scene(
    folder: Path, index: int, scene: Scene, expressions: list[Expression], rng: np.random.Generator, digest: Any
) -> int:
    """Write one pair per expression, add names and bytes to `digest`, and return the number of texts."""
    buffer = io.BytesIO()
    # Colour at full resolution: the usual 4:2:0 would smear the edges of small objects.
    Image.fromarray(scene.image).save(buffer, "JPEG", quality=92, subsampling=0)
    picture = folder / f"scene_{index:05d}_0.jpg"
    picture.write_bytes(buffer.getvalue())
    texts_written = 0
    for number, expression in enumerate(expressions):
        stem = f"scene_{index:05d}_{number}"
        if number:
            link_or_copy(picture, folder / f"{stem}.jpg")
        is_sentence = bool(rng.random() < 0.5)
        texts = phrase(rng, expression, is_sentence)
        polygons = mask_to_polygons(scene.masks[expression.target])
        annotation = {
            "text": texts,
            "is_sentence": is_sentence,
            "shapes": [{"label": "target", "points": polygon} for polygon in polygons],
            "kind": expression.kind,
        }
        content = json.dumps(annotation).encode()
        (folder / f"{stem}.json").write_bytes(content)
        for name, data in ((f"{stem}.jpg", buffer.getvalue()), (f"{stem}.json", content)):
            digest.update(f"{folder.name}/{name}\0{len(data)}\0".encode())
            digest.update(data)
        texts_written += len(texts)
    return texts_written
