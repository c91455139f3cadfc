"""What is not yet as the spec says although no version is being rolled out: pods that are replaced, scaled or broken.

It says why, as far as the pods know, and since when; after `progressDeadlineSeconds` a person must act. The time since
when is in the status, so that neither a restart nor pods that come and go start it anew; a changed spec does.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from tidemill.core.conditions import Condition, trio
from tidemill.core.podfailure import PodFailure
from tidemill.serving import readiness
from tidemill.serving.snapshot import RouterWorkload, Snapshot, Workload
from tidemill.serving.state import State
from tidemill_contracts.counts import are

UPDATING = "Updating"


@dataclass(frozen=True, slots=True)
class Observed:
    """What the plan knows beside snapshot and state."""

    routed: bool = True
    """Every router pod follows the newest routes and can reach the stable version."""
    up_to_date: bool = True
    """The live children are of the manifests that are wanted."""
    pods: Condition | None = None
    """What the staged update says of the pods."""


@dataclass(frozen=True, slots=True)
class Unsettled:
    """What is not as it should be."""

    reason: str
    message: str
    since: datetime
    is_overdue: bool
    answers: bool
    """Clients are answered meanwhile."""

    def conditions(self, seconds: int) -> list[Condition]:
        """Ready with Reconciling, or with Stalled after the deadline of `seconds`."""
        if not self.is_overdue:
            ready, why = None if self.answers else False, (self.reason, self.message)
            return trio(ready=ready, reason=why[0], message=why[1], reconciling=why)
        reason = "ProgressDeadlineExceeded" if self.answers and self.reason == UPDATING else self.reason
        why = (reason, f"{self.message}, for more than {seconds} s (progressDeadlineSeconds)")
        return trio(ready=False, reason=why[0], message=why[1], stalled=why)


def unsettled(snapshot: Snapshot, state: State, available: Condition, observed: Observed) -> Unsettled | None:
    """The first thing that is not as the spec says; None when all is, or while a version is being rolled out."""
    if snapshot.spec.suspend or state.candidate is not None or state.stable is None:
        return None
    found = _first(snapshot, state, available, observed)
    if found is None:
        return None
    status = snapshot.status
    kept = status.unsettled_since if status.observed_generation == snapshot.generation else None
    since = kept or snapshot.now
    deadline = since + timedelta(seconds=snapshot.spec.rollout.progress_deadline_seconds)
    answers = available.status == "True" or available.reason == "ScaledToZero"
    return Unsettled(*found, since, snapshot.now >= deadline, answers)


def _first(snapshot: Snapshot, state: State, available: Condition, observed: Observed) -> tuple[str, str] | None:
    assert state.stable is not None  # noqa: S101  the caller checked
    if available.status != "True" and available.reason != "ScaledToZero":
        return available.reason, available.message
    workload, wanted = readiness.workload_of(snapshot, state.stable), readiness.wanted_replicas(snapshot, state)
    failure = failing(workload, wanted)
    if workload is not None and failure is not None:
        return _failing(failure, are(workload.ready, wanted, "pod", f"of {state.stable.version}"))
    if not observed.up_to_date or not _is_settled(snapshot, state):
        text = f"the pods of {state.stable.version} are being replaced or scaled"
        return UPDATING, f"{text}: {are(workload.ready, wanted, 'pod')} ready" if workload is not None else text
    return _router(snapshot.router.workload) or (
        None if observed.routed else (UPDATING, f"the router is about to send all requests to {state.stable.version}")
    )


def _router(router: RouterWorkload | None) -> tuple[str, str] | None:
    if router is None or (router.settled and router.ready >= router.replicas):
        return None
    failure = failing(router, router.replicas)
    if failure is not None:
        return _failing(failure, are(router.ready, router.replicas, "pod", "of the router"))
    text = f"the pods of the router are being replaced or scaled: {are(router.ready, router.replicas, 'pod')} ready"
    return UPDATING, text


def failing(workload: Workload | RouterWorkload | None, wanted: int) -> PodFailure | None:
    """Why pods that should be ready are not, as far as they or the cluster say; also where an autoscaler wants them."""
    if workload is None or (workload.settled and workload.ready >= wanted):
        return None
    return workload.failure


def _failing(failure: PodFailure, how_many: str) -> tuple[str, str]:
    reason = readiness.PODS_REFUSED if failure.is_refusal else readiness.PODS_FAILING
    return reason, f"{how_many} ready{because(failure)}"


def because(failure: PodFailure | None) -> str:
    """The pods' own reason, beginning with `; `; empty when they have none."""
    return f"; {failure}" if failure else ""


def strangers(workload: Workload | RouterWorkload | None) -> str:
    """Which pods answer for a version without being of its Deployment, beginning with `; `; empty without one.

    Or get the requests of clients without being of the router's.
    """
    names = workload.strangers if workload is not None else ()
    if not names:
        return ""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    whose = "of its servers" if isinstance(workload, Workload) else "of the router"
    return (
        f"; pod {names[0]}{more} has the labels {whose} but no ReplicaSet as controller, and answers requests "
        "as well until somebody deletes it"
    )


def _is_settled(snapshot: Snapshot, state: State) -> bool:
    workload = readiness.workload_of(snapshot, state.stable)
    if workload is None or not workload.settled:
        return False
    if snapshot.spec.autoscaling is not None:
        return True
    wanted = readiness.wanted_replicas(snapshot, state)
    return workload.replicas == wanted and workload.ready >= wanted
