"""Objectives that cannot be kept burn their budget, and the report of a monitor is read in one request."""

import json
import urllib.request
from collections.abc import Iterator

import pytest
from hack.tools.kubectl import Kubectl, condition, is_true, wait_for
from sklearn.datasets import load_iris
from tests.e2e.conftest import shared_namespace, wait_condition
from tests.e2e.incluster import forwarded
from tests.e2e.manifests import code, deployment, monitor, pipeline

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(540)]
NAME = "flowers"
OBJECTIVES = {"availability": 0.9, "latency": {"quantile": 0.99, "milliseconds": 1}}
DRIFT = {"features": {"test": "Auto"}}


@pytest.fixture(scope="module")
def namespace(cluster: Kubectl) -> Iterator[Kubectl]:
    """A version in service, and its monitor."""
    with shared_namespace(cluster, "e2e-objectives") as kubectl:
        kubectl.apply([code(f"{NAME}-code"), pipeline(NAME)])
        kubectl.apply([deployment(NAME, slo=OBJECTIVES), monitor(NAME, drift=DRIFT)])
        wait_condition(kubectl, "modeldeployment", NAME, lambda md: is_true(md, "Ready"), 180)
        wait_condition(kubectl, "modelmonitor", NAME, lambda mm: is_true(mm, "Ready"), 120)
        yield kubectl


def send(namespace: Kubectl) -> None:
    """Send the training table."""
    rows = load_iris().data
    tensor = {"name": "x", "shape": list(rows.shape), "datatype": "FP64", "data": rows.ravel().tolist()}
    url = f"/api/v1/namespaces/{namespace.namespace}/services/{NAME}:80/proxy/v2/models/{NAME}/infer"
    Kubectl().run("create", "--raw", url, "-f", "-", stdin=json.dumps({"inputs": [tensor]}))


def test_a_budget_burns_and_the_status_says_how_fast(namespace: Kubectl) -> None:
    def probe() -> bool:
        send(namespace)
        found = condition(namespace.get("modeldeployment", NAME) or {}, "SLOBreached")
        return (found["status"], found["reason"]) == ("True", "BurnRate1h")

    wait_for("SLOBreached", probe, 240)
    found = namespace.get("modeldeployment", NAME) or {}
    slo = found["status"]["slo"]
    assert slo["budgetLeft"] == slo["latency"]["budgetLeft"] < 0 < slo["availability"]["budgetLeft"]
    assert slo["availability"]["bad"] == 0
    assert {entry["window"] for entry in slo["latency"]["burnRates"]} == {"5m", "30m", "1h", "2h", "6h", "1d", "3d"}
    assert "the error budget of latency burns at" in condition(found, "SLOBreached")["message"]


def test_the_report_for_people_is_read_through_a_forwarded_port(namespace: Kubectl) -> None:
    def rows() -> bool:
        send(namespace)
        with urllib.request.urlopen(f"http://{address}/v1/report.json", timeout=10) as answer:
            return bool(json.loads(answer.read())["rows"])

    with forwarded(namespace, f"deployment/{NAME}-monitor", 8083) as address:
        wait_for("rows in the report", rows, 60)
        with urllib.request.urlopen(f"http://{address}/v1/report.html", timeout=10) as answer:
            text = answer.read().decode()
    assert f"Model monitor e2e-objectives/{NAME}" in text
    assert "Distribution of petal length (cm)" in text
    assert "<script" not in text
