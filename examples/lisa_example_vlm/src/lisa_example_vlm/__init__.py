"""The `internvl` family for lisa-core. Light on purpose: the adapter in `vlm.py` is imported only when it is used."""

from __future__ import annotations

from lisa_core import VLMSpec, hookimpl


@hookimpl
def lisa_vlms() -> list[VLMSpec]:
    """Announce InternVL."""
    return [
        VLMSpec(
            name="internvl",
            target="lisa_example_vlm.vlm:InternVL",
            default_checkpoint="OpenGVLab/InternVL3-1B-hf",
            model_types=("internvl",),
            summary="InternVL (the tutorial's example)",
            geometry="the picture squashed to one square tile",
        )
    ]
