"""Models on the hub: pushed from an exported folder, pulled into the hub's cache or into a folder."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from shlex import quote

from huggingface_hub import HfApi, constants, get_token, snapshot_download
from huggingface_hub.errors import RepositoryNotFoundError

from lisa_core.checkpoint import META_FILE, VLM_FOLDER, WEIGHTS_FILE, find_checkpoint, vet_checkpoint
from lisa_core.durable import put_in_place
from lisa_core.errors import CheckpointError
from lisa_core.export import is_exported
from lisa_core.hub_errors import hub_errors, unreachable
from lisa_core.packaged import model_folder
from lisa_core.staging import staged, target
from lisa_core.standalone import CARD_FILE, SAM_FILE, Say
from lisa_core.user_path import user_path
from lisa_core.vetting import DATA_SUFFIXES, names_outside

_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_TOP = (META_FILE, WEIGHTS_FILE, SAM_FILE, CARD_FILE)
# Nothing else is asked for, whatever else a repository holds.
_WANTED = [*_TOP, "LICENSE*", *(f"{VLM_FOLDER}/*{suffix}" for suffix in DATA_SUFFIXES)]
_REPLACED = [WEIGHTS_FILE, SAM_FILE, f"{VLM_FOLDER}/*"]  # of an older version, nothing may stay among the weights


def is_repo_id(name: str) -> bool:
    """Whether a name may be one of the hub's, ORG/NAME, and is no local path: that may exist, or begin like one."""
    path = user_path(name)
    return bool(_REPO_ID.fullmatch(name)) and not path.exists() and not path.parent.is_dir()


def local_model(name: str | Path, revision: str | None = None) -> Path:
    """The folder of a model: the one of that name here, else a packaged one's, else the hub's, pulled into the cache.

    Raises:
        CheckpointError: if the hub is asked and does not have it, or cannot be reached.
    """
    path = model_folder(name)
    if not is_repo_id(str(name)):
        if revision is not None:
            raise CheckpointError(f"--revision is of the hub's models, and {name} is none: leave it out")
        return path
    try:
        return pull(str(name), revision=revision)
    except CheckpointError as error:
        raise CheckpointError(f"no checkpoint at {name}: there is no such folder here, and {error}") from error


def pull(
    repo_id: str,
    out: str | Path | None = None,
    revision: str | None = None,
    overwrite: bool = False,
    say: Say = lambda text: None,
) -> Path:
    """Download a model that `lisa push` uploaded: data only, nothing of which is executed.

    Args:
        repo_id: ORG/NAME.
        out: folder to write; by default the hub's cache, where `Segmenter.load(repo_id)` finds it.
        revision: branch, tag or commit; by default `main`.
        overwrite: replace an older model in `out`.
        say: told what is being done.

    Returns:
        the folder.

    Raises:
        CheckpointError: if it cannot be had, is no model of this project, or holds what no such model holds.
        ConfigError: if `out` cannot be replaced.
    """
    folder = None if out is None else target(out, overwrite, pulled=True)
    with hub_errors(repo_id, revision):
        commit = _commit(repo_id, revision)
        if folder is None or commit is None:
            say(f"getting {repo_id}")
            found = Path(snapshot_download(repo_id, revision=revision, allow_patterns=_WANTED))
            _check(found, repo_id)
            if folder is None:
                return found
            with staged(folder) as stage:  # nobody can be asked, but it is in the cache
                shutil.copytree(found, stage, dirs_exist_ok=True)
            return folder
        # Named after the commit: files that came before a cut are kept, and never mixed with those of another version.
        stage = folder.with_name(f".{folder.name}.{commit[:12]}.pull")
        say(f"getting {repo_id} (if it is cut off, whole files stay in {stage.name} for the next time)")
        stage.parent.mkdir(parents=True, exist_ok=True)
        snapshot_download(repo_id, revision=commit, allow_patterns=_WANTED, local_dir=stage)
        try:
            _check(stage, repo_id)
        except CheckpointError:
            shutil.rmtree(stage, ignore_errors=True)
            raise
        shutil.rmtree(stage / ".cache", ignore_errors=True)
        put_in_place(stage, folder)
        return folder


def _commit(repo_id: str, revision: str | None) -> str | None:
    """The commit of a revision, known to hold a model of ours; None if the hub cannot be reached."""
    try:
        info = HfApi().model_info(repo_id, revision=revision)
    except Exception as error:
        if unreachable(error):
            return None
        raise
    if META_FILE not in {file.rfilename for file in info.siblings or ()}:
        raise CheckpointError(
            f"{repo_id} on the hub has no {META_FILE}, so it is no segmenter of lisa-core; if it is a vision-language "
            f"model, train on it: `lisa train --vlm-model-name {repo_id}`"
        )
    return info.sha


def _check(folder: Path, repo_id: str) -> None:
    """Raise CheckpointError unless a folder from the hub holds a model, and nothing that could be executed."""
    if not (folder / META_FILE).is_file():
        raise CheckpointError(f"what the cache holds of {repo_id} is incomplete: go online and pull it again")
    vet_checkpoint(find_checkpoint(folder), portable=True)


def push_to_hub(
    folder: str | Path,
    repo_id: str,
    private: bool = False,
    create: bool = True,
    revision: str | None = None,
    message: str | None = None,
    say: Say = lambda text: None,
) -> str:
    """Upload a folder that `lisa export` wrote; of an older version there, only what is no part of a model stays.

    Args:
        folder: the exported model, or a packaged one's name.
        repo_id: ORG/NAME.
        private: create it for yourself and your organization only.
        create: create the repository, and the branch, if it is not there.
        revision: branch; by default `main`.
        message: of the commit.
        say: told what is being done.

    Returns:
        the address of the repository.

    Raises:
        CheckpointError: if the folder is not an exported model, or the hub does not take it.
    """
    root = model_folder(folder)
    files = _files_of(root)
    if not _REPO_ID.fullmatch(repo_id):
        raise CheckpointError(f"{repo_id} is no name on the hub: give ORG/NAME (your user name will do for ORG)")
    if constants.HF_HUB_OFFLINE:
        raise CheckpointError("HF_HUB_OFFLINE is set, so nothing can be pushed: unset it")
    if get_token() is None:
        raise CheckpointError("pushing needs a token of the hub's: run `hf auth login`, or set HF_TOKEN")
    taken = {name.partition("/")[0] for name in files}
    left_out = sorted(path.name for path in root.iterdir() if path.name not in taken)
    if left_out:
        say(f"left out, since it is no part of the model: {', '.join(left_out)}")
    api = HfApi(library_name="lisa-core")
    with hub_errors(repo_id, revision, pushing=True):
        _ensure(api, repo_id, private, create, revision)
        say(f"uploading {len(files)} files to {repo_id}")
        api.upload_folder(
            repo_id=repo_id,
            folder_path=root,
            revision=revision,
            commit_message=message or "Upload a segmenter with lisa push",
            allow_patterns=[_literal(name) for name in files],
            delete_patterns=_REPLACED,
        )
    return f"{api.endpoint}/{repo_id}"


def _ensure(api: HfApi, repo_id: str, private: bool, create: bool, revision: str | None) -> None:
    """Let the repository and the branch exist, as private as they are meant to be."""
    try:
        info = api.model_info(repo_id)
    except RepositoryNotFoundError:
        if not create:
            raise
        api.create_repo(repo_id, private=private or None)  # else as the organization has it
    else:
        if private and not info.private:
            raise CheckpointError(f"{repo_id} is there and public, so --private cannot be had: choose another name")
    if revision not in (None, constants.DEFAULT_REVISION) and create:
        api.create_branch(repo_id, branch=str(revision), exist_ok=True)


def _files_of(root: Path) -> list[str]:
    """Paths within an exported folder of all that belongs to the model; raises CheckpointError if it is none."""
    checkpoint = find_checkpoint(root)
    hint = f"write a folder to share first, `lisa export {quote(str(root))} OUT`, and push that"
    if not is_exported(root):
        raise CheckpointError(f"{root} is not a folder that `lisa export` wrote: {hint}")
    for name in names_outside(checkpoint.meta["model"]):
        raise CheckpointError(f"{root} needs {name}, which is not part of it and not on the hub: {hint}")
    vet_checkpoint(checkpoint, portable=True)
    own = [path for path in root.iterdir() if path.name in _TOP or path.name.startswith("LICENSE")]
    inside = [path for path in (root / VLM_FOLDER).rglob("*") if not path.name.startswith(".")]
    return sorted(path.relative_to(root).as_posix() for path in [*own, *inside] if path.is_file())


def _literal(name: str) -> str:
    """A pattern that only this name matches."""
    return re.sub(r"([*?[])", r"[\1]", name)
