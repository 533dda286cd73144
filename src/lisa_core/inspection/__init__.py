"""Looking through datasets: what is broken in them, and what they hold. Nothing here imports torch."""

from __future__ import annotations

from lisa_core.inspection.check import CheckResult, check_dataset
from lisa_core.inspection.facts import DatasetFacts, describe_dataset
from lisa_core.inspection.faults import KINDS, Fault

__all__ = ["KINDS", "CheckResult", "DatasetFacts", "Fault", "check_dataset", "describe_dataset"]
