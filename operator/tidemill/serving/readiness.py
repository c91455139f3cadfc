"""Is a version's workload fit to get requests, or broken? Shared by the rollout's policies and the status.

Ready means: the newest template, all its pods, and an address that every router pod knows. So an unready version never
gets a request.
"""

from __future__ import annotations

from typing import NamedTuple

from tidemill.api.v1alpha1.model_deployment import CandidateStatus, StableStatus
from tidemill.core import conditions
from tidemill.serving.snapshot import PodFailure, Snapshot, Workload
from tidemill.serving.state import State
from tidemill_contracts.training import EXIT_NOT_RETRIABLE

DNS_SECONDS = 10.0
"""How long a ready pod's address may take to be known everywhere, where the router cannot be asked."""

ROUTED_SECONDS = 5.0
"""How long a router pod may take to follow new routes, where it cannot be asked."""

UNAVAILABLE_SECONDS = 30.0
"""A candidate that gets requests and has had no ready pod for so long is rolled back."""


AVAILABLE = "Available"
"""The condition that says whether requests are answered."""
UNREACHABLE = "NoReachablePod"
"""Its reason while pods are ready and no router pod knows an address of them."""
PODS_REFUSED = "PodsRefused"
"""The reason of what the cluster refuses: quota, image, node, volume."""
PODS_FAILING = "PodsFailing"
"""The reason of pods that end, or whose server does not start."""


class Problem(NamedTuple):
    """Why a candidate cannot go on."""

    reason: str
    message: str
    is_refusal: bool = False
    """The cluster refuses its pods, which says nothing of the version: it waits, and goes on when the cause is gone."""


def workload_of(snapshot: Snapshot, record: StableStatus | CandidateStatus | None) -> Workload | None:
    """The Deployment of a recorded version."""
    return snapshot.workload(record.version, record.digest) if record else None


def wanted_replicas(snapshot: Snapshot, state: State) -> int:
    """Pods that a candidate needs: as many as the stable version has, because it is to take over all requests."""
    scaling = snapshot.spec.autoscaling
    if scaling is None:
        return 1 if snapshot.spec.replicas is None else snapshot.spec.replicas
    stable = workload_of(snapshot, state.stable)
    return min(max(scaling.min_replicas, stable.replicas if stable else 0), scaling.max_replicas)


def is_ready(snapshot: Snapshot, state: State, record: StableStatus | CandidateStatus | None) -> bool:
    """Whether all pods of a version run the newest template and are ready."""
    workload = workload_of(snapshot, record)
    return workload is not None and workload.settled and workload.ready >= wanted_replicas(snapshot, state)


def is_visible(snapshot: Snapshot, state: State, record: CandidateStatus) -> bool:
    """Whether every router pod can reach the candidate."""
    workload = workload_of(snapshot, record)
    if workload is None:
        return False
    if wanted_replicas(snapshot, state) == 0:
        return True
    members = snapshot.router.members(snapshot.child_of(workload.version))
    if members is not None:
        return members > 0
    since = workload.available_since
    return snapshot.router.ready > 0 and since is not None and (snapshot.now - since).total_seconds() >= DNS_SECONDS


def is_routed(snapshot: Snapshot, state: State, routes_version: str) -> bool:
    """Whether every router pod follows these routes and knows an address of the stable version."""
    live, stable = snapshot.router, workload_of(snapshot, state.stable)
    if live.routes_version != routes_version or live.routes_since is None:
        return False
    follows_routes = live.follows_routes(routes_version)
    if follows_routes is None:
        return (snapshot.now - live.routes_since).total_seconds() >= ROUTED_SECONDS
    if stable is None or wanted_replicas(snapshot, state) == 0:
        return follows_routes
    return follows_routes and live.members(snapshot.child_of(stable.version)) != 0


def is_unreachable(snapshot: Snapshot, state: State) -> bool:
    """Whether the stable version has ready pods, and every ready router pod says that it knows no address of them.

    While Available is True, nothing is made of a 0 before every router pod, the routes and the ready pods are
    `DNS_SECONDS` old: a router that starts does not know the addresses yet. While it is not True, it does not become
    True before a router pod knows one. Router pods that do not answer change nothing.
    """
    workload = workload_of(snapshot, state.stable)
    if workload is None or workload.ready == 0 or snapshot.router.ready == 0:
        return False
    most, before = snapshot.router.most_members(snapshot.child_of(workload.version)), was_available(snapshot)
    if most != 0:
        return most is None and before.reason == UNREACHABLE
    since = (workload.available_since, snapshot.router.routes_since, *(p.created for p in snapshot.router.pods))
    ages = [(snapshot.now - at).total_seconds() for at in since if at is not None]
    return before.status != "True" or all(age >= DNS_SECONDS for age in ages)


def was_available(snapshot: Snapshot) -> conditions.Condition:
    """The condition Available as the status has it; Unknown without one."""
    found = conditions.get(conditions.of(snapshot.object), AVAILABLE)
    return conditions.Condition(AVAILABLE, "Unknown", "") if found is None else conditions.Condition.from_json(found)


def refusal(snapshot: Snapshot, record: CandidateStatus | None) -> PodFailure | None:
    """Why the cluster refuses pods of a candidate; None when it does not, or one of them fails by itself."""
    workload = workload_of(snapshot, record)
    failure = workload.failure if workload else None
    return failure if failure is not None and failure.is_refusal else None


def problem(snapshot: Snapshot, record: CandidateStatus) -> Problem | None:
    """Why a candidate must be rolled back, or held, by its pods alone."""
    workload = workload_of(snapshot, record)
    failure = workload.failure if workload else None
    if failure is not None and failure.exit_code == EXIT_NOT_RETRIABLE:
        return Problem(failure.reason, failure.message)
    because = f": {failure}" if failure else ""
    deadline = snapshot.spec.rollout.progress_deadline_seconds
    is_held = record.step < 0 and record.held_since is not None
    if record.step < 0 and not is_held:
        if (snapshot.now - record.started_at).total_seconds() < deadline:
            return None
        message = f"the pods of {record.version} were not ready within {deadline} s (progressDeadlineSeconds){because}"
        is_refusal = refusal(snapshot, record) is not None
        return Problem(PODS_REFUSED if is_refusal else "ProgressDeadlineExceeded", message, is_refusal)
    since = workload.unavailable_since if workload else None
    limit = deadline if is_held else UNAVAILABLE_SECONDS
    if since is not None and (snapshot.now - since).total_seconds() >= limit:
        message = f"{record.version} has had no ready pod for {limit:.0f} s{because}"
        return Problem("CandidateUnavailable", message, refusal(snapshot, record) is not None)
    return None
