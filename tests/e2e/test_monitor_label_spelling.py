"""Labels that are spelt otherwise are those that they mean; labels that name no class are no wrong answers."""

import json
from typing import Any

import pytest
from hack.tools.kubectl import Kubectl, condition, is_true, wait_for
from sklearn.datasets import load_iris
from tests.e2e.conftest import wait_condition
from tests.e2e.manifests import code, deployment, monitor, pipeline

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(540)]
NAME = "flowers"
ROWS = 40
PERFORMANCE = {"metric": "accuracy", "min": 0.8, "labelDelaySeconds": 0, "minLabels": 30}
ACTIONS = {"retrain": {"causes": ["Performance"], "cooldownSeconds": 0, "maxPerDay": 10}}


def post(namespace: Kubectl, path: str, body: Any) -> Any:
    """Post JSON to the deployment's address."""
    url = f"/api/v1/namespaces/{namespace.namespace}/services/{NAME}:80/proxy/v2/models/{NAME}/{path}"
    return json.loads(Kubectl().run("create", "--raw", url, "-f", "-", stdin=json.dumps(body)))


def predict(namespace: Kubectl, request: str) -> list[int]:
    """Ask for rows of every class under a request id, and return the classes that were predicted."""
    data = load_iris().data[:: 150 // ROWS][:ROWS].tolist()
    body = {"id": request, "inputs": [{"name": "x", "shape": [ROWS, 4], "datatype": "FP64", "data": data}]}
    outputs = post(namespace, "infer", body)["outputs"]
    found: list[int] = next(o for o in outputs if o["name"] == "label")["data"]
    return found


def judged(namespace: Kubectl, reason: str) -> dict[str, Any]:
    """Wait until labels are judged in this way, and return the monitor."""

    def probe() -> dict[str, Any] | None:
        found = namespace.get("modelmonitor", NAME) or {}
        return found if condition(found, "PerformanceDegraded")["reason"] == reason else None

    return wait_for(f"PerformanceDegraded: {reason}", probe, 90)


def test_a_spelling_is_no_wrong_answer(namespace: Kubectl) -> None:
    asked = monitor(NAME, performance=PERFORMANCE, actions=ACTIONS)
    namespace.apply([code(f"{NAME}-code"), pipeline(NAME), deployment(NAME), asked])
    wait_condition(namespace, "modeldeployment", NAME, lambda md: is_true(md, "Ready"), 180)
    wait_condition(namespace, "modelmonitor", NAME, lambda mm: is_true(mm, "Ready"), 120)

    predicted = predict(namespace, "texts")
    texts = [{"id": f"texts/{row}", "label": f" {label}.0"} for row, label in enumerate(predicted)]
    post(namespace, "feedback", texts)
    fine = judged(namespace, "WithinLimits")
    said = condition(fine, "PerformanceDegraded")["message"]
    assert said.startswith("accuracy is 1 (95 %: ") and said.endswith(f" to 1) on {ROWS} labels")

    names = load_iris().target_names.tolist()
    predicted = predict(namespace, "names")
    post(namespace, "feedback", [{"id": f"names/{row}", "label": names[n]} for row, n in enumerate(predicted)])
    foreign = judged(namespace, "LabelsNotRecognized")
    arriving = condition(foreign, "LabelsArriving")
    assert (arriving["status"], arriving["reason"]) == ("False", "LabelsNotRecognized")
    assert "name no class of the model" in arriving["message"] and "'setosa'" in arriving["message"]
    assert foreign["status"]["performance"]["unrecognizedLabels"] == ROWS
    assert "actions" not in foreign["status"]
