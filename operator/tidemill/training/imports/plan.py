"""From an import's snapshot to what is done: a Job an attempt, one version for each content that the spec names.

The version is created before status says so, and is found again by its source: whoever is killed in between comes to
the same version.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from tidemill.api.v1alpha1.store_records import Records
from tidemill.api.v1alpha1.training_run import RunFailure
from tidemill.core import conditions
from tidemill.core.plan import Event, ObjectRef, Plan
from tidemill.training import artifact_claim, constants, job_failure, job_status, registered
from tidemill.training.imports import requeue, store
from tidemill.training.imports import status as statuses
from tidemill.training.imports.builders import job, model_version
from tidemill.training.imports.policy import checks, recording
from tidemill.training.imports.policy.progress import Phase, Progress, progress
from tidemill.training.imports.policy.registration import registration
from tidemill.training.imports.snapshot import ImportSnapshot
from tidemill.training.numbering import made_before
from tidemill.training.recording import plan as record_plans
from tidemill.training.recording import policy as record_policy
from tidemill_contracts.training import TrainingResult


def plan(snapshot: ImportSnapshot) -> Plan:
    """Everything that should happen to the import now, and to the records of its versions."""
    keeper = recording.keeper(snapshot)
    found = record_policy.record_actions(keeper)
    known = _with_records(snapshot, found.status)
    wanted = _import(known) if found.hold is None else _held(known, found.hold)
    records = record_plans.changes(keeper, found)
    return replace(
        wanted,
        apply=(*wanted.apply, *records.apply),
        delete=(*wanted.delete, *records.delete),
        events=(*wanted.events, *records.events),
        requeue_after=min(
            (s for s in (wanted.requeue_after, requeue.seconds(snapshot, found.next)) if s is not None), default=None
        ),
    )


def _with_records(snapshot: ImportSnapshot, recorded: Records | None) -> ImportSnapshot:
    """The same with what is known of records from now on: every status that is made of it says so."""
    status = snapshot.model_import.status.model_copy(update={"records": recorded})
    return replace(snapshot, model_import=snapshot.model_import.model_copy(update={"status": status}))


def _held(snapshot: ImportSnapshot, hold: record_policy.Hold) -> Plan:
    """Nothing is registered until it is known which versions there were."""
    phase: Phase = "CannotStart" if hold.reason == constants.RUN_CANNOT_START else "Pending"
    return Plan(delete=_outdated(snapshot), status=statuses.going_on(snapshot, Progress(phase, hold.message)))


def _import(snapshot: ImportSnapshot) -> Plan:
    if is_imported(snapshot):
        return Plan(delete=_outdated(snapshot), status=statuses.unchanged(snapshot))
    problem = checks.problem(snapshot)
    if problem is not None:
        return _stalled(snapshot, problem)
    found = progress(snapshot)
    if found.phase in ("Over", "Later"):
        again = requeue.seconds(snapshot, found.until)
        return Plan(delete=_outdated(snapshot), status=statuses.over(snapshot), requeue_after=again)
    if found.failure is not None:
        return _failed(snapshot, found.failure)
    if found.result is not None:
        return _register(snapshot, found.result)
    return _go_on(snapshot, found)


def is_imported(snapshot: ImportSnapshot) -> bool:
    """Whether what the spec names now was registered: the store and the name cannot be others."""
    return snapshot.model_import.status.source_digest == snapshot.model_import.spec.source.digest


def _go_on(snapshot: ImportSnapshot, found: Progress) -> Plan:
    again = requeue.seconds(snapshot, found.until)
    made: tuple[dict[str, Any], ...] = _claim(snapshot)
    if found.phase == "Create":
        made, again = (*made, job.build(snapshot)), requeue.FIRST_LOOK_SECONDS
    status = statuses.going_on(snapshot, found)
    return Plan(apply=made, delete=_outdated(snapshot), status=status, requeue_after=again)


def _claim(snapshot: ImportSnapshot) -> tuple[dict[str, Any], ...]:
    """The namespace's default claim, where it is needed and was not seen."""
    if snapshot.claim_exists or not artifact_claim.is_default(store.store_uri(snapshot), snapshot.config):
        return ()
    return (artifact_claim.build(snapshot.namespace, snapshot.config),)


def _outdated(snapshot: ImportSnapshot) -> tuple[ObjectRef, ...]:
    """Jobs of other attempts that still go on: the spec has changed under them. Those that ended stay for a day."""
    old = [j for j in snapshot.jobs if j is not snapshot.job and job_status.job_outcome(j) is None]
    return tuple(ObjectRef.of(j) for j in old)


def _failed(snapshot: ImportSnapshot, why: RunFailure) -> Plan:
    status = statuses.failed(snapshot, why, _ended(snapshot))
    going_on = snapshot.job is not None and job_status.job_outcome(snapshot.job) is None
    again = status["attempts"].get("nextTime")
    return Plan(
        delete=(*_outdated(snapshot), *((ObjectRef.of(snapshot.job),) if going_on and snapshot.job else ())),
        status=status,
        events=(Event("Warning", constants.IMPORT_FAILED, f"{job_failure.what(why)}: {why.message}", "Import"),),
        requeue_after=requeue.seconds(snapshot, conditions.parse_time(again) if again else None),
    )


def _ended(snapshot: ImportSnapshot) -> datetime:
    at = job_status.job_condition(snapshot.job).get("lastTransitionTime") if snapshot.job is not None else None
    return conditions.parse_time(at) if at else snapshot.now


def _register(snapshot: ImportSnapshot, result: TrainingResult) -> Plan:
    assert result.digest  # noqa: S101 - a success without one is not believed
    if snapshot.pipeline_is_empty or snapshot.others_look:
        who = "the pipeline looks for its"
        if not snapshot.pipeline_is_empty:
            who = "other imports into the pipeline look for their"
        status = statuses.going_on(snapshot, Progress("Running", f"{who} earlier versions first"))
        return Plan(status=status, requeue_after=requeue.OTHERS_SECONDS)
    before = made_before(snapshot.unregistered, lambda found: model_version.build(snapshot, found, result))
    version, manifest = before or (registration(snapshot, result.digest), None)
    if not version.exists and version.name in snapshot.names_taken:  # with as.name: an object that nobody registered
        return _stalled(snapshot, checks.taken(version.name))
    made: tuple[dict[str, Any], ...] = ()
    if not version.exists:
        manifest = model_version.build(snapshot, version, result)
        made = (manifest,)
    content = registered.content_digest(manifest["spec"]) if manifest else None
    record = next((v for v in snapshot.versions if v.name == version.name), None)
    status = statuses.registered(snapshot, result, version, content, record)
    what = "version {0} holds the content of {1} already" if version.same_content else "{1} is version {0}"
    source = snapshot.model_import.spec.source
    text = what.format(version.name, source.uri)
    event = Event("Normal", constants.IMPORTED, f"{text}, digest {source.digest}", "Import")
    return Plan(apply=made, delete=_outdated(snapshot), status=status, events=(event,))


def _stalled(snapshot: ImportSnapshot, problem: checks.Problem) -> Plan:
    return Plan(
        delete=_outdated(snapshot),
        status=statuses.stalled(snapshot, problem),
        events=_warning(snapshot, problem.reason, problem.message),
    )


def _warning(snapshot: ImportSnapshot, reason: str, message: str) -> tuple[Event, ...]:
    """A warning about what only a person can change, once for each spec."""
    before = conditions.get(conditions.of(snapshot.object), conditions.STALLED) or {}
    if (before.get("reason"), before.get("observedGeneration")) == (reason, snapshot.generation):
        return ()
    return (Event("Warning", reason, message, "Import"),)
