"""What a TrainingRun object says of itself. Pure."""

from __future__ import annotations

from typing import Any

from tidemill.core import conditions
from tidemill.training import constants


def is_finished(run: dict[str, Any]) -> bool:
    """Whether a TrainingRun object has ended, well or not."""
    found = conditions.get((run.get("status") or {}).get("conditions") or (), constants.SUCCEEDED)
    return bool(found and found.get("status") in ("True", "False"))


def is_left_reconciling(run: dict[str, Any]) -> bool:
    """Whether a finished run says that it goes on: an older operator left a default condition (0093, 0095)."""
    return conditions.is_true((run.get("status") or {}).get("conditions") or (), conditions.RECONCILING)
