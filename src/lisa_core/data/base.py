"""What a dataset is: sentences about images (`Sample`), each decoded on demand into an image and a mask (`Example`)."""

from __future__ import annotations

import contextlib
import hashlib
import io
import warnings
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from lisa_core.errors import DataError

OnError = Literal["fail", "skip"]
Phrasings = Literal["all", "first"]


@dataclass(frozen=True, slots=True)  # there may be millions
class Sample:
    """One sentence about one image; cheap, nothing is decoded yet."""

    id: str
    """Unique in the split: the annotation's file stem, `#` and the number of the phrasing, `cat_3#0`."""
    image_path: Path
    """The picture."""
    annotation_path: Path
    """The file that holds the target's outline."""
    text: str
    """The referring expression or question; empty where the reader draws it when the picture is loaded."""
    is_sentence: bool
    """True for a full sentence or question, False for a noun phrase."""
    answer: str | None = None
    """Explanatory answer in words, when the set has one."""
    source: str = "reasonseg"
    """Format the sample was read from."""
    no_target: bool = False
    """True when what the text names is known not to be in the picture, or the answer is words alone: there is no mask
    on purpose."""
    kind: Literal["mask", "masks", "text"] = "mask"
    """What the answer is: words around one mask, words around several (`{seg}` in `answer`), or words alone."""
    dataset: str = ""
    """Name of the dataset among several of a run; empty where there is one."""


@dataclass
class Example:
    """A decoded sample."""

    sample: Sample
    """What was decoded."""
    image: Image.Image
    """RGB, at its stored size."""
    mask: np.ndarray
    """uint8 [H,W]: 0 background, 1 target, 255 (`IGNORE`) not counted; for an answer in words alone, all of it.
    Phrasings of one target may share the array, so it is not to be changed in place."""
    masks: list[np.ndarray] | None = None
    """For an answer with several masks, each of them in the order of its `{seg}`; `mask` is their union."""
    instances: list[np.ndarray] | None = None
    """The objects that `mask` is the union of, as `mask` each, where the set tells them apart."""
    earlier: Sequence[tuple[str, str]] = ()
    """What was asked and answered about the picture before, in words."""
    wording: str | None = None
    """Chooses among the wordings of question and answer (`prompts`); None: always the same ones."""


class Reason(str):
    """The line that says why something was left out; a text that knows what kind of fault it is about."""

    kind: str

    def __new__(cls, text: str, kind: str) -> Reason:
        """The line, and the kind of the fault."""
        reason = super().__new__(cls, text)
        reason.kind = kind
        return reason

    def __reduce__(self) -> tuple[type[Reason], tuple[str, str]]:
        """What a copy is made of."""
        return Reason, (str(self), self.kind)

    @classmethod
    def of(cls, error: DataError) -> Reason:
        """Of the error that was raised."""
        return cls(str(error), error.kind)


class NoSplitError(DataError):
    """The dataset has no split of this name."""


class NoSampleError(DataError):
    """A split is there, and nothing in it can be used; `skipped` says why."""

    def __init__(self, message: str, skipped: list[tuple[Path, str]]) -> None:
        super().__init__(message)
        self.skipped = skipped


class SegmentationDataset(ABC):
    """A list of samples that can be decoded by index."""

    samples: list[Sample]
    """Every sentence of the split, in a fixed order."""
    skipped: list[tuple[Path, str]]
    """Annotations left out as they cannot be used, each with the reason; empty unless the reader was told to skip."""
    doubts: list[tuple[Path, str]]
    """What is read, and is a mistake all the same; only `lisa data check` tells of it. A reader need not have any."""

    @classmethod
    def looks_like(cls, root: Path) -> bool:
        """Whether the folder has this format's layout, told from file names and a look into a small file at most."""
        return False

    @classmethod
    def splits(cls, root: Path) -> list[str]:
        """Splits the folder may have, told from file names where they say it; one that it has not is no error."""
        return ["train", "val", "test"]

    def __len__(self) -> int:
        return len(self.samples)

    @abstractmethod
    def load(self, index: int) -> Example:
        """Decode sample `index`; raises `DataError` that names the file when its image or annotation cannot be used."""

    def load_beside(self, index: int, image: Image.Image) -> Example:
        """Decode sample `index`, whose picture, already decoded, is `image`; a reader need not make use of that."""
        return self.load(index)


def load_image(path: Path, *, turned: bool = False) -> Image.Image:
    """Read an image as RGB; raises `DataError` that names the file for anything PIL cannot read.

    16-bit grey is scaled to 8 bits, PIL alone would clip it to white.

    Args:
        path: the file.
        turned: as its EXIF orientation says, as photographs are shown. Pictures of a dataset are not turned:
            annotations are in the coordinates of the stored pixels.
    """
    with opened(path) as file:
        image = upright(file) if turned else file
        if image.mode.startswith("I"):
            values = np.clip(np.asarray(image, dtype=np.int64), 0, 65535)
            depth_shift = 8 if image.mode.startswith("I;16") or values.max(initial=0) > 255 else 0
            return Image.fromarray((values >> depth_shift).astype(np.uint8)).convert("RGB")
        return image.convert("RGB")


_ORIENTATION = 0x0112  # of EXIF: how a camera was held
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def turn_of(image: Image.Image) -> int:
    """EXIF's orientation of a picture that is shown otherwise than it is stored: 2 to 8, from 5 on by a quarter turn.

    0 for any other picture.
    """
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # whatever a parser meets in damaged EXIF, by which nobody turns a picture
        return 0
    return orientation if isinstance(orientation, int) and orientation in _TURNS else 0


def upright(image: Image.Image) -> Image.Image:
    """A picture turned as its EXIF orientation says; PIL's `exif_transpose` fails where another tag is damaged."""
    image.load()  # a TIFF is turned, and its orientation gone, once it is read
    turn = turn_of(image)
    return image.transpose(_TURNS[turn]) if turn else image


@contextlib.contextmanager
def opened(path: Path, data: bytes | None = None) -> Iterator[Image.Image]:
    """An image that is decoded inside the block; whatever goes wrong there becomes a `DataError` that names `path`.

    `data` holds the file's bytes where they are not the content of `path`. A picture that claims more pixels than PIL
    would decode without a warning is refused by its header, before anything of its size is allocated.
    """
    if data is None and not path.is_file():
        message = f"{path} does not exist or is not a file: restore the image or correct its path."
        raise DataError(message, "missing-file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # it is an error below
            found = Image.open(path if data is None else io.BytesIO(data))
        with found as image:
            if image.format == "EPS":  # to decode it, PIL has Ghostscript run it
                raise ValueError("it is a PostScript program")
            limit = Image.MAX_IMAGE_PIXELS
            if limit is not None and image.width * image.height > limit:
                raise ValueError(f"{image.width} x {image.height} pixels are more than the {limit} that are decoded")
            yield image
    except DataError:
        raise
    # PIL's decoders raise whatever their parsing meets (OSError, SyntaxError, ValueError, struct.error, zlib.error,
    # DecompressionBombError ...); for the user they all mean the same thing.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):  # it names the file again, or where in memory its bytes are
            reason = "it has no format that PIL knows"
        message = f"{path} is not an image that can be read: {reason}; replace or remove it."
        raise DataError(message, "corrupt-image") from error


def load_together(
    dataset: SegmentationDataset, indices: Sequence[int], picture: Mapping[int, int]
) -> Iterator[Example | DataError]:
    """Decode samples, those of one picture with one and the same image; what cannot be decoded becomes its error.

    Args:
        dataset: the samples.
        indices: which of them, in the order they come in.
        picture: which picture each of them is of; what has none here is decoded by itself.
    """
    images: dict[int, Image.Image] = {}
    for index in indices:
        number = picture.get(index)
        image = None if number is None else images.get(number)
        try:
            example = dataset.load(index) if image is None else dataset.load_beside(index, image)
        except DataError as error:
            yield error
            continue
        if number is not None:
            images.setdefault(number, example.image)
        yield example


def picture_numbers(groups: Sequence[Sequence[int]]) -> dict[int, int]:
    """For each sample the number of its group; see `group_by_image`."""
    return {index: number for number, group in enumerate(groups) for index in group}


def group_by_image(samples: Sequence[Sample]) -> list[list[int]]:
    """Indices of the samples that show the same picture, groups and members in first-seen order.

    Two samples show the same picture when their paths are equal or their files' bytes are: ReasonSeg keeps one target
    per file, so a picture with two targets is stored twice. Only files of equal size are hashed. A file that cannot be
    read is compared by path alone; `load` is what reports it.
    """
    paths = list(dict.fromkeys(sample.image_path for sample in samples))
    by_size: dict[int, list[Path]] = defaultdict(list)
    for path in paths:
        if path.is_file():
            by_size[path.stat().st_size].append(path)
    picture: dict[Path, object] = {path: path for path in paths}
    for same_size in by_size.values():
        if len(same_size) > 1:
            for path in same_size:
                picture[path] = _digest(path) or path
    groups: dict[object, list[int]] = defaultdict(list)
    for index, sample in enumerate(samples):
        groups[picture[sample.image_path]].append(index)
    return list(groups.values())


def _digest(path: Path) -> bytes | None:
    """SHA-256 of the file's bytes, or None when it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return None
