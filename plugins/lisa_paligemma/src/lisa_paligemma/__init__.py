"""The `paligemma` family for lisa-core. Light on purpose: the adapter in `vlm.py` is imported only when it is used."""

from __future__ import annotations

from lisa_core import KnownCheckpoint, VLMSpec, hookimpl


@hookimpl
def lisa_vlms() -> list[VLMSpec]:
    """Announce PaliGemma and PaliGemma 2."""
    return [
        VLMSpec(
            name="paligemma",
            target="lisa_paligemma.vlm:PaliGemma",
            default_checkpoint="google/paligemma-3b-mix-224",
            model_types=("paligemma",),
            summary="PaliGemma and PaliGemma 2 (pt and mix; 224, 448 and 896 pixels)",
            geometry="the picture squashed to a square; nothing of the grid is padding",
            checkpoints=(
                KnownCheckpoint("google/paligemma-3b-pt-224", 2_923_466_480, 1152, 2048, "gemma", gated=True),
                KnownCheckpoint("google/paligemma-3b-mix-224", 2_923_466_480, 1152, 2048, "gemma", gated=True),
            ),
        )
    ]
