"""Clients that game the system on a real cluster: one with false labels is suspected, by hash, and nobody else."""

import hashlib
import hmac
import random
from base64 import b64decode
from collections.abc import Iterator

import pytest
from hack.tools.kubectl import Kubectl, is_true, wait_for
from sklearn.datasets import load_iris
from tests.e2e.client import Client
from tests.e2e.conftest import shared_namespace, wait_condition
from tests.e2e.manifests import GOOD_CODE, code, deployment, keys, monitor, pipeline

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

NAME = "gamed"
CLIENTS = ("anna", "bertram", "carlotta", "thief")
BLOCKS, ROWS = 8, 40


@pytest.fixture(scope="module")
def namespace(cluster: Kubectl) -> Iterator[Kubectl]:
    with shared_namespace(cluster, "e2e-gaming") as kubectl:
        access = {"secretRef": {"name": "client-keys"}}
        kubectl.apply(
            [
                keys("client-keys", **{name: f"key-of-{name}" for name in CLIENTS}),
                code(f"{NAME}-code", GOOD_CODE),
                pipeline(NAME),
                deployment(NAME, access={"apiKeys": access, "feedback": access}),
                monitor(NAME, gaming={"maxPredictionsPerMinute": 1_000_000}),
            ]
        )
        wait_condition(kubectl, "modeldeployment", NAME, lambda md: is_true(md, "Ready"), 180)
        wait_condition(kubectl, "modelmonitor", NAME, lambda mm: is_true(mm, "Ready"), 180)
        yield kubectl


def condition(kubectl: Kubectl) -> dict[str, str]:
    found = kubectl.get("modelmonitor", NAME).get("status", {}).get("conditions", [])
    return next((c for c in found if c["type"] == "GamingSuspected"), {"status": "absent", "message": ""})


def test_a_client_with_false_labels_is_suspected_by_its_hash(namespace: Kubectl) -> None:
    client, drawn, data = Client(namespace).start(), random.Random(7), load_iris().data
    secret = namespace.get("secret", f"{NAME}-client-hashes")
    key = b64decode(secret["data"]["key"])
    wait_for(
        "records that say who asked",
        lambda: _block(client, drawn, data) and condition(namespace)["status"] in ("False", "True"),
        180,
        lambda: str(condition(namespace)),
    )
    for _ in range(BLOCKS):
        _block(client, drawn, data)
    wait_for("the suspicion", lambda: condition(namespace)["status"] == "True", 120, lambda: str(condition(namespace)))
    message = condition(namespace)["message"]
    thief, *others = (hmac.digest(key, name.encode(), hashlib.sha256).hex()[:16] for name in reversed(CLIENTS))
    assert f"{thief}: LabelMix" in message
    assert not any(other in message for other in others)
    text = str(namespace.get("modelmonitor", NAME)) + str(namespace.get("modeldeployment", NAME)["status"])
    assert not any(name in text for name in CLIENTS)


def _block(client: Client, drawn: random.Random, data: list[list[float]]) -> bool:
    """Every client asks and labels once; labels agree in nine of ten cases, those of one client in none."""
    for name in CLIENTS:
        header = {"authorization": f"Bearer key-of-{name}"}
        rows = [list(map(float, data[drawn.randrange(len(data))])) for _ in range(ROWS)]
        flat = [value for row in rows for value in row]
        body = {"inputs": [{"name": "x", "shape": [ROWS, 4], "datatype": "FP64", "data": flat}]}
        answer = client.post(NAME, f"/v2/models/{NAME}/infer", body, **header).json
        labels = [
            {
                "id": f"{answer['id']}/{row}",
                "label": value if name != "thief" and drawn.random() < 0.9 else (int(value) + 1) % 3,
            }
            for row, value in enumerate(answer["outputs"][0]["data"])
        ]
        assert client.post(NAME, f"/v2/models/{NAME}/feedback", labels, **header).status in (200, 202)
    return True
