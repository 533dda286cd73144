"""Command-line options made from the config dataclasses, so that flags, help and checks have one source."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any, get_origin

import typer

from lisa_core.config import SECTIONS
from lisa_core.config_file import Resolved, resolve
from lisa_core.presets import PRESETS
from lisa_core.settings import hints_of

_PRESET_HELP = "Settings that go together, such as those for a GPU of a size; several by commas. " + " ".join(
    f"{name}: {preset.summary}." for name, preset in PRESETS.items()
)


def train_options(command: Callable[..., None]) -> Callable[..., None]:
    """A Typer command with `--config`, `--preset` and one option for every field of every config section.

    The command's first parameter gets the config that results (`Resolved`, if it is annotated so); parameters after it
    stay parameters of the command line.
    """
    first, *own = inspect.signature(command, eval_str=True).parameters.values()
    parameters = [
        *(parameter for parameter in own if parameter.kind is not inspect.Parameter.KEYWORD_ONLY),
        _option("config_file", str | None, "--config", "YAML or JSON file of settings; flags override it.", "Config"),
        _option("preset", str | None, "--preset", _PRESET_HELP, "Config"),
        *(
            _option(item.name, _typer_hint(hint), _flags(item.name, hint), item.metadata["help"], cls.__doc__, item)
            for cls in SECTIONS.values()
            for item, hint in ((item, hints_of(cls)[item.name]) for item in dataclasses.fields(cls))
        ),
    ]

    def run(**values: Any) -> None:
        mine = {parameter.name: values.pop(parameter.name) for parameter in own}
        file, preset = values.pop("config_file"), values.pop("preset")
        flags = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        resolved = resolve({name: value for name, value in flags.items() if value is not None}, file, preset)
        command(resolved if first.annotation is Resolved else resolved.config, **mine)

    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    )
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__name__ = command.__name__
    run.__doc__ = command.__doc__
    return run


def _option(
    name: str, hint: Any, flags: str, help: str, panel: str | None, item: dataclasses.Field[Any] | None = None
) -> inspect.Parameter:
    """A parameter that is None unless it is given, so that a flag with its default value overrides a file too."""
    default = item.default if item is not None else None
    shown = False if default in (None, False, ()) else str(default)
    option = typer.Option(flags, help=help, rich_help_panel=panel, show_default=shown)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[hint | None, option]
    )


def _typer_hint(hint: Any) -> Any:
    """The hint as Typer knows it: a flag that may be repeated is a list there, a tuple in a config."""
    return list[str] if get_origin(hint) is tuple else hint


def _flags(name: str, hint: Any) -> str:
    flag = name.replace("_", "-")
    return f"--{flag}/--no-{flag}" if hint is bool else f"--{flag}"


def with_dashes(args: Sequence[str]) -> list[str]:
    """Arguments with the underscores of their flags as dashes: `--batch_size` is as good as `--batch-size`."""
    result: list[str] = []
    for place, argument in enumerate(args):
        if argument == "--":
            return [*result, *args[place:]]
        if argument.startswith("--"):
            flag, equals, value = argument.partition("=")
            argument = flag.replace("_", "-") + equals + value
        result.append(argument)
    return result
