"""Rows and labels that are written otherwise are the same: the training table as FP32 is no drift, ` 1.0` is class 1.

One namespace, deployment and monitor for the file.
"""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hack.tools.kubectl import Kubectl, condition, is_true, wait_for
from sklearn.datasets import load_iris
from tests.e2e.conftest import conditions, shared_namespace, wait_condition
from tests.e2e.manifests import code, deployment, monitor, pipeline

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(540)]
NAME = "flowers"
ROWS = 40
WIDTH = "petal width (cm)"
TEST = {"test": "PSI", "threshold": 0.2}
DRIFT = {"features": TEST, "predictions": TEST, "consecutiveWindows": 1, "driftedShare": 0.01}
PERFORMANCE = {
    "metric": "accuracy", "min": 0.8, "labelDelaySeconds": 0, "minLabels": 30, "segments": [WIDTH], "estimate": {},
}  # fmt: skip
FAIRNESS = {
    "groups": [{"column": "gender", "privileged": "m"}],
    "limits": [{"metric": "SelectionRateRatio", "min": 0.8}],
    "positive": "2",
    "minRows": 30,
}
ACTIONS = {"retrain": {"causes": ["Performance"], "cooldownSeconds": 0, "maxPerDay": 10}}


@pytest.fixture(scope="module")
def namespace(cluster: Kubectl) -> Iterator[Kubectl]:
    """A version in service, and its monitor."""
    columns = [{"name": "petal", "type": "Category"}]
    asked = monitor(NAME, drift=DRIFT, columns=columns, performance=PERFORMANCE, fairness=FAIRNESS, actions=ACTIONS)
    served = deployment(NAME, logging={"columns": ["gender"]})
    with shared_namespace(cluster, "e2e-spellings") as kubectl:
        kubectl.apply([code(f"{NAME}-code"), pipeline(NAME), served, asked])
        wait_condition(kubectl, "modeldeployment", NAME, lambda md: is_true(md, "Ready"), 180)
        wait_condition(kubectl, "modelmonitor", NAME, lambda mm: is_true(mm, "Ready"), 120)
        yield kubectl


def post(namespace: Kubectl, path: str, body: Any) -> Any:
    """Post JSON to the deployment's address."""
    url = f"/api/v1/namespaces/{namespace.namespace}/services/{NAME}:80/proxy/v2/models/{NAME}/{path}"
    return json.loads(Kubectl().run("create", "--raw", url, "-f", "-", stdin=json.dumps(body)))


def test_the_training_table_as_fp32_is_no_drift(namespace: Kubectl) -> None:
    rows = load_iris().data.astype(np.float32).astype(float)
    tensor = {"name": "x", "shape": list(rows.shape), "datatype": "FP32", "data": rows.ravel().tolist()}

    def judged() -> dict[str, Any] | None:
        post(namespace, "infer", {"inputs": [tensor]})
        found = namespace.get("modelmonitor", NAME) or {}
        return found if found["status"].get("window") else None

    found = wait_for("a judged window", judged, 120)
    assert found["status"]["window"]["driftedShare"] == 0
    assert found["status"]["window"]["predictionScore"] < 0.1
    noted = {c["type"]: c for c in found["status"]["conditions"]}
    assert noted["DriftDetected"]["status"] == "False"
    assert noted["ColumnsNoted"]["reason"] == "StatementNotApplied"
    assert "not a feature of this version: petal" in noted["ColumnsNoted"]["message"]
    assert "ProfileTooOld" not in noted


def predict(namespace: Kubectl, request: str) -> list[int]:
    """Ask for rows of every class under a request id, and return the classes that were predicted."""
    data = load_iris().data[:: 150 // ROWS][:ROWS].tolist()
    body = {"id": request, "inputs": [{"name": "x", "shape": [ROWS, 4], "datatype": "FP64", "data": data}]}
    outputs = post(namespace, "infer", body)["outputs"]
    found: list[int] = next(o for o in outputs if o["name"] == "label")["data"]
    return found


def performance_is(namespace: Kubectl, reason: str) -> dict[str, Any]:
    """Wait until labels are judged in this way, and return the monitor."""

    def probe() -> dict[str, Any] | None:
        found = namespace.get("modelmonitor", NAME) or {}
        return found if condition(found, "PerformanceDegraded").get("reason") == reason else None

    return wait_for(
        f"PerformanceDegraded: {reason}", probe, 90, lambda: conditions(namespace.get("modelmonitor", NAME))
    )


def test_a_spelling_is_no_wrong_answer(namespace: Kubectl) -> None:
    predicted = predict(namespace, "texts")
    texts = [{"id": f"texts/{row}", "label": f" {label}.0"} for row, label in enumerate(predicted)]
    post(namespace, "feedback", texts)
    fine = performance_is(namespace, "WithinLimits")
    assert condition(fine, "PerformanceDegraded")["message"] == (f"accuracy is 1 (95 %: 0.9124 to 1) on {ROWS} labels")

    verdict = fine["status"]["verdicts"]["performance"]
    by_width = verdict["segments"]
    assert {segment["column"] for segment in by_width} == {WIDTH}
    assert sum(segment["labels"] for segment in by_width) == ROWS
    assert all(segment["value"] == 1 and segment["low"] < segment["high"] == 1 for segment in by_width)
    assert fine["status"]["performance"]["labelDelay"]["p50Seconds"] < 60
    estimated = condition(fine, "EstimatedPerformanceLow")
    assert (estimated["status"], estimated["reason"]) == ("Unknown", "EstimateNotTrusted"), "30 held-out rows"
    assert verdict["estimated"]["assumption"] == "assumes p(y|x) as in the holdout"

    names = load_iris().target_names.tolist()
    predicted = predict(namespace, "names")
    post(namespace, "feedback", [{"id": f"names/{row}", "label": names[n]} for row, n in enumerate(predicted)])
    foreign = performance_is(namespace, "LabelsNotRecognized")
    arriving = condition(foreign, "LabelsArriving")
    assert (arriving["status"], arriving["reason"]) == ("False", "LabelsNotRecognized")
    assert "name no class of the model" in arriving["message"] and "'setosa'" in arriving["message"]
    assert foreign["status"]["performance"]["unrecognizedLabels"] == ROWS
    assert "actions" not in foreign["status"]


def test_groups_that_the_model_never_sees_are_compared(namespace: Kubectl) -> None:
    rows = load_iris().data[np.r_[0:50, 100:150]]
    inputs = [
        {"name": "x", "shape": list(rows.shape), "datatype": "FP64", "data": rows.ravel().tolist()},
        {"name": "gender", "shape": [len(rows)], "datatype": "BYTES", "data": ["f"] * 50 + ["m"] * 50},
    ]
    post(namespace, "infer", {"inputs": inputs})

    def probe() -> dict[str, Any] | None:
        found = namespace.get("modelmonitor", NAME) or {}
        return found if condition(found, "FairnessLimitExceeded").get("status") == "True" else None

    found = wait_for("FairnessLimitExceeded", probe, 90, lambda: conditions(namespace.get("modelmonitor", NAME)))
    said = condition(found, "FairnessLimitExceeded")
    assert said["reason"] == "LimitsExceeded"
    assert said["message"].startswith("gender=f: selection rate ratio 0")
    verdict = found["status"]["verdicts"]["fairness"]
    rates = {group["group"]: group["selectionRate"] for group in verdict["groups"]}
    assert rates["f"] == 0
    assert rates["m"] > 0.9
    assert verdict["positive"] == "2"
