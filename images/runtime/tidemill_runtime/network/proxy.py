"""The way of the object-store library to the network: a proxy inside this process that dials what `addresses` allows.

The library resolves names and follows redirects by itself, so checking its endpoint beforehand would not be enough:
a store may redirect, a name server may answer differently the second time. But it takes a proxy. This one
listens on the loopback address and serves holders of a ticket alone; TLS goes through it untouched.
"""

import base64
import os
import secrets
import selectors
import socket
import socketserver
import threading
import urllib.parse
from dataclasses import dataclass, field
from typing import cast

from tidemill_runtime.network import addresses

_HEAD_BYTES = 65_536
_PIECE = 1 << 18
_TIMEOUT_SECONDS = 30.0
_IDLE_SECONDS = 3600.0


@dataclass
class Ticket:
    """What one user of the proxy may do, and what became of it last."""

    is_plain_allowed: bool
    """Whether requests without TLS are: a store by https does not redirect to http."""
    token: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    refusal: str | None = None
    problem: str | None = None
    """Why the last connection failed."""

    def url(self) -> str:
        """Return the proxy's URL for this ticket; starts the proxy when there is none yet."""
        return f"http://ticket:{self.token}@127.0.0.1:{_proxy().register(self)}"


class _Proxy(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.tickets: dict[str, Ticket] = {}
        threading.Thread(target=self.serve_forever, name="network guard", daemon=True).start()

    def register(self, ticket: Ticket) -> int:
        """Let a ticket in; return the port."""
        credentials = base64.b64encode(f"ticket:{ticket.token}".encode()).decode()
        self.tickets[f"Basic {credentials}"] = ticket
        return int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: the library reports what it could not do."""


_state: dict[int, _Proxy] = {}
_lock = threading.Lock()


def _proxy() -> _Proxy:
    """Return this process's proxy; a forked child has none of its parent's threads and gets its own."""
    with _lock:
        found = _state.get(os.getpid())
        if found is None:
            found = _state[os.getpid()] = _Proxy()
        return found


os.register_at_fork(after_in_child=lambda: globals().__setitem__("_lock", threading.Lock()))


class _Request(socketserver.BaseRequestHandler):
    request: socket.socket
    server: _Proxy

    def handle(self) -> None:
        """Serve one connection: one tunnel, or one plain request and its answer."""
        self.request.settimeout(_TIMEOUT_SECONDS)
        head, rest = self._head()
        line, _, fields = head.partition(b"\r\n")
        method, target, _ = line.decode("latin-1").split(" ", 2)
        headers = [f for f in fields.decode("latin-1").split("\r\n") if f]
        ticket = next((t for h in headers if (t := self._ticket(h)) is not None), None)
        if ticket is None:
            self._answer("407 Proxy Authentication Required")
            return
        try:
            if method == "CONNECT":
                host, _, port = target.rpartition(":")
                upstream = addresses.connect(host.strip("[]"), int(port), _TIMEOUT_SECONDS)
                first = rest
            else:
                upstream, first = self._plain(ticket, method, target, headers)
                first += rest
        except (addresses.RefusedError, ValueError) as error:
            ticket.refusal = str(error)
            self._answer("403 Forbidden")
            return
        except OSError as error:
            ticket.problem = f"{target if method == 'CONNECT' else urllib.parse.urlsplit(target).netloc}: {_why(error)}"
            self._answer("502 Bad Gateway")
            return
        ticket.problem = None
        with upstream:
            if method == "CONNECT":
                self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            upstream.sendall(first)
            _relay(self.request, upstream)

    def _head(self) -> tuple[bytes, bytes]:
        held = b""
        while b"\r\n\r\n" not in held:
            piece = self.request.recv(_PIECE)
            if not piece or len(held) > _HEAD_BYTES:
                raise ConnectionError("no request")
            held += piece
        head, _, rest = held.partition(b"\r\n\r\n")
        return head, rest

    def _ticket(self, header: str) -> Ticket | None:
        name, _, value = header.partition(":")
        return self.server.tickets.get(value.strip()) if name.lower() == "proxy-authorization" else None

    @staticmethod
    def _plain(ticket: Ticket, method: str, target: str, headers: list[str]) -> tuple[socket.socket, bytes]:
        """Return a connection to the host of an absolute URL, and the head of the request for it."""
        parts = urllib.parse.urlsplit(target)
        if parts.scheme != "http" or parts.hostname is None:
            raise ValueError("a request without TLS to something that is no http URL")
        port = parts.port or 80
        if not ticket.is_plain_allowed:
            here = addresses.rules()
            found = addresses.addresses(parts.hostname, port)
            if not all(here.names(place[0]) for _, place in found):
                raise ValueError(f"a store by https leads to {parts.scheme}://{parts.hostname}: that is not followed")
        kept = [h for h in headers if h.partition(":")[0].lower() not in ("proxy-authorization", "connection")]
        path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        lines = [f"{method} {path} HTTP/1.1", *kept, "Connection: close", "", ""]
        return addresses.connect(parts.hostname, port, _TIMEOUT_SECONDS), "\r\n".join(lines).encode("latin-1")

    def _answer(self, status: str) -> None:
        self.request.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())


def _why(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__


def _relay(one: socket.socket, other: socket.socket) -> None:
    """Copy both ways until one side has ended and the other has taken what was left, or nothing moves for an hour."""
    with selectors.DefaultSelector() as selector:
        for source, sink in ((one, other), (other, one)):
            source.settimeout(_IDLE_SECONDS)
            selector.register(source, selectors.EVENT_READ, sink)
        while selector.get_map():
            ready = selector.select(_IDLE_SECONDS)
            if not ready:
                return
            for key, _ in ready:
                source, sink = cast(socket.socket, key.fileobj), key.data
                piece = source.recv(_PIECE)
                if piece:
                    sink.sendall(piece)
                    continue
                selector.unregister(source)
                if sink is one:  # the server has ended: the answer is complete
                    return
                sink.shutdown(socket.SHUT_WR)
