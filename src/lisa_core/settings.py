"""What a setting is: a dataclass field with its help and bounds, checked and read from plain data."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable
from dataclasses import field
from typing import Any, Literal, get_args, get_origin, get_type_hints

from lisa_core.errors import ConfigError


def setting(
    default: Any, help: str, low: float | None = None, high: float | None = None, above: float | None = None
) -> Any:
    """A config field: its default, one line of help, and its bounds (`above` is exclusive)."""
    return field(default=default, metadata={"help": help, "low": low, "high": high, "above": above})


def problems(section: Any) -> Iterable[str]:
    """What is wrong with the values of one config section, one phrase each."""
    hints = hints_of(section.__class__)
    mistyped = False
    for item in dataclasses.fields(section):
        value, hint = getattr(section, item.name), hints[item.name]
        flag = "--" + item.name.replace("_", "-")
        if get_origin(hint) is Literal:
            if value not in get_args(hint):
                yield f"{flag} is {value!r}, must be one of {', '.join(get_args(hint))}"
        elif not _is_of_type(value, hint):
            mistyped = True
            yield f"{flag} is {value!r}, must be {getattr(hint, '__name__', hint)}"
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield from _out_of_bounds(flag, value, item.metadata)
    if hasattr(section, "problems") and not mistyped:
        yield from section.problems()


def _is_of_type(value: object, hint: Any) -> bool:
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(isinstance(item, get_args(hint)[0]) for item in value)
    kinds = get_args(hint) or (hint,)  # `int | None` has arguments, `int` has none
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, kinds) or (isinstance(value, int) and float in kinds)


def _out_of_bounds(flag: str, value: float, bounds: Any) -> Iterable[str]:
    if not math.isfinite(value):
        yield f"{flag} is {value}, must be a finite number"
    elif bounds["low"] is not None and value < bounds["low"]:
        yield f"{flag} is {value}, must be at least {bounds['low']}"
    elif bounds["above"] is not None and value <= bounds["above"]:
        yield f"{flag} is {value}, must be above {bounds['above']}"
    elif bounds["high"] is not None and value > bounds["high"]:
        yield f"{flag} is {value}, must be at most {bounds['high']}"


@functools.cache
def hints_of(cls: type) -> dict[str, Any]:
    """The types of a config section's fields by name; not to be written to."""
    return get_type_hints(cls)


def from_dict(cls: type, values: dict[str, Any]) -> Any:
    """A config section out of plain data, as a checkpoint stores it; names it does not know are refused."""
    hints = hints_of(cls)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ConfigError(
            f"unknown setting {', '.join(unknown)}: made by a newer lisa-core? `pip install -U lisa-core`"
        )
    # JSON has lists only
    return cls(
        **{
            name: tuple(value) if get_origin(hints[name]) is tuple and isinstance(value, list) else value
            for name, value in values.items()
        }
    )


def differences(before: dict[str, Any], now: dict[str, Any]) -> Iterable[tuple[str, Any, Any]]:
    """Settings (`section.name`, one value, the other) that differ between two configs as plain data."""
    for section, values in now.items():
        for name, value in values.items():
            old = before.get(section, {}).get(name)
            value = list(value) if isinstance(value, tuple) else value
            old = list(old) if isinstance(old, tuple) else old
            if old != value:
                yield f"{section}.{name}", old, value
