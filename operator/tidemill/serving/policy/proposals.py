"""Rollbacks that a ModelMonitor requests: which one is open, and who says that it is carried out."""

from __future__ import annotations

from tidemill.core import labels as keys
from tidemill.core.conditions import Condition
from tidemill.serving.policy import rollback_window
from tidemill.serving.snapshot import RollbackRequest, Snapshot
from tidemill.serving.state import State

ROLLBACK_PROPOSED = "RollbackProposed"


def open_request(snapshot: Snapshot, state: State) -> RollbackRequest | None:
    """The newest request that is about the version as it serves now, and was not served yet."""
    if state.stable is None or not snapshot.rollback_requests:
        return None
    newest = max(snapshot.rollback_requests, key=lambda r: (r.time, r.id))
    stale = state.stable.since is not None and newest.time < state.stable.since
    if newest.id == state.rollback or newest.version != state.stable.version or stale:
        return None
    return newest


def is_granted(snapshot: Snapshot, request: RollbackRequest) -> bool:
    """Whether spec, or a person by an annotation, says that the request is carried out."""
    allowed = snapshot.spec.rollout.monitor_rollback
    annotations = snapshot.object["metadata"].get("annotations") or {}
    return allowed == "Act" or (allowed == "Propose" and annotations.get(keys.ACCEPT_ROLLBACK) == request.id)


def condition(snapshot: Snapshot, state: State) -> Condition | None:
    """Present only while a request waits for a person, and there is a version to return to."""
    request = open_request(snapshot, state)
    if request is None or snapshot.spec.rollout.monitor_rollback != "Propose" or state.candidate is not None:
        return None
    version = next(rollback_window.usable(snapshot, state), None)
    if version is None:
        return None
    message = (
        f"{request.version} should be rolled back to {version.name}: {request.message}. To do so, set the annotation "
        f"{keys.ACCEPT_ROLLBACK}={request.id}, or spec.rollout.monitorRollback: Act"
    )
    return Condition(ROLLBACK_PROPOSED, "True", "MonitorRequested", message)
