"""Whether the watch itself works: what keeps the monitor from it, since when, and whether a person must act by now.

Since when stands in the status, so that neither a restart of the operator nor a pod that comes and goes starts it anew;
a changed spec does.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from tidemill.core.conditions import Condition, trio
from tidemill.monitoring.snapshot import Snapshot

DEADLINE_SECONDS = 600
"""How long a monitor may take until it watches; as long as a version's pods have by default."""


@dataclass(frozen=True, slots=True)
class NotWatching:
    """Why the monitor does not watch."""

    reason: str
    message: str
    since: datetime
    is_overdue: bool

    def conditions(self) -> list[Condition]:
        """Ready with Reconciling, or with Stalled after the deadline."""
        if not self.is_overdue:
            why = (self.reason, self.message)
            return trio(ready=False, reason=why[0], message=why[1], reconciling=why)
        why = (self.reason, f"{self.message}, for more than {DEADLINE_SECONDS} s")
        return trio(ready=False, reason=why[0], message=why[1], stalled=why)


def not_watching(snapshot: Snapshot, *, up_to_date: bool) -> NotWatching | None:
    """What keeps the monitor of a served deployment from watching; None when it watches, or has nothing to watch.

    `up_to_date`: whether the live children are of the manifests that are wanted.
    """
    if snapshot.spec.suspend or snapshot.served is None or snapshot.served.version is None:
        return None
    found = _first(snapshot, up_to_date=up_to_date)
    if found is None:
        return None
    status = snapshot.status
    kept = status.unsettled_since if status.observed_generation == snapshot.generation else None
    since = kept or snapshot.now
    return NotWatching(*found, since, snapshot.now - since >= timedelta(seconds=DEADLINE_SECONDS))


def _first(snapshot: Snapshot, *, up_to_date: bool) -> tuple[str, str] | None:
    problem = snapshot.pod_problem or "its pod is not ready"
    if not snapshot.pod_ready:
        return "MonitorNotReady", f"the monitor is not running yet: {problem}"
    if not up_to_date or not snapshot.settled:
        return "MonitorNotReady", "the monitor's pod is being replaced"
    if snapshot.reading.report is None:
        return "MonitorUnreachable", snapshot.reading.error or "the monitor's report has not been read yet"
    return None
