from __future__ import annotations

from pathlib import Path

import pytest

from lisa_core.config_file import resolve
from lisa_core.errors import LisaError
from lisa_core.segmenter import Segmenter
from lisa_core.user_path import user_path

NOBODY = "~nobody_of_that_name/run"


def test_a_home_is_filled_in_and_that_of_nobody_is_a_name(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/run") == tmp_path / "run" and user_path("run") == Path("run")
    assert user_path(NOBODY) == Path(NOBODY)


def test_the_home_of_nobody_is_an_error_in_one_line():
    assert resolve({"init_from": NOBODY}).config.run.init_from == NOBODY
    with pytest.raises(LisaError, match="nobody_of_that_name") as caught:
        Segmenter.load(NOBODY, "cpu")
    assert "\n" not in str(caught.value)
