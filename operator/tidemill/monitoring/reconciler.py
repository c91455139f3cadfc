"""The reconciler of ModelMonitor: reads the cache and the monitor's report into a snapshot; the plan is made elsewhere.

The report is read from the monitor's pod, at most once an interval; between two readings the last one is used. It is
the pod's address that is asked, not the Service's: that works without the cluster's DNS as well.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from tidemill.api.v1alpha1.model_monitor import ModelMonitor, ModelMonitorSpec
from tidemill.core import labels as keys
from tidemill.core import last_applied, names, networkpolicy, podfailure, references, rollback_marks
from tidemill.core.children import controller_of, is_controlled_by
from tidemill.core.parsing import parsed
from tidemill.core.plan import Key, ObjectRef, Plan
from tidemill.core.pod import ClusterSettings
from tidemill.engine.contract import Deps
from tidemill.engine.memory import Memory
from tidemill.errors import ApiError
from tidemill.kube.ownership import PodOwners
from tidemill.kube.scraper import Limits, pod_url
from tidemill.monitoring import observe, plan, reports, requeue
from tidemill.monitoring.builders import prometheus, workload
from tidemill.monitoring.snapshot import (
    PROMETHEUS_RULE,
    SERVICE_MONITOR,
    Reading,
    Served,
    Settings,
    Snapshot,
    child,
)
from tidemill_contracts.inference import REPORT_PATH

Obj = dict[str, Any]

_CHILD_KINDS = ("Deployment", "Service", "NetworkPolicy")

_Query = tuple[str, str, str | None]  # digest of the version, uid of the pod, performance metric of the spec

_SWITCH_SECONDS = 30.0
"""How old the label of the Namespace may be that switches actions off."""
_SWITCHES = 1_000
"""Namespaces whose labels are remembered."""

READ = Limits(seconds=3.0, bytes=8 << 20)
"""What a monitor's report may take: 24 windows of 2,500 features."""


class ModelMonitorReconciler:
    """See the module."""

    kind = "ModelMonitor"

    def __init__(self, deps: Deps) -> None:
        """Reads nothing yet."""
        self._deps = deps
        self._readings = Memory[tuple[_Query, Reading]]()
        self._switches: dict[str, tuple[datetime, str]] = {}
        self._owners = PodOwners(deps.client)

    async def gather(self, key: Key) -> Snapshot | None:
        """The snapshot; None when the object is gone. Stalled when its spec cannot be read."""
        obj = await self._deps.read(key)
        if obj is None or obj["metadata"].get("deletionTimestamp"):
            self._readings.forget(key)
            return None
        read = parsed(ModelMonitor, obj)
        spec, status = read.spec, read.status
        now = self._deps.clock.now().replace(microsecond=0)
        served = self._served(key, spec.deployment)
        pod = await self._pod(obj)
        config = self._deps.config
        own = self._deps.cache.get("Deployment", key.namespace, child(key.name))
        event = await self._deps.object_events.cause_of_first([pod] if pod else [], observe.CONTAINER, now)
        failure = observe.failure(pod, own, event)
        live = [o for k in plan.COMPARED for o in self._deps.cache.list(k, owner_uid=obj["metadata"]["uid"])]
        kinds = await self._prometheus_kinds() if spec.prometheus is not None else frozenset[str]()
        return Snapshot(
            object=obj,
            spec=spec,
            status=status,
            now=now,
            settings=Settings(
                config.monitor_image,
                ClusterSettings.of(config),
                networkpolicy.Settings(config.namespace, config.scraper_namespaces),
                config.docs_url or "",
                config.webhook_targets,
                config.data_environment(),
            ),
            served=served,
            actions_held=await self._actions_held(key.namespace, now) if spec.actions else "",
            holder=self._holder(key, spec.deployment),
            predecessor=self._predecessor(key, spec.deployment),
            pod_name=pod["metadata"]["name"] if pod is not None else None,
            pod_refreshed=observe.refreshed(pod),
            pod_ready=pod is not None and observe.is_ready(pod),
            pod_problem=observe.problem(failure, pod),
            pod_failure=failure,
            is_pod_silent=pod is not None and podfailure.is_silent(pod, observe.CONTAINER),
            settled=observe.is_settled(own),
            applied=last_applied.applied(live),
            reading=await self._reading(key, obj["metadata"]["uid"], spec, served, pod, now),
            prometheus_kinds=kinds,
            children=await self._children(obj, kinds),
            deployments={
                o["metadata"]["name"]: o
                for o in self._deps.cache.list("Deployment", owner_uid=obj["metadata"]["uid"])
                if not o["metadata"].get("deletionTimestamp")
            },
            fleet=self._deps.updates.fleet(),  # nothing may be awaited from here on
        )

    def plan(self, snapshot: Snapshot) -> Plan:
        """The decision, see `plan.plan`."""
        return plan.plan(snapshot)

    def _served(self, key: Key, name: str) -> Served | None:
        namespace = key.namespace
        deployment = self._deps.cache.get("ModelDeployment", namespace, name)
        if deployment is None or deployment["metadata"].get("deletionTimestamp"):
            return None
        stable = (deployment.get("status") or {}).get("stable") or {}
        version = self._deps.cache.get("ModelVersion", namespace, stable.get("version") or "")
        found = observe.served(deployment, version)
        pipeline = self._deps.cache.get("TrainingPipeline", namespace, found.pipeline or "")
        handled = observe.handled_request(pipeline, key.name)
        allows = observe.allows_retrain(pipeline)
        found = replace(found, pipeline_exists=pipeline is not None, allows_retrain=allows, handled_request=handled)
        previous = self._deps.cache.get("ModelVersion", namespace, found.previous or "")
        return replace(found, previous=None) if name in rollback_marks.active(previous) else found

    async def _actions_held(self, name: str, now: datetime) -> str:
        """Read anew twice a minute for all monitors of a Namespace, which is not watched."""
        known = self._switches.get(name)
        if known is not None and (now - known[0]).total_seconds() < _SWITCH_SECONDS:
            return known[1]
        try:
            namespace = await self._deps.client.get_metadata(ObjectRef("v1", "Namespace", None, name))
        except ApiError as error:
            found = f"the Namespace {name} cannot be read, whose label {keys.ACTIONS} may forbid it: {error}"
        else:
            held = f"the Namespace {name} has the label {keys.ACTIONS}={keys.ACTIONS_DISABLED}"
            found = held if observe.are_actions_disabled(namespace) else ""
        if len(self._switches) >= _SWITCHES:
            self._switches.clear()
        self._switches[name] = (now, found)
        return found

    def _holder(self, key: Key, deployment: str) -> str | None:
        """The oldest monitor of the deployment, when that is another one."""
        monitors = [
            m
            for m in self._deps.cache.naming(self.kind, key.namespace, deployment, references.deployment)
            if not m["metadata"].get("deletionTimestamp")
        ]
        first = min(monitors, key=observe.seniority, default=None)
        return None if first is None or first["metadata"]["name"] == key.name else str(first["metadata"]["name"])

    def _predecessor(self, key: Key, deployment: str) -> str | None:
        service = self._deps.cache.get("Service", key.namespace, names.monitor_service(deployment))
        owner = controller_of(service) if service is not None else {}
        if owner.get("kind") != self.kind or owner["name"] == key.name:
            return None
        alive = self._deps.cache.get(self.kind, key.namespace, owner["name"])
        return None if alive is not None else str(owner["name"])

    async def _pod(self, obj: Obj) -> Obj | None:
        meta, cache = obj["metadata"], self._deps.cache
        deployment = cache.get("Deployment", meta["namespace"], child(meta["name"]))
        if deployment is None or not is_controlled_by(deployment, meta["uid"]):
            return None
        labels = {keys.MONITOR: meta["name"], keys.COMPONENT: workload.COMPONENT}
        pods = cache.naming("Pod", meta["namespace"], meta["name"], references.labelled_monitor, labels)
        alive = [p for p in pods if not p["metadata"].get("deletionTimestamp")]
        return max(await self._owners.of(deployment, alive), key=observe.is_ready, default=None)

    async def _reading(
        self, key: Key, uid: str, spec: ModelMonitorSpec, served: Served | None, pod: Obj | None, now: datetime
    ) -> Reading:
        """The report, at most one interval old.

        Read again at once when another version is in service, another pod answers or another metric is watched.
        """
        last, known = self._readings.get(key, uid) or (None, Reading())
        if served is None or served.digest is None or pod is None or not observe.is_ready(pod):
            return Reading(time=known.time)
        age = (now - known.time).total_seconds() if known.time else float("inf")
        is_young = age < requeue.look_interval(spec)
        metric = spec.performance.metric if spec.performance else None
        query = (served.digest, pod["metadata"]["uid"], metric)
        if known.report is not None and last == query and is_young:
            return known
        port = observe.report_port(self._deps.cache.get("Deployment", key.namespace, child(key.name)))
        url = pod_url(pod["status"]["podIP"], port, f"{REPORT_PATH}?digest={served.digest}&brief=true")
        found = await self._ask(key, uid, url, reports.Expected(key.name, served.digest, metric, now))
        if found.report is None:
            found = replace(found, time=known.time)
        self._readings.put(key, uid, (query, found))
        return found

    async def _ask(self, key: Key, uid: str, url: str | None, expected: reports.Expected) -> Reading:
        if url is None:
            return Reading(error="the monitor's pod has no address")
        (answer,) = await self._deps.scraper.read(key.namespace, uid, [url], READ, partial(_read, expected=expected))
        return answer.value or Reading(error=f"the monitor's report could not be fetched: {answer.error}")

    async def _prometheus_kinds(self) -> frozenset[str]:
        wanted = (SERVICE_MONITOR, PROMETHEUS_RULE)
        return frozenset([k for k in wanted if await self._deps.client.has_kind(prometheus.API_VERSION, k)])

    async def _children(self, obj: Obj, kinds: frozenset[str]) -> tuple[ObjectRef, ...]:
        """Children that may have become superfluous: all but the claim, which goes with the object only."""
        uid, cache = obj["metadata"]["uid"], self._deps.cache
        found = [ObjectRef.of(o) for kind in _CHILD_KINDS for o in cache.list(kind, owner_uid=uid)]
        if kinds or not observe.had_prometheus(obj):
            return tuple(found)
        # spec.prometheus was taken away: its objects are not watched, so they are looked up by name.
        namespace, name = obj["metadata"]["namespace"], child(obj["metadata"]["name"])
        for kind, what in (
            (SERVICE_MONITOR, name),
            (SERVICE_MONITOR, prometheus.servers_name(name)),
            (PROMETHEUS_RULE, name),
        ):
            live = await self._deps.client.get_metadata(ObjectRef(prometheus.API_VERSION, kind, namespace, what))
            if live is not None and is_controlled_by(live, uid):  # one of that name may be somebody else's
                found.append(ObjectRef.of(live))
        return tuple(found)


def _read(body: bytearray, expected: reports.Expected) -> Reading:
    try:
        return Reading(reports.read(body, expected), expected.now)
    except reports.ReportError as error:
        return Reading(error=f"the monitor's report is not valid: {error}")
