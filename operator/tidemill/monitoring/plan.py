"""One pass over a ModelMonitor as a pure function: children, evaluation, requests, status."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from tidemill.core import conditions, last_applied, names, staged_updates
from tidemill.core.plan import Event, Key, ObjectRef, Plan
from tidemill.errors import Waiting
from tidemill.monitoring import requeue, status
from tidemill.monitoring.builders import prometheus, workload
from tidemill.monitoring.policy import actions, evaluation
from tidemill.monitoring.snapshot import Snapshot
from tidemill.monitoring.state import (
    ACTIONS_HELD,
    ALERTS_DELIVERED,
    DRIFT,
    ESTIMATE,
    FAIRNESS,
    GAMING,
    PERFORMANCE,
    PROFILE_TOO_OLD,
    QUALITY,
    RETENTION,
    Evaluation,
)

SOON_SECONDS = 0.1
"""After a write of children: nobody wakes a writer for its own."""
COMPARED = ("Deployment", "Service")
"""Kinds of children whose live manifest must be the wanted one before anything is Ready."""


def plan(snapshot: Snapshot) -> Plan:
    """The plan for a snapshot. Waiting while the Service of a deleted monitor is in the way."""
    if snapshot.holder is not None:
        found = evaluation.all_unknown(snapshot, "DeploymentAlreadyMonitored", f"see ModelMonitor {snapshot.holder}")
        kept = list(snapshot.status.actions)
        return Plan(delete=snapshot.children, status=status.build(snapshot, found, kept))
    if snapshot.predecessor is not None:
        service = names.monitor_service(snapshot.spec.deployment)
        message = f"Service {service} still belongs to ModelMonitor {snapshot.predecessor} and is being removed"
        raise Waiting("ChildTerminating", message, 2.0)
    evaluated = evaluation.evaluate(snapshot)
    decided = actions.decide(snapshot, evaluated)
    if decided.condition is not None:
        evaluated = replace(evaluated, conditions=(*evaluated.conditions, decided.condition))
    new = list(decided.requests)
    recorded = actions.remember(list(snapshot.status.actions), new)
    scraped = prometheus.build(snapshot)
    staged = _staged(snapshot)
    apply = (*staged.apply[0], *(scraped if _runs_the_newest(staged) else ()))
    up_to_date = last_applied.is_up_to_date(apply, snapshot.applied, COMPARED)
    written = status.build(snapshot, evaluated, recorded, staged.condition, up_to_date=up_to_date)
    return Plan(
        apply=apply,
        patches=(*staged.patches, *workload.refreshes(snapshot)),
        delete=tuple(_obsolete(snapshot, [*workload.build(snapshot), *scraped])),
        status=written,
        events=(
            *_rebased(snapshot),
            *_new_findings(snapshot, evaluated),
            *_not_told(snapshot, evaluated),
            *(actions.event(a) for a in new),
            *staged_updates.events(snapshot.object, staged),
        ),
        requeue_after=staged_updates.earliest(requeue.requeue_after(snapshot, written), staged.requeue_after)
        if up_to_date
        else SOON_SECONDS,
        turn=staged.turn,
    )


def _staged(snapshot: Snapshot) -> staged_updates.StagedUpdate:
    """What is applied of the pod: a change of the operator's own has its turn, before servers that write to it."""
    meta = snapshot.object["metadata"]
    context = staged_updates.UpdateContext(
        key=Key(snapshot.object["kind"], meta["namespace"], meta["name"]),
        object=snapshot.object,
        now=snapshot.now,
        fleet=snapshot.fleet,
        live=snapshot.deployments,
        children=frozenset((ref.kind, ref.name) for ref in snapshot.children),
    )
    return staged_updates.stage(context, [workload.unit(snapshot)], rank=0)


def _runs_the_newest(staged: staged_updates.StagedUpdate) -> bool:
    """Whether the pod is, or becomes now, the one whose ports the Prometheus objects name."""
    return staged.turn is None or staged.turn.kind == "updates"


def _obsolete(snapshot: Snapshot, children: list[dict[str, object]]) -> Iterable[ObjectRef]:
    """Prometheus objects that spec no longer asks for; the claim is never among them."""
    wanted = {(m["kind"], m["metadata"]["name"]) for m in children}  # type: ignore[index]
    return (r for r in snapshot.children if (r.kind, r.name) not in wanted)


def _rebased(snapshot: Snapshot) -> list[Event]:
    """The version in service has changed: from now on its own training data, or rows, are what is compared with."""
    before, served = snapshot.status.version, snapshot.served
    if served is None or served.version is None or before in (None, served.version):
        return []
    message = f"now compares with the training data of {served.version} instead of {before}"
    if snapshot.spec.baseline is not None and snapshot.spec.baseline.type != "Training":
        message = f"the baseline is now of {served.version} instead of {before}: its training data, until it has rows"
    return [Event("Normal", "Rebased", message, "Rebase")]


def _not_told(snapshot: Snapshot, evaluated: Evaluation) -> list[Event]:
    """A warning when a webhook begins not to take alerts: who waits for its messages hears nothing else."""
    found = evaluated.get(ALERTS_DELIVERED)
    before = conditions.get(conditions.of(snapshot.object), ALERTS_DELIVERED)
    if found is None or found.status != "False" or (before is not None and before["status"] == "False"):
        return []
    return [Event("Warning", found.reason, found.message[:1024], "Notify")]


def _new_findings(snapshot: Snapshot, evaluated: Evaluation) -> list[Event]:
    """A warning for each condition that has become True."""
    raw = conditions.of(snapshot.object)
    before = {c["type"] for c in raw if c["status"] == "True"}
    found = (
        evaluated.get(kind)
        for kind in (DRIFT, QUALITY, PERFORMANCE, ESTIMATE, FAIRNESS, GAMING, PROFILE_TOO_OLD, RETENTION, ACTIONS_HELD)
    )
    return [
        Event("Warning", c.type, c.message[:1024], "Judge")
        for c in found
        if c is not None and c.status == "True" and c.type not in before
    ]
