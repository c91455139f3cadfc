"""Builders of training objects: a test states what matters to it and nothing else.

Objects are raw JSON as the API server stores them. Times are whole seconds in UTC.
"""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from tidemill.core.conditions import format_time
from tidemill.core.hashing import short

Obj = dict[str, Any]

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
NAMESPACE = "team-a"
DIGEST = "sha256:" + "d" * 64
CODE = "def train(data, target):\n    return None\n"


def digest(letter: str) -> str:
    """A digest that is easy to tell from others."""
    return "sha256:" + (letter * 64)[:64]


def ago(**parts: float) -> datetime:
    """A time before NOW."""
    return NOW - timedelta(**parts)


def uid_of(kind: str, name: str) -> str:
    """A uid that follows from the name."""
    return f"uid-{kind.lower()}-{name}"


STORE = f"pvc://tidemill-artifacts/churn/{short(uid_of('TrainingPipeline', 'churn').encode(), 12)}"
"""The folder of the pipeline `churn` below."""


class Builder:
    """The common part: metadata, spec and status of one object."""

    API_VERSION = "tidemill.io/v1alpha1"
    KIND = ""

    def __init__(self, name: str, namespace: str = NAMESPACE) -> None:
        """An object without spec."""
        self._obj: Obj = {
            "apiVersion": self.API_VERSION,
            "kind": self.KIND,
            "metadata": {
                "name": name,
                "namespace": namespace,
                "uid": uid_of(self.KIND, name),
                "generation": 1,
                "resourceVersion": "1",
                "creationTimestamp": format_time(ago(days=1)),
            },
        }

    def created(self, when: datetime) -> Self:
        """Set the creation time."""
        self._obj["metadata"]["creationTimestamp"] = format_time(when)
        return self

    def generation(self, number: int) -> Self:
        """Set the generation."""
        self._obj["metadata"]["generation"] = number
        return self

    def annotated(self, key: str, value: str) -> Self:
        """Add an annotation."""
        self._obj["metadata"].setdefault("annotations", {})[key] = value
        return self

    def owned_by(self, owner: Obj) -> Self:
        """Set the controller."""
        meta = owner["metadata"]
        reference = {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": meta["name"],
            "uid": meta["uid"],
            "controller": True,
        }
        self._obj["metadata"]["ownerReferences"] = [reference]
        return self

    def spec(self, **fields: Any) -> Self:
        """Set fields of spec."""
        self._obj.setdefault("spec", {}).update(fields)
        return self

    def status(self, **fields: Any) -> Self:
        """Set fields of status."""
        self._obj.setdefault("status", {}).update(fields)
        return self

    def condition(self, kind: str, status: str, reason: str = "Because", message: str = "") -> Self:
        """Add a condition."""
        found = self._obj.setdefault("status", {}).setdefault("conditions", [])
        found.append(
            {
                "type": kind,
                "status": status,
                "reason": reason,
                "message": message,
                "observedGeneration": 1,
                "lastTransitionTime": format_time(ago(hours=1)),
            }
        )
        return self

    def obj(self) -> Obj:
        """The object."""
        return copy.deepcopy(self._obj)


class Pipeline(Builder):
    """A TrainingPipeline on bundled data with code in the ConfigMap churn-code."""

    KIND = "TrainingPipeline"

    def __init__(self, name: str = "churn", namespace: str = NAMESPACE) -> None:
        """The smallest pipeline."""
        super().__init__(name, namespace)
        self.spec(
            data=[{"name": "customers", "uri": "builtin://breast-cancer"}],
            target="target",
            code={"configMap": {"name": "churn-code"}, "entrypoint": "train:train"},
        )

    def data(self, *uris: str) -> Self:
        """Set the inputs, named a, b, c, …"""
        return self.spec(data=[{"name": "abcdefgh"[i], "uri": uri} for i, uri in enumerate(uris)])

    def triggers(self, **fields: Any) -> Self:
        """Set fields of spec.triggers."""
        self._obj["spec"].setdefault("triggers", {}).update(fields)
        return self

    def gates(self, *gates: Obj) -> Self:
        """Set the gates."""
        return self.spec(evaluation={"gates": list(gates)})


class ConfigMap(Builder):
    """A ConfigMap."""

    API_VERSION = "v1"
    KIND = "ConfigMap"

    def __init__(self, name: str = "churn-code", namespace: str = NAMESPACE, **data: str) -> None:
        """With the working code unless other keys are given; `_` in a key stands for `.`."""
        super().__init__(name, namespace)
        self._obj["data"] = {key.replace("_", "."): text for key, text in data.items()} or {"train.py": CODE}


class Monitor(Builder):
    """A ModelMonitor; only its requests matter here."""

    KIND = "ModelMonitor"

    def asks(self, id_: str, target: str = "churn", cause: str = "Drift", time: datetime = NOW) -> Self:
        """Add a retrain request, made at `time`."""
        actions = self._obj.setdefault("status", {}).setdefault("actions", [])
        actions.append(
            {
                "id": id_,
                "type": "Retrain",
                "cause": cause,
                "target": target,
                "version": "churn-1",
                "message": "tenure drifted",
                "time": format_time(time),
            }
        )
        return self


class Import(Builder):
    """A ModelImport of a version of staging into the pipeline churn."""

    KIND = "ModelImport"

    def __init__(self, name: str = "from-staging", letter: str = "d", namespace: str = NAMESPACE) -> None:
        """The smallest import, of the content with the digest of that letter."""
        super().__init__(name, namespace)
        self.spec(source={"uri": "s3://models/staging/churn", "digest": digest(letter)})
        self._obj["spec"]["as"] = {"pipeline": "churn"}

    def named(self, name: str) -> Self:
        """Make it a version of that name, of no pipeline."""
        self._obj["spec"]["as"] = {"name": name}
        return self


class Deployment(Builder):
    """A ModelDeployment; only what it uses matters here."""

    KIND = "ModelDeployment"

    def uses(self, **versions: str) -> Self:
        """Set stable, candidate or previous."""
        return self.status(**{role: {"version": name, "digest": DIGEST} for role, name in versions.items()})


def result(letter: str = "d", *, run: Obj | None = None, **fields: Any) -> Obj:
    """A trainer's report of success: of a run, else of one of the pipeline `churn` as it is above."""
    store = run["spec"]["store"]["uri"] if run else STORE
    inputs = [source["name"] for source in run["spec"]["data"]] if run else ["customers"]
    return {
        "outcome": "Succeeded",
        "digest": digest(letter),
        "model_digest": digest("e"),
        "signature_digest": digest("5"),
        "uri": f"{store}/{letter * 64}",
        "formats": ["skops", "onnx"],
        "task": "classification",
        "metrics": {"accuracy": 0.9, "roc_auc": 0.95},
        "rows": {"train": 400, "holdout": 100},
        "data": {name: digest("a") for name in inputs},
        "frameworks": {"scikit-learn": "1.9.0"},
        **fields,
    }


def imported(letter: str = "d", *, name: str = "from-staging", **fields: Any) -> Obj:
    """The report of a pod that has copied the version with the digest of that letter."""
    return {
        "outcome": "Succeeded",
        "digest": digest(letter),
        "model_digest": digest("e"),
        "uri": f"pvc://tidemill-artifacts/imports/{name}/{letter * 64}",
        "formats": ["skops", "onnx"],
        "task": "classification",
        "metrics": {"roc_auc": 0.95},
        "lineage": {"data": {"customers": digest("a")}, "code": digest("c"), "image": "trainer:1"},
        **fields,
    }


def failed(category: str, reason: str, message: str) -> Obj:
    """A trainer's report of failure."""
    return {"outcome": "Failed", "failure": {"category": category, "reason": reason, "message": message}}


def pod(job: Obj, number: int = 1, **state: Any) -> Obj:
    """A pod of a Job; `state` is the container's state: running, waiting or terminated."""
    template = job["spec"]["template"]
    container: Obj = {
        "name": "train",
        "image": template["spec"]["containers"][0]["image"],
        "imageID": "",
        "state": state,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{job['metadata']['name']}-{number}",
            "namespace": job["metadata"]["namespace"],
            "uid": uid_of("Pod", f"{job['metadata']['uid']}-{number}"),
            "resourceVersion": "1",
            "creationTimestamp": format_time(NOW + timedelta(seconds=number)),
            "labels": {
                **(template["metadata"].get("labels") or {}),
                "batch.kubernetes.io/job-name": job["metadata"]["name"],
            },
            "ownerReferences": [
                {
                    "apiVersion": "batch/v1",
                    "kind": "Job",
                    "name": job["metadata"]["name"],
                    "uid": job["metadata"]["uid"],
                    "controller": True,
                }
            ],
        },
        "spec": {"containers": [{"name": "train"}]},
        "status": {"phase": "Pending", "containerStatuses": [container] if state else []},
    }


def terminated(exit_code: int = 0, message: Obj | str = "", reason: str | None = None) -> Obj:
    """A container's end."""
    text = message if isinstance(message, str) else json.dumps(message)
    return {
        "exitCode": exit_code,
        "reason": reason or ("Completed" if exit_code == 0 else "Error"),
        "startedAt": format_time(NOW + timedelta(seconds=2)),
        "finishedAt": format_time(NOW + timedelta(seconds=9)),
        "message": text,
    }


def job_condition(kind: str, reason: str = "", message: str = "") -> list[Obj]:
    """Conditions of a Job that ended."""
    when = format_time(NOW + timedelta(seconds=10))
    return [{"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": when}]
