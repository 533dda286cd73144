"""Reader of the ReasonSeg format: a picture `X.jpg` and, beside it, `X.json` with sentences and target outlines."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from lisa_core.data.annotation import Annotation, rasterize, read_annotation
from lisa_core.data.base import Example, NoSampleError, OnError, Phrasings, Reason, Sample, SegmentationDataset
from lisa_core.data.files import parse_sentence, read_json, unreadable
from lisa_core.data.layout import Pair, find_pairs, has_pairs, splits_of
from lisa_core.data.mask_cache import MaskCache
from lisa_core.data.picture_file import load_image
from lisa_core.errors import DataError


class ReasonSeg(SegmentationDataset):
    """One split of a ReasonSeg folder.

    Two layouts are read. Per split: `ROOT/SPLIT/X.jpg` + `ROOT/SPLIT/X.json`. Flat: `ROOT/SPLIT.json`, a list of
    `{"image": ..., "json": ..., "query": ...}` with paths below ROOT or ROOT/SPLIT. When both exist the first is used.
    `ROOT/explanatory/SPLIT.json`, a list of `{"image", "query", "outputs"}`, adds questions with an answer in words.

    Annotations are read at construction (their sentences are the samples), images only by `load`. With
    `on_error="fail"` the first annotation that cannot be used raises `DataError`; with `"skip"` it is left out and
    listed in `skipped`.
    """

    def __init__(
        self,
        root: Path,
        split: str = "train",
        phrasings: Phrasings = "all",
        *,
        on_error: OnError = "fail",
    ) -> None:
        self.root = Path(root)
        self.split = split
        self.skipped = []
        self.samples = []
        self._on_error = on_error
        self._phrase_counts: Counter[str] = Counter()
        # The picture at hand and what was painted for it: a batch has several phrasings of a target.
        self._shown: Image.Image | None = None
        self._masks: dict[Path, np.ndarray] = {}
        self._painted = MaskCache()
        by_image: dict[str, tuple[Pair, Annotation]] = {}
        pairs, faults = find_pairs(self.root, split)
        for fault in faults:
            self._fault(*fault)
        for pair in pairs:
            try:
                annotation = read_annotation(pair.annotation, sentences_needed=pair.query is None)
            except DataError as error:
                self._fault(pair.annotation, error)
                continue
            texts = annotation.texts if pair.query is None else (pair.query,)
            for text in texts if phrasings == "all" else texts[:1]:
                self._add(pair, text, annotation)
            by_image.setdefault(pair.image.name, (pair, annotation))
        if phrasings == "all":
            self._add_explanatory(by_image)
        if not self.samples:
            hint = f" ({self.skipped[0][1]})" if self.skipped else ""
            message = f"{self.root} has no usable sample in split '{split}'{hint}: mend or add annotations."
            raise NoSampleError(message, self.skipped)

    @classmethod
    def looks_like(cls, root: Path) -> bool:
        """Whether there are X.jpg and X.json pairs in the folder or below, or lists that name annotations."""
        return has_pairs(root)

    @classmethod
    def splits(cls, root: Path) -> list[str]:
        """The folders and lists there are."""
        return splits_of(root)

    def load(self, index: int) -> Example:
        """Decode sample `index`; raises `DataError` that names the image or annotation that cannot be used."""
        return self.painted(index, self.picture(index))

    def load_beside(self, index: int, image: Image.Image) -> Example:
        """See `SegmentationDataset`."""
        return self.painted(index, image)

    def picture(self, index: int) -> Image.Image:
        """As of `Reader`."""
        return load_image(self.samples[index].image_path)

    def painted(self, index: int, image: Image.Image) -> Example:
        """As of `Reader`."""
        if image is not self._shown:
            self._shown, self._masks = image, {}
        sample = self.samples[index]
        mask = self._masks.get(sample.annotation_path)
        if mask is None:
            mask = self._masks[sample.annotation_path] = self._paint(sample.annotation_path, image)
        return Example(sample, image, mask)

    def _paint(self, path: Path, image: Image.Image) -> np.ndarray:
        """The mask of an annotation, painted when it is first asked for or has been changed since."""
        try:
            status = path.stat()
        except OSError as error:
            raise unreadable(path, error) from error
        # The size too: a file system may tell no times apart that are milliseconds apart.
        key = (path, status.st_mtime_ns, status.st_size, image.size)
        mask = self._painted.get(key)
        if mask is None:
            mask = rasterize(read_annotation(path, sentences_needed=False).shapes, image.height, image.width)
            self._painted.put(key, mask)
        return mask

    def _add(self, pair: Pair, text: str, annotation: Annotation) -> None:
        """Append one phrasing, numbered within its file stem."""
        stem = pair.annotation.stem
        number = self._phrase_counts[stem]
        self._phrase_counts[stem] += 1
        is_empty = not any(shape.value == 1 for shape in annotation.shapes)
        sample = Sample(
            f"{stem}#{number}", pair.image, pair.annotation, text, annotation.is_sentence, no_target=is_empty
        )
        self.samples.append(sample)

    def _add_explanatory(self, by_image: dict[str, tuple[Pair, Annotation]]) -> None:
        """Append the split's questions that have an answer; pictures that are not in the split are passed over."""
        path = self.root / "explanatory" / f"{self.split}.json"
        if not path.is_file():
            return
        try:
            entries = read_json(path)
            if not isinstance(entries, list):
                raise DataError(f"{path} must be a list of {{image, query, outputs}}, not {type(entries).__name__}.")
        except DataError as error:
            self._fault(path, error)
            return
        counts: Counter[str] = Counter()
        for number, entry in enumerate(entries):
            try:
                if not isinstance(entry, dict) or not isinstance(entry.get("image"), str):
                    raise DataError(f"{path}: entry {number} must be an object with `image`, `query` and `outputs`.")
                # ReasonSeg publishes one list for pictures of several folders, so an unknown name is not a fault.
                found = by_image.get(Path(entry["image"]).name)
                query = parse_sentence(entry.get("query"), path, f"`query` of entry {number}")
                answer = parse_sentence(entry.get("outputs"), path, f"`outputs` of entry {number}")
            except DataError as error:
                self._fault(path, error)
                continue
            if found is not None:
                pair, annotation = found
                is_empty = not any(shape.value == 1 for shape in annotation.shapes)
                stem = pair.annotation.stem
                sample_id = f"{stem}#e{counts[stem]}"
                counts[stem] += 1
                sample = Sample(sample_id, pair.image, pair.annotation, query, True, answer, no_target=is_empty)
                self.samples.append(sample)

    def _fault(self, path: Path, error: DataError) -> None:
        """Raise the error, or note it when faulty files are to be skipped."""
        if self._on_error == "fail":
            raise error
        self.skipped.append((path, Reason.of(error)))
