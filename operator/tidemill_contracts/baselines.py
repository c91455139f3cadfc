"""Baselines of drift: what a window is compared with. Which there are, and how much of a database they may need."""

from collections.abc import Mapping
from typing import Final, Literal

from pydantic import Field

from tidemill_contracts.base import Document

BaselineType = Literal["Training", "Window", "Previous", "Seasonal"]
Period = Literal["Day", "Week"]

PERIOD_SECONDS: Final[Mapping[Period, int]] = {"Day": 86_400, "Week": 604_800}
MOST_WINDOWS: Final = 1_900
"""Windows that a baseline may reach back: a monitor keeps the counters by bin of 2,000."""


class BaselineConfig(Document):
    """Which rows of the version in service are its baseline."""

    type: BaselineType = "Training"
    start: float | None = None  # of a Window: seconds since the epoch, inclusive
    end: float | None = None  # exclusive
    period_seconds: int | None = Field(default=None, ge=1)  # of Seasonal
    count: int | None = Field(default=None, ge=1)


class BaselineReport(Document):
    """What one window was compared with."""

    type: BaselineType  # Training where the configured one has too few rows
    rows: int = 0  # of the windows that are, or would be, the baseline
    windows: int = 0
    start: float | None = None  # of the oldest of them
    end: float | None = None  # of the newest, exclusive
