from __future__ import annotations

import torch

from lisa_core.seg import seg_states


def test_each_seg_gives_its_own_state_in_reading_order():
    ids = torch.tensor([[1, 9, 2, 9], [9, 1, 1, 0], [1, 1, 1, 1]])
    hidden = torch.arange(12.0).reshape(3, 4, 1)
    states, rows = seg_states(hidden, ids, 9)
    assert states.flatten().tolist() == [1, 3, 4]
    assert rows.tolist() == [0, 0, 1]


def test_no_seg_gives_no_state():
    states, rows = seg_states(torch.zeros(2, 3, 5), torch.zeros(2, 3, dtype=torch.long), 9)
    assert states.shape == (0, 5)
    assert rows.shape == (0,)
