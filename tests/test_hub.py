"""Pushing and pulling against a stand-in of the hub on 127.0.0.1; huggingface_hub itself is the real one.

Its settings are read when it is imported, so each client is a process of its own.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from PIL import Image

from lisa_core import hub
from lisa_core.errors import CheckpointError, ConfigError
from lisa_core.export import export_model
from lisa_core.hub import is_repo_id, local_model, push_to_hub
from lisa_core.merge import merge_checkpoint
from lisa_core.model_config import ModelConfig, TuningConfig
from lisa_core.segmenter import Segmenter

SENTENCE = "the red ring"
Client = Callable[..., list[str]]


@pytest.fixture(scope="module")
def stand_in() -> Any:
    """The module of the stand-in."""
    location = importlib.util.spec_from_file_location("hub_stand_in", Path(__file__).parent / "hub_stand_in.py")
    assert location is not None and location.loader is not None
    module = importlib.util.module_from_spec(location)
    sys.modules["hub_stand_in"] = module  # dataclasses look their module up
    location.loader.exec_module(module)
    return module


@pytest.fixture
def server(stand_in) -> Iterator[Any]:
    with stand_in.StandIn() as running:
        yield running


@pytest.fixture(scope="module")
def work(small_run, small_vlm, tmp_path_factory) -> Path:
    """A folder with a run, `run`, and what was exported from it, `model`; not to be written to."""
    root = tmp_path_factory.mktemp("work")
    config = ModelConfig(vlm="smolvlm", vlm_model_name=small_vlm("smolvlm"), sam="tiny", mask_features="sam")
    small_run(root / "run", config, TuningConfig(vlm_use_lora=True))
    export_model(root / "run", root / "model")
    noise = torch.randint(0, 255, (40, 70, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    Image.fromarray(noise.numpy()).save(root / "picture.png")
    return root


@pytest.fixture
def here(work, tmp_path, monkeypatch) -> Path:
    """A copy of it as the current directory."""
    shutil.copytree(work, tmp_path, dirs_exist_ok=True, symlinks=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def client(server, here) -> Client:
    """Run Python statements in a process whose hub is the stand-in.

    Returns, for each of them, what it printed, or the line with which it was refused.
    """

    def run(*statements: str, home: str = "home", **environ: str) -> list[str]:
        (here / "statements.json").write_text(json.dumps(statements))
        env = {**os.environ, **server.environ(here / home), **environ}
        command = [sys.executable, "-c", PROGRAM]
        process = subprocess.run(command, cwd=here, env=env, capture_output=True, text=True, timeout=300)
        assert process.returncode == 0, process.stderr
        said = process.stdout.split("\0")[:-1]
        assert len(said) == len(statements)
        assert all(line.count("\n") == 1 for line in said if line.startswith("refused: "))
        return said

    return run


PROGRAM = """
import json, os
from lisa_core import LisaError, Segmenter
from lisa_core.hub import pull, push_to_hub
for statement in json.load(open("statements.json")):
    try:
        exec(statement)
    except LisaError as error:
        print("refused:", error)
    print("", end="\\0")
"""


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def hidden(folder: Path) -> list[Path]:
    """What was left behind."""
    return [path for path in folder.iterdir() if path.name.startswith(".")]


def drawn(folder: str | Path) -> np.ndarray:
    return Segmenter.load(folder, "cpu").set_image("picture.png").segment(SENTENCE).logits


@pytest.mark.slow
def test_what_is_pushed_is_pulled_byte_by_byte_and_draws_the_same(server, client, here):
    (here / "model" / "notes.txt").write_text("not for you")
    (here / "model" / "LICENSE").write_text("as you like")
    (said,) = client("print(push_to_hub('model', 'org/rings', message='First', say=print))")
    assert said.splitlines()[-1] == f"{server.endpoint}/org/rings" and "left out" in said and "notes.txt" in said
    repository = server.repositories["org/rings"]
    assert repository.messages == ["initial commit", "First"] and not repository.private
    own = {name: content for name, content in contents(here / "model").items() if name != "notes.txt"}
    assert {name: content for name, content in repository.files.items() if name != ".gitattributes"} == own
    assert any(request.startswith("PUT /lfs/") for request in server.requests), "weights go through LFS"

    # By name: the first time from the hub, afterwards from the cache, the hub being gone.
    draw = (
        "drawn = Segmenter.load('org/rings', 'cpu').set_image('picture.png').segment('the red ring')\n"
        "import numpy; numpy.save('drawn.npy', drawn.logits)"
    )
    get = "pull('org/rings', 'pulled')"
    for statements, changes in (
        ((get, draw), {}),
        ((draw,), {"HF_HUB_OFFLINE": "1"}),
        ((draw,), {"HF_ENDPOINT": "http://127.0.0.1:9"}),
    ):
        assert not any(said.startswith("refused") for said in client(*statements, home="another_home", **changes))
        assert np.array_equal(np.load(here / "drawn.npy"), drawn("model"))
        (here / "drawn.npy").unlink()
    assert contents(here / "pulled") == own
    assert not hidden(here)
    assert np.array_equal(drawn("pulled"), drawn("model"))


@pytest.mark.slow
def test_a_newer_version_leaves_no_weights_of_the_older_one(server, stand_in, client, here):
    older = {"vlm/model-00001-of-00002.safetensors": b"old", "vlm/config.json": b"{}", "photo.jpg": b"theirs"}
    repository = server.repositories["org/rings"] = stand_in.Repository()
    repository.commit("main", older, "an older version")
    export_model(here / "run", here / "kept", merge=False)
    assert client("push_to_hub('kept', 'org/rings')") == [""]
    assert repository.files == {**contents(here / "kept"), "photo.jpg": b"theirs"}


@pytest.mark.slow
def test_branches_and_privacy(server, client, here):
    said = client(
        "push_to_hub('model', 'org/rings', private=True)",
        "push_to_hub('model', 'org/open')",
        "push_to_hub('run2', 'org/rings', revision='v2')",
        "push_to_hub('model', 'org/rings', revision='v2')",
        "pull('org/rings', 'pulled', revision='v2')",
        "pull('org/rings', 'x', revision='v9')",
        "push_to_hub('model', 'org/open', private=True)",
        "push_to_hub('model', 'org/other', create=False)",
        "push_to_hub('model', 'org/rings', revision='v3', create=False)",
    )
    assert said[:2] == ["", ""] and said[3:5] == ["", ""]
    for line, expected in zip(
        [said[2], *said[5:]],
        (
            "no checkpoint at run2",
            "org/rings on the hub has no revision v9",
            "org/open is there and public",
            "the hub has no model org/other that your token may write to: check the spelling, or add --create",
            "org/rings on the hub has no revision v3",
        ),
    ):
        assert line.startswith(f"refused: {expected}"), line
    repository = server.repositories["org/rings"]
    assert repository.private and set(repository.branches) == {"main", "v2"}
    assert not server.repositories["org/open"].private and len(server.repositories) == 2
    assert contents(here / "pulled") == contents(here / "model")


@pytest.mark.slow
def test_every_refusal_of_the_hub_is_one_line_that_says_what_to_do(stand_in, server, client, here):
    push, pull = "push_to_hub('model', 'org/rings')", "pull('org/rings', 'pulled')"

    def with_token(token: str, statement: str) -> str:
        return f"os.environ['HF_TOKEN'] = {token!r}\n{statement}"

    expected = {
        with_token("", push): "pushing needs a token of the hub's: run `hf auth login`, or set HF_TOKEN",
        with_token("hf_wrong", push): "the hub does not know your token",
        with_token(stand_in.READER, push): "your token may not do this to org/rings: give one with write access",
        with_token("", pull): "the hub has no model org/rings, or it is private",
        with_token(stand_in.READER, pull): "the hub has no model org/rings, or it is private",
        "pull('org/rings/x', 'y')": "org/rings/x is no name on the hub: give ORG/NAME",
        "pull('org/gated', 'y')": "org/gated is gated: accept its conditions at",
        "pull('org/vlm', 'y')": "org/vlm on the hub has no lisa.json",
        "Segmenter.load('org/absent')": "no checkpoint at org/absent: there is no such folder here, and the hub has no",
    }
    gated = server.repositories["org/gated"] = stand_in.Repository(gated=True)
    gated.commit("main", {"lisa.json": b"{}"}, "gated")
    server.repositories["org/vlm"] = stand_in.Repository()
    server.repositories["org/vlm"].commit("main", {"config.json": b"{}"}, "a VLM")
    for said, line in zip(client(*expected), expected.values()):
        assert said.startswith(f"refused: {line}"), said
    for said in client(push, pull, HF_HUB_OFFLINE="1"):
        assert "HF_HUB_OFFLINE is set" in said and "unset it" in said
    for said in client(push, pull, HF_ENDPOINT="http://127.0.0.1:9"):
        assert said.startswith("refused: the hub cannot be reached at http://127.0.0.1:9 for org/rings"), said
    assert len(server.repositories) == 2 and not (here / "pulled").exists()


@pytest.fixture
def on_the_hub(server, stand_in, here) -> Any:
    """The model as a repository, `org/rings`."""
    repository = server.repositories["org/rings"] = stand_in.Repository()
    repository.commit("main", contents(here / "model"), "the model")
    return repository


@pytest.mark.slow
def test_files_that_arrived_before_a_download_was_cut_off_are_kept(server, on_the_hub, client, here):
    server.cut_after = 100_000
    (said,) = client("pull('org/rings', 'pulled')", HF_HUB_DOWNLOAD_TIMEOUT="2")
    assert said.startswith("refused: ") and "org/rings" in said and not (here / "pulled").exists()
    assert len(hidden(here)) == 1
    server.cut_after = None
    server.requests.clear()
    assert client("pull('org/rings', 'pulled')") == [""]
    # What had arrived whole is not asked for again; part of a file is thrown away by huggingface_hub itself.
    again = {request.rpartition("/")[2] for request in server.requests if "/resolve/" in request}
    assert again == {"model.safetensors", "sam.safetensors"}
    assert contents(here / "pulled") == contents(here / "model")
    assert not hidden(here)


@pytest.mark.slow
def test_what_does_not_belong_is_not_even_downloaded(server, on_the_hub, client, here):
    evil = {"vlm/pytorch_model.bin": b"pickle", "setup.py": b"print(1)", "vlm/modeling.py": b"print(1)"}
    on_the_hub.commit("main", {**on_the_hub.files, **evil}, "evil")
    config = json.loads(on_the_hub.files["vlm/config.json"])
    bent = json.dumps({**config, "transformers_weights": "tokenizer.json"}).encode()
    on_the_hub.commit("bent", {**on_the_hub.files, "vlm/config.json": bent}, "more evil")
    said = client(
        "pull('org/rings', 'pulled')",
        "Segmenter.load('org/rings', 'cpu')",
        "pull('org/rings', 'bent', revision='bent')",
        "Segmenter.load('org/rings', 'cpu', revision='bent')",
    )
    assert not said[0].startswith("refused") and not said[1].startswith("refused")
    assert contents(here / "pulled") == contents(here / "model")
    assert not [request for request in server.requests if request.endswith((".bin", ".py"))]
    # What would be read is looked at before there is a folder.
    assert all("do not trust this model" in line for line in said[2:]), said
    assert not (here / "bent").exists() and not hidden(here)


@pytest.mark.slow
def test_a_segmenter_pushes_itself(server, client, here):
    client(
        "Segmenter.load('run', 'cpu').push_to_hub('org/from-run', private=True)",
        "Segmenter.load('model', 'cpu').push_to_hub('org/from-model')",
    )
    found = server.repositories["org/from-run"]
    assert found.private and b"# from-run\n" in found.files["README.md"]
    files = {name: content for name, content in server.repositories["org/from-model"].files.items() if name[0] != "."}
    assert files == contents(here / "model")


def test_a_segmenter_from_nowhere_cannot_push_itself(work):
    segmenter = Segmenter(Segmenter.load(work / "model", "cpu").model)
    with pytest.raises(ConfigError, match=r"only what Segmenter\.load loaded"):
        segmenter.push_to_hub("org/name")


def test_only_exported_folders_are_pushed(here):
    merge_checkpoint("run", "merged")
    for folder in ("run", "run/best", "merged"):
        with pytest.raises(CheckpointError, match=rf"{folder} is not a folder that `lisa export` wrote.*`lisa export"):
            push_to_hub(folder, "org/name")
    with pytest.raises(CheckpointError, match="no checkpoint at absent"):
        push_to_hub("absent", "org/name")
    (here / "model" / "vlm" / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin does not belong"):
        push_to_hub("model", "org/name")
    (here / "model" / "vlm" / "pytorch_model.bin").unlink()
    path = here / "model" / "lisa.json"
    meta = json.loads(path.read_text())
    meta["model"]["vlm_model_name"] = str(here / "model" / "vlm")
    path.write_text(json.dumps(meta))
    with pytest.raises(CheckpointError, match="which is not part of it and not on the hub"):
        push_to_hub("model", "org/name")


def test_a_name_for_the_hub_has_two_parts(here):
    for name in ("name", "a/b/c", "org/na me", "/org/name", "org/"):
        with pytest.raises(CheckpointError, match="is no name on the hub: give ORG/NAME"):
            push_to_hub("model", name)


@pytest.fixture
def cached(here, monkeypatch) -> Path:
    """The model in the layout of the hub's cache, as `org/rings`, links to blobs and all; no network."""
    cache = here / "cache"
    repository = cache / "models--org--rings"
    snapshot = repository / "snapshots" / ("b" * 40)
    for number, (name, content) in enumerate(contents(here / "model").items()):
        blob = repository / "blobs" / f"{number:064x}"
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        link = snapshot / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("b" * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return snapshot


def test_a_cached_model_is_loaded_by_name_without_a_network(cached, here):
    assert local_model("org/rings") == cached
    assert np.array_equal(drawn("org/rings"), drawn("model"))
    assert hub.pull("org/rings", "copied") == here / "copied"
    assert contents(here / "copied") == contents(here / "model")
    assert not [path for path in (here / "copied").rglob("*") if path.is_symlink()]
    with pytest.raises(
        CheckpointError, match="no checkpoint at org/other: there is no such folder here, and org/other"
    ):
        local_model("org/other")
    (cached / "lisa.json").unlink()
    with pytest.raises(CheckpointError, match="what the cache holds of org/rings is incomplete"):
        local_model("org/rings")


def test_a_folder_comes_before_a_name_on_the_hub(cached, here):
    shutil.copytree("model", "org/rings")
    assert local_model("org/rings") == Path("org/rings")
    shutil.rmtree("org/rings")
    # Who has a folder `org` meant something in it.
    with pytest.raises(CheckpointError, match=r"no checkpoint at org/rings: give a folder with lisa\.json"):
        Segmenter.load("org/rings")
    with pytest.raises(CheckpointError, match="--revision is of the hub's models"):
        local_model("model", revision="v2")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((name, True) for name in ("org/name", "HuggingFaceTB/SmolVLM-Instruct", "a1/b.c_d-e")),
        *(
            (name, False)
            for name in ("name", "/org/name", "./org/name", "~/name", "../name", "a/b/c", "org/", "", "a\\b")
        ),
    ],
)
def test_names_that_may_be_the_hub_s(name, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_repo_id(name) == expected
