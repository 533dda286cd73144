"""LisaModel: a VLM, the connectors and SAM's mask decoder, from one batch to mask logits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lisa_core.config import ModelConfig
from lisa_core.connectors import ImageSAMConnector, ImageTextConnector, SimilarityMap, TextSAMConnector
from lisa_core.geometry import reframe, unpad
from lisa_core.losses import shifted_positions
from lisa_core.sam import SamImageEncoder, SamMaskDecoder
from lisa_core.seg import seg_states
from lisa_core.vlm import VLM, Batch, ImageFeatures


@dataclass
class LisaOutput:
    """Masks of one batch. All maps are in the frame of the original picture: no padding, squashed to a square grid."""

    mask_logits: Tensor
    """Low-resolution mask logits [M,s,s], float32."""
    iou: Tensor
    """The decoder's own estimate of each mask's IoU, [M]."""
    rows: Tensor
    """The sentence each mask belongs to, int64 [M]."""
    similarity_logits: Tensor | None
    """The similarity map in the same frame at patch resolution [M,g,g], if the model draws one."""
    token_logits: Tensor | None
    """Next-token scores [T,V] at the answer's positions (joint fusion, batch with labels)."""
    token_labels: Tensor | None
    """The ids those scores should predict, [T]."""


class LisaModel(nn.Module):
    """Language-instructed segmentation: a VLM reads, SAM's mask decoder draws.

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
        self.vlm = vlm
        self.decoder = decoder
        self.sam_encoder = sam_encoder
        dims, width = vlm.dims, decoder.prompt_dim
        self.text_sam = TextSAMConnector(dims.text, width, config.num_prompts)
        self.image_text = ImageTextConnector(dims.vision, dims.text) if config.fusion == "late" else None
        self.image_sam = ImageSAMConnector(dims.vision, width) if config.mask_features == "vlm" else None
        self.similarity = SimilarityMap(width, dims.vision) if config.similarity_map else None

    def encode_image(self, batch: Batch) -> tuple[ImageFeatures, Tensor, Tensor]:
        """Everything that depends on the pictures alone.

        Returns:
            The VLM's features, the mask features [U,C,h,w] and their content boxes [U,4].
        """
        features = self.vlm.encode_image(batch)
        if self.image_sam is not None:
            return features, self.image_sam(features.grid.float()), features.content
        if self.sam_encoder is None:
            raise ValueError('mask_features="sam" needs SAM\'s image encoder')
        return features, self.sam_encoder(batch["sam_pixels"]).float(), batch["sam_content"]

    def forward(self, batch: Batch, encoded: tuple[ImageFeatures, Tensor, Tensor] | None = None) -> LisaOutput:
        """Draw a mask for each sentence (late fusion) or each `[SEG]` (joint fusion) of the batch.

        Args:
            batch: what the VLM's `preprocess` returned, with `sam_pixels` and `sam_content` for SAM mask features.
            encoded: what `encode_image` returned for the same pictures, to save encoding them again.
        """
        features, mask_features, content = encoded if encoded is not None else self.encode_image(batch)
        token_logits = token_labels = None
        if self.config.fusion == "late":
            prompts, rows = self._late_prompts(batch, features)
        else:
            hidden = self.vlm(batch, features, with_logits=False).hidden
            states, rows = seg_states(hidden, batch["input_ids"], self.vlm.seg_token_id)
            context = states[:, None].float()
            prompts = self.text_sam(context, torch.ones_like(context[..., 0], dtype=torch.bool))
            if self.training and "labels" in batch:
                positions, token_labels = shifted_positions(batch["labels"])
                token_logits = self.vlm.lm_logits(hidden[positions])
        images = batch["image_index"][rows]
        similarity = self._similarity(prompts, features, images)
        low_res, iou = self.decoder(
            mask_features, images, prompts, self._mask_prompt(similarity, features, images, content, mask_features)
        )
        side = max(low_res.shape[-2:])
        return LisaOutput(
            mask_logits=unpad(low_res[:, None], content[images], (side, side))[:, 0],
            iou=iou,
            rows=rows,
            similarity_logits=_in_picture(similarity, features.content[images]),
            token_logits=token_logits,
            token_labels=token_labels,
        )

    def _late_prompts(self, batch: Batch, features: ImageFeatures) -> tuple[Tensor, Tensor]:
        assert self.image_text is not None
        images = batch["image_index"]
        text = self.vlm.encode_text(batch).float()
        vision = self.image_text(features.sequence.float())[images]
        mask = batch["text_attention_mask"].bool()
        seen = torch.ones(vision.shape[:2], dtype=torch.bool, device=mask.device)
        prompts = self.text_sam(torch.cat([vision, text], 1), torch.cat([seen, mask], 1))
        return prompts, torch.arange(len(prompts), device=prompts.device)

    def _similarity(self, prompts: Tensor, features: ImageFeatures, images: Tensor) -> Tensor | None:
        if self.similarity is None:
            return None
        return self.similarity(prompts, features.grid.float(), images)

    def _mask_prompt(
        self, similarity: Tensor | None, features: ImageFeatures, images: Tensor, content: Tensor, mask_features: Tensor
    ) -> Tensor | None:
        if similarity is None:
            return None
        # Detached: the map learns from its own loss only, the decoder from a map it cannot bend.
        size = (mask_features.shape[-2], mask_features.shape[-1])
        return reframe(similarity.detach(), features.content[images], content[images], size)


def _in_picture(maps: Tensor | None, content: Tensor) -> Tensor | None:
    if maps is None:
        return None
    side = max(maps.shape[-2:])
    return unpad(maps, content, (side, side))[:, 0]
