"""`lisa export`: a trained model as a folder to share, with a model card; it needs nothing else, or only the hub."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from lisa_core.build import sam_size, source_names
from lisa_core.checkpoint import META_FILE, Checkpoint, find_checkpoint, read_weights, write_files
from lisa_core.discovery import core_version
from lisa_core.errors import ConfigError
from lisa_core.merge import FINISHED
from lisa_core.model_card import model_card
from lisa_core.model_config import TuningConfig
from lisa_core.sam import SamImageEncoder, SamMaskDecoder, load_sam_weights
from lisa_core.staging import staged, target
from lisa_core.standalone import (
    CARD_FILE,
    SAM_FILE,
    DType,
    Say,
    origin,
    sources,
    write_sam,
    write_standalone,
)
from lisa_core.unload import is_adapted, load_unquantized, unload_adapters
from lisa_core.user_path import user_path
from lisa_core.vetting import OWN, is_hub_name


def export_model(
    path: str | Path,
    out: str | Path,
    merge: bool | None = None,
    base: bool = True,
    dtype: DType | None = None,
    licence: str | None = None,
    overwrite: bool = False,
    say: Say = lambda text: None,
) -> Path:
    """Write a model as a folder that `Segmenter.load` and `lisa push` take, on any machine.

    Args:
        path: a checkpoint, a run (its best checkpoint), or a folder that `lisa merge` or `lisa export` wrote.
        out: folder to write.
        merge: make adapters part of the weights; by default if there are some, and not beside quantized weights: those
            would be loaded whole, and take the memory of whole weights.
        base: put the VLM's weights in, even those that were not trained; else their hub name must do.
        dtype: of the VLM's weights in the folder; by default float32, as they are loaded.
        licence: of the model, as the hub calls it; by default that of the base, where it is known.
        overwrite: replace an older model there.
        say: told what is being done.

    Returns:
        the folder.

    Raises:
        CheckpointError: if the checkpoint cannot be loaded, or the folder not written.
        ConfigError: if the choices exclude one another, `out` cannot be replaced, or the base cannot be loaded.
    """
    checkpoint = find_checkpoint(path)
    adapted, quantization = is_adapted(checkpoint.tuning), checkpoint.tuning.quantization
    if merge and not adapted:
        raise ConfigError(f"{checkpoint.folder} has no adapters to merge: leave --merge out")
    if not base:
        _refuse_without_base(checkpoint, merge, dtype)
    merging = adapted and base and (quantization is None if merge is None else merge)
    folder = target(out, overwrite, [checkpoint.folder, *sources(checkpoint)])
    facts = origin(checkpoint, dtype, quantization if merging else None)
    facts["export"] = {"version": core_version(), "contains_base": base, "adapters": adapted and not merging}
    if base:
        say(f"loading {checkpoint.folder}")
        model = load_unquantized(checkpoint)
        model.tuning = _tuning(checkpoint, merging)
        if merging:
            say("merging the adapters")
            unload_adapters(model, merge=True)
        elif adapted:
            say("the adapters are kept apart" + ("" if quantization is None else f", for a base in {quantization}"))
    say(f"writing {out}")
    with staged(folder) as stage:
        if base:
            write_standalone(stage, model, facts, dtype, adapters=adapted and not merging)
        else:
            _write_without_base(stage, checkpoint, facts)
        meta = json.loads((stage / META_FILE).read_text(encoding="utf-8"))
        (stage / CARD_FILE).write_text(model_card(meta, folder.name, licence).content, encoding="utf-8")
    return folder


def is_exported(folder: Path) -> bool:
    """Whether `lisa export` wrote a folder: a model's with its card, not a run's that holds one."""
    checkpoint = find_checkpoint(folder)
    return checkpoint.folder == folder and "export" in checkpoint.meta and (folder / CARD_FILE).is_file()


def _tuning(checkpoint: Checkpoint, merging: bool) -> TuningConfig:
    """What the exported model is to be loaded with: its adapters, if it keeps some, and its quantization."""
    tuning = checkpoint.tuning
    if merging:
        return FINISHED
    if is_adapted(tuning):
        return tuning
    return dataclasses.replace(
        FINISHED, vlm_use_quantization=tuning.vlm_use_quantization, vlm_quantization=tuning.vlm_quantization
    )


def _refuse_without_base(checkpoint: Checkpoint, merge: bool | None, dtype: DType | None) -> None:
    """Raise ConfigError unless the base can be named to others."""
    if merge:
        raise ConfigError("--merge and --no-base exclude one another: merged weights are the base's own")
    if dtype is not None:
        raise ConfigError("--dtype is that of the base's weights, which --no-base leaves out: give one of the two")
    if checkpoint.model_config.is_tiny:
        raise ConfigError("a tiny model has no base that others could download: leave --no-base out")
    for name in source_names(checkpoint.model_config):
        if not is_hub_name(name):
            raise ConfigError(
                f"--no-base leaves the base for others to download, but {name} is a folder of this machine and no name "
                "on the hub: leave --no-base out"
            )


def _write_without_base(folder: Path, checkpoint: Checkpoint, facts: dict[str, Any]) -> None:
    """Write what the checkpoint itself holds; SAM's encoder with it, since no hub name leads to that."""
    config = checkpoint.model_config
    drawn_on = config.mask_features == "sam" and config.sam_checkpoint is not None
    if drawn_on:
        size = sam_size(config)
        parts = [SamImageEncoder(size), SamMaskDecoder(size)]
        load_sam_weights([*parts], user_path(str(config.sam_checkpoint)))
        write_sam(folder / SAM_FILE, [*parts])
    size_name: Any = config.sam_size_name
    own = dataclasses.replace(config, sam=size_name, sam_checkpoint=OWN + SAM_FILE if drawn_on else None)
    write_files(folder, own, checkpoint.tuning, read_weights(checkpoint), facts)
