"""Why did the Job of a run or an import fail? What its pod reported, else what Kubernetes knows of the pod."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidemill.api.v1alpha1.training_run import RunFailure
from tidemill.core.text import clean
from tidemill.training import job_status, report_validation
from tidemill_contracts.failures import BY_OPERATOR, FailureCategory
from tidemill_contracts.training import EXIT_NOT_RETRIABLE, TrainingResult

Obj = dict[str, Any]
MESSAGE_LIMIT = 4096
LOG_LIMIT = 4096
_SIGKILL = 137
TERMINATED = "Terminated"
"""What the trainer reports when it is stopped."""


def failure(category: FailureCategory, reason: str, message: str, log: str | None = None) -> RunFailure:
    """A failure whose texts fit into status."""
    tail = clean(log[-LOG_LIMIT:]) if log else None
    return RunFailure(category=category, reason=reason, message=clean(message[:MESSAGE_LIMIT]), log=tail)


def found(reason: str, message: str, log: str | None = None) -> RunFailure:
    """What the operator found: the table has the category; a Job's own reason that is in no table is of the cluster."""
    row = BY_OPERATOR.get(reason)
    return failure(row.category if row else "Infrastructure", reason, message, log)


def what(why: RunFailure) -> str:
    """Category and reason, as they begin a sentence."""
    return why.category if why.reason == why.category else f"{why.category}, {why.reason}"


def report_of(pod: Mapping[str, Any] | None) -> TrainingResult | report_validation.UnreadableReport | None:
    """What the trainer left behind, None for nothing."""
    message = job_status.termination_message(pod) if pod else None
    return report_validation.read(message) if message and message.strip() else None


def result_of(pod: Mapping[str, Any] | None) -> TrainingResult | None:
    """What the trainer reported, None when it left nothing that can be read."""
    found = report_of(pod)
    return None if isinstance(found, report_validation.UnreadableReport) else found


def refused(why: str, log: str | None = None) -> RunFailure:
    """The failure of a Job whose report says what it may not say."""
    return found(report_validation.REASON, why, log)


def reported(expected: report_validation.Expected, pod: Mapping[str, Any] | None, log: str | None) -> RunFailure | None:
    """What the pod says of its failure, or that it may not say that; None where it reports no failure."""
    result = result_of(pod)
    if result is None or result.failure is None:
        return None
    why = report_validation.refusal(expected, result.model_copy(update={"outcome": "Failed"}))
    if why is not None:
        return refused(why, log)
    return failure(result.failure.category, result.failure.reason, result.failure.message, log)


def stopped_by_cluster(job: Obj | None, pod: Obj | None, log: str | None) -> RunFailure | None:
    """Why the container did not end by itself, as far as Kubernetes knows."""
    causes = (cause(job, pod, log) for cause in (_out_of_memory, _evicted, _disrupted))
    return next((found for found in causes if found is not None), None)


def _out_of_memory(job: Obj | None, pod: Obj | None, log: str | None) -> RunFailure | None:
    """The kernel ended the container for its memory."""
    if pod is None or job_status.terminated(pod).get("reason") != "OOMKilled":
        return None
    limit = job and _memory_limit(job)
    shown = limit or "none set: the node ran out of memory"
    text = f"the container used more memory than its limit ({shown}); raise spec.resources"
    return found("OOMKilled", text, log)


def _evicted(job: Obj | None, pod: Obj | None, log: str | None) -> RunFailure | None:
    """The kubelet stopped the pod."""
    del job
    status = (pod or {}).get("status") or {}
    if status.get("reason") != "Evicted":
        return None
    text = f"the pod was evicted: {status.get('message') or 'the node was short of resources'}"
    return found("Evicted", text, log)


def _disrupted(job: Obj | None, pod: Obj | None, log: str | None) -> RunFailure | None:
    """The pod was stopped for another one, or its node went."""
    del job
    condition = job_status.pod_condition(pod, "DisruptionTarget") if pod else {}
    if condition.get("status") != "True":
        return None
    text = f"the pod was disrupted: {condition.get('reason')}: {condition.get('message')}"
    return found("Disrupted", text, log)


def exited(job: Obj | None, pod: Obj | None, log: str | None) -> RunFailure | None:
    """The container ended by itself, or by a signal, and left nothing that says more."""
    del job
    ended = job_status.terminated(pod) if pod else {}
    code = ended.get("exitCode")
    if not code:
        return None
    said = f": {ended['message'][:500]}" if ended.get("message") else " and left no result"
    if code == _SIGKILL:
        text = f"the container was killed (exit code 137){said}; the node may have run out of memory"
        return found("Killed", text, log)
    if code > 128:
        return found("Crashed", f"the container was killed by signal {code - 128}{said}", log)
    if code == EXIT_NOT_RETRIABLE:
        return found("NoResult", f"the container ended with exit code {code}{said}", log)
    reason = ended.get("reason") if ended.get("reason") not in (None, "Error") else "ExitCode"
    return failure("UserError", str(reason), f"the container ended with exit code {code}{said}", log)


def _memory_limit(job: Obj) -> str | None:
    containers = job["spec"]["template"]["spec"].get("containers") or [{}]
    limit = ((containers[0].get("resources") or {}).get("limits") or {}).get("memory")
    return str(limit) if limit else None


def unexplained(name: str, job: Obj | None, log: str | None) -> RunFailure:
    """What is left to say of a Job of that name: the reason of its own condition."""
    condition = (job and job_status.job_condition(job)) or {}
    reason = str(condition.get("reason") or "JobFailed")
    return found(reason, f"Job {name} failed: {condition.get('message') or reason}", log)
