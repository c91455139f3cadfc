"""gRPC messages that never end, in frames that no library sends: what they hold and how long they take is bounded."""

import asyncio
import contextlib
import errno
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hack.bench.frames import UNKNOWN, FrameClient, frame
from hack.bench.serving.processes import memory_mib
from tests.support import serverprocess, versions
from tests.support.grpcclient import Client, request, tensor
from tests.support.serverprocess import ServerProcess

from tidemill_runtime.server.host import sockets
from tidemill_runtime.server.host.sockets import Peer
from tidemill_runtime.server.host.state import State
from tidemill_runtime.server.rpc.listener import GrpcListener
from tidemill_runtime.server.rpc.message_limits import MessageBounds

SECONDS = 4.0  # of a message
PATIENCE = 60.0  # of a message that others are to push out: a busy machine reads slowly
LIMIT = 1 << 20  # of a message; four of them of all unfinished ones
PINS = frame(UNKNOWN, 0, 1, b"x" * 8100)  # what the library keeps with the few bytes before it
ENDLESS = 24 * 400_000  # with what pins it 3 GB: more than a client can send before the server looks
CHECK = b"/grpc.health.v1.Health/Check"
WATCH = b"/grpc.health.v1.Health/Watch"
INFER = b"/inference.GRPCInferenceService/ModelInfer"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with _running(tmp_path_factory.mktemp("bounds"), SECONDS) as server:
        yield server


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[ServerProcess]:
    with _running(tmp_path, PATIENCE) as server:
        yield server


@contextlib.contextmanager
def _running(folder: Path, seconds: float) -> Iterator[ServerProcess]:
    config = versions.numbers(folder / "store").config(max_body_bytes=LIMIT, request_timeout_seconds=seconds)
    with serverprocess.running(folder / "server", config) as server:
        server.wait_ready()
        with Client(server.grpc_target) as client:
            assert client.infer(usual()).outputs
        yield server


def usual() -> Any:
    return request(tensor("x", [1, 4], "FP64", fp64_contents=[0.5, -1.0, 0.25, 2.0]))


@pytest.mark.parametrize("path", [INFER, CHECK, WATCH])
def test_what_keeps_buffers_is_refused_by_what_was_received(server: ServerProcess, path: bytes) -> None:
    before = memory_mib([server.process.pid])
    with FrameClient(server.grpc_port) as attacker, Client(server.grpc_target) as client:
        attacker.begin(1, LIMIT - 100, path)
        assert not attacker.send_body(1, ENDLESS, 24, PINS), "gigabytes were taken for a message of 1 MB"
        assert memory_mib([server.process.pid]) - before < 256
        assert client.infer(usual()).outputs, "others are answered"


def test_what_a_stream_does_not_read_is_refused_each_time(server: ServerProcess) -> None:
    """Also while the library is too busy with reading to send a status; what was freed goes back to the system."""
    before = memory_mib([server.process.pid])
    for _ in range(25):
        with FrameClient(server.grpc_port) as attacker:
            attacker.begin(1, 0, WATCH)
            assert not attacker.send_body(1, ENDLESS, 24, PINS)
        assert memory_mib([server.process.pid]) - before < 640


def test_unfinished_messages_are_bounded_together(patient: ServerProcess) -> None:
    with contextlib.ExitStack() as stack:
        attackers = [stack.enter_context(FrameClient(patient.grpc_port)) for _ in range(8)]
        for attacker in attackers:
            attacker.begin(1, LIMIT - 100)
            attacker.send_body(1, LIMIT * 9 // 10, 16_000)
        until = time.monotonic() + 0.75 * PATIENCE  # sooner than the time of a message ends them
        while sum(not a.reset.is_set() for a in attackers) > 4 and time.monotonic() < until:
            time.sleep(0.02)
        assert 3 <= sum(not a.reset.is_set() for a in attackers) <= 4


def test_a_message_has_the_time_of_a_request(server: ServerProcess) -> None:
    with FrameClient(server.grpc_port) as attacker:
        attacker.begin(1, 1000)
        began = time.monotonic()
        assert attacker.reset.wait(2.5 * SECONDS)
        assert 0.75 * SECONDS < time.monotonic() - began < 2 * SECONDS


def test_messages_one_after_the_other_are_nobodys_burden(server: ServerProcess) -> None:
    """Far more than the bound over one connection, while an idle call is open beside them."""
    large = request(tensor("x", [20_000, 4], "FP64", fp64_contents=[0.5] * 80_000))
    with Client(server.grpc_target) as client:
        watching = health_pb2_grpc.HealthStub(client.channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watching).status == health_pb2.HealthCheckResponse.SERVING
        for _ in range(3):
            assert client.infer(large).outputs
        assert watching.is_active()


def test_a_call_without_a_message_is_the_clients_error(server: ServerProcess) -> None:
    with grpc.insecure_channel(server.grpc_target) as channel:
        call = channel.stream_unary(INFER.decode())
        with pytest.raises(grpc.RpcError) as caught:
            call(iter(()))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_look_that_fails_is_not_the_last(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """Whoever resets a connection just when it is looked at must not end the bounds of all."""
    looks: list[int] = []

    def received() -> dict[Peer, int]:
        looks.append(1)
        if len(looks) == 1:
            raise OSError("the connection has ended")
        return {}

    config = versions.numbers(tmp_path).config(request_timeout_seconds=0.1)
    bounds = MessageBounds(config, received, lambda _: None)
    refused = asyncio.get_running_loop().create_future()
    method = bounds.bounded(grpc.unary_unary_rpc_method_handler(None))
    call = asyncio.create_task(method.stream_unary(None, _Silent(refused)))
    async with asyncio.timeout(5):
        assert await refused is grpc.StatusCode.DEADLINE_EXCEEDED
        with contextlib.suppress(grpc.aio.AbortError):
            await call
    assert "the connection has ended" in caplog.text


class _Silent:
    """The context of a call whose message never comes."""

    def __init__(self, refused: "asyncio.Future[grpc.StatusCode]") -> None:
        self._refused = refused

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"

    async def read(self) -> Any:
        await asyncio.Event().wait()

    async def abort(self, code: grpc.StatusCode, _: str) -> None:
        self._refused.set_result(code)
        raise grpc.aio.AbortError


async def test_a_connection_that_ends_while_it_is_ended_is_no_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def ended(_: Any) -> None:
        raise OSError(errno.ENOTCONN, "not connected")

    monkeypatch.setattr(sockets, "reset", ended)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client, listener.accept()[0]:
            grpc_listener = GrpcListener(cast(Any, None), State(), port)
            grpc_listener._cut(Peer(*client.getsockname()))
