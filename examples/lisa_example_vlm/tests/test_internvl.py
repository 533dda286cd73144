from __future__ import annotations

import pytest

from lisa_core.testing import VLMSuite


class TestInternVL(VLMSuite):
    @pytest.fixture(scope="class")
    def adapter(self):
        return "internvl"
