"""The conformance kit for pytest: subclass `VLMSuite`, give one fixture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lisa_core.testing.check import Check
from lisa_core.testing.run import ALL_CHECKS, run_check
from lisa_core.testing.subject import Subject


class VLMSuite:
    """Every check of the kit as a test.

    >>> class TestMyVLM(VLMSuite):  # doctest: +SKIP
    ...     @pytest.fixture(scope="class")
    ...     def adapter(self):
    ...         return "myvlm"  # an installed family, or a function that builds a tiny model
    """

    @pytest.fixture(scope="class")
    def adapter(self) -> str | Callable[[], Any]:
        """What is under test; a subclass must say."""
        raise NotImplementedError("give your suite a fixture `adapter` that returns the family's name")

    @pytest.fixture(scope="class")
    def subject(self, adapter: str | Callable[[], Any]) -> Subject:
        """The adapter with its tiny model, built once for all checks."""
        return Subject.of(adapter)

    @pytest.mark.parametrize("check", ALL_CHECKS, ids=lambda check: check.name)
    def test_conformance(self, subject: Subject, check: Check) -> None:
        """One check."""
        result = run_check(check, subject)
        if result.status == "not applicable":
            pytest.skip(result.message)
        if result.status == "failed":
            pytest.fail(f"{result.title}: {result.message}\nTo mend it: {result.mend}", pytrace=False)
