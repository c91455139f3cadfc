"""The table that a model was trained on, sent as FP32, is no drift; what is stated about columns is told."""

import json
from typing import Any

import numpy as np
import pytest
from hack.tools.kubectl import Kubectl, is_true, wait_for
from sklearn.datasets import load_iris
from tests.e2e.conftest import wait_condition
from tests.e2e.manifests import code, deployment, monitor, pipeline

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(540)]
NAME = "flowers"
DRIFT = {"features": {"test": "PSI", "threshold": 0.2}, "predictions": {"test": "PSI", "threshold": 0.2}}


def send(namespace: Kubectl) -> None:
    """Send the whole table as one tensor of FP32."""
    rows = load_iris().data.astype(np.float32).astype(float)
    tensor = {"name": "x", "shape": list(rows.shape), "datatype": "FP32", "data": rows.ravel().tolist()}
    url = f"/api/v1/namespaces/{namespace.namespace}/services/{NAME}:80/proxy/v2/models/{NAME}/infer"
    Kubectl().run("create", "--raw", url, "-f", "-", stdin=json.dumps({"inputs": [tensor]}))


def test_the_training_table_as_fp32_is_no_drift(namespace: Kubectl) -> None:
    columns = [{"name": "petal", "type": "Category"}]
    asked = monitor(NAME, drift={**DRIFT, "consecutiveWindows": 1, "driftedShare": 0.01}, columns=columns)
    namespace.apply([code(f"{NAME}-code"), pipeline(NAME), deployment(NAME), asked])
    wait_condition(namespace, "modeldeployment", NAME, lambda md: is_true(md, "Ready"), 180)
    wait_condition(namespace, "modelmonitor", NAME, lambda mm: is_true(mm, "Ready"), 120)

    def judged() -> dict[str, Any] | None:
        send(namespace)
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
