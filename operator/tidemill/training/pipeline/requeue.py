"""When to look again at a pipeline, in seconds: what may change without any object changing."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from tidemill.core import conditions
from tidemill.training.pipeline.policy import data_changes, reporting, throttling, triggers
from tidemill.training.pipeline.policy.context import Context
from tidemill.training.pipeline.policy.probes import ProbeActions
from tidemill.training.pipeline.snapshot import PipelineSnapshot

SOON = timedelta(seconds=1)
"""When to look again where status says what a started run has made untrue. Never at once: passes must not spin."""

SELDOM = timedelta(seconds=30)
"""The longest time between two such looks."""


def moments(ctx: Context, probe: ProbeActions, status: dict[str, Any]) -> list[datetime | None]:
    """When something may change without any object changing.

    What wants a run most may be held longest, as new data is after failures that are themselves tried again soon.
    """
    following = status.get("nextScheduleTime")
    holds = (throttling.hold(ctx, verdict) for verdict in triggers.verdicts(ctx))
    found: list[datetime | None] = [
        *(hold.until for hold in holds if hold is not None),
        conditions.parse_time(following) if following else None,
        probe.next,
        throttling.pause_until(ctx),
    ]
    if ctx.inputs is not None:
        changed = data_changes.seen_to_change(ctx, ctx.inputs) if ctx.snapshot.is_data_watched else []
        found += [data_changes.settled_at(ctx, name) for name in changed]
    return found


def next_report(ctx: Context) -> datetime | None:
    """When status may have something to say of the active run: less and less often where it never has."""
    if ctx.history.active is None:
        return None
    age = ctx.snapshot.now - ctx.history.active.created
    soon = ctx.snapshot.now + min(max(SOON, age / 4), SELDOM)
    return soon if reporting.shows_trouble(ctx) else max(ctx.history.active.created + reporting.QUIET, soon)


def seconds(snapshot: PipelineSnapshot, moments: Iterable[datetime | None]) -> float | None:
    """Seconds to the next of these moments that lies ahead; None when there is none."""
    ahead = [m for m in moments if m is not None and m > snapshot.now]
    return (min(ahead) - snapshot.now).total_seconds() if ahead else None
