"""The reconciler of ModelDeployment: reads everything into a snapshot; the plan is made elsewhere.

What it remembers between two passes are router statistics of a rollout under way (a base to subtract from). A new
leader takes them from the status, so that an analysis comes to an end however short leaders live.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from tidemill.api.v1alpha1.model_deployment import (
    CandidateStatus,
    ModelDeployment,
    ModelDeploymentSpec,
    ModelDeploymentStatus,
)
from tidemill.core import children, conditions, last_applied, networkpolicy, podfailure, references
from tidemill.core import labels as keys
from tidemill.core.parsing import parsed
from tidemill.core.plan import Key, Plan
from tidemill.core.pod import ClusterSettings
from tidemill.engine.contract import Deps
from tidemill.engine.memory import Memory
from tidemill.kube.ownership import PodOwners
from tidemill.kube.scraper import Answer, Limits, pod_url
from tidemill.serving import baseline, observe, plan, router_stats
from tidemill.serving.builders import router as router_builder
from tidemill.serving.policy import slo
from tidemill.serving.router_stats import Scrape
from tidemill.serving.runtime_probe import RuntimeProbe
from tidemill.serving.signature_probe import SignatureProbe
from tidemill.serving.snapshot import (
    Measurement,
    Router,
    RouterPod,
    Settings,
    Snapshot,
    Version,
    Workload,
    children_of,
    router_child,
)
from tidemill_contracts.ports import ROUTER_STATS_PORT

Obj = dict[str, Any]

_Stretch = tuple[str, str, int, datetime]

SCRAPE = Limits(seconds=2.0, bytes=1 << 20)
"""What the statistics of a deployment's router may take; those of a pod with four versions are 15 kB."""

_CHILD_KINDS = ("Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler", "NetworkPolicy")
_RECENT = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class _Base:
    """Statistics to subtract from, and the stretch of the rollout that they began."""

    stretch: _Stretch
    time: datetime
    scrapes: Mapping[str, Scrape]


class ModelDeploymentReconciler:
    """See the module."""

    kind = "ModelDeployment"

    def __init__(self, deps: Deps) -> None:
        """Reads nothing yet."""
        self._deps = deps
        self._bases = Memory[_Base]()
        self._owners = PodOwners(deps.client)
        self._runtime_probe = RuntimeProbe(deps, self._owners)
        self._signature_probe = SignatureProbe(deps, self._owners)

    async def gather(self, key: Key) -> Snapshot | None:
        """The snapshot; None when the object is gone. Stalled when its spec cannot be read."""
        cache = self._deps.cache
        obj = await self._deps.read(key)
        if obj is None or obj["metadata"].get("deletionTimestamp"):
            self._bases.forget(key)
            self._runtime_probe.forget(key)
            self._signature_probe.forget(key)
            return None
        read = parsed(ModelDeployment, obj)
        spec, status = read.spec, read.status
        now = self._deps.clock.now().replace(microsecond=0)
        versions = self._versions(key, spec)
        others = self._others(key, status, versions)
        workloads = await self._workloads(obj, (*versions, *others), now)
        workloads = await self._runtime_probe.observed(key, obj, spec.server.runtime, workloads)
        workloads = await self._signature_probe.observed(key, obj, spec, status, workloads)
        known = (*versions, *others, *(w.version for w in workloads))
        router = await self._router(obj, spec, status, workloads, known, now)
        pipeline = spec.model.pipeline
        training = cache.get("TrainingPipeline", key.namespace, pipeline) if pipeline else None
        kinds = dict.fromkeys((*plan.COMPARED, *_CHILD_KINDS))
        children = [o for kind in kinds for o in cache.list(kind, owner_uid=obj["metadata"]["uid"])]
        return Snapshot(
            object=obj,
            spec=spec,
            status=status,
            now=now,
            settings=self._settings(),
            versions=versions,
            others=others,
            pipeline_exists=not pipeline or training is not None,
            pipeline_says=conditions.unready(training) if training is not None else "",
            workloads=workloads,
            router=router,
            measurement=self._measurement(key, obj["metadata"]["uid"], status, router, now),
            rollback_requests=tuple(
                observe.rollback_requests(
                    cache.naming("ModelMonitor", key.namespace, key.name, references.deployment), key.name
                )
            ),
            children=observe.references(o for o in children if o["kind"] in _CHILD_KINDS),
            applied=last_applied.applied(children),
            deployments={
                o["metadata"]["name"]: o
                for o in children
                if o["kind"] == "Deployment" and not o["metadata"].get("deletionTimestamp")
            },
            selectors={o["metadata"]["name"]: observe.selector(o) for o in children if o["kind"] == "Deployment"},
            fleet=self._deps.updates.fleet(),  # nothing may be awaited from here on
        )

    def plan(self, snapshot: Snapshot) -> Plan:
        """The decision, see `plan.plan`."""
        return plan.plan(snapshot)

    def _settings(self) -> Settings:
        config = self._deps.config
        return Settings(
            config.server_image,
            config.router_image,
            ClusterSettings.of(config),
            networkpolicy.Settings(config.namespace, config.scraper_namespaces),
            config.data_environment(),
        )

    def _versions(self, key: Key, spec: ModelDeploymentSpec) -> tuple[Version, ...]:
        cache, model = self._deps.cache, spec.model
        if model.version is not None:
            found = cache.get("ModelVersion", key.namespace, model.version)
            return () if found is None else (observe.version(found),)
        records = cache.naming("ModelVersion", key.namespace, model.pipeline or "", references.pipeline)
        return tuple(observe.version(o) for o in records if not o["metadata"].get("deletionTimestamp"))

    def _others(self, key: Key, status: ModelDeploymentStatus, versions: tuple[Version, ...]) -> tuple[Version, ...]:
        """The versions of the status that spec.model no longer speaks of: a rollback may lead to one."""
        roles = (r for r in (status.stable, status.candidate, status.previous) if r is not None)
        records = (*roles, *(status.rollback_versions or ()))
        missing = {(r.version, r.digest) for r in records} - {v.key for v in versions}
        found = (self._deps.cache.get("ModelVersion", key.namespace, name) for name, _ in sorted(missing))
        live = (observe.version(o) for o in found if o is not None and not o["metadata"].get("deletionTimestamp"))
        return tuple(v for v in live if v.key in missing)

    async def _workloads(self, obj: Obj, versions: tuple[Version, ...], now: datetime) -> tuple[Workload, ...]:
        cache, meta = self._deps.cache, obj["metadata"]
        selector = {keys.DEPLOYMENT: meta["name"], keys.COMPONENT: "server"}
        pods = cache.naming("Pod", meta["namespace"], meta["name"], references.labelled_deployment, selector)
        failing = [p for p in pods if observe.pod_failure(p) is not None]
        silent = [p for p in pods if podfailure.is_silent(p, observe.SERVER_CONTAINER)]
        for_long = [p for p in silent if podfailure.is_older(p, now)]
        out = []
        for deployment in cache.list("Deployment", owner_uid=meta["uid"]):
            if deployment["metadata"].get("deletionTimestamp"):
                continue
            own = await self._owners.of(deployment, for_long)
            event = await self._deps.object_events.cause_of_first(own, observe.SERVER_CONTAINER, now)
            found = observe.workload(deployment, await self._owners.of(deployment, failing), versions, event)
            if found is not None:
                strangers = observe.strangers(pods, observe.selector(deployment))
                out.append(replace(found, is_silent=bool(silent), strangers=strangers))
        return tuple(out)

    async def _router(
        self,
        obj: Obj,
        spec: ModelDeploymentSpec,
        status: ModelDeploymentStatus,
        workloads: tuple[Workload, ...],
        known: Iterable[Version],
        now: datetime,
    ) -> Router:
        cache, meta = self._deps.cache, obj["metadata"]
        child = router_child(meta["name"])
        config_map, deployment = (
            found if found is not None and children.is_controlled_by(found, meta["uid"]) else None
            for found in (cache.get(kind, meta["namespace"], child) for kind in ("ConfigMap", "Deployment"))
        )
        selector = {keys.DEPLOYMENT: meta["name"], keys.COMPONENT: router_builder.COMPONENT}
        labelled = cache.naming("Pod", meta["namespace"], meta["name"], references.labelled_deployment, selector)
        raw = await self._owners.of(deployment, labelled)
        version, since = observe.routes(config_map, router_builder.ROUTES_VERSION, router_builder.ROUTES_SINCE)
        pods = [observe.router_pod(p) for p in raw]
        is_moving = status.candidate is not None or len(workloads) > 1 or (since is not None and now - since < _RECENT)
        is_served = status.stable is not None and any(w.ready for w in workloads)
        is_unavailable = is_served and not conditions.is_true(conditions.of(obj), "Available")
        if is_moving or is_unavailable or slo.is_due(spec, status, now):
            addresses = [str((p.get("status") or {}).get("podIP") or "") for p in raw]
            clusters = {name for version in known for name in children_of(meta["name"], version)}
            pods = await self._scraped(meta, pods, addresses, partial(_parse_stats, clusters=clusters, spec=spec))
        event = await self._deps.object_events.cause_of_first(raw, observe.ROUTER_CONTAINER, now)
        return Router(tuple(pods), version, since, observe.router_workload(deployment, raw, event, labelled))

    async def _scraped(
        self,
        meta: Mapping[str, Any],
        pods: Sequence[RouterPod],
        addresses: Sequence[str],
        read: Callable[[bytearray], Scrape | router_stats.StatsError],
    ) -> list[RouterPod]:
        """The pods with their statistics, as `read` finds them; those that are not ready are not scraped."""
        path = f"/stats/prometheus?{router_stats.QUERY}"
        found = {
            pod.name: url
            for pod, address in zip(pods, addresses, strict=True)
            if pod.ready and (url := pod_url(address, ROUTER_STATS_PORT, path)) is not None
        }
        answers = await self._deps.scraper.read(meta["namespace"], meta["uid"], [*found.values()], SCRAPE, read)
        by_name = dict(zip(found, answers, strict=True))
        return [_with_stats(pod, by_name[pod.name]) if pod.name in by_name else pod for pod in pods]

    def _measurement(
        self, key: Key, uid: str, status: ModelDeploymentStatus, router: Router, now: datetime
    ) -> Measurement | None:
        """The statistics since the stretch under measurement began; empty ones while no router pod has reported any."""
        candidate = status.candidate
        if candidate is None or candidate.step < 0:
            self._bases.forget(key)
            return None
        ready = [p for p in router.pods if p.ready]
        scrapes = router.scrapes
        stretch = _stretch(candidate)
        base = self._bases.get(key, uid)
        if base is None or not _same(base, stretch):
            base = _new_base(candidate, stretch, now, scrapes)
        missing = tuple(p.error or f"{p.name}: no address yet" for p in ready if p.scrape is None)
        if base is None:
            return Measurement(stretch[3], {}, {}, missing)  # not remembered: the first statistics are the base
        # A router pod that was there at the start but not scraped then has no base: its statistics start to count now.
        before = {**{n: s for n, s in scrapes.items() if n not in base.scrapes}, **base.scrapes}
        if before != base.scrapes:
            base = replace(base, scrapes=before)
        self._bases.put(key, uid, base)
        return Measurement(base.time, base.scrapes, scrapes, missing)


def _parse_stats(
    body: bytearray, clusters: Collection[str], spec: ModelDeploymentSpec
) -> Scrape | router_stats.StatsError:
    try:
        return router_stats.parse(body.decode(errors="replace"), clusters, router_stats.own_edge(spec))
    except router_stats.StatsError as error:
        return error


def _with_stats(pod: RouterPod, answer: Answer[Scrape | router_stats.StatsError]) -> RouterPod:
    """The pod with what it answered, or with why that says nothing."""
    if isinstance(answer.value, Scrape):
        return replace(pod, scrape=answer.value)
    return replace(pod, error=f"router pod {pod.name}: {answer.value or answer.error}")


def _new_base(
    candidate: CandidateStatus, stretch: _Stretch, now: datetime, scrapes: Mapping[str, Scrape]
) -> _Base | None:
    """The statistics of the pass that began the stretch, as the status has them; else those of now."""
    begun = baseline.of(candidate)
    if begun:
        return _Base(stretch, stretch[3], begun)
    return _Base(stretch, now, scrapes) if scrapes else None


def _stretch(candidate: CandidateStatus) -> _Stretch:
    """Identity of the stretch under measurement: it begins with the step and anew with every judged measurement."""
    last = candidate.last_analysis
    began = candidate.step_started_at or candidate.started_at
    if last is not None:
        began = last.time if last.verdict in ("Successful", "Failed") else last.since
    return candidate.version, candidate.digest, candidate.step, began


def _same(base: _Base, stretch: _Stretch) -> bool:
    """Whether a base belongs to a stretch.

    A base that was taken late, as when no router pod answered, starts at its own time, and what is judged from it says
    so as `since`.
    """
    return base.stretch[:3] == stretch[:3] and stretch[3] in (base.stretch[3], base.time)
