"""The Open Inference Protocol over gRPC: the methods of its service, on the data plane that REST uses, too.

The same admission, checks, predictions, counts and log; only messages and errors have gRPC's form. Messages are
parsed here, not by the library: bytes that are none are the client's error then, not the server's. Make a server only
in the process that serves: the library starts threads then, which no fork survives.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NoReturn, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from tidemill_contracts.inference import PREDICTION_ID_HEADER
from tidemill_runtime.model.errors import BadRequestError, OutOfTimeError, ServingError
from tidemill_runtime.model.prediction import Prediction
from tidemill_runtime.release import server_version
from tidemill_runtime.server.dataplane.dataplane import DataPlane, monotonic
from tidemill_runtime.server.dataplane.metadata import SERVER, Description
from tidemill_runtime.server.host import access
from tidemill_runtime.server.host.state import State
from tidemill_runtime.server.protocol import protobuf
from tidemill_runtime.server.protocol.ids import VERSION_HEADER, given_id, header_value
from tidemill_runtime.server.protocol.proto import open_inference_pb2 as pb
from tidemill_runtime.server.protocol.v2 import Request
from tidemill_runtime.server.rpc.guarded import Guarded
from tidemill_runtime.server.rpc.message_limits import Bounded, MessageBounds
from tidemill_runtime.server.telemetry.observer import Finished, Observer

SERVICE: str = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
_REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
PUSHBACK = "grpc-retry-pushback-ms"
_LARGE_MESSAGE = 128 * 1024  # parsing more than this would hold up every other request
_MANY_ROWS = 1000  # encoding more than these likewise
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}
_log = logging.getLogger(__name__)
Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
Method: TypeAlias = Callable[[bytes, Context], Awaitable[bytes]]


class InferenceService:
    """The methods of the service. Belongs to the event loop."""

    def __init__(self, plane: DataPlane, state: State, observer: Observer | None = None) -> None:
        self._plane = plane
        self._observer = observer
        self._state = state
        self._description = Description(plane)
        self._name = plane.config.deployment
        self._number = plane.config.number
        self._version = (VERSION_HEADER.decode(), self._number.encode("ascii", "replace").decode())

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the service as a server takes it: methods of bytes."""
        methods: dict[str, Method] = {
            "ServerLive": self.server_live,
            "ServerReady": self.server_ready,
            "ModelReady": self.model_ready,
            "ServerMetadata": self.server_metadata,
            "ModelMetadata": self.model_metadata,
            "ModelInfer": self.model_infer,
        }
        unary = grpc.unary_unary_rpc_method_handler
        return grpc.method_handlers_generic_handler(SERVICE, {name: unary(method) for name, method in methods.items()})

    async def server_live(self, body: bytes, context: Context) -> bytes:
        """Answer that the process lives."""
        del body, context
        return pb.ServerLiveResponse(live=True).SerializeToString()

    async def server_ready(self, body: bytes, context: Context) -> bytes:
        """Answer whether new requests should come here."""
        del body, context
        return pb.ServerReadyResponse(ready=self._state.is_ready).SerializeToString()

    async def model_ready(self, body: bytes, context: Context) -> bytes:
        """Answer the same about the model."""
        await self._named(pb.ModelReadyRequest(), body, context)
        return pb.ModelReadyResponse(ready=self._state.is_ready).SerializeToString()

    async def server_metadata(self, body: bytes, context: Context) -> bytes:
        """Answer what serves."""
        del body, context
        return pb.ServerMetadataResponse(name=SERVER, version=server_version()).SerializeToString()

    async def model_metadata(self, body: bytes, context: Context) -> bytes:
        """Answer the model's inputs and outputs."""
        await self._named(pb.ModelMetadataRequest(), body, context)
        return pb.ModelMetadataResponse(**self._description.model()).SerializeToString()

    async def _named(
        self, message: "pb.ModelReadyRequest | pb.ModelMetadataRequest", body: bytes, context: Context
    ) -> None:
        try:
            _parse(message, body)
            self._description.check(message.name, message.version or None)
        except ServingError as error:
            await _abort(context, error)

    async def model_infer(self, body: bytes, context: Context) -> bytes:
        """Predict."""
        started = monotonic()
        plane = self._plane
        is_admitted = False
        try:
            plane.admit()
            is_admitted = True
            request_id, request, answer, reply = await self._respond(body, context)
            plane.succeeded(request_id, request.frame, answer, started, access.CALLER.get())
            context.set_trailing_metadata((self._version, (PREDICTION_ID_HEADER, header_value(request_id).decode())))
            if self._observer is not None:
                sizes = len(body), len(reply)
                self._report(context, None, monotonic() - started, sizes, request.frame.rows, request_id)
            return reply
        except Exception as error:
            refusal = _refusal(error)
        finally:
            if is_admitted:
                plane.release()
        plane.failed(refusal.status, monotonic() - started)
        if self._observer is not None:
            self._report(context, refusal, monotonic() - started, (len(body), 0))
        return await _abort(context, refusal)

    def _report(
        self,
        context: Context,
        refusal: ServingError | None,
        seconds: float,
        sizes: tuple[int, int],
        rows: int = 0,
        request_id: str | None = None,
    ) -> None:
        assert self._observer is not None  # noqa: S101
        headers = [
            (k.encode(), v if isinstance(v, bytes) else v.encode()) for k, v in context.invocation_metadata() or ()
        ]
        status = refusal.status if refusal is not None else 200
        code = _code(refusal).value[0] if refusal is not None else 0
        finished = Finished("POST", f"{SERVICE}/ModelInfer", status, seconds, headers, *sizes, rows, request_id, code)
        self._observer.finished(finished)

    async def _respond(self, body: bytes, context: Context) -> tuple[str, Request, Prediction, bytes]:
        plane = self._plane
        if len(body) > _LARGE_MESSAGE:
            request = await plane.decoded(lambda: self._decode(body))
        else:
            request = self._decode(body)
        request_id = request.id or _given_id(context) or plane.new_id()
        rows = request.frame.rows
        answer = await plane.predict(request.frame)
        if rows > _MANY_ROWS:
            reply = await plane.in_thread(lambda: self._encode(request_id, answer, request))
        else:
            reply = self._encode(request_id, answer, request)
        return request_id, request, answer, reply

    def _decode(self, body: bytes) -> Request:
        message = pb.ModelInferRequest()
        _parse(message, body)
        self._description.check(message.model_name, message.model_version or None)
        return protobuf.decode(message, self._plane.schema, self._plane.output_names)

    def _encode(self, request_id: str, answer: Prediction, request: Request) -> bytes:
        return protobuf.encode(request_id, answer, request, self._name, self._number)


class _HealthServicer(health.aio.HealthServicer):
    """The library's, brought up to date when a call begins; its watchers do not keep a server that ends."""

    def __init__(self, update: Callable[[], Awaitable[None]]) -> None:
        super().__init__()
        self._update = update
        self.is_over = asyncio.Event()

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Any) -> Any:  # noqa: N802  its name
        """Return the status."""
        await self._update()
        return await super().Check(request, context)

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:  # noqa: N802  its name
        """Send the status and its changes until the client leaves or the server ends."""
        await self._update()
        watching = asyncio.ensure_future(super().Watch(request, context))
        over = asyncio.ensure_future(self.is_over.wait())
        try:
            await asyncio.wait((watching, over), return_when=asyncio.FIRST_COMPLETED)
        finally:
            watching.cancel()
            over.cancel()
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the server ends")


class _Collector:
    """Takes the handlers that generated code adds to a server."""

    def __init__(self, handlers: list[grpc.GenericRpcHandler]) -> None:
        self._handlers = handlers

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        self._handlers.extend(handlers)

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        """The same again, for servers that look methods up by name."""


class Health:
    """The health service: of the server, of the inference service and of the model by its name."""

    def __init__(self, model: str, state: State) -> None:
        self.servicer = _HealthServicer(self.update)
        self._state = state
        self._names = ("", SERVICE, model)
        self._reported: bool | None = None

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the service as a server takes it."""
        found: list[grpc.GenericRpcHandler] = []
        taker: Any = _Collector(found)
        health_pb2_grpc.add_HealthServicer_to_server(self.servicer, taker)
        return found[0]

    async def update(self) -> None:
        """Set the present status, which watchers receive."""
        await self._set(self._state.is_ready)

    async def _set(self, is_ready: bool) -> None:
        if is_ready is not self._reported:
            self._reported = is_ready
            status = health_pb2.HealthCheckResponse
            for name in self._names:
                await self.servicer.set(name, status.SERVING if is_ready else status.NOT_SERVING)

    async def end(self) -> None:
        """Set that nothing is served any more, and end the calls of watchers."""
        await self._set(False)
        await asyncio.sleep(0)  # a turn for the watchers to send it
        self.servicer.is_over.set()


class Reflection(grpc.GenericRpcHandler):
    """The reflection service, made when it is first called: that is rare, and it takes 40 ms and 3 MiB."""

    def __init__(self, services: Sequence[str]) -> None:
        self._services = services
        self._method: Any = None

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the service's only method, None when another one is called."""
        if handler_call_details.method != _REFLECTION:
            return None
        if self._method is None:
            from grpc_reflection.v1alpha import reflection, reflection_pb2

            servicer = reflection.aio.ReflectionServicer((*self._services, reflection.SERVICE_NAME))
            self._method = grpc.stream_stream_rpc_method_handler(
                servicer.ServerReflectionInfo,
                reflection_pb2.ServerReflectionRequest.FromString,
                reflection_pb2.ServerReflectionResponse.SerializeToString,
            )
        return self._method


def create_server(
    plane: DataPlane,
    state: State,
    options: Sequence[tuple[str, int]],
    bounds: MessageBounds,
    observer: Observer | None = None,
) -> tuple[grpc.aio.Server, Health]:
    """Return a server with all services, not yet started and without a port."""
    server = grpc.aio.server(options=options)
    health_service = Health(plane.config.deployment, state)
    services = [InferenceService(plane, state, observer).handlers(), health_service.handlers()]
    bounded = Bounded(bounds, [*services, Reflection((SERVICE, health.SERVICE_NAME))])
    guard = access.create(plane.config.access)
    server.add_generic_rpc_handlers((bounded if guard is None else Guarded(guard, bounded),))
    return server, health_service


def _parse(message: Message, body: bytes) -> None:
    try:
        message.ParseFromString(body)
    except DecodeError:
        raise BadRequestError(f"the message is no inference.{type(message).__name__}") from None


def _given_id(context: Context) -> str | None:
    for name, value in context.invocation_metadata() or ():
        if name == PREDICTION_ID_HEADER:
            return given_id({name.encode(): value if isinstance(value, bytes) else value.encode()})
    return None


def _refusal(error: Exception) -> ServingError:
    if isinstance(error, ServingError):
        return error.with_traceback(None)  # it leads to the caller's frame, and so to this very error
    _log.error("an inference request failed", exc_info=error)
    return ServingError("internal error; the server's log says more")


def _code(error: ServingError) -> grpc.StatusCode:
    if isinstance(error, OutOfTimeError):
        return grpc.StatusCode.DEADLINE_EXCEEDED
    return _CODES.get(error.status, grpc.StatusCode.INTERNAL)


async def _abort(context: Context, error: ServingError) -> NoReturn:
    """End the call with the error, and with the time to wait before the next try where that may help."""
    code = _code(error)
    if isinstance(error, OutOfTimeError):
        await context.abort(code, error.message)
    trailing = () if error.retry_after is None else ((PUSHBACK, str(error.retry_after * 1000)),)
    await context.abort(code, error.message, trailing)
