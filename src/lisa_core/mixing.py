"""Several datasets in one run: what they are called, where they are, and how often each is drawn from."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from lisa_core.errors import ConfigError
from lisa_core.formats import AUTO, HF_PREFIX
from lisa_core.user_path import user_path

JOIN = "||"
"""What stands between several datasets, as in LISA's command lines."""

_NAME = re.compile(r"[A-Za-z0-9_.+-]+")
_KEYS = ("name", "data", "format", "rate")


@dataclass(frozen=True)
class Source:
    """One dataset of a run."""

    name: str
    """What its figures are logged under; unique in the run."""
    data: str
    """Folder, or `hf:ORG/NAME`."""
    format: str = AUTO
    """Format, or `auto`."""
    rate: float | None = None
    """How often it is drawn from, relative to the others; None: each of its samples comes once an epoch."""


def parse_sources(
    data: str, dataset: str | None = None, data_format: str = AUTO, sample_rates: str | None = None
) -> tuple[Source, ...]:
    """The datasets that the settings of these names mean.

    Args:
        data: folders joined by `||`, each `FOLDER` or `NAME=FOLDER`.
        dataset: LISA's spelling: names joined by `||`, each of a folder below `data`, or a path of its own.
        data_format: one format for all, or as many as there are datasets, joined by `||`.
        sample_rates: numbers joined by commas.

    Raises:
        ConfigError: if there is no dataset, one is there twice, or the counts do not fit.
    """
    items = _split(data)
    if dataset:
        if len(items) > 1:
            raise ConfigError("--dataset names folders below one --data: give one folder there, or leave --dataset out")
        items = [_below(items[0] if items else "", name) for name in _split(dataset)]
    if not items:
        raise ConfigError("--data is missing: give the folder that holds train and val")
    found = [_named(item) for item in items]
    paths = Counter(path for _, path in found)
    twice = [path for path, count in paths.items() if count > 1]
    if twice:
        raise ConfigError(f"--data names {twice[0]} twice: name it once, with a higher --sample-rates")
    names = [name for name, _ in found]
    if len(set(names)) < len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"--data has two datasets called {double}: name one of them, OTHER=FOLDER")
    formats = _split(data_format) or [AUTO]
    if len(formats) == 1:
        formats *= len(found)
    if len(formats) != len(found):
        raise ConfigError(
            f"--data-format names {len(formats)} formats for {len(found)} datasets: give one, or one each"
        )
    rates: list[float] | list[None] = [None] * len(found) if sample_rates is None else _rates(sample_rates, len(found))
    return tuple(Source(name, path, kind, rate) for (name, path), kind, rate in zip(found, formats, rates))


def from_list(items: list[Any]) -> dict[str, Any]:
    """The settings that a list of `{name, data, format, rate}` or folders in a config file means.

    Raises:
        ConfigError: for a list that says anything else.
    """
    names, formats, rates = [], [], []
    for place, item in enumerate(items):
        item = {"data": item} if isinstance(item, str) else item
        if not isinstance(item, dict) or not isinstance(item.get("data"), str) or not item["data"].strip():
            raise ConfigError(f"data: item {place + 1} must be a folder, or have `data`, the folder")
        unknown = [str(key) for key in item if key not in _KEYS]
        if unknown:
            raise ConfigError(f"data: {unknown[0]} of item {place + 1} is not known: use {', '.join(_KEYS)}")
        if JOIN in item["data"]:
            raise ConfigError(f"data: item {place + 1} holds {JOIN}: give each dataset an item of its own")
        names.append(item["data"] if item.get("name") is None else f"{item['name']}={item['data']}")
        formats.append(str(item.get("format", AUTO)))
        rates.append(item.get("rate"))
    settings: dict[str, Any] = {"data": JOIN.join(names)}
    if set(formats) != {AUTO}:
        settings["data_format"] = JOIN.join(formats)
    if any(rate is not None for rate in rates):
        if any(rate is None for rate in rates):
            raise ConfigError(f"data: item {rates.index(None) + 1} has no rate, and others have: give all or none")
        settings["sample_rates"] = ",".join(str(rate) for rate in rates)
    return settings


def _split(text: str) -> list[str]:
    return [item.strip() for item in text.split(JOIN) if item.strip()]


def _below(root: str, item: str) -> str:
    """What an item of `--dataset` is, as `--data` would say it: a folder below `root` if there is one of that name."""
    name, path = _parts(item)
    if root and not path.startswith(HF_PREFIX) and (user_path(root) / path).is_dir():
        path = str(Path(root) / path)
    return f"{name or _last(path)}={path}"


def _named(item: str) -> tuple[str, str]:
    """Name and path of an item of `--data`."""
    name, path = _parts(item)
    return name or _last(path), path


def _parts(item: str) -> tuple[str | None, str]:
    """The name that is given, if one is, and the path; a folder whose own path looks like `NAME=FOLDER` is that."""
    name, equals, path = item.partition("=")
    if equals and path and _NAME.fullmatch(name) and not user_path(item).exists():
        return name, path
    return None, item


def _last(path: str) -> str:
    """The last part of a path that names something."""
    path = path.removeprefix(HF_PREFIX)
    return PureWindowsPath(path).name or PurePosixPath(path).name or Path(path).resolve().name or "data"


def _rates(text: str, count: int) -> list[float]:
    try:
        rates = [float(item) for item in text.split(",") if item.strip()]
    except ValueError:
        raise ConfigError(f"--sample-rates is {text!r}, must be numbers joined by commas: 9,3,3,1") from None
    if len(rates) != count:
        raise ConfigError(f"--sample-rates has {len(rates)} numbers for {count} datasets: give one each")
    if not all(math.isfinite(rate) and rate > 0 for rate in rates):
        raise ConfigError(f"--sample-rates is {text!r}, must be above 0: leave out the dataset that you do not want")
    return rates
