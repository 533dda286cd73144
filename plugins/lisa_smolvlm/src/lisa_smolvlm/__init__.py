"""The `smolvlm` family for lisa-core. Light on purpose: the adapter in `vlm.py` is imported only when it is used."""

from __future__ import annotations

from lisa_core import FamilyOption, KnownCheckpoint, VLMSpec, hookimpl


@hookimpl
def lisa_vlms() -> list[VLMSpec]:
    """Announce SmolVLM and Idefics3, which share one architecture and one way of handing over the image grid."""
    return [
        VLMSpec(
            name="smolvlm",
            target="lisa_smolvlm.vlm:SmolVLM",
            default_checkpoint="HuggingFaceTB/SmolVLM-Instruct",
            model_types=("idefics3", "smolvlm"),
            summary="SmolVLM, SmolVLM2 and Idefics3",
            geometry="the picture squashed to one square, the global tile; crops of it, if split, only for reading",
            checkpoints=(
                KnownCheckpoint("HuggingFaceTB/SmolVLM-Instruct", 2_246_272_880, 1152, 2048, "apache-2.0"),
                KnownCheckpoint("HuggingFaceTB/SmolVLM-Base", 2_246_272_880, 1152, 2048, "apache-2.0"),
            ),
            options=(
                FamilyOption(
                    "image_splitting",
                    bool,
                    None,
                    "Also cut the picture into crops for the language model to read: finer, and many more tokens.",
                ),
                FamilyOption(
                    "longest_edge", int, None, "Side the picture is scaled to before it is cut into crops, in pixels."
                ),
            ),
        )
    ]
