"""The `smolvlm` family for lisa-core. Light on purpose: the adapter in `vlm.py` is imported only when it is used."""

from __future__ import annotations

from lisa_core import VLMSpec, hookimpl


@hookimpl
def lisa_vlms() -> list[VLMSpec]:
    """Announce SmolVLM and Idefics3, which share one architecture and one way of handing over the image grid."""
    return [
        VLMSpec(
            name="smolvlm",
            target="lisa_smolvlm.vlm:SmolVLM",
            default_checkpoint="HuggingFaceTB/SmolVLM-Instruct",
            model_types=("idefics3", "smolvlm"),
            summary="SmolVLM and Idefics3; the whole image squashed to one square tile",
        )
    ]
