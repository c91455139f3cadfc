"""One pass over a ModelDeployment as a pure function: decide, build the children, write the status.

Order matters for requests: a version's Service and pods come before routes that name them, and a version goes only when
its routes have been gone for a while on every router pod.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tidemill.core import conditions, last_applied, staged_updates
from tidemill.core.plan import Event, Key, ObjectRef, Patch, Plan
from tidemill.serving import readiness, requeue, runtime_status, status
from tidemill.serving.builders import envoy, router, server
from tidemill.serving.convergence import Observed
from tidemill.serving.policy import proposals, rollback_marks, rollout, slo, strategies, target
from tidemill.serving.snapshot import Snapshot, Version, router_child
from tidemill.serving.state import State, Target

SCALE_DOWN_DELAY_SECONDS = requeue.SCALE_DOWN_DELAY_SECONDS
SOON_SECONDS = 0.1
COMPARED = ("Deployment", "Service", "ConfigMap", "PodDisruptionBudget", "HorizontalPodAutoscaler")
"""Kinds of children whose live manifest must be the wanted one before anything is Ready."""
FORCED_REMOVAL_SECONDS = 120.0
"""After so long a version goes although a router pod did not say which routes it follows."""


@dataclass(frozen=True, slots=True)
class _Roles:
    """Which versions have pods, and in which part."""

    stable: Version | None
    candidate: Version | None
    terminating: tuple[Version, ...] = ()
    """Get no requests any more, but their pods stay for a while."""

    @property
    def serving(self) -> list[Version]:
        """The versions that get requests, or are about to."""
        return [v for v in (self.stable, self.candidate) if v is not None]

    @property
    def all(self) -> list[Version]:
        """Every version with pods."""
        return [*self.serving, *self.terminating]


def plan(snapshot: Snapshot) -> Plan:
    """The plan for a snapshot."""
    before = State.of(snapshot.status)
    wanted = target.choose(snapshot, before)
    if snapshot.spec.suspend:
        return _suspended(snapshot, before, wanted)
    decided = rollout.decide(snapshot, before, wanted)
    state = decided.state
    roles, config = _roles(snapshot, state)
    staged = _staged(snapshot, roles, config)
    apply: list[dict[str, Any]] = [*server.ingest_secret(snapshot), *server.clients_secret(snapshot)]  # before the pods
    patches: list[Patch] = [*rollback_marks.patches(snapshot, before, state), *staged.patches]
    for version, pods in zip(roles.serving, staged.apply, strict=False):
        apply += pods
        apply += _extras(snapshot, state, roles, version)
        patches += _scale(snapshot, state, version)
    apply += _policies(snapshot)
    apply += [router.config_map(snapshot, config), *staged.apply[-1], *router.extras(snapshot)]
    patches += router.refreshes(snapshot, config)
    observed = Observed(
        routed=readiness.is_routed(snapshot, state, config.routes_version),
        up_to_date=last_applied.is_up_to_date(apply, snapshot.applied, COMPARED),
        pods=staged.condition,
    )
    written = status.build(
        snapshot,
        state,
        target.choose(snapshot, state),  # what was just rolled back is not wanted any more
        effective_weight=_weight(snapshot, state),
        selector=_selector(snapshot, roles.stable),
        observed=observed,
    )
    return Plan(
        apply=tuple(apply),
        patches=tuple(patches),
        delete=tuple(_obsolete(snapshot, state, roles)),
        status=written,
        events=(
            *decided.events,
            *_proposed(snapshot, written),
            *staged_updates.events(snapshot.object, staged),
            *runtime_status.events(snapshot, written),
        ),
        requeue_after=staged_updates.earliest(
            staged.requeue_after, _requeue_after(snapshot, state, config, observed, bool(decided.events), written)
        ),
        turn=staged.turn,
        leads_to=_leads_to(snapshot, state, roles),
    )


def _leads_to(snapshot: Snapshot, state: State, roles: _Roles) -> dict[tuple[str, str], frozenset[tuple[str, str]]]:
    """The Services whose pods the routes send requests to: they must be ours before the router gets the routes."""
    used = frozenset(("Service", u.host) for u in _upstreams(snapshot, state, roles) if u.weight > 0)
    return {("ConfigMap", router_child(snapshot.name)): used}


def _proposed(snapshot: Snapshot, written: dict[str, Any]) -> list[Event]:
    """A warning when a monitor's request begins to wait for a person."""
    before, found = (
        conditions.get(c, proposals.ROLLBACK_PROPOSED) for c in (conditions.of(snapshot.object), written["conditions"])
    )
    if found is None or before is not None:
        return []
    return [Event("Warning", proposals.ROLLBACK_PROPOSED, str(found["message"])[:1024], "RollBack")]


def _staged(snapshot: Snapshot, roles: _Roles, config: router.Config) -> staged_updates.StagedUpdate:
    """What is applied of the pods of each version, and of the router's: a change of the operator's own has its turn."""
    meta = snapshot.object["metadata"]
    context = staged_updates.UpdateContext(
        key=Key(snapshot.object["kind"], meta["namespace"], meta["name"]),
        object=snapshot.object,
        now=snapshot.now,
        fleet=snapshot.fleet,
        live=snapshot.deployments,
        children=frozenset((ref.kind, ref.name) for ref in snapshot.children),
    )
    units = [server.unit(snapshot, version) for version in roles.serving]
    return staged_updates.stage(context, [*units, router.unit(snapshot, config)], rank=1)


def _suspended(snapshot: Snapshot, state: State, wanted: Target) -> Plan:
    """Nothing is applied, nothing is decided; Kubernetes itself keeps the pods alive."""
    weight = snapshot.status.candidate.weight if snapshot.status.candidate else 0
    stable = _record(snapshot, state.stable)
    selector = _selector(snapshot, stable)
    return Plan(
        status=status.build(snapshot, state, wanted, effective_weight=weight, selector=selector, observed=Observed())
    )


def _requeue_after(
    snapshot: Snapshot,
    state: State,
    config: router.Config,
    observed: Observed,
    is_changed: bool,
    written: dict[str, Any],
) -> float | None:
    """Seconds until the next look: at once after a decision or a write, since nobody wakes a writer for its own."""
    if is_changed or not observed.up_to_date:
        return SOON_SECONDS
    looks = [
        requeue.requeue_after(snapshot, state, config.routes_version),
        requeue.deadline(snapshot, written),
        slo.due_in(snapshot),
    ]
    return min((seconds for seconds in looks if seconds is not None), default=None)


def _record(snapshot: Snapshot, record: Any) -> Version | None:
    return snapshot.version(record.version, record.digest) if record else None


def _roles(snapshot: Snapshot, state: State) -> tuple[_Roles, router.Config]:
    """The versions that keep their pods, and the router's files for them."""
    stable, candidate = _record(snapshot, state.stable), _record(snapshot, state.candidate)
    serving = {v.key for v in (stable, candidate) if v is not None}
    roles = _Roles(stable, candidate, tuple(w.version for w in snapshot.workloads if w.version.key not in serving))
    config = router.config(snapshot, _upstreams(snapshot, state, roles))
    if not roles.terminating or not _may_remove(snapshot, config):
        return roles, config
    roles = _Roles(stable, candidate)
    return roles, router.config(snapshot, _upstreams(snapshot, state, roles))


def _may_remove(snapshot: Snapshot, config: router.Config) -> bool:
    """Whether the routes without the terminating versions have been in force for long enough."""
    live = snapshot.router
    if live.routes_version != config.routes_version or live.routes_since is None:
        return False
    age = (snapshot.now - live.routes_since).total_seconds()
    if age < SCALE_DOWN_DELAY_SECONDS:
        return False
    return live.follows_routes(config.routes_version) is True or age >= FORCED_REMOVAL_SECONDS


def _weight(snapshot: Snapshot, state: State) -> int:
    """Percentage of requests that the candidate gets; nothing while it has no ready pod."""
    if state.candidate is None or state.stable is None:
        return 0
    workload = readiness.workload_of(snapshot, state.candidate)
    return strategies.weight(snapshot, state.candidate) if workload is not None and workload.ready > 0 else 0


def _upstreams(snapshot: Snapshot, state: State, roles: _Roles) -> list[envoy.Upstream]:
    weight = _weight(snapshot, state)
    out = []
    for version in roles.all:
        name = snapshot.child_of(version)
        share = 100 - weight if version is roles.stable else weight if version is roles.candidate else 0
        out.append(envoy.Upstream(name, name, version.name, share))
    return sorted(out, key=lambda u: u.name)


def _selector(snapshot: Snapshot, stable: Version | None) -> str | None:
    if stable is None:
        return None
    return ",".join(f"{k}={v}" for k, v in sorted(server.selector(snapshot, stable).items()))


def _extras(snapshot: Snapshot, state: State, roles: _Roles, version: Version) -> list[dict[str, Any]]:
    """Disruption budget of the stable version, autoscaler of both."""
    scaling = snapshot.spec.autoscaling
    is_stable = version is roles.stable
    out = []
    if is_stable and (scaling.min_replicas if scaling else snapshot.spec.replicas or 1) > 1:
        out.append(server.disruption_budget(snapshot, version))
    if scaling is not None:
        fewest = scaling.min_replicas if is_stable else readiness.wanted_replicas(snapshot, state)
        out.append(server.autoscaler(snapshot, version, fewest))
    return out


def _policies(snapshot: Snapshot) -> list[dict[str, Any]]:
    """Who may call the servers; none where spec says None."""
    return [] if snapshot.spec.network_policies == "None" else [server.network_policy(snapshot)]


def _scale(snapshot: Snapshot, state: State, version: Version) -> list[Patch]:
    """Sets the number of pods where it differs; with autoscaling only when a version starts."""
    workload = snapshot.workload(*version.key)
    wanted = readiness.wanted_replicas(snapshot, state)
    if (workload.replicas if workload else 1) == wanted or (snapshot.spec.autoscaling is not None and workload):
        return []
    return [server.scale(snapshot, version, wanted)]


def _obsolete(snapshot: Snapshot, state: State, roles: _Roles) -> Iterable[ObjectRef]:
    """Children of versions without pods, and extras that spec no longer asks for."""
    manifests = [m for v in roles.all for m in server.build(snapshot, v)]
    manifests += [m for v in roles.serving for m in _extras(snapshot, state, roles, v)]
    manifests += [*router.build(snapshot, router.config(snapshot, [])), *_policies(snapshot)]
    wanted = {(m["kind"], m["metadata"]["name"]) for m in manifests}
    return (ref for ref in snapshot.children if (ref.kind, ref.name) not in wanted)
