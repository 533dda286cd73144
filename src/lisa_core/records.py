"""What is known about one sentence after its mask was compared with the truth: all figures are computed from these."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from lisa_core.matching import InstanceCounts
from lisa_core.metrics import MetricAccumulator, SegmentationMetrics, ratio


@dataclass(frozen=True)
class SampleRecord:
    """One sentence, counted; plain data. Pixels that the truth ignores are in none of the counts."""

    index: int
    """Place in the dataset."""
    id: str
    """`Sample.id`."""
    text: str
    """The sentence."""
    is_sentence: bool
    """A full sentence or question, rather than a noun phrase."""
    image: str
    """File name of the picture."""
    picture: str
    """The same for all sentences about one picture, however often it is stored: the id of the first of them."""
    source: str
    """`Sample.source`."""
    intersection: int
    """Pixels in both masks."""
    union: int
    """Pixels in either mask."""
    truth_pixels: int
    """Pixels of the truth."""
    predicted_pixels: int
    """Pixels of the prediction."""
    counted_pixels: int
    """Pixels of the picture."""
    score: float | None = None
    """The model's own estimate of the IoU, 0..1; None where it gave none."""
    answered: bool = True
    """Whether there was a mask, empty or not; False: a reply without [SEG], or no such prediction."""
    boundary_intersection: int | None = None
    """Pixels in both edges; None if edges were not compared."""
    boundary_union: int | None = None
    """Pixels in either edge."""
    listening_hits: int = 0
    """Pairs (this sentence, another one) in which the mask fits its own object better."""
    listening_pairs: int = 0
    """Such pairs, of different objects in one picture."""
    blind: dict[str, float] = field(default_factory=dict)
    """IoU of what was drawn without reading the sentence, by the name of the guess."""
    instances: InstanceCounts | None = None
    """Several masks against several objects; None where the truth is not told apart into objects."""

    @property
    def iou(self) -> float:
        """Intersection over union; 1 if there was nothing to find and nothing was drawn."""
        return ratio(self.intersection, self.union)

    @property
    def boundary_iou(self) -> float | None:
        """Intersection over union of the edges."""
        if self.boundary_intersection is None or self.boundary_union is None:
            return None
        return ratio(self.boundary_intersection, self.boundary_union)

    @property
    def words(self) -> int:
        """Length of the sentence, in words between blanks."""
        return len(self.text.split())

    @property
    def mask_share(self) -> float:
        """The truth's share of the picture, 0..1."""
        return self.truth_pixels / self.counted_pixels if self.counted_pixels else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, with the IoU for whoever reads it."""
        record = {**vars(self), "iou": self.iou}
        if self.instances is not None:
            record["instances"] = vars(self.instances)
        return record

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> SampleRecord:
        """What `to_dict` made plain.

        Raises:
            TypeError: if a field is missing, is not what it should be, or there is one too many.
            ValueError: if the counts contradict each other.
        """
        if not isinstance(record, dict):
            raise TypeError(f"a sample is an object, not {shortened(record)}")
        values = {key: value for key, value in record.items() if key != "iou"}
        known = {one.name: one for one in fields(cls)}
        for name in values.keys() - known.keys():
            raise TypeError(f"`{name}` is not known")
        for name, one in known.items():
            if name in values:
                means, is_one = _MEANINGS[str(one.type)]
                if not is_one(values[name]):
                    raise TypeError(f"`{name}` must be {means}, not {shortened(values[name])}")
            elif one.default is MISSING and one.default_factory is MISSING:
                raise TypeError(f"`{name}` is missing")
        if values.get("instances") is not None:
            values["instances"] = InstanceCounts(**values["instances"])
        made = cls(**values)
        if made.union != made.truth_pixels + made.predicted_pixels - made.intersection:
            raise ValueError(f"the pixel counts of {made.id} contradict each other")
        return made


def shortened(value: object) -> str:
    """A value as it may stand in an error's one line."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**53  # larger ones are no whole numbers for whoever reads JSON


def _is_share(value: object) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1  # type: ignore[operator]


def _is_instances(value: object) -> bool:
    if not isinstance(value, dict) or value.keys() != {one.name for one in fields(InstanceCounts)}:
        return False
    *counts, summed = (value[one.name] for one in fields(InstanceCounts))
    return all(map(_is_count, counts)) and type(summed) in (int, float) and 0 <= summed <= value["found"]


def _or_null(is_one: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or is_one(value)


_MEANINGS: dict[str, tuple[str, Callable[[object], bool]]] = {
    "int": ("a whole number from 0", _is_count),
    "int | None": ("a whole number from 0 or null", _or_null(_is_count)),
    "str": ("text", lambda value: isinstance(value, str)),
    "bool": ("true or false", lambda value: isinstance(value, bool)),
    "float | None": ("a number in 0..1 or null", _or_null(_is_share)),
    "dict[str, float]": (
        "numbers in 0..1 by name",
        lambda value: isinstance(value, dict) and all(map(_is_share, value.values())),
    ),
    "InstanceCounts | None": ("counts of matched objects or null", _or_null(_is_instances)),
}
"""What a field of that type holds, in words, and whether a value of JSON is that."""


def metrics_of(records: Sequence[SampleRecord]) -> SegmentationMetrics:
    """LISA's figures over some records; raises ValueError if there are none."""
    total = MetricAccumulator()
    for record in records:
        total.add(record.intersection, record.union)
    return total.compute()
