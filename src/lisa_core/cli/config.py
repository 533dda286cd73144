"""`lisa config`: write, show and check files of settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from lisa_core.cli.options import train_options
from lisa_core.config_file import Resolved, as_plain, resolve, to_yaml
from lisa_core.errors import ConfigError
from lisa_core.presets import PRESETS

app = typer.Typer(no_args_is_help=True, help="Write, show and check files of settings for `lisa train --config`.")


@app.command("init")
@train_options
def init(
    resolved: Resolved,
    file: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("lisa.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a file with every setting, what it means and its default; flags of `lisa train` are filled in."""
    resolved.config.validate()
    if file.exists() and not force:
        raise ConfigError(f"{file} is there already: choose another name, or add --force")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(to_yaml(resolved), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file} cannot be written ({error}): choose another place") from error
    typer.echo(f"wrote {file}; next: lisa train --config {file}", err=True)


@app.command("show")
@train_options
def show(
    resolved: Resolved,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on stdout.")] = False,
) -> None:
    """Print every setting as it results from preset, file and flags, and where it comes from."""
    resolved.config.validate()
    if as_json:
        print(json.dumps(as_plain(resolved.config), indent=2))
        return
    for section, values in as_plain(resolved.config).items():
        print(f"{section}:")
        for name, value in values.items():
            print(f"  {name}: {json.dumps(value)}".ljust(48) + f"  # {resolved.origins[name]}")


@app.command("validate")
def validate(file: Annotated[str, typer.Argument(help="YAML or JSON file of settings.")]) -> None:
    """Check a file of settings: exit code 0 if `lisa train --config FILE` would take it, else 2."""
    resolved = resolve(file=file)
    resolved.config.validate()
    given = sum(origin != "default" for origin in resolved.origins.values())
    print(f"{file} is valid: {given} settings")


@app.command("presets")
def presets() -> None:
    """List what each --preset sets."""
    for name, preset in PRESETS.items():
        flags = " ".join(
            f"--{key.replace('_', '-')}" + ("" if value is True else f" {value}")
            for key, value in preset.settings.items()
        )
        print(f"{name}: {preset.summary}\n  {flags}")
