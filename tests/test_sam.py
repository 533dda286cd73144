from __future__ import annotations

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from segment_anything import sam_model_registry

from lisa_core.errors import ConfigError
from lisa_core.sam import SAM_SIZES, SamImageEncoder, SamMaskDecoder, load_sam_weights, sam_pixels

TINY = SAM_SIZES["tiny"]


@pytest.fixture(scope="module")
def decoder():
    torch.manual_seed(0)
    return SamMaskDecoder(TINY).eval()


@torch.no_grad()
def test_one_batched_call_equals_the_library_called_image_by_image(decoder):
    features, prompts = torch.randn(3, 128, 12, 12), torch.randn(5, 4, 128)
    mask_prompt, index = torch.randn(5, 1, 12, 12), torch.tensor([0, 0, 2, 1, 0])
    masks, iou = decoder(features, index, prompts, mask_prompt)
    assert masks.shape == (5, 48, 48)
    for row, image in enumerate(index.tolist()):
        upsampled = torch.nn.functional.interpolate(
            mask_prompt[row : row + 1], scale_factor=4, mode="bilinear", align_corners=False
        )
        _, dense = decoder.prompt_encoder(points=None, boxes=None, masks=upsampled)
        expected, expected_iou = decoder.mask_decoder(
            image_embeddings=features[image : image + 1],
            image_pe=decoder.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=prompts[row : row + 1],
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        torch.testing.assert_close(masks[row], expected[0, 0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(iou[row], expected_iou[0, 0], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_without_a_mask_prompt_the_library_s_own_no_mask_embedding_is_used(decoder):
    features, prompts = torch.randn(1, 128, 12, 12), torch.randn(1, 4, 128)
    masks, _ = decoder(features, torch.zeros(1, dtype=torch.long), prompts)
    _, dense = decoder.prompt_encoder(points=None, boxes=None, masks=None)
    expected, _ = decoder.mask_decoder(
        image_embeddings=features,
        image_pe=decoder.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=prompts,
        dense_prompt_embeddings=dense,
        multimask_output=False,
    )
    torch.testing.assert_close(masks, expected[:, 0], atol=1e-4, rtol=1e-4)


def test_no_prompt_gives_no_mask(decoder):
    masks, iou = decoder(torch.randn(2, 128, 12, 12), torch.zeros(0, dtype=torch.long), torch.zeros(0, 4, 128))
    assert masks.shape == (0, 48, 48)
    assert iou.shape == (0,)


def test_other_grids_than_sam_s_own_work(decoder):
    masks, _ = decoder(torch.randn(1, 128, 12, 20), torch.zeros(1, dtype=torch.long), torch.randn(1, 2, 128))
    assert masks.shape == (1, 48, 80)


def test_a_picture_fills_its_content_box_and_the_rest_is_padding():
    pixels, content = sam_pixels(Image.new("RGB", (320, 180), "white"), 128)
    assert pixels.shape == (3, 128, 128)
    assert content.tolist() == [0, 0, 1, 72 / 128]
    assert (pixels[:, :72] > 1).all()
    assert not pixels[:, 72:].any()


def test_published_sizes_have_the_published_parameter_counts():
    for name, millions in {"vit_b": 93.7, "vit_l": 312.3, "vit_h": 641.1}.items():
        with torch.device("meta"):
            parts = [SamImageEncoder(SAM_SIZES[name]), SamMaskDecoder(SAM_SIZES[name])]
        count = sum(p.numel() for part in parts for p in part.parameters())
        assert round(count / 1e6, 1) == millions


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_an_official_checkpoint_fills_every_tensor(tmp_path, suffix):
    torch.manual_seed(1)
    official = sam_model_registry["vit_b"]().state_dict()  # the names and shapes of sam_vit_b_01ec64.pth
    path = tmp_path / f"sam_vit_b{suffix}"
    if suffix == ".pth":
        torch.save(official, path)
    else:
        save_file({key: value.contiguous() for key, value in official.items()}, path)
    decoder, encoder = SamMaskDecoder(SAM_SIZES["vit_b"]), SamImageEncoder(SAM_SIZES["vit_b"])
    load_sam_weights([decoder, encoder], path)
    loaded = {**decoder.state_dict(), **encoder.state_dict()}
    assert all(torch.equal(value, official[key]) for key, value in loaded.items())
    assert set(official) - set(loaded) <= {"pixel_mean", "pixel_std"}


def test_a_checkpoint_of_another_size_or_naming_is_refused_in_one_line(tmp_path):
    decoder = SamMaskDecoder(TINY)
    odd = tmp_path / "odd.pth"
    torch.save({"vision_encoder.pos_embed": torch.zeros(1)}, odd)
    with pytest.raises(ConfigError, match="transformers"):
        load_sam_weights([decoder], odd)
    torch.save({"mask_decoder.iou_token.weight": torch.zeros(1, 3)}, odd)
    with pytest.raises(ConfigError, match="--sam must name"):
        load_sam_weights([decoder], odd)
    with pytest.raises(ConfigError, match="no SAM checkpoint"):
        load_sam_weights([decoder], tmp_path / "absent.pth")


def test_a_pickle_in_a_checkpoint_is_not_run(tmp_path):
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    path = tmp_path / "evil.pth"
    torch.save({"mask_decoder.iou_token.weight": Evil()}, path)
    with pytest.raises(ConfigError, match="read safely"):
        load_sam_weights([SamMaskDecoder(TINY)], path)
    assert not marker.exists()


@torch.no_grad()
def test_finer_features_join_on_the_way_up(decoder):
    features, prompts, index = torch.randn(2, 128, 12, 12), torch.randn(3, 4, 128), torch.tensor([1, 0, 1])
    plain, iou = decoder(features, index, prompts)
    half, quarter = torch.zeros(2, 32, 24, 24), torch.zeros(2, 16, 48, 48)
    same, same_iou = decoder(features, index, prompts, fine=(half, quarter))
    torch.testing.assert_close(same, plain)
    half[1, 0, :, 12:] += 1  # of one channel, as the norm that follows takes out what is common to all
    changed, changed_iou = decoder(features, index, prompts, fine=(half, quarter))
    assert torch.equal(changed[1], same[1]) and torch.equal(changed_iou, same_iou) and torch.equal(iou, same_iou)
    for row in (0, 2):
        assert not torch.allclose(changed[row, :, 24:], same[row, :, 24:], atol=1e-3)


def test_what_no_prompt_can_ask_for_does_not_train(decoder):
    masks, iou = decoder(
        torch.randn(1, 128, 12, 12), torch.tensor([0]), torch.randn(1, 4, 128), torch.randn(1, 1, 12, 12)
    )
    decoder.zero_grad()
    (masks.sum() + iou.sum()).backward()
    unused = [name for name, p in decoder.named_parameters() if p.requires_grad and p.grad is None]
    assert unused == ["prompt_encoder.no_mask_embed.weight"]
