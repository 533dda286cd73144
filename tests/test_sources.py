"""Where weights would be read from, and a config that is read without them; the hub's cache is a folder made here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from huggingface_hub import constants

from lisa_core.errors import ConfigError
from lisa_core.sources import read_config, weights_source


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty hub cache; offline."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return folder


def cached(cache: Path, name: str, **files: str) -> Path:
    """Put files of a model into the cache, as a download does; returns the snapshot."""
    repo = cache / f"models--{name.replace('/', '--')}"
    snapshot = repo / "snapshots" / "0123456789abcdef"
    snapshot.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(snapshot.name)
    for file, content in files.items():
        (snapshot / file).write_text(content)
    return snapshot


def test_a_local_folder_is_its_own_source(tmp_path):
    source = weights_source(str(tmp_path))
    assert (source.kind, source.path, source.line) == ("folder", str(tmp_path), f"local folder {tmp_path}")


def test_what_is_in_the_cache_is_read_there(cache):
    snapshot = cached(cache, "acme/one", **{"model.safetensors": "", "config.json": "{}"})
    source = weights_source("acme/one")
    assert (source.kind, source.path) == ("cache", str(snapshot))
    assert source.line == f"already in the hub cache: {snapshot}"


def test_a_model_in_shards_is_there_when_all_of_them_are(cache):
    index = json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}})
    snapshot = cached(cache, "acme/two", **{"model.safetensors.index.json": index, "model-1.safetensors": ""})
    assert weights_source("acme/two").kind == "nowhere"
    (snapshot / "model-2.safetensors").write_text("")
    assert weights_source("acme/two").path == str(snapshot)


@pytest.mark.parametrize("index", ["{", "{}", "[]", '{"weight_map": 3}'])
def test_a_cut_off_index_is_as_good_as_none(cache, index):
    cached(cache, "acme/two", **{"model.safetensors.index.json": index})
    assert weights_source("acme/two").kind == "nowhere"


def test_a_config_alone_is_not_the_weights(cache):
    cached(cache, "acme/one", **{"config.json": '{"model_type": "llava"}'})
    assert weights_source("acme/one").kind == "nowhere" and read_config("acme/one") == {"model_type": "llava"}


@pytest.mark.parametrize("name", ["acme/absent", "not a name", "a/b/c"])
def test_what_is_nowhere_says_whether_it_could_be_downloaded(cache, monkeypatch, name):
    assert weights_source(name).line == f"not in the hub cache {cache}, and HF_HUB_OFFLINE forbids the download"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert weights_source(name).line == f"would be downloaded from the hub into {cache}"


def refusal(name: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_config(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("[]", "names no model_type"),
        ("{}", "names no model_type"),
        ('{"model_type": 3}', "names no model_type"),
        (b"\xff\xfe", "cannot be read"),
    ],
    ids=["cut off", "deep", "list", "empty", "number", "bytes"],
)
def test_a_config_that_says_nothing_is_one_line(tmp_path, content, said):
    (tmp_path / "config.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    message = refusal(str(tmp_path))
    assert said in message and str(tmp_path) in message


def test_a_folder_without_config_a_file_and_a_missing_folder_are_told_apart(tmp_path):
    (tmp_path / "file").touch()
    assert "has no config.json" in refusal(str(tmp_path))
    assert "is a file" in refusal(str(tmp_path / "file"))
    for absent in (str(tmp_path / "absent"), "./absent", "~/absent", "a/b/c"):
        assert f"there is no folder {absent}" in refusal(absent)


def test_a_name_that_is_not_at_hand_is_one_line(cache):
    assert "is neither a folder nor a hub name" in refusal("not a name")
    message = refusal("acme/absent")
    assert f"not in the hub cache {cache}" in message and "HF_HUB_OFFLINE is set" in message


def hub_error(name: str):
    from huggingface_hub import errors

    error = getattr(errors, name).__new__(getattr(errors, name))
    Exception.__init__(error, "the hub's\nown words")
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("GatedRepoError", "accept its licence at https://huggingface.co/acme/x and run `hf auth login`"),
        ("RepositoryNotFoundError", "the hub has no such model, or it is private"),
        ("LocalEntryNotFoundError", "the hub cannot be reached"),
        ("EntryNotFoundError", "on the hub has no config.json"),
        ("HfHubHTTPError", "the hub's own words"),
    ],
)
def test_what_the_hub_answers_is_one_line_with_what_to_do(cache, monkeypatch, error, said):
    import huggingface_hub

    def answer(*_):
        raise hub_error(error)

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", answer)
    assert said in refusal("acme/x")
