"""The run's status: what happened, in the words of docs/conditions-training.md.

A run that did not succeed is Stalled for good, so that every tool reads it as failed; one that goes on is Reconciling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tidemill.api.v1alpha1.training_run import GateVerdict, RunFailure, RunHoldout, RunResult, TrainingRunStatus
from tidemill.core import conditions
from tidemill.core.conditions import Condition, Status
from tidemill.training import constants, job_failure, job_status, report_validation
from tidemill.training.numbering import Registration
from tidemill.training.run.policy.progress import Progress
from tidemill.training.run.snapshot import RunSnapshot
from tidemill_contracts.holdout import HoldoutReport
from tidemill_contracts.training import TrainingResult

_REASONS = {
    "Queued": constants.QUEUED,
    "Running": constants.RUNNING,
    "CannotStart": constants.CANNOT_START,
}


def going_on(snapshot: RunSnapshot, found: Progress) -> dict[str, Any]:
    """The status of a run that has not ended."""
    reason = _REASONS.get(found.phase, constants.PENDING)
    trio = conditions.trio(ready=None, reason=reason, message=found.message, reconciling=(reason, found.message))
    return _build(snapshot, found, [*trio, _succeeded("Unknown", reason, found.message)])


def failed(snapshot: RunSnapshot, found: Progress, why: RunFailure) -> dict[str, Any]:
    """The status of a run that failed."""
    message = f"{job_failure.what(why)}: {why.message}"
    reported = job_failure.result_of(job_status.newest(snapshot.pods))
    expected, partial = report_validation.of_run(snapshot.run.spec), None
    if reported is not None and report_validation.refusal(expected, reported) is None:
        partial = RunResult(
            data=reported.data, rows=reported.rows, seconds=reported.seconds, warnings=list(reported.warnings)
        )
    return _build(snapshot, found, _not_succeeded(constants.FAILED, message), failure=why, result=partial)


def rejected(
    snapshot: RunSnapshot, found: Progress, result: RunResult, gates: Sequence[GateVerdict], why: str
) -> dict[str, Any]:
    """The status of a run whose candidate a gate refused."""
    return _build(snapshot, found, _not_succeeded(constants.REJECTED, why), result=result, gates=gates)


def succeeded(
    snapshot: RunSnapshot,
    found: Progress,
    result: RunResult,
    gates: Sequence[GateVerdict],
    version: Registration,
    content: str | None,
    remark: str | None,
) -> dict[str, Any]:
    """The status of a run that has a version now; `content`: digest of the spec of the one that it registered.

    `remark`: what has to be said of the comparison with the champion.
    """
    if version.same_content:
        reason = constants.UNCHANGED
        text = f"the candidate is identical to version {version.name}; nothing was registered"
    else:
        reason, text = constants.RUN_SUCCEEDED, f"registered version {version.name}"
    text += f"; {remark}" if remark else ""
    wanted = [*conditions.trio(ready=True, reason=reason, message=text), _succeeded("True", reason, text)]
    return _build(snapshot, found, wanted, result=result, gates=gates, version=version.name, content=content)


def run_result(snapshot: RunSnapshot, result: TrainingResult, image: str) -> RunResult:
    """The trainer's report as the status keeps it. Metrics that are NaN or infinite are left out."""
    return RunResult(
        digest=result.digest,
        model_digest=result.model_digest,
        uri=result.uri,
        formats=list(result.formats),
        task=result.task,
        metrics=_numbers(result.metrics),
        champion_metrics=_numbers(result.champion_metrics or {}),
        champion_note=result.champion_note,
        champion_overlap=result.champion_overlap,
        holdout=_holdout(result.holdout),
        rows=result.rows,
        holdout_classes=result.holdout_classes,
        data=result.data,
        code=snapshot.run.spec.code.digest,
        image=image,
        frameworks=result.frameworks,
        onnx=result.onnx,
        seconds=result.seconds,
        warnings=list(result.warnings),
    )


def _holdout(found: HoldoutReport | None) -> RunHoldout | None:
    return None if found is None else RunHoldout(type=found.type, cut=found.cut, groups=found.groups)


def _build(
    snapshot: RunSnapshot,
    found: Progress,
    wanted: Sequence[Condition],
    *,
    result: RunResult | None = None,
    gates: Sequence[GateVerdict] = (),
    version: str | None = None,
    content: str | None = None,
    failure: RunFailure | None = None,
) -> dict[str, Any]:
    ended = any(c.type == constants.SUCCEEDED and c.status != "Unknown" for c in wanted)
    job = (snapshot.job or {}).get("metadata") or {}
    before, seen = snapshot.run.status, snapshot.job_seen
    created = seen.created if seen else None
    status = TrainingRunStatus(
        observed_generation=snapshot.object["metadata"].get("generation", 0),
        job=job.get("name") or before.job or (snapshot.name if seen else None),
        start_time=conditions.parse_time(job["creationTimestamp"]) if job else before.start_time or created,
        running_since=found.running_since or before.running_since,
        completion_time=_completion(snapshot) if ended else None,
        result=result,
        gates=list(gates),
        version=version,
        version_content=content,
        failure=failure,
    )
    out = status.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"conditions"})
    old = conditions.of(snapshot.object)
    out["conditions"] = conditions.merge(old, wanted, out["observedGeneration"], snapshot.now)
    return out


def _completion(snapshot: RunSnapshot) -> datetime:
    """When the Job ended: on failure it has no completionTime, only the time of its condition."""
    if snapshot.job is not None:
        at = (snapshot.job.get("status") or {}).get("completionTime")
        at = at or job_status.job_condition(snapshot.job).get("lastTransitionTime")
        if at:
            return conditions.parse_time(at)
    return snapshot.now


def _not_succeeded(reason: str, message: str) -> list[Condition]:
    trio = conditions.trio(ready=False, reason=reason, message=message, stalled=(reason, message))
    return [*trio, _succeeded("False", reason, message)]


def _succeeded(status: Status, reason: str, message: str) -> Condition:
    return Condition(constants.SUCCEEDED, status, reason, message)


def _numbers(metrics: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if value is not None}
