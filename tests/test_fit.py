from __future__ import annotations

import pytest

from lisa_core import fit as module
from lisa_core.config import DataConfig, ModelConfig, TrainConfig
from lisa_core.errors import ConfigError
from lisa_core.estimate import estimate
from lisa_core.fit import fit, parse_size, usable

CONFIG = TrainConfig(model=ModelConfig(vlm="smolvlm", vlm_model_name="tiny"), data=DataConfig(batch_size=4))


@pytest.mark.parametrize(
    ("text", "size"),
    [("8gb", 8e9), ("24GiB", 24 * 2**30), ("16", 16e9), (" 7.5 GB ", 7.5e9), ("8000mb", 8e9), ("1MiB", 2**20)],
)
def test_sizes_are_read(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "gb", "-8gb", "8tb", "0gb", "8 gb of memory", "1e9", "8gb16"])
def test_other_sizes_are_refused(text):
    with pytest.raises(ConfigError, match="must be a size such as 8gb"):
        parse_size(text)


def test_a_gpu_is_not_all_for_the_run():
    assert usable(8e9) == pytest.approx(6.75e9)


@pytest.mark.slow
def test_levers_are_pulled_until_it_fits(monkeypatch):
    monkeypatch.setattr(module, "CONTEXT", 0.0)
    asked_for = estimate(CONFIG).total
    heard = []
    found = fit(CONFIG, asked_for * 0.75 / 0.9, lambda attempt, fits: heard.append((attempt, fits)))
    assert [fits for _, fits in heard] == [False] * (len(heard) - 1) + [True]
    assert found.estimate.total <= 0.75 * asked_for < heard[-2][0].estimate.total
    totals = [attempt.estimate.total for attempt, _ in heard]
    assert totals == sorted(totals, reverse=True) and totals[0] == asked_for
    assert found.estimate == estimate(found.config)
    assert found.flags and found.config != CONFIG
    assert fit(CONFIG, asked_for / 0.9).flags == ""


@pytest.mark.slow
def test_what_fits_nowhere_is_told_with_the_least(monkeypatch):
    monkeypatch.setattr(module, "CONTEXT", 0.0)
    with pytest.raises(ConfigError, match=r"nothing fits into 0\.0 GB: the least is .* with .*--vlm-freeze"):
        fit(CONFIG, 1e6)
