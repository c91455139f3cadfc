"""The lean ASGI path of inference, mounted ahead of the application: bytes in, bytes out.

No framework, no validation twice, no log line a request. Everything that is not a POST on this model's
inference paths goes on to the application.
"""

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote

import orjson

from tidemill_contracts.inference import PREDICTION_ID_HEADER
from tidemill_runtime.server import protocol_v1, protocol_v2
from tidemill_runtime.server.bodies import BodyReader, ClientGoneError, Headers, Receive
from tidemill_runtime.server.dataplane import DataPlane, monotonic, new_request_id
from tidemill_runtime.server.errors import (
    BadRequestError,
    ServingError,
)
from tidemill_runtime.server.frame import Frame
from tidemill_runtime.server.state import State

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Decoded = tuple[str, Frame, list[str] | None]

VERSION_HEADER = b"x-tidemill-version"
_ID_HEADER = PREDICTION_ID_HEADER.encode()
_JSON = (b"content-type", b"application/json")
_CLOSE = (b"connection", b"close")
_LARGE_BODY = 128 * 1024  # parsing more than this would hold up every other request
_MANY_ROWS = 1000  # encoding more than these likewise
_log = logging.getLogger(__name__)


def error_body(message: str) -> bytes:
    """Return the body of every error."""
    return orjson.dumps({"error": message})


def error_headers(error: ServingError) -> Headers:
    """Return the headers of an error besides its length."""
    return [_JSON, *([(b"retry-after", str(error.retry_after).encode())] if error.retry_after is not None else [])]


class InferenceApp:
    """The ASGI application of the server; see the module."""

    def __init__(self, plane: DataPlane, state: State, reader: BodyReader, application: App) -> None:
        self._plane = plane
        self._state = state
        self._reader = reader
        self._application = application
        config = plane.config
        name, number = config.deployment, config.number
        self._model_head = {"model_name": name, "model_version": number}
        self._base_headers: Headers = [_JSON, (VERSION_HEADER, number.encode("ascii", "replace"))]
        self._routes = {
            f"/v2/models/{name}/infer": "v2",
            f"/v2/models/{name}/versions/{number}/infer": "v2",
            f"/v1/models/{name}:predict": "v1",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer inference, pass on the rest."""
        if scope["type"] == "http":
            path = scope["path"]
            protocol = self._routes.get(path)
            if protocol is None and path[-1:] == "/" and path != "/":
                path = scope["path"] = path.rstrip("/") or "/"
                protocol = self._routes.get(path)
            if protocol is not None and scope["method"] == "POST":
                await self._infer(protocol, scope["headers"], receive, send)
                return
            if self._state.is_draining:
                send = _closing(send)
        await self._application(scope, receive, send)

    async def _infer(self, protocol: str, headers: Headers, receive: Receive, send: Send) -> None:
        started = monotonic()
        plane = self._plane
        status = 200
        is_admitted = False
        try:
            plane.admit()
            is_admitted = True
            body = await self._reader.read(headers, receive)
            request_id, frame, answer, payload = await self._respond(protocol, headers, body)
            plane.succeeded(request_id, frame, answer, monotonic() - started)
            response_headers = [*self._base_headers, (_ID_HEADER, header_value(request_id))]
        except ServingError as error:
            status, payload, response_headers = error.status, error_body(error.message), error_headers(error)
            if status == 400:
                payload = error_body(error.message + _encoding_hint(headers))
        except ClientGoneError:
            return
        except Exception:
            _log.exception("an inference request failed")
            status, payload, response_headers = 500, error_body("internal error; the server's log says more"), [_JSON]
        finally:
            if is_admitted:
                plane.release()
        if status != 200:
            plane.failed(status, monotonic() - started)
        response_headers.append((b"content-length", b"%d" % len(payload)))
        if self._state.is_draining:
            response_headers.append(_CLOSE)
        await send({"type": "http.response.start", "status": status, "headers": response_headers})
        await send({"type": "http.response.body", "body": payload})

    async def _respond(self, protocol: str, headers: Headers, body: bytes) -> tuple[str, Frame, Any, bytes]:
        plane = self._plane
        if len(body) > _LARGE_BODY:
            decoded = await plane.in_thread(lambda: self._decode(protocol, headers, body))
        else:
            decoded = self._decode(protocol, headers, body)
        request_id, frame, outputs = decoded
        answer = plane.answer(frame) if plane.is_quick(frame.rows) else await plane.predict(frame)
        if frame.rows > _MANY_ROWS:
            payload = await plane.in_thread(lambda: self._encode(protocol, request_id, answer, outputs))
        else:
            payload = self._encode(protocol, request_id, answer, outputs)
        return request_id, frame, answer, payload

    def _decode(self, protocol: str, headers: Headers, body: bytes) -> Decoded:
        plane = self._plane
        if protocol == "v2":
            request = protocol_v2.decode(body, plane.schema, plane.output_names)
            return request.id or given_id(headers) or new_request_id(), request.frame, request.outputs
        return given_id(headers) or new_request_id(), protocol_v1.decode(body, plane.schema), None

    def _encode(self, protocol: str, request_id: str, answer: Any, outputs: list[str] | None) -> bytes:
        if protocol == "v2":
            return protocol_v2.encode(request_id, answer, outputs, self._model_head)
        return protocol_v1.encode(answer)


def given_id(headers: Headers) -> str | None:
    """Return the prediction id that the client chose, None when it chose none.

    Raises:
        BadRequestError: longer than an id may be, or not printable ASCII.
    """
    for name, value in headers:
        if name == _ID_HEADER:
            text = value.decode("latin-1")
            if not 0 < len(text) <= protocol_v2.MAX_ID or not (text.isascii() and text.isprintable()):
                raise BadRequestError(
                    f"{PREDICTION_ID_HEADER}: expected 1 to {protocol_v2.MAX_ID} printable ASCII characters"
                )
            return text
    return None


def header_value(request_id: str) -> bytes:
    """Return an id as a header value: as it is when printable ASCII, else percent-encoded UTF-8."""
    if request_id.isascii() and request_id.isprintable():
        return request_id.encode()
    return quote(request_id, safe=" /:;,@!$&'()*+=[]{}<>?^|~`\"#").encode()


def _encoding_hint(headers: Headers) -> str:
    for name, value in headers:
        if name == b"content-encoding" and value.lower() != b"identity":
            return f"; Content-Encoding {value.decode('latin-1')!r} is not supported"
    return ""


def _closing(send: Send) -> Send:
    async def closing(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), _CLOSE]}
        await send(message)

    return closing
