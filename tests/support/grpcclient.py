"""A client of the inference service over gRPC that sends exactly what a test says, even what is no message."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from tidemill_runtime.server.protocol.proto import open_inference_pb2 as pb

SERVICE = "inference.GRPCInferenceService"


@dataclass(frozen=True)
class Refused:
    """How a call failed."""

    code: grpc.StatusCode
    details: str
    trailing: dict[str, str]


class Client:
    """Calls over one channel; a call's trailing metadata is in `trailing` afterwards."""

    def __init__(self, target: str, **options: Any) -> None:
        # A channel of its own for each client: else clients of one target share a connection.
        self.channel = grpc.insecure_channel(target, [("grpc.use_local_subchannel_pool", 1), *options.items()])
        self.trailing: dict[str, str] = {}

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exc: object) -> None:
        self.channel.close()

    def call(
        self,
        method: str,
        request: Any,
        reply: Any,
        *,
        metadata: Mapping[str, str] | None = None,
        compression: grpc.Compression | None = None,
        timeout: float = 30,
    ) -> Any:
        """Return the reply, or how the call was refused; `request` is a message or bytes."""
        body = request if isinstance(request, bytes) else request.SerializeToString()
        stub = self.channel.unary_unary(f"/{SERVICE}/{method}")
        try:
            answer, call = stub.with_call(
                body, metadata=tuple((metadata or {}).items()), compression=compression, timeout=timeout
            )
        except grpc.RpcError as error:
            return Refused(error.code(), error.details(), _plain(error.trailing_metadata()))
        self.trailing = _plain(call.trailing_metadata())
        return reply.FromString(answer)

    def infer(self, request: Any, **options: Any) -> Any:
        """Call ModelInfer."""
        return self.call("ModelInfer", request, pb.ModelInferResponse, **options)


def _plain(metadata: Any) -> dict[str, str]:
    return dict(metadata or ())


def tensor(name: str, shape: Sequence[int], datatype: str, **contents: Any) -> Any:
    """Return an input; without contents for requests that are raw."""
    entry = pb.ModelInferRequest.InferInputTensor(name=name, shape=shape, datatype=datatype)
    if contents:
        entry.contents.MergeFrom(pb.InferTensorContents(**contents))
    return entry


def request(*inputs: Any, raw: Sequence[bytes] = (), model: str = "demo", **fields: Any) -> Any:
    """Return a request."""
    return pb.ModelInferRequest(model_name=model, inputs=inputs, raw_input_contents=raw, **fields)
