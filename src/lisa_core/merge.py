"""`lisa merge`: a model whose adapters are part of its weights; it computes the same, and is a plain one."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from lisa_core.checkpoint import find_checkpoint
from lisa_core.errors import CheckpointError
from lisa_core.model_config import TuningConfig
from lisa_core.staging import staged, target
from lisa_core.standalone import DType, Say, origin, sources, write_standalone
from lisa_core.unload import is_adapted, load_unquantized, unload_adapters

FINISHED = TuningConfig(vlm_freeze=True)
"""What is done to a model that is finished: nothing; it has no adapters and is not quantized."""


def merge_checkpoint(
    path: str | Path,
    out: str | Path,
    dtype: DType | None = None,
    overwrite: bool = False,
    say: Say = lambda text: None,
) -> Path:
    """Merge a checkpoint's adapters into its base and write the result as a checkpoint with nothing to look up.

    Args:
        path: a checkpoint, or a run (its best checkpoint).
        out: folder to write; its `vlm` is a checkpoint of transformers' own.
        dtype: of the VLM's weights in it; by default float32, as they are loaded.
        overwrite: replace an older model there.
        say: told what is being done.

    Returns:
        the folder.

    Raises:
        CheckpointError: if there are no adapters, the checkpoint cannot be loaded, or the folder not written.
        ConfigError: if `out` cannot be replaced, or the base not loaded.
    """
    checkpoint = find_checkpoint(path)
    if not is_adapted(checkpoint.tuning):
        command = f"lisa export {quote(str(path))} {quote(str(out))}"
        raise CheckpointError(
            f"{checkpoint.folder} has no adapters to merge: `{command}` writes a model that needs nothing else"
        )
    folder = target(out, overwrite, [checkpoint.folder, *sources(checkpoint)])
    say(f"loading {checkpoint.folder}")
    model = load_unquantized(checkpoint)
    say("merging the adapters")
    count = unload_adapters(model, merge=True)
    say(f"{count} layers were merged")
    model.tuning = FINISHED
    facts = origin(checkpoint, dtype, checkpoint.tuning.quantization)
    say(f"writing {out}")
    with staged(folder) as stage:
        write_standalone(stage, model, facts, dtype)
    return folder
