from __future__ import annotations

import pytest
from huggingface_hub import errors

from lisa_core.errors import CheckpointError
from lisa_core.hub_errors import hub_errors


def said(error: Exception) -> str:
    with pytest.raises(CheckpointError) as caught, hub_errors("org/name"):
        raise error
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_a_network_the_cause_is_told_whole(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    absent = errors.LocalEntryNotFoundError(
        "An error happened while trying to locate the files on the Hub and we cannot find the appropriate snapshot "
        "folder for the specified revision on the local disk. Please check your internet connection and try again."
    )
    assert "snapshot folder for the specified revision on the local disk): check the network" in said(absent)
    absent.__cause__ = ConnectionError("[Errno -3] Temporary failure in name resolution")
    assert "(ConnectionError: [Errno -3] Temporary failure in name resolution): check the network" in said(absent)


@pytest.mark.parametrize("text", ["word " * 100, "w" * 500])
def test_a_long_reason_ends_with_a_whole_word(text):
    reason = said(ValueError(text)).partition("(")[2].removesuffix(")")
    assert len(reason) <= 200 and set(reason.split()) <= {"ValueError:", "word", "..."}
