"""When a run that the infrastructure has failed is tried again: by itself, later and later, for as long as it takes.

Only the category Infrastructure counts (store away, volume full, node lost): all others are somebody's to mend, and
what they change starts a run. Which try it is stands in the last run's own trigger, so a restarted operator goes on
with it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from tidemill.training.pipeline.policy.context import Context
from tidemill.training.records import RunRecord
from tidemill_contracts.failures import FINAL, RETRIED

TRIGGER = "RetryDue"
FIRST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(hours=1)
LONGEST_RUN = timedelta(hours=24)
SPREAD = 0.2
"""Share of the pause that is added at random: a store that is back is not asked by every pipeline at once."""


@dataclass(frozen=True, slots=True)
class Retry:
    """The next try of the last run."""

    last: RunRecord
    number: int
    """1 for the first try after the run that a trigger started."""
    at: datetime


def retry(ctx: Context) -> Retry | None:
    """The next try and when it is due; None when the last run goes on, went well, or failed for another reason."""
    last = ctx.history.newest
    if last is None or ctx.history.active is not None or last.outcome != "False":
        return None
    if ctx.history.is_mended(last):
        return None
    if last.failure.get("category") not in RETRIED or last.failure.get("reason") in FINAL:  # decision 77
        return None
    number = _number(last) + 1
    ended = last.completed or last.created
    pause = min(FIRST_PAUSE * 2 ** min(number - 1, 10), LONGEST_PAUSE)
    # Never more of the time is spent on tries than between them, however long a run takes until it fails.
    pause = max(pause, min(ended - last.created, LONGEST_RUN))
    return Retry(last, number, ended + pause * (1 + SPREAD * _share(last)))


def _number(run: RunRecord) -> int:
    reported = str(run.trigger.get("to") or "")
    return int(reported) if run.trigger_type == TRIGGER and reported.isdecimal() else 0


def _share(run: RunRecord) -> float:
    """0 to 1, always the same for one run."""
    return hashlib.sha256(f"{run.uid} {run.name}".encode()).digest()[0] / 255
