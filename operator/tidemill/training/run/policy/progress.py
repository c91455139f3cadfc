"""How far is the run? One answer from Job, pods, and what was seen before.

A Job that is gone although it was seen is not made again: somebody deleted it, and a name is never reused. A pod that
does not start within pendingDeadlineSeconds ends the run; time in a queue (suspended Job) does not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from tidemill.api.v1alpha1.training_run import RunFailure
from tidemill.core import conditions, labels
from tidemill.core.parsing import INVALID_SPEC
from tidemill.training import constants, job_failure, job_status, report_validation
from tidemill.training.job_status import StartFailure
from tidemill.training.run.policy import failure as failures
from tidemill.training.run.snapshot import RunSnapshot
from tidemill_contracts.training import TrainingResult

Obj = dict[str, Any]
SETTLING = timedelta(seconds=5)
Phase = Literal["Create", "Queued", "Pending", "CannotStart", "Running", "Terminating", "Complete", "Failed"]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the run stands."""

    phase: Phase
    message: str = ""
    report: bool = False
    """To be written into status now: more than being on its way, which the default conditions say already."""
    until: datetime | None = None
    """When the answer changes by itself."""
    running_since: datetime | None = None
    result: TrainingResult | None = None
    failure: RunFailure | None = None


def progress(snapshot: RunSnapshot) -> Progress:
    """Where the run stands now."""
    refused = _record_refused(snapshot)
    if refused is not None:
        return Progress("Failed", failure=job_failure.refused(refused), running_since=_running_since(snapshot))
    job = snapshot.job
    if job is None:
        return _without_job(snapshot)
    outcome = job_status.job_outcome(job)
    if outcome == "Complete":
        return _complete(snapshot)
    if outcome == "Failed":
        return Progress("Failed", failure=failures.classify(snapshot), running_since=_running_since(snapshot))
    if job["metadata"].get("deletionTimestamp"):
        return Progress("Terminating")
    if job_status.is_suspended(job):
        return Progress("Queued", "the Job waits in its queue", report=True)
    return _active(snapshot)


def _record_refused(snapshot: RunSnapshot) -> str | None:
    """What the API server said when it refused the run's ModelVersion in the pass before, as the engine shows it.

    Its content is the report's, and no later pass would make another one of it: so the run has ended.
    """
    found = conditions.get(conditions.of(snapshot.object), conditions.STALLED) or {}
    message = str(found.get("message") or "")
    if (found.get("status"), found.get("reason")) != ("True", constants.REJECTED) or not message.startswith(
        "ModelVersion "
    ):
        return None
    return report_validation.refused_record(message)


def _without_job(snapshot: RunSnapshot) -> Progress:
    refused = conditions.get(conditions.of(snapshot.object), conditions.STALLED)
    # A run that could not be read and now can (by a newer operator) was refused by nobody: its Job is still to be made.
    if refused is not None and refused.get("reason") != INVALID_SPEC:
        return Progress("Failed", failure=job_failure.found(f"Job{refused['reason']}", refused["message"]))
    if snapshot.job_unlabelled:
        text = f"Job {snapshot.name} has lost the label {labels.MANAGED_SELECTOR}, so the operator cannot watch it"
        lost = job_failure.found("JobNotOwned", text)
        return Progress("Failed", failure=lost, running_since=_running_since(snapshot))
    if snapshot.job_seen or snapshot.run.status.job:
        text = f"Job {snapshot.name} was deleted before it had ended; it is not created again"
        deleted = job_failure.found("JobDeleted", text)
        return Progress("Failed", failure=deleted, running_since=_running_since(snapshot))
    return Progress("Create")


def _complete(snapshot: RunSnapshot) -> Progress:
    since = _running_since(snapshot)
    results = [r for pod in reversed(_by_age(snapshot)) if (r := job_failure.report_of(pod)) is not None]
    if not results:
        text = (
            f"Job {snapshot.name} completed, but no pod has its result: the pod was deleted too early, or the program "
            "emptied /dev/termination-log"
        )
        lost = job_failure.found("ResultLost", text, snapshot.log)
        return Progress("Failed", failure=lost, running_since=since)
    newest = results[0]
    if isinstance(newest, report_validation.UnreadableReport):
        return Progress("Failed", failure=job_failure.refused(newest.why), running_since=since)
    if newest.outcome == "Failed":
        return Progress("Failed", failure=failures.classify(snapshot), running_since=since)
    return Progress("Complete", result=newest, running_since=since)


def _active(snapshot: RunSnapshot) -> Progress:
    pod = job_status.newest(snapshot.pods)
    if pod is not None and job_status.started_at(pod):
        since = _running_since(snapshot)
        ended = job_status.terminated(pod)
        if ended:
            return _between_tries(snapshot, ended, since)
        if pod["metadata"].get("deletionTimestamp"):  # once it is gone, nobody else knows when it started
            return Progress("Running", "the training pod is being stopped", report=True, running_since=since)
        return Progress("Running", "the training pod is running", running_since=since)
    found = _start_failure(snapshot, pod)
    until = _pending_since(snapshot) + timedelta(seconds=snapshot.run.spec.limits.pending_deadline_seconds)
    if until <= snapshot.now or (found is not None and found.permanent):
        return Progress("Failed", failure=failures.not_started(snapshot, found))
    if found is None:
        return Progress("Pending", "the pod is starting", until=until)
    return Progress("CannotStart", f"the pod cannot start: {found.reason}: {found.message}", report=True, until=until)


def _between_tries(snapshot: RunSnapshot, ended: Mapping[str, Any], since: datetime | None) -> Progress:
    """The pod has ended and the Job has not: normally the Job follows within a second or two, and that is reported."""
    shown_from = conditions.parse_time(ended["finishedAt"]) + SETTLING if ended.get("finishedAt") else snapshot.now
    if ended.get("exitCode") == 0:
        return Progress("Terminating")
    if snapshot.now < shown_from:
        return Progress("Terminating", until=shown_from)
    why = failures.why_ended(snapshot, job_status.newest(snapshot.pods))
    how = f": {why.reason}: {why.message}" if why is not None else f" with exit code {ended.get('exitCode')}"
    text = f"attempt {len(snapshot.pods)} ended{how}; the Job starts another pod"
    if snapshot.event is not None:  # what has just ended left room for nobody
        refused = f"attempt {len(snapshot.pods)} ended{how}; the next pod cannot start: {snapshot.event}"
        return Progress("CannotStart", refused, report=True, running_since=since)
    return Progress("Running", text, report=True, running_since=since)


def _start_failure(snapshot: RunSnapshot, pod: Obj | None) -> StartFailure | None:
    """What the pod says, else what events say of it, or of the Job that gets none."""
    found = job_status.start_failure(pod) if pod is not None else None
    if found is None and snapshot.event is not None:
        found = job_status.categorised(snapshot.event)
    return found


def _pending_since(snapshot: RunSnapshot) -> datetime:
    """Since when the newest pod, or the Job without one, waits. Kueue resets the Job's startTime when it admits it.

    A Job without a pod waits no longer than this process has seen: what was before, perhaps a pod that ran for hours
    and was drained while the leader changed, nobody knows.
    """
    assert snapshot.job is not None  # noqa: S101 - only asked of a Job that exists
    pod = job_status.newest(snapshot.pods)
    if pod is not None:
        return conditions.parse_time(pod["metadata"]["creationTimestamp"])
    if _running_since(snapshot) is not None:  # between two tries; activeDeadlineSeconds bounds that
        return snapshot.now
    status = snapshot.job.get("status") or {}
    begun = conditions.parse_time(status.get("startTime") or snapshot.job["metadata"]["creationTimestamp"])
    return max(begun, snapshot.job_seen.since) if snapshot.job_seen else begun


def _running_since(snapshot: RunSnapshot) -> datetime | None:
    if snapshot.run.status.running_since is not None:
        return snapshot.run.status.running_since
    starts = [conditions.parse_time(at) for pod in snapshot.pods if (at := job_status.started_at(pod))]
    seen = snapshot.job_seen.started if snapshot.job_seen else None
    return min([*starts, *([seen] if seen else [])], default=None)


def _by_age(snapshot: RunSnapshot) -> list[dict[str, object]]:
    return sorted(snapshot.pods, key=lambda p: (p["metadata"].get("creationTimestamp", ""), p["metadata"]["name"]))
