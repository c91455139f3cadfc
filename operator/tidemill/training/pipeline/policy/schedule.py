"""When the schedule fires, as a Kubernetes CronJob: the newest missed tick, never the past before an edit or a resume.

Status keeps the next tick of the schedule in force. A tick is due when that moment has come. A new or edited schedule,
and one that comes back from `suspend`, starts from now.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from tidemill.core import cron
from tidemill.training.pipeline.policy.context import Context


@dataclass(frozen=True, slots=True)
class ScheduleState:
    """The schedule's state."""

    text: str
    """Schedule and zone, to notice an edit."""
    due: datetime | None
    """The tick that should be served now."""
    missed: datetime | None
    """A tick that is older than startingDeadlineSeconds."""
    next: datetime | None


def schedule_state(ctx: Context) -> ScheduleState | None:
    """The schedule's state now; None without a schedule, with one that cannot be read, or while suspended."""
    snapshot = ctx.snapshot
    wanted, status, now = snapshot.pipeline.spec.triggers.schedule, snapshot.pipeline.status, snapshot.now
    if wanted is None or snapshot.pipeline.spec.suspend or (ctx.problem and ctx.problem.stalled):
        return None
    text = f"{wanted.cron} {wanted.time_zone}"
    upcoming = cron.next_after(wanted.cron, wanted.time_zone, now)
    if status.schedule != text or status.next_schedule_time is None:
        return ScheduleState(text, None, None, upcoming)
    planned = status.next_schedule_time
    if ctx.history.last_schedule and planned <= ctx.history.last_schedule:
        planned = cron.next_after(wanted.cron, wanted.time_zone, ctx.history.last_schedule) or planned
    if planned > now:
        return ScheduleState(text, None, None, planned)
    since = planned - timedelta(seconds=1)
    tick = cron.most_recent_missed(wanted.cron, wanted.time_zone, since, now, wanted.starting_deadline_seconds)
    if tick is None:
        return ScheduleState(text, None, planned, upcoming)
    return ScheduleState(text, tick, None, planned)
