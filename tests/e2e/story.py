"""The world of the story: a churn table of one's own, three namespaces, and what is asked of them.

`test_story.py` tells it; here are the texts that a person would write, and the questions.
"""

import hashlib
import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from hack.tools.kubectl import Kubectl, is_true, wait_for
from skl2onnx import to_onnx
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from tests.e2e import lake
from tests.e2e.client import Client
from tests.e2e.conftest import wait_condition
from tests.e2e.manifests import deployment, pipeline

TEAM, LAKE, PRODUCTION = "e2e-story", "e2e-story-lake", "e2e-story-production"
NAME, OWN_CLASS = "subscribers", "ratios"
DATA = "subscribers/part-0.parquet"
ROW: dict[str, Any] = {"customer": 900, "since": "2026-11-30", "tenure": 12.0, "plan": "gold", "income": 2500.0}
USED = {name: ROW[name] for name in ("tenure", "plan", "income")}
RENAMED = {"tenure_months": 12.0, "plan": "gold", "income": 2500.0}
SCORED: dict[str, tuple[str, list[Any]]] = {
    "tenure": ("FP64", [3.0, 12.0, 40.0, None, 59.0]),
    "plan": ("BYTES", ["basic", "gold", None, "student", "basic"]),
    "income": ("FP64", [900.0, 2500.0, 2600.5, 3100.0, None]),
}
SELECTING = """
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler


def train(data, target):
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    plans = OneHotEncoder(handle_unknown="ignore")
    columns = ColumnTransformer([("numbers", numbers, ["tenure", "income"]), ("plans", plans, ["plan"])])
    return make_pipeline(columns, LogisticRegression(C=1.0)).fit(data, target)
"""
WITH_OWN_CLASS = """
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline


class AddRatio(TransformerMixin, BaseEstimator):
    def fit(self, data, target=None):
        return self

    def transform(self, data):
        return data.assign(ratio=data["income"] / (1 + data["tenure"]))


def train(data, target):
    columns = ColumnTransformer([("numbers", SimpleImputer(), ["tenure", "income", "ratio"])])
    return make_pipeline(AddRatio(), columns, LogisticRegression()).fit(data, target)
"""
# Steps as short as measurements allow.
ROLLOUT = {
    "strategy": "Canary",
    "steps": [{"weight": 20, "durationSeconds": 6}, {"weight": 50, "durationSeconds": 6}],
    "analysis": {"intervalSeconds": 2, "minRequests": 20, "checks": [{"metric": "ErrorRatio", "max": 0.01}]},
}
SERVER = {"resources": {"requests": {"cpu": "50m", "memory": "128Mi"}}}


def selecting(strength: float, tenure: str = "tenure") -> str:
    """Return the training code with another strength, which makes another version, or another name of a column."""
    return SELECTING.replace("C=1.0", f"C={strength}").replace('"tenure"', f'"{tenure}"')


def subscribers(tenure: str = "tenure") -> pd.DataFrame:
    """Return the churn table: an id, a date, text, nulls in a number and in a text, and two classes."""
    random = np.random.default_rng(1)
    months = random.integers(1, 60, 500).astype(float)
    plans = random.choice(["basic", "gold", "student"], 500).astype(object)
    risk = (months < 18) + 0.7 * (plans == "basic") + random.normal(0, 0.35, 500)
    table = pd.DataFrame(
        {
            "customer": np.arange(1000, 1500),
            "since": [f"2025-{1 + i % 12:02}-{1 + i % 28:02}" for i in range(500)],
            tenure: months,
            "plan": plans,
            "income": random.normal(2500, 600, 500).round(2),
            "churned": np.where(risk > 0.9, "yes", "no"),
        }
    )
    table.loc[::25, tenure] = None
    table.loc[7::31, "plan"] = None
    return table


def parquet(table: pd.DataFrame) -> bytes:
    """Return a Parquet file."""
    file = io.BytesIO()
    table.to_parquet(file, index=False)
    return file.getvalue()


def team_objects() -> list[dict[str, Any]]:
    """Return what the team writes: a pipeline that stores in the lake, its deployment, and both for the own class."""
    source = [{"name": "customers", "uri": f"s3://lake/{DATA}", "secretRef": {"name": "lake"}}]
    common: dict[str, Any] = {"data": source, "target": "churned", "triggers": {"codeChange": {}}}
    artifacts = {"uri": "s3://models", "secretRef": {"name": "lake"}}
    return [
        pipeline(NAME, artifacts=artifacts, **common),
        deployment(NAME, rollout=ROLLOUT, server=SERVER),
        pipeline(OWN_CLASS, **common),
        deployment(OWN_CLASS),
    ]


def production_secrets() -> list[dict[str, Any]]:
    """Return what lets production read what staging has stored, and use a store of its own."""
    return [lake.secret("staging-reader", LAKE), lake.secret("store", LAKE)]


def promotion(digest: str, folder: str) -> dict[str, Any]:
    """Return what stands in production's Git: the digest is the line that changes."""
    source = {"uri": folder, "digest": digest, "secretRef": {"name": "staging-reader"}}
    artifacts = {"uri": "s3://production", "secretRef": {"name": "store"}}
    spec = {"source": source, "as": {"pipeline": NAME}, "approval": "Manual", "artifacts": artifacts}
    meta = {"name": "from-staging"}
    return {"apiVersion": "tidemill.io/v1alpha1", "kind": "ModelImport", "metadata": meta, "spec": spec}


def notebook(store: Any) -> list[dict[str, Any]]:
    """Upload an ONNX file as from a notebook; return its import and its deployment."""
    rows, target = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=500).fit(rows, target)
    graph = to_onnx(model, rows[:1].astype(np.float32), options={"zipmap": False}).SerializeToString()
    store.put_object(Bucket="models", Key="uploads/iris.onnx", Body=graph)
    found = promotion(f"sha256:{hashlib.sha256(graph).hexdigest()}", "s3://models/uploads/iris.onnx")
    spec = {"source": found["spec"]["source"], "as": {"name": "iris-notebook"}}
    return [
        found | {"metadata": {"name": "notebook"}, "spec": spec},
        deployment("iris", model={"version": "iris-notebook"}),
    ]


@dataclass(frozen=True)
class Place:
    """A namespace and a client in it."""

    kubectl: Kubectl
    client: Client

    def exported(self, kinds: str) -> list[dict[str, Any]]:
        """Return what is kept in Git of objects of these kinds: no status, nothing that the API server adds."""
        found = json.loads(self.kubectl.run("get", kinds, "-o", "json"))
        return [
            {**{k: v for k, v in item.items() if k != "status"}, "metadata": {"name": item["metadata"]["name"]}}
            for item in found["items"]
        ]

    def wait(self, ask: Callable[[dict[str, Any]], Any], timeout: float = 120, name: str = NAME) -> dict[str, Any]:
        """Wait until `ask(deployment)` is true."""
        return wait_condition(self.kubectl, "modeldeployment", name, ask, timeout)

    def serves(self, version: str, name: str = NAME, timeout: float = 180) -> dict[str, Any]:
        """Wait until a version answers all requests and the deployment is Ready."""

        def done(md: dict[str, Any]) -> bool:
            status = md["status"]
            is_seen = status["observedGeneration"] == md["metadata"]["generation"]
            return (
                is_seen
                and is_true(md, "Ready")
                and status["stable"]["version"] == version
                and "candidate" not in status
            )

        return self.wait(done, timeout, name)

    def version(self, number: int) -> dict[str, Any]:
        """Wait until a version is registered, and return it."""
        name = f"{NAME}-{number}"
        return wait_condition(self.kubectl, "modelversion", name, lambda mv: mv["status"].get("registered"), 150)

    def ask(self, row: Any, name: str = NAME) -> tuple[int, str | None]:
        """Return status and version of the answer to one row."""
        reply = self.client.post(name, f"/v1/models/{name}:predict", {"instances": [row]})
        return reply.status, reply.headers.get("x-tidemill-version")

    def seconds_until(self, row: Any, version: str, since: float) -> float:
        """Wait until a version answers a row, and return how long after a moment that was."""
        wait_for(f"an answer of {version}", lambda: self.ask(row) == (200, version), 60, lambda: str(self.ask(row)))
        return time.monotonic() - since

    def scores(self) -> list[Any]:
        """Return labels and probabilities of five rows with nulls, by name."""
        inputs = [{"name": n, "shape": [5], "datatype": kind, "data": d} for n, (kind, d) in SCORED.items()]
        reply = self.client.post(NAME, f"/v2/models/{NAME}/infer", {"inputs": inputs})
        assert reply.status == 200, reply
        return [[output["name"], output["data"]] for output in reply.json["outputs"]]

    def annotate(self, kind: str, name: str, key: str, value: str) -> float:
        """Set an annotation, and return when it was set."""
        since = time.monotonic()
        self.kubectl.run("annotate", kind, name, f"tidemill.io/{key}={value}", "--overwrite")
        return since

    def patch(self, kind: str, spec: dict[str, Any], name: str = NAME) -> float:
        """Edit the spec of an object, and return when that was."""
        since = time.monotonic()
        self.kubectl.run("patch", kind, name, "--type=merge", "-p", json.dumps({"spec": spec}))
        return since


@dataclass(frozen=True)
class World:
    """The team's namespace, which is staging, production's, and the store that outlives both."""

    team: Place
    production: Place
    store: Any  # a boto3 client

    def put(self, table: pd.DataFrame) -> None:
        """Replace the team's data."""
        self.store.put_object(Bucket="lake", Key=DATA, Body=parquet(table))

    def keys(self, uri: str) -> list[str]:
        """Return what is stored below an address."""
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        listed = self.store.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
        return [str(entry["Key"]) for entry in listed]

    def age(self) -> None:
        """Make all that is stored two hours older: runs remove no version that is younger than one."""
        script = "import os, pathlib, time\nthen = time.time() - 7200\n"
        script += "for path in pathlib.Path('/data/files/models').rglob('*'):\n    os.utime(path, (then, then))\n"
        Kubectl(LAKE).run("exec", lake.NAME, "-c", "s3", "--", "python", "-c", script)

    def records(self, bucket: str = "models") -> dict[str, dict[str, Any]]:
        """Return what the records in the team's store, or in production's, say, by version."""
        keys = [key for key in self.keys(f"s3://{bucket}/") if key.endswith("/record.json")]
        texts = [json.loads(self.store.get_object(Bucket=bucket, Key=key)["Body"].read()) for key in keys]
        return {text["statement"]["version"]: text["statement"] for text in texts}
