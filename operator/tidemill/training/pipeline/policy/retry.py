"""When a run that the infrastructure has failed is tried again: by itself, later and later, for as long as it takes.

Only the category Infrastructure counts (store away, volume full, node lost): all others are somebody's to mend, and
what they change starts a run. Which try it is stands in the last run's own trigger, so a restarted operator goes on
with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from tidemill.training import retry_pauses
from tidemill.training.pipeline.policy.context import Context
from tidemill.training.records import RunRecord

TRIGGER = "RetryDue"
LONGEST_RUN = timedelta(hours=24)


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
    if not retry_pauses.is_retried(last.failure.get("category"), last.failure.get("reason")):
        return None
    number = _number(last) + 1
    ended = last.completed or last.created
    # Never more of the time is spent on tries than between them, however long a run takes until it fails.
    took = min(ended - last.created, LONGEST_RUN)
    return Retry(last, number, ended + retry_pauses.pause(number, pause_key(last), took))


def _number(run: RunRecord) -> int:
    reported = str(run.trigger.get("to") or "")
    return int(reported) if run.trigger_type == TRIGGER and reported.isdecimal() else 0


def pause_key(run: RunRecord) -> str:
    """What sets the pause after this run apart from those after others."""
    return f"{run.uid} {run.name}"
