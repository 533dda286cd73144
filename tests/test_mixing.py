"""Which datasets the settings mean, on the command line, as LISA spells them, and in a config file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lisa_core.config import DataConfig, TrainConfig
from lisa_core.config_file import as_plain, resolve
from lisa_core.errors import ConfigError
from lisa_core.mixing import Source, from_list, parse_sources


def test_one_folder_is_one_dataset_called_as_the_folder():
    assert parse_sources("some/where/shapes/") == (Source("shapes", "some/where/shapes/"),)
    assert parse_sources("hf:lisa/reason") == (Source("reason", "hf:lisa/reason"),)
    assert parse_sources("C:\\data\\mine")[0].name == "mine"


def test_several_folders_with_and_without_names():
    found = parse_sources("a/x || vqa=b/y||hf:c/z", data_format="coco||auto||hf", sample_rates="9, 3,0.5")
    assert found == (
        Source("x", "a/x", "coco", 9.0),
        Source("vqa", "b/y", "auto", 3.0),
        Source("z", "hf:c/z", "hf", 0.5),
    )
    assert {source.format for source in parse_sources("a||b", data_format="coco")} == {"coco"}


def test_a_folder_whose_own_path_holds_an_equals_sign_is_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr=3").mkdir()
    assert parse_sources("lr=3") == (Source("lr=3", "lr=3"),)
    assert parse_sources("set=lr=3") == (Source("set", "lr=3"),)


def test_lisa_s_spelling_finds_folders_below_data_and_others(tmp_path: Path):
    (tmp_path / "sem_seg").mkdir()
    (tmp_path / "deep" / "vqa").mkdir(parents=True)
    found = parse_sources(str(tmp_path), "sem_seg||deep/vqa||/else/where||own=sem_seg2", sample_rates="9,3,3,1")
    assert [source.name for source in found] == ["sem_seg", "vqa", "where", "own"]
    assert [source.data for source in found] == [
        *(str(tmp_path / "sem_seg"), str(tmp_path / "deep/vqa"), "/else/where", "sem_seg2")
    ]


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"data": ""}, "--data is missing"),
        ({"data": "a||b", "dataset": "c"}, "--dataset names folders below one --data"),
        ({"data": "a||b||a"}, "--data names a twice"),
        ({"data": "x/a||y/a"}, "two datasets called a"),
        ({"data": "a||b", "data_format": "coco||refer||sa2va"}, "3 formats for 2 datasets"),
        ({"data": "a||b", "sample_rates": "1"}, "1 numbers for 2 datasets"),
        ({"data": "a||b", "sample_rates": "1,x"}, "must be numbers joined by commas"),
        ({"data": "a||b", "sample_rates": "1,0"}, "must be above 0"),
        ({"data": "a||b", "sample_rates": "1,nan"}, "must be above 0"),
        ({"data": "a", "steps_per_epoch": 5}, "--steps-per-epoch needs --sample-rates"),
    ],
)
def test_what_cannot_be_meant_is_one_line(settings: dict[str, Any], line: str):
    with pytest.raises(ConfigError, match=line) as caught:
        TrainConfig(data=DataConfig(**settings)).validate()
    assert "\n" not in str(caught.value)


LIST = """
data:
  - {name: refer, data: sets/refcoco, format: refer, rate: 9}
  - {data: sets/vqa, rate: 3}
  - {data: "hf:some/body", rate: 0.5}
"""


@pytest.mark.parametrize("text", [LIST, "data:\n" + LIST.replace("\n", "\n  ").rstrip(), "data: [a, b]"])
def test_a_list_in_a_config_file(tmp_path: Path, text: str):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    config = resolve(file=str(path)).config
    config.validate()
    if "refer" in text:
        assert config.data.sources == parse_sources(
            "refer=sets/refcoco||sets/vqa||hf:some/body", None, "refer||auto||auto", "9,3,0.5"
        )
    else:
        assert config.data.sources == parse_sources("a||b")
    # It comes back from the run's own config, which knows plain settings only.
    assert DataConfig(**as_plain(config)["data"]) == config.data


def test_rates_may_be_a_list_or_a_number_in_a_file(tmp_path: Path):
    path = tmp_path / "run.yaml"
    for text, rates in (("[9, 3]", "9,3"), ("9,3", "9,3"), ("2", "2")):
        path.write_text(f"data: {{data: 'a||b', sample_rates: {text}}}" if text[0] == "[" else f"sample_rates: {text}")
        assert resolve(file=str(path)).config.data.sample_rates == rates


@pytest.mark.parametrize(
    ("items", "line"),
    [
        ([3], "item 1 must be a folder"),
        (["a", {"data": ""}], "item 2 must be a folder"),
        ([{"data": "a", "rates": 3}], "rates of item 1 is not known"),
        ([{"data": "a||b"}], "an item of its own"),
        ([{"data": "a", "rate": 1}, {"data": "b"}], "item 2 has no rate"),
    ],
)
def test_a_list_that_says_something_else_is_refused(items: list[Any], line: str):
    with pytest.raises(ConfigError, match=line):
        from_list(items)


def test_a_list_and_the_settings_it_stands_for_exclude_each_other(tmp_path: Path):
    path = tmp_path / "run.yaml"
    path.write_text("data: [{data: a, rate: 1}]\nsample_rates: '2'\n")
    with pytest.raises(ConfigError, match="sample_rates is given twice"):
        resolve(file=str(path))
