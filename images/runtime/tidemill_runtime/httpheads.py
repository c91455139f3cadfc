"""Heads of HTTP requests as RFC 9112 has them, for every server here: bounded, with one Host, and 100 Continue only
to those who know it. uvicorn's own connection with httptools looks at none of that.
"""

import json
import re
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024  # of path and headers, or of trailers; the parser joins pieces, which takes ever longer
TOO_LARGE = f"path and headers are larger than {MAX_HEAD_BYTES} bytes"
_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*")
_PHRASES = {400: b"Bad Request", 431: b"Request Header Fields Too Large"}


class StrictHeads(HttpToolsProtocol):
    """uvicorn's connection; a request whose head is wrong is refused, and the connection closed behind the refusal."""

    _fed = 0  # bytes that the parser has just been given
    _span = 0  # bytes since the read in which the request began, that included: at least its head's
    _later = 0  # bytes of reads behind that one: at most its head's, as long as that is not complete
    _hosts = 0
    _host = b""
    _is_in_head = False
    _is_refused = False  # what else comes is read and forgotten

    def data_received(self, data: bytes) -> None:
        """Parse, and bound a head that is not complete."""
        self._note(len(data))
        super().data_received(data)
        if self._is_in_head and self._later > MAX_HEAD_BYTES:
            self.refuse_head(431, TOO_LARGE)

    def _note(self, size: int) -> None:
        """Take note of bytes that the parser is about to be given."""
        self._fed = size
        self._span += size
        self._later += size

    def begin_head(self) -> None:
        """Start over with the next request."""
        self._span = self._fed
        self._later = 0
        self._hosts = 0
        self._is_in_head = True

    def on_message_begin(self) -> None:
        """Start a request."""
        self.begin_head()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note a header, as uvicorn does."""
        name = name.lower()
        if name == b"host":
            self._hosts += 1
            self._host = value
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = self.parser.get_http_version() != "1.0"
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Refuse a head that is wrong."""
        if not self.is_head_wrong():
            super().on_headers_complete()

    def is_head_wrong(self) -> bool:
        """Return whether the head is refused; it then is already."""
        self._is_in_head = False
        if self._is_refused:
            return True
        fault = self._fault()
        if fault is not None:
            self.refuse_head(*fault)
        return fault is not None

    def _fault(self) -> tuple[int, str] | None:
        if self._span > MAX_HEAD_BYTES:  # exactly now: what came first may be of other requests, or of the body
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > MAX_HEAD_BYTES:
                return 431, TOO_LARGE
        if self._hosts != 1:
            if self._hosts:
                return 400, f"Host: expected one, got {self._hosts}"
            if self.parser.get_http_version() != "1.0":
                return 400, "Host: missing; HTTP/1.1 takes one"
        elif not _HOST.fullmatch(self._host):
            return 400, "Host: expected the name of a host, and a port"
        return None

    def refuse_head(self, status: int, message: str) -> None:
        """Answer and close; behind a request that is being answered still, close without an answer."""
        self._is_refused = True
        self._is_in_head = False
        cycle: Any = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.keep_alive = False
            return
        body = json.dumps({"error": message}).encode()
        head = b"HTTP/1.1 %d %s\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self.transport.write(head % (status, _PHRASES[status], len(body)) + body)
        self.transport.close()

    def on_body(self, body: bytes) -> None:
        """Pass a piece of the body on."""
        if not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Pass the end of the body on."""
        if not self._is_refused:
            super().on_message_complete()
