"""What the cut-outs may be called, and which of them and of the photographs each split may show.

`stamps.json` lists the photographed cut-outs with a noun phrase. `words.json`, also written by eye, says what an
expression has to know to be true of one object alone: every name that surely fits, from the narrowest to the broadest,
every name that somebody might give it, colours, and for the photographs whatever their own contents might be called.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from material import STAMPS, backgrounds, need_packages

from lisa_core.errors import ConfigError

HERE = Path(__file__).parent
SPLITS = ("train", "val", "test_unseen")
HELD_OUT_SHARE = 0.2
"""Share of each family's cut-outs that only `test_unseen` shows."""

_HELD_OUT_SEED = 1  # changes what is held out, so it goes with the benchmark's version and not with a run's seed


@dataclass(frozen=True)
class Words:
    """What one cut-out may be called."""

    names: tuple[str, ...]
    """Nouns that surely fit, the narrowest first: `great blue heron`, `heron`, `bird`, `animal`."""
    maybe: frozenset[str] = frozenset()
    """Nouns that somebody might use for it: `crane`."""
    colours: tuple[str, ...] = ()
    """Colours it surely has."""
    seen: frozenset[str] = frozenset()
    """Colours that show somewhere on it, at least a tenth of its pixels."""
    attributes: tuple[str, ...] = ()
    """Other adjectives that surely fit: `flying`."""
    maybe_attributes: frozenset[str] = frozenset()
    """Other adjectives that might fit."""
    size: int = 2
    """Of the real thing: 1 fits in a hand, 2 in the arms, 3 up to a cow or a person, 4 a car or a tree, 5 a planet."""

    def may_be(self, name: str) -> bool:
        """Whether anybody might use the noun for it."""
        return name in self.names or name in self.maybe

    def may_look(self, adjective: str) -> bool:
        """Whether anybody might use the adjective for it."""
        return (
            adjective in self.colours
            or adjective in self.seen
            or adjective in self.attributes
            or adjective in self.maybe_attributes
        )


@dataclass(frozen=True)
class Stamp:
    """One cut-out."""

    key: str
    """Path below the package's `stamps` folder."""
    path: Path
    """PNG with alpha."""
    family: str
    """Broad kind, by which the split is stratified: `bird`, `tool`."""
    words: Words
    """What it may be called."""
    may_flip: bool = True
    """False for what bears writing or shows its side of the road."""
    group: str | None = None
    """Cut-outs of one subject share a group and stay in one split."""


@dataclass(frozen=True)
class Background:
    """One photograph."""

    key: str
    """`mate/Aqua`."""
    path: Path
    """JPEG."""
    split: str
    """The one split that shows it."""
    words: frozenset[str] = frozenset()
    """Nouns that might be used for something it shows."""


@dataclass(frozen=True)
class Material:
    """Everything scenes are composed of."""

    stamps: tuple[Stamp, ...]
    backgrounds: tuple[Background, ...]

    def held_out(self) -> frozenset[str]:
        """Keys of the cut-outs that only `test_unseen` shows; the same for every seed."""
        return hold_out(self.stamps)

    def of_split(self, split: str) -> tuple[list[Stamp], list[Background]]:
        """The cut-outs and photographs that a split may show."""
        held_out = self.held_out()
        stamps = [stamp for stamp in self.stamps if (stamp.key in held_out) == (split == "test_unseen")]
        return stamps, [background for background in self.backgrounds if background.split == split]


def load_material() -> Material:
    """The installed material with its words; raises `ConfigError` that says what to install when some is missing."""
    need_packages()
    listed = {entry["path"] for entry in _read("stamps.json")}
    words = _read("words.json")
    stamps = tuple(_stamp(entry) for entry in words["stamps"] if not entry.get("skip", False))
    photographs = backgrounds()
    missing = [str(stamp.path) for stamp in stamps if not stamp.path.is_file()]
    missing += [entry["name"] for entry in words["backgrounds"] if entry["name"] not in photographs]
    if missing:
        raise ConfigError(
            f"{len(missing)} files of the packages are not as they were described, {missing[0]} the first: "
            "install tuxpaint-stamps-default 2022.06.04, mate-backgrounds 1.26 and lomiri-wallpapers-16.04 20.04"
        )
    unlisted = {stamp.key for stamp in stamps} - listed
    if unlisted:
        raise ConfigError(f"words.json describes what stamps.json does not list, {min(unlisted)} the first: add it.")
    return Material(
        stamps,
        tuple(
            Background(entry["name"], photographs[entry["name"]], entry["split"], frozenset(entry["words"]))
            for entry in words["backgrounds"]
        ),
    )


def hold_out(stamps: Sequence[Stamp], share: float = HELD_OUT_SHARE) -> frozenset[str]:
    """Keys of a seeded choice of `share` of each family, whole groups at a time."""
    families: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for stamp in sorted(stamps, key=lambda stamp: stamp.key):
        families[stamp.family][stamp.group or stamp.key].append(stamp.key)
    chosen: set[str] = set()
    for number, (_, groups) in enumerate(sorted(families.items())):
        rng = np.random.default_rng(np.random.SeedSequence([_HELD_OUT_SEED, number]))
        wanted = round(share * sum(map(len, groups.values())))
        taken = 0
        for index in rng.permutation(len(groups)).tolist():
            keys = list(groups.values())[index]
            if taken + len(keys) <= wanted:
                chosen.update(keys)
                taken += len(keys)
    return frozenset(chosen)


def _stamp(entry: dict[str, Any]) -> Stamp:
    words = Words(
        names=tuple(entry["names"]),
        maybe=frozenset(entry["maybe"]),
        colours=tuple(entry["colours"]),
        seen=frozenset(entry["seen"]),
        attributes=tuple(entry["attributes"]),
        maybe_attributes=frozenset(entry["maybe_attributes"]),
        size=entry["size"],
    )
    return Stamp(
        entry["path"], STAMPS / entry["path"], entry["family"], words, entry.get("flip", True), entry.get("group")
    )


def _read(name: str) -> Any:
    return json.loads((HERE / name).read_text(encoding="utf-8"))
