"""What a request rests on, and whether that is new: the same predictions never lead to a second request of a type.

Evidence is a stretch of whole windows. It is new when it begins where the evidence of the last request of that type
has ended, and when it is about the version as it serves now: after a retrain or a rollback, windows from before do not
count. Labels and windows are two sorts: labels come later, and then speak of predictions whose windows were judged long
ago.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from tidemill.api.v1alpha1.model_monitor import ActionStatus, Evidence
from tidemill.monitoring.policy import drift
from tidemill.monitoring.snapshot import Snapshot, moment
from tidemill.monitoring.state import Cause

Sort = Literal["Windows", "Labels"]
SORT: dict[Cause, Sort] = {
    "Drift": "Windows",
    "Quality": "Windows",
    "Performance": "Labels",
    "EstimatedPerformance": "Windows",
}


def of(snapshot: Snapshot, cause: Cause) -> Evidence | None:
    """What the condition of that cause rests on now; None when there is nothing that it could rest on."""
    if cause == "Performance":
        return _labels(snapshot)
    spec = snapshot.spec.drift if cause == "Drift" else None
    found = snapshot.comparable if cause == "Drift" else snapshot.judged
    windows = found[-(drift.windows_of_alarm(spec) if spec else 1) :]
    if len(windows) < (spec.consecutive_windows if spec else 1):
        return None
    return Evidence(start=moment(windows[0].start), end=moment(windows[-1].end))


def _labels(snapshot: Snapshot) -> Evidence | None:
    """The windows of the labels that prove it. A monitor of an older release proves nothing."""
    found = snapshot.version_report.performance if snapshot.version_report else None
    if found is None or found.breach_start is None or found.breach_end is None:
        return None
    return Evidence(start=moment(found.breach_start), end=moment(found.breach_end))


def is_new(snapshot: Snapshot, kind: str, cause: Cause, found: Evidence) -> bool:
    """Whether a request of type `kind` may rest on it."""
    earlier = [a for a in snapshot.status.actions if a.type == kind and SORT[a.cause] == SORT[cause]]
    return all(found.start >= _used_until(a) for a in earlier) and _is_of_this_service(snapshot, found)


def _used_until(action: ActionStatus) -> datetime:
    """Until when predictions were used; a request of an older release counts as based on all before it."""
    return action.evidence.end if action.evidence else action.time


def _is_of_this_service(snapshot: Snapshot, found: Evidence) -> bool:
    """Whether all of it is of the time since the version came into service.

    The window in which it came counts when nothing of the version was seen before that window and nothing was requested
    since: then it is not one that has come back.
    """
    since = snapshot.served.since if snapshot.served else None
    if since is None or found.start >= since:
        return True
    report = snapshot.version_report
    is_first = report is not None and all(moment(w.start) >= found.start for w in report.windows)
    came_in_it = found.start + timedelta(seconds=snapshot.spec.window.seconds) > since
    return came_in_it and is_first and all(a.time < found.start for a in snapshot.status.actions)
