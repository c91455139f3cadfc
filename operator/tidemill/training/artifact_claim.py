"""The namespace's default artifact store: one claim, made when it is missing, owned by nobody, never changed again.

It outlives every pipeline: it holds the models that deployments serve.
"""

from __future__ import annotations

from typing import Any

from tidemill.config import OperatorConfig
from tidemill.core import children
from tidemill_contracts import schemes
from tidemill_contracts.storage import parse_uri


def is_default(store: str, config: OperatorConfig) -> bool:
    """Whether a store lies on the namespace's default claim."""
    uri = parse_uri(store)
    return schemes.BY_NAME[uri.scheme].mount == "claim" and uri.authority == config.artifact_claim_name


def build(namespace: str, config: OperatorConfig) -> dict[str, Any]:
    """The claim's manifest."""
    spec: dict[str, Any] = {
        "accessModes": list(config.artifact_claim_access_modes),
        "resources": {"requests": {"storage": config.artifact_claim_size}},
    }
    if config.artifact_claim_storage_class is not None:
        spec["storageClassName"] = config.artifact_claim_storage_class
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": config.artifact_claim_name,
            "namespace": namespace,
            "labels": children.labels("artifacts", config.artifact_claim_name),
        },
        "spec": spec,
    }
