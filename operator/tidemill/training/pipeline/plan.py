"""From a pipeline's snapshot to what is done: at most one run is started, one probe, and the surplus is removed.

Two things save writes without hiding anything (docs/decisions/0070). A started run changes the pipeline's status only
after twenty seconds. And a finished run is recorded in status before the next one starts, so that the newest run is
always the only one that status may lack.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from tidemill.api.base import API_VERSION
from tidemill.core import conditions
from tidemill.core.plan import Event, ObjectRef, Plan
from tidemill.training import constants
from tidemill.training.pipeline import status as statuses
from tidemill.training.pipeline.builders import probe as probe_job
from tidemill.training.pipeline.builders import training_run
from tidemill.training.pipeline.policy import champion as champions
from tidemill.training.pipeline.policy import probes, schedule, throttling, triggers
from tidemill.training.pipeline.policy.context import Situation, situation
from tidemill.training.pipeline.policy.probes import Probing
from tidemill.training.pipeline.policy.throttling import Hold
from tidemill.training.pipeline.policy.triggers import Verdict
from tidemill.training.pipeline.snapshot import PipelineSnapshot
from tidemill.training.pipeline.status import Held

QUIET = timedelta(seconds=20)
"""How long a run may be on its way before the pipeline's status says so."""
SOON = timedelta(seconds=1)
"""When to look again where status says what a started run has made untrue. Never at once: passes must not spin."""

SELDOM = timedelta(seconds=30)
"""The longest time between two such looks."""


def plan(snapshot: PipelineSnapshot) -> Plan:
    """Everything that should happen to the pipeline now."""
    now = situation(snapshot)
    verdict, held = choose(now)
    probe = probes.probing(now)
    if verdict is not None and now.inputs is not None and is_recorded(now):
        wait = SOON if shows_trouble(now) else QUIET
        return Plan(apply=(_run(now, verdict),), requeue_after=wait.total_seconds())
    if not is_worth_writing(now):
        return Plan(requeue_after=_seconds(snapshot, [_next_news(now)]))
    if verdict is not None:
        held = Held(verdict, Hold("it starts as soon as the result of the last run is recorded", None))
    looked = snapshot.now if probe.unread else snapshot.pipeline.status.last_probe_time
    status = statuses.build(now, held, probes.data_states(now, probe.unread), looked)
    return Plan(
        apply=_probe_jobs(snapshot, probe),
        delete=_surplus(now, probe),
        status=status,
        events=_events(now, status),
        requeue_after=_seconds(snapshot, _moments(now, probe, status)),
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


def is_recorded(now: Situation) -> bool:
    """Whether status knows how the newest run ended, and of the one that was deleted: both are in memory only."""
    newest = now.history.newest
    told = newest is None or newest.name == now.snapshot.pipeline.status.last_run
    return told and now.snapshot.vanished is None


def is_worth_writing(now: Situation) -> bool:
    """Whether status should change now: not while a fresh run is only on its way and nothing wrong is shown.

    Never before the run's Job was seen (or the run says what hinders it): `status.activeRun` proves that there was one,
    to whoever finds the run without (docs/decisions/0094). Nor between the run's version and its verdict, which follows
    at once.
    """
    active = now.history.active
    if active is None:
        return True
    if any(v.run == active.name and v.created >= active.created for v in now.snapshot.versions):
        return False
    if now.snapshot.pipeline.status.active_run == active.name:
        return True
    if active.untold and not active.has_job:
        return False
    return shows_trouble(now) or now.snapshot.now >= active.created + QUIET


def shows_trouble(now: Situation) -> bool:
    """Whether status says that something is wrong, which a started run makes untrue."""
    shown = conditions.of(now.snapshot.object)
    return any(c.get("status") == "False" for c in shown if c.get("type") == conditions.READY)


def _run(now: Situation, verdict: Verdict) -> dict[str, Any]:
    assert now.inputs is not None  # noqa: S101 - a verdict exists only with inputs
    champion = champions.champion(now.snapshot, now.history)
    keep = champions.kept_digests(now.snapshot, now.history)
    return training_run.build(now.snapshot, now.inputs, verdict, champion, keep)


def _probe_jobs(snapshot: PipelineSnapshot, probe: Probing) -> tuple[dict[str, Any], ...]:
    if probe.start is None:
        return ()
    return (*probe_job.config_maps(snapshot), probe_job.build(snapshot, probe.start))


def _surplus(now: Situation, probe: Probing) -> tuple[ObjectRef, ...]:
    namespace = now.snapshot.namespace
    runs = champions.surplus_runs(now.snapshot, now.history)
    versions = champions.surplus_versions(now.snapshot, now.history)
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


def _moments(now: Situation, probe: Probing, status: dict[str, Any]) -> list[datetime | None]:
    """When something may change without any object changing.

    What wants a run most may be held longest, as new data is after failures that are themselves tried again soon.
    """
    following = status.get("nextScheduleTime")
    holds = (throttling.hold(now, verdict) for verdict in triggers.verdicts(now))
    moments: list[datetime | None] = [
        *(hold.until for hold in holds if hold is not None),
        conditions.parse_time(following) if following else None,
        probe.next,
        throttling.pause_until(now),
    ]
    if now.inputs is not None:
        moments += [triggers.settled_at(now, name) for name in triggers.changed_inputs(now, now.inputs)]
    return moments


def _next_news(now: Situation) -> datetime | None:
    """When status may have something to say of the active run: less and less often where it never has."""
    if now.history.active is None:
        return None
    age = now.snapshot.now - now.history.active.created
    soon = now.snapshot.now + min(max(SOON, age / 4), SELDOM)
    return soon if shows_trouble(now) else max(now.history.active.created + QUIET, soon)


def _seconds(snapshot: PipelineSnapshot, moments: Iterable[datetime | None]) -> float | None:
    """Seconds to the next of these moments that lies ahead; None when there is none."""
    ahead = [m for m in moments if m is not None and m > snapshot.now]
    return (min(ahead) - snapshot.now).total_seconds() if ahead else None
