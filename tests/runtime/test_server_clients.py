"""Public clients, unmodified, against a server process: Triton's, KServe's, and `mlserver infer`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from tests.runtime.test_server_lifecycle import post
from tests.support import publicclients, serverprocess, versions
from tests.support.publicclients import EXACT_ROWS, ROWS
from tests.support.serverprocess import ServerProcess

from tidemill_runtime.server.protocol.proto import open_inference_pb2 as pb

pytestmark = pytest.mark.timeout(600)  # an environment may have to be installed


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("clients")
    with serverprocess.running(folder, versions.numbers(folder / "store").config()) as server:
        server.wait_ready()
        yield server


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("clients-mixed")
    with serverprocess.running(folder, versions.mixed(folder / "store").config()) as server:
        server.wait_ready()
        yield server


def outputs(server: ServerProcess, *inputs: dict[str, Any]) -> dict[str, Any]:
    status, answer, _ = post(server, json.dumps({"inputs": inputs}))
    assert status == 200, answer
    return {output["name"]: output for output in answer["outputs"]}


def matrix(rows: list[list[float]]) -> dict[str, Any]:
    return {"name": "x", "shape": [len(rows), len(rows[0])], "datatype": "FP64", "data": rows}


@pytest.fixture(scope="module")
def asked(numbers: ServerProcess) -> dict[str, Any]:
    """What a client's program is told to expect."""
    known = outputs(numbers, matrix(ROWS))
    shares = known["probabilities"]["data"]
    width = len(shares) // len(ROWS)
    return {
        "http": f"127.0.0.1:{numbers.port}",
        "grpc": numbers.grpc_target,
        "model": "demo",
        "version": "7",
        "rows": ROWS,
        "labels": known["label"]["data"],
        "probabilities": [shares[i : i + width] for i in range(0, len(shares), width)],
        "exact_rows": EXACT_ROWS,
        "exact_labels": outputs(numbers, matrix(EXACT_ROWS))["label"]["data"],
    }


@publicclients.needs("tritonclient")
def test_tritons_clients(asked: dict[str, Any], mixed: ServerProcess) -> None:
    columns = [("größe", "FP64", [1.5, -2.0]), ("alter", "INT64", [3, 4]), ("farbe", "BYTES", ["grün", "rot"])]
    inputs = [{"name": name, "shape": [2], "datatype": kind, "data": data} for name, kind, data in columns]
    text = {
        "http": f"127.0.0.1:{mixed.port}",
        "grpc": mixed.grpc_target,
        "model": "demo",
        "columns": columns,
        "labels": outputs(mixed, *inputs)["label"]["data"],
    }
    held = publicclients.run("tritonclient", "triton.py", {**asked, "text": text})
    assert len(held) == 13, held


@publicclients.needs("kserve")
def test_kserves_clients(asked: dict[str, Any]) -> None:
    held = publicclients.run("kserve", "kserve_sdk.py", asked)
    assert len(held) == 7, held


@publicclients.needs("mlserver")
@pytest.mark.parametrize("binary", [False, True])
def test_mlserver_infer(asked: dict[str, Any], tmp_path: Path, binary: bool) -> None:
    publicclients.check_mlserver_infer(tmp_path, asked, binary=binary)


@publicclients.needs("tritonclient")
def test_messages_are_those_that_the_public_client_carries() -> None:
    (line,) = publicclients.run("tritonclient", "triton.py", {"definition": True})
    theirs: dict[str, dict[str, list[Any]]] = json.loads(line)
    assert len(theirs) > 18
    for name, fields in theirs.items():
        message = descriptor_pb2.DescriptorProto()
        pb.DESCRIPTOR.pool.FindMessageTypeByName(name).CopyToProto(message)
        assert {
            field.name: [field.number, field.type, field.label, field.type_name] for field in message.field
        } == fields
    methods = {method.name for method in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods}
    assert methods == {"ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer"}
