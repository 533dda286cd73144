"""SAM's parts from `segment-anything`: its image encoder, and its mask decoder for many images at once."""

from __future__ import annotations

import pickle
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, TwoWayTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from lisa_core.errors import ConfigError
from lisa_core.loading import PICKLE

_PIXEL_MEAN = (123.675, 116.28, 103.53)
_PIXEL_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class SamSize:
    """The shape of a SAM model; the values of `vit_b`, `vit_l` and `vit_h` are the published ones."""

    prompt_dim: int = 256
    """Channels of mask features and prompts."""
    decoder_depth: int = 2
    """Two-way attention blocks."""
    decoder_heads: int = 8
    """Attention heads of the decoder."""
    decoder_mlp: int = 2048
    """Hidden width of the decoder's MLPs."""
    image_size: int = 1024
    """Longest side of the encoder's input, pixels."""
    patch_size: int = 16
    """Side of a patch, pixels."""
    encoder_dim: int = 768
    """Width of the image encoder."""
    encoder_depth: int = 12
    """Blocks of the image encoder."""
    encoder_heads: int = 12
    """Attention heads of the image encoder."""
    global_attention: tuple[int, ...] = (2, 5, 8, 11)
    """Blocks that attend to the whole picture; the others see windows."""
    window_size: int = 14
    """Side of a window, patches."""

    @property
    def mask_size(self) -> int:
        """Side of the low-resolution masks, cells: the decoder upscales the encoder's grid by 4."""
        return 4 * (self.image_size // self.patch_size)


SAM_SIZES: dict[str, SamSize] = {
    "vit_b": SamSize(),
    "vit_l": SamSize(encoder_dim=1024, encoder_depth=24, encoder_heads=16, global_attention=(5, 11, 17, 23)),
    "vit_h": SamSize(encoder_dim=1280, encoder_depth=32, encoder_heads=16, global_attention=(7, 15, 23, 31)),
    "tiny": SamSize(
        prompt_dim=128,
        decoder_heads=4,
        decoder_mlp=256,
        image_size=96,
        patch_size=8,
        encoder_dim=96,
        encoder_depth=3,
        encoder_heads=4,
        global_attention=(1, 2),
        window_size=6,
    ),
}


class SamMaskDecoder(nn.Module):
    """SAM's prompt encoder and mask decoder; prompts are features, not clicks."""

    def __init__(self, size: SamSize) -> None:
        super().__init__()
        grid = size.image_size // size.patch_size
        self.prompt_encoder = PromptEncoder(
            embed_dim=size.prompt_dim,
            image_embedding_size=(grid, grid),
            input_image_size=(size.image_size, size.image_size),
            mask_in_chans=16,
        )
        # Clicks and boxes are never given, so their embeddings must not count as trainable.
        self.prompt_encoder.point_embeddings.requires_grad_(False)
        self.prompt_encoder.not_a_point_embed.requires_grad_(False)
        self.mask_decoder = MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(
                depth=size.decoder_depth,
                embedding_dim=size.prompt_dim,
                mlp_dim=size.decoder_mlp,
                num_heads=size.decoder_heads,
            ),
            transformer_dim=size.prompt_dim,
            iou_head_depth=3,
            iou_head_hidden_dim=256,
        )
        # Nor is a prompt read in more than one way.
        self.mask_decoder.output_hypernetworks_mlps[1:].requires_grad_(False)
        self.size = size
        self.prompt_dim = size.prompt_dim

    def forward(
        self,
        features: Tensor,
        image_index: Tensor,
        prompts: Tensor,
        mask_prompt: Tensor | None = None,
        fine: tuple[Tensor, Tensor] | None = None,
        refinement: nn.Module | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Decode M masks of U images in one call.

        Args:
            features: mask features [U,C,h,w]; any grid size.
            image_index: int64 [M], the image each mask is of.
            prompts: sparse prompt embeddings [M,Q,C]; all Q belong to one mask.
            mask_prompt: optional logits [M,1,h,w], given to the decoder as SAM's mask prompt.
            fine: optional finer features of the images, [U,C/4,2h,2w] and [U,C/8,4h,4w]; added on the way up.
            refinement: optional, over what each mask is drawn from, [M,C/8,4h,4w] -> the same.

        Returns:
            Low-resolution mask logits [M,4h,4w] and predicted IoU [M], float32.
        """
        height, width = features.shape[-2:]
        if len(prompts) == 0:  # the decoder cannot run on an empty batch
            return features.new_zeros(0, 4 * height, 4 * width), features.new_zeros(0)
        if mask_prompt is None:
            dense = self.prompt_encoder.no_mask_embed.weight[:, :, None, None]
        else:
            # SAM reads mask prompts at four times its feature grid.
            dense = self.prompt_encoder.mask_downscaling(
                F.interpolate(mask_prompt, scale_factor=4, mode="bilinear", align_corners=False)
            )
        # The library's own `forward` repeats ONE image for every prompt, so its parts are called here.
        decoder = self.mask_decoder
        outputs = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight]).expand(len(prompts), -1, -1)
        positions = self.prompt_encoder.pe_layer((height, width)).expand(len(prompts), -1, -1, -1)
        tokens, drawn_on = decoder.transformer(
            features.index_select(0, image_index) + dense, positions, torch.cat([outputs, prompts], 1)
        )
        drawn_on = self._upscale(drawn_on.transpose(1, 2).unflatten(2, (height, width)), image_index, fine)
        if refinement is not None:
            drawn_on = refinement(drawn_on)
        weights = decoder.output_hypernetworks_mlps[0](tokens[:, 1])  # [M,C/8]
        masks = torch.einsum("mc,mchw->mhw", weights, drawn_on)
        return masks, decoder.iou_prediction_head(tokens[:, 0])[:, 0]

    def _upscale(self, drawn_on: Tensor, image_index: Tensor, fine: tuple[Tensor, Tensor] | None) -> Tensor:
        """[M,C,h,w] -> [M,C/8,4h,4w]; where finer features join is as in SAM 2 (arXiv:2408.00714, appendix D.1)."""
        first, norm, act, second, last = self.mask_decoder.output_upscaling
        if fine is None:
            return self.mask_decoder.output_upscaling(drawn_on)
        half, quarter = fine
        drawn_on = act(norm(first(drawn_on) + half.index_select(0, image_index)))
        return last(second(drawn_on) + quarter.index_select(0, image_index))


class SamImageEncoder(nn.Module):
    """SAM's image encoder with its preparation: longest side to `image_size`, padded at the right and the bottom."""

    def __init__(self, size: SamSize) -> None:
        super().__init__()
        norm: Callable[..., nn.Module] = partial(nn.LayerNorm, eps=1e-6)
        self.image_encoder = ImageEncoderViT(
            depth=size.encoder_depth,
            embed_dim=size.encoder_dim,
            img_size=size.image_size,
            mlp_ratio=4,
            norm_layer=norm,
            num_heads=size.encoder_heads,
            patch_size=size.patch_size,
            qkv_bias=True,
            use_rel_pos=True,
            global_attn_indexes=size.global_attention,
            window_size=size.window_size,
            out_chans=size.prompt_dim,
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Prepared pictures [U,3,S,S] -> mask features [U,C,S/16,S/16]."""
        return self.image_encoder(pixels)


def sam_pixels(image: Image.Image, image_size: int) -> tuple[Tensor, Tensor]:
    """Prepare a picture for SAM's encoder.

    Returns:
        float32 [3,S,S], and the content box [4] that the picture fills.
    """
    scale = image_size / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(resized, dtype=np.float32))
    pixels = (pixels - torch.tensor(_PIXEL_MEAN)) / torch.tensor(_PIXEL_STD)
    padded = F.pad(pixels.permute(2, 0, 1), (0, image_size - width, 0, image_size - height))
    return padded, torch.tensor([0.0, 0.0, width / image_size, height / image_size])


def load_sam_weights(modules: list[nn.Module], path: Path) -> None:
    """Fill SAM modules from an official `.pth` (read with `weights_only`) or a safetensors file of the same names.

    Raises:
        ConfigError: if the file is missing, not a SAM checkpoint, or of another size.
    """
    if not path.is_file():
        raise ConfigError(f"no SAM checkpoint at {path}: give the path of sam_vit_b_01ec64.pth or a like file")
    try:
        state = load_file(path) if path.suffix.lower() == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise many kinds, all meaning the same to the user
        reason = PICKLE if isinstance(error, pickle.UnpicklingError) else textwrap.shorten(str(error), 160)
        raise ConfigError(f"{path} is not a SAM checkpoint that can be read safely: {reason}") from error
    if not isinstance(state, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise ConfigError(f"{path} is not a SAM checkpoint: it holds something else than named tensors")
    if any(key.startswith("vision_encoder.") for key in state):
        raise ConfigError(
            f"{path} has the key names of transformers' SamModel; use the official segment-anything file instead"
        )
    for module in modules:
        wanted = module.state_dict()
        missing = [key for key in wanted if key not in state]
        odd = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
        if missing or odd:
            example = (missing or odd)[0]
            raise ConfigError(
                f"{path} does not fit this SAM ({len(missing)} tensors missing, {len(odd)} of another size, first: "
                f"{example}): --sam must name the size of the checkpoint"
            )
        module.load_state_dict({key: state[key] for key in wanted})
