"""Why did the run fail? One category that says who must act, one word, one sentence.

The trainer's own word comes first (its termination message), unless it only says that it was stopped: who stopped it,
Kubernetes knows better (deadline, eviction, drain). Then what is known of the pod, then the Job's reason.
"""

from __future__ import annotations

from typing import Any

from tidemill.api.v1alpha1.training_run import RunFailure
from tidemill.training import job_failure, job_status, report_validation
from tidemill.training.run.snapshot import RunSnapshot
from tidemill.training.volumes import volumes_of

Obj = dict[str, Any]


def classify(snapshot: RunSnapshot) -> RunFailure:
    """The failure of a Job that has failed."""
    pod = job_status.newest(snapshot.pods)
    first = _deadline(snapshot) or why_ended(snapshot, pod)
    if first is not None:
        return first
    last = _said(snapshot, pod) or job_failure.exited(snapshot.job, pod, snapshot.log)
    return last or job_failure.unexplained(snapshot.name, snapshot.job, snapshot.log)


def why_ended(snapshot: RunSnapshot, pod: Obj | None) -> RunFailure | None:
    """Why a pod ended that is not the last try: the trainer's word or Kubernetes'; None for no more than a code."""
    return _reported(snapshot, pod) or job_failure.stopped_by_cluster(snapshot.job, pod, snapshot.log)


def _reported(snapshot: RunSnapshot, pod: Obj | None) -> RunFailure | None:
    reported = _said(snapshot, pod)
    return None if reported is not None and reported.reason == job_failure.TERMINATED else reported


def _said(snapshot: RunSnapshot, pod: Obj | None) -> RunFailure | None:
    return job_failure.reported(report_validation.of_run(snapshot.run.spec), pod, snapshot.log)


def _deadline(snapshot: RunSnapshot) -> RunFailure | None:
    if snapshot.job is None or job_status.job_condition(snapshot.job).get("reason") != "DeadlineExceeded":
        return None
    seconds = snapshot.run.spec.limits.active_deadline_seconds
    text = f"the run took longer than spec.run.activeDeadlineSeconds ({seconds})"
    if snapshot.run.status.running_since is None and (snapshot.job_seen is None or snapshot.job_seen.started is None):
        text += "; its pod was never seen running"
    return job_failure.found("DeadlineExceeded", text, snapshot.log)


def not_started(snapshot: RunSnapshot, why: job_status.StartFailure | None) -> RunFailure:
    """The failure of a run whose pod did not start within pendingDeadlineSeconds."""
    seconds = snapshot.run.spec.limits.pending_deadline_seconds
    within = f"within spec.run.pendingDeadlineSeconds ({seconds})"
    if why is None and not snapshot.pods:
        text = (
            f"the Job created no pod {within}: look at `kubectl describe job {snapshot.name}` "
            "(quota, LimitRange, Pod Security, ServiceAccount)"
        )
        return job_failure.found("NoPod", text)
    if why is None:
        text = f"the pod did not start {within}; check that these exist: {volumes_of(snapshot.run.spec).describe()}"
        return job_failure.found("NotStarted", text)
    when = "" if why.permanent else f"the pod did not start {within}: "
    return job_failure.failure(why.category, why.reason, when + why.message)
