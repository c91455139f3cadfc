"""A server with keys: who is let in over HTTP and gRPC, what is free, and a key that is replaced while it runs."""

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.support import serverprocess, versions
from tests.support.asgi import call
from tests.support.clientkeys import BILLING, LABELS, SHOP, Mounts, line
from tests.support.grpcclient import Client, Refused, request, tensor
from tests.support.serverprocess import ServerProcess
from tests.support.servinglog import FakeMonitor, serving
from tests.support.versions import Published

from tidemill_contracts.access import AccessConfig
from tidemill_runtime.mounts import MOUNT_ROOT_ENV
from tidemill_runtime.predictionlog import client as monitor_client
from tidemill_runtime.server.protocol.proto import open_inference_pb2 as pb

ROW = [0.5, -1.0, 0.25, 2.0]
INFER = "/v2/models/demo/infer"
BODY = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP64", "data": ROW}]}
BOTH = AccessConfig(api_keys=True, feedback=True)


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mounts:
    monkeypatch.setenv(MOUNT_ROOT_ENV, str(tmp_path))
    return Mounts(tmp_path)


# ---- a server in this process ----


async def test_labels_go_on_in_the_name_of_who_has_the_key(
    numbers: Published, monitor: FakeMonitor, mounts: Mounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []
    post = monitor_client.MonitorClient.post

    async def spied(self: Any, path: str, body: bytes, headers: Any = None) -> Any:
        sent.append(headers)
        return await post(self, path, body, headers)

    monkeypatch.setattr(monitor_client.MonitorClient, "post", spied)
    async with serving(numbers, monitor.url, access=BOTH) as (parts, _):
        body = json.dumps({"id": "x", "label": 1}).encode()
        forged = {"x-tidemill-client": "somebody"}
        path = "/v2/models/demo/feedback"
        assert (await call(parts.app, "POST", path, body, forged)).status == 401
        shop = {**forged, "authorization": f"Bearer {SHOP}"}
        assert (await call(parts.app, "POST", path, body, shop)).status == 403
        assert monitor.posts == []
        labeller = {**forged, "authorization": f"Bearer {LABELS}"}
        assert (await call(parts.app, "POST", path, body, labeller)).status == 202
    assert sent == [{"x-tidemill-client": "labeller"}]


async def test_without_feedback_keys_labels_go_on_in_nobodys_name(
    numbers: Published, monitor: FakeMonitor, mounts: Mounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []
    post = monitor_client.MonitorClient.post

    async def spied(self: Any, path: str, body: bytes, headers: Any = None) -> Any:
        sent.append(headers)
        return await post(self, path, body, headers)

    monkeypatch.setattr(monitor_client.MonitorClient, "post", spied)
    async with serving(numbers, monitor.url, access=AccessConfig(api_keys=True)) as (parts, _):
        body = json.dumps({"id": "x", "label": 1}).encode()
        key = {"authorization": f"Bearer {SHOP}", "x-tidemill-client": "somebody"}
        assert (await call(parts.app, "POST", "/v2/models/demo/feedback", body, key)).status == 202
    assert sent == [None]


# ---- a server process ----


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, Mounts]]:
    folder = tmp_path_factory.mktemp("access")
    mounts = Mounts(folder / "mnt")
    config = versions.numbers(folder / "numbers").config(access=BOTH)
    with serverprocess.running(folder / "server", config, **{MOUNT_ROOT_ENV: str(mounts.folder)}) as process:
        process.wait_ready()
        yield process, mounts


def ask(server: ServerProcess, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())


def test_http_answers_who_has_a_key(server: tuple[ServerProcess, Mounts]) -> None:
    process, _ = server
    status, answer = ask(process, "POST", INFER, BODY)
    assert status == 401
    assert "this address needs an API key of this deployment" in answer["error"]
    assert ask(process, "POST", INFER, BODY, Authorization="Bearer another")[0] == 401
    assert ask(process, "POST", INFER, BODY, Authorization=f"Bearer {SHOP}")[0] == 200
    assert ask(process, "POST", "/v1/models/demo:predict", {"instances": [ROW]}, **{"X-API-Key": SHOP})[0] == 200
    assert ask(process, "GET", "/v2/models/demo")[0] == 401
    assert ask(process, "GET", "/v2/models/demo", Authorization=f"Bearer {SHOP}")[0] == 200
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/demo/ready", "/v1/models/demo"):
        assert ask(process, "GET", path)[0] == 200
    assert SHOP not in process.log.read_text()


def test_grpc_answers_who_has_a_key(server: tuple[ServerProcess, Mounts]) -> None:
    process, _ = server
    message = request(tensor("x", [1, 4], "FP64", fp64_contents=ROW))
    with Client(f"127.0.0.1:{process.grpc_port}") as client:
        for metadata in ({}, {"authorization": "Bearer another"}, {"x-api-key": LABELS}):
            found = client.infer(message, metadata=metadata)
            assert isinstance(found, Refused)
            assert found.code is grpc.StatusCode.UNAUTHENTICATED
            assert "an API key of this deployment" in found.details
        for metadata in ({"authorization": f"Bearer {SHOP}"}, {"x-api-key": SHOP}):
            assert not isinstance(client.infer(message, metadata=metadata), Refused)
        described = client.call("ServerMetadata", pb.ServerMetadataRequest(), pb.ServerMetadataResponse)
        assert isinstance(described, Refused)
        for method, reply in (
            ("ServerLive", pb.ServerLiveResponse),
            ("ServerReady", pb.ServerReadyResponse),
        ):
            assert not isinstance(client.call(method, b"", reply), Refused)
        named = pb.ModelReadyRequest(name="demo")
        assert client.call("ModelReady", named, pb.ModelReadyResponse).ready
        health = health_pb2_grpc.HealthStub(client.channel)
        serving_now = health_pb2.HealthCheckResponse.SERVING
        assert health.Check(health_pb2.HealthCheckRequest(), timeout=10).status == serving_now


def test_a_key_is_replaced_without_a_restart(server: tuple[ServerProcess, Mounts]) -> None:
    process, mounts = server
    mounts.write("api-keys", line("shop", BILLING))
    end = time.monotonic() + 20
    while ask(process, "POST", INFER, BODY, Authorization=f"Bearer {BILLING}")[0] != 200:
        assert time.monotonic() < end
        time.sleep(0.2)
    assert ask(process, "POST", INFER, BODY, Authorization=f"Bearer {SHOP}")[0] == 401
    mounts.write("api-keys", line("shop", SHOP))
