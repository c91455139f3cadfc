"""Every pod of this operator is put together here, so that none can miss what all of them need.

That is Pod Security `restricted`, no service account token, no service environment variables, the operator's settings
for all pods, and what the user says in a `pod` section. A builder says what is its own: image, command, environment,
volumes, probes; that wins over what others say. The same arguments give the same bytes: a template that changed by
nothing but its order would roll out every deployment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from tidemill.api.base import Model, Toleration
from tidemill.api.v1alpha1 import pod_names
from tidemill.api.v1alpha1.pod_settings import PodSettings
from tidemill_contracts.ports import Port

Json = dict[str, Any]

NON_ROOT_ID = 65532
"""User, group and fsGroup of every container (the "nonroot" of distroless images)."""

DEFAULT_RESOURCES: dict[str, Any] = {
    "requests": {"cpu": "100m", "memory": "256Mi"},
    "limits": {"memory": "1Gi"},
}
"""Used where a user states nothing: a memory limit protects the node; no CPU limit, because throttling helps nobody."""


_SCRAPING = "prometheus.io/"
FROM_NAMESPACE = "FromNamespace"
CA_ROOT = "/etc/tidemill/ca"
CA_FILE = "ca-bundle.pem"
CA_VARIABLES = (
    "SSL_CERT_FILE",  # Python, OpenSSL, the object-store library
    "REQUESTS_CA_BUNDLE",  # requests, which sends the traces
    "CURL_CA_BUNDLE",
    "AWS_CA_BUNDLE",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
)
INSIDE = ("localhost", "127.0.0.1", "::1", ".svc", ".cluster.local")
"""What no proxy is asked for."""


class Configuration(Protocol):
    """The operator's configuration, as far as it is about all pods."""

    @property
    def image_pull_policy(self) -> str:
        """Always, IfNotPresent or Never."""

    @property
    def image_pull_secrets(self) -> tuple[str, ...]:
        """Names of Secrets."""

    @property
    def run_as_user(self) -> str | None:
        """FromNamespace: the cluster gives user and groups; None: NON_ROOT_ID."""

    @property
    def ca_bundle_config_map(self) -> str | None:
        """Name of a ConfigMap that each namespace has; None: the images' own authorities."""

    @property
    def ca_bundle_key(self) -> str:
        """Its key with the certificates, in PEM."""

    @property
    def http_proxy(self) -> str | None:
        """URL of the proxy for http."""

    @property
    def https_proxy(self) -> str | None:
        """URL of the proxy for https."""

    @property
    def no_proxy(self) -> tuple[str, ...]:
        """Hosts and suffixes of names that are reached without a proxy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """What an administrator has set for all generated pods."""

    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    user_from_namespace: bool = False
    """Whether the cluster gives each namespace users and groups of its own (OpenShift)."""
    ca_bundle: tuple[str, str] | None = None
    """Name and key of the ConfigMap with the certificate authorities."""
    proxies: tuple[tuple[str, str], ...] = ()
    """Names and values of the variables that lead to a proxy."""

    @classmethod
    def of(cls, config: Configuration) -> ClusterSettings:
        """Those of the operator's configuration."""
        name = config.ca_bundle_config_map
        return cls(
            image_pull_policy=config.image_pull_policy,
            image_pull_secrets=config.image_pull_secrets,
            user_from_namespace=config.run_as_user == FROM_NAMESPACE,
            ca_bundle=(name, config.ca_bundle_key) if name else None,
            proxies=tuple(_proxies(config).items()),
        )

    def environment(self) -> dict[str, str]:
        """What a pod needs to reach the world outside of the cluster."""
        bundle = dict.fromkeys(CA_VARIABLES, f"{CA_ROOT}/{CA_FILE}") if self.ca_bundle else {}
        return {**bundle, **dict(self.proxies)}

    def volumes(self) -> list[Json]:
        """The certificate authorities. Not optional: a pod without them would blame every server that it talks to."""
        if self.ca_bundle is None:
            return []
        name, key = self.ca_bundle
        return [{"name": "ca-bundle", "configMap": {"name": name, "items": [{"key": key, "path": CA_FILE}]}}]

    def mounts(self) -> list[Json]:
        """Where they are."""
        return [{"name": volume["name"], "mountPath": CA_ROOT, "readOnly": True} for volume in self.volumes()]


def _proxies(config: Configuration) -> dict[str, str]:
    """In both spellings: some programs read the one, some the other."""
    found = {"HTTP_PROXY": config.http_proxy, "HTTPS_PROXY": config.https_proxy}
    set_ = {name: value for name, value in found.items() if value}
    if set_:
        set_["NO_PROXY"] = ",".join(dict.fromkeys((*INSIDE, *config.no_proxy)))
    return {spelled: value for name, value in set_.items() for spelled in (name, name.lower())}


class Placement(Protocol):
    """What a spec says about pods: its section, or the fields that were there before it and exclude it."""

    @property
    def pod(self) -> PodSettings | None:
        """The section."""

    @property
    def node_selector(self) -> dict[str, str]:
        """Labels of the nodes."""

    @property
    def tolerations(self) -> list[Toleration]:
        """Taints that the pods tolerate."""

    @property
    def service_account_name(self) -> str | None:
        """None: the default service account; its token is mounted in neither case."""


def settings_of(spec: Placement) -> PodSettings:
    """What a spec says about pods, in the one form."""
    if spec.pod is not None:
        return spec.pod
    # Not validated: these fields took values that the section refuses, and an object of before must still work.
    return PodSettings.model_construct(
        node_selector=spec.node_selector,
        tolerations=spec.tolerations,
        service_account_name=spec.service_account_name,
    )


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

    def build(self, cluster: ClusterSettings, environment: Mapping[str, str], mounts: Sequence[Json]) -> Json:
        """The container as the pod spec has it, with environment and mounts of others beside its own."""
        environment = {**environment, **self.environment}
        out: Json = {
            "name": self.name,
            "image": self.image,
            "imagePullPolicy": cluster.image_pull_policy,
            "resources": self.resources,
            "securityContext": _container_security_context(),
            "volumeMounts": [*self.mounts, *mounts],
        }
        if self.command:
            out["command"] = list(self.command)
        if self.args:
            out["args"] = list(self.args)
        if environment:
            out["env"] = _env(environment)
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
    cluster: ClusterSettings
    settings: PodSettings | None = None
    """What the user says; None: nothing."""
    labels: Mapping[str, str]
    """The builder's own."""
    selector: Mapping[str, str]
    """Those of `labels` that all pods of this kind and object have: the pods that a spread constraint counts."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    connects_outside: bool = True
    """Whether it opens connections out of the cluster: a proxy and certificate authorities are of use to it."""
    restart_policy: Literal["Never"] | None = None
    """None: the field is not set, which means Always."""
    grace_seconds: int | None = None
    """None: the field is not set, which means 30."""
    spread: Sequence[Json] = ()
    """Topology spread constraints, without the pods that they count, where the user says nothing about them."""

    def template(self) -> Json:
        """The pod template of a Deployment or Job."""
        said = self.settings or PodSettings()
        # What was stored before it was refused is left out; a condition says so (`core.pod_settings`).
        theirs = {key: value for key, value in said.labels.items() if not pod_names.is_refused_label(key)}
        meta: Json = {"labels": {**theirs, **self.labels}}
        # Whether and where Prometheus looks is the user's to say, all else of ours is not.
        scraping = {name: value for name, value in said.annotations.items() if name.startswith(_SCRAPING)}
        noted = {name: value for name, value in said.annotations.items() if not pod_names.is_own_key(name)}
        annotations = {**noted, **self.annotations, **scraping}
        if annotations:
            meta["annotations"] = annotations
        return {"metadata": meta, "spec": self.spec()}

    def spec(self) -> Json:
        """The PodSpec."""
        said = self.settings or PodSettings()
        cluster = self.cluster if self.connects_outside else replace(self.cluster, ca_bundle=None, proxies=())
        theirs = {e.name: e.value for e in said.env if pod_names.is_variable_kept(e.name, e.value)}
        environment = {**theirs, **cluster.environment()}
        out: Json = {
            "securityContext": _pod_security_context(cluster),
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "containers": [self.container.build(cluster, environment, cluster.mounts())],
            "volumes": [*self.volumes, *cluster.volumes()],
        }
        if cluster.image_pull_secrets:
            out["imagePullSecrets"] = [{"name": name} for name in cluster.image_pull_secrets]
        if self.restart_policy is not None:
            out["restartPolicy"] = self.restart_policy
        if self.grace_seconds is not None:
            out["terminationGracePeriodSeconds"] = self.grace_seconds
        spread = self._spread(said)
        if spread:
            out["topologySpreadConstraints"] = spread
        return {**out, **_placement(said)}

    def _spread(self, said: PodSettings) -> list[Json]:
        wanted = said.topology_spread_constraints
        constraints = self.spread if wanted is None else map(_plain, wanted)
        return [{**c, "labelSelector": {"matchLabels": dict(self.selector)}} for c in constraints]


def scraped(port: int, path: str = "/metrics") -> dict[str, str]:
    """The annotations by which a Prometheus without its operator finds the pod."""
    return {f"{_SCRAPING}scrape": "true", f"{_SCRAPING}port": str(port), f"{_SCRAPING}path": path}


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


def _pod_security_context(cluster: ClusterSettings) -> Json:
    ids = {} if cluster.user_from_namespace else dict.fromkeys(("runAsUser", "runAsGroup", "fsGroup"), NON_ROOT_ID)
    return {
        "runAsNonRoot": True,
        **ids,
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
    return [{"name": name, "value": _literally(str(values[name]))} for name in sorted(values)]


def _literally(value: str) -> str:
    """Kubernetes takes $(NAME) in a value for another variable, and $$ for one $.

    A value that has neither stays as it is: other bytes would replace pods.
    """
    return value.replace("$", "$$") if "$(" in value or "$$" in value else value


def _placement(said: PodSettings) -> Json:
    out: Json = {}
    if said.node_selector:
        out["nodeSelector"] = said.node_selector
    if said.tolerations:
        out["tolerations"] = [t.to_json() for t in said.tolerations]
    if said.affinity is not None:
        out["affinity"] = _plain(said.affinity)
    if said.priority_class_name:
        out["priorityClassName"] = said.priority_class_name
    if said.service_account_name:
        out["serviceAccountName"] = said.service_account_name
    return out


def _plain(model: Model) -> Json:
    """Without what is empty or not set."""
    return model.model_dump(mode="json", by_alias=True, exclude_defaults=True)
