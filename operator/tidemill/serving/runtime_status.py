"""What is said of the form that serves a version: by its record, or by its pods where they look again. Pure."""

from __future__ import annotations

from typing import Any

from tidemill.api.v1alpha1.model_deployment import CandidateStatus, ModelDeploymentStatus, StableStatus
from tidemill.core.plan import Event
from tidemill.serving import readiness
from tidemill.serving.snapshot import Snapshot, is_checked_on_load
from tidemill_contracts.inference import ServedForm
from tidemill_contracts.runtimes import BATCH_DEPENDENT, FAILED, OUTDATED

Record = StableStatus | CandidateStatus

UNKNOWN = (
    "not known yet: an older check verified its ONNX form, so its servers compare it again when they load it, and none "
    "has reported the result yet"
)
_CONFIRMED = "an older check verified its ONNX form, and its servers"
CONFIRMED = f"{_CONFIRMED} compared it again and found no difference"
_OUTDATED = (
    f"{OUTDATED}: an older check verified its ONNX form, but its servers compared it again and found that it differs "
    "from the native form, or could not compare it"
)
_SENTENCES = {
    OUTDATED: f"{_OUTDATED}; the logs of its pods have the details",
    FAILED: f"{FAILED}: its ONNX form does not load in its servers, or does not give the recorded answers",
    None: CONFIRMED,
}
MIXED = "its pods serve different forms, some ONNX and some Native"
_REPORTED = (f"{OUTDATED}: ", f"{FAILED}: ", MIXED, _CONFIRMED)
"""How every sentence of pods begins, those of other versions of the operator included: their words end differently."""


def fields(snapshot: Snapshot, record: Record) -> dict[str, Any]:
    """Fields of a record: what serves its version and why; none where its forms are not known any more."""
    version = snapshot.version(record.version, record.digest)
    choice = snapshot.runtime_of(version) if version else None
    if version is None or choice is None or choice.runtime is None:
        return {}
    found: dict[str, Any] = {"runtime": choice.runtime, "runtime_reason": choice.reason}
    if is_reported_by_pods(snapshot, record):
        found = _reported(snapshot, record)
    return found if version.batching else found | {"batching_reason": BATCH_DEPENDENT}


def is_reported_by_pods(snapshot: Snapshot, record: Record) -> bool:
    """Whether its pods alone know what they serve."""
    version = snapshot.version(record.version, record.digest)
    server = snapshot.spec.server
    return version is not None and is_checked_on_load(
        server.runtime, version, allow_pickle=snapshot.allows_pickle(version), allow_code=server.allow_code
    )


def is_unreported(snapshot: Snapshot, record: Record | None) -> bool:
    """Whether a version has ready pods, which alone know what they serve, and none of them has said it."""
    workload = readiness.workload_of(snapshot, record)
    if record is None or workload is None or not workload.ready or not is_reported_by_pods(snapshot, record):
        return False
    return not workload.forms


def _reported(snapshot: Snapshot, record: Record) -> dict[str, Any]:
    """What the pods say; without any that says something, what was last said, else that it is not known."""
    workload = readiness.workload_of(snapshot, record)
    said = workload.forms if workload is not None else frozenset[ServedForm]()
    if said:
        return _described(said)
    if (record.runtime_reason or "").startswith(_REPORTED):
        return {}
    return {"runtime": None, "runtime_reason": UNKNOWN}


def _described(said: frozenset[ServedForm]) -> dict[str, Any]:
    words = {form.surprise for form in said}
    word = OUTDATED if OUTDATED in words else FAILED if FAILED in words else None
    runtimes = {form.runtime for form in said}
    if len(runtimes) == 1:
        return {"runtime": runtimes.pop(), "runtime_reason": _SENTENCES[word]}
    return {"runtime": None, "runtime_reason": f"{_OUTDATED}; {MIXED}" if word == OUTDATED else MIXED}


def events(snapshot: Snapshot, written: dict[str, Any]) -> tuple[Event, ...]:
    """An event for each version of a new status that servers found to differ, which the old one did not say."""
    before = {version for version, reason in _reasons(snapshot.status) if reason.startswith(OUTDATED)}
    now = _reasons(ModelDeploymentStatus.model_validate(written))
    return tuple(
        Event("Warning", OUTDATED, f"{version[0]}: {reason}", "ServeNative")
        for version, reason in now
        if reason.startswith(OUTDATED) and version not in before
    )


def _reasons(status: ModelDeploymentStatus) -> list[tuple[tuple[str, str], str]]:
    records = (r for r in (status.stable, status.candidate) if r is not None)
    return [((r.version, r.digest), r.runtime_reason or "") for r in records]
