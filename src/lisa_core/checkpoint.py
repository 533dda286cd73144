"""Self-describing checkpoints: the weights that were trained, and JSON that rebuilds the model around them."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lisa_core.build import build_model
from lisa_core.config import ModelConfig, from_dict, problems
from lisa_core.discovery import one_line
from lisa_core.errors import CheckpointError, ConfigError
from lisa_core.model import LisaModel
from lisa_core.registry import get_registry

META_FILE = "lisa.json"
WEIGHTS_FILE = "model.safetensors"
VLM_FOLDER = "vlm"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder that was found and whose description was read."""

    folder: Path
    """Holds `lisa.json`, `model.safetensors` and, for a tiny model, `vlm/`."""
    model_config: ModelConfig
    """What the model is built from."""
    meta: dict[str, Any]
    """The whole of `lisa.json`."""


def save_checkpoint(folder: Path, model: LisaModel, progress: dict[str, Any]) -> None:
    """Write a checkpoint, whole or not at all: an older one in `folder` stays until the new one is complete.

    Args:
        folder: where to; its parent exists.
        model: on any device.
        progress: JSON-able facts about the run so far (epoch, step, metrics).

    Raises:
        CheckpointError: if it cannot be written.
    """
    try:
        _write(folder, model, progress)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"the checkpoint {folder} cannot be written ({one_line(error)}): free space or choose another folder; "
            "what was saved before is intact"
        ) from error


def _write(folder: Path, model: LisaModel, progress: dict[str, Any]) -> None:
    fresh = folder.with_name(folder.name + ".new")
    stale = folder.with_name(folder.name + ".old")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    save_file(_state_to_save(model), fresh / WEIGHTS_FILE, metadata={"format": "pt"})
    if model.config.is_tiny:
        model.vlm.save_config(fresh / VLM_FOLDER)
    record = get_registry().vlms[model.config.vlm].record
    meta = {
        "format_version": FORMAT_VERSION,
        "plugin": {"family": model.config.vlm, "distribution": record.distribution, "version": record.version},
        "model": dataclasses.asdict(model.config),
        "progress": progress,
    }
    (fresh / META_FILE).write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
    for path in sorted(fresh.rglob("*")):
        if path.is_file():
            _sync(path)
    shutil.rmtree(stale, ignore_errors=True)
    if folder.exists():
        folder.rename(stale)
    fresh.rename(folder)
    shutil.rmtree(stale, ignore_errors=True)


def find_checkpoint(path: str | Path) -> Checkpoint:
    """The checkpoint at a path: its folder, or a run's folder, whose best (else last) checkpoint is meant.

    Raises:
        CheckpointError: if there is none, or its description cannot be read.
    """
    root = Path(path).expanduser()
    # `.old`: a save that was cut off between its two renames.
    candidates = [root, root / "best", root / "best.old", root / "last", root / "last.old"]
    folder = next((candidate for candidate in candidates if (candidate / META_FILE).is_file()), None)
    if folder is None:
        raise CheckpointError(f"no checkpoint at {root}: give a folder with {META_FILE}, or a run of `lisa train`")
    meta, config = _read_description(folder / META_FILE)
    return Checkpoint(folder, config, meta)


def _read_description(path: Path) -> tuple[dict[str, Any], ModelConfig]:
    """The content of a `lisa.json`, and the model config in it; raises CheckpointError if it cannot mean anything."""
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        version = meta["format_version"]
        if not isinstance(version, int) or version < 1:
            raise TypeError(f"format_version is {version!r}")
        # Before anything else: a newer format may have moved the rest.
        if version > FORMAT_VERSION:
            raise CheckpointError(
                f"{path.parent} has format {version}, this lisa-core reads {FORMAT_VERSION}: `pip install -U lisa-core`"
            )
        if not isinstance(meta["model"], dict) or not isinstance(meta["plugin"], dict):
            raise TypeError("model and plugin must be objects")
        config = from_dict(ModelConfig, meta["model"])
        faults = "; ".join(problems(config))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged ({one_line(error)}): use another checkpoint") from error
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error
    if faults:
        raise CheckpointError(f"{path} is damaged ({faults}): use another checkpoint")
    return meta, config


def load_checkpoint(path: str | Path) -> LisaModel:
    """Rebuild a model and fill in its trained weights; on the CPU, in evaluation mode.

    Raises:
        CheckpointError: if the checkpoint is missing, damaged, or its plugin is not installed.
    """
    checkpoint = find_checkpoint(path)
    config = checkpoint.model_config
    family = config.vlm
    if family not in get_registry().vlms:
        package = checkpoint.meta["plugin"].get("distribution", f"lisa-{family}")
        raise CheckpointError(
            f"{checkpoint.folder} was trained with the {family} plugin, not usable here: `pip install {package}` "
            "(`lisa plugins` shows what is installed)"
        )
    vlm_folder = checkpoint.folder / VLM_FOLDER
    # SAM's own file has nothing to add where only its decoder is used: that was trained, and is in our file.
    source = config if config.mask_features == "sam" else dataclasses.replace(config, sam_checkpoint=None)
    model = build_model(source, vlm_folder if vlm_folder.is_dir() else None)
    model.config = config
    try:
        state = load_file(checkpoint.folder / WEIGHTS_FILE)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{checkpoint.folder / WEIGHTS_FILE} is missing or damaged ({one_line(error)})"
        ) from error
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        reason = one_line(error)[:200]  # torch lists every tensor
        raise CheckpointError(f"{checkpoint.folder} does not fit the model it describes: {reason}") from error
    restored = _recoverable_prefixes(model)
    lost = [key for key in missing if not key.startswith(restored)]
    if lost or unexpected:
        raise CheckpointError(
            f"{checkpoint.folder} does not fit the model it describes: {len(lost)} tensors missing, "
            f"{len(unexpected)} unknown (first: {(lost or unexpected)[0]})"
        )
    return model.eval()


def _recoverable_prefixes(model: LisaModel) -> tuple[str, ...]:
    """Prefixes of state that can be read again from where it came, so that a checkpoint need not repeat it."""
    prefixes: list[str] = []
    if not model.config.is_tiny:
        prefixes += [f"vlm.{prefix}" for prefix in model.vlm.pretrained_prefixes]
    if model.config.sam_checkpoint is not None:
        prefixes.append("sam_encoder.")
    return tuple(prefixes)


def _state_to_save(model: LisaModel) -> dict[str, Tensor]:
    recoverable = _recoverable_prefixes(model)
    trained = {name for name, parameter in model.named_parameters(remove_duplicate=False) if parameter.requires_grad}
    # Cloned: tied weights share memory, which safetensors refuses to store.
    return {
        key: value.detach().cpu().clone().contiguous()
        for key, value in model.state_dict().items()
        if key in trained or not key.startswith(recoverable)
    }


def _sync(path: Path) -> None:
    """Make sure a file's bytes are on the disk before anything is renamed."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
