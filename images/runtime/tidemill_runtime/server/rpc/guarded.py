"""gRPC methods for clients that show a key: the same keys as over HTTP, in the metadata of a call."""

from typing import Any, NoReturn

import grpc

from tidemill_runtime.model.errors import UnauthenticatedError
from tidemill_runtime.server.host.access import CALLER, Access

_FREE = ("/grpc.health.v1.Health/", "/inference.GRPCInferenceService/ServerLive")
_READY = ("/inference.GRPCInferenceService/ServerReady", "/inference.GRPCInferenceService/ModelReady")


class Guarded(grpc.GenericRpcHandler):
    """Services behind keys; health and readiness are free."""

    def __init__(self, access: Access, services: grpc.GenericRpcHandler) -> None:
        """`services`: what answers a call that is let in."""
        self._access = access
        self._services = services

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of a method, or one that refuses before a message is read."""
        method = handler_call_details.method
        if method.startswith(_FREE) or method in _READY:
            return self._services.service(handler_call_details)
        sent = handler_call_details.invocation_metadata or ()
        try:
            client = self._access.client(
                (name.encode(), value if isinstance(value, bytes) else value.encode()) for name, value in sent
            )
        except UnauthenticatedError as error:
            return _refusing(error.message)
        CALLER.set(self._access.hashed(client))  # what handles the call runs in this context
        return self._services.service(handler_call_details)


def _refusing(message: str) -> Any:
    async def refuse(_: Any, context: "grpc.aio.ServicerContext[Any, Any]") -> NoReturn:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, message)

    return grpc.stream_stream_rpc_method_handler(refuse)
