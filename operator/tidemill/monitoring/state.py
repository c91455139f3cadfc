"""The evaluation of a watched deployment, as conditions. Data only; `policy.evaluation` fills it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tidemill.core.conditions import Condition

DATA_ARRIVING = "DataArriving"
DRIFT = "DriftDetected"
QUALITY = "DataQualityDegraded"
PERFORMANCE = "PerformanceDegraded"
LABELS_ARRIVING = "LabelsArriving"
PROFILE_TOO_OLD = "ProfileTooOld"
COLUMNS_NOTED = "ColumnsNoted"
RETENTION = "RetentionTooSmall"
PAYLOADS = "PayloadsWritten"
ACTIONS_HELD = "ActionsHeld"
ALERTS_DELIVERED = "AlertsDelivered"

ESTIMATE = "EstimatedPerformanceLow"
FAIRNESS = "FairnessLimitExceeded"
GAMING = "GamingSuspected"

Cause = Literal["Drift", "Quality", "Performance", "EstimatedPerformance"]
CONDITION_OF: dict[Cause, str] = {
    "Drift": DRIFT,
    "Quality": QUALITY,
    "Performance": PERFORMANCE,
    "EstimatedPerformance": ESTIMATE,
}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The conditions, and how many of the newest windows drifted."""

    conditions: tuple[Condition, ...]
    drifted_windows: int = 0

    def get(self, kind: str) -> Condition | None:
        """The condition of a type, None when it is not watched."""
        return next((c for c in self.conditions if c.type == kind), None)

    def is_true(self, kind: str) -> bool:
        """Whether the condition of a type is True."""
        found = self.get(kind)
        return found is not None and found.status == "True"
