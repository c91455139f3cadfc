"""Clients with keys: who is let in through the router, and a key that is replaced while requests go on."""

import json
from collections.abc import Iterator

import pytest
from hack.tools.kubectl import Kubectl, is_true, wait_for
from sklearn.datasets import load_iris
from tests.e2e.client import Client, Request
from tests.e2e.conftest import shared_namespace, wait_condition
from tests.e2e.manifests import GOOD_CODE, code, deployment, keys, pipeline

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

NAME = "guarded"
INFER = f"/v2/models/{NAME}/infer"
BODY = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP64", "data": load_iris().data[0].tolist()}]}


@pytest.fixture(scope="module")
def namespace(cluster: Kubectl) -> Iterator[Kubectl]:
    with shared_namespace(cluster, "e2e-access") as kubectl:
        kubectl.apply(
            [
                keys("clients", shop="first"),
                code(f"{NAME}-code", GOOD_CODE),
                pipeline(NAME),
                deployment(NAME, access={"apiKeys": {"secretRef": {"name": "clients"}}}),
            ]
        )
        wait_condition(kubectl, "modeldeployment", NAME, lambda md: is_true(md, "Ready"), 180)
        yield kubectl


def test_who_has_a_key_is_answered_and_a_key_is_replaced_without_a_restart(namespace: Kubectl) -> None:
    client = Client(namespace).start()

    def status(**headers: str) -> int:
        return client.post(NAME, INFER, BODY, **headers).status

    refused = client.post(NAME, INFER, BODY)
    assert refused.status == 401
    assert "this address needs an API key of this deployment" in refused.json["error"]
    assert status(authorization="Bearer another") == 401
    assert status(authorization="Bearer first") == 200
    assert client.ask(NAME, [Request("/v2/health/ready", method="GET")])[0].status == 200
    selector = f"app.kubernetes.io/component=server,tidemill.io/deployment={NAME}"
    before = {p["metadata"]["uid"] for p in namespace.list("pod", selector)}
    namespace.apply(keys("clients", shop="second"))
    wait_for("the second key", lambda: status(authorization="Bearer second") == 200, 150, lambda: "it is refused")
    wait_for("the end of the first", lambda: status(authorization="Bearer first") == 401, 30, lambda: "it is taken")
    assert {p["metadata"]["uid"] for p in namespace.list("pod", selector)} == before
    secret = json.dumps(namespace.get("secret", f"{NAME}-ingest"))
    found = json.dumps(namespace.get("modeldeployment", NAME))
    assert json.loads(secret)["type"] == "Opaque"
    assert json.loads(secret)["data"]["token"] not in found
