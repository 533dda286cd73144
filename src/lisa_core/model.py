"""LisaModel: a VLM, the connectors and SAM's mask decoder, from one batch to mask logits."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lisa_core.connectors import ImageSAMConnector, ImageTextConnector, TextSAMConnector
from lisa_core.errors import ConfigError
from lisa_core.feature_cache import EncoderCache, vision_features
from lisa_core.fine import FineFeatures, MaskRefinement, stem_pixels
from lisa_core.geometry import reframe, unpad
from lisa_core.losses import shifted_positions
from lisa_core.model_config import ModelConfig, TuningConfig
from lisa_core.sam import SamImageEncoder, SamMaskDecoder
from lisa_core.seg import seg_states
from lisa_core.similarity import MapAggregation, MapLevel, SimilarityMap
from lisa_core.standardization import Standardization
from lisa_core.vlm import VLM, Batch, ImageFeatures, full_content


@dataclass
class LisaOutput:
    """Masks of one batch. All maps are in the frame of the original picture: no padding, squashed to a square grid."""

    mask_logits: Tensor
    """Low-resolution mask logits [K,s,s], float32, of the masks that are drawn; see `drawn`."""
    iou: Tensor
    """The decoder's own estimate of each drawn mask's IoU, [K]."""
    rows: Tensor
    """The sentence each mask belongs to, int64 [M]."""
    similarity_logits: Tensor | None
    """The similarity map in the same frame at patch resolution [M,g,g], if the model draws one."""
    token_logits: Tensor | None
    """Next-token scores [T,V] at the answer's positions (joint fusion, batch with labels)."""
    token_labels: Tensor | None
    """The ids those scores should predict, [T]."""
    decoded: bool = True
    """False: the mask decoder was left out, the masks are the similarity map's and `iou` is 0."""
    drawn: Tensor | None = None
    """Which of the M masks are drawn, int64 [K]; None: all."""

    def of_drawn(self, values: Tensor) -> Tensor:
        """Those of the drawn masks, of M values: [M,...] -> [K,...]."""
        return values if self.drawn is None else values[self.drawn]


@dataclass
class EncodedImages:
    """Everything that depends on the pictures alone: U of them, encoded once."""

    features: ImageFeatures
    """The VLM's own encoding."""
    mask_features: Tensor
    """What the decoder draws on, float32 [U,C,h,w]; the patches, if the decoder is left out."""
    mask_content: Tensor
    """The part of it that shows the picture, [U,4]."""
    patches: Tensor
    """What the similarity map is drawn on, float32 [U,D,h,w]."""
    patch_content: Tensor
    """The part of it that shows the picture, [U,4]."""
    fine: tuple[Tensor, Tensor] | None = None
    """Finer features in the frame of the mask features, [U,C/4,2h,2w] and [U,C/8,4h,4w], if the model has them."""


class LisaModel(nn.Module):
    """Language-instructed segmentation: a VLM reads, SAM's mask decoder draws.

    `tuning` says which adapters it has (tuning.py), `half_dtype` in which precision the VLM computes (precision.py),
    `map_only` that the similarity map stands for the masks, and nothing of the decoder is computed; `feature_dropout`
    which share of the channels of what the VLM read is dropped in training.

    Args:
        vlm: any implementation of the VLM protocol.
        decoder: SAM's prompt encoder and mask decoder.
        config: fusion mode, mask features, number of prompts.
        sam_encoder: SAM's image encoder; needed for, and only for, `mask_features="sam"`.
    """

    def __init__(
        self, vlm: VLM, decoder: SamMaskDecoder, config: ModelConfig, sam_encoder: SamImageEncoder | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.tuning = TuningConfig()
        self.half_dtype: torch.dtype | None = None
        self.map_only = False
        self.feature_dropout = 0.0
        self.cache = EncoderCache()
        self.vlm = vlm
        self.decoder = decoder
        self.sam_encoder = sam_encoder
        if not vlm.has_grid and (config.fusion != "joint" or config.mask_features != "sam"):
            raise ConfigError(
                f"--vlm {config.vlm} knows of no image grid, so it needs --fusion joint and --mask-features sam; "
                "docs/write-an-adapter.md shows how a family gets a grid"
            )
        dims, width = vlm.dims, decoder.prompt_dim
        self.standardization = Standardization(dims.text) if config.standardize_text else None
        self.text_sam = TextSAMConnector(dims.text, width, config.num_prompts, reads_patches=config.fusion == "late")
        self.image_text = ImageTextConnector(dims.vision, dims.text) if config.fusion == "late" else None
        self.image_sam = ImageSAMConnector(dims.vision, width) if config.mask_features == "vlm" else None
        # Without a grid of the VLM's own, sentence and picture are compared on SAM's features.
        patch_dim = dims.vision if vlm.has_grid else width
        aggregation = MapAggregation(width, config.num_prompts) if config.aggregate_map else None
        self.similarity = SimilarityMap(width, patch_dim, aggregation=aggregation) if config.similarity_map else None
        self.map_level = MapLevel(width) if config.similarity_map and config.map_prompt == "relative" else None
        self.fine = None
        if config.fine_features or config.unfold_patches:
            drawn_dim = dims.vision if config.mask_features == "vlm" else width
            self.fine = FineFeatures(width, drawn_dim if config.unfold_patches else None, config.fine_features)
        self.refinement = MaskRefinement(width // 8) if config.refine_masks else None

    @property
    def drawing_parts(self) -> list[nn.Module]:
        """What makes masks of prompts and map, and is left out where the map stands for them; not SAM's encoder."""
        parts = (self.decoder, self.image_sam, self.fine, self.refinement, self.map_level)
        return [part for part in parts if part is not None]

    def encode_image(self, batch: Batch) -> EncodedImages:
        """Everything that depends on the pictures alone."""
        features = self._vision_features(batch)
        grid, content = features.grid.float(), features.content
        if self.vlm.dynamic_grid:
            # One size for all pictures, so that a mask does not depend on what else is in the batch.
            side = self.decoder.size.image_size // self.decoder.size.patch_size
            grid = unpad(grid, content, (side, side))
            content = full_content(len(grid), grid.device)
        # Whole channels: neighbours hold nearly the same of each, so that single values would not be missed.
        thinned = F.dropout2d(grid, self.feature_dropout, self.training)
        if self.map_only and self.vlm.has_grid:
            return EncodedImages(features, thinned, content, thinned, content)
        if self.image_sam is not None:
            # Channels are dropped so that new things are found, which is the map's work, if there is one; with fewer of
            # them outlines are worse. What is unfolded is whole: each channel is the same detail of every patch.
            drawn_on = self.image_sam(thinned if self.similarity is None else grid)
            frame, unfolded = content, grid
        elif self.sam_encoder is None:
            raise ValueError('mask_features="sam" needs SAM\'s image encoder')
        else:
            drawn_on, frame = self._sam_features(batch, self.sam_encoder), batch["sam_content"]
            unfolded = drawn_on
        patches, patch_frame = (thinned, content) if self.vlm.has_grid else (drawn_on, frame)
        return EncodedImages(features, drawn_on, frame, patches, patch_frame, self._fine(batch, unfolded, frame))

    def _fine(self, batch: Batch, patches: Tensor, frame: Tensor) -> tuple[Tensor, Tensor] | None:
        if self.fine is None:
            return None
        seen = None
        if self.config.fine_features:
            height, width = _size(patches)
            seen = self.fine.stem(stem_pixels(batch["fine_pixels"], patches.shape))
            seen = reframe(seen, full_content(len(frame), frame.device), frame, (4 * height, 4 * width))
        return self.fine(seen, patches)

    def _vision_features(self, batch: Batch) -> ImageFeatures:
        features = vision_features(batch)
        if features is not None:
            return features
        keeps = self.cache.pictures.vision is not None and "picture_keys" in batch
        with self._half(), torch.no_grad() if keeps else nullcontext():
            features = self.vlm.encode_image(batch)
        if keeps:
            self.cache.pictures.keep_vision(batch["picture_keys"], features)
        return features

    def _sam_features(self, batch: Batch, encoder: SamImageEncoder) -> Tensor:
        if "sam_features" in batch:
            return batch["sam_features"]
        keeps = self.cache.pictures.sam is not None and "picture_keys" in batch
        with self._half(), torch.no_grad() if keeps else nullcontext():
            features = encoder(batch["sam_pixels"]).float()
        if keeps:
            self.cache.pictures.keep_sam(batch["picture_keys"], features, batch["sam_content"])
        return features

    def _text_states(self, batch: Batch) -> Tensor:
        """Hidden states of the text alone, float32 [N,L',Dt]."""
        if self.cache.text is None:
            with self._half():
                return self.vlm.encode_text(batch).float()

        def encode(ids: Tensor, mask: Tensor) -> Tensor:
            with self._half(), torch.no_grad():
                return self.vlm.encode_text({"text_input_ids": ids, "text_attention_mask": mask})

        return self.cache.text.get(batch["text_input_ids"], batch["text_attention_mask"], encode)

    @torch.no_grad()
    def fill_cache(self, batch: Batch) -> None:
        """Have the cache keep what frozen encoders make of a batch's pictures and of its sentences, as far as it does.

        Args:
            batch: of `Collator.inputs`, or of `Collator.text_inputs` for sentences alone.
        """
        self._rest_cached_parts()
        if "picture_keys" in batch:
            if self.cache.pictures.vision is not None:
                self._vision_features(batch)
            if self.cache.pictures.sam is not None and self.sam_encoder is not None:
                self._sam_features(batch, self.sam_encoder)
        if self.cache.text is not None and "text_input_ids" in batch:
            self._text_states(batch)

    def train(self, mode: bool = True) -> LisaModel:
        """Switch dropout and the like on or off; in parts whose output is kept they stay off."""
        super().train(mode)
        self._rest_cached_parts()
        return self

    def _rest_cached_parts(self) -> None:
        for part in self.cache.parts:
            if part.training:  # walking through all modules of a language model takes longer than a cached batch
                part.eval()

    def forward(self, batch: Batch, encoded: EncodedImages | None = None) -> LisaOutput:
        """Draw a mask for each sentence (late fusion) or each `[SEG]` (joint fusion) of the batch.

        Args:
            batch: what the VLM's `preprocess` returned, with `sam_pixels` and `sam_content` for SAM mask features; its
                `drawn`, if any, says of which masks alone the decoder is to draw.
            encoded: what `encode_image` returned for the same pictures, to save encoding them again.
        """
        encoded = encoded if encoded is not None else self.encode_image(batch)
        token_logits = token_labels = None
        if self.config.fusion == "late":
            prompts, rows = self._late_prompts(batch, encoded)
        else:
            with self._half():
                hidden = self.vlm(batch, encoded.features, with_logits=False).hidden
            states, rows = seg_states(hidden, batch["input_ids"], self.vlm.seg_token_id)
            says_seg = len(states) > 0
            if self.training and not says_seg:
                # Answers in words alone: what draws must run all the same, to keep in step with other processes.
                states, rows = hidden[:1, 0], torch.zeros(1, dtype=torch.int64, device=hidden.device)
            whole = torch.ones(len(states), 1, dtype=torch.bool, device=states.device)
            context = self._heard(batch, states[:, None].float(), whole & says_seg)
            prompts = self.text_sam(context, whole)
            if self.training and "labels" in batch:
                positions, token_labels = shifted_positions(batch["labels"])
                with self._half():
                    token_logits = self.vlm.lm_logits(hidden[positions])
        images = batch["image_index"][rows]
        patch_similarity = similarity = mask_prompt = None
        if self.similarity is not None:
            patch_similarity = self.similarity(prompts, encoded.patches, images, encoded.patch_content)
            similarity = _in_picture(patch_similarity, encoded.patch_content[images])
        if self.map_only:
            if similarity is None:
                raise ValueError("without a similarity map there is nothing to see but what the decoder draws")
            none = similarity.new_zeros(len(similarity))
            return LisaOutput(similarity.detach(), none, rows, similarity, token_logits, token_labels, decoded=False)
        drawn, shown = batch.get("drawn"), similarity
        if drawn is not None:
            prompts, images = prompts[drawn], images[drawn]
            if patch_similarity is not None and shown is not None:
                patch_similarity, shown = patch_similarity[drawn], shown[drawn]
        content = encoded.mask_content[images]
        if patch_similarity is not None and shown is not None:
            # Detached: the map learns from its own loss only, the decoder from a map it cannot bend.
            size = _size(encoded.mask_features)
            mask_prompt = reframe(patch_similarity.detach(), encoded.patch_content[images], content, size)
            if self.map_level is not None:
                prompts, mask_prompt = self.map_level(prompts, mask_prompt, shown.detach())
        low_res, iou = self.decoder(encoded.mask_features, images, prompts, mask_prompt, encoded.fine, self.refinement)
        return LisaOutput(
            mask_logits=_in_picture(low_res[:, None], content),
            iou=iou,
            rows=rows,
            similarity_logits=similarity,
            token_logits=token_logits,
            token_labels=token_labels,
            drawn=drawn,
        )

    def _heard(self, batch: Batch, states: Tensor, mask: Tensor) -> Tensor:
        """What prompts are read from, of states [M,L,Dt] and a mask [M,L] of those that count.

        Standardized, if the model does that; then training drops some channels, the same in all places of a row.
        """
        if self.standardization is not None:
            states = self.standardization(states, mask & ("stand_in" not in batch))
        return F.dropout1d(states.transpose(1, 2), self.feature_dropout, self.training).transpose(1, 2)

    def _half(self) -> AbstractContextManager[object]:
        """Half precision, where it is asked for: around what reads, not around what draws."""
        if self.half_dtype is None:
            return nullcontext()
        return torch.autocast(self.text_sam.queries.device.type, self.half_dtype)

    def _late_prompts(self, batch: Batch, encoded: EncodedImages) -> tuple[Tensor, Tensor]:
        assert self.image_text is not None
        mask = batch["text_attention_mask"].bool()
        states = self._heard(batch, self._text_states(batch), mask)
        height, width = _size(encoded.patches)
        whole = unpad(encoded.patches, encoded.patch_content, (height, width))
        coarse = F.adaptive_avg_pool2d(whole, (min(height, _COARSE), min(width, _COARSE)))
        vision = self.image_text(coarse.flatten(2).transpose(1, 2))
        prompts = self.text_sam(states, mask, vision, batch["image_index"])
        return prompts, torch.arange(len(prompts), device=prompts.device)


_COARSE = 8
"""Most cells a side of what prompts read of a picture (late fusion): they need to know what is where, not its edges."""


def _in_picture(maps: Tensor, content: Tensor) -> Tensor:
    """Maps [M,1,h,w] in the picture's frame, [M,s,s]."""
    side = max(maps.shape[-2:])
    return unpad(maps, content, (side, side))[:, 0]


def _size(maps: Tensor) -> tuple[int, int]:
    """Height and width of maps [...,h,w]."""
    return maps.shape[-2], maps.shape[-1]
