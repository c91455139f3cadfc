"""Heads of HTTP requests as RFC 9112 has them, for every server here: bounded, with one Host, and 100 Continue only
to those who know it. uvicorn's own connection with httptools looks at none of that.
"""

import json
import re
from http import HTTPStatus
from typing import Any, Self, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024  # of path and headers, or of trailers; the parser joins pieces, which takes ever longer
MAX_FIELDS = 128  # of one head; each costs more than its bytes
MAX_WAITING = 32  # requests behind one that is being answered; each holds 2.4 KiB, and may be 26 bytes
MAX_UNFINISHED_BYTES = 16 * 1024 * 1024  # what all unfinished requests of a process hold beside their bodies
TOO_LARGE = f"path and headers are larger than {MAX_HEAD_BYTES} bytes"
TOO_MANY = f"there are more than {MAX_FIELDS} headers"
TRAILERS_TOO_LARGE = f"trailers are larger than {MAX_HEAD_BYTES} bytes"
OVERLOADED = "overloaded: too many unfinished requests at once"
_FIELD_BYTES = 160  # that a header holds beside its name and value: two objects, a pair and its place
_NAMED = frozenset({b"host", b"expect", b"transfer-encoding"})
_PORT = rb"6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[0-9]{0,4}"
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)(?::(?:" + _PORT + rb"))?")


class Unfinished:
    """Counts what the unfinished requests of a process hold beside their bodies. Used from one event loop."""

    def __init__(self, limit: int = MAX_UNFINISHED_BYTES) -> None:
        """Set the limit in bytes."""
        self._limit = limit
        self.held = 0

    def change(self, by: int) -> bool:
        """Take bytes into account, or give them back (less than 0); return whether all are within the limit."""
        self.held += by
        return self.held <= self._limit


class StrictHeads(HttpToolsProtocol):
    """uvicorn's connection; a request whose head is wrong is refused, and the connection closed behind the refusal."""

    unfinished = Unfinished()
    _fed = 0  # bytes that the parser has just been given
    _span = 0  # bytes since the read in which the request began, that included: at least its head's
    _later = 0  # bytes of reads behind that one, or behind the last chunk's header: at most the head's or the trailers'
    _fields = 0
    _hosts = 0
    _host = b""
    _codings = 0
    _coding = b""
    _trailers = 0  # bytes of them
    _size = 0  # of a complete head
    _held = 0  # of `unfinished`
    _is_open = False  # the parser is inside some request
    _is_in_head = False
    _is_in_tail = False  # behind a chunk's header, before its content; trailers follow the last one's
    _is_refused = False  # what else comes is forgotten

    @classmethod
    def sharing(cls, **shared: Any) -> type[Self]:
        """Return a class of connections that have these attributes and one bound, as uvicorn wants to be given one."""
        return cast(type[Self], type(cls.__name__, (cls,), {**shared, "unfinished": Unfinished()}))

    def data_received(self, data: bytes) -> None:
        """Parse, and bound a request that is not complete."""
        if self._is_refused:
            return
        self._unset_keepalive_if_required()
        self.parse(data)
        if self._is_open:
            self.bound_unfinished()

    def parse(self, data: bytes) -> None:
        """Give the parser what came."""
        self._note(len(data))
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
        except httptools.HttpParserUpgrade as upgrade:
            self._pass_over_upgrade(data[upgrade.args[0] :])

    def _pass_over_upgrade(self, rest: bytes) -> None:
        """Take a request that offers another protocol (Java's client: h2c) as if it did not.

        The parser has stopped behind the headers and would take the body for that protocol, so it is given them again.
        """
        if self._is_refused:
            return
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        kept = [field for field in self.headers if field[0] not in (b"upgrade", b"http2-settings")]
        head = [b"%s %s HTTP/%s\r\n" % (method, self.url, version)]
        head += [b"%s: %s\r\n" % (name, value) for name, value in kept]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self.data_received(b"".join([*head, b"\r\n", rest]))

    def _note(self, size: int) -> None:
        """Take note of bytes that the parser is about to be given."""
        self._fed = size
        self._span += size
        self._later += size

    def begin_head(self) -> None:
        """Start over with the next request."""
        self._span = self._fed
        self._later = self._fields = self._hosts = self._codings = self._trailers = self._size = 0
        self._is_open = self._is_in_head = True

    def bound_unfinished(self) -> None:
        """Bound what a request that is not complete holds beside its body, alone and with all others."""
        if self._is_refused:
            return
        if self._is_in_head:
            if self._later > MAX_HEAD_BYTES or (self._span > MAX_HEAD_BYTES and self._known() > MAX_HEAD_BYTES):
                self.refuse(431, TOO_LARGE)
                return
            if self._fields > MAX_FIELDS:
                self.refuse(431, TOO_MANY)
                return
        elif self._is_in_tail and self._later > MAX_HEAD_BYTES:
            self.refuse(431, TRAILERS_TOO_LARGE)
            return
        held = (self._span if self._is_in_head else self._head_size()) + _FIELD_BYTES * len(self.headers)
        held += self._later if self._is_in_tail else 0
        change, self._held = held - self._held, held
        if change and not self.unfinished.change(change):
            self.refuse(503, OVERLOADED)

    def _known(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _head_size(self) -> int:
        self._size = self._size or self._known()
        return self._size

    def end_request(self) -> None:
        """Forget what the request held: it is complete, refused, or nobody's."""
        self._is_open = self._is_in_head = self._is_in_tail = False
        if self._held:
            self.unfinished.change(-self._held)
            self._held = 0

    def on_message_begin(self) -> None:
        """Start a request."""
        self.begin_head()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note a header, as uvicorn does; trailers are counted and forgotten."""
        if not self._is_in_head:
            self._trailers += len(name) + len(value) + 4
            if self._trailers > MAX_HEAD_BYTES and not self._is_refused:
                self.refuse(431, TRAILERS_TOO_LARGE)
            return
        self._fields += 1
        if self._fields > MAX_FIELDS:
            return  # refused when the parser comes out
        name = name.lower()
        if name in _NAMED:
            self._note_named(name, value)
        self.headers.append((name, value))

    def _note_named(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            self._hosts += 1
            self._host = value
        elif name == b"transfer-encoding":
            self._codings += 1
            self._coding = value
        elif value.lower() == b"100-continue":
            self.expect_100_continue = self.parser.get_http_version() != "1.0"

    def on_headers_complete(self) -> None:
        """Refuse a head that is wrong; one that offers another protocol comes again, see `_pass_over_upgrade`."""
        if not self.is_head_wrong() and not self.parser.should_upgrade():
            super().on_headers_complete()

    def is_head_wrong(self) -> bool:
        """Return whether the head is refused; it then is already."""
        if self._is_refused:
            return True
        fault = self._fault()
        if fault is not None:
            self.refuse(*fault)
        self._is_in_head = False
        return fault is not None

    def _fault(self) -> tuple[int, str] | None:
        if len(self.pipeline) >= MAX_WAITING:
            return 503, OVERLOADED
        # exactly now: what came first may be of other requests, or of the body
        if self._span > MAX_HEAD_BYTES and self._known() > MAX_HEAD_BYTES:
            return 431, TOO_LARGE
        if self._fields > MAX_FIELDS:
            return 431, TOO_MANY
        version = self.parser.get_http_version()
        if version not in ("1.1", "1.0"):
            return 505, f"HTTP/{version}: expected HTTP/1.1 or HTTP/1.0"
        if self._hosts != 1:
            if self._hosts:
                return 400, f"Host: expected one, got {self._hosts}"
            if version != "1.0":
                return 400, "Host: missing; HTTP/1.1 takes one"
        elif not _HOST.fullmatch(self._host):
            return 400, "Host: expected the name of a host, and a port"
        if self._codings:
            if version == "1.0":
                return 400, "Transfer-Encoding: HTTP/1.0 has none"
            if self._codings > 1 or self._coding.strip().lower() != b"chunked":
                return 501, "Transfer-Encoding: expected chunked"
        if self.parser.should_upgrade() and self.parser.get_method() == b"CONNECT":
            return 405, "CONNECT is not allowed: this server is no proxy"
        return None

    def refuse(self, status: int, message: str) -> None:
        """Answer and close; behind a request that is being answered still, close without an answer."""
        is_behind = self._is_in_head
        self._is_refused = True
        self.end_request()
        cycle: Any = self.cycle
        is_busy = cycle is not None and not cycle.response_complete
        if is_behind and is_busy:
            cycle.keep_alive = False
            return
        if is_behind or (is_busy and not cycle.response_started and not self.pipeline):
            self._write_refusal(status, message)
        self.transport.close()

    def _write_refusal(self, status: int, message: str) -> None:
        body = json.dumps({"error": message}).encode()
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nconnection: close\r\ncontent-type: application/json\r\n"
        )
        retry = "retry-after: 1\r\n" if status == 503 else ""
        self.transport.write(f"{head}{retry}content-length: {len(body)}\r\n\r\n".encode() + body)

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are no HTTP in the error form of everything else, and close."""
        if self._is_refused:
            return
        self._is_refused = True
        self.end_request()
        self._write_refusal(400, msg)
        self.transport.close()

    def on_chunk_header(self) -> None:
        """Start a chunk; behind the last one come trailers."""
        self._is_in_tail = True
        self._later = 0

    def on_body(self, body: bytes) -> None:
        """Pass a piece of the body on."""
        self._is_in_tail = False
        if not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Pass the end of the body on."""
        if self.parser.should_upgrade():
            return
        self.end_request()
        if not self._is_refused:
            super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Free what the connection held."""
        self.end_request()
        super().connection_lost(exc)
