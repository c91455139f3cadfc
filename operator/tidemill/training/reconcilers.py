"""What the training slice gives to the engine: four reconcilers, and who is woken by which object."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tidemill.api.base import API_VERSION
from tidemill.core import conditions, labels, references
from tidemill.core.children import controller_of
from tidemill.core.labels import MANAGED_SELECTOR
from tidemill.core.plan import Key
from tidemill.engine.contract import Deps, Reconciler, Watch, controller_keys
from tidemill.kube.cache import Cache
from tidemill.training import records, rejections
from tidemill.training.imports.builders.job import COMPONENT as IMPORTER
from tidemill.training.imports.reconciler import ImportReconciler
from tidemill.training.pipeline.observe import config_map_inputs, deployments_read, retrained_pipelines
from tidemill.training.pipeline.reconciler import PipelineReconciler
from tidemill.training.run.reconciler import RunReconciler
from tidemill.training.run_expectations import RunExpectations
from tidemill.training.version.reconciler import VersionReconciler

Obj = dict[str, Any]


def build(deps: Deps) -> list[Reconciler]:
    """One reconciler per kind."""
    own = RunExpectations()
    deps.begun.append(own.begin)
    return [PipelineReconciler(deps, own), RunReconciler(deps, own), ImportReconciler(deps), VersionReconciler(deps)]


def config_map_to_pipelines(config_map: Obj, cache: Cache) -> Iterable[Key]:
    """Pipelines of the namespace whose code or data is in this ConfigMap."""
    namespace, name = config_map["metadata"]["namespace"], config_map["metadata"]["name"]
    for pipeline in cache.naming("TrainingPipeline", namespace, name, _config_maps_of):
        yield Key("TrainingPipeline", namespace, pipeline["metadata"]["name"])


def _config_maps_of(pipeline: Obj) -> set[str]:
    spec = pipeline.get("spec") or {}
    code = ((spec.get("code") or {}).get("configMap") or {}).get("name")
    return {*config_map_inputs(spec), *([code] if code else [])}


def monitor_to_pipelines(monitor: Obj, cache: Cache) -> Iterable[Key]:
    """Pipelines of which the monitor has requested a retrain, and those that read the rows that it writes."""
    namespace = monitor["metadata"]["namespace"]
    found = {key.name for name in references.deployment(monitor) for key in _reading(namespace, name, cache)}
    for name in sorted(retrained_pipelines(monitor) | found):
        yield Key("TrainingPipeline", namespace, name)


def deployment_to_pipelines(deployment: Obj, cache: Cache) -> Iterable[Key]:
    """Pipelines that read the rows that the deployment keeps."""
    return _reading(deployment["metadata"]["namespace"], deployment["metadata"]["name"], cache)


def _reading(namespace: str, deployment: str, cache: Cache) -> Iterable[Key]:
    for pipeline in cache.naming("TrainingPipeline", namespace, deployment, _deployments_of):
        yield Key("TrainingPipeline", namespace, pipeline["metadata"]["name"])


def _deployments_of(pipeline: Obj) -> Iterable[str]:
    return deployments_read(pipeline.get("spec") or {})


def deployment_to_versions(deployment: Obj, cache: Cache) -> Iterable[Key]:
    """Versions that the deployment serves now, and those that believe that it serves them."""
    namespace, name = deployment["metadata"]["namespace"], deployment["metadata"]["name"]
    served = records.deployment_record(deployment).served
    believing = cache.naming("ModelVersion", namespace, name, references.believed_deployments)
    found = {v["metadata"]["name"] for v in believing} | {v for v in served if cache.get("ModelVersion", namespace, v)}
    for version in sorted(found):
        yield Key("ModelVersion", namespace, version)


def origin_to_version(origin: Obj, cache: Cache) -> Iterable[Key]:
    """The version that the status of a run or import names: it waits for that."""
    name, namespace = (origin.get("status") or {}).get("version"), origin["metadata"]["namespace"]
    if name and cache.get("ModelVersion", namespace, name):
        yield Key("ModelVersion", namespace, name)


def pipeline_to_versions(pipeline: Obj, cache: Cache) -> Iterable[Key]:
    """Versions that an earlier pipeline of this name left behind, when a new one appears."""
    meta = pipeline["metadata"]
    if not conditions.has_default_status(pipeline):
        return
    for version in cache.naming("ModelVersion", meta["namespace"], meta["name"], references.pipeline):
        if controller_of(version).get("uid") != meta["uid"]:
            yield Key("ModelVersion", meta["namespace"], version["metadata"]["name"])


def version_to_equals(version: Obj, cache: Cache) -> Iterable[Key]:
    """Versions of the pipeline with the same content, where a person has decided on it."""
    if rejections.said(version) is None:
        return
    meta, spec = version["metadata"], version["spec"]
    name = f"{spec['pipeline']} {spec['digest']}"
    for equal in cache.naming("ModelVersion", meta["namespace"], name, references.content):
        if equal["metadata"]["name"] != meta["name"]:
            yield Key("ModelVersion", meta["namespace"], equal["metadata"]["name"])


def version_to_import(version: Obj, cache: Cache) -> Iterable[Key]:
    """The import that has registered the version: its status quotes the approval."""
    del cache
    name = ((version.get("spec") or {}).get("source") or {}).get("import")
    if name:
        yield Key("ModelImport", version["metadata"]["namespace"], name)


def pod_to_owner(pod: Obj, cache: Cache) -> Iterable[Key]:
    """The run, pipeline or import of a pod of theirs. The pod's controller is the Job, so its labels tell."""
    del cache
    meta = pod["metadata"]
    found = meta.get("labels") or {}
    component = found.get(labels.COMPONENT)
    if component == "trainer" and found.get(labels.RUN):
        yield Key("TrainingRun", meta["namespace"], found[labels.RUN])
    elif component in ("probe", "records") and found.get(labels.PIPELINE):
        yield Key("TrainingPipeline", meta["namespace"], found[labels.PIPELINE])
    elif component in (IMPORTER, "records") and found.get(labels.IMPORT):
        yield Key("ModelImport", meta["namespace"], found[labels.IMPORT])


WATCHES = (
    Watch(API_VERSION, "TrainingPipeline", None, pipeline_to_versions),
    Watch(API_VERSION, "TrainingRun", None, controller_keys("TrainingPipeline")),
    Watch(API_VERSION, "TrainingRun", None, origin_to_version),
    Watch(API_VERSION, "ModelImport", None, origin_to_version),
    Watch(API_VERSION, "ModelVersion", None, controller_keys("TrainingPipeline")),
    Watch(API_VERSION, "ModelVersion", None, version_to_import),
    Watch(API_VERSION, "ModelVersion", None, version_to_equals),
    Watch(API_VERSION, "ModelMonitor", None, monitor_to_pipelines),
    Watch(API_VERSION, "ModelDeployment", None, deployment_to_versions),
    Watch(API_VERSION, "ModelDeployment", None, deployment_to_pipelines),
    Watch("v1", "ConfigMap", None, config_map_to_pipelines),
    Watch("v1", "ConfigMap", MANAGED_SELECTOR, controller_keys("TrainingRun")),
    Watch("batch/v1", "Job", MANAGED_SELECTOR, controller_keys("TrainingRun", "TrainingPipeline", "ModelImport")),
    Watch("v1", "Pod", MANAGED_SELECTOR, pod_to_owner),
)
