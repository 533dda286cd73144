"""What the connectors read, and what they do not."""

from __future__ import annotations

import dataclasses

import torch
from PIL import Image

from lisa_core.build import build_model, sam_size
from lisa_core.connectors import TextSAMConnector
from lisa_core.data.collate import Collator
from lisa_core.model_config import ModelConfig


def test_one_state_is_read_as_it_is_and_padding_is_not_read() -> None:
    torch.manual_seed(0)
    connector = TextSAMConnector(24, 16, 4)
    state = torch.randn(3, 1, 24)
    assert connector.gate is None and connector(state, torch.ones(3, 1, dtype=torch.bool)).shape == (3, 4, 16)
    words, mask = torch.randn(2, 5, 24), torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]).bool()
    changed = words.clone()
    changed[0, 3:] = 7.0
    assert torch.allclose(connector(words, mask), connector(changed, mask), atol=1e-6)
    torch.testing.assert_close(connector(words[:1, :3], mask[:1, :3]), connector(words, mask)[:1])


def test_every_word_is_heard_before_anything_is_learnt_and_patches_are_not() -> None:
    torch.manual_seed(0)
    connector = TextSAMConnector(24, 16, 4, reads_patches=True)
    words, mask = torch.randn(1, 6, 24), torch.ones(1, 6, dtype=torch.bool)
    patches = torch.randn(1, 300, 24)
    before = connector(words, mask, patches)
    assert torch.equal(before, connector(words, mask, torch.randn(1, 300, 24)))
    for word in range(6):
        other = words.clone()
        other[0, word] = torch.randn(24)
        assert (connector(other, mask, patches) - before).abs().mean() > 0.02 * before.abs().mean()
    before.sum().backward()
    assert connector.gate is not None and connector.gate.grad is not None and connector.gate.grad.abs() > 0


def with_an_open_gate() -> TextSAMConnector:
    torch.manual_seed(0)
    connector = TextSAMConnector(24, 16, 4, reads_patches=True)
    assert connector.gate is not None
    torch.nn.init.ones_(connector.gate)
    return connector


def test_sentences_about_one_picture_read_its_patches_once() -> None:
    connector = with_an_open_gate()
    words, mask = torch.randn(3, 6, 24), torch.ones(3, 6, dtype=torch.bool)
    patches, index = torch.randn(2, 9, 24), torch.tensor([1, 0, 1])
    shared = connector(words, mask, patches, index)
    torch.testing.assert_close(shared, connector(words, mask, patches[index]))
    assert not torch.allclose(shared, connector(words, mask, patches.flip(0), index), atol=1e-3)


@torch.no_grad()
def test_late_prompts_read_averages_of_the_picture_alone() -> None:
    """LLaVA-1.5 pads pictures to squares; of the padding the prompts hear nothing."""
    torch.manual_seed(0)
    model = build_model(ModelConfig(vlm="llava", vlm_model_name="tiny", fusion="late")).eval()
    assert model.image_text is not None
    read: list[torch.Tensor] = []
    model.image_text.register_forward_pre_hook(lambda _, args: read.append(args[0]))
    image = Image.effect_noise((120, 40), 60).convert("RGB")
    batch = Collator(model.vlm, model.config, sam_size(model.config)).inputs([image], ["it"], None, [0])
    encoded = model.encode_image(batch)
    for nothing in (0.0, 50.0):
        patches = encoded.patches.clone()
        top = encoded.patch_content[0, 1] * patches.shape[-2]
        assert top >= 2, "the picture must be padded for this to show anything"
        patches[:, :, : int(top) - 1] = nothing
        model(batch, dataclasses.replace(encoded, patches=patches))
    assert read[0].shape[1] <= 64 and read[0].std() > 0
    torch.testing.assert_close(read[0], read[1])
