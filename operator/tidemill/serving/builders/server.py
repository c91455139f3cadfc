"""Children of one version: Deployment and headless Service, disruption budget, autoscaler.

No two versions share a pod (`Snapshot.child_of`). `replicas` is in none of the
applied manifests: `scale` patches it, and with autoscaling nobody but the autoscaler writes it (decision 0083).
"""

from __future__ import annotations

from typing import Any

from tidemill.api.v1alpha1 import model_server as spec
from tidemill.core import children, ingest, names, networkpolicy, pod, staged_updates
from tidemill.core import labels as keys
from tidemill.core.plan import ObjectRef, Patch
from tidemill.core.random_values import RANDOM
from tidemill.serving.snapshot import (
    BATCHING_ANNOTATION,
    FORMATS_ANNOTATION,
    ONNX_ANNOTATION,
    ONNX_CHECK_ANNOTATION,
    Snapshot,
    Version,
    version_labels,
)
from tidemill_contracts import schemes
from tidemill_contracts.access import (
    API_KEYS_ROOT,
    CLIENTS_KEY,
    CLIENTS_ROOT,
    FEEDBACK_KEYS_ROOT,
    KEYS_ENTRY,
    AccessConfig,
)
from tidemill_contracts.formats import pickles, with_code
from tidemill_contracts.inference import SERVER_CONFIG_ENV, Batching, PredictionLog, ServerConfig
from tidemill_contracts.metrics import DURATION_BUCKETS
from tidemill_contracts.ports import ADMIN_PORT, MONITOR_PORT, server_ports
from tidemill_contracts.storage import PVC_ROOT, SECRET_ROOT, parse_uri

CONTAINER = "server"
COMPONENT = "server"
H2C = "kubernetes.io/h2c"
"""`appProtocol` of a port that takes HTTP/2 without TLS, which gRPC is."""
DRAIN_SECONDS = 8.0
GRACE_SECONDS = 12
"""What ending takes beside the drain and one request that came in at its end: the last connections of gRPC, the
prediction log, the interpreter."""


def build(snapshot: Snapshot, version: Version) -> list[dict[str, Any]]:
    """The children that exist for as long as the version has pods."""
    return [service(snapshot, version), deployment(snapshot, version)]


def unit(snapshot: Snapshot, version: Version) -> staged_updates.Unit:
    """The version's pods with their Service, and all that a user can change about the pods."""
    spec = snapshot.spec
    inputs = {
        "server": spec.server.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        "sampleRatio": spec.logging.sample_ratio,
        "objectiveSeconds": objective_seconds(snapshot),
        "autoscaled": spec.autoscaling is not None,
        "version": [version.name, version.digest, version.uri, version.secret],
        "loadsPickle": bool(pickles(version.formats)) and snapshot.allows_pickle(version),
    }
    if spec.access is not None:
        inputs["access"] = spec.access.model_dump(mode="json", by_alias=True, exclude_none=True)
    return staged_updates.Unit(deployment(snapshot, version), inputs, (service(snapshot, version),))


def labels(snapshot: Snapshot, version: Version) -> dict[str, str]:
    """Labels of a version's children and pods."""
    return children.labels(COMPONENT, snapshot.name, {keys.DEPLOYMENT: snapshot.name, **version_labels(version)})


def selector(snapshot: Snapshot, version: Version) -> dict[str, str]:
    """The labels that select a version's pods; never changes for a version."""
    wanted = (keys.COMPONENT, keys.DEPLOYMENT, keys.DIGEST, keys.VERSION)
    return {k: v for k, v in labels(snapshot, version).items() if k in wanted}


def service_selector(snapshot: Snapshot, version: Version) -> dict[str, str]:
    """The labels by which the version's Service selects pods: the operator sees only pods with the last one."""
    return {**selector(snapshot, version), keys.MANAGED_BY: keys.MANAGED_BY_VALUE}


def server_config(snapshot: Snapshot, version: Version) -> ServerConfig:
    """The configuration of the version's servers."""
    # The monitor's address is always there, so that a monitor that comes or goes restarts no server.
    url = f"http://{names.monitor_service(snapshot.name)}.{snapshot.namespace}.svc:{MONITOR_PORT}"
    server = snapshot.spec.server
    return ServerConfig(
        namespace=snapshot.namespace,
        deployment=snapshot.name,
        version=version.name,
        number=str(version.number),
        digest=version.digest,
        uri=version.uri,
        secret=version.secret,
        runtime=server.runtime,
        grpc=server.grpc,
        workers=server.workers,
        batching=_batching(server.batching),
        log=PredictionLog(
            url=url,
            sample_ratio=snapshot.spec.logging.sample_ratio,
            columns=tuple(snapshot.spec.logging.columns),
        ),
        max_body_bytes=server.max_body_bytes,
        max_in_flight=server.max_in_flight,
        request_timeout_seconds=server.request_timeout_seconds,
        drain_seconds=DRAIN_SECONDS,
        access_log_ratio=server.access_log_ratio,
        allow_pickle=bool(pickles(version.formats)) and snapshot.allows_pickle(version),
        allow_code=bool(with_code(version.formats)) and server.allow_code,
        extra_columns=server.extra_columns,
        slo_seconds=objective_seconds(snapshot),
        access=_access(snapshot),
    )


def _access(snapshot: Snapshot) -> AccessConfig | None:
    wanted = snapshot.spec.access
    if wanted is None:
        return None
    return AccessConfig(api_keys=wanted.api_keys is not None, feedback=wanted.feedback is not None)


def objective_seconds(snapshot: Snapshot) -> float | None:
    """The latency that the deployment's own analysis allows, where servers have no bucket that ends there anyway.

    A changed limit among the usual ones so restarts no pod.
    """
    analysis = snapshot.spec.rollout.analysis
    checks = analysis.checks if analysis is not None else []
    limits = [c.max / 1000 for c in checks or [] if c.metric == "LatencyP99Milliseconds" and c.max]
    declared = min(limits, default=None)
    return None if declared in DURATION_BUCKETS else declared


def _batching(wanted: spec.Batching | None) -> Batching | None:
    return None if wanted is None else Batching(**wanted.model_dump(exclude_none=True))


def tracing(snapshot: Snapshot, version: Version) -> dict[str, str]:
    """The standard OpenTelemetry variables; none without spec.server.tracing: then no trace is ever made."""
    wanted = snapshot.spec.server.tracing
    if wanted is None:
        return {}
    attributes = {
        "k8s.namespace.name": snapshot.namespace,
        "service.namespace": snapshot.namespace,
        "service.version": version.name,
    }
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": wanted.endpoint,
        "OTEL_RESOURCE_ATTRIBUTES": ",".join(f"{k}={v}" for k, v in attributes.items()),
        "OTEL_SERVICE_NAME": snapshot.name,
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": f"{wanted.sample_ratio:g}",
    }


def grace_seconds(snapshot: Snapshot) -> int:
    """How long a pod may take to end: longer than the drain and one request that came in at its end."""
    return int(DRAIN_SECONDS) + snapshot.spec.server.request_timeout_seconds + GRACE_SECONDS


def deployment(snapshot: Snapshot, version: Version) -> dict[str, Any]:
    """The version's Deployment: a new pod is there before an old one goes."""
    chosen = labels(snapshot, version)
    name = snapshot.child_of(version)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": children.metadata(name, snapshot.object, chosen, _forms(version)),
        "spec": {
            "selector": {"matchLabels": selector(snapshot, version)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "minReadySeconds": 0,
            "revisionHistoryLimit": 1,
            "progressDeadlineSeconds": snapshot.spec.rollout.progress_deadline_seconds,
            "template": _pod(snapshot, version).template(),
        },
    }


def _forms(version: Version) -> dict[str, str]:
    known = {FORMATS_ANNOTATION: ",".join(sorted(version.formats)), ONNX_ANNOTATION: version.onnx}
    if version.onnx_check > 1:
        known[ONNX_CHECK_ANNOTATION] = str(version.onnx_check)
    if not version.batching:
        known[BATCHING_ANNOTATION] = "false"
    return {name: value for name, value in known.items() if value or name == FORMATS_ANNOTATION}


def pod_spec(snapshot: Snapshot, version: Version) -> dict[str, Any]:
    """The specification of a pod alone."""
    return _pod(snapshot, version).spec()


def _pod(snapshot: Snapshot, version: Version) -> pod.Pod:
    """The pod: one container that reads the artifact and nothing else of the cluster."""
    volumes, mounts = ([*a, *b] for a, b in zip(_artifact_mounts(version), _key_mounts(snapshot), strict=True))
    variables = {SERVER_CONFIG_ENV: server_config(snapshot, version).to_json(), "HOME": "/tmp"}  # noqa: S108
    container = pod.Container(
        name=CONTAINER,
        image=snapshot.settings.server_image,
        environment={**snapshot.settings.data_environment, **variables, **tracing(snapshot, version)},
        ports=server_ports(grpc=snapshot.spec.server.grpc),
        resources=resources(snapshot),
        probes=pod.Probes(
            startup=_probe("/readyz", period=1, failures=600),
            readiness=_probe("/readyz", period=2, failures=2),
            liveness=_probe("/livez", period=10, failures=3),
        ),
        termination=pod.Termination("FallbackToLogsOnError"),
        mounts=[{"name": "tmp", "mountPath": "/tmp"}, dict(ingest.MOUNT), *mounts],  # noqa: S108
    )
    spread = {"maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway"}
    topologies = ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
    return pod.Pod(
        container=container,
        volumes=[pod.empty_dir("tmp", "1Gi"), ingest.volume(snapshot.name), *volumes],
        cluster=snapshot.settings.cluster,
        settings=snapshot.spec.server.pod,
        labels=labels(snapshot, version),
        selector=selector(snapshot, version),
        annotations=pod.scraped(ADMIN_PORT),
        grace_seconds=grace_seconds(snapshot),
        spread=[{**spread, "topologyKey": key} for key in topologies],
    )


def resources(snapshot: Snapshot) -> dict[str, Any]:
    """What spec asks for; with autoscaling by CPU there is always a CPU request: utilization is a share of it."""
    requested = snapshot.spec.server.resources
    if requested is None:
        return _default_resources(snapshot.spec.server.workers)
    out = requested.to_json()
    has_cpu = any("cpu" in out.get(part, {}) for part in ("requests", "limits"))
    if snapshot.spec.autoscaling is not None and not has_cpu:
        default = _default_resources(snapshot.spec.server.workers)["requests"]["cpu"]
        out = {**out, "requests": {**out.get("requests", {}), "cpu": default}}
    return out


def _default_resources(workers: int) -> dict[str, Any]:
    """The default for one worker; each further one shares the model's memory and needs some of its own."""
    if workers == 1:
        return pod.DEFAULT_RESOURCES
    return {
        "requests": {"cpu": f"{100 * workers}m", "memory": f"{256 + 128 * (workers - 1)}Mi"},
        "limits": {"memory": f"{1024 + 256 * (workers - 1)}Mi"},
    }


def service(snapshot: Snapshot, version: Version) -> dict[str, Any]:
    """The headless Service whose DNS answer is the version's ready pods: what the router looks up."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": children.metadata(snapshot.child_of(version), snapshot.object, labels(snapshot, version)),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": False,
            "selector": service_selector(snapshot, version),
            "ports": [
                {"name": port.name, "port": port.number, "targetPort": port.name, "protocol": "TCP"}
                | ({"appProtocol": H2C} if port.name == "grpc" else {})
                for port in server_ports(grpc=snapshot.spec.server.grpc)
            ],
        },
    }


def ingest_secret(snapshot: Snapshot) -> list[dict[str, Any]]:
    """The Secret that servers and the monitor share; none while servers run that do not know it: see docs/upgrading.md.

    From then on the monitor takes records of those alone that show its token.
    """
    servers = [
        d for d in snapshot.deployments.values() if d["metadata"].get("labels", {}).get(keys.COMPONENT) == COMPONENT
    ]
    if not ingest.is_mounted_by(servers):
        return []
    return [ingest.secret(snapshot.object, children.labels(COMPONENT, snapshot.name, {keys.DEPLOYMENT: snapshot.name}))]


def clients_secret(snapshot: Snapshot) -> list[dict[str, Any]]:
    """The Secret with the key that names of clients are hashed by, where there are clients; servers alone mount it."""
    if snapshot.spec.access is None:
        return []
    labels_ = children.labels(COMPONENT, snapshot.name, {keys.DEPLOYMENT: snapshot.name})
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": children.metadata(names.clients_secret(snapshot.name), snapshot.object, labels_),
            "type": "Opaque",
            "stringData": {CLIENTS_KEY: RANDOM},
        }
    ]


def network_policy(snapshot: Snapshot) -> dict[str, Any]:
    """One for the servers of all versions: requests from their router alone."""
    pods = {keys.COMPONENT: COMPONENT, keys.DEPLOYMENT: snapshot.name}
    ports = server_ports(grpc=snapshot.spec.server.grpc)
    return networkpolicy.build(snapshot.object, COMPONENT, pods, ports, snapshot.name, snapshot.settings.network)


def disruption_budget(snapshot: Snapshot, version: Version) -> dict[str, Any]:
    """At most one pod of the version is evicted at a time."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": children.metadata(snapshot.child_of(version), snapshot.object, labels(snapshot, version)),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector(snapshot, version)}},
    }


def autoscaler(snapshot: Snapshot, version: Version, fewest: int) -> dict[str, Any]:
    """The version's HorizontalPodAutoscaler; `fewest` keeps a candidate as large as the version it replaces."""
    wanted = snapshot.spec.autoscaling
    assert wanted is not None  # noqa: S101  called with autoscaling only
    name = snapshot.child_of(version)
    low = max(wanted.min_replicas, min(fewest, wanted.max_replicas))
    target = {"type": "Utilization", "averageUtilization": wanted.target_cpu_utilization}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": children.metadata(name, snapshot.object, labels(snapshot, version)),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": low,
            "maxReplicas": wanted.max_replicas,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        },
    }


def scale(snapshot: Snapshot, version: Version, replicas: int) -> Patch:
    """Sets the number of pods without ever owning the field in an applied manifest."""
    ref = ObjectRef("apps/v1", "Deployment", snapshot.namespace, snapshot.child_of(version))
    return Patch(ref, {"spec": {"replicas": replicas}})


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    made = pod.http_probe(path, "admin", period=period, timeout=2, failures=failures)
    return {**made, "successThreshold": 1}


def _artifact_mounts(version: Version) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Volumes and mounts for the artifact store, all read-only."""
    volumes: list[dict[str, Any]] = []
    mounts: list[dict[str, Any]] = []
    uri = parse_uri(version.uri)
    if schemes.BY_NAME[uri.scheme].mount == "claim":
        claim = {"claimName": uri.authority, "readOnly": True}
        volumes.append({"name": "artifacts", "persistentVolumeClaim": claim})
        mounts.append({"name": "artifacts", "mountPath": f"{PVC_ROOT}/{uri.authority}", "readOnly": True})
    keys = schemes.secret_keys(uri.scheme)
    if version.secret and keys:
        volumes.append({"name": "credentials", "secret": pod.secret_source(version.secret, keys)})
        mounts.append({"name": "credentials", "mountPath": f"{SECRET_ROOT}/{version.secret}", "readOnly": True})
    return volumes, mounts


def _key_mounts(snapshot: Snapshot) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Volumes and mounts for the keys of clients, and the key that their names are hashed by: one entry of each."""
    volumes: list[dict[str, Any]] = []
    mounts: list[dict[str, Any]] = []
    access = snapshot.spec.access
    if access is None:
        return volumes, mounts
    for name, root, secret, entry in (
        ("api-keys", API_KEYS_ROOT, access.api_keys.secret_ref.name if access.api_keys else None, KEYS_ENTRY),
        ("feedback-keys", FEEDBACK_KEYS_ROOT, access.feedback.secret_ref.name if access.feedback else None, KEYS_ENTRY),
        ("clients", CLIENTS_ROOT, names.clients_secret(snapshot.name), CLIENTS_KEY),
    ):
        if secret is not None:
            volumes.append({"name": name, "secret": pod.secret_source(secret, [entry])})
            mounts.append({"name": name, "mountPath": root, "readOnly": True})
    return volumes, mounts
