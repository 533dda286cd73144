"""The `llava` family for lisa-core. Light on purpose: the adapter in `vlm.py` is imported only when it is used."""

from __future__ import annotations

from lisa_core import FamilyOption, KnownCheckpoint, VLMSpec, hookimpl


@hookimpl
def lisa_vlms() -> list[VLMSpec]:
    """Announce LLaVA-1.5 and LLaVA-NeXT (v1.6)."""
    return [
        VLMSpec(
            name="llava",
            target="lisa_llava.vlm:Llava",
            default_checkpoint="llava-hf/llava-1.5-7b-hf",
            model_types=("llava", "llava_next"),
            summary="LLaVA-1.5 and LLaVA-NeXT (v1.6)",
            geometry="1.5: padded to a square; NeXT: squashed to the base tile, with finer tiles for reading",
            checkpoints=(
                KnownCheckpoint("llava-hf/llava-1.5-7b-hf", 7_063_427_072, 1024, 4096, "llama2"),
                KnownCheckpoint("llava-hf/llava-1.5-13b-hf", 13_351_494_656, 1024, 5120, "llama2"),
                KnownCheckpoint("llava-hf/llava-v1.6-mistral-7b-hf", 7_566_747_648, 1024, 4096, "apache-2.0"),
            ),
            options=(
                FamilyOption(
                    "image_fit",
                    str,
                    "pad",
                    "LLaVA-1.5: pad the picture to a square, as it was trained, or squash it into one.",
                    choices=("pad", "squash"),
                ),
            ),
        )
    ]
