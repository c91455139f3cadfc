"""What clients may send to a served model, through the router: each mistake gets its status and a sentence.

The model has a number, a whole number and a category whose names and values are not ASCII. While the bad requests come
in, good ones are answered, and no container is restarted.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hack.images.inputs import image_name
from hack.tools.kubectl import Kubectl, is_true, wait_for
from tests.e2e.client import Client, Reply, Request, Stream
from tests.e2e.conftest import shared_namespace, wait_condition
from tests.e2e.manifests import code, deployment, pipeline, table

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

NAME = "blumen"
V2, V1 = f"/v2/models/{NAME}/infer", f"/v1/models/{NAME}:predict"
ROW: dict[str, Any] = {"größe": 1.5, "alter": 3, "färbe": "grün"}
DATATYPES = {"größe": "FP64", "alter": "INT64", "färbe": "BYTES"}
MANY = 20 * 2**20

CODE = """
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

def train(data, target):
    columns = make_column_transformer((StandardScaler(), ["größe", "alter"]), (OneHotEncoder(), ["färbe"]))
    return make_pipeline(columns, LogisticRegression()).fit(data, target)
"""


def v1(row: Any) -> bytes:
    """Return the body of a V1 request for one row."""
    return json.dumps({"instances": [row]}, ensure_ascii=False).encode()


def v2(row: dict[str, Any], **changes: dict[str, Any]) -> bytes:
    """Return the body of a V2 request for one row; `changes` replaces fields of a column's tensor."""
    inputs = [
        {"name": name, "shape": [1], "datatype": DATATYPES.get(name, "FP64"), "data": [value], **changes.get(name, {})}
        for name, value in row.items()
    ]
    return json.dumps({"inputs": inputs}, ensure_ascii=False).encode()


def renamed(old: str, new: str) -> dict[str, Any]:
    """Return the good row with a column renamed."""
    return {new if name == old else name: value for name, value in ROW.items()}


WITHOUT = {name: value for name, value in ROW.items() if name != "alter"}
NOT_JSON = "the body is not valid JSON"
NO_NAN = "JSON has no NaN or Infinity, send null for a missing value"
SEEN = "row 0: column 'färbe' takes 'grün', 'rot', '青', got 'purpur'"
LARGER = "the body is larger than 16777216 bytes"

REFUSED: dict[str, tuple[Request, int, str]] = {
    "V2 broken JSON": (Request(V2, b'{"inputs": ['), 400, NOT_JSON),
    "V1 broken JSON": (Request(V1, b'{"instances": [{'), 400, NOT_JSON),
    "V2 no text": (Request(V2, b"\xff\xfe\x00"), 400, NOT_JSON),
    "V1 no body": (Request(V1), 400, NOT_JSON),
    "V2 a list": (Request(V2, b"[]"), 400, "the body must be a JSON object, got an empty list"),
    "V2 no inputs": (Request(V2, b"{}"), 400, "inputs: expected a list of tensors"),
    "V1 no instances": (Request(V1, b"{}"), 400, "instances: missing"),
    "V2 wrong shape": (
        Request(V2, v2(ROW, größe={"shape": [2]})),
        400,
        "inputs[0].data: shape [2] holds 2 values, got 1",
    ),
    "V1 wrong shape": (Request(V1, v1([1.5, 3])), 400, "row 0 has 2 values; the model takes 3: 'größe', 'alter', 'f"),
    "V2 text for a number": (
        Request(V2, v2({**ROW, "größe": "1.5"}, größe={"datatype": "BYTES"})),
        400,
        "column 'größe' is FP64 and takes numbers, got strings",
    ),
    "V1 text for a number": (Request(V1, v1({**ROW, "größe": "1.5"})), 400, "column 'größe' takes numbers or null"),
    "V2 a number for text": (
        Request(V2, v2({**ROW, "färbe": 3}, färbe={"datatype": "INT64"})),
        400,
        "column 'färbe' is BYTES and takes strings, got numbers",
    ),
    "V1 a number for text": (Request(V1, v1({**ROW, "färbe": 3})), 400, "column 'färbe' takes strings or null, got 3"),
    "V2 unknown datatype": (Request(V2, v2(ROW, größe={"datatype": "FLOAT"})), 400, "inputs[0].datatype: 'FLOAT'"),
    "V2 NaN": (Request(V2, v2({**ROW, "größe": float("nan")})), 400, NO_NAN),
    "V1 NaN": (Request(V1, v1({**ROW, "größe": float("nan")})), 400, NO_NAN),
    "V2 Infinity": (Request(V2, v2({**ROW, "größe": float("inf")})), 400, NO_NAN),
    "V1 Infinity": (Request(V1, v1({**ROW, "größe": float("-inf")})), 400, NO_NAN),
    "V2 20 MB": (Request(V2, b" ", repeat=MANY), 413, LARGER),
    "V1 20 MB of unknown length": (Request(V1, b" ", repeat=MANY, chunked=True), 413, LARGER),
    "V2 unknown model": (Request("/v2/models/rosen/infer", v2(ROW)), 404, "unknown model 'rosen'; this server has 'b"),
    "V1 unknown model": (Request("/v1/models/rosen:predict", v1(ROW)), 404, "unknown model 'rosen'"),
    "V2 unknown version": (Request(f"/v2/models/{NAME}/versions/9/infer", v2(ROW)), 404, "no version '9' here"),
    "V2 wrong method": (Request(V2, method="GET"), 405, "GET is not allowed"),
    "V2 renamed column": (
        Request(V2, v2(renamed("größe", "groesse"))),
        400,
        "missing columns: 'größe'; unexpected columns: 'groesse'",
    ),
    "V1 renamed column": (
        Request(V1, v1(renamed("färbe", "Färbe"))),
        400,
        "missing columns: 'färbe'; unexpected columns: 'Färbe'",
    ),
    "V2 missing column": (Request(V2, v2(WITHOUT)), 400, "missing columns: 'alter'; the model takes 'größe', 'alter'"),
    "V1 missing column": (Request(V1, v1(WITHOUT)), 400, "missing columns: 'alter'; the model takes 'größe', 'alter'"),
    "V2 unknown category": (Request(V2, v2({**ROW, "färbe": "purpur"})), 400, SEEN),
    "V1 unknown category": (Request(V1, v1({**ROW, "färbe": "purpur"})), 400, SEEN),
}
ANSWERED = {
    "V2": Request(V2, v2(ROW)),
    "V2 another order": Request(V2, v2(dict(reversed(ROW.items())))),
    "V2 by version": Request(f"/v2/models/{NAME}/versions/1/infer", v2({**ROW, "färbe": "青"})),
    "V1 an object": Request(V1, v1({**ROW, "färbe": "青"})),
    "V1 a list": Request(V1, v1(list(ROW.values()))),
    "V1 escaped": Request(V1, json.dumps({"instances": [ROW]}).encode()),
}


@dataclass
class World:
    """What came back, and what was seen at the same time."""

    replies: dict[str, Reply]
    stream: Stream
    pods_before: dict[str, int]
    pods_after: dict[str, int]
    kubectl: Kubectl
    client: Client


def restarts(kubectl: Kubectl) -> dict[str, int]:
    """Return how often each container of each pod was restarted."""
    return {
        f"{pod['metadata']['name']}/{container['name']}": container["restartCount"]
        for pod in kubectl.list("pod", f"tidemill.io/deployment={NAME}")
        for container in pod["status"].get("containerStatuses", [])
    }


@pytest.fixture(scope="module")
def world(cluster: Kubectl) -> Iterator[World]:
    """Train and serve the model, send everything once beside a stream of good requests."""
    rows = ["größe,alter,färbe,ziel"]
    rows += [f"{i % 7}.5,{i % 5},{('rot', 'grün', '青')[i % 3]},{('ja', 'nein')[i % 2]}" for i in range(120)]
    source = [{"name": "daten", "uri": "configmap://daten/d.csv"}]
    with shared_namespace(cluster, "e2e-serving") as kubectl:
        kubectl.apply([table("daten", rows), code(f"{NAME}-code", CODE), deployment(NAME)])
        kubectl.apply(pipeline(NAME, data=source, target="ziel"))
        client = Client(kubectl).start()
        wait_condition(kubectl, "modeldeployment", NAME, lambda md: is_true(md, "Ready"), 180)
        before = restarts(kubectl)
        requests = {**{name: case[0] for name, case in REFUSED.items()}, **ANSWERED}
        with client.streaming(NAME, {"instances": [ROW]}) as stream:
            replies = client.ask(NAME, list(requests.values()))
        yield World(dict(zip(requests, replies, strict=True)), stream, before, restarts(kubectl), kubectl, client)


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_request_gets_its_status_and_a_sentence(world: World, case: str) -> None:
    _, status, sentence = REFUSED[case]
    reply = world.replies[case]

    assert reply.status == status, reply
    assert list(reply.json) == ["error"]
    assert sentence in reply.json["error"]


@pytest.mark.parametrize("case", ANSWERED)
def test_a_good_request_among_them_is_answered(world: World, case: str) -> None:
    reply = world.replies[case]

    assert reply.status == 200, reply
    answer = reply.json["predictions"] if case.startswith("V1") else reply.json["outputs"][0]["data"]
    assert answer[0] in ("ja", "nein")
    assert reply.headers["x-tidemill-version"] == f"{NAME}-1"


def test_good_requests_are_answered_all_the_time_and_nothing_is_restarted(world: World) -> None:
    assert len(world.stream.answers) > 20
    assert world.stream.failed() == []
    assert len(world.pods_before) >= 2, "a server and a router"
    assert world.pods_after == world.pods_before
    assert set(world.pods_after.values()) == {0}


ROUTERS = f"app.kubernetes.io/component=router,tidemill.io/deployment={NAME}"

# In the pod, beside Envoy: what nobody can do from outside.
DRAIN = """
import socket
request = ["POST /healthcheck/fail HTTP/1.1", "host: admin", "content-length: 0", "connection: close", "", ""]
with socket.socket(socket.AF_UNIX) as admin:
    admin.connect("/tmp/envoy-admin.sock")
    admin.sendall("\\r\\n".join(request).encode())
    assert b" 200 " in admin.recv(4096).splitlines()[0]
"""


def routers(kubectl: Kubectl) -> list[str]:
    """Return the names of the router's pods that are there, those that are ending among them."""
    return [pod["metadata"]["name"] for pod in kubectl.list("pod", ROUTERS)]


def test_no_request_is_lost_when_a_router_pod_is_replaced(world: World) -> None:
    (old,) = routers(world.kubectl)
    with world.client.streaming(NAME, {"instances": [ROW]}) as stream:
        world.kubectl.run("rollout", "restart", f"deployment/{NAME}-router")
        began = time.monotonic()
        wait_for("the old router's end", lambda: old not in routers(world.kubectl), 90)
        waited = time.monotonic() - began
    assert stream.failed() == []
    assert len(stream.answers) > 100
    assert waited > 15, "the kubelet did not wait until clients had gone"


def test_a_router_that_is_drained_and_stays_is_restarted(world: World) -> None:
    (name,) = routers(world.kubectl)
    (pod,) = world.kubectl.list("pod", ROUTERS)
    beside = {
        "name": "drain",
        "image": image_name("server"),
        "command": ["python", "-c", DRAIN],
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        "securityContext": pod["spec"]["containers"][0]["securityContext"],
    }
    patch = json.dumps({"spec": {"ephemeralContainers": [beside]}})
    world.kubectl.run("patch", "pod", name, "--subresource=ephemeralcontainers", "--type=strategic", "-p", patch)

    def is_back() -> bool:
        (found,) = world.kubectl.list("pod", ROUTERS)
        (router,) = found["status"]["containerStatuses"]
        return bool(router["restartCount"] == 1 and router["ready"])

    wait_for("the restart of the drained router", is_back, 150, lambda: json.dumps(world.kubectl.list("pod", ROUTERS)))
    wait_for("answers", lambda: world.client.post(NAME, V1, {"instances": [ROW]}).status == 200, 30)
