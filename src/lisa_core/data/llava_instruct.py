"""LLaVA-Instruct: conversations about pictures in words alone; a list of `{id, image, conversations}`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from lisa_core.data.base import Example, Sample
from lisa_core.data.files import (
    Pictures,
    begins_with,
    is_question,
    parse_sentence,
    read_json,
    short,
    split_names,
    usual_first,
)
from lisa_core.data.reader import Reader
from lisa_core.errors import DataError
from lisa_core.types import IGNORE

IMAGE_PLACEHOLDER = "<image>"
"""Where the picture stands in a question; every family puts its own token there, so it is taken out."""
_KEY = b'"conversations"'
_HUMAN, _MODEL = ("human", "user"), ("gpt", "assistant")


class LlavaInstruct(Reader):
    """`*.json` with `{"id", "image", "conversations": [{"from": "human"|"gpt", "value"}]}`, pictures of COCO.

    Each answer is a sample: its question, with what was said before in the same conversation. There is no mask; the
    loss is that of the answer's words. Files called `SPLIT.json` or `*_SPLIT.json` are splits; without such, all of a
    folder's lists are `train`.
    """

    name = "llava-instruct"
    layout: ClassVar[str] = "llava_instruct_150k.json, a list of image and conversations, and the pictures of COCO"

    @classmethod
    def looks_like(cls, root: Path) -> bool:
        """Whether there is a list whose first entries are conversations."""
        return bool(_lists(root))

    @classmethod
    def splits(cls, root: Path) -> list[str]:
        """What the files are called, or train."""
        named = {_split_of(path) for path in _lists(root)}
        return usual_first(split or "train" for split in named) or ["train"]

    def read(self) -> None:
        """A sample for each answer, in the order of the files and of the conversations."""
        lists = _lists(self.root)
        names = split_names(self.split)
        own = [path for path in lists if _split_of(path) in names]
        if not own and self.split == "train":
            own = [path for path in lists if _split_of(path) is None]
        if not own:
            raise self.no_split()
        folders = ("train2017", "train2014", "val2017", "val2014", "images")
        above = self.root.absolute().parent  # LISA keeps COCO's pictures in `coco` beside the conversations
        bases = (self.root, self.root / "images", self.root / "coco", above / "coco")
        pictures = Pictures(self.root, [folder for base in bases for folder in (*(base / n for n in folders), base)])
        self._earlier: list[list[tuple[str, str]]] = []
        for path in own:
            entries = read_json(path)
            if not isinstance(entries, list):
                raise DataError(f"{path} must be a list of {{id, image, conversations}}, not {type(entries).__name__}.")
            for number, entry in enumerate(entries):
                with self.tolerated(path):
                    self._add(entry, number, path, pictures, len(own) > 1)

    def painted(self, index: int, image: Image.Image) -> Example:
        """See `Reader`; no pixel of the mask counts."""
        mask = np.full((image.height, image.width), IGNORE, np.uint8)
        return Example(self.samples[index], image, mask, earlier=self._earlier[index])

    def _add(self, entry: Any, number: int, path: Path, pictures: Pictures, several: bool) -> None:
        if not isinstance(entry, dict) or not isinstance(entry.get("conversations"), list):
            raise DataError(f"{path}: entry {number} must be an object with `image` and `conversations`.")
        if "image" not in entry:
            raise DataError(f"{path}: entry {number} has no `image`: leave out conversations without a picture.")
        picture = pictures.find(entry["image"], path, f"`image` of entry {number}")
        turns = _turns(entry["conversations"], path, number)
        for place, (text, reply) in enumerate(turns):
            self.samples.append(
                Sample(
                    f"{path.stem}/{number}#{place}" if several else f"{number}#{place}",
                    picture,
                    path,
                    text,
                    is_question(text),
                    reply,
                    source=self.name,
                    no_target=True,
                    kind="text",
                )
            )
            self._earlier.append(turns[:place])


def _turns(messages: list[Any], path: Path, number: int) -> list[tuple[str, str]]:
    """Questions and answers; raises `DataError` unless human and model take turns, the human first."""
    texts = []
    for place, message in enumerate(messages):
        what = f"message {place} of entry {number}"
        speakers = _MODEL if place % 2 else _HUMAN
        if not isinstance(message, dict) or message.get("from") not in speakers:
            speaker = short(message.get("from") if isinstance(message, dict) else message)
            raise DataError(f"{path}: {what} must be from {speakers[0]}, not {speaker}: they take turns, human first.")
        value = message.get("value")
        if isinstance(value, str):
            value = value.replace(IMAGE_PLACEHOLDER, "")
        texts.append(parse_sentence(value, path, what))
    if not texts or len(texts) % 2:
        raise DataError(f"{path}: entry {number} must end with an answer: add it or remove the question.")
    return list(zip(texts[::2], texts[1::2]))


def _lists(root: Path) -> list[Path]:
    """The JSON lists of conversations in a folder; one with the published name is, however damaged it looks."""
    lists = (path for path in sorted(root.glob("*.json")) if begins_with(path, "["))
    return [path for path in lists if path.name.startswith("llava") or _KEY in _head(path)]


def _split_of(path: Path) -> str | None:
    """The split that a file's name ends with, if it is one of the usual."""
    last = path.stem.replace("-", "_").rpartition("_")[2]
    return last if any(last in split_names(split) for split in ("train", "val", "test")) else None


def _head(path: Path) -> bytes:
    """The first kilobytes of a file."""
    with path.open("rb") as file:
        return file.read(8192)
