from __future__ import annotations

import pytest
import torch

from lisa_core.losses import (
    bce_per_mask,
    dice_per_mask,
    pointing,
    pool_targets,
    shifted_positions,
    soft_iou,
    token_cross_entropy,
)


@pytest.fixture
def maps():
    torch.manual_seed(0)
    return torch.randn(3, 8, 8), (torch.rand(3, 8, 8) > 0.5).float(), (torch.rand(3, 8, 8) > 0.3).float()


@pytest.mark.parametrize("loss", [bce_per_mask, dice_per_mask, pointing, soft_iou])
def test_ignored_pixels_change_nothing(loss, maps):
    logits, target, valid = maps
    other_logits = torch.where(valid.bool(), logits, -5 * logits + 3)
    other_target = torch.where(valid.bool(), target, 1 - target)
    torch.testing.assert_close(loss(logits, target, valid), loss(other_logits, other_target, valid))


def test_bce_is_the_mean_over_the_valid_pixels(maps):
    logits, target, valid = maps
    p = logits.double().sigmoid()
    expected = -(target * p.log() + (1 - target) * (1 - p).log())
    for row in range(3):
        mean = expected[row][valid[row] == 1].mean().float()
        torch.testing.assert_close(bce_per_mask(logits, target, valid)[row], mean)


def test_dice_is_zero_for_a_perfect_mask_and_near_one_for_its_complement():
    target = torch.zeros(1, 16, 16)
    target[:, 4:12, 4:12] = 1
    valid = torch.ones_like(target)
    assert dice_per_mask(200 * (target - 0.5), target, valid).item() == pytest.approx(0, abs=1e-6)
    assert dice_per_mask(200 * (0.5 - target), target, valid).item() > 0.99


def test_a_mask_without_valid_pixels_is_finite_and_without_gradient():
    logits = torch.randn(1, 4, 4, requires_grad=True)
    nothing = torch.zeros(1, 4, 4)
    total = bce_per_mask(logits, nothing, nothing) + dice_per_mask(logits, nothing, nothing)
    total.sum().backward()
    assert torch.isfinite(total).all()
    assert not logits.grad.any()


def test_soft_iou_of_hard_masks_is_the_iou(maps):
    logits, target, valid = maps
    for row, value in enumerate(soft_iou(logits, target, valid)):
        predicted, truth, counted = (logits[row] > 0), target[row] == 1, valid[row] == 1
        overlap = (predicted & truth & counted).sum()
        union = ((predicted | truth) & counted).sum()
        torch.testing.assert_close(value, overlap / union)


def test_pooled_targets_keep_area_and_leave_ignored_pixels_out():
    target, valid = torch.zeros(1, 8, 8), torch.ones(1, 8, 8)
    target[0, :2, :2], valid[0, :2, 0] = 1, 0
    pooled, share = pool_targets(target, valid, 4)
    assert pooled[0, 0, 0] == 1  # all that counts of this cell is target
    assert share[0, 0, 0] == 0.5
    assert pooled[0, 1:].sum() == 0


def test_the_state_before_a_labelled_token_predicts_it():
    labels = torch.tensor([[-100, -100, 7, 8], [-100, 5, -100, -100]])
    positions, tokens = shifted_positions(labels)
    assert positions.tolist() == [[False, True, True, False], [True, False, False, False]]
    assert tokens.tolist() == [7, 8, 5]


def test_token_cross_entropy_sums_and_counts():
    logits, labels = torch.randn(5, 11), torch.tensor([1, 2, 3, 4, 10])
    term = token_cross_entropy(logits, labels)
    assert term.count == 5
    expected = -logits.log_softmax(-1)[torch.arange(5), labels].sum()
    torch.testing.assert_close(term.total, expected)


def test_pointing_asks_where_and_not_how_sure(maps):
    logits, target, valid = maps
    torch.testing.assert_close(pointing(logits + 7, target, valid), pointing(logits, target, valid))
    assert (pointing(torch.where(target.bool(), 30.0, -30.0), target, valid) < 1e-5).all()
    uniform = pointing(torch.zeros_like(logits), target, valid)
    expected = (valid.sum((1, 2)) / (target * valid).sum((1, 2))).log()  # of one among as many as there are
    torch.testing.assert_close(uniform, expected, atol=1e-4, rtol=1e-4)


def test_a_sentence_that_means_nothing_points_nowhere():
    logits = torch.randn(2, 4, 4, requires_grad=True)
    loss = pointing(logits, torch.zeros(2, 4, 4), torch.ones(2, 4, 4))
    loss.sum().backward()
    assert not loss.any() and torch.isfinite(logits.grad).all() and not logits.grad.any()
