"""Self-describing checkpoints: the weights that were trained, and JSON that rebuilds the model around them."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lisa_core.build import build_model, source_names
from lisa_core.discovery import one_line
from lisa_core.durable import finish, sync
from lisa_core.errors import CheckpointError, ConfigError
from lisa_core.loading import safetensors_only
from lisa_core.model import LisaModel
from lisa_core.model_config import ModelConfig, TuningConfig
from lisa_core.packaged import is_packaged, model_folder
from lisa_core.registry import get_registry
from lisa_core.run_files import META_FILE
from lisa_core.settings import from_dict, problems
from lisa_core.sources import read_config
from lisa_core.stored_weights import recoverable_prefixes, state_to_save, storable
from lisa_core.tuning import apply_tuning
from lisa_core.vetting import OWN, SOURCES, is_hub_name, names_outside, vet, vet_hub_config

WEIGHTS_FILE = "model.safetensors"
VLM_FOLDER = "vlm"
FORMAT_VERSION = 1
_PACKAGE_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")  # PEP 508
_PORTABLE = ("base", "export")  # entries of `lisa.json` that `lisa merge` and `lisa export` write, and no run does


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder that was found and whose description was read."""

    folder: Path
    """Holds `lisa.json`, `model.safetensors` and, for a tiny model, `vlm/`."""
    model_config: ModelConfig
    """What the model is built from."""
    tuning: TuningConfig
    """Which adapters and which quantization it has."""
    meta: dict[str, Any]
    """The whole of `lisa.json`."""


def save_checkpoint(
    folder: Path,
    model: LisaModel,
    progress: dict[str, Any],
    weights: dict[str, Tensor] | None = None,
    write_more: Callable[[Path], None] | None = None,
) -> None:
    """Write a checkpoint, whole or not at all: an older one in `folder` stays until the new one is complete.

    Args:
        folder: where to; its parent exists.
        model: on any device.
        progress: JSON-able facts about the run so far (epoch, step, metrics).
        weights: what `state_to_save` returned, for a model whose weights are spread over processes.
        write_more: given the new folder before it takes its place, to put further files into it.

    Raises:
        CheckpointError: if it cannot be written.
    """
    try:
        _write(folder, model, progress, weights, write_more)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(folder.with_name(folder.name + ".new"), ignore_errors=True)  # a full disk needs the room
        raise CheckpointError(
            f"the checkpoint {folder} cannot be written ({one_line(error)}): free space or choose another folder; "
            "what was saved before is intact"
        ) from error


def _write(
    folder: Path,
    model: LisaModel,
    progress: dict[str, Any],
    weights: dict[str, Tensor] | None,
    write_more: Callable[[Path], None] | None,
) -> None:
    fresh = folder.with_name(folder.name + ".new")
    stale = folder.with_name(folder.name + ".old")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    weights = state_to_save(model) if weights is None else weights
    write_files(fresh, model.config, model.tuning, weights, {"progress": progress})
    if model.config.is_tiny:
        model.vlm.save_config(fresh / VLM_FOLDER)
    if write_more is not None:
        write_more(fresh)
    for path in [*sorted(fresh.rglob("*")), fresh]:
        finish(path)
    shutil.rmtree(stale, ignore_errors=True)
    if folder.exists():
        folder.rename(stale)
    fresh.rename(folder)
    sync(folder.parent)
    shutil.rmtree(stale, ignore_errors=True)


def write_files(
    folder: Path, config: ModelConfig, tuning: TuningConfig, weights: dict[str, Tensor], facts: dict[str, Any]
) -> None:
    """Write a checkpoint's weights and description into a folder that is there; nobody may rely on them yet.

    Args:
        folder: holds no checkpoint yet.
        config: what the model is built from.
        tuning: which adapters and which quantization it has.
        weights: CPU tensors by name.
        facts: JSON-able; further entries of the description.
    """
    save_file(weights, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    record = get_registry().vlms[config.vlm].record
    meta = {
        "format_version": FORMAT_VERSION,
        "plugin": {"family": config.vlm, "distribution": record.distribution, "version": record.version},
        "model": dataclasses.asdict(config),
        "tuning": dataclasses.asdict(tuning),
        **facts,
    }
    (folder / META_FILE).write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")


def find_checkpoint(path: str | Path) -> Checkpoint:
    """The checkpoint at a path: its folder, or a run's folder, whose best (else last) checkpoint is meant.

    Where there is no folder of that name, it may also be that of a packaged model.

    Raises:
        CheckpointError: if there is none, or its description cannot be read.
    """
    root = model_folder(path)
    # `.old`: a save that was cut off between its two renames.
    candidates = [root, root / "best", root / "best.old", root / "last", root / "last.old"]
    folder = next((candidate for candidate in candidates if (candidate / META_FILE).is_file()), None)
    if folder is None:
        hidden = " (the packaged model of that name is hidden by this folder)" if is_packaged(path) else ""
        raise CheckpointError(
            f"no checkpoint at {root}: give a folder with {META_FILE}, or a run of `lisa train`{hidden}"
        )
    return Checkpoint(folder, *_read_description(folder / META_FILE))


def _read_description(path: Path) -> tuple[ModelConfig, TuningConfig, dict[str, Any]]:
    """The configs in a `lisa.json`, and all of it; raises CheckpointError if it cannot mean anything."""
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
        tuning = from_dict(TuningConfig, meta.get("tuning", {}))  # absent before there were adapters
        faults = "; ".join([*problems(config), *problems(tuning)])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged ({one_line(error)}): use another checkpoint") from error
    except ConfigError as error:
        raise CheckpointError(f"{path}: {_printable(str(error))}") from error
    if faults:
        raise CheckpointError(f"{path} is damaged ({_printable(faults)}): use another checkpoint")
    return local_sources(config, path.parent), tuning, meta


def _printable(text: str) -> str:
    """Somebody else's text without what a terminal would obey."""
    return "".join(letter for letter in text if letter.isprintable())


def local_sources(config: ModelConfig, folder: Path) -> ModelConfig:
    """The config with names that start with `./`, as those of an exported model, found in the checkpoint's folder.

    Raises:
        CheckpointError: if one of them is not inside of it.
    """
    # Not resolved: in the hub's cache the files are links to others, whose names say nothing.
    root, changes = os.path.abspath(folder), dict[str, Any]()
    for name in SOURCES:
        value = getattr(config, name)
        if value is not None and any(part.startswith("..") for part in value.split("+")):
            raise CheckpointError(f"{folder} names {value!r}, which is outside of it: use another checkpoint")
        if value is not None and value.startswith(OWN):
            parts = [os.path.abspath(os.path.join(root, part)) for part in value.split("+")]
            if any(os.path.commonpath([root, part]) != root for part in parts):
                raise CheckpointError(f"{folder} names {value!r}, which is outside of it: use another checkpoint")
            changes[name] = "+".join(parts)
    return dataclasses.replace(config, **changes)


def own_parts(checkpoint: Checkpoint) -> list[Path]:
    """What the model is built from and lies in the checkpoint's own folder: folders and files."""
    named = [checkpoint.meta["model"].get(name) for name in SOURCES]
    parts = [part for value in named if value is not None and value.startswith(OWN) for part in value.split("+")]
    return [checkpoint.folder / part for part in dict.fromkeys([VLM_FOLDER, *parts])]


def is_portable(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint was written for any machine, by `lisa merge` or `lisa export`, and not by a run."""
    return any(entry in checkpoint.meta for entry in _PORTABLE)


def vet_checkpoint(checkpoint: Checkpoint, portable: bool) -> None:
    """Look through all that a checkpoint is loaded from but its own weights, before any of it is read.

    Args:
        checkpoint: from anybody.
        portable: it names files beside it and the hub's models alone; a run names folders of its machine.

    Raises:
        CheckpointError: naming the first part that is not to be trusted.
    """
    for name in names_outside(checkpoint.meta["model"]) if portable else ():
        raise CheckpointError(
            f"{checkpoint.folder} names {name!r}, which is neither inside of it nor a model on the hub: do not trust "
            "this model, or export it again"
        )
    for part in own_parts(checkpoint):
        vet(part)


def load_checkpoint(path: str | Path) -> LisaModel:
    """Rebuild a model and fill in its trained weights; on the CPU, in evaluation mode.

    Raises:
        CheckpointError: if the checkpoint is missing, damaged, or its plugin is not installed.
    """
    checkpoint = find_checkpoint(path)
    model = build_base(checkpoint, checkpoint.tuning.quantization)
    apply_tuning(model, checkpoint.tuning)
    load_weights(model, checkpoint)
    return model.eval()


def build_base(checkpoint: Checkpoint, quantization: str | None) -> LisaModel:
    """The model around a checkpoint's weights: what was there before training, without adapters.

    Raises:
        CheckpointError: if its plugin is not installed, or a part that lies beside its weights is not to be trusted.
        ConfigError: if a part that lies elsewhere cannot be loaded.
    """
    config = checkpoint.model_config
    family = config.vlm
    if family not in get_registry().vlms:
        package = checkpoint.meta["plugin"].get("distribution", f"lisa-{family}")
        # Whoever wrote the description must not have us print a command of theirs.
        named = isinstance(package, str) and _PACKAGE_NAME.fullmatch(package)
        raise CheckpointError(
            f"{checkpoint.folder} was trained with the {_printable(family)} plugin, not usable here: "
            + (f"`pip install {package}`" if named else "ask who made it for the plugin's package")
            + " (`lisa plugins` shows what is installed)"
        )
    vlm_folder = checkpoint.folder / VLM_FOLDER
    portable = is_portable(checkpoint)
    vet_checkpoint(checkpoint, portable)
    # SAM's own file has nothing to add where only its decoder is used: that was trained, and is in our file.
    source = config if config.mask_features == "sam" else dataclasses.replace(config, sam_checkpoint=None)
    with safetensors_only(portable):
        for name in filter(is_hub_name, source_names(config) if portable else ()):
            vet_hub_config(name, read_config(name))
        model = build_model(source, vlm_folder if vlm_folder.is_dir() else None, quantization)
    model.config = config
    return model


def read_weights(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The weights of a checkpoint, on the CPU; raises CheckpointError if they cannot be read."""
    path = checkpoint.folder / WEIGHTS_FILE
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is missing or damaged ({one_line(error)}): use another checkpoint") from error


def load_weights(model: LisaModel, checkpoint: Checkpoint) -> None:
    """Fill a checkpoint's weights into the model it describes.

    Raises:
        CheckpointError: if they cannot be read, or are those of another model.
    """
    try:
        missing, unexpected = model.load_state_dict(read_weights(checkpoint), strict=False)
    except RuntimeError as error:
        reason = one_line(error)[:200]  # torch lists every tensor
        raise CheckpointError(f"{checkpoint.folder} does not fit the model it describes: {reason}") from error
    restored = recoverable_prefixes(model)
    lost = [key for key in missing if not key.startswith(restored)]
    if lost or unexpected:
        raise CheckpointError(
            f"{checkpoint.folder} does not fit the model it describes: {len(lost)} tensors missing, "
            f"{len(unexpected)} unknown (first: {(lost or unexpected)[0]})"
        )


def start_from(model: LisaModel, path: str | Path) -> list[str]:
    """Fill another run's weights into a model that was made for training; returns the names of what starts anew.

    Raises:
        CheckpointError: if there is no usable checkpoint, or the model has no place to keep some of its weights.
    """
    checkpoint = find_checkpoint(path)
    other = checkpoint.model_config.vlm
    if other != model.config.vlm:
        raise CheckpointError(
            f"{checkpoint.folder} is a {other} model and this run's is {model.config.vlm}: give a like one"
        )
    # A tiny VLM starts at random here, and may lie beside the weights there: it is brought along.
    brought = model.config.is_tiny and (checkpoint.meta["model"].get("vlm_model_name") or "").startswith(OWN)
    weights = storable(load_checkpoint(path).state_dict()) if brought else read_weights(checkpoint)
    kept = state_to_save(model)
    homeless = [name for name in weights if name not in kept]
    if homeless:
        hint = (
            "give it the same parts (--standardize-text, --aggregate-map, ...; --vlm-use-lora, --tune-...), or make it "
            "a model of its own: `lisa merge`, and give "
        )
        raise CheckpointError(
            f"{checkpoint.folder} holds {len(homeless)} tensors that this run would not keep (first: {homeless[0]}): "
            f"{hint}its base folder as --vlm-model-name"
        )
    unlike = [name for name, value in weights.items() if value.shape != kept[name].shape]
    if unlike:
        name = unlike[0]
        raise CheckpointError(
            f"{checkpoint.folder} is of another shape: {name} is {list(weights[name].shape)} there and "
            f"{list(kept[name].shape)} here; give the same model, --img-size, --num-prompts, --sam... and --vlm-lora-r"
        )
    model.load_state_dict(weights, strict=False)
    return sorted(set(kept) - set(weights))
