"""Small manifests for end-to-end tests, as a person would write them."""

import hashlib
from typing import Any

GOOD_CODE = """
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

def train(data, target, *, seed: int = 0):
    return make_pipeline(StandardScaler(), LogisticRegression(random_state=seed)).fit(data, target)
"""


DRIFT = {"features": {"test": "PSI", "threshold": 0.2}}


def code(name: str, text: str = GOOD_CODE) -> dict[str, Any]:
    """Return a ConfigMap with training code."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"train.py": text}}


def pipeline(name: str, code_name: str | None = None, **spec: Any) -> dict[str, Any]:
    """Return a pipeline on the iris data."""
    return {
        "apiVersion": "tidemill.io/v1alpha1",
        "kind": "TrainingPipeline",
        "metadata": {"name": name},
        "spec": {
            "data": [{"name": "iris", "uri": "builtin://iris"}],
            "target": "target",
            "code": {"configMap": {"name": code_name or f"{name}-code"}, "entrypoint": "train:train"},
            "run": {"backoffLimit": 0, "activeDeadlineSeconds": 120, "pendingDeadlineSeconds": 60},
            "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}},
            **spec,
        },
    }


def deployment(name: str, **spec: Any) -> dict[str, Any]:
    """Return a deployment that follows the pipeline of its own name."""
    return {
        "apiVersion": "tidemill.io/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name},
        "spec": {
            "model": {"pipeline": name},
            "server": {"resources": {"requests": {"cpu": "50m", "memory": "128Mi"}}},
            **spec,
        },
    }


def keys(name: str, **clients: str) -> dict[str, Any]:
    """Return a Secret with the keys of clients, as digests."""
    lines = [f"{client} sha256:{hashlib.sha256(key.encode()).hexdigest()}\n" for client, key in clients.items()]
    metadata = {"name": name}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"keys": "".join(lines)}}


def monitor(name: str, **spec: Any) -> dict[str, Any]:
    """Return a monitor of the deployment of its own name, with the shortest windows there are."""
    return {
        "apiVersion": "tidemill.io/v1alpha1",
        "kind": "ModelMonitor",
        "metadata": {"name": name},
        "spec": {
            "deployment": name,
            "window": {"seconds": 10, "minRows": 10},
            "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}},
            **spec,
        },
    }


def table(name: str, rows: list[str]) -> dict[str, Any]:
    """Return a ConfigMap with a CSV file `d.csv`; `configmap://NAME/d.csv` is its address."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"d.csv": "\n".join(rows)}}
