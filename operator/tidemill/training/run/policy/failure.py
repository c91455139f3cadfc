"""Why did the run fail? One category that says who must act, one word, one sentence.

The trainer's own word comes first (its termination message), unless it only says that it was stopped: who stopped it,
Kubernetes knows better (deadline, eviction, drain). Then what is known of the pod, then the Job's reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tidemill.api.v1alpha1.training_run import RunFailure
from tidemill.core.text import clean
from tidemill.training import job_status
from tidemill.training.run.policy import report_validation
from tidemill.training.run.snapshot import RunSnapshot
from tidemill.training.volumes import volumes_of
from tidemill_contracts.failures import BY_OPERATOR, FailureCategory
from tidemill_contracts.training import EXIT_NOT_RETRIABLE, TrainingResult

Obj = dict[str, Any]
MESSAGE_LIMIT = 4096
LOG_LIMIT = 4096
_SIGKILL = 137
_TERMINATED = "Terminated"  # what the trainer reports when it is stopped


def failure(category: FailureCategory, reason: str, message: str, log: str | None = None) -> RunFailure:
    """A failure whose texts fit into status."""
    tail = clean(log[-LOG_LIMIT:]) if log else None
    return RunFailure(category=category, reason=reason, message=clean(message[:MESSAGE_LIMIT]), log=tail)


def found(reason: str, message: str, log: str | None = None) -> RunFailure:
    """What the operator found: the table has the category; a Job's own reason that is in no table is of the cluster."""
    row = BY_OPERATOR.get(reason)
    return failure(row.category if row else "Infrastructure", reason, message, log)


def report_of(pod: Mapping[str, Any] | None) -> TrainingResult | report_validation.UnreadableReport | None:
    """What the trainer left behind, None for nothing."""
    message = job_status.termination_message(pod) if pod else None
    return report_validation.read(message) if message and message.strip() else None


def result_of(pod: Mapping[str, Any] | None) -> TrainingResult | None:
    """What the trainer reported, None when it left nothing that can be read."""
    found = report_of(pod)
    return None if isinstance(found, report_validation.UnreadableReport) else found


def refused(why: str, log: str | None = None) -> RunFailure:
    """The failure of a run whose report says what it may not say: the code that ran wrote it."""
    return found(report_validation.REASON, why, log)


def classify(snapshot: RunSnapshot) -> RunFailure:
    """The failure of a Job that has failed."""
    pod = job_status.newest(snapshot.pods)
    for cause in (_deadline, _reported, _out_of_memory, _evicted, _disrupted, _stopped, _exit):
        explained = cause(snapshot, pod)
        if explained is not None:
            return explained
    condition = (snapshot.job and job_status.job_condition(snapshot.job)) or {}
    reason = str(condition.get("reason") or "JobFailed")
    text = f"Job {snapshot.name} failed: {condition.get('message') or reason}"
    return found(reason, text, snapshot.log)


def why_ended(snapshot: RunSnapshot, pod: Obj | None) -> RunFailure | None:
    """Why a pod ended that is not the last try: the trainer's word or Kubernetes'; None for no more than a code."""
    causes = (cause(snapshot, pod) for cause in (_reported, _out_of_memory, _evicted, _disrupted))
    return next((found for found in causes if found is not None), None)


Cause = Callable[[RunSnapshot, Obj | None], RunFailure | None]


def _reported(snapshot: RunSnapshot, pod: Obj | None) -> RunFailure | None:
    reported = _stopped(snapshot, pod)
    return None if reported is not None and reported.reason == _TERMINATED else reported


def _stopped(snapshot: RunSnapshot, pod: Obj | None) -> RunFailure | None:
    result = result_of(pod)
    if result is None or result.failure is None:
        return None
    reported = result.failure
    why = report_validation.refusal(snapshot.run.spec, result.model_copy(update={"outcome": "Failed"}))
    if why is not None:
        return refused(why, snapshot.log)
    return failure(reported.category, reported.reason, reported.message, snapshot.log)


def _deadline(snapshot: RunSnapshot, pod: Obj | None) -> RunFailure | None:
    del pod
    if snapshot.job is None or job_status.job_condition(snapshot.job).get("reason") != "DeadlineExceeded":
        return None
    seconds = snapshot.run.spec.limits.active_deadline_seconds
    text = f"the run took longer than spec.run.activeDeadlineSeconds ({seconds})"
    if snapshot.run.status.running_since is None and (snapshot.job_seen is None or snapshot.job_seen.started is None):
        text += "; its pod was never seen running"
    return found("DeadlineExceeded", text, snapshot.log)


def _out_of_memory(snapshot: RunSnapshot, pod: Obj | None) -> RunFailure | None:
    if pod is None or job_status.terminated(pod).get("reason") != "OOMKilled":
        return None
    limit = snapshot.job and _memory_limit(snapshot.job)
    shown = limit or "none set: the node ran out of memory"
    text = f"the container used more memory than its limit ({shown}); raise spec.resources"
    return found("OOMKilled", text, snapshot.log)


def _evicted(snapshot: RunSnapshot, pod: Obj | None) -> RunFailure | None:
    status = (pod or {}).get("status") or {}
    if status.get("reason") != "Evicted":
        return None
    text = f"the pod was evicted: {status.get('message') or 'the node was short of resources'}"
    return found("Evicted", text, snapshot.log)


def _disrupted(snapshot: RunSnapshot, pod: Obj | None) -> RunFailure | None:
    condition = job_status.pod_condition(pod, "DisruptionTarget") if pod else {}
    if condition.get("status") != "True":
        return None
    text = f"the pod was disrupted: {condition.get('reason')}: {condition.get('message')}"
    return found("Disrupted", text, snapshot.log)


def _exit(snapshot: RunSnapshot, pod: Obj | None) -> RunFailure | None:
    ended = job_status.terminated(pod) if pod else {}
    code = ended.get("exitCode")
    if not code:
        return None
    said = f": {ended['message'][:500]}" if ended.get("message") else " and left no result"
    if code == _SIGKILL:
        text = f"the container was killed (exit code 137){said}; the node may have run out of memory"
        return found("Killed", text, snapshot.log)
    if code > 128:
        return found("Crashed", f"the container was killed by signal {code - 128}{said}", snapshot.log)
    if code == EXIT_NOT_RETRIABLE:
        return found("NoResult", f"the container ended with exit code {code}{said}", snapshot.log)
    reason = ended.get("reason") if ended.get("reason") not in (None, "Error") else "ExitCode"
    return failure("UserError", str(reason), f"the container ended with exit code {code}{said}", snapshot.log)


def _memory_limit(job: Obj) -> str | None:
    containers = job["spec"]["template"]["spec"].get("containers") or [{}]
    limit = ((containers[0].get("resources") or {}).get("limits") or {}).get("memory")
    return str(limit) if limit else None


def not_started(snapshot: RunSnapshot, why: job_status.StartFailure | None) -> RunFailure:
    """The failure of a run whose pod did not start within pendingDeadlineSeconds."""
    seconds = snapshot.run.spec.limits.pending_deadline_seconds
    within = f"within spec.run.pendingDeadlineSeconds ({seconds})"
    if why is None and not snapshot.pods:
        text = (
            f"the Job created no pod {within}: look at `kubectl describe job {snapshot.name}` "
            "(quota, LimitRange, Pod Security, ServiceAccount)"
        )
        return found("NoPod", text)
    if why is None:
        text = f"the pod did not start {within}; check that these exist: {volumes_of(snapshot.run.spec).describe()}"
        return found("NotStarted", text)
    when = "" if why.permanent else f"the pod did not start {within}: "
    return failure(why.category, why.reason, when + why.message)
