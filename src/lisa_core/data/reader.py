"""What the readers of folders share: a folder that is there, faults that stop or are listed, no empty split."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from PIL import Image

from lisa_core.data.base import Example, NoSampleError, NoSplitError, OnError, Phrasings, Reason, SegmentationDataset
from lisa_core.data.picture_file import load_image
from lisa_core.errors import DataError


class Reader(SegmentationDataset):
    """One split of a dataset folder.

    A reader fills `samples` in `read` from annotations alone; pictures and masks are decoded by `load`. With
    `on_error="fail"` the first annotation that cannot be used raises `DataError`; with `"skip"` it is left out and
    listed in `skipped`.
    """

    name: ClassVar[str]
    """Name of the format."""
    layout: ClassVar[str]
    """What the folder has to hold, for the line that says it is missing."""

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
        self.phrasings = phrasings
        self.samples = []
        self.skipped = []
        self._on_error = on_error
        if not self.root.is_dir():
            raise DataError(f"{self.root} is not a folder: give the one that holds {self.layout}.")
        self.read()
        if not self.samples:
            hint = f" ({self.skipped[0][1]})" if self.skipped else ""
            message = f"{self.root} has no usable sample in split '{split}'{hint}: mend or add annotations."
            raise NoSampleError(message, self.skipped)

    @abstractmethod
    def read(self) -> None:
        """Fill `samples`; raises `DataError` when the split is missing or an annotation is faulty and not tolerated."""

    def load(self, index: int) -> Example:
        """Decode sample `index`; raises `DataError` that names the file or entry that cannot be used."""
        return self.painted(index, self.picture(index))

    def load_beside(self, index: int, image: Image.Image) -> Example:
        """See `SegmentationDataset`."""
        return self.painted(index, image)

    def picture(self, index: int) -> Image.Image:
        """The picture of sample `index`, RGB; raises `DataError` that names it."""
        return load_image(self.samples[index].image_path)

    @abstractmethod
    def painted(self, index: int, image: Image.Image) -> Example:
        """Sample `index` with its mask, given its picture, of which nothing but the size is looked at.

        Who asks for all sentences of a picture decodes it once that way. Raises `DataError`.
        """

    @contextlib.contextmanager
    def tolerated(self, path: Path) -> Iterator[None]:
        """Let a `DataError` of the block pass, or note it when what is faulty is to be skipped."""
        try:
            yield
        except DataError as error:
            if self._on_error == "fail":
                raise
            self.skipped.append((path, Reason.of(error)))

    def no_split(self) -> NoSplitError:
        """The error of a split that is not there."""
        return NoSplitError(f"{self.root} has no split '{self.split}': {self.name} needs {self.layout}.")
