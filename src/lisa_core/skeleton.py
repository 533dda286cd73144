"""A run's model without its weights, and a batch as the run would feed it: what can be told of a config alone."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from PIL import Image
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    CLIPImageProcessor,
    PreTrainedConfig,
)
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

from lisa_core.build import sam_size, vlm_source
from lisa_core.catalogue import look_up
from lisa_core.clip_llm import ClipLLM
from lisa_core.config import TrainConfig
from lisa_core.data.collate import Collator
from lisa_core.discovery import one_line
from lisa_core.errors import ConfigError
from lisa_core.families import option_values, resolve_family
from lisa_core.hf import HFVLM
from lisa_core.model import LisaModel
from lisa_core.model_config import ModelConfig
from lisa_core.prompts import answer, conversation, question
from lisa_core.registry import get_registry
from lisa_core.sam import SamImageEncoder, SamMaskDecoder
from lisa_core.tiny import tiny_tokenizer
from lisa_core.vlm import VLM, Batch

PICTURE = (1024, 768)
"""Size of the pictures that are assumed, (width, height) in pixels; only some families see more of a larger one."""
EXPRESSION = "the dark wooden chair on the left that stands next to the small round table with the flowers"
"""The referring expression that is assumed of every sentence."""


def build_skeleton(config: ModelConfig) -> LisaModel:
    """The whole model on the meta device: real classes, published sizes, no weights.

    What is not at hand without a download is stood in for: the tokenizer is that of the family's tiny model, and the
    image processor the default one of its class, set to the checkpoint's sizes.

    Raises:
        ConfigError, PluginError: if no config can be had, nothing can be built from it, or the family has no tiny
            model and the checkpoint's own processor is not at hand.
    """
    config = resolve_family(config)
    with torch.device("meta"):
        vlm = _vlm(config)
        if config.img_size is not None:
            vlm.resize_images(config.img_size)
        vlm.configure(**option_values(config.vlm, config.vlm_option))
        size = sam_size(config)
        encoder = SamImageEncoder(size) if config.mask_features == "sam" else None
        return LisaModel(vlm, SamMaskDecoder(size), config, encoder)


def sample_batch(model: LisaModel, config: TrainConfig) -> Batch:
    """A micro-batch of blank pictures with as many sentences as the run has, CPU tensors."""
    turns = config.data.turns
    sentences = config.data.batch_size
    each = min(config.data.sentences_per_image, sentences)
    counts = [min(each, sentences - start) for start in range(0, sentences, each)]  # sentences of each picture
    # The picture of each row, and how many sentences it asks.
    rows = [(image, min(turns, of - turn)) for image, of in enumerate(counts) for turn in range(0, of, turns)]
    said = [conversation([(question(EXPRESSION, is_sentence=False), answer())] * asked) for _, asked in rows]
    collator = Collator(model.vlm, model.config, sam_size(model.config), turns=turns)
    batch = collator.inputs(
        [Image.new("RGB", PICTURE, "gray")] * len(counts),
        [asked for asked, _ in said],
        [reply for _, reply in said],
        [image for image, _ in rows],
    )
    batch["seg_row"] = torch.tensor([row for row, (_, asked) in enumerate(rows) for _ in range(asked)])
    batch["targets"] = torch.zeros(sentences, collator.mask_side, collator.mask_side)
    batch["valid"] = torch.ones_like(batch["targets"])
    return batch


def _vlm(config: ModelConfig) -> VLM:
    cls = get_registry().load_vlm_class(config.vlm)
    if config.is_tiny:
        return cls.tiny()
    source = vlm_source(config)
    parts = look_up(source)
    if issubclass(cls, ClipLLM):
        return _pair(parts, cls)
    if not issubclass(cls, HFVLM):
        raise ConfigError(f"--vlm {config.vlm} is no transformers model, so nothing is known of it before it is loaded")
    described = _described(*parts[0][:2])
    processor = _own_processor(source) or _stand_in(cls, described)
    return cls(_built(AutoModelForImageTextToText, described, source), processor)


def _pair(parts: list[tuple[str, dict[str, Any], str]], cls: type[ClipLLM]) -> ClipLLM:
    if len(parts) != 2:
        raise ConfigError("clip-llm needs two models: give --image-encoder-model-name and --text-encoder-model-name")
    (image_name, image, _), (text_name, text, _) = parts
    tower, language = _described(image_name, image), _described(text_name, text)
    # Of a whole image-text checkpoint, only the vision half is wanted.
    tower = getattr(tower, "vision_config", tower)
    vision = _built(AutoModel, tower, image_name)
    if not all(hasattr(tower, name) for name in ("hidden_size", "image_size", "patch_size")):
        raise ConfigError(f"{image_name} ({image['model_type']}) is no vision transformer: use CLIP, SigLIP or DINOv2")
    square = {"height": tower.image_size, "width": tower.image_size}
    images = _cached(AutoImageProcessor, image_name) or CLIPImageProcessor(size=square, crop_size=square)
    tokenizer = _cached(AutoTokenizer, text_name) or tiny_tokenizer()
    return cls(vision, _built(AutoModelForCausalLM, language, text_name), images, tokenizer)


def _described(name: str, config: dict[str, Any]) -> PreTrainedConfig:
    try:
        return AutoConfig.for_model(**config)
    except Exception as error:  # a config that makes no sense fails in as many ways as there are architectures
        raise ConfigError(f"the config of {name} cannot be used: {one_line(error)[:240]}") from error


def _built(loader: Any, described: PreTrainedConfig, name: str) -> Any:
    try:
        return loader.from_config(described, dtype=torch.float32)
    except Exception as error:  # as above
        raise ConfigError(f"the config of {name} cannot be built: {one_line(error)[:240]}") from error


def _cached(loader: Any, name: str) -> Any:
    """What a local folder or the hub's cache has; None if it has not."""
    try:
        with torch.device("cpu"):
            return loader.from_pretrained(name, local_files_only=True)
    except Exception:  # whatever is the matter with it, it is told when the run starts; here it is only a guide
        return None


def _own_processor(name: str) -> Any:
    processor = _cached(AutoProcessor, name)
    return processor if hasattr(processor, "tokenizer") and hasattr(processor, "image_processor") else None


def _stand_in(cls: type[HFVLM], config: Any) -> Any:
    """A processor for a checkpoint whose own is not at hand; the config gets the tiny model's special tokens."""
    tiny: Any = cls.tiny()
    small, given = tiny.model.config, tiny.processor
    for name, value in small.to_dict().items():
        if name.endswith(("_token_id", "_token_index")) and isinstance(value, int):
            setattr(config, name, value)
    made: Any = PROCESSOR_MAPPING[type(config)]
    classes: Any = IMAGE_PROCESSOR_MAPPING[type(config)]
    images = (classes.get("torchvision") or classes["pil"])()
    _fit_images(images, config)
    changes = {
        name: getattr(given, name)
        for name in inspect.signature(made.__init__).parameters
        if name not in ("self", "args", "kwargs") and getattr(given, name, None) is not None
    }
    vision = config.vision_config
    side = getattr(vision, "image_size", None)
    changes["image_processor"] = images
    if "patch_size" in changes:
        changes["patch_size"] = vision.patch_size
    if "image_seq_len" in changes or hasattr(config, "scale_factor"):
        changes["image_seq_len"] = (side // vision.patch_size // config.scale_factor) ** 2
    return made(**changes)


def _fit_images(images: Any, config: Any) -> None:
    """Set a default image processor to the sizes of a checkpoint's vision tower."""
    vision = config.vision_config
    for mine, theirs in (
        ("patch_size", "patch_size"),
        ("merge_size", "spatial_merge_size"),
        ("temporal_patch_size", "temporal_patch_size"),
    ):
        if hasattr(images, mine) and hasattr(vision, theirs):
            setattr(images, mine, getattr(vision, theirs))
    side = getattr(vision, "image_size", None)
    if side is None:
        return
    if getattr(images, "max_image_size", None) is not None:
        # Such families cut a picture of four tiles' side into tiles, and read the whole as one more.
        images.size, images.max_image_size = {"longest_edge": 4 * side}, {"longest_edge": side}
    else:
        square = {"height": side, "width": side}
        images.size = {"shortest_edge": side} if "shortest_edge" in images.size else square
        if getattr(images, "crop_size", None) is not None:
            images.crop_size = square
    if getattr(config, "image_grid_pinpoints", None) is not None:
        images.image_grid_pinpoints = config.image_grid_pinpoints
    images.image_seq_length = (side // vision.patch_size) ** 2
