"""The router's children: ConfigMap, Deployment and disruption budget, and the Service that clients call.

The Deployment's template changes only with the bootstrap file; weights travel through the ConfigMap, and an annotation
on the running pods makes the kubelet renew it at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tidemill.api.base import GROUP
from tidemill.api.v1alpha1.pod_settings import PodSettings
from tidemill.core import children, hashing, pod, staged_updates
from tidemill.core import labels as keys
from tidemill.core.conditions import format_time
from tidemill.core.plan import ObjectRef, Patch
from tidemill.serving.builders import envoy
from tidemill.serving.builders.server import H2C
from tidemill.serving.router_stats import own_edge
from tidemill.serving.snapshot import Snapshot, router_child
from tidemill_contracts.ports import GRPC_PORT, PORTS, ROUTER_STATS_PORT

COMPONENT = "router"
CONTAINER = "router"
ROUTES_VERSION = f"{GROUP}/routes-version"
ROUTES_SINCE = f"{GROUP}/routes-since"
"""On the router's ConfigMap: which routes it holds, and since when."""

REQUEST_SECONDS = 15
"""What a request gets to end in, after the last clients were asked to go: the slowest usual one."""

RESOURCES: dict[str, Any] = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}


@dataclass(frozen=True, slots=True)
class Config:
    """The router's files for one state."""

    bootstrap: str
    clusters: str
    routes: str
    routes_version: str

    @property
    def files(self) -> dict[str, str]:
        """The data of the ConfigMap."""
        return {"bootstrap.json": self.bootstrap, "clusters.json": self.clusters, "routes.json": self.routes}

    @property
    def digest(self) -> str:
        """Changes with the files that are read again while the router runs."""
        return hashing.short([self.clusters, self.routes], 16)


def config(snapshot: Snapshot, upstreams: Sequence[envoy.Upstream]) -> Config:
    """The files for some upstreams."""
    server = snapshot.spec.server
    limits = envoy.Limits(server.request_timeout_seconds, server.max_body_bytes, server.grpc)
    routes = envoy.routes(upstreams, limits)
    return Config(
        envoy.dump(envoy.bootstrap(f"{snapshot.namespace}/{snapshot.name}", edge=own_edge(snapshot.spec))),
        envoy.dump(envoy.clusters(upstreams, grpc=server.grpc)),
        envoy.dump(routes),
        envoy.version_of(routes),
    )


def build(snapshot: Snapshot, wanted: Config) -> list[dict[str, Any]]:
    """ConfigMap, Deployment, Service, and a disruption budget when there are two pods."""
    return [config_map(snapshot, wanted), deployment(snapshot, wanted), service(snapshot), *extras(snapshot)]


def extras(snapshot: Snapshot) -> list[dict[str, Any]]:
    """A disruption budget when there are two pods."""
    return [disruption_budget(snapshot)] if replicas(snapshot) > 1 else []


def unit(snapshot: Snapshot, wanted: Config) -> staged_updates.Unit:
    """The router's pods with their Service, and all that a user can change about the pods."""
    inputs: dict[str, Any] = {"requestTimeoutSeconds": snapshot.spec.server.request_timeout_seconds}
    if (edge := own_edge(snapshot.spec)) is not None:
        inputs["latencyEdge"] = edge
    wanted_pod = settings(snapshot)
    if wanted_pod is not None:
        inputs["pod"] = wanted_pod.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return staged_updates.Unit(deployment(snapshot, wanted), inputs, (service(snapshot),))


def labels(snapshot: Snapshot) -> dict[str, str]:
    """Labels of the router's children and pods."""
    return children.labels(COMPONENT, snapshot.name, {keys.DEPLOYMENT: snapshot.name})


def selector(snapshot: Snapshot) -> dict[str, str]:
    """The labels that select the router's pods."""
    return {k: v for k, v in labels(snapshot).items() if k in (keys.COMPONENT, keys.DEPLOYMENT)}


def service_selector(snapshot: Snapshot) -> dict[str, str]:
    """The labels by which the Service selects pods: the operator sees only pods with the last one."""
    return {**selector(snapshot), keys.MANAGED_BY: keys.MANAGED_BY_VALUE}


def replicas(snapshot: Snapshot) -> int:
    """One pod for a model with one pod, two for every other: the router is never the weaker part."""
    spec = snapshot.spec
    return 2 if spec.autoscaling or (spec.replicas or 1) > 1 else 1


def drain_seconds(snapshot: Snapshot) -> int:
    """How long a router pod that goes away keeps serving: until its clients have connected elsewhere and have answers.

    Longer where spec lets requests take longer.
    """
    longest = snapshot.spec.server.request_timeout_seconds
    usual = longest <= envoy.Limits().request_seconds
    return envoy.CONNECTION_SECONDS + (REQUEST_SECONDS if usual else longest)


def config_map(snapshot: Snapshot, wanted: Config) -> dict[str, Any]:
    """The ConfigMap; its annotation tells since when these routes are wanted, for the removal of old versions."""
    live = snapshot.router
    since = live.routes_since if live.routes_version == wanted.routes_version and live.routes_since else snapshot.now
    annotations = {ROUTES_VERSION: wanted.routes_version, ROUTES_SINCE: format_time(since)}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": children.metadata(router_child(snapshot.name), snapshot.object, labels(snapshot), annotations),
        "data": wanted.files,
    }


def deployment(snapshot: Snapshot, wanted: Config) -> dict[str, Any]:
    """The router's pods; a new one is there before an old one goes."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": children.metadata(router_child(snapshot.name), snapshot.object, labels(snapshot)),
        "spec": {
            "replicas": replicas(snapshot),
            "revisionHistoryLimit": 1,
            "selector": {"matchLabels": selector(snapshot)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": _pod(snapshot, wanted.bootstrap).template(),
        },
    }


def pod_spec(snapshot: Snapshot) -> dict[str, Any]:
    """The specification of a pod alone."""
    return _pod(snapshot, "").spec()


def _pod(snapshot: Snapshot, bootstrap: str) -> pod.Pod:
    """One Envoy. The kubelet itself waits before it sends SIGTERM, at which Envoy ends at once (decision 0160)."""
    container = pod.Container(
        name=CONTAINER,
        image=snapshot.settings.router_image,
        command=["envoy"],
        args=[
            "--config-path",
            f"{envoy.CONFIG_DIR}/bootstrap.json",
            "--disable-hot-restart",
            "--concurrency",
            "2",
            "--log-level",
            "warning",
        ],
        ports=PORTS[COMPONENT],
        resources=RESOURCES,
        probes=pod.Probes(
            startup=_probe(period=1, failures=60),
            readiness=_probe(period=2, failures=2),
            # Not ready for half a minute: also a router that somebody told to drain through its socket. A pod that is
            # being deleted is not probed any more.
            liveness=_probe(period=10, failures=3),
        ),
        termination=pod.Termination(None),
        stop_delay_seconds=drain_seconds(snapshot),
        mounts=[
            {"name": "config", "mountPath": envoy.CONFIG_DIR, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
        ],
    )
    spread = {"maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway", "topologyKey": "kubernetes.io/hostname"}
    return pod.Pod(
        container=container,
        volumes=[
            {"name": "config", "configMap": {"name": router_child(snapshot.name)}},
            pod.empty_dir("tmp", "64Mi"),
        ],
        cluster=snapshot.settings.cluster,
        connects_outside=False,
        settings=settings(snapshot),
        labels=labels(snapshot),
        selector=selector(snapshot),
        annotations={
            **pod.scraped(ROUTER_STATS_PORT, "/stats/prometheus"),
            f"{GROUP}/bootstrap": hashing.short(bootstrap, 16),
        },
        grace_seconds=drain_seconds(snapshot) + 15,
        spread=[spread],
    )


def settings(snapshot: Snapshot) -> PodSettings | None:
    """What the user says about the router's pods."""
    return snapshot.spec.router.pod if snapshot.spec.router is not None else None


def _probe(*, period: int, failures: int) -> dict[str, Any]:
    return pod.http_probe("/ready", "stats", period=period, timeout=2, failures=failures)


def service(snapshot: Snapshot) -> dict[str, Any]:
    """The address of the model: `http://<name>.<namespace>.svc`, for gRPC `<name>.<namespace>.svc:8001` (or `:80`)."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": children.metadata(snapshot.name, snapshot.object, labels(snapshot)),
        "spec": {
            "type": "ClusterIP",
            "selector": service_selector(snapshot),
            "ports": [
                {
                    "name": "http",
                    "port": 80,
                    "targetPort": "http",
                    "protocol": "TCP",
                    "appProtocol": "http",
                },
                # The same port of the pods, under a name that tells ingress controllers and gateways: HTTP/2.
                # It is there without gRPC, too: a call gets the router's refusal instead of no answer.
                {"name": "grpc", "port": GRPC_PORT, "targetPort": "http", "protocol": "TCP", "appProtocol": H2C},
            ],
        },
    }


def disruption_budget(snapshot: Snapshot) -> dict[str, Any]:
    """At most one router pod is evicted at a time."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": children.metadata(router_child(snapshot.name), snapshot.object, labels(snapshot)),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector(snapshot)}},
    }


def refreshes(snapshot: Snapshot, wanted: Config) -> list[Patch]:
    """A changed annotation on every router pod that has not been sent these files yet, or did not take them over.

    The kubelet may have read the ConfigMap just before it changed; then it is refreshed again every two seconds.
    """
    live = snapshot.router
    out = []
    for known in live.pods:
        refreshed_at = wanted.digest
        missed = known.scrape is not None and known.scrape.routes_version not in (None, wanted.routes_version)
        if missed and live.routes_version == wanted.routes_version and live.routes_since is not None:
            again = int((snapshot.now - live.routes_since).total_seconds() // 2)
            refreshed_at += f".{again}" if again > 0 else ""
        elif (known.refreshed or "").partition(".")[0] == wanted.digest:
            continue
        if known.refreshed != refreshed_at:
            ref = ObjectRef("v1", "Pod", snapshot.namespace, known.name)
            out.append(Patch(ref, {"metadata": {"annotations": {keys.REFRESHED_AT: refreshed_at}}}))
    return out
