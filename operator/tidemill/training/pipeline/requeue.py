"""When to look again at a pipeline, in seconds: what may change without any object changing."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from tidemill.core import conditions
from tidemill.training.pipeline.policy import reporting, throttling, triggers
from tidemill.training.pipeline.policy.context import Situation
from tidemill.training.pipeline.policy.probes import Probing
from tidemill.training.pipeline.snapshot import PipelineSnapshot

SOON = timedelta(seconds=1)
"""When to look again where status says what a started run has made untrue. Never at once: passes must not spin."""

SELDOM = timedelta(seconds=30)
"""The longest time between two such looks."""


def moments(now: Situation, probe: Probing, status: dict[str, Any]) -> list[datetime | None]:
    """When something may change without any object changing.

    What wants a run most may be held longest, as new data is after failures that are themselves tried again soon.
    """
    following = status.get("nextScheduleTime")
    holds = (throttling.hold(now, verdict) for verdict in triggers.verdicts(now))
    found: list[datetime | None] = [
        *(hold.until for hold in holds if hold is not None),
        conditions.parse_time(following) if following else None,
        probe.next,
        throttling.pause_until(now),
    ]
    if now.inputs is not None:
        found += [triggers.settled_at(now, name) for name in triggers.changed_inputs(now, now.inputs)]
    return found


def next_report(now: Situation) -> datetime | None:
    """When status may have something to say of the active run: less and less often where it never has."""
    if now.history.active is None:
        return None
    age = now.snapshot.now - now.history.active.created
    soon = now.snapshot.now + min(max(SOON, age / 4), SELDOM)
    return soon if reporting.shows_trouble(now) else max(now.history.active.created + reporting.QUIET, soon)


def seconds(snapshot: PipelineSnapshot, moments: Iterable[datetime | None]) -> float | None:
    """Seconds to the next of these moments that lies ahead; None when there is none."""
    ahead = [m for m in moments if m is not None and m > snapshot.now]
    return (min(ahead) - snapshot.now).total_seconds() if ahead else None
