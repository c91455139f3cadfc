"""Inference over HTTP, whatever carries it: headers and body in, status, headers and body out.

Answers in the same turn of the event loop where the model is quick, else with a coroutine. Knows the protocols'
routes, ids and the form of errors; knows no socket, no ASGI and no framework. No validation twice, no log line a
request.
"""

import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import orjson

from tidemill_runtime.model.errors import ServingError
from tidemill_runtime.model.frame import Frame
from tidemill_runtime.model.prediction import Prediction
from tidemill_runtime.server.dataplane.batcher import Outcome
from tidemill_runtime.server.dataplane.dataplane import DataPlane, monotonic
from tidemill_runtime.server.protocol import binary_tensors, content_encoding, v1, v2
from tidemill_runtime.server.protocol.ids import ID_HEADER, VERSION_HEADER, Fields, given_id, header_value

Headers = list[tuple[bytes, bytes]]  # names in lower case
Protocol = Literal["v1", "v2"]
Encoded = tuple[bytes, int | None]  # a body, and the length of its JSON where binary data follows

JSON = (b"content-type", b"application/json")
_BINARY = (b"content-type", b"application/octet-stream")
_JSON_LENGTH = binary_tensors.HEADER.lower().encode()
_ENCODING = b"content-encoding"
_FIELDS = frozenset({_ENCODING, _JSON_LENGTH, ID_HEADER})
_LARGE_BODY = 128 * 1024  # parsing more than this would hold up every other request
_MANY_ROWS = 1000  # encoding more than these likewise
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Reply:
    """An answer; length, date and what becomes of the connection are the transport's."""

    status: int
    headers: Headers
    body: bytes
    rows: int = 0  # that were predicted
    request_id: str | None = None  # of the prediction, as it is; a header cannot hold every one


Done = Callable[[Reply], None]
Result = Reply | Coroutine[Any, Any, Reply] | None


@dataclass(slots=True)
class _Request:
    """A decoded request."""

    id: str
    frame: Frame
    decoded: v1.Request | v2.Request
    started: float
    client: str | None  # who asks, as a keyed hash


def error_body(message: str) -> bytes:
    """Return the body of every error."""
    return orjson.dumps({"error": message})


def refusal(error: ServingError) -> Reply:
    """Return the reply that an error becomes."""
    fields = [(name.encode(), value.encode()) for name, value in error.fields()]
    return Reply(error.status, [JSON, *fields], error_body(error.message))


class Inference:
    """Answers the inference requests of one model. Belongs to the event loop."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        name, number = plane.config.deployment, plane.config.number
        self._head = v2.Head(name, number)
        self._version_header = (VERSION_HEADER, number.encode("ascii", "replace"))
        paths: dict[str, Protocol] = {
            f"/v2/models/{name}/infer": "v2",
            f"/v2/models/{name}/versions/{number}/infer": "v2",
            f"/v1/models/{name}:predict": "v1",
        }
        self.routes = paths | {f"{path}/": protocol for path, protocol in paths.items()}
        """Decoded paths, with and without the trailing slash, to their protocol."""

    def answer(
        self, protocol: Protocol, headers: Headers, body: bytes, done: Done | None = None, client: str | None = None
    ) -> Result:
        """Return the reply to a whole request, or what must be awaited for it; counts and logs it.

        `client`: who asks, as the keyed hash that records hold; None where that is not known.
        None where `done` was given and is called with the reply at the end of this turn of the event loop.
        """
        started = monotonic()
        plane = self._plane
        try:
            plane.admit()
        except ServingError as error:
            return self._failed(error, started)
        is_over = True
        try:
            fields = fields_of(headers)
            if len(body) > _LARGE_BODY or _ENCODING in fields:  # a small body may inflate to a large one
                is_over = False
                return self._answer_large(protocol, fields, body, started, client)
            request = self._decode(protocol, fields, body, started, client)
            frame = request.frame
            if not plane.is_quick(frame.rows):
                is_over = False
                return self._answer_slowly(request)
            if done is None or plane.turn_batcher is None:
                answer = plane.answer(frame)
                return self._succeeded(request, answer, self._encode(request, answer))
            is_over = False
            plane.turn_batcher.add(frame, partial(self._answer_in_turn, request, done))
            return None
        except Exception as error:
            return self._failed(error, started)
        finally:
            if is_over:
                plane.release()

    def refused(self, error: ServingError) -> Reply:
        """Return the reply to a request that never became whole, and count it."""
        return self._failed(error, monotonic())

    def _answer_in_turn(self, request: _Request, done: Done, outcome: Outcome) -> None:
        try:
            if isinstance(outcome, Exception):
                reply = self._failed(outcome, request.started)
            else:
                reply = self._succeeded(request, outcome, self._encode(request, outcome))
        except Exception as error:
            reply = self._failed(error, request.started)
        finally:
            self._plane.release()
        done(reply)

    async def _answer_large(
        self, protocol: Protocol, fields: Fields, body: bytes, started: float, client: str | None
    ) -> Reply:
        plane = self._plane

        def decode() -> _Request:
            plain = body
            if _ENCODING in fields:
                plain = content_encoding.inflate(body, fields[_ENCODING].decode("latin-1"), plane.config.max_body_bytes)
            return self._decode(protocol, fields, plain, started, client)

        try:
            request = await plane.decoded(decode)
        except Exception as error:
            plane.release()
            return self._failed(error, started)
        except BaseException:
            plane.release()
            raise
        return await self._answer_slowly(request)

    async def _answer_slowly(self, request: _Request) -> Reply:
        plane = self._plane
        frame = request.frame
        try:
            answer = await plane.predict(frame)
            if frame.rows > _MANY_ROWS:
                encoded = await plane.in_thread(lambda: self._encode(request, answer))
            else:
                encoded = self._encode(request, answer)
            return self._succeeded(request, answer, encoded)
        except Exception as error:
            return self._failed(error, request.started)
        finally:
            plane.release()

    def _decode(self, protocol: Protocol, fields: Fields, body: bytes, started: float, client: str | None) -> _Request:
        plane = self._plane
        if protocol == "v2":
            request = decoded_v2(plane, fields, body)
            return _Request(request.id or given_id(fields) or plane.new_id(), request.frame, request, started, client)
        decoded = v1.decode(body, plane.schema)
        return _Request(given_id(fields) or plane.new_id(), decoded.frame, decoded, started, client)

    def _encode(self, request: _Request, answer: Prediction) -> Encoded:
        decoded = request.decoded
        if isinstance(decoded, v2.Request):
            return v2.encode(request.id, answer, decoded, self._head)
        return v1.encode(answer, decoded), None

    def _succeeded(self, request: _Request, answer: Prediction, encoded: Encoded) -> Reply:
        self._plane.succeeded(request.id, request.frame, answer, request.started, request.client)
        body, length = encoded
        fields: Headers = [JSON, self._version_header, (ID_HEADER, header_value(request.id))]
        if length is not None:
            fields[0] = _BINARY
            fields.append((_JSON_LENGTH, b"%d" % length))
        return Reply(200, fields, body, request.frame.rows, request.id)

    def _failed(self, error: Exception, started: float) -> Reply:
        if not isinstance(error, ServingError):
            _log.error("an inference request failed", exc_info=error)
            error = ServingError("internal error; the server's log says more")
        self._plane.failed(error.status, monotonic() - started)
        return refusal(error)


def fields_of(headers: Headers) -> Fields:
    """Return what inference looks at; several lines of one name are one list, as HTTP has it (RFC 9110, 5.3)."""
    fields: Fields = {}
    for name, value in headers:
        if name in _FIELDS:
            fields[name] = value if name not in fields else fields[name] + b", " + value
    return fields


def decoded_v2(plane: DataPlane, fields: Fields, body: bytes) -> v2.Request:
    """Return the V2 request in a plain body, JSON alone or with binary data behind it.

    Raises:
        BadRequestError: names the field and what it takes.
    """
    length = fields.get(_JSON_LENGTH)
    json_length = None if length is None else binary_tensors.json_length(length)
    return v2.decode(body, plane.schema, plane.output_names, json_length)
