"""How far is the import? One answer from status, Job and pods.

An import may be repeated without harm: what is in the store already is not copied again. So a Job that is gone is made
again, until an attempt has ended and status says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from tidemill.api.v1alpha1.training_run import RunFailure
from tidemill.core import conditions
from tidemill.core.podfailure import LOOK_SECONDS
from tidemill.training import job_failure, job_status, report_validation
from tidemill.training.imports import store
from tidemill.training.imports.policy import attempts
from tidemill.training.imports.snapshot import ACTIVE_SECONDS, PENDING_SECONDS, ImportSnapshot
from tidemill_contracts import importing, schemes
from tidemill_contracts.counts import counted
from tidemill_contracts.storage import parse_uri
from tidemill_contracts.training import TrainingResult

Phase = Literal["Over", "Later", "Create", "Pending", "CannotStart", "Running", "Complete", "Failed"]


_MISSING = frozenset({"NotFound"})
"""Reasons of a source that is not there."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the import stands."""

    phase: Phase
    message: str = ""
    until: datetime | None = None
    """When the answer changes by itself."""
    result: TrainingResult | None = None
    failure: RunFailure | None = None


def progress(snapshot: ImportSnapshot) -> Progress:
    """Where the import stands now."""
    found = _progress(snapshot)
    claim = _claim_of_another_namespace(snapshot, found)
    if not claim:
        return found
    if found.failure is None:
        return replace(found, message=f"{found.message}{claim}")
    return replace(found, failure=found.failure.model_copy(update={"message": f"{found.failure.message}{claim}"}))


def _claim_of_another_namespace(snapshot: ImportSnapshot, found: Progress) -> str:
    """What to do where a claim of the source, or what should be on it, is not there; beginning with `; `."""
    uri = parse_uri(snapshot.model_import.spec.source.uri)
    if schemes.BY_NAME[uri.scheme].mount != "claim":
        return ""
    is_missing = found.failure is not None and found.failure.reason in _MISSING
    text = (found.failure.message if found.failure is not None else found.message).lower()
    if not is_missing and not (found.phase in ("CannotStart", "Failed") and "persistentvolumeclaim" in text):
        return ""
    return (
        f"; {uri.authority} is the claim of this namespace ({snapshot.namespace}), as a pod mounts claims of its own "
        "namespace only. A model of another namespace needs a store that both reach, a bucket (s3://, gs:// or az://)"
    )


def _progress(snapshot: ImportSnapshot) -> Progress:
    job = snapshot.job
    if job is None:
        return _without_job(snapshot)
    outcome = job_status.job_outcome(job)
    if outcome == "Complete":
        return _complete(snapshot)
    if outcome == "Failed":
        return Progress("Failed", failure=_classified(snapshot, job))
    return _active(snapshot, job)


def _without_job(snapshot: ImportSnapshot) -> Progress:
    if attempts.is_over(snapshot):
        return Progress("Over")
    until = attempts.waits_until(snapshot)
    if until is not None and until > snapshot.now:
        return Progress("Later", until=until)
    return Progress("Create", "the pod is starting")


def expected(snapshot: ImportSnapshot) -> report_validation.Expected:
    """What the report of the pod may say: no pickle, and no data or champion of this namespace."""
    return report_validation.Expected(
        store=store.store_uri(snapshot), is_import=True, allows_code=True, allows_programs=True
    )


def _complete(snapshot: ImportSnapshot) -> Progress:
    pod = job_status.newest(snapshot.pods)
    found = job_failure.report_of(pod)
    if found is None:
        text = f"Job {snapshot.job_name} completed, but no pod has its result: the pod was deleted too early"
        return Progress("Failed", failure=job_failure.found("ResultLost", text, snapshot.log))
    if isinstance(found, report_validation.UnreadableReport):
        return Progress("Failed", failure=job_failure.refused(found.why))
    why = report_validation.refusal(expected(snapshot), found) or _other_content(snapshot, found)
    if why is not None:
        return Progress("Failed", failure=job_failure.refused(why))
    return Progress("Complete", result=found)


def _other_content(snapshot: ImportSnapshot, found: TrainingResult) -> str | None:
    """A sentence where the report is of other content than spec.source.digest names."""
    source = snapshot.model_import.spec.source
    is_version = importing.file_format(source.uri) is None
    reported, field = (found.digest, "digest") if is_version else (found.model_digest, "model_digest")
    if found.outcome == "Succeeded" and reported == source.digest:
        return None
    return report_validation.sentence(f"{field}: {reported}; expected {source.digest} (spec.source.digest)")


def _classified(snapshot: ImportSnapshot, job: dict[str, Any]) -> RunFailure:
    pod, log = job_status.newest(snapshot.pods), snapshot.log
    if job_status.job_condition(job).get("reason") == "DeadlineExceeded":
        return job_failure.found(
            "DeadlineExceeded", f"the import took longer than {counted(ACTIVE_SECONDS, 'second')}", log
        )
    reported = job_failure.reported(expected(snapshot), pod, log)
    if reported is not None and reported.reason != job_failure.TERMINATED:
        return reported
    last = job_failure.stopped_by_cluster(job, pod, log) or reported or job_failure.exited(job, pod, log)
    return last or job_failure.unexplained(snapshot.job_name, job, log)


def _active(snapshot: ImportSnapshot, job: dict[str, Any]) -> Progress:
    pod = job_status.newest(snapshot.pods)
    if pod is not None and job_status.started_at(pod):
        return _started(snapshot, job_status.terminated(pod))
    since = conditions.parse_time((pod or job)["metadata"]["creationTimestamp"])
    until = since + timedelta(seconds=PENDING_SECONDS)
    found = job_status.start_failure(pod) if pod is not None else None
    if found is None and snapshot.event is not None:
        found = job_status.categorised(snapshot.event)
    if until <= snapshot.now or (found is not None and found.permanent):
        return Progress("Failed", failure=_not_started(snapshot, found))
    if snapshot.is_silent:
        until = min(until, snapshot.now + timedelta(seconds=LOOK_SECONDS))
    if found is None:
        return Progress("Pending", "the pod is starting", until=until)
    return Progress("CannotStart", f"the pod cannot start: {found.reason}: {found.message}", until=until)


def _started(snapshot: ImportSnapshot, ended: Mapping[str, Any]) -> Progress:
    """A pod runs, or has ended and the Job starts another one."""
    look = snapshot.now + timedelta(seconds=LOOK_SECONDS) if snapshot.is_silent else None
    if not ended.get("exitCode"):
        return Progress("Running", "the model is being copied", until=look)
    text = f"a pod ended with exit code {ended['exitCode']}; the Job starts another one"
    if snapshot.event is not None:
        return Progress("CannotStart", f"{text}, which cannot start: {snapshot.event}", until=look)
    return Progress("Running", text, until=look)


def _not_started(snapshot: ImportSnapshot, why: job_status.StartFailure | None) -> RunFailure:
    within = f"within {counted(PENDING_SECONDS, 'second')}"
    if why is not None:
        when = "" if why.permanent else f"the pod did not start {within}: "
        return job_failure.failure(why.category, why.reason, when + why.message)
    if not snapshot.pods:
        text = f"the Job created no pod {within}: look at `kubectl describe job {snapshot.job_name}`"
        return job_failure.found("NoPod", f"{text} (quota, LimitRange, Pod Security)")
    text = f"the pod did not start {within}: look at `kubectl describe pod` (claims, nodes)"
    return job_failure.found("NotStarted", text)
