"""What users of Triton's client libraries do, over HTTP and gRPC. Reads what to expect as JSON from stdin.

Runs in an environment of its own and knows nothing of the project; prints the name of each check that held.
"""

import asyncio
import json
import sys

import numpy as np
import tritonclient.grpc as grpcclient
import tritonclient.grpc.aio as grpcaio
import tritonclient.http as httpclient
import tritonclient.http.aio as httpaio
from google.protobuf import descriptor_pb2
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

MESSAGES = [f"Server{what}{way}" for what in ("Live", "Ready", "Metadata") for way in ("Request", "Response")]
MESSAGES += [f"Model{what}{way}" for what in ("Ready", "Metadata", "Infer") for way in ("Request", "Response")]
MESSAGES += ["InferParameter", "InferTensorContents"]


def rows(library, asked, dtype=np.float64, binary=True):
    values = np.array(asked["rows"], dtype)
    entry = library.InferInput("x", list(values.shape), np_to_triton_dtype(dtype))
    if library is httpclient:
        entry.set_data_from_numpy(values, binary_data=binary)
    else:
        entry.set_data_from_numpy(values)
    return entry


def holds(asked, result):
    """Whether a result has the labels and probabilities that were asked for."""
    assert result.as_numpy("label").tolist() == asked["labels"], result.as_numpy("label")
    np.testing.assert_allclose(result.as_numpy("probabilities"), asked["probabilities"], atol=1e-6)


def refused(call, words, status):
    """Whether a call is refused with a sentence and a status."""
    try:
        call()
    except InferenceServerException as error:
        assert words in error.message(), error
        assert status in str(error.status()), error
    else:
        raise AssertionError(f"not refused: {words}")


def check_health_and_metadata(asked, client):
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready(asked["model"])
    assert client.is_model_ready(asked["model"], asked["version"])
    try:
        assert not client.is_model_ready("nobody")
    except InferenceServerException as error:
        assert "NOT_FOUND" in str(error.status())


def http_checks(asked):
    client = httpclient.InferenceServerClient(asked["http"])
    model = asked["model"]
    check_health_and_metadata(asked, client)
    assert client.get_server_metadata()["name"] == "tidemill"
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    described = client.get_model_metadata(model)
    assert described["name"] == model and described["versions"] == [asked["version"]]
    assert [i["datatype"] for i in described["inputs"]] == ["FP64"] * len(asked["rows"][0])
    yield "http health and metadata"
    for binary in (True, False):
        wanted = [httpclient.InferRequestedOutput(n, binary_data=binary) for n in ("label", "probabilities")]
        for dtype in (np.float64, np.float32) if not binary else (np.float64, np.float32, np.float16):
            small = {**asked, "rows": asked["exact_rows"]}
            result = client.infer(model, [rows(httpclient, small, dtype, binary)], outputs=wanted)
            assert result.as_numpy("label").tolist() == asked["exact_labels"]
        for outputs in (wanted, None):
            holds(asked, client.infer(model, [rows(httpclient, asked, binary=binary)], outputs=outputs))
    yield "http tensors, binary and JSON both ways"
    result = client.infer(model, [rows(httpclient, asked)], request_id="order-9", model_version=asked["version"])
    assert result.get_response()["id"] == "order-9"
    only = [httpclient.InferRequestedOutput("label")]
    assert client.infer(model, [rows(httpclient, asked)], outputs=only).as_numpy("probabilities") is None
    yield "http id, version and outputs"
    for request in (None, "gzip", "deflate"):
        for response in (None, "gzip", "deflate"):
            options = {"request_compression_algorithm": request, "response_compression_algorithm": response}
            holds(asked, client.infer(model, [rows(httpclient, asked)], **options))
    yield "http compression"
    pending = [client.async_infer(model, [rows(httpclient, asked)]) for _ in range(8)]
    for one in pending:
        holds(asked, one.get_result())
    yield "http futures"
    short = httpclient.InferInput("x", [1, 1], "FP64")
    short.set_data_from_numpy(np.zeros((1, 1)))
    refused(lambda: client.infer(model, [short]), "columns", "400")
    refused(lambda: client.infer("nobody", [rows(httpclient, asked)]), "nobody", "404")
    yield "http refusals"
    client.close()


def grpc_checks(asked):
    client = grpcclient.InferenceServerClient(asked["grpc"])
    model = asked["model"]
    check_health_and_metadata(asked, client)
    assert client.get_server_metadata().name == "tidemill"
    described = client.get_model_metadata(model, as_json=True)
    assert described["name"] == model and described["versions"] == [asked["version"]]
    yield "grpc health and metadata"
    for dtype in (np.float64, np.float32, np.float16):
        result = client.infer(model, [rows(grpcclient, {**asked, "rows": asked["exact_rows"]}, dtype)])
        assert result.as_numpy("label").tolist() == asked["exact_labels"]
    holds(asked, client.infer(model, [rows(grpcclient, asked)]))
    yield "grpc raw tensors both ways"
    result = client.infer(model, [rows(grpcclient, asked)], request_id="order-9", model_version=asked["version"])
    assert result.get_response().id == "order-9"
    only = [grpcclient.InferRequestedOutput("label")]
    assert client.infer(model, [rows(grpcclient, asked)], outputs=only).as_numpy("probabilities") is None
    yield "grpc id, version and outputs"
    for algorithm in ("gzip", "deflate"):
        holds(asked, client.infer(model, [rows(grpcclient, asked)], compression_algorithm=algorithm))
    yield "grpc compression"
    refused(lambda: client.infer("nobody", [rows(grpcclient, asked)]), "nobody", "NOT_FOUND")
    short = grpcclient.InferInput("x", [1, 1], "FP64")
    short.set_data_from_numpy(np.zeros((1, 1)))
    refused(lambda: client.infer(model, [short]), "columns", "INVALID_ARGUMENT")
    yield "grpc refusals"
    client.close()


async def async_checks(asked):
    for library, address, plain in ((httpaio, "http", httpclient), (grpcaio, "grpc", grpcclient)):
        client = library.InferenceServerClient(asked[address])
        assert await client.is_server_ready()
        results = await asyncio.gather(*(client.infer(asked["model"], [rows(plain, asked)]) for _ in range(16)))
        for result in results:
            holds(asked, result)
        await client.close()
    return "async clients"


def text_checks(asked):
    columns = asked["text"]["columns"]
    for library, address in ((httpclient, "http"), (grpcclient, "grpc")):
        client = library.InferenceServerClient(asked["text"][address])
        inputs = []
        for name, datatype, values in columns:
            array = np.array(values, dtype=np.object_ if datatype == "BYTES" else None)
            if datatype == "BYTES":
                array = np.array([value.encode() for value in values], dtype=np.object_)
            entry = library.InferInput(name, [len(values)], datatype)
            entry.set_data_from_numpy(array)
            inputs.append(entry)
        labels = client.infer(asked["text"]["model"], inputs).as_numpy("label")
        assert [label.decode() for label in labels] == asked["text"]["labels"], labels
        client.close()
    return "text columns and labels over http and grpc"


def definition():
    """The protocol's messages as this client has them: message → field → number, type, label, type's name."""
    whole = descriptor_pb2.FileDescriptorProto.FromString(service_pb2.DESCRIPTOR.serialized_pb)
    found = {}
    for message in whole.message_type:
        if message.name in MESSAGES:
            for prefix, part in ((".", message), *((f".{message.name}.", nested) for nested in message.nested_type)):
                fields = {f.name: [f.number, f.type, f.label, f.type_name] for f in part.field}
                found[f"inference{prefix}{part.name}"] = fields
    return found


def main():
    asked = json.load(sys.stdin)
    if asked.get("definition"):
        print(json.dumps(definition()))
        return
    for check in (*http_checks(asked), *grpc_checks(asked), asyncio.run(async_checks(asked))):
        print(check)
    if "text" in asked:
        print(text_checks(asked))


if __name__ == "__main__":
    main()
