"""The token that shows a prediction record to come from a server: its Secret, and how pods get it.

The servers of a ModelDeployment and its monitor mount one Secret, which belongs to the ModelDeployment. The operator
creates it and never reads it. The volume is optional: pods start without the Secret, and find it when it is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tidemill.core import children, names, pod
from tidemill.core.random_values import RANDOM
from tidemill_contracts.inference import INGEST_KEY, INGEST_ROOT

VOLUME = "ingest"
MOUNT: Mapping[str, Any] = {"name": VOLUME, "mountPath": INGEST_ROOT, "readOnly": True}


def secret(deployment: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
    """The Secret of a ModelDeployment; its value is chosen when it is created."""
    name = names.ingest_secret(deployment["metadata"]["name"])
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": children.metadata(name, deployment, labels),
        "type": "Opaque",
        "stringData": {INGEST_KEY: RANDOM},
    }


def volume(deployment: str) -> dict[str, Any]:
    """The volume of a pod, by the name of the ModelDeployment."""
    return {"name": VOLUME, "secret": pod.secret_source(names.ingest_secret(deployment), [INGEST_KEY])}


def is_mounted_by(deployments: Iterable[Mapping[str, Any]]) -> bool:
    """Whether all pods of these Deployments have the volume: before that, a monitor must not demand the token."""
    return all(_has_volume(d) and _is_rolled_out(d) for d in deployments)


def _has_volume(deployment: Mapping[str, Any]) -> bool:
    template = ((deployment.get("spec") or {}).get("template") or {}).get("spec") or {}
    return any(v.get("name") == VOLUME for v in template.get("volumes") or ())


def _is_rolled_out(deployment: Mapping[str, Any]) -> bool:
    """Whether no pod of an earlier template is left."""
    status, generation = deployment.get("status") or {}, int(deployment["metadata"].get("generation") or 0)
    is_seen = int(status.get("observedGeneration") or 0) >= generation
    return is_seen and int(status.get("updatedReplicas") or 0) >= int(status.get("replicas") or 0)
