"""Language-instructed segmentation: an image and a sentence go in, a mask comes out.

These are the public names, for users and for plugins. Those that need torch are imported on first use (PEP 562), so
that a plugin can announce itself, and `lisa --help` can run, without it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lisa_core.errors import CheckpointError, ConfigError, DataError, LisaError, PluginError
from lisa_core.hookspecs import hookimpl
from lisa_core.types import API_VERSION, DatasetSpec, FamilyOption, KnownCheckpoint, VLMSpec

if TYPE_CHECKING:
    from lisa_core.data.base import Example, Sample, SegmentationDataset
    from lisa_core.data.picture_file import load_image
    from lisa_core.hf import HFVLM
    from lisa_core.model import LisaModel
    from lisa_core.segmenter import Segmentation, Segmenter
    from lisa_core.tiny import (
        TINY_IMAGE,
        TINY_PATCH,
        TINY_WIDTH,
        grid_positions,
        tiny_text_config,
        tiny_tokenizer,
        tiny_vision_config,
    )
    from lisa_core.vision_size import check_side, resize_vision_tower
    from lisa_core.vlm import SEG_TOKEN, VLM, Batch, ImageFeatures, VLMDims, VLMOutput, full_content

    __version__: str

__all__ = [
    "API_VERSION",
    "HFVLM",
    "SEG_TOKEN",
    "TINY_IMAGE",
    "TINY_PATCH",
    "TINY_WIDTH",
    "VLM",
    "Batch",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "DatasetSpec",
    "Example",
    "FamilyOption",
    "ImageFeatures",
    "KnownCheckpoint",
    "LisaError",
    "LisaModel",
    "PluginError",
    "Sample",
    "Segmentation",
    "SegmentationDataset",
    "Segmenter",
    "VLMDims",
    "VLMOutput",
    "VLMSpec",
    "__version__",
    "check_side",
    "full_content",
    "grid_positions",
    "hookimpl",
    "load_image",
    "resize_vision_tower",
    "tiny_text_config",
    "tiny_tokenizer",
    "tiny_vision_config",
]

_LAZY = {
    "Batch": "lisa_core.vlm",
    "Example": "lisa_core.data.base",
    "HFVLM": "lisa_core.hf",
    "ImageFeatures": "lisa_core.vlm",
    "LisaModel": "lisa_core.model",
    "SEG_TOKEN": "lisa_core.vlm",
    "Sample": "lisa_core.data.base",
    "Segmentation": "lisa_core.segmenter",
    "SegmentationDataset": "lisa_core.data.base",
    "Segmenter": "lisa_core.segmenter",
    "TINY_IMAGE": "lisa_core.tiny",
    "TINY_PATCH": "lisa_core.tiny",
    "TINY_WIDTH": "lisa_core.tiny",
    "VLM": "lisa_core.vlm",
    "VLMDims": "lisa_core.vlm",
    "VLMOutput": "lisa_core.vlm",
    "check_side": "lisa_core.vision_size",
    "full_content": "lisa_core.vlm",
    "grid_positions": "lisa_core.tiny",
    "load_image": "lisa_core.data.picture_file",
    "resize_vision_tower": "lisa_core.vision_size",
    "tiny_text_config": "lisa_core.tiny",
    "tiny_tokenizer": "lisa_core.tiny",
    "tiny_vision_config": "lisa_core.tiny",
}


def __getattr__(name: str) -> Any:
    """Import a torch-backed name, or read the installed version, when it is first asked for."""
    if name == "__version__":
        from lisa_core.registry import core_version

        value: Any = core_version()
    elif name in _LAZY:
        value = getattr(import_module(_LAZY[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
