"""What drifted is named by its importance to the model, and a change that lasts is no drift from the window before."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hack.tools.kubectl import Kubectl, condition, is_true, wait_for
from sklearn.datasets import load_iris
from tests.e2e.conftest import shared_namespace, wait_condition
from tests.e2e.manifests import code, deployment, monitor, pipeline

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(540)]
NAME = "flowers"
DRIFT = {"features": {"test": "Auto"}, "consecutiveWindows": 1, "driftedShare": 0.01, "falseAlarmsPerMonth": 30}
MOVED = {"petal length (cm)": 4.0, "sepal width (cm)": 4.0}  # the model hardly uses the second


@pytest.fixture(scope="module")
def namespace(cluster: Kubectl) -> Iterator[Kubectl]:
    """A version in service, and its monitor."""
    with shared_namespace(cluster, "e2e-baseline") as kubectl:
        kubectl.apply([code(f"{NAME}-code"), pipeline(NAME), deployment(NAME), monitor(NAME, drift=DRIFT)])
        wait_condition(kubectl, "modeldeployment", NAME, lambda md: is_true(md, "Ready"), 180)
        wait_condition(kubectl, "modelmonitor", NAME, lambda mm: is_true(mm, "Ready"), 120)
        yield kubectl


def send(namespace: Kubectl) -> None:
    """Send the training table with two columns that have moved."""
    table = load_iris(as_frame=True).data
    rows = table.assign(**{name: table[name] + by for name, by in MOVED.items()}).to_numpy()
    tensor = {"name": "x", "shape": list(rows.shape), "datatype": "FP64", "data": rows.ravel().tolist()}
    url = f"/api/v1/namespaces/{namespace.namespace}/services/{NAME}:80/proxy/v2/models/{NAME}/infer"
    Kubectl().run("create", "--raw", url, "-f", "-", stdin=json.dumps({"inputs": [tensor]}))


def drift(namespace: Kubectl, status: str, baseline: str) -> dict[str, Any]:
    """Send rows until DriftDetected has a status that is of this baseline; return the monitor."""

    def probe() -> dict[str, Any] | None:
        send(namespace)
        found = namespace.get("modelmonitor", NAME) or {}
        verdict = found["status"].get("verdicts", {}).get("drift", {}).get("baseline", {})
        is_wanted = verdict.get("type") == baseline and condition(found, "DriftDetected")["status"] == status
        return found if is_wanted else None

    return wait_for(f"DriftDetected {status} with {baseline}", probe, 150)


def test_a_lasting_change_is_drift_from_training_and_none_from_the_window_before(namespace: Kubectl) -> None:
    found = drift(namespace, "True", "Training")
    worst, other = found["status"]["window"]["driftedFeatures"][:2]
    assert {worst["name"], other["name"]} == set(MOVED)
    assert worst["importance"] >= other["importance"] >= 0
    message = condition(found, "DriftDetected")["message"]
    assert f"{worst['name']} (importance " in message and "above training's maximum" in message
    assert found["status"]["verdicts"]["drift"]["smallestShift"] > 0

    namespace.apply([monitor(NAME, drift=DRIFT, baseline={"type": "Previous"})])
    found = drift(namespace, "False", "Previous")
    baseline = found["status"]["verdicts"]["drift"]["baseline"]
    assert baseline["version"] == found["status"]["version"]
    assert baseline["rows"] >= 50 and baseline["start"] < baseline["end"]
    assert "compared with" in condition(found, "DriftDetected")["message"]
