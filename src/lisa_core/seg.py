"""Where the `[SEG]` states are: the one file that decides which hidden state stands for a mask."""

from __future__ import annotations

import torch
from torch import Tensor


def seg_states(hidden: Tensor, input_ids: Tensor, seg_token_id: int) -> tuple[Tensor, Tensor]:
    """Collect the hidden states at `[SEG]`.

    The state is taken at the token itself, as Sa2VA does (arXiv:2501.04001, section 3.2); LISA takes the one before,
    which has not read the token and so has to predict it as well.

    Args:
        hidden: float [N,L,Dt], one state per input id (image placeholders included).
        input_ids: int64 [N,L].
        seg_token_id: the id of `[SEG]`.

    Returns:
        States [M,Dt] in reading order, and for each the row it came from, int64 [M]; M may be 0.
    """
    rows, positions = torch.nonzero(input_ids == seg_token_id, as_tuple=True)
    return hidden[rows, positions], rows
