"""What this slice gives to the engine: the reconciler of ModelMonitor, and what else wakes it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tidemill.api.base import API_VERSION
from tidemill.core import labels as keys
from tidemill.core import references
from tidemill.core.plan import Key
from tidemill.engine.contract import Deps, Reconciler, Watch, controller_keys, label_keys
from tidemill.kube.cache import Cache
from tidemill.monitoring.reconciler import ModelMonitorReconciler

Obj = dict[str, Any]
KIND = ModelMonitorReconciler.kind


def build(deps: Deps) -> list[Reconciler]:
    """The reconcilers of this slice."""
    return [ModelMonitorReconciler(deps)]


def by_deployment(obj: Obj, cache: Cache) -> Iterable[Key]:
    """The monitors of a ModelDeployment."""
    return _monitors_of(cache, obj["metadata"]["namespace"], obj["metadata"]["name"])


def by_rival(obj: Obj, cache: Cache) -> Iterable[Key]:
    """The other monitors of the same deployment: when one goes, another takes over."""
    meta = obj["metadata"]
    for key in _monitors_of(cache, meta["namespace"], obj["spec"].get("deployment")):
        if key.name != meta["name"]:
            yield key


def _monitors_of(cache: Cache, namespace: str, deployment: str | None) -> Iterable[Key]:
    for monitor in cache.naming(KIND, namespace, deployment or "", references.deployment):
        yield Key(KIND, namespace, monitor["metadata"]["name"])


_OWNED = controller_keys(KIND)

WATCHES = (
    Watch(API_VERSION, "ModelDeployment", None, by_deployment),
    Watch(API_VERSION, KIND, None, by_rival),
    Watch("apps/v1", "Deployment", keys.MANAGED_SELECTOR, _OWNED),
    Watch("v1", "Service", keys.MANAGED_SELECTOR, _OWNED),
    Watch("v1", "ConfigMap", keys.MANAGED_SELECTOR, _OWNED),
    Watch("v1", "PersistentVolumeClaim", keys.MANAGED_SELECTOR, _OWNED),
    Watch("networking.k8s.io/v1", "NetworkPolicy", keys.MANAGED_SELECTOR, _OWNED),
    Watch("v1", "Pod", keys.MANAGED_SELECTOR, label_keys(keys.MONITOR, KIND)),
)
