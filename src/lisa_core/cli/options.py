"""Command-line options made from the config dataclasses, so that flags, help and checks have one source."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_origin, get_type_hints

import typer

from lisa_core.config import SECTIONS, TrainConfig


def train_options(command: Callable[[TrainConfig], None]) -> Callable[..., None]:
    """A Typer command with one option for every field of every config section, in help panels by section."""
    parameters = [
        inspect.Parameter(
            item.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=_as_typer(item.default),
            annotation=Annotated[
                _typer_hint(hint),
                typer.Option(_flags(item), help=item.metadata["help"], rich_help_panel=section.__doc__),
            ],
        )
        for section in SECTIONS.values()
        for item, hint in ((item, get_type_hints(section)[item.name]) for item in dataclasses.fields(section))
    ]

    def run(**values: Any) -> None:
        sections = {
            name: section(**{item.name: _as_config(values[item.name]) for item in dataclasses.fields(section)})
            for name, section in SECTIONS.items()
        }
        command(TrainConfig(**sections))

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__name__ = command.__name__
    run.__doc__ = command.__doc__
    return run


def _typer_hint(hint: Any) -> Any:
    """The hint as Typer knows it: a flag that may be repeated is a list there, a tuple in a config."""
    return list[str] if get_origin(hint) is tuple else hint


def _as_typer(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _as_config(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _flags(item: dataclasses.Field[Any]) -> str:
    flag = item.name.replace("_", "-")
    return f"--{flag}/--no-{flag}" if item.default is True else f"--{flag}"
