"""Data and volumes that a run cannot work with: the failure is classified, with a sentence, in run and pipeline.

The pipelines train side by side in one namespace, from the start; each test looks at one of them.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hack.tools.kubectl import Kubectl, condition, wait_for
from tests.e2e.conftest import conditions, lacking, shared_namespace, wait_condition
from tests.e2e.manifests import code, pipeline, table

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

SMALL = "tiny"  # StorageClass of the local cluster: real file systems of 16 MiB
HEADER = "länge,breite,art"
ROWS = [HEADER, *(f"{i % 7}.5,{i % 5}.25,{('a', 'b')[i % 2]}" for i in range(80))]
RENAMED = [ROWS[0].replace("länge", "laenge"), *ROWS[1:]]

# Random numbers that no compression makes smaller than the volume.
HUGE = """
import numpy as np
from sklearn.linear_model import LogisticRegression

def train(data, target):
    model = LogisticRegression().fit(data, target)
    model.ballast_ = np.random.default_rng(0).random(3_000_000)
    return model
"""

# Pipeline → category, reason, and what the sentence names.
FAILURES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "renamed": ("DataInvalid", "ExpectationFailed", ("'länge'",)),
    "nothing": ("DataInvalid", "EmptyData", ("configmap://nothing/d.csv", "no rows")),
    "blank": ("DataInvalid", "EmptyData", ("input 'blumen'", "d.csv: the file is empty")),
    "sides": ("DataInvalid", "InvalidSplitColumn", ("evaluation.split", "'länge'", "'train' or 'test'", "(12 rows)")),
    "full": ("Infrastructure", "StorageFull", ("pvc://small", "no space is left on the volume")),
}


def source(name: str, **expectations: Any) -> list[dict[str, Any]]:
    """Return the data section that reads a table."""
    return [{"name": "blumen", "uri": f"configmap://{name}/d.csv", **expectations}]


@pytest.fixture(scope="module")
def kubectl(cluster: Kubectl) -> Iterator[Kubectl]:
    """All pipelines at once."""
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "small"},
        "spec": {
            "storageClassName": SMALL,
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": "16Mi"}},
        },
    }
    columns = {"columns": [{"name": "länge", "type": "Number"}]}
    sides = {"type": "Column", "column": "länge"}
    with shared_namespace(cluster, "e2e-bad-data") as kubectl:
        kubectl.apply([table("renamed", RENAMED), table("nothing", [HEADER]), table("blank", [""])])
        kubectl.apply(table("sides", ROWS))
        kubectl.apply([code("good-code"), code("huge-code", HUGE)])
        kubectl.apply(
            [
                pipeline("renamed", "good-code", target="art", data=source("renamed", expectations=columns)),
                pipeline("nothing", "good-code", target="art", data=source("nothing")),
                pipeline("blank", "good-code", target="art", data=source("blank")),
                pipeline("sides", "good-code", target="art", data=source("sides"), evaluation={"split": sides}),
            ]
        )
        if cluster.get("storageclass", SMALL) is not None:
            kubectl.apply([claim, pipeline("full", "huge-code", artifacts={"uri": "pvc://small"})])
        yield kubectl


def ended(kubectl: Kubectl, name: str) -> dict[str, Any]:
    """Wait for the end of a pipeline's only run and return the run."""

    def probe() -> dict[str, Any] | None:
        runs = [r for r in kubectl.list("trainingrun") if r["spec"]["pipeline"] == name]
        over = [r for r in runs if condition(r, "Succeeded").get("status") in ("True", "False")]
        return over[0] if over else None

    return wait_for(f"the run of {name}", probe, 150, lambda: conditions(kubectl.get("trainingpipeline", name)))


@pytest.mark.parametrize("name", FAILURES)
def test_the_failure_is_classified_with_a_sentence_in_run_and_pipeline(
    cluster: Kubectl, kubectl: Kubectl, name: str
) -> None:
    category, reason, words = FAILURES[name]
    if kubectl.get("trainingpipeline", name) is None:
        lacking(cluster, f"the cluster has no StorageClass {SMALL} with volumes that are really small")

    failure = ended(kubectl, name)["status"].get("failure") or {}

    assert (failure.get("category"), failure.get("reason")) == (category, reason), json.dumps(failure)
    failed = wait_condition(
        kubectl, "trainingpipeline", name, lambda tp: condition(tp, "Ready").get("reason") == "RunFailed", 120
    )
    if category == "Infrastructure":
        assert condition(failed, "Reconciling")["reason"] == "RunFailed"
        assert " starts at " in condition(failed, "Ready")["message"]
    else:
        assert condition(failed, "Stalled")["status"] == "True"
    for sentence in (failure["message"], condition(failed, "Ready")["message"]):
        for word in words:
            assert word in sentence
    assert category in condition(failed, "Ready")["message"]
    assert [v for v in kubectl.list("modelversion") if v["spec"]["pipeline"] == name] == []
