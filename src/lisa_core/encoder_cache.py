"""Which encoders of a run are frozen, so that what they compute can be kept."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor, nn

from lisa_core.errors import ConfigError
from lisa_core.feature_cache import EncoderCache, FeatureStore, PictureStores, TextStates, fingerprint
from lisa_core.levers import is_frozen
from lisa_core.model import LisaModel
from lisa_core.tuning import has_adapters
from lisa_core.user_path import user_path
from lisa_core.vlm import VLM


def encoder_cache(model: LisaModel, folder: str | Path) -> EncoderCache:
    """What to keep for a model whose parts are frozen and adapted as they are to be.

    Args:
        model: tuned, with all its weights.
        folder: for all that is kept; other runs with the same encoders use the same files.

    Raises:
        ConfigError: if none of its encoders is frozen, or all that are cannot do without their pictures.
    """
    vlm, config = model.vlm, model.config
    joint = config.fusion == "joint"
    half = str(model.half_dtype)
    facts = {"family": config.vlm, "options": config.vlm_option, "dtype": half}
    root = user_path(folder)
    tower = vlm.vision_tower
    vision = sam = text = None
    parts: list[nn.Module] = []
    if tower is not None and vlm.has_grid and is_frozen(tower) and not (joint and vlm.native_features):
        vision = FeatureStore(root / "vision", fingerprint(tower, facts, _prepared_picture(vlm)))
        parts.append(tower)
    if model.sam_encoder is not None and is_frozen(model.sam_encoder):
        size = dataclasses.asdict(model.decoder.size)
        sam = FeatureStore(root / "sam", fingerprint(model.sam_encoder, {"size": size, "dtype": half}))
        parts.append(model.sam_encoder)
    language = vlm.language_model
    if language is not None and not joint and is_frozen(language):
        scales = (model.tuning.vlm_lora_r, model.tuning.vlm_lora_alpha, model.tuning.lora_rslora)
        of_text = {**facts, "adapters": scales if has_adapters(language) else None}
        text = TextStates(FeatureStore(root / "text", fingerprint(language, of_text)))
        parts.append(language)
    if vision is None and sam is None:
        raise ConfigError(
            "--feature-cache has nothing to keep: this model has no frozen image encoder whose features alone are used "
            "(a VLM's with --fusion late, SAM's; to train: --vlm-freeze, --tune-vision freeze): leave it out"
        )
    return EncoderCache(PictureStores(vision, sam), text, tuple(parts))


def _prepared_picture(vlm: VLM) -> dict[str, Tensor]:
    """What the VLM's image processor makes of a certain picture: it tells processors and their settings apart."""
    values = np.random.default_rng(0).integers(0, 256, (61, 97, 3), dtype=np.uint8)
    batch = vlm.preprocess([Image.fromarray(values)], [""], joint=False)
    return {key: value for key, value in batch.items() if isinstance(value, Tensor) and not key.startswith("text_")}
