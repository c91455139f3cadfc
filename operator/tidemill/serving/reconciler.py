"""The reconciler of ModelDeployment: reads everything into a snapshot; the plan is made elsewhere.

What it remembers between two passes are router figures of a roll-out under way (a base to subtract from). A new leader
takes them from the status, so that an analysis comes to an end however short leaders live.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from tidemill.api.v1alpha1.model_deployment import (
    CandidateStatus,
    ModelDeployment,
    ModelDeploymentSpec,
    ModelDeploymentStatus,
)
from tidemill.core import labels as keys
from tidemill.core import networkpolicy, podspec
from tidemill.core.parsing import parsed
from tidemill.core.plan import Key, Plan
from tidemill.engine.contract import Deps
from tidemill.engine.memory import Memory
from tidemill.errors import ApiError
from tidemill.serving import figures, plan, reading
from tidemill.serving.builders import router as router_builder
from tidemill.serving.figures import Scrape
from tidemill.serving.snapshot import (
    Measurement,
    Router,
    RouterPod,
    Settings,
    Snapshot,
    Version,
    Workload,
    router_child,
)
from tidemill_contracts.ports import ROUTER_STATS_PORT

Obj = dict[str, Any]

_Stretch = tuple[str, str, int, datetime]

SCRAPE_SECONDS = 2.0
"""How long a router pod may take to show its figures."""

_CHILD_KINDS = ("Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler", "NetworkPolicy")
_RECENT = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class _Base:
    """Figures to subtract from, and the stretch of the roll-out that they began."""

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

    async def gather(self, key: Key) -> Snapshot | None:
        """The snapshot; None when the object is gone. Stalled when its spec cannot be read."""
        cache = self._deps.cache
        obj = cache.get(self.kind, key.namespace, key.name)
        if obj is None or obj["metadata"].get("deletionTimestamp"):
            self._bases.forget(key)
            return None
        read = parsed(ModelDeployment, obj)
        spec, status = read.spec, read.status
        now = self._deps.clock.now().replace(microsecond=0)
        versions = self._versions(key, spec)
        others = self._others(key, status, versions)
        workloads = self._workloads(obj, (*versions, *others))
        router = await self._router(obj, status, workloads, now)
        pipeline = spec.model.pipeline
        return Snapshot(
            object=obj,
            spec=spec,
            status=status,
            now=now,
            settings=self._settings(),
            versions=versions,
            others=others,
            pipeline_exists=not pipeline or cache.get("TrainingPipeline", key.namespace, pipeline) is not None,
            workloads=workloads,
            router=router,
            measurement=self._measurement(key, obj["metadata"]["uid"], status, router, now),
            rollback_requests=tuple(
                reading.rollback_requests(cache.list("ModelMonitor", key.namespace), obj["metadata"]["name"])
            ),
            children=reading.references(
                o for kind in _CHILD_KINDS for o in cache.list(kind, owner_uid=obj["metadata"]["uid"])
            ),
        )

    def plan(self, snapshot: Snapshot) -> Plan:
        """The decision, see `plan.build`."""
        return plan.build(snapshot)

    def _settings(self) -> Settings:
        config = self._deps.config
        return Settings(
            config.server_image,
            config.router_image,
            config.image_pull_policy,
            tuple(config.image_pull_secrets),
            networkpolicy.Settings(config.namespace, config.scraper_namespaces),
        )

    def _versions(self, key: Key, spec: ModelDeploymentSpec) -> tuple[Version, ...]:
        cache, model = self._deps.cache, spec.model
        if model.version is not None:
            found = cache.get("ModelVersion", key.namespace, model.version)
            return () if found is None else (reading.version(found),)
        records = cache.list("ModelVersion", key.namespace)
        return tuple(
            reading.version(o)
            for o in records
            if o["spec"].get("pipeline") == model.pipeline and not o["metadata"].get("deletionTimestamp")
        )

    def _others(self, key: Key, status: ModelDeploymentStatus, versions: tuple[Version, ...]) -> tuple[Version, ...]:
        """The versions of the status that spec.model no longer covers: a roll-back may lead to one."""
        records = (r for r in (status.stable, status.candidate, status.previous) if r is not None)
        missing = {(r.version, r.digest) for r in records} - {v.key for v in versions}
        found = (self._deps.cache.get("ModelVersion", key.namespace, name) for name, _ in sorted(missing))
        live = (reading.version(o) for o in found if o is not None and not o["metadata"].get("deletionTimestamp"))
        return tuple(v for v in live if v.key in missing)

    def _workloads(self, obj: Obj, versions: tuple[Version, ...]) -> tuple[Workload, ...]:
        cache, meta = self._deps.cache, obj["metadata"]
        pods = cache.list("Pod", meta["namespace"], {keys.DEPLOYMENT: meta["name"], keys.COMPONENT: "server"})
        out = []
        for deployment in cache.list("Deployment", owner_uid=meta["uid"]):
            if deployment["metadata"].get("deletionTimestamp"):
                continue
            selector = deployment["spec"]["selector"]["matchLabels"]
            own = [p for p in pods if selector.items() <= (p["metadata"].get("labels") or {}).items()]
            found = reading.workload(deployment, own, versions)
            if found is not None:
                out.append(found)
        return tuple(out)

    async def _router(
        self, obj: Obj, status: ModelDeploymentStatus, workloads: tuple[Workload, ...], now: datetime
    ) -> Router:
        cache, meta = self._deps.cache, obj["metadata"]
        selector = {keys.DEPLOYMENT: meta["name"], keys.COMPONENT: router_builder.COMPONENT}
        raw = cache.list("Pod", meta["namespace"], selector)
        config_map = cache.get("ConfigMap", meta["namespace"], router_child(meta["name"]))
        if config_map is not None and not podspec.is_controlled_by(config_map, meta["uid"]):
            config_map = None
        version, since = reading.routes(config_map, router_builder.ROUTES_VERSION, router_builder.ROUTES_SINCE)
        pods = [reading.router_pod(p) for p in raw]
        is_moving = status.candidate is not None or len(workloads) > 1 or (since is not None and now - since < _RECENT)
        if is_moving:
            addresses = [(p.get("status") or {}).get("podIP") for p in raw]
            pods = list(await asyncio.gather(*(self._asked(p, a) for p, a in zip(pods, addresses, strict=True))))
        return Router(tuple(pods), (config_map or {}).get("data") or {}, version, since)

    async def _asked(self, pod: RouterPod, address: str | None) -> RouterPod:
        if not pod.ready or not address:
            return pod
        host = f"[{address}]" if ":" in address else address
        url = f"http://{host}:{ROUTER_STATS_PORT}/stats/prometheus?{figures.QUERY}"
        try:
            text = await self._deps.client.get_text(url, SCRAPE_SECONDS)
        except ApiError as error:
            return replace(pod, error=f"{pod.name}: {error.message}")
        return replace(pod, scrape=figures.parse(text))

    def _measurement(
        self, key: Key, uid: str, status: ModelDeploymentStatus, router: Router, now: datetime
    ) -> Measurement | None:
        """The figures since the stretch under measurement began; None when there is no base to subtract from yet."""
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
        if base is None:
            return None
        missing = tuple(p.error or f"{p.name}: no address yet" for p in ready if p.scrape is None)
        # A router pod that was there at the start but not asked then has no base: its figures start to count now.
        before = {**{n: s for n, s in scrapes.items() if n not in base.scrapes}, **base.scrapes}
        if before != base.scrapes:
            base = replace(base, scrapes=before)
        self._bases.put(key, uid, base)
        return Measurement(base.time, base.scrapes, scrapes, missing)


def _new_base(
    candidate: CandidateStatus, stretch: _Stretch, now: datetime, scrapes: Mapping[str, Scrape]
) -> _Base | None:
    """The figures of the pass that began the stretch, as the status has them; else those of now."""
    begun = figures.decode(candidate.baseline or "{}")
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
