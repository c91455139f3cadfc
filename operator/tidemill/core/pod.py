"""Every pod of this operator is put together here, so that none can miss what all of them need.

That is Pod Security `restricted`, no service account token, no service environment variables, and the operator's
settings for images. A builder says what is its own: image, command, environment, volumes, probes. The same arguments
give the same bytes: a template that changed by nothing but its order would roll out every deployment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from tidemill.api.base import Toleration
from tidemill_contracts.ports import Port

Json = dict[str, Any]

NON_ROOT_ID = 65532
"""User, group and fsGroup of every container (the "nonroot" of distroless images)."""

DEFAULT_RESOURCES: dict[str, Any] = {
    "requests": {"cpu": "100m", "memory": "256Mi"},
    "limits": {"memory": "1Gi"},
}
"""Used where a user states nothing: a memory limit protects the node; no CPU limit, because throttling helps nobody."""


class ImagePull(Protocol):
    """How the operator's configuration wants images to be pulled."""

    @property
    def image_pull_policy(self) -> str:
        """Always, IfNotPresent or Never."""

    @property
    def image_pull_secrets(self) -> tuple[str, ...]:
        """Names of Secrets."""


class Placement(Protocol):
    """Where a user wants pods to run, and as whom: fields of a spec."""

    @property
    def node_selector(self) -> dict[str, str]:
        """Labels of the nodes."""

    @property
    def tolerations(self) -> list[Toleration]:
        """Taints that the pods tolerate."""

    @property
    def service_account_name(self) -> str | None:
        """None: the default service account; its token is mounted in neither case."""


@dataclass(frozen=True, slots=True)
class Termination:
    """Where the kubelet reads the last words of a container."""

    policy: Literal["File", "FallbackToLogsOnError"] | None
    """None: the field is not set, which means File."""
    path: str | None = None
    """None: the field is not set, which means /dev/termination-log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probes:
    """The probes of a container that serves."""

    startup: Json
    readiness: Json
    liveness: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """The one container of a pod."""

    name: str
    image: str
    resources: Mapping[str, Any]
    termination: Termination
    mounts: Sequence[Json]
    environment: Mapping[str, str] = field(default_factory=dict)
    command: Sequence[str] = ()
    """Nothing: the image's own."""
    args: Sequence[str] = ()
    ports: Sequence[Port] = ()
    """Where it listens, from the table of ports."""
    probes: Probes | None = None
    """None: it ends by itself."""
    stop_delay_seconds: int | None = None
    """How long the kubelet waits before it sends SIGTERM."""

    def build(self, pull: ImagePull) -> Json:
        """The container as the pod spec has it."""
        out: Json = {
            "name": self.name,
            "image": self.image,
            "imagePullPolicy": pull.image_pull_policy,
            "resources": self.resources,
            "securityContext": _container_security_context(),
            "volumeMounts": list(self.mounts),
        }
        if self.command:
            out["command"] = list(self.command)
        if self.args:
            out["args"] = list(self.args)
        if self.environment:
            out["env"] = _env(self.environment)
        if self.ports:
            out["ports"] = [{"name": p.name, "containerPort": p.number, "protocol": "TCP"} for p in self.ports]
        if self.probes is not None:
            out["startupProbe"] = self.probes.startup
            out["readinessProbe"] = self.probes.readiness
            out["livenessProbe"] = self.probes.liveness
        if self.stop_delay_seconds is not None:
            out["lifecycle"] = {"preStop": {"sleep": {"seconds": self.stop_delay_seconds}}}
        if self.termination.path is not None:
            out["terminationMessagePath"] = self.termination.path
        if self.termination.policy is not None:
            out["terminationMessagePolicy"] = self.termination.policy
        return out


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod of one container."""

    container: Container
    volumes: Sequence[Json]
    pull: ImagePull
    placement: Placement | None = None
    """None: anywhere, with the default service account."""
    restart_policy: Literal["Never"] | None = None
    """None: the field is not set, which means Always."""
    grace_seconds: int | None = None
    """None: the field is not set, which means 30."""
    spread: Sequence[Json] = ()
    """Topology spread constraints."""

    def spec(self) -> Json:
        """The PodSpec."""
        out: Json = {
            "securityContext": _pod_security_context(),
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "containers": [self.container.build(self.pull)],
            "volumes": list(self.volumes),
        }
        if self.pull.image_pull_secrets:
            out["imagePullSecrets"] = [{"name": name} for name in self.pull.image_pull_secrets]
        if self.restart_policy is not None:
            out["restartPolicy"] = self.restart_policy
        if self.grace_seconds is not None:
            out["terminationGracePeriodSeconds"] = self.grace_seconds
        if self.spread:
            out["topologySpreadConstraints"] = list(self.spread)
        return {**out, **(_placement(self.placement) if self.placement is not None else {})}


def template(spec: Json, labels: Mapping[str, str], annotations: Mapping[str, str] | None = None) -> Json:
    """The pod template of a Deployment or Job."""
    meta: Json = {"labels": dict(labels)}
    if annotations:
        meta["annotations"] = dict(annotations)
    return {"metadata": meta, "spec": spec}


def scraped(port: int, path: str = "/metrics") -> dict[str, str]:
    """The annotations by which a Prometheus without its operator finds the pod."""
    return {"prometheus.io/scrape": "true", "prometheus.io/port": str(port), "prometheus.io/path": path}


def empty_dir(name: str, size_limit: str | None = None) -> dict[str, Any]:
    """A scratch volume; `size_limit` is a quantity."""
    return {"name": name, "emptyDir": {"sizeLimit": size_limit} if size_limit else {}}


def secret_source(name: str, keys: Iterable[str]) -> dict[str, Any]:
    """A Secret as a volume source: these keys and no others, so that naming any Secret of the namespace shows nothing.

    Optional: the kubelet would hold a pod back without saying which is missing, Secret or key; the pod reports it.
    """
    return {"secretName": name, "items": [{"key": key, "path": key} for key in sorted(keys)], "optional": True}


def http_probe(path: str, port: str, *, period: int, timeout: int, failures: int) -> Json:
    """A probe by HTTP; `period` and `timeout` in seconds, `failures` in a row until it counts."""
    return {
        "httpGet": {"path": path, "port": port, "scheme": "HTTP"},
        "periodSeconds": period,
        "timeoutSeconds": timeout,
        "failureThreshold": failures,
    }


def _pod_security_context() -> Json:
    return {
        "runAsNonRoot": True,
        "runAsUser": NON_ROOT_ID,
        "runAsGroup": NON_ROOT_ID,
        "fsGroup": NON_ROOT_ID,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _container_security_context() -> Json:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def _env(values: Mapping[str, str]) -> list[dict[str, str]]:
    """Sorted by name, so that equal mappings give equal pod templates."""
    return [{"name": name, "value": str(values[name])} for name in sorted(values)]


def _placement(wanted: Placement) -> Json:
    out: Json = {}
    if wanted.node_selector:
        out["nodeSelector"] = wanted.node_selector
    if wanted.tolerations:
        out["tolerations"] = [t.to_json() for t in wanted.tolerations]
    if wanted.service_account_name:
        out["serviceAccountName"] = wanted.service_account_name
    return out
