"""Command-line options made from the config dataclasses, so that flags, help and checks have one source."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import typer

from lisa_core.config import SECTIONS, TrainConfig


def train_options(command: Callable[[TrainConfig], None]) -> Callable[..., None]:
    """A Typer command with one option for every field of every config section, in help panels by section."""
    parameters = [
        inspect.Parameter(
            item.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=item.default,
            annotation=Annotated[
                hint, typer.Option(_flags(item), help=item.metadata["help"], rich_help_panel=section.__doc__)
            ],
        )
        for section in SECTIONS.values()
        for item, hint in ((item, get_type_hints(section)[item.name]) for item in dataclasses.fields(section))
    ]

    def run(**values: Any) -> None:
        sections = {
            name: section(**{item.name: values[item.name] for item in dataclasses.fields(section)})
            for name, section in SECTIONS.items()
        }
        command(TrainConfig(**sections))

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__name__ = command.__name__
    run.__doc__ = command.__doc__
    return run


def _flags(item: dataclasses.Field[Any]) -> str:
    flag = item.name.replace("_", "-")
    return f"--{flag}/--no-{flag}" if item.default is True else f"--{flag}"
