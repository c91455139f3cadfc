"""The kinds that this operator reads or writes, and where the API server keeps them.

Why a table and no discovery: the set is fixed, RBAC names exactly these, and a look-up per start costs time and rights.
Kinds that a cluster may lack (Prometheus operator) are looked up with `KubeClient.has_kind`.
"""

from __future__ import annotations

from dataclasses import dataclass

from tidemill.api import base as api
from tidemill.api.base import API_VERSION
from tidemill.api.v1alpha1 import KINDS, ModelVersion, TrainingRun


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of the cluster."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool = True
    write_once: bool = False
    """Created, and never applied again: its spec cannot change (records, Job, PersistentVolumeClaim)."""
    counted: bool = False
    """A plan's status may count it as made: its refusal ends the pass before that status is written."""
    identity: tuple[str, ...] = ()
    """Fields of spec without which an object of the same name, though ours, is not the one that was to be created."""
    field_selector: str | None = None
    """What watches and resyncs leave out on the server's side."""
    metadata_only: bool = False
    """Watched without content: others decide how large it is, and whoever needs it reads it live."""
    never_read: bool = False
    """Created without ever being read: the operator has no right to, and does not need one."""

    @property
    def group(self) -> str:
        """API group; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        """API version without the group."""
        return self.api_version.rpartition("/")[2]

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """URL path of the collection (no `name`), the object, or its subresource."""
        root = f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"
        parts = [root]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name:
            parts.append(name)
        if subresource:
            parts.append(subresource)
        return "/".join(parts)


def _own(kind: type[api.Resource], *, is_record: bool) -> Resource:
    identity = ("number", "digest") if kind is ModelVersion else ()  # two that register at once may pick one number
    return Resource(
        API_VERSION, kind.INFO.kind, kind.INFO.plural, write_once=is_record, counted=is_record, identity=identity
    )


_ALL = (
    *(_own(kind, is_record=kind in (TrainingRun, ModelVersion)) for kind in KINDS),
    Resource("v1", "ConfigMap", "configmaps", metadata_only=True, field_selector="metadata.name!=kube-root-ca.crt"),
    Resource("v1", "Secret", "secrets", write_once=True, never_read=True),
    Resource("v1", "Service", "services", metadata_only=True),
    Resource("v1", "Pod", "pods"),
    Resource("v1", "PersistentVolumeClaim", "persistentvolumeclaims", write_once=True, metadata_only=True),
    Resource("v1", "ServiceAccount", "serviceaccounts"),
    Resource("v1", "Namespace", "namespaces", namespaced=False),
    Resource("v1", "Node", "nodes", namespaced=False),
    Resource("apps/v1", "Deployment", "deployments"),
    Resource("apps/v1", "ReplicaSet", "replicasets"),
    Resource("apps/v1", "StatefulSet", "statefulsets"),
    Resource("batch/v1", "Job", "jobs", write_once=True, counted=True),
    Resource("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", metadata_only=True),
    Resource("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", metadata_only=True),
    Resource("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", metadata_only=True),
    Resource("v1", "Event", "events"),
    Resource("coordination.k8s.io/v1", "Lease", "leases"),
    Resource("discovery.k8s.io/v1", "EndpointSlice", "endpointslices"),
    Resource("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes"),
    Resource("monitoring.coreos.com/v1", "ServiceMonitor", "servicemonitors"),
    Resource("monitoring.coreos.com/v1", "PrometheusRule", "prometheusrules"),
)
BY_KIND: dict[tuple[str, str], Resource] = {(r.api_version, r.kind): r for r in _ALL}


def lookup(api_version: str, kind: str) -> Resource:
    """The entry for a kind; KeyError with a sentence for one that this operator does not know."""
    try:
        return BY_KIND[api_version, kind]
    except KeyError:
        raise KeyError(f"kind {api_version} {kind} is not in tidemill.kube.registry") from None
