"""The `qwenvl` family for lisa-core. Light on purpose: the adapter in `vlm.py` is imported only when it is used."""

from __future__ import annotations

from lisa_core import FamilyOption, KnownCheckpoint, VLMSpec, hookimpl


@hookimpl
def lisa_vlms() -> list[VLMSpec]:
    """Announce Qwen2-VL, Qwen2.5-VL and Qwen3-VL."""
    return [
        VLMSpec(
            name="qwenvl",
            target="lisa_qwenvl.vlm:QwenVL",
            default_checkpoint="Qwen/Qwen2-VL-2B-Instruct",
            model_types=("qwen2_vl", "qwen2_5_vl", "qwen3_vl"),
            summary="Qwen2-VL, Qwen2.5-VL and Qwen3-VL",
            geometry="the picture at its own shape, its sides rounded to whole merge blocks; the grid follows it",
            checkpoints=(
                KnownCheckpoint("Qwen/Qwen2-VL-2B-Instruct", 2_208_985_600, 1280, 1536, "apache-2.0"),
                KnownCheckpoint("Qwen/Qwen2-VL-7B-Instruct", 8_291_375_616, 1280, 3584, "apache-2.0"),
            ),
            options=(
                FamilyOption("min_pixels", int, None, "Smaller pictures are enlarged to this many pixels."),
                FamilyOption(
                    "max_pixels",
                    int,
                    None,
                    "Larger pictures are reduced to this many pixels: the main lever on memory.",
                ),
            ),
        )
    ]
