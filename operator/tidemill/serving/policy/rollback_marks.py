"""The mark of a rollback on the version itself: an entry of this deployment in ModelVersion.status.takenBack.

Why on the version: the pipeline and other deployments must know, also when this deployment is gone. The entry is
written before the deployment's own status says that anything was rolled back, and again while it is missing, so no
crash and no deletion in between loses it (docs/decisions/0170). What the cluster refused says nothing of the version.
"""

from __future__ import annotations

from typing import Any

from tidemill.api.base import API_VERSION
from tidemill.api.v1alpha1.model_deployment import CandidateStatus
from tidemill.api.v1alpha1.rollback import FailedVersion
from tidemill.core.conditions import format_time
from tidemill.core.labels import RETRY
from tidemill.core.plan import ObjectRef, Patch
from tidemill.core.request_annotations import new_value
from tidemill.serving.snapshot import Snapshot, Version
from tidemill.serving.state import State

ANALYSIS_FAILED = "AnalysisFailed"
MONITOR_REQUESTED = "MonitorRequested"
ABORTED = "Aborted"
REJECTED = "Rejected"
MARKED = frozenset({ANALYSIS_FAILED, MONITOR_REQUESTED, ABORTED, REJECTED})
"""Reasons that speak of the version itself. All others are the cluster's or the server's start."""

MOST_MARKS = 20
"""Deployments that mark one version; further ones change nothing."""


def patches(snapshot: Snapshot, before: State, after: State) -> tuple[Patch, ...]:
    """What this pass writes onto versions: new entries, and the removal of those that a person has lifted here."""
    entries: dict[str, dict[str, Any] | None] = {v.name: None for v in _unmarked(snapshot, before, after)}
    for record in after.failed:
        version = _to_mark(snapshot, record)
        if version is not None:
            entries[version.name] = _entry(record)
    return tuple(_patch(snapshot, name, entry) for name, entry in entries.items())


def is_marked(snapshot: Snapshot, state: State, version: Version) -> bool:
    """Whether any deployment has rolled the version back."""
    return bool(version.rolled_back) or is_own(snapshot, state, version)


def is_own(snapshot: Snapshot, state: State, version: Version) -> bool:
    """Whether this deployment has rolled the version back, perhaps only just now: the version need not say so yet."""
    record = state.has_failed(*version.key)
    just_now = record is not None and record.reason in MARKED and _counts(snapshot, state, record)
    return just_now or snapshot.name in version.rolled_back


def own_mark(snapshot: Snapshot, record: CandidateStatus) -> tuple[str, str] | None:
    """Reason and message by which this deployment has marked the version of a record; None when it has not."""
    version = snapshot.version(record.version, record.digest)
    reported = version.rolled_back.get(snapshot.name, "") if version is not None else ""
    reason, _, message = reported.partition(": ")
    return (reason, message) if reason in MARKED else None


def _counts(snapshot: Snapshot, state: State, record: FailedVersion) -> bool:
    """Whether the failure is one of this very spec and nobody has asked to try again, see `rollout.forget_failures`."""
    is_new = new_value(snapshot.annotations, RETRY, state.retry) is not None
    return not is_new and record.spec == snapshot.spec_digest and not is_lifted(snapshot, record)


def is_lifted(snapshot: Snapshot, record: FailedVersion) -> bool:
    """Whether a person has given the version another chance, on the version itself, since it failed here."""
    version = snapshot.version(record.version, record.digest)
    return version is not None and version.lifted is not None and version.lifted >= record.time


def _unmarked(snapshot: Snapshot, before: State, after: State) -> list[Version]:
    """Versions that lose this deployment's entry: all at a retry, and the one that it has just promoted again."""
    own = [v for v in (*snapshot.versions, *snapshot.others) if snapshot.name in v.rolled_back]
    if after.retry != before.retry:
        return own
    stable = after.stable
    if stable is None or stable == before.stable or after.has_failed(stable.version, stable.digest):
        return []
    return [v for v in own if v.key == (stable.version, stable.digest)]


def _to_mark(snapshot: Snapshot, record: FailedVersion) -> Version | None:
    version = snapshot.version(record.version, record.digest)
    if record.reason not in MARKED or version is None or not version.recorded or is_lifted(snapshot, record):
        return None
    known = snapshot.name in version.rolled_back or len(version.rolled_back) >= MOST_MARKS
    return None if known else version


def _entry(record: FailedVersion) -> dict[str, Any]:
    return {
        "digest": record.digest,
        "reason": record.reason,
        "message": record.message[:1024],
        "time": format_time(record.time),
    }


def _patch(snapshot: Snapshot, version: str, entry: dict[str, Any] | None) -> Patch:
    """One key of a map, so that two deployments never overwrite each other's."""
    ref = ObjectRef(API_VERSION, "ModelVersion", snapshot.namespace, version)
    return Patch(ref, {"status": {"takenBack": {snapshot.name: entry}}}, subresource="status")
