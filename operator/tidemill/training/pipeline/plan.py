"""From a pipeline's snapshot to what is done: at most one run is started, one probe, and the surplus is removed.

Two things save writes without hiding anything (docs/decisions/0070). A started run changes the pipeline's status only
after twenty seconds. And a finished run is recorded in status before the next one starts, so that the newest run is
always the only one that status may lack.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tidemill.api.base import API_VERSION
from tidemill.core import conditions, hashing
from tidemill.core.plan import Event, ObjectRef, Plan
from tidemill.training import constants
from tidemill.training.pipeline import requeue
from tidemill.training.pipeline import status as statuses
from tidemill.training.pipeline.builders import probe as probe_job
from tidemill.training.pipeline.builders import training_run
from tidemill.training.pipeline.policy import champion as champions
from tidemill.training.pipeline.policy import (
    probes,
    recording,
    reporting,
    retention,
    schedule,
    throttling,
    triggers,
)
from tidemill.training.pipeline.policy.context import Context, context
from tidemill.training.pipeline.policy.probes import ProbeActions
from tidemill.training.pipeline.policy.throttling import Hold
from tidemill.training.pipeline.snapshot import PipelineSnapshot
from tidemill.training.pipeline.state import Verdict
from tidemill.training.pipeline.status import Held
from tidemill.training.recording import plan as record_plans
from tidemill.training.recording import policy as record_policy

_ONCE_A_RUN = (constants.RUN_FAILED, constants.RUN_REJECTED, constants.RUN_DELETED)
_ONCE_A_GENERATION = (
    constants.INVALID_SCHEDULE,
    constants.INVALID_DATA,
    constants.INVALID_ARTIFACTS,
    constants.SPEC_TOO_LARGE,
)
"""Reasons of Ready with one warning for each last run, or generation, whatever the message says now."""


def plan(snapshot: PipelineSnapshot) -> Plan:
    """Everything that should happen to the pipeline now."""
    ctx = context(snapshot)
    verdict, held = choose(ctx)
    probe, keeper = probes.probe_actions(ctx), recording.keeper(snapshot)
    found = record_policy.record_actions(keeper)
    if found.hold is not None:
        verdict, held = None, _held(ctx, found.hold)
    is_news = found.status != snapshot.pipeline.status.records
    if verdict is not None and ctx.inputs is not None and reporting.is_recorded(ctx) and not is_news:
        wait = requeue.SOON if reporting.shows_trouble(ctx) else reporting.QUIET
        return Plan(apply=(_run(ctx, verdict),), requeue_after=wait.total_seconds())
    if not reporting.is_due(ctx):
        return Plan(requeue_after=requeue.seconds(snapshot, [requeue.next_report(ctx)]))
    if verdict is not None:
        held = Held(verdict, Hold("it starts as soon as the result of the last run is recorded", None))
    looked = snapshot.now if probe.unread else snapshot.pipeline.status.last_probe_time
    status = statuses.build(ctx, held, probes.data_states(ctx, probe.unread), looked, found.status, found.rejected)
    records = record_plans.changes(keeper, found)
    return Plan(
        apply=(*_probe_jobs(ctx, probe), *records.apply),
        delete=(*_surplus(ctx, probe), *records.delete),
        status=status,
        events=(*_events(ctx, status), *records.events),
        requeue_after=requeue.seconds(snapshot, [*requeue.moments(ctx, probe, status), found.next]),
    )


def _held(ctx: Context, hold: record_policy.Hold) -> Held | None:
    """Every run waits until it is known which versions there were."""
    wanted = next(iter(triggers.verdicts(ctx)), None)
    waits = Hold(hold.message, None, hold.reason)
    return Held(wanted, waits) if wanted is not None else None


def choose(ctx: Context) -> tuple[Verdict | None, Held | None]:
    """The run to start, or else the most important one that must wait."""
    held: Held | None = None
    for verdict in triggers.verdicts(ctx):
        hold = throttling.hold(ctx, verdict)
        if hold is None:
            return verdict, None
        held = held or Held(verdict, hold)
    return None, held


def _run(ctx: Context, verdict: Verdict) -> dict[str, Any]:
    assert ctx.inputs is not None  # noqa: S101 - a verdict exists only with inputs
    champion = champions.champion(ctx.snapshot, ctx.history)
    keep = retention.kept_digests(ctx.snapshot, ctx.history)
    if verdict.suffix is None and any(run.key == ctx.inputs.key for run in ctx.snapshot.runs):
        # A run was decided on these inputs and has read others: it has the name, and these are still to be trained.
        verdict = replace(verdict, suffix=f"k{hashing.short([ctx.history.last_run], 6)}")
    return training_run.build(ctx.snapshot, ctx.inputs, verdict, champion, keep)


def _probe_jobs(ctx: Context, probe: ProbeActions) -> tuple[dict[str, Any], ...]:
    if probe.start is None:
        return ()
    snapshot = ctx.snapshot
    found = probe_job.inputs(snapshot, ctx.history.observed.data if ctx.history.observed else {})
    return (*probe_job.config_maps(snapshot, found), probe_job.build(snapshot, probe.start, found))


def _surplus(ctx: Context, probe: ProbeActions) -> tuple[ObjectRef, ...]:
    namespace = ctx.snapshot.namespace
    runs = retention.surplus_runs(ctx.snapshot, ctx.history)
    versions = retention.surplus_versions(ctx.snapshot, ctx.history)
    return (
        *(ObjectRef(API_VERSION, "TrainingRun", namespace, r.name, r.uid) for r in runs),
        *(ObjectRef(API_VERSION, "ModelVersion", namespace, v.name, v.uid) for v in versions),
        *(ObjectRef("batch/v1", "Job", namespace, p.name, p.uid) for p in probe.done),
    )


def _events(ctx: Context, status: dict[str, Any]) -> tuple[Event, ...]:
    """Warnings about what a person should see; what goes well is in status and in the records."""
    found = []
    table = schedule.schedule_state(ctx)
    if table is not None and table.missed is not None:
        text = f"the run of {conditions.format_time(table.missed)} was not started within startingDeadlineSeconds"
        found.append(Event("Warning", constants.MISSED_SCHEDULE, text, "Schedule"))
    ready = conditions.get(status["conditions"], conditions.READY) or {}
    before = conditions.get(conditions.of(ctx.snapshot.object), conditions.READY) or {}
    is_same_run = status.get("lastRun") == ctx.snapshot.pipeline.status.last_run
    if not _is_reported(before, ready, is_same_run=is_same_run) and (
        ready["status"] == "False" or ready["reason"] == constants.RUN_REJECTED
    ):
        found.append(Event("Warning", ready["reason"], ready["message"], "Judge"))
    waits = conditions.get(status["conditions"], constants.RETRAIN_HELD)
    if waits is not None and conditions.get(conditions.of(ctx.snapshot.object), constants.RETRAIN_HELD) is None:
        found.append(Event("Normal", constants.RETRAIN_HELD, waits["message"], "Judge"))
    return tuple(found)


def _is_reported(before: dict[str, Any], ready: dict[str, Any], *, is_same_run: bool) -> bool:
    """Whether there was a warning already; another version of the operator may have given it in other words."""
    reason = ready.get("reason")
    if (before.get("status"), before.get("reason")) != (ready.get("status"), reason):
        return False
    if reason in _ONCE_A_RUN:
        return is_same_run
    is_same_spec = before.get("observedGeneration") == ready.get("observedGeneration")
    return before.get("message") == ready.get("message") or (reason in _ONCE_A_GENERATION and is_same_spec)
