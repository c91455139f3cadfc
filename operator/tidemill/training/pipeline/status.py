"""The pipeline's status from its context: what is recorded, and what the conditions say.

What each condition and reason means: docs/conditions-training.md. Ready answers "is the spec that I applied in force?":
a pipeline whose spec has produced a version stays Ready while it trains again; one whose spec has not is Reconciling
until its run has ended, so that GitOps waits for the verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tidemill.api.v1alpha1.rejected_content import RejectedContent
from tidemill.api.v1alpha1.store_records import Records
from tidemill.api.v1alpha1.training_pipeline import (
    ChampionStatus,
    DataState,
    Observed,
    PendingTrigger,
    TrainingPipelineStatus,
)
from tidemill.core import conditions, pod_settings
from tidemill.core.conditions import Condition
from tidemill.training import constants
from tidemill.training.pipeline.policy import champion as champions
from tidemill.training.pipeline.policy import history as histories
from tidemill.training.pipeline.policy import monitor_requests, probes, recording, retry, schedule, throttling
from tidemill.training.pipeline.policy.context import Context
from tidemill.training.pipeline.policy.inputs import is_few_labels
from tidemill.training.pipeline.policy.throttling import Hold
from tidemill.training.pipeline.state import Verdict
from tidemill.training.recording import condition
from tidemill.training.records import RunRecord, VersionRecord
from tidemill_contracts.counts import counted


@dataclass(frozen=True, slots=True)
class Held:
    """A run that should start and may not yet."""

    verdict: Verdict
    hold: Hold


def build(
    ctx: Context,
    held: Held | None,
    states: Sequence[DataState],
    probed: datetime | None,
    recorded: Records | None = None,
    rejected: Sequence[RejectedContent] = (),
) -> dict[str, Any]:
    """The whole status in JSON form.

    `states` and `probed`: what polling knows, and when it last looked; `recorded`: what the store says of versions, and
    `rejected` of content that people had rejected.
    """
    snapshot, history = ctx.snapshot, ctx.history
    before, table = snapshot.pipeline.status, schedule.schedule_state(ctx)
    champion = champions.champion(snapshot, history)
    observed = history.observed
    status = TrainingPipelineStatus(
        observed_generation=snapshot.object["metadata"].get("generation", 0),
        observed=observed
        and Observed(data=dict(observed.data), code=observed.code, image=observed.image, spec=observed.spec),
        data=list(states),
        last_probe_time=probed,
        champion=champion
        and ChampionStatus(version=champion.name, digest=champion.digest, metrics=dict(champion.metrics)),
        latest_version=snapshot.versions[-1].name if snapshot.versions else before.latest_version,
        versions=max(recording.numbers_used(snapshot), _reserved(recorded)),
        active_run=history.active.name if history.active else None,
        last_run=history.last_run,
        last_run_time=history.last_start,
        recent_run_times=list(history.starts),
        run_keys=list(history.keys),
        pending_trigger=held
        and PendingTrigger(type=held.verdict.type, message=held.verdict.message[:1024], not_before=held.hold.until),
        last_schedule_time=history.last_schedule,
        schedule=table.text if table else None,
        next_schedule_time=table.next if table else None,
        last_successful_time=history.last_success,
        consecutive_failures=history.failures,
        rejected=list(recording.rejected(snapshot, rejected)),
        records=recorded,
        last_handled_run_request=history.handled_request,
        last_handled_monitor_requests=monitor_requests.handled(ctx),
    )
    out = status.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"conditions"})
    records = condition.versions_recorded(recording.keeper(snapshot), recorded)
    wanted = [*summary(ctx, held), *_others(ctx, states), *records]
    wanted += pod_settings.conditions({"spec.pod": snapshot.pipeline.spec.pod})
    old = conditions.of(snapshot.object)
    out["conditions"] = conditions.merge(old, wanted, out["observedGeneration"], snapshot.now)
    return out


def _reserved(recorded: Records | None) -> int:
    return recorded.read.numbers if recorded is not None and recorded.read is not None else 0


def summary(ctx: Context, held: Held | None) -> list[Condition]:
    """Ready, and Reconciling or Stalled."""
    snapshot, active = ctx.snapshot, ctx.history.active
    if snapshot.pipeline.spec.suspend:
        text = "spec.suspend is true: no run starts" + (f"; run {active.name} continues" if active else "")
        return _ready(constants.SUSPENDED, text)
    if ctx.problem is not None:
        found = ctx.problem
        return _stalled(found.reason, found.message) if found.stalled else _waiting(found.reason, found.message)
    if active is not None:
        reason, text = _active(active)
        return _ready(reason, text) if in_force(ctx) else _busy(reason, text)
    if held is not None and held.verdict.type != retry.TRIGGER and not in_force(ctx):
        return _busy(held.hold.reason, f"a run will start: {held.verdict.message}; {held.hold.message}")
    return _after_last_run(ctx)


def _active(run: RunRecord) -> tuple[str, str]:
    """A run that goes on, and what it says of itself: what keeps it from starting must be seen here, too."""
    if run.blocked is not None:
        text = f"run {run.name} cannot go on: {run.blocked}"
        return (constants.RUN_IN_PROGRESS if run.has_job else constants.RUN_CANNOT_START), text
    if run.reason == constants.CANNOT_START:
        return constants.RUN_CANNOT_START, f"run {run.name}: {run.message}"
    text = f"run {run.name} is in progress: {run.trigger_type}, {run.trigger.get('message', '')}"
    said = f"; {run.message}" if run.message and not run.unreported else ""
    return constants.RUN_IN_PROGRESS, text + said


def in_force(ctx: Context) -> bool:
    """Whether the spec as it is now has produced a version, and some version is in force."""
    if ctx.inputs is None or champions.champion(ctx.snapshot, ctx.history) is None:
        return False
    wanted = ctx.inputs.spec_digest
    made = any(v.spec_digest == wanted for v in ctx.snapshot.versions)
    return made or any(r.spec_digest == wanted and r.outcome == "True" for r in ctx.snapshot.runs)


def _after_last_run(ctx: Context) -> list[Condition]:
    last = ctx.history.newest
    if last is not None and last.outcome == "False" and not ctx.history.is_mended(last):
        return _after_failure(ctx, last)
    champion = champions.champion(ctx.snapshot, ctx.history)
    waits = champions.undecided(ctx.snapshot)
    if waits is not None:
        text = (
            f"version {waits.name} waits for approval: annotate it with {constants.APPROVE}={waits.digest} or reject it"
        )
        return _ready(constants.AWAITING_APPROVAL, text) if champion else _busy(constants.AWAITING_APPROVAL, text)
    if champion is not None and ctx.history.observed is not None:
        over = champions.rolled_back(ctx.snapshot, champion)
        more = (f"; {over.name} was {over.rolled_back}" if over else "") + _trained_before(ctx)
        more += _rejected_again(ctx.snapshot.versions[-1])
        return _ready(constants.TRAINED, f"version {champion.name} is the champion{more}")
    if champion is None and ctx.snapshot.versions:
        name = ctx.snapshot.versions[-1].name
        return _stalled(constants.VERSION_REJECTED, f"version {name} was rejected and no other version is approved")
    if ctx.inputs is not None and ctx.inputs.key in ctx.history.tried:
        text = "the run of these inputs was deleted; request another with the annotation tidemill.io/run-requested-at"
        return _stalled(constants.RUN_DELETED, text)
    return _busy(constants.RUN_PENDING, "a run is about to start")


def _rejected_again(newest: VersionRecord) -> str:
    """What is said of a newest version whose content was rejected under another number."""
    said = newest.said
    if newest.approved is not False or said is None or said.version == newest.name:
        return ""
    return f"; version {newest.name} has the content of {said.version}, which was rejected"


def _trained_before(ctx: Context) -> str:
    """That the present inputs are those of an earlier run, as after a way back in Git, beginning with `; `."""
    inputs, observed = ctx.inputs, ctx.history.observed
    if inputs is None or observed is None or inputs.key not in ctx.history.tried:
        return ""
    same = (observed.spec, observed.code) == (inputs.spec_digest, inputs.code.digest)
    known = {name: revision for name, revision in inputs.data.items() if revision is not None}
    if same and all(observed.data.get(name, revision) == revision for name, revision in known.items()):
        return ""
    run = next((r for r in reversed(ctx.snapshot.runs) if histories.tried_key(r) == inputs.key), None)
    came = f" (run {run.name}{f', version {run.version}' if run.version else ''})" if run is not None else ""
    same_as = f"code, data and spec are as they were trained before{came}, and are not trained again"
    return f"; {same_as}: to serve that version, set spec.model.number of the ModelDeployment"


def _after_failure(ctx: Context, last: RunRecord) -> list[Condition]:
    if last.reason != constants.REJECTED:
        text, again = f"run {last.name} failed: {last.message}", retry.retry(ctx)
        if again is None:
            return _stalled(constants.RUN_FAILED, text)
        when = conditions.format_time(throttling.retry_at(ctx, again))
        return _waiting(constants.RUN_FAILED, f"{text}; retry {again.number} starts at {when}")
    text = f"run {last.name} was rejected: {last.message}"
    champion = champions.champion(ctx.snapshot, ctx.history)
    if champion is not None and in_force(ctx):
        return _ready(constants.RUN_REJECTED, f"{text}; version {champion.name} stays the champion")
    return _stalled(constants.RUN_REJECTED, text)


def _others(ctx: Context, states: Sequence[DataState]) -> list[Condition]:
    found = []
    waits = champions.undecided(ctx.snapshot)
    if waits is not None:
        text = f"version {waits.name} waits for approval of digest {waits.digest}"
        found.append(Condition(constants.APPROVAL_PENDING, "True", constants.AWAITING_APPROVAL, text))
    triggers = ctx.snapshot.pipeline.spec.triggers
    until = throttling.pause_until(ctx)
    if until is not None and (triggers.data_change or triggers.monitors):
        text = (
            f"the last {counted(ctx.history.failures, 'run')} failed or were rejected: "
            f"new data and monitors start no run before {conditions.format_time(until)}"
        )
        found.append(Condition(constants.TRIGGERS_SLOWED, "True", constants.REPEATED_FAILURES, text))
    waits_for = monitor_requests.why_waiting(ctx, ctx.inputs) if ctx.inputs is not None else None
    if waits_for is not None and waits_for.reason is not None and not ctx.snapshot.pipeline.spec.suspend:
        found.append(Condition(constants.RETRAIN_HELD, "True", waits_for.reason, waits_for.message))
    broken, stuck = (
        [f"{s.name}: {s.error}" for s in states if s.error and not is_few_labels(s.error)],
        probes.problem(ctx),
    )
    if stuck is not None:
        text = f"the pod that checks the inputs cannot start: {stuck}"
        found.append(Condition(constants.SOURCES_READABLE, "False", constants.PROBE_FAILED, text))
    elif broken:
        found.append(Condition(constants.SOURCES_READABLE, "False", constants.PROBE_FAILED, "; ".join(broken)))
    elif any(s.revision for s in states):
        found.append(
            Condition(constants.SOURCES_READABLE, "True", constants.PROBED, "all checked inputs could be read")
        )
    return found


def _ready(reason: str, message: str) -> list[Condition]:
    return conditions.trio(ready=True, reason=reason, message=message)


def _busy(reason: str, message: str) -> list[Condition]:
    return conditions.trio(ready=None, reason=reason, message=message, reconciling=(reason, message))


def _waiting(reason: str, message: str) -> list[Condition]:
    return conditions.trio(ready=False, reason=reason, message=message, reconciling=(reason, message))


def _stalled(reason: str, message: str) -> list[Condition]:
    return conditions.trio(ready=False, reason=reason, message=message, stalled=(reason, message))
