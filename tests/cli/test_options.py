from __future__ import annotations

import dataclasses
import re
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import typer
from typer.testing import CliRunner

from lisa_core.cli.app import app
from lisa_core.cli.options import train_options
from lisa_core.config import SECTIONS, TrainConfig

FIELDS = [item for section in SECTIONS.values() for item in dataclasses.fields(section)]
runner = CliRunner()
PARSED: list[TrainConfig] = []
COMMAND = typer.Typer()
COMMAND.command()(train_options(PARSED.append))


def parse(*args: str) -> TrainConfig:
    """The config that `lisa train ARGS` would run with."""
    PARSED.clear()
    result = runner.invoke(COMMAND, args, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (config,) = PARSED
    return config


def test_no_flag_at_all_is_the_default_config() -> None:
    assert parse() == TrainConfig()


@pytest.fixture(scope="module")
def help_page() -> str:
    page = runner.invoke(app, ["train", "--help"], env={"COLUMNS": "400", "NO_COLOR": "1", "TERM": "dumb"}).output
    return re.sub(r"[│╭╮╰╯─\s]+", " ", page)


@pytest.mark.parametrize("item", FIELDS, ids=lambda item: item.name)
def test_each_field_has_a_flag_and_its_help(item: dataclasses.Field[Any], help_page: str) -> None:
    assert f" --{item.name.replace('_', '-')} " in help_page
    assert item.metadata["help"] and " ".join(item.metadata["help"].split()) in help_page


@pytest.mark.parametrize("section", SECTIONS.values(), ids=SECTIONS)
def test_each_section_has_a_panel(section: type, help_page: str) -> None:
    assert f" {section.__doc__} " in help_page


@pytest.mark.parametrize("item", FIELDS, ids=lambda item: item.name)
def test_each_flag_sets_its_own_field_and_no_other(item: dataclasses.Field[Any]) -> None:
    flag = f"--{item.name.replace('_', '-')}"
    section = next(name for name, cls in SECTIONS.items() if item in dataclasses.fields(cls))
    if isinstance(item.default, bool):
        args, value = ([flag], True) if not item.default else ([flag.replace("--", "--no-", 1)], False)
    else:
        hint = get_type_hints(SECTIONS[section])[item.name]
        kinds = {*get_args(hint), hint}
        is_list = get_origin(hint) is tuple
        value = (
            "auto"
            if item.name == "resume"
            else (
                get_args(hint)[-1]
                if get_origin(hint) is Literal
                else 7
                if int in kinds
                else 0.25
                if float in kinds
                else "x"
            )
        )
        args = [flag, str(value)]
        value = (value,) if is_list else value
    default = TrainConfig()
    expected = dataclasses.replace(
        default, **{section: dataclasses.replace(getattr(default, section), **{item.name: value})}
    )
    assert expected != default, "choose another value, this one is the default"
    assert parse(*args) == expected


def test_what_is_on_can_be_turned_off() -> None:
    assert parse("--no-similarity-map").model.similarity_map is False
    assert parse("--similarity-map").model.similarity_map is True


def test_a_flag_that_may_be_repeated_keeps_its_order() -> None:
    assert parse("--vlm-option", "b=1", "--vlm-option=a=x y").model.vlm_option == ("b=1", "a=x y")


def test_field_names_do_not_repeat_across_sections() -> None:
    names = [item.name for item in FIELDS]
    assert len(set(names)) == len(names), "two sections would share one flag"
