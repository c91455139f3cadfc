"""Binary tensors on the wire: vectors written by hand, answers as the usual client reads them."""

import json
import struct
from typing import Any

import numpy as np
import pytest
from tests.runtime.test_server_protocol import ROW, V2, check_error, matrix, serve
from tests.support import versions
from tests.support.asgi import Reply, call, post
from tests.support.versions import Published


@pytest.fixture(scope="module", params=["ONNX", "Native"])
def app(numbers: Published, request: pytest.FixtureRequest) -> Any:
    return serve(numbers, runtime=request.param).app


@pytest.fixture(scope="module", params=["ONNX", "Native"])
def mixed_app(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Any:
    return serve(versions.mixed(tmp_path_factory.mktemp("mixed")), runtime=request.param).app


async def send(app: Any, document: Any, raw: bytes, length: object = None) -> Reply:
    """Post JSON and what follows it; `length` replaces the header's value."""
    head = json.dumps(document).encode()
    value = str(len(head) if length is None else length)
    return await call(app, "POST", V2, head + raw, {"Inference-Header-Content-Length": value})


def tensor(name: str, datatype: str, shape: list[int], size: int, **more: Any) -> dict[str, Any]:
    """Return a tensor whose data is binary."""
    return {"name": name, "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": size}, **more}


def outputs_of(reply: Reply) -> dict[str, Any]:
    """Return the outputs of a reply by name, read as the extension says."""
    length = int(reply.headers["inference-header-content-length"])
    assert reply.headers["content-type"] == "application/octet-stream"
    rest, found = reply.body[length:], {}
    for output in json.loads(reply.body[:length])["outputs"]:
        if "data" in output:
            assert "parameters" not in output
            found[output["name"]] = np.reshape(output["data"], output["shape"])
            continue
        size = output["parameters"]["binary_data_size"]
        raw, rest = rest[:size], rest[size:]
        if output["datatype"] == "BYTES":
            values = []
            while raw:
                (count,) = struct.unpack_from("<I", raw)
                values.append(raw[4 : 4 + count].decode())
                raw = raw[4 + count :]
            found[output["name"]] = np.reshape(np.array(values, dtype=object), output["shape"])
        else:
            dtype = {"INT64": "<i8", "FP64": "<f8"}[output["datatype"]]
            found[output["name"]] = np.frombuffer(raw, dtype).reshape(output["shape"])
    assert rest == b""
    return found


async def test_the_worked_example(app: Any) -> None:
    raw = bytes.fromhex("9a99d940333333409a9999403333b33f")
    document = {"inputs": [tensor("input-0", "FP32", [1, 4], 16)]}
    reply = await send(app, document, raw)
    assert reply.status == 200
    assert "inference-header-content-length" not in reply.headers
    as_json = await post(app, V2, matrix([[6.8, 2.8, 4.8, 1.4]], "FP32"))
    assert reply.json()["outputs"] == as_json.json()["outputs"]


@pytest.mark.parametrize(
    ("more", "binary"),
    [
        ({"parameters": {"binary_data_output": True}}, {"label", "probabilities"}),
        ({"outputs": [{"name": "label", "parameters": {"binary_data": True}}, {"name": "probabilities"}]}, {"label"}),
        (
            {
                "parameters": {"binary_data_output": True},
                "outputs": [{"name": "label", "parameters": {"binary_data": False}}, {"name": "probabilities"}],
            },
            {"probabilities"},
        ),
    ],
    ids=["all", "one", "all but one"],
)
async def test_outputs_are_binary_where_requested(app: Any, more: dict[str, Any], binary: set[str]) -> None:
    reply = await post(app, V2, matrix([ROW, ROW], id="ü", **more))
    length = int(reply.headers["inference-header-content-length"])
    head = json.loads(reply.body[:length])
    assert {o["name"] for o in head["outputs"] if "data" not in o} == binary
    assert head["id"] == "ü"
    plain = (await post(app, V2, matrix([ROW, ROW]))).json()["outputs"]
    for output, found in zip(plain, outputs_of(reply).values(), strict=True):
        assert found.ravel().tolist() == output["data"]


async def test_one_bare_matrix(app: Any) -> None:
    raw = np.array([ROW, ROW[::-1]], dtype="<f8").tobytes()
    reply = await call(app, "POST", V2, raw, {"inference-header-content-length": "0"})
    plain = (await post(app, V2, matrix([ROW, ROW[::-1]]))).json()["outputs"]
    assert [o.ravel().tolist() for o in outputs_of(reply).values()] == [o["data"] for o in plain]


@pytest.mark.parametrize("raw", [b"", b"\0" * 33], ids=["nothing", "no whole row"])
async def test_a_bare_matrix_of_no_whole_rows(app: Any, raw: bytes) -> None:
    reply = await call(app, "POST", V2, raw, {"inference-header-content-length": "0"})
    check_error(reply, 400, "the body: expected rows of 32 bytes (4 FP64)")


async def test_columns_of_several_datatypes(mixed_app: Any) -> None:
    raw = struct.pack("<2d", 1.5, -1.0) + struct.pack("<2q", 3, 4) + b"\4\0\0\0blau\3\0\0\0rot"
    inputs = [
        tensor("größe", "FP64", [2], 16),
        tensor("alter", "INT64", [2, 1], 16),
        tensor("farbe", "BYTES", [2], 15),
    ]
    reply = await send(mixed_app, {"inputs": inputs, "parameters": {"binary_data_output": True}}, raw)
    assert reply.status == 200
    rows = [{"größe": 1.5, "alter": 3, "farbe": "blau"}, {"größe": -1.0, "alter": 4, "farbe": "rot"}]
    labels = (await post(mixed_app, "/v1/models/demo:predict", {"instances": rows})).json()["predictions"]
    assert outputs_of(reply)["label"].tolist() == labels


async def test_a_bare_matrix_needs_one_datatype(mixed_app: Any) -> None:
    reply = await call(mixed_app, "POST", V2, b"\0" * 24, {"inference-header-content-length": "0"})
    check_error(reply, 400, "this model's are BYTES, FP64, INT64")


ROW_BYTES = np.array(ROW, dtype="<f8").tobytes()
BAD: dict[str, tuple[list[Any], bytes, Any, str]] = {
    "header beyond the body": ([], b"", 10_000, "Inference-Header-Content-Length: expected 0 to"),
    "header negative": ([], b"", -1, "Inference-Header-Content-Length: expected a number of bytes, got '-1'"),
    "header a word": ([], b"", "many", "Inference-Header-Content-Length: expected a number of bytes, got 'many'"),
    "header cuts the JSON": ([], b"", 5, "the body is not valid JSON"),
    "too few bytes": (
        [tensor("x", "FP64", [1, 4], 32)],
        ROW_BYTES[:-1],
        None,
        "32 bytes, but the body has only 31 left",
    ),
    "too many bytes": ([tensor("x", "FP64", [1, 4], 32)], ROW_BYTES + b"\0", None, "1 byte more than"),
    "size is not the shape's": (
        [tensor("x", "FP64", [1, 4], 24)],
        ROW_BYTES[:24],
        None,
        "FP64 of shape [1, 4] takes 32 bytes of binary data, got 24",
    ),
    "size negative": ([tensor("x", "FP64", [1, 4], -32)], ROW_BYTES, None, "inputs[0].parameters.binary_data_size"),
    "size a fraction": (
        [{**tensor("x", "FP64", [1, 4], 32), "parameters": {"binary_data_size": 32.0}}],
        ROW_BYTES,
        None,
        "inputs[0].parameters.binary_data_size: expected a number of bytes, got 32.0",
    ),
    "both": ([tensor("x", "FP64", [1, 4], 32, data=ROW)], ROW_BYTES, None, "inputs[0]: give either data or"),
    "neither": ([{"name": "x", "shape": [1, 4], "datatype": "FP64"}], b"", None, "inputs[0].data: expected a list"),
    "huge shape": ([tensor("x", "FP64", [2**62, 4], 32)], ROW_BYTES, None, "takes 147573952589676412928 bytes"),
    "BF16": ([tensor("x", "BF16", [1, 4], 8)], ROW_BYTES[:8], None, "BF16 is not supported; send FP32"),
    "unknown datatype": (
        [tensor("x", "FP8", [1, 4], 4)],
        ROW_BYTES[:4],
        None,
        "'FP8' is unknown; expected one of BOOL",
    ),
    "BOOL of 2": ([tensor("x", "BOOL", [1, 4], 4)], b"\0\1\2\1", None, "a BOOL is a byte of 0 or 1, got 2"),
}


@pytest.mark.parametrize(("inputs", "raw", "length", "sentence"), BAD.values(), ids=BAD.keys())
async def test_refusals(app: Any, inputs: list[Any], raw: bytes, length: Any, sentence: str) -> None:
    check_error(await send(app, {"inputs": inputs}, raw, length), 400, sentence)


BAD_TEXT = {
    "runs past the end": (b"\5\0\0\0blau", 1, "BYTES element 0 runs past the end"),
    "cut in a length": (b"\4\0\0\0blau\3\0", 2, "BYTES element 1 runs past the end"),
    "too few elements": (b"\4\0\0\0blau", 2, "BYTES of 2 elements expected, the binary data has 1"),
    "too many elements": (b"\0\0\0\0\0\0\0\0", 1, "BYTES of 1 elements expected, the binary data has 2"),
    "no UTF-8": (b"\0\0\0\0\3\0\0\0a\xff\xfe", 2, "BYTES element 1 is no UTF-8 at its byte 1"),
}


@pytest.mark.parametrize(("raw", "rows", "sentence"), BAD_TEXT.values(), ids=BAD_TEXT.keys())
async def test_text_is_refused_with_its_place(mixed_app: Any, raw: bytes, rows: int, sentence: str) -> None:
    inputs = [tensor("farbe", "BYTES", [rows], len(raw))]
    check_error(await send(mixed_app, {"inputs": inputs}, raw), 400, f"inputs[0]: {sentence}")


async def test_infinity_is_refused_as_an_error_of_the_client(app: Any) -> None:
    raw = np.array([np.inf, -np.inf, 1.0, 2.0]).tobytes()
    reply = await send(app, {"inputs": [tensor("x", "FP64", [1, 4], 32)]}, raw)
    assert reply.status == 400
    assert "infinit" in reply.json()["error"]


async def test_a_missing_number_is_nan(mixed_app: Any) -> None:
    raw = struct.pack("<d", np.nan) + struct.pack("<q", 3) + b"\4\0\0\0blau"
    inputs = [tensor("größe", "FP64", [1], 8), tensor("alter", "INT64", [1], 8), tensor("farbe", "BYTES", [1], 8)]
    reply = await send(mixed_app, {"inputs": inputs}, raw)
    rows = [{"größe": None, "alter": 3, "farbe": "blau"}]
    labels = (await post(mixed_app, "/v1/models/demo:predict", {"instances": rows})).json()["predictions"]
    assert reply.json()["outputs"][0]["data"] == labels


async def test_a_missing_number_that_the_model_does_not_take(app: Any) -> None:
    raw = np.array([1.0, np.nan, 1.0, 2.0]).tobytes()
    reply = await send(app, {"inputs": [tensor("x", "FP64", [1, 4], 32)]}, raw)
    assert reply.status == 400
    assert "'b'" in reply.json()["error"] or "NaN" in reply.json()["error"]


async def test_binary_data_without_the_header(app: Any) -> None:
    reply = await post(app, V2, {"inputs": [tensor("x", "FP64", [1, 4], 32)]})
    check_error(reply, 400, "binary data needs the header Inference-Header-Content-Length")
