"""The smallest valid object of every kind, and a way to change one field: rows of tables show only what matters."""

from __future__ import annotations

import copy
from typing import Any

Json = dict[str, Any]
REMOVE = object()
"""Value that removes a field."""

_DIGEST = "sha256:" + "0" * 64
_TIME = "2026-11-23T07:00:00Z"


def _object(kind: str, spec: Json) -> Json:
    return {"apiVersion": "tidemill.io/v1alpha1", "kind": kind, "metadata": {"name": "churn"}, "spec": spec}


_CODE = {"configMap": {"name": "churn-code"}, "entrypoint": "train:train"}
_DATA = [{"name": "customers", "uri": "s3://lake/churn/"}]

MINIMAL: dict[str, Json] = {
    "TrainingPipeline": _object("TrainingPipeline", {"data": _DATA, "target": "churned", "code": _CODE}),
    "TrainingRun": _object(
        "TrainingRun",
        {
            "pipeline": "churn",
            "key": _DIGEST,
            "trigger": {"type": "NeverTrained", "message": "no version yet", "time": _TIME},
            "data": _DATA,
            "code": {**_CODE, "digest": _DIGEST},
            "image": "trainer:1",
            "store": {"uri": "pvc://tidemill-artifacts/team-a/churn"},
        },
    ),
    "ModelVersion": _object(
        "ModelVersion",
        {
            "pipeline": "churn",
            "number": 1,
            "digest": _DIGEST,
            "modelDigest": _DIGEST,
            "uri": "pvc://tidemill-artifacts/team-a/churn/versions/0",
            "formats": ["skops", "onnx"],
            "task": "classification",
            "lineage": {
                "run": "churn-1",
                "trigger": "NeverTrained",
                "key": _DIGEST,
                "data": {"customers": "v1"},
                "code": _DIGEST,
                "image": "trainer:1",
            },
        },
    ),
    "ModelImport": _object(
        "ModelImport",
        {"source": {"uri": "s3://models/staging/churn", "digest": _DIGEST}, "as": {"pipeline": "churn"}},
    ),
    "ModelDeployment": _object("ModelDeployment", {"model": {"pipeline": "churn"}}),
    "ModelMonitor": _object("ModelMonitor", {"deployment": "churn", "drift": {}}),
}


def make(kind: str, changes: Json | None = None) -> Json:
    """Return the minimal object with fields set by dotted path, for example {"spec.data.0.format": "CSV"}.

    A part that does not exist is made an object. REMOVE as value removes the field.
    """
    document = copy.deepcopy(MINIMAL[kind])
    for path, value in (changes or {}).items():
        node: Any = document
        *parents, last = path.split(".")
        for part in parents:
            node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
        if value is REMOVE:
            del node[last]
        elif isinstance(node, list):
            node[int(last)] = value
        else:
            node[last] = value
    return document
