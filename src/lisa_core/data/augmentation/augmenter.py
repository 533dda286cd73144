"""Draws the changes of each picture from seeds alone, and makes them where they leave all its sentences true."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from random import Random

from lisa_core.data.augmentation.colour import colour
from lisa_core.data.augmentation.copy_paste import copy_paste, may_give, named_by
from lisa_core.data.augmentation.crop import crop
from lisa_core.data.augmentation.flip import flip
from lisa_core.data.augmentation.scale_jitter import scale_jitter
from lisa_core.data.base import Example, SegmentationDataset
from lisa_core.data.same_picture import load_together
from lisa_core.data.sampler import Draw
from lisa_core.errors import DataError

_CANDIDATES = 12  # samples that are looked at for one that may give an object
_DECODED = 2  # of them, those that are read


class Augmenter:
    """Loads samples with their pictures changed.

    All sentences of one picture in an optimizer step see the same change of it, so that they go on sharing its
    encoding; a change is made if it is allowed for each of them. It is drawn from the seed, the epoch, the step and the
    picture: resuming, the number of workers and how a step is shared out do not touch it.

    Args:
        dataset: the samples.
        probabilities: by name of the change (`flip`, `crop`, `colour`, `scale_jitter`, `copy_paste`).
        seed: the run's.
        count: only the first so many samples give objects to paste; None: all.
    """

    def __init__(
        self,
        dataset: SegmentationDataset,
        probabilities: Mapping[str, float],
        seed: int,
        count: int | None = None,
    ) -> None:
        self.dataset = dataset
        self.probabilities = probabilities
        self.seed = seed
        self.count = len(dataset.samples[:count])

    def load(self, draws: Sequence[Draw]) -> list[Example | str]:
        """Decode and change samples; one that cannot be decoded becomes the line that says why."""
        found: dict[Draw, Example | str] = {}
        for draw in draws:
            if draw not in found:
                for index, item in self._together(draw).items():
                    found[Draw(index, draw.together, draw.epoch, draw.step)] = item
        return [found[draw] for draw in draws]

    def _together(self, draw: Draw) -> dict[int, Example | str]:
        """The samples of a picture that a step holds."""
        decoded = load_together(self.dataset, draw.together, dict.fromkeys(draw.together, 0))
        items: dict[int, Example | str] = {
            index: item if isinstance(item, Example) else str(item) for index, item in zip(draw.together, decoded)
        }
        by_content: dict[tuple[tuple[int, int], bytes], list[int]] = defaultdict(list)
        for index, item in items.items():
            if isinstance(item, Example):
                by_content[item.image.size, item.image.tobytes()].append(index)
        for members in by_content.values():  # one, but for readers that call several pictures by one name
            key = f"{self.seed}/{draw.epoch}/{draw.step}/{members[0]}"
            examples = [item for item in (items[index] for index in members) if isinstance(item, Example)]
            items.update(zip(members, self.augment(examples, key, draw.together)))
        return items

    def augment(self, examples: Sequence[Example], key: str, own: Sequence[int] = ()) -> list[Example]:
        """The sentences of one picture after the changes that `key` draws.

        Args:
            examples: all of one picture.
            key: every change has its own random numbers, which follow from this and its name.
            own: samples that give no object to paste.

        A picture with answers in words alone, or of several masks, stays as it is: nothing here reads their answers.
        """
        current = list(examples)
        if any(example.sample.kind != "mask" for example in examples):
            return current
        for name in ("copy_paste", "flip", "crop", "scale_jitter", "colour"):
            rng = Random(f"{key}/{name}")
            if rng.random() >= self.probabilities.get(name, 0.0):
                continue
            if name == "copy_paste":
                after = copy_paste(current, self._donors(current, rng, own), rng)
            elif name == "flip":
                after = flip(current)
            else:
                after = _CHANGES[name](current, rng)
            current = after or current
        return current

    def _donors(self, examples: Sequence[Example], rng: Random, own: Sequence[int]) -> Iterator[Example]:
        """Samples of other pictures whose target may be pasted."""
        nouns, path = named_by(example.sample for example in examples), examples[0].sample.image_path
        decoded = 0
        for _ in range(_CANDIDATES if nouns is not None else 0):
            index = rng.randrange(self.count)
            sample = self.dataset.samples[index]
            if index in own or sample.kind != "mask" or sample.image_path == path:
                continue
            # A reader may tell the text only when it decodes.
            if sample.text and not may_give(sample, nouns or []):
                continue
            if decoded == _DECODED:
                return
            decoded += 1
            try:
                yield self.dataset.load(index)
            except DataError:
                continue  # told when it is this sample's own turn


_CHANGES = {"crop": crop, "scale_jitter": scale_jitter, "colour": colour}
