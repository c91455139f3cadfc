"""gRPC against a server process: answers as REST gives them, errors, the services beside it, the drain."""

import asyncio
import contextlib
import gzip
import json
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from hack.bench.serving.processes import descendants
from tests.runtime.test_predictionlog_ids import FORM
from tests.runtime.test_server_lifecycle import post, slow_version
from tests.support import serverprocess, versions
from tests.support.grpcclient import SERVICE, Client, Refused, request, tensor
from tests.support.serverprocess import ServerProcess, get
from tests.support.versions import Published

from tidemill_runtime.model.errors import StartError
from tidemill_runtime.server.host import sockets
from tidemill_runtime.server.host.state import State
from tidemill_runtime.server.process import lifecycle
from tidemill_runtime.server.protocol import binary_tensors
from tidemill_runtime.server.protocol.proto import open_inference_pb2 as pb
from tidemill_runtime.server.rpc.listener import GrpcListener
from tidemill_runtime.server.telemetry.metrics import Telemetry

ROW = [0.5, -1.0, 0.25, 2.0]
INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("grpc")


@pytest.fixture(scope="module")
def numbers(store: Path) -> Iterator[ServerProcess]:
    config = versions.numbers(store / "numbers").config(max_body_bytes=1 << 20)
    with serverprocess.running(store / "server", config) as server:
        server.wait_ready()
        yield server


@pytest.fixture(scope="module")
def mixed(store: Path) -> Iterator[ServerProcess]:
    with serverprocess.running(store / "mixed-server", versions.mixed(store / "mixed").config()) as server:
        server.wait_ready()
        yield server


@pytest.fixture
def client(numbers: ServerProcess) -> Iterator[Client]:
    with Client(numbers.grpc_target) as client:
        yield client


def typed(rows: int = 1, **fields: Any) -> Any:
    return request(tensor("x", [rows, 4], "FP64", fp64_contents=ROW * rows), **fields)


def raw(dtype: str = "<f8", datatype: str = "FP64", **fields: Any) -> Any:
    return request(tensor("x", [1, 4], datatype), raw=[np.array(ROW, dtype).tobytes()], **fields)


def by_rest(server: ServerProcess, *inputs: dict[str, Any]) -> dict[str, Any]:
    status, answer, _ = post(server, json.dumps({"inputs": inputs}))
    assert status == 200, answer
    return {output["name"]: output for output in answer["outputs"]}


def test_a_typed_request_is_answered_typed_and_as_rest_answers(numbers: ServerProcess, client: Client) -> None:
    answer = client.infer(typed(rows=3))
    expected = by_rest(numbers, {"name": "x", "shape": [3, 4], "datatype": "FP64", "data": ROW * 3})
    assert (answer.model_name, answer.model_version) == ("demo", "7")
    assert [output.name for output in answer.outputs] == ["label", "probabilities"]
    assert not answer.raw_output_contents
    label, probabilities = answer.outputs
    assert (label.datatype, list(label.shape)) == ("INT64", [3])
    assert list(label.contents.int64_contents) == expected["label"]["data"]
    assert (probabilities.datatype, list(probabilities.shape)) == ("FP64", [3, 3])
    assert list(probabilities.contents.fp64_contents) == expected["probabilities"]["data"]


@pytest.mark.parametrize(("dtype", "datatype"), [("<f8", "FP64"), ("<f4", "FP32"), ("<f2", "FP16"), ("<i2", "INT16")])
def test_a_raw_request_is_answered_raw(client: Client, numbers: ServerProcess, dtype: str, datatype: str) -> None:
    answer = client.infer(raw(dtype, datatype))
    data = np.array(ROW, dtype).tolist()
    expected = by_rest(numbers, {"name": "x", "shape": [1, 4], "datatype": "FP64", "data": data})
    assert not any(output.HasField("contents") for output in answer.outputs)
    label, probabilities = answer.raw_output_contents
    assert np.frombuffer(label, "<i8").tolist() == expected["label"]["data"]
    assert np.frombuffer(probabilities, "<f8").tolist() == expected["probabilities"]["data"]


@pytest.mark.parametrize("is_raw", [False, True])
def test_columns_of_text(mixed: ServerProcess, is_raw: bool) -> None:
    texts = ["grün".encode(), b"rot"]
    contents: list[dict[str, Any]] = [
        {"fp64_contents": [1.5, -2.0]},
        {"int64_contents": [3, 4]},
        {"bytes_contents": texts},
    ]
    given = [("größe", "FP64"), ("alter", "INT64"), ("farbe", "BYTES")]
    content = [struct.pack("<2d", 1.5, -2.0), struct.pack("<2q", 3, 4), binary_tensors.texts(texts)]
    inputs = [
        tensor(name, [2, 1] if is_raw else [2], datatype, **({} if is_raw else contents[i]))
        for i, (name, datatype) in enumerate(given)
    ]
    with Client(mixed.grpc_target) as client:
        answer = client.infer(request(*inputs, raw=content if is_raw else ()))
    expected = by_rest(
        mixed,
        {"name": "größe", "shape": [2], "datatype": "FP64", "data": [1.5, -2.0]},
        {"name": "alter", "shape": [2], "datatype": "INT64", "data": [3, 4]},
        {"name": "farbe", "shape": [2], "datatype": "BYTES", "data": ["grün", "rot"]},
    )["label"]["data"]
    assert answer.outputs[0].datatype == "BYTES"
    if is_raw:
        assert answer.raw_output_contents[0] == binary_tensors.texts(expected)
    else:
        assert [value.decode() for value in answer.outputs[0].contents.bytes_contents] == expected


def test_outputs_are_selected_and_ids_returned(client: Client) -> None:
    wanted = pb.ModelInferRequest.InferRequestedOutputTensor(name="probabilities")
    answer = client.infer(typed(outputs=[wanted], id="bestellung-ü"))
    assert [output.name for output in answer.outputs] == ["probabilities"]
    assert answer.id == "bestellung-ü"
    assert client.trailing["x-tidemill-prediction-id"] == "bestellung-%C3%BC"
    assert client.trailing["x-tidemill-version"] == "7"
    assert client.infer(typed(), metadata={"x-tidemill-prediction-id": "mine"}).id == "mine"
    assert FORM.fullmatch(client.infer(typed()).id)
    assert len(client.infer(raw(outputs=[wanted])).raw_output_contents) == 1


def test_versions_and_names(client: Client) -> None:
    assert client.infer(typed(model_version="7")).model_version == "7"
    for call in (
        client.infer(typed(model_version="6")),
        client.infer(typed(model="other")),
        client.call("ModelReady", pb.ModelReadyRequest(name="other"), pb.ModelReadyResponse),
        client.call("ModelMetadata", pb.ModelMetadataRequest(name="demo", version="6"), pb.ModelMetadataResponse),
    ):
        assert call.code is grpc.StatusCode.NOT_FOUND
        assert "7" in call.details or "'demo'" in call.details


def test_what_the_server_says_of_itself_is_what_rest_says(numbers: ServerProcess, client: Client) -> None:
    server = client.call("ServerMetadata", pb.ServerMetadataRequest(), pb.ServerMetadataResponse)
    by_http = json.loads(get(numbers.url + "/v2")[1])
    assert {"name": server.name, "version": server.version} == {key: by_http[key] for key in ("name", "version")}
    model = client.call("ModelMetadata", pb.ModelMetadataRequest(name="demo"), pb.ModelMetadataResponse)
    of = lambda tensors: [{"name": t.name, "datatype": t.datatype, "shape": list(t.shape)} for t in tensors]  # noqa: E731
    described = json.loads(get(numbers.url + "/v2/models/demo")[1])
    assert of(model.inputs) == described["inputs"]
    assert of(model.outputs) == described["outputs"]
    assert (model.name, model.platform, list(model.versions)) == ("demo", described["platform"], ["7"])
    assert client.call("ServerLive", pb.ServerLiveRequest(), pb.ServerLiveResponse).live
    assert client.call("ServerReady", pb.ServerReadyRequest(), pb.ServerReadyResponse).ready
    assert client.call("ModelReady", pb.ModelReadyRequest(name="demo", version="7"), pb.ModelReadyResponse).ready


BAD: dict[str, tuple[Any, str]] = {
    "no inputs": (request(), "inputs: expected a list of tensors, got none"),
    "no contents": (request(tensor("x", [1, 4], "FP64")), "inputs[0].contents.fp64_contents: shape [1, 4] holds 4"),
    "other field": (request(tensor("x", [1, 4], "FP64", fp32_contents=ROW)), "inputs[0].contents.fp64_contents"),
    "shape": (request(tensor("x", [-1, 4], "FP64", fp64_contents=ROW)), "inputs[0].shape"),
    "huge": (request(tensor("x", [2**62, 4], "FP64", fp64_contents=ROW)), "inputs[0].contents.fp64_contents"),
    "datatype": (request(tensor("x", [1, 4], "FP63", fp64_contents=ROW)), "inputs[0].datatype: 'FP63' is unknown"),
    "typed FP16": (request(tensor("x", [1, 4], "FP16", fp32_contents=ROW)), "FP16 has no typed contents"),
    "range": (request(tensor("x", [1, 4], "INT8", int_contents=[1, 2, 3, 128])), "128 is out of range for INT8"),
    "raw length": (request(tensor("x", [1, 4], "FP64"), raw=[b"1234"]), "takes 32 bytes of binary data, got 4"),
    "raw huge": (request(tensor("x", [2**62, 4], "FP64"), raw=[b"1234"]), "bytes of binary data, got 4"),
    "raw number": (request(tensor("x", [1, 4], "FP64"), raw=[b"", b""]), "raw_input_contents: expected one for each"),
    "both": (
        request(tensor("x", [1, 4], "FP64", fp64_contents=ROW), raw=[bytes(32)]),
        "inputs[0].contents: must be absent",
    ),
    "columns": (request(tensor("y", [1, 3], "FP64", fp64_contents=ROW[:3])), "a matrix for this model"),
    "text": (request(tensor("x", [1, 4], "BYTES", bytes_contents=[b"a"] * 4)), "takes numbers, got strings"),
    "no UTF-8": (request(tensor("x", [1, 1], "BYTES", bytes_contents=[b"\xff"])), "is no UTF-8"),
    "output": (
        request(
            tensor("x", [1, 4], "FP64", fp64_contents=ROW),
            outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(name="nope")],
        ),
        "outputs[0].name: expected one of 'label', 'probabilities', got 'nope'",
    ),
    "id": (request(tensor("x", [1, 4], "FP64", fp64_contents=ROW), id="x" * 257), "id: expected a string of at most"),
    "shared memory": (
        request(
            tensor("x", [1, 4], "FP64", fp64_contents=ROW),
            parameters={"shared_memory_region": pb.InferParameter(string_param="r")},
        ),
        "shared memory is not supported",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_predicted_is_an_invalid_argument(client: Client, case: str) -> None:
    message, words = BAD[case]
    refused = client.infer(message)
    assert isinstance(refused, Refused)
    assert refused.code is INVALID
    assert words in refused.details


def test_bytes_that_are_no_message_are_the_clients_error(client: Client) -> None:
    generator = random.Random(4)
    good = typed().SerializeToString()
    for attempt in range(400):
        body = bytearray(good if attempt % 2 else generator.randbytes(generator.randrange(200)))
        for _ in range(generator.randrange(1, 6)):
            if body:
                body[generator.randrange(len(body))] = generator.randrange(256)
        answer = client.infer(bytes(body))
        if isinstance(answer, Refused):
            assert answer.code in (INVALID, grpc.StatusCode.NOT_FOUND), (answer, bytes(body))
    for method in ("ModelReady", "ModelMetadata"):
        assert client.call(method, b"\xff\xff", pb.ModelReadyResponse).code is INVALID
    assert client.call("Nothing", b"", pb.ModelReadyResponse).code is grpc.StatusCode.UNIMPLEMENTED
    bad = client.infer(typed(), metadata={"x-tidemill-prediction-id": "x" * 300})
    assert bad.code is INVALID
    assert client.infer(typed()).id, "the server still answers"


def test_large_and_compressed_messages(client: Client) -> None:
    rows = 20_000
    body = request(tensor("x", [rows, 4], "FP64"), raw=[np.tile(ROW, rows).tobytes()]).SerializeToString()
    assert 512 * 1024 < len(body) < 1 << 20
    assert len(gzip.compress(body)) < len(body) / 20
    for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate, grpc.Compression.NoCompression):
        answer = client.infer(body, compression=compression)
        labels = np.frombuffer(answer.raw_output_contents[0], "<i8")
        assert labels.shape == (rows,)
        assert len(set(labels.tolist())) == 1
    refused = client.infer(body * 2)
    assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    refused = client.infer(body * 2, compression=grpc.Compression.Gzip)
    assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_requests_are_counted_with_those_of_rest(numbers: ServerProcess, client: Client) -> None:
    def counted(name: str, outcome: str = "") -> float:
        lines = get(numbers.admin + "/metrics")[1].decode().splitlines()
        found = [line for line in lines if line.startswith(f"{name}{{") and outcome in line]
        return float(found[0].rpartition(" ")[2])

    def all_counts() -> list[float]:
        outcomes = [counted("tidemill_requests_total", f'"{outcome}"') for outcome in ("success", "invalid")]
        return [counted("tidemill_predictions_total"), *outcomes]

    before = all_counts()
    client.infer(typed(rows=5))
    client.infer(request())
    assert [now - then for now, then in zip(all_counts(), before, strict=True)] == [5, 1, 1]


def test_health_of_server_service_and_model(numbers: ServerProcess, client: Client) -> None:
    health = health_pb2_grpc.HealthStub(client.channel)
    for name in ("", SERVICE, "demo"):
        assert (
            health.Check(health_pb2.HealthCheckRequest(service=name)).status == health_pb2.HealthCheckResponse.SERVING
        )
    with pytest.raises(grpc.RpcError) as refused:
        health.Check(health_pb2.HealthCheckRequest(service="other"))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


def test_reflection_describes_the_service(client: Client) -> None:
    database = ProtoReflectionDescriptorDatabase(client.channel)
    assert set(database.get_services()) == {
        SERVICE,
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    described = database.FindFileContainingSymbol(SERVICE)
    assert described.SerializeToString() == pb.DESCRIPTOR.serialized_pb


def test_overload_and_lack_of_time(tmp_path: Path) -> None:
    published = slow_version(tmp_path / "store", seconds=1.0)
    config = published.config(allow_pickle=True, max_in_flight=1, request_timeout_seconds=0.5)
    with serverprocess.running(tmp_path, config) as server, Client(server.grpc_target) as client:
        server.wait_ready()
        late: list[Any] = []
        first = threading.Thread(target=lambda: late.append(client.infer(typed())))
        first.start()
        server.wait_in_flight()
        refused = client.infer(typed())
        assert refused.code is grpc.StatusCode.UNAVAILABLE
        assert refused.details == "overloaded: 1 request is in flight"
        assert refused.trailing["grpc-retry-pushback-ms"] == "1000"
        first.join(10)
        assert late[0].code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert late[0].details == "no answer within 0.5 s"
        still = client.infer(typed())
        assert still.code is grpc.StatusCode.UNAVAILABLE, "the thread that was given up keeps its place"


def test_a_client_that_gives_up_keeps_its_place_until_the_thread_ends(tmp_path: Path) -> None:
    published = slow_version(tmp_path / "store", seconds=1.5)
    config = published.config(allow_pickle=True, max_in_flight=1)
    with serverprocess.running(tmp_path, config) as server, Client(server.grpc_target) as client:
        server.wait_ready()
        assert client.infer(typed(), timeout=0.3).code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert client.infer(typed()).code is grpc.StatusCode.UNAVAILABLE
        deadline = time.monotonic() + 20
        while isinstance(answer := client.infer(typed()), Refused) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert answer.model_version == "7"


@pytest.mark.parametrize("workers", [1, 2])
def test_clients_that_come_at_once_all_get_their_answers(tmp_path: Path, workers: int) -> None:
    with serverprocess.running(tmp_path, versions.numbers(tmp_path / "store").config(workers=workers)) as server:
        server.wait_ready()
        answers: list[Any] = []

        def call(at: float) -> None:
            time.sleep(at)
            with Client(server.grpc_target) as client:
                answers.extend(client.infer(typed()) for _ in range(20))

        clients = [threading.Thread(target=call, args=(i * 0.02,)) for i in range(24)]
        for client in clients:
            client.start()
        for client in clients:
            client.join(60)
        assert len(answers) == 24 * 20
        assert [answer for answer in answers if isinstance(answer, Refused)] == []


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_without_grpc_neither_listens_nor_has_the_library(tmp_path: Path, workers: int) -> None:
    config = versions.numbers(tmp_path / "store").config(grpc=False, workers=workers, drain_seconds=0.1)
    with serverprocess.running(tmp_path, config) as server:
        server.wait_ready()
        assert post(server)[0] == 200
        for process in descendants(server.process.pid):
            assert "cygrpc" not in Path(f"/proc/{process}/maps").read_text()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.grpc_port))
        server.terminate()
        assert server.wait() == 0


def test_a_server_without_grpc_leaves_its_port_to_others(numbers: ServerProcess, tmp_path: Path) -> None:
    config = versions.numbers(tmp_path / "store").config(grpc=False)
    with serverprocess.running(tmp_path, config, TIDEMILL_GRPC_PORT=str(numbers.grpc_port)) as server:
        server.wait_ready()
        assert post(server)[0] == 200


class Load(threading.Thread):
    """Calls one after the other until the server takes no connection any more."""

    def __init__(self, server: ServerProcess) -> None:
        super().__init__(daemon=True)
        self._client = Client(server.grpc_target)
        self.answered = 0
        self.lost: list[Refused] = []
        self.ended = ""

    def run(self) -> None:
        body = typed().SerializeToString()
        with self._client as client:
            while True:
                answer = client.infer(body)
                if not isinstance(answer, Refused):
                    self.answered += 1
                elif "Connection refused" in answer.details:
                    self.ended = answer.details
                    return
                else:
                    self.lost.append(answer)
                    return


@pytest.mark.parametrize("workers", [1, 2])
def test_no_call_is_lost_over_sigterm(tmp_path: Path, workers: int) -> None:
    published = versions.numbers(tmp_path / "store")
    with serverprocess.running(tmp_path, published.config(drain_seconds=0.5, workers=workers)) as server:
        server.wait_ready()
        channel = grpc.insecure_channel(server.grpc_target)
        health = health_pb2_grpc.HealthStub(channel)
        seen: list[int] = []
        watch = health.Watch(health_pb2.HealthCheckRequest(service="demo"))
        watcher = threading.Thread(target=_follow, args=(watch, seen), daemon=True)
        watcher.start()
        load = [Load(server) for _ in range(6)]
        for client in load:
            client.start()
        deadline = time.monotonic() + 60
        while not all(client.answered for client in load) and time.monotonic() < deadline:
            time.sleep(0.05)
        before = sum(client.answered for client in load)
        server.terminate()
        started = time.monotonic()
        assert server.wait() == 0
        assert time.monotonic() - started < 20
        for client in load:
            client.join(20)
        watcher.join(20)
        channel.close()
    assert [client.lost for client in load] == [[]] * 6
    assert all(client.ended for client in load)
    assert sum(client.answered for client in load) > before > 0
    assert seen == [health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING]


def _follow(watch: Any, seen: list[int]) -> None:
    with contextlib.suppress(grpc.RpcError):
        for answer in watch:
            seen.append(answer.status)


def test_an_idle_server_ends_at_once(tmp_path: Path) -> None:
    published: Published = versions.numbers(tmp_path / "store")
    with serverprocess.running(tmp_path, published.config(drain_seconds=0.1)) as server:
        server.wait_ready()
        server.terminate()
        started = time.monotonic()
        assert server.wait() == 0
        assert time.monotonic() - started < 4, "nobody was connected: nothing to wait for"


def test_a_port_that_is_taken_ends_the_process_with_a_reason(numbers: ServerProcess, tmp_path: Path) -> None:
    published = versions.numbers(tmp_path / "store")
    taken = str(numbers.grpc_port)
    with serverprocess.running(tmp_path, published.config(), TIDEMILL_GRPC_PORT=taken) as server:
        assert server.wait() == 1
        assert server.termination_log.read_text().startswith("StartFailed: [Errno 98] Address already in use")


async def test_a_library_that_cannot_listen_says_so_and_is_not_waited_for(tmp_path: Path) -> None:
    config = versions.numbers(tmp_path).config()
    state = State()
    parts = lifecycle.assemble(config, state, Telemetry(config), 1)
    with sockets.listen(0) as taken:
        port = taken.getsockname()[1]
        listener = GrpcListener(parts.plane, state, port)
        draining = asyncio.create_task(listener.drain())  # told to end while it starts
        with pytest.raises(StartError, match=f"StartFailed: port {port} for gRPC: "):
            await listener.serve(lambda: pytest.fail("it did not start"))
        async with asyncio.timeout(5):
            await draining
    parts.plane.close()
