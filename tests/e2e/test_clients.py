"""Public clients, unmodified, against a deployment: through Service and router, over HTTP and gRPC on one port."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hack.tools.kubectl import Kubectl, is_true
from tests.e2e.conftest import shared_namespace, wait_condition
from tests.e2e.incluster import forwarded
from tests.e2e.manifests import code, deployment, pipeline
from tests.support import publicclients

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

NAME = "blooms"
ROWS = [[5.1, 3.5, 1.4, 0.2], [6.8, 2.8, 4.8, 1.4], [6.3, 3.3, 6.0, 2.5]]
EXACT_ROWS = [[5.0, 3.5, 1.5, 0.25], [6.75, 3.0, 5.0, 1.5]]


def outputs(address: str, rows: list[list[float]]) -> dict[str, list[Any]]:
    """Ask without any of the clients."""
    tensor = {"name": "x", "shape": [len(rows), len(rows[0])], "datatype": "FP64", "data": rows}
    url = f"http://{address}/v2/models/{NAME}/infer"
    with urllib.request.urlopen(url, json.dumps({"inputs": [tensor]}).encode(), timeout=30) as reply:
        return {output["name"]: output["data"] for output in json.load(reply)["outputs"]}


@pytest.fixture(scope="module")
def asked(cluster: Kubectl) -> Iterator[dict[str, Any]]:
    """A served model's addresses and what it answers."""
    with shared_namespace(cluster, "e2e-clients") as kubectl:
        kubectl.apply([code(f"{NAME}-code"), deployment(NAME)])
        kubectl.apply(pipeline(NAME))
        wait_condition(kubectl, "modeldeployment", NAME, lambda md: is_true(md, "Ready"), 180)
        service = f"service/{NAME}"
        with forwarded(kubectl, service, 80) as http, forwarded(kubectl, service, 8001) as grpc:
            known = outputs(http, ROWS)
            shares = known["probabilities"]
            width = len(shares) // len(ROWS)
            yield {
                "http": http,
                "grpc": grpc,
                "model": NAME,
                "version": "1",
                "rows": ROWS,
                "labels": known["label"],
                "probabilities": [shares[i : i + width] for i in range(0, len(shares), width)],
                "exact_rows": EXACT_ROWS,
                "exact_labels": outputs(http, EXACT_ROWS)["label"],
            }


@publicclients.needs("tritonclient")
@pytest.mark.parametrize("is_one_port", [False, True])
def test_tritons_clients(asked: dict[str, Any], is_one_port: bool) -> None:
    addresses = {"grpc": asked["http"]} if is_one_port else {}
    held = publicclients.run("tritonclient", "triton.py", {**asked, **addresses})
    assert len(held) == 12, held


@publicclients.needs("kserve")
def test_kserves_clients(asked: dict[str, Any]) -> None:
    held = publicclients.run("kserve", "kserve_sdk.py", asked)
    assert len(held) == 7, held


@publicclients.needs("mlserver")
@pytest.mark.parametrize("binary", [False, True])
def test_mlserver_infer(asked: dict[str, Any], tmp_path: Path, binary: bool) -> None:
    publicclients.check_mlserver_infer(tmp_path, asked, binary=binary)
