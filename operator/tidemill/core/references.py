"""Which objects an object refers to by name: what the cache's indexes are made of (`Cache.naming`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tidemill.core import labels

Obj = dict[str, Any]


def pipeline(obj: Obj) -> Iterable[str]:
    """The TrainingPipeline of a run or version."""
    return _given((obj.get("spec") or {}).get("pipeline"))


def content(version: Obj) -> Iterable[str]:
    """The pipeline and digest of a version: which ones of a series are equal."""
    spec = version.get("spec") or {}
    return (f"{spec.get('pipeline')} {spec.get('digest')}",)


def importing(version: Obj) -> Iterable[str]:
    """The ModelImport of an imported version."""
    return _given(((version.get("spec") or {}).get("source") or {}).get("import"))


def imported_into(model_import: Obj) -> Iterable[str]:
    """The TrainingPipeline that a ModelImport imports into, which need not exist; none with as.name."""
    return _given(((model_import.get("spec") or {}).get("as") or {}).get("pipeline"))


def followed_pipeline(deployment: Obj) -> Iterable[str]:
    """The TrainingPipeline that a ModelDeployment follows."""
    return _given(_model(deployment).get("pipeline"))


def pinned_version(deployment: Obj) -> Iterable[str]:
    """The ModelVersion that a ModelDeployment names."""
    return _given(_model(deployment).get("version"))


def believed_deployments(version: Obj) -> Iterable[str]:
    """The ModelDeployments that a version says serve it."""
    found: Iterable[str] = (version.get("status") or {}).get("deployments") or ()
    return found


def deployment(monitor: Obj) -> Iterable[str]:
    """The ModelDeployment that a ModelMonitor watches."""
    return _given((monitor.get("spec") or {}).get("deployment"))


def labelled_deployment(obj: Obj) -> Iterable[str]:
    """The ModelDeployment in the labels of a pod."""
    return _given((obj["metadata"].get("labels") or {}).get(labels.DEPLOYMENT))


def labelled_monitor(obj: Obj) -> Iterable[str]:
    """The ModelMonitor in the labels of a pod."""
    return _given((obj["metadata"].get("labels") or {}).get(labels.MONITOR))


def _model(obj: Obj) -> dict[str, Any]:
    return (obj.get("spec") or {}).get("model") or {}


def _given(name: str | None) -> Iterable[str]:
    return (name,) if name else ()
