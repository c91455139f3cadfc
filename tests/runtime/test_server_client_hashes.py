"""Prediction records say who asked, as a keyed hash: over both HTTP protocols, on both ways in, and over gRPC."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.test_server_access import BODY, INFER, ROW, ask
from tests.support import serverprocess, versions
from tests.support.asgi import call
from tests.support.clientkeys import BILLING, LABELS, SHOP, Mounts, line
from tests.support.grpcclient import Client, Refused, request, tensor
from tests.support.servinglog import FakeMonitor, recorder, serving
from tests.support.versions import Published

from tidemill_contracts.access import AccessConfig, client_hash, is_client_hash
from tidemill_contracts.inference import PredictionLog
from tidemill_runtime.mounts import MOUNT_ROOT_ENV
from tidemill_runtime.predictionlog import client as monitor_client

KEY = b"3f" * 32
SHOP_HASH, BILLING_HASH = client_hash(KEY, "shop"), client_hash(KEY, "billing")
CLIENTS = AccessConfig(api_keys=True)


def write_key(folder: Path, key: bytes = KEY) -> None:
    file = folder / "access" / "clients" / "key"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(key)


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mounts:
    monkeypatch.setenv(MOUNT_ROOT_ENV, str(tmp_path))
    made = Mounts(tmp_path)
    made.write("api-keys", line("shop", SHOP) + line("billing", BILLING))
    return made


def recorded(monitor: FakeMonitor) -> list[tuple[str, str | None]]:
    """Ids of rows with who asked."""
    batches = [batch for batch in monitor.batches() if batch.ids]
    return [pair for batch in batches for pair in zip(batch.ids, batch.clients or (), strict=True)]


def test_a_hash_is_an_hmac_that_openssl_makes_too() -> None:
    # printf shop | openssl dgst -sha256 -hmac key
    assert client_hash(b"key", "shop") == "139f1b6c0ba9b9fc"
    assert client_hash(b"other", "shop") != client_hash(b"key", "shop")
    assert is_client_hash(SHOP_HASH)
    assert not is_client_hash("shop") and not is_client_hash(SHOP_HASH + "0") and not is_client_hash(SHOP_HASH.upper())


async def test_all_ways_into_a_server_say_who_asked(tmp_path: Path, monitor: FakeMonitor, mounts: Mounts) -> None:
    write_key(tmp_path)
    config = versions.numbers(tmp_path / "numbers").config(access=CLIENTS, log=PredictionLog(url=monitor.url))
    with serverprocess.running(tmp_path / "server", config, **{MOUNT_ROOT_ENV: str(tmp_path)}) as process:
        await asyncio.to_thread(process.wait_ready)

        def ask_all() -> None:
            shop, billing = {"Authorization": f"Bearer {SHOP}"}, {"X-API-Key": BILLING}
            assert ask(process, "POST", INFER, {**BODY, "id": "v2"}, **shop)[0] == 200
            two = {"name": "x", "shape": [2, 4], "datatype": "FP64", "data": ROW * 2}
            assert ask(process, "POST", INFER, {"inputs": [two], "id": "two"}, **billing)[0] == 200
            v1 = {"X-Tidemill-Prediction-Id": "v1", **billing}
            assert ask(process, "POST", "/v1/models/demo:predict", {"instances": [ROW]}, **v1)[0] == 200
            many = {"X-Tidemill-Prediction-Id": "many", **shop}  # a large body is decoded beside the event loop
            assert ask(process, "POST", "/v1/models/demo:predict", {"instances": [ROW] * 8000}, **many)[0] == 200
            message = request(tensor("x", [1, 4], "FP64", fp64_contents=ROW))
            message.id = "grpc"
            with Client(f"127.0.0.1:{process.grpc_port}") as client:
                for _ in range(2):  # one connection, two clients
                    assert not isinstance(client.infer(message, metadata={"x-api-key": BILLING}), Refused)
                    message.id = "grpc2"
                assert not isinstance(client.infer(message, metadata={"x-api-key": SHOP}), Refused)

        await asyncio.to_thread(ask_all)
        end = time.monotonic() + 30
        while len(recorded(monitor)) < 8006:
            assert time.monotonic() < end, len(recorded(monitor))
            await asyncio.sleep(0.1)
    found = recorded(monitor)
    several = [(i, c) for i, c in found if not i.startswith("many/")]
    assert sorted(several, key=str) == sorted(
        [
            ("v2", SHOP_HASH),
            ("two/0", BILLING_HASH),
            ("two/1", BILLING_HASH),
            ("v1", BILLING_HASH),
            ("grpc", BILLING_HASH),
            ("grpc2", BILLING_HASH),
            ("grpc2", SHOP_HASH),
        ],
        key=str,
    )
    assert {c for i, c in found if i.startswith("many/")} == {SHOP_HASH}
    text = json.dumps(monitor.posts)
    assert "shop" not in text and "billing" not in text
    assert "shop" not in process.log.read_text()


async def infer(parts: Any, name: str, key: str | None) -> int:
    body = json.dumps({**BODY, "id": name}).encode()
    return (await call(parts.app, "POST", INFER, body, {"x-api-key": key} if key else {})).status


async def test_without_the_key_nobody_is_named_and_with_a_new_one_there_are_new_hashes(
    numbers: Published, monitor: FakeMonitor, mounts: Mounts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill_runtime.server.host.access.READ_SECONDS", 0.0)
    async with serving(numbers, monitor.url, access=CLIENTS) as (parts, _):
        assert await infer(parts, "a", SHOP) == 200
        write_key(tmp_path)
        assert await infer(parts, "b", SHOP) == 200
        write_key(tmp_path, b"another")
        assert await infer(parts, "c", SHOP) == 200
        await recorder(parts).flush(10)
    assert recorded(monitor) == [("a", None), ("b", SHOP_HASH), ("c", client_hash(b"another", "shop"))]


@pytest.mark.parametrize("access", [None, AccessConfig(feedback=True)])
async def test_where_nobody_shows_a_key_records_are_as_they_were(
    numbers: Published, monitor: FakeMonitor, mounts: Mounts, tmp_path: Path, access: AccessConfig | None
) -> None:
    write_key(tmp_path)
    async with serving(numbers, monitor.url, access=access) as (parts, _):
        assert await infer(parts, "a", None) == 200
        await recorder(parts).flush(10)
    assert [set(body) & {"clients"} for _, body in monitor.posts] == [set()]


async def test_dropped_rows_take_their_clients_with_them(
    numbers: Published, monitor: FakeMonitor, mounts: Mounts, tmp_path: Path
) -> None:
    write_key(tmp_path)
    async with serving(numbers, monitor.url, access=CLIENTS, max_queue_rows=3) as (parts, _):
        for number in range(5):
            await infer(parts, str(number), SHOP if number % 2 else BILLING)
        await recorder(parts).flush(10)
    assert recorded(monitor) == [("2", BILLING_HASH), ("3", SHOP_HASH), ("4", BILLING_HASH)]


async def test_labels_go_on_with_the_hash_of_who_sends_them(
    numbers: Published, monitor: FakeMonitor, mounts: Mounts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []
    post = monitor_client.MonitorClient.post

    async def spied(self: Any, path: str, body: bytes, headers: Any = None) -> Any:
        sent.append(headers)
        return await post(self, path, body, headers)

    monkeypatch.setattr(monitor_client.MonitorClient, "post", spied)
    write_key(tmp_path)
    for access, key in ((CLIENTS, SHOP), (AccessConfig(api_keys=True, feedback=True), LABELS)):
        async with serving(numbers, monitor.url, access=access) as (parts, _):
            forged = {"x-tidemill-client-hash": "0" * 16, "x-api-key": key}
            body = json.dumps({"id": "x", "label": 1}).encode()
            assert (await call(parts.app, "POST", "/v2/models/demo/feedback", body, forged)).status == 202
    labeller = client_hash(KEY, "labeller")
    assert sent == [
        {"x-tidemill-client-hash": SHOP_HASH},
        {"x-tidemill-client": "labeller", "x-tidemill-client-hash": labeller},
    ]


async def test_a_monitor_of_0_1_gets_batches_without_who_asked(
    numbers: Published, monitor: FakeMonitor, mounts: Mounts, tmp_path: Path
) -> None:
    write_key(tmp_path)
    monitor.answer = lambda _: (400, {}) if "clients" in monitor.posts[-1][1] else (202, {})
    async with serving(numbers, monitor.url, access=CLIENTS) as (parts, _):
        assert await infer(parts, "a", SHOP) == 200
        await recorder(parts).flush(10)
    assert ["clients" in body for _, body in monitor.posts] == [True, False]
    assert monitor.posts[1][1] == {n: v for n, v in monitor.posts[0][1].items() if n != "clients"}
