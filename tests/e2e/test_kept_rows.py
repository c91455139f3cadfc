"""Rows that a deployment was asked train the next model on a real cluster: kept by the monitor, read by runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hack.tools.kubectl import Kubectl, is_true
from sklearn.datasets import load_iris
from tests.e2e.client import Client
from tests.e2e.conftest import named, shared_namespace, wait_condition
from tests.e2e.manifests import GOOD_CODE, code, deployment, monitor, pipeline

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

NAME, FRESH = "kept", "kept-fresh"
DELAY_SECONDS = 10
LOG = {"purpose": "training data of the next model", "uri": "pvc://tidemill-artifacts/log"}


@pytest.fixture(scope="module")
def namespace(cluster: Kubectl) -> Iterator[Kubectl]:
    with shared_namespace(cluster, "e2e-kept-rows") as kubectl:
        kubectl.apply(
            [
                code(f"{NAME}-code", GOOD_CODE),
                pipeline(NAME),
                pipeline(
                    FRESH,
                    f"{NAME}-code",
                    data=[{"name": "fresh", "uri": f"feedback://{NAME}", "feedback": {"minNewRows": 100}}],
                    target="label",
                    triggers={"dataChange": {"pollSeconds": 10}},
                ),
            ]
        )
        yield kubectl


def test_a_pipeline_waits_for_rows_and_trains_on_those_with_a_label(namespace: Kubectl) -> None:
    wait_condition(
        namespace, "trainingpipeline", FRESH, lambda tp: named(tp, "DataNotFound", f"{NAME} does not exist"), 60
    )
    namespace.apply([deployment(NAME)])
    wait_condition(
        namespace, "trainingpipeline", FRESH, lambda tp: named(tp, "DataNotFound", "set spec.logging.payloads"), 60
    )
    namespace.apply([deployment(NAME, logging={"payloads": LOG})])
    wait_condition(
        namespace, "trainingpipeline", FRESH, lambda tp: named(tp, "DataNotFound", "no ModelMonitor watches it"), 60
    )
    performance = {"metric": "accuracy", "min": 0.1, "labelDelaySeconds": DELAY_SECONDS}
    namespace.apply([monitor(NAME, performance=performance)])
    wait_condition(namespace, "trainingpipeline", FRESH, lambda tp: named(tp, "TooFewLabels", "0 rows"), 120)
    wait_condition(namespace, "modeldeployment", NAME, lambda md: is_true(md, "Ready"), 180)
    wait_condition(namespace, "modelmonitor", NAME, lambda mm: is_true(mm, "Ready"), 180)

    client = Client(namespace).start()
    _ask(client, labelled=False)
    _ask(client, labelled=True)
    wait_condition(namespace, "trainingpipeline", FRESH, lambda tp: named(tp, "Trained"), 240)
    taken = _kept_rows(namespace, f"{FRESH}-1")
    assert taken["rows"] == 150, "those without a label train nothing"
    assert taken["versions"] == {f"{NAME}-1": 150}
    version = namespace.get("modelversion", f"{FRESH}-1")["spec"]
    assert len(version["signature"]["inputs"]) == 4, "inputs alone: no answer, no id, no time"
    assert version["metrics"]["accuracy"] > 0.8

    _ask(client, labelled=True)
    wait_condition(
        namespace,
        "trainingpipeline",
        FRESH,
        lambda tp: (tp.get("status", {}).get("champion") or {}).get("version") == f"{FRESH}-2",
        240,
    )
    assert _kept_rows(namespace, f"{FRESH}-2")["rows"] == 300
    (run,) = [
        run
        for run in namespace.list("trainingrun")
        if run["spec"]["pipeline"] == FRESH and run["spec"]["trigger"]["type"] == "DataChanged"
    ]
    assert run["spec"]["data"][0]["revision"] == run["status"]["result"]["data"]["fresh"], "it read what was decided on"


def _kept_rows(kubectl: Kubectl, version: str) -> dict[str, Any]:
    found: dict[str, Any] = kubectl.get("modelversion", version)["spec"]["lineage"]["keptRows"]["fresh"]
    return found


def _ask(client: Client, *, labelled: bool) -> None:
    """Ask for every row of the iris data in one request; the labels are the true species."""
    data = load_iris()
    rows = data.data
    flat = [float(value) for row in rows for value in row]
    body = {"inputs": [{"name": "x", "shape": list(rows.shape), "datatype": "FP64", "data": flat}]}
    answer = client.post(NAME, f"/v2/models/{NAME}/infer", body).json
    if labelled:
        labels = [{"id": f"{answer['id']}/{row}", "label": int(label)} for row, label in enumerate(data.target)]
        assert client.post(NAME, f"/v2/models/{NAME}/feedback", labels).status in (200, 202)
