"""When to look again at a monitor, in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from tidemill.api.v1alpha1.model_monitor import ModelMonitorSpec
from tidemill.core.conditions import parse_time
from tidemill.core.podfailure import LOOK_SECONDS
from tidemill.monitoring import readiness
from tidemill.monitoring.policy import evaluation
from tidemill.monitoring.snapshot import Snapshot

LONGEST_LOOK_SECONDS = 30.0
SHORTEST_LOOK_SECONDS = 5.0
STARTING_LOOK_SECONDS = 2.0
"""How often a monitor whose pod is ready is asked until it has answered once."""


def look_interval(spec: ModelMonitorSpec) -> float:
    """Seconds between two readings of the report: three a window, but from 5 s to 30 s.

    5 s where webhooks are told: that one does not take its messages has to be said soon.
    """
    longest = LONGEST_LOOK_SECONDS if spec.notify is None else SHORTEST_LOOK_SECONDS
    return max(SHORTEST_LOOK_SECONDS, min(spec.window.seconds / 3, longest))


def requeue_after(snapshot: Snapshot, written: Mapping[str, Any]) -> float | None:
    """Seconds until the next look; None when only a change can make a difference."""
    if snapshot.served is None:  # a change of the deployment wakes us
        return LOOK_SECONDS if snapshot.is_pod_silent else None
    if not snapshot.pod_ready:  # a change of the pod wakes us; without one the conditions of before must end as stale
        silent = LOOK_SECONDS if snapshot.is_pod_silent else None
        looks = [evaluation.UNREACHABLE_SECONDS + 1.0, deadline(snapshot, written), silent]
        return min(look for look in looks if look is not None)
    interval = look_interval(snapshot.spec)
    if snapshot.reading.report is None or snapshot.reading.time is None:
        return STARTING_LOOK_SECONDS
    left = interval - (snapshot.now - snapshot.reading.time).total_seconds()
    return max(left, 0.5)


def deadline(snapshot: Snapshot, status: Mapping[str, Any]) -> float | None:
    """Seconds until what the status calls unsettled is overdue; None when nothing is, or it is so already."""
    since = status.get("unsettledSince")
    if since is None:
        return None
    left = (parse_time(since) + timedelta(seconds=readiness.DEADLINE_SECONDS) - snapshot.now).total_seconds()
    return left + 0.1 if left > 0 else None
