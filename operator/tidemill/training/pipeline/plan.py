"""From a pipeline's snapshot to what is done: at most one run is started, one probe, and the surplus is removed.

Two things save writes without hiding anything (docs/decisions/0070). A started run changes the pipeline's status only
after twenty seconds. And a finished run is recorded in status before the next one starts, so that the newest run is
always the only one that status may lack.
"""

from __future__ import annotations

from typing import Any

from tidemill.api.base import API_VERSION
from tidemill.core import conditions
from tidemill.core.plan import Event, ObjectRef, Plan
from tidemill.training import constants
from tidemill.training.pipeline import requeue
from tidemill.training.pipeline import status as statuses
from tidemill.training.pipeline.builders import probe as probe_job
from tidemill.training.pipeline.builders import training_run
from tidemill.training.pipeline.policy import champion as champions
from tidemill.training.pipeline.policy import probes, reporting, retention, schedule, throttling, triggers
from tidemill.training.pipeline.policy.context import Situation, situation
from tidemill.training.pipeline.policy.probes import Probing
from tidemill.training.pipeline.policy.throttling import Hold
from tidemill.training.pipeline.snapshot import PipelineSnapshot
from tidemill.training.pipeline.state import Verdict
from tidemill.training.pipeline.status import Held


def plan(snapshot: PipelineSnapshot) -> Plan:
    """Everything that should happen to the pipeline now."""
    now = situation(snapshot)
    verdict, held = choose(now)
    probe = probes.probing(now)
    if verdict is not None and now.inputs is not None and reporting.is_recorded(now):
        wait = requeue.SOON if reporting.shows_trouble(now) else reporting.QUIET
        return Plan(apply=(_run(now, verdict),), requeue_after=wait.total_seconds())
    if not reporting.is_due(now):
        return Plan(requeue_after=requeue.seconds(snapshot, [requeue.next_report(now)]))
    if verdict is not None:
        held = Held(verdict, Hold("it starts as soon as the result of the last run is recorded", None))
    looked = snapshot.now if probe.unread else snapshot.pipeline.status.last_probe_time
    status = statuses.build(now, held, probes.data_states(now, probe.unread), looked)
    return Plan(
        apply=_probe_jobs(snapshot, probe),
        delete=_surplus(now, probe),
        status=status,
        events=_events(now, status),
        requeue_after=requeue.seconds(snapshot, requeue.moments(now, probe, status)),
    )


def choose(now: Situation) -> tuple[Verdict | None, Held | None]:
    """The run to start, or else the most important one that must wait."""
    held: Held | None = None
    for verdict in triggers.verdicts(now):
        hold = throttling.hold(now, verdict)
        if hold is None:
            return verdict, None
        held = held or Held(verdict, hold)
    return None, held


def _run(now: Situation, verdict: Verdict) -> dict[str, Any]:
    assert now.inputs is not None  # noqa: S101 - a verdict exists only with inputs
    champion = champions.champion(now.snapshot, now.history)
    keep = retention.kept_digests(now.snapshot, now.history)
    return training_run.build(now.snapshot, now.inputs, verdict, champion, keep)


def _probe_jobs(snapshot: PipelineSnapshot, probe: Probing) -> tuple[dict[str, Any], ...]:
    if probe.start is None:
        return ()
    return (*probe_job.config_maps(snapshot), probe_job.build(snapshot, probe.start))


def _surplus(now: Situation, probe: Probing) -> tuple[ObjectRef, ...]:
    namespace = now.snapshot.namespace
    runs = retention.surplus_runs(now.snapshot, now.history)
    versions = retention.surplus_versions(now.snapshot, now.history)
    return (
        *(ObjectRef(API_VERSION, "TrainingRun", namespace, r.name, r.uid) for r in runs),
        *(ObjectRef(API_VERSION, "ModelVersion", namespace, v.name, v.uid) for v in versions),
        *(ObjectRef("batch/v1", "Job", namespace, p.name, p.uid) for p in probe.done),
    )


def _events(now: Situation, status: dict[str, Any]) -> tuple[Event, ...]:
    """Warnings about what a person should see; what goes well is in status and in the records."""
    found = []
    table = schedule.timetable(now)
    if table is not None and table.missed is not None:
        text = f"the run of {conditions.format_time(table.missed)} was not started within startingDeadlineSeconds"
        found.append(Event("Warning", constants.MISSED_SCHEDULE, text, "Schedule"))
    ready = conditions.get(status["conditions"], conditions.READY) or {}
    shown = conditions.of(now.snapshot.object)
    before = conditions.get(shown, conditions.READY) or {}
    news = (ready.get("reason"), ready.get("message")) != (before.get("reason"), before.get("message"))
    if news and (ready["status"] == "False" or ready["reason"] == constants.RUN_REJECTED):
        found.append(Event("Warning", ready["reason"], ready["message"], "Judge"))
    return tuple(found)
