"""From a run's snapshot to what is done. A finished run is final: nothing that happens to its Job changes it any more.

A run's default conditions say that it goes on. Status is written when there is more to say: something keeps the pod
from starting, it has not started after twenty seconds, another try follows; and once at the end (docs/decisions/0070).
The end is recorded before a Job that will never start is deleted, so that nobody takes that deletion for somebody
else's.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tidemill.api.v1alpha1.training_run import RunFailure
from tidemill.core import conditions
from tidemill.core.plan import Event, ObjectRef, Plan
from tidemill.core.podfailure import LOOK_SECONDS
from tidemill.training import artifact_claim, job_failure, job_status, registered, report_validation
from tidemill.training.numbering import made_before
from tidemill.training.run import observe, requeue
from tidemill.training.run import status as statuses
from tidemill.training.run.builders import job, model_version
from tidemill.training.run.policy import gates
from tidemill.training.run.policy.progress import Progress, progress
from tidemill.training.run.policy.registration import registration
from tidemill.training.run.snapshot import RunSnapshot
from tidemill_contracts.training import TrainingResult

QUIET = timedelta(seconds=20)


def plan(snapshot: RunSnapshot) -> Plan:
    """Everything that should happen to the run now."""
    if observe.is_finished(snapshot.object):
        return _tidy(snapshot)
    found = progress(snapshot)
    if found.phase == "Create":
        return _create(snapshot)
    if found.phase == "Terminating":
        return Plan(requeue_after=requeue.seconds(snapshot, found.until))
    if found.failure is not None:
        return _failed(snapshot, found, found.failure)
    if found.result is not None:
        return _judge(snapshot, found, found.result)
    return _wait(snapshot, found)


def _tidy(snapshot: RunSnapshot) -> Plan:
    """Removes the Job of a run that ended without it (pending deadline), and a default condition from its status."""
    left, status = snapshot.job, None
    if observe.is_left_reconciling(snapshot.object):
        kept = [c for c in conditions.of(snapshot.object) if c.get("type") != conditions.RECONCILING]
        status = {**snapshot.object["status"], "conditions": kept}
    if left is None or job_status.job_outcome(left) is not None or left["metadata"].get("deletionTimestamp"):
        return Plan(status=status)
    return Plan(delete=(ObjectRef.of(left),), status=status)


def _create(snapshot: RunSnapshot) -> Plan:
    made = (*_claim(snapshot), *job.config_maps(snapshot), job.build(snapshot))
    return Plan(apply=made, requeue_after=requeue.FIRST_LOOK_SECONDS)


def _claim(snapshot: RunSnapshot) -> tuple[dict[str, Any], ...]:
    """The namespace's default claim, where it is needed and was not seen: a refused one is tried again."""
    if snapshot.claim_exists or not artifact_claim.is_default(snapshot.run.spec.store.uri, snapshot.config):
        return ()
    return (artifact_claim.build(snapshot.namespace, snapshot.config),)


def _wait(snapshot: RunSnapshot, found: Progress) -> Plan:
    assert snapshot.job is not None  # noqa: S101 - without a Job there is nothing to wait for
    shown_from = conditions.parse_time(snapshot.job["metadata"]["creationTimestamp"]) + QUIET
    quiet = found.phase == "Running" or snapshot.now < shown_from
    is_pending = found.phase in ("Pending", "CannotStart")
    missing = job.config_maps(snapshot) if is_pending else ()  # refused at first, or deleted since
    look = snapshot.now + timedelta(seconds=LOOK_SECONDS) if snapshot.is_silent else None
    if quiet and not found.report and conditions.has_default_status(snapshot.object):
        again = requeue.seconds(snapshot, None if found.phase == "Running" else shown_from, found.until, look)
        return Plan(apply=missing, requeue_after=again)
    status = statuses.going_on(snapshot, found)
    again = requeue.seconds(snapshot, found.until, look)
    return Plan(apply=(*_claim(snapshot), *missing), status=status, requeue_after=again)


def _failed(snapshot: RunSnapshot, found: Progress, why: RunFailure) -> Plan:
    """The end of a run that failed; a report that is not believed is reported by an event as well."""
    events = (Event("Warning", why.reason, why.message, "Judge"),) if why.reason == report_validation.REASON else ()
    return Plan(status=statuses.failed(snapshot, found, why), events=events)


def _judge(snapshot: RunSnapshot, found: Progress, result: TrainingResult) -> Plan:
    spec = snapshot.run.spec
    why = report_validation.refusal(report_validation.of_run(spec), result)
    if why is not None:
        return _failed(snapshot, found, job_failure.refused(why))
    assert result.digest  # noqa: S101 - a success without one is not believed
    image = _image(snapshot)
    kept = statuses.run_result(snapshot, result, image)
    scores = gates.scores(result, spec.champion)
    judged = gates.verdicts(spec.gates, scores)
    if not all(v.passed for v in judged):
        return Plan(status=statuses.rejected(snapshot, found, kept, judged, gates.summary(judged)))
    before = made_before(snapshot.unregistered, lambda found: model_version.build(snapshot, found, result, image))
    version, manifest = before or (registration(snapshot, result.digest), None)
    made: tuple[dict[str, Any], ...] = ()
    if not version.exists:
        manifest = model_version.build(snapshot, version, result, image)
        made = (manifest,)
    content = registered.content_digest(manifest["spec"]) if manifest else None
    remark = "; ".join(filter(None, (gates.reservation(spec.gates, scores), _rejection(snapshot, result.digest))))
    status = statuses.succeeded(snapshot, found, kept, judged, version, content, remark or None)
    return Plan(apply=made, status=status)


def _rejection(snapshot: RunSnapshot, digest: str) -> str | None:
    """What is said of content that a person has rejected before: it is not approved by gates."""
    version = snapshot.rejected.get(digest)
    return f"version {version} with this content was rejected, so it is not approved" if version is not None else None


def _image(snapshot: RunSnapshot) -> str:
    """The image by digest where the node reported one, else as spec has it."""
    pod = job_status.newest(snapshot.pods)
    reported = str(job_status.container_status(pod).get("imageID") or "") if pod else ""
    reported = reported.removeprefix("docker-pullable://")
    return reported if "@sha256:" in reported else snapshot.run.spec.image
