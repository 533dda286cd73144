from __future__ import annotations

import copy
import pickle

from lisa_core.data.base import Reason
from lisa_core.errors import DataError


def test_the_reason_for_leaving_something_out_can_be_copied_and_sent():
    reason = Reason.of(DataError("a.jpg is gone", "missing-image"))
    for copied in (copy.deepcopy(reason), pickle.loads(pickle.dumps(reason))):
        assert copied == "a.jpg is gone" and copied.kind == "missing-image" and type(copied) is Reason
