"""What this slice gives to the engine: the reconciler of ModelDeployment, and what else wakes it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tidemill.api.base import API_VERSION
from tidemill.core import labels as keys
from tidemill.core import references
from tidemill.core.plan import Key
from tidemill.engine.contract import Deps, Reconciler, Watch, controller_keys, label_keys
from tidemill.kube.cache import Cache
from tidemill.serving.reconciler import ModelDeploymentReconciler

Obj = dict[str, Any]
KIND = ModelDeploymentReconciler.kind


def build(deps: Deps) -> list[Reconciler]:
    """The reconcilers of this slice."""
    return [ModelDeploymentReconciler(deps)]


def by_model_version(obj: Obj, cache: Cache) -> Iterable[Key]:
    """Deployments that follow the version's pipeline, or name the version."""
    meta, pipeline = obj["metadata"], obj["spec"].get("pipeline")
    found = cache.naming(KIND, meta["namespace"], meta["name"], references.pinned_version)
    if pipeline:
        found += cache.naming(KIND, meta["namespace"], pipeline, references.followed_pipeline)
    yield from map(_key, found)


def by_pipeline(obj: Obj, cache: Cache) -> Iterable[Key]:
    """Deployments that follow the pipeline and serve nothing yet: they may be waiting for it."""
    meta = obj["metadata"]
    for deployment in cache.naming(KIND, meta["namespace"], meta["name"], references.followed_pipeline):
        if not (deployment.get("status") or {}).get("stable"):
            yield _key(deployment)


def by_monitor(obj: Obj, cache: Cache) -> Iterable[Key]:
    """The deployment that a monitor asks to roll back."""
    name = obj["spec"].get("deployment")
    actions = (obj.get("status") or {}).get("actions") or ()
    deployment = cache.get(KIND, obj["metadata"]["namespace"], name) if name else None
    if deployment is not None and any(a.get("type") == "Rollback" for a in actions):
        yield _key(deployment)


def _key(obj: Obj) -> Key:
    return Key(KIND, obj["metadata"]["namespace"], obj["metadata"]["name"])


_OWNED = controller_keys(KIND)

WATCHES = (
    Watch(API_VERSION, "ModelVersion", None, by_model_version),
    Watch(API_VERSION, "TrainingPipeline", None, by_pipeline),
    Watch(API_VERSION, "ModelMonitor", None, by_monitor),
    Watch("apps/v1", "Deployment", keys.MANAGED_SELECTOR, _OWNED),
    Watch("v1", "Service", keys.MANAGED_SELECTOR, _OWNED),
    Watch("v1", "ConfigMap", keys.MANAGED_SELECTOR, _OWNED),
    Watch("networking.k8s.io/v1", "NetworkPolicy", keys.MANAGED_SELECTOR, _OWNED),
    Watch("v1", "Pod", keys.MANAGED_SELECTOR, label_keys(keys.DEPLOYMENT, KIND)),
    Watch("policy/v1", "PodDisruptionBudget", keys.MANAGED_SELECTOR, _OWNED),
    Watch("autoscaling/v2", "HorizontalPodAutoscaler", keys.MANAGED_SELECTOR, _OWNED),
)
