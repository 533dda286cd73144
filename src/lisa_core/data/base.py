"""What a dataset is: sentences about images (`Sample`), each decoded on demand into an image and a mask (`Example`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

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
