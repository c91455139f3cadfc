"""The server as an ASGI application: inference ahead of FastAPI's routing, everything else to FastAPI.

Most inference requests never get here: `connection` answers them without ASGI. What does get here are
pipelined ones, and calls by other ASGI servers and by tests.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from tidemill_runtime.model.errors import ServingError
from tidemill_runtime.server.host.access import CLIENT, CLIENT_HASH, Access
from tidemill_runtime.server.host.state import State
from tidemill_runtime.server.http.body_limits import BodyReader, ClientGoneError, Receive
from tidemill_runtime.server.http.inference import Headers, Inference, Protocol, Reply, refusal

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_CLOSE = (b"connection", b"close")


class InferenceApp:
    """The ASGI application of the server; see the module."""

    def __init__(
        self,
        inference: Inference,
        state: State,
        reader: BodyReader,
        application: App,
        access: Access | None = None,
    ) -> None:
        """`access`: None where everybody may call."""
        self._access = access
        self._inference = inference
        self._state = state
        self._reader = reader
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer inference, pass on the rest."""
        if scope["type"] == "http":
            path = scope["path"]
            if path[-1:] == "/" and path != "/":
                path = scope["path"] = path.rstrip("/") or "/"
            protocol = self._inference.routes.get(path)
            is_inference = protocol is not None and scope["method"] == "POST"
            if self._access is not None:
                try:
                    scope[CLIENT] = self._access.check(path, scope["headers"])
                    scope[CLIENT_HASH] = self._access.hashed(scope[CLIENT])
                except ServingError as error:
                    await self._refuse(self._inference.refused(error) if is_inference else refusal(error), send)
                    return
            if protocol is not None and is_inference:
                await self._infer(protocol, scope, receive, send)
                return
            if self._state.is_draining:
                send = _closing(send)
        await self._application(scope, receive, send)

    async def _infer(self, protocol: Protocol, scope: Scope, receive: Receive, send: Send) -> None:
        headers: Headers = scope["headers"]
        try:
            body = await self._reader.read(headers, receive)
            result = self._inference.answer(protocol, headers, body, client=scope.get(CLIENT_HASH))
            assert result is not None  # noqa: S101  nothing is to be called
            reply = result if isinstance(result, Reply) else await result
        except ServingError as error:
            reply = self._inference.refused(error)
        except ClientGoneError:
            return
        await self._reply(reply, send)

    async def _refuse(self, reply: Reply, send: Send) -> None:
        """Answer before the body was read: what is left of it goes with the connection."""
        await self._reply(reply, send, closes=True)

    async def _reply(self, reply: Reply, send: Send, *, closes: bool = False) -> None:
        fields = [*reply.headers, (b"content-length", b"%d" % len(reply.body))]
        if closes or self._state.is_draining:
            fields.append(_CLOSE)
        await send({"type": "http.response.start", "status": reply.status, "headers": fields})
        await send({"type": "http.response.body", "body": reply.body})


def _closing(send: Send) -> Send:
    async def closing(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), _CLOSE]}
        await send(message)

    return closing
