"""The REFER layout: refs(PARTITION).p and instances.json of RefCOCO, RefCOCO+, RefCOCOg and RefCLEF."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from lisa_core.data.base import Example, NoSplitError, Sample
from lisa_core.data.coco_file import CocoFile
from lisa_core.data.files import Pictures, parse_sentence, read_json, short, usual_first
from lisa_core.data.plain_pickle import read_plain_pickle
from lisa_core.data.reader import Reader
from lisa_core.errors import DataError


class Refer(Reader):
    """Objects of instances.json, each with several expressions.

    Of several partitions in a folder UNC's is read, or else UMD's, or else the only one; `refer-google`, `refer-umd`
    and `refer-unc` choose. A split is one of those the references name; `testA` also takes those marked `testAB`.
    """

    name: ClassVar[str] = "refer"
    layout: ClassVar[str] = "refs(PARTITION).p and instances.json, as refcoco, refcoco+, refcocog and refclef do"
    prefix: ClassVar[str] = "refs"
    partition: ClassVar[str | None] = None

    @classmethod
    def looks_like(cls, root: Path) -> bool:
        """Whether there are references; the readers of one partition leave the folder to this one."""
        return cls.partition is None and bool(cls._files(root))

    @classmethod
    def splits(cls, root: Path) -> list[str]:
        """What the references name; `testAB` is testA and testB."""
        reader = cls.__new__(cls)
        reader.root = root
        marks = {entry.get("split") for entry in reader._references(reader._references_file())}
        named = {name for name in marks if isinstance(name, str)}
        tests = {f"test{letter}" for name in named if name.startswith("test") for letter in name[4:]}
        return usual_first({name for name in named if not name.startswith("test") or name == "test"} | tests)

    def read(self) -> None:
        """A sample for each expression of the split, in the order of the references."""
        path = self._references_file()
        references = self._references(path)
        instances = self.root / "instances.json"
        self._file = CocoFile.read(instances)
        self._targets: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
        pictures = Pictures(self.root, self._picture_folders())
        known: set[str] = set()
        for number, reference in enumerate(references):
            with self.tolerated(path):
                where = f"reference {number}"
                split = reference.get("split")
                if not isinstance(split, str):
                    raise DataError(f"{path}: {where} has the split {short(split)}: it is no REFER file.")
                known.add(split)
                if self._is_wanted(split):
                    self._add(reference, where, path, pictures)
        self._file.release()
        if not self.samples and not self.skipped:
            raise NoSplitError(f"{path} has no split '{self.split}': it has {', '.join(sorted(known))}.")

    def painted(self, index: int, image: Image.Image) -> Example:
        """See `Reader`."""
        sample, (entry, annotations) = self.samples[index], self._targets[index]
        return Example(sample, image, self._file.paint(annotations, image, entry))

    def _add(self, reference: dict[str, Any], where: str, path: Path, pictures: Pictures) -> None:
        """The samples of one reference."""
        annotations = self._annotations(reference, where, path)
        image_id = reference.get("image_id")
        if isinstance(image_id, (int, str)):
            self._file.check_image(image_id)
        entry = self._file.images.get(image_id) if isinstance(image_id, (int, str)) else None
        if entry is None or any(annotation["image_id"] != image_id for annotation in annotations):
            raise DataError(
                f"{path}: {where} is of image {short(image_id)}, which {self._file.path} does not give to its objects: "
                "the two files do not belong together."
            )
        picture = pictures.find(entry.get("file_name"), self._file.path, f"image {entry['id']}")
        sentences = reference.get("sentences")
        if not isinstance(sentences, list) or not sentences:
            raise DataError(f"{path}: {where} has no sentences: it is no REFER file.", "text")
        for number, sentence in enumerate(sentences if self.phrasings == "all" else sentences[:1]):
            spoken = sentence if isinstance(sentence, dict) else {}
            text = parse_sentence(spoken.get("sent") or spoken.get("raw"), path, f"sentence {number} of {where}")
            sample_id = f"{reference.get('ref_id', where)}#{number}"
            self.samples.append(
                Sample(sample_id, picture, self._file.path, text, False, source=self.name, no_target=not annotations)
            )
            self._targets.append((entry, annotations))

    def _annotations(self, reference: dict[str, Any], where: str, path: Path) -> list[dict[str, Any]]:
        """The outlines a reference means: one object."""
        return [self._annotation(reference.get("ann_id"), where, path)]

    def _annotation(self, key: Any, where: str, path: Path) -> dict[str, Any]:
        found = self._file.annotations.get(key) if isinstance(key, (int, str)) else None
        if found is None:
            raise DataError(
                f"{path}: {where} means object {short(key)}, which is not in {self._file.path}: restore it."
            )
        self._file.check_annotation(key)
        return found

    def _is_wanted(self, split: str) -> bool:
        """Whether references marked `split` belong to the split asked for: testAB to testA and testB, all to test."""
        if self.split in ("testA", "testB", "testC"):
            return split.startswith("test") and self.split[-1] in split[4:]
        return split.startswith("test") if self.split == "test" else split == self.split

    def _references(self, path: Path) -> list[dict[str, Any]]:
        content = read_json(path) if path.suffix == ".json" else read_plain_pickle(path)
        if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
            raise DataError(f"{path} must hold a list of references: it is no REFER file.")
        return content

    def _references_file(self) -> Path:
        files = self._files(self.root)
        if self.partition is not None and self.partition not in files:
            raise DataError(f"{self.root} has no {self.prefix}({self.partition}).p: it has {_names(files.values())}.")
        for partition in (self.partition,) if self.partition else ("unc", "umd"):
            if partition in files:
                return files[partition]
        if len(files) == 1:
            return next(iter(files.values()))
        found = f"it has {_names(files.values())}" if files else "it has none"
        raise DataError(f"{self.root} must hold one {self.prefix}(PARTITION).p and instances.json: {found}.")

    @classmethod
    def _files(cls, root: Path) -> dict[str, Path]:
        """The files of references by partition; a pickle before a JSON of the same name."""
        paths = [*sorted(root.glob(f"{cls.prefix}(*).json")), *sorted(root.glob(f"{cls.prefix}(*).p"))]
        return {path.name.partition("(")[2].partition(")")[0]: path for path in paths}

    def _picture_folders(self) -> Iterator[Path]:
        """The folder's own pictures, or REFER's `images` beside it."""
        above = self.root.absolute().parent
        for images in (self.root / "images", above / "images"):
            yield from (
                images / "mscoco" / "images" / "train2014",
                images / "train2014",
                images / "saiapr_tc-12",
                images,
            )
        yield from (self.root / "train2014", above / "train2014", above / "coco" / "train2014")


class ReferUnc(Refer):
    """refs(unc).p, whatever else there is."""

    name = "refer-unc"
    partition = "unc"


class ReferGoogle(Refer):
    """refs(google).p, whatever else there is."""

    name = "refer-google"
    partition = "google"


class ReferUmd(Refer):
    """refs(umd).p, whatever else there is."""

    name = "refer-umd"
    partition = "umd"


def _names(paths: Iterable[Path]) -> str:
    return ", ".join(path.name for path in paths) or "none"
