"""Liveness, readiness and metrics on a port and a thread of their own.

A slow prediction can hold the event loop; it must not make the kubelet kill the pod, nor make metrics
time out just when somebody needs them. Starts before the model is loaded. One thread serves all connections,
so that it can be paused between two turns: a process must not fork while another of its threads runs.
"""

import contextlib
import json
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from tidemill_contracts.inference import FORM_PATH
from tidemill_contracts.signatures import SIGNATURE_PATH
from tidemill_runtime.server.host.sockets import listen
from tidemill_runtime.server.host.state import State
from tidemill_runtime.server.telemetry.metrics import Telemetry

_LIVE = frozenset({"/livez", "/healthz", "/v2/health/live"})
_READY = frozenset({"/readyz", "/v2/health/ready"})
_JSON_TYPE = "application/json"
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PHRASES = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 500: "Internal Server Error"}
_HEAD_BYTES = 16 * 1024  # more than any probe or scraper sends
_CONNECTION_SECONDS = 10.0  # within which a connection sends its request and takes its answer
_CONNECTIONS = 128
_ACCEPT_PAUSE_SECONDS = 0.05
_log = logging.getLogger(__name__)


class AdminServer:
    """GET /livez, /readyz, /metrics, /form, /signature (and the protocol's health paths). One answer a connection."""

    def __init__(self, port: int, state: State, telemetry: Telemetry, stuck_after_seconds: float) -> None:
        self._state = state
        self._telemetry = telemetry
        self._stuck_after_seconds = stuck_after_seconds
        self._page: Callable[[], bytes] | None = None
        self._listener = listen(port)
        self._listener.setblocking(False)
        self._wake, self._woken = socket.socketpair()
        self._connections: dict[socket.socket, _Connection] = {}
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port that is really bound."""
        return int(self._listener.getsockname()[1])

    def start(self) -> None:
        """Answer from now on, until the process ends."""
        self._thread = threading.Thread(target=self._run, name="admin", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Answer nobody for a moment, with no thread; who asks meanwhile waits. For forking."""
        self._halt()
        try:
            yield
        finally:
            self.start()

    def stop(self) -> None:
        """Stop answering and close the port."""
        self._halt()
        self.forget()

    def forget(self) -> None:
        """Close what a forked process has got of a server that is its parent's."""
        for open_socket in (self._listener, self._wake, self._woken, *self._connections):
            open_socket.close()

    def _metrics(self) -> bytes:
        """Return the text that Prometheus scrapes; its library is imported at the first scrape."""
        if self._page is None:
            from tidemill_runtime.server.telemetry.exposition import Page

            self._page = Page(self._telemetry).render
        return self._page()

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Return status, content type and body for a path."""
        if path == "/metrics":
            return 200, _METRICS_TYPE, self._metrics()
        if path in _LIVE:
            if self._state.is_stuck(self._stuck_after_seconds):
                return 503, *_json({"live": False, "error": "the event loop is stuck"})
            return 200, *_json({"live": True})
        if path in _READY:
            if self._state.is_ready:
                return 200, *_json({"ready": True})
            return 503, *_json({"ready": False, "error": f"the server is {self._state.phase}"})
        if path in (FORM_PATH, SIGNATURE_PATH):
            found = self._telemetry.form if path == FORM_PATH else self._telemetry.signature
            if found is None:
                return 503, *_json({"error": "the model is not loaded yet"})
            return 200, _JSON_TYPE, found.to_json().encode()
        return 404, *_json({"error": f"expected /livez, /readyz, /metrics, {FORM_PATH} or {SIGNATURE_PATH}"})

    def _halt(self) -> None:
        if self._thread is not None:
            self._wake.send(b"\0")
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            selector.register(self._listener, selectors.EVENT_READ)
            for open_socket, connection in self._connections.items():
                selector.register(open_socket, connection.events)
            while True:
                for key, _ in selector.select(1.0):
                    if key.fileobj is self._woken:
                        self._woken.recv(1)
                        return
                    if key.fileobj is self._listener:
                        self._accept(selector)
                    else:
                        self._advance(selector, key.fileobj)
                self._expire(selector)

    def _accept(self, selector: selectors.BaseSelector) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:  # gone again, or no descriptor is left; the listener stays readable then
            time.sleep(_ACCEPT_PAUSE_SECONDS)
            return
        client.setblocking(False)
        self._connections[client] = _Connection(client)
        selector.register(client, selectors.EVENT_READ)

    def _advance(self, selector: selectors.BaseSelector, client: Any) -> None:
        connection = self._connections[client]
        try:
            is_over = connection.advance(self.answer)
        except OSError:  # the client hung up
            is_over = True
        if is_over:
            self._close(selector, client)
        else:
            selector.modify(client, connection.events)

    def _expire(self, selector: selectors.BaseSelector) -> None:
        """Close connections that take too long; when there are too many, the oldest."""
        latest = time.monotonic() - _CONNECTION_SECONDS
        excess = len(self._connections) - _CONNECTIONS
        for place, (client, connection) in enumerate(list(self._connections.items())):
            if place < excess or connection.since < latest:
                self._close(selector, client)

    def _close(self, selector: selectors.BaseSelector, client: socket.socket) -> None:
        selector.unregister(client)
        del self._connections[client]
        client.close()


class _Connection:
    """One request and its answer."""

    def __init__(self, client: socket.socket) -> None:
        self.since = time.monotonic()
        self._client = client
        self._received = b""
        self._left: bytes | None = None  # of the answer

    @property
    def events(self) -> int:
        """What to wait for."""
        return selectors.EVENT_READ if self._left is None else selectors.EVENT_WRITE

    def advance(self, answer: Any) -> bool:
        """Read or write what can be; return whether the connection is over.

        Raises:
            OSError: the client is gone.
        """
        if self._left is None:
            piece = self._client.recv(_HEAD_BYTES)
            self._received += piece
            if b"\r\n\r\n" not in self._received and len(self._received) <= _HEAD_BYTES:
                return not piece
            self._left = _respond(self._received, answer)
        sent = self._client.send(self._left)
        self._left = self._left[sent:]
        return not self._left


def _respond(head: bytes, answer: Any) -> bytes:
    method, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
    path, _, version = rest.partition(" ")
    if not version.startswith("HTTP/1.") or len(head) > _HEAD_BYTES:
        return _reply("GET", 400, *_json({"error": "this is no HTTP request"}))
    if method not in ("GET", "HEAD"):
        return _reply(method, 405, *_json({"error": "expected GET"}))
    try:
        return _reply(method, *answer(path.partition("?")[0].rstrip("/")))
    except Exception:
        _log.exception("no answer to %s", path)
        return _reply(method, 500, *_json({"error": "internal error; the server's log says more"}))


def _reply(method: str, status: int, content_type: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status} {_PHRASES.get(status, 'Service Unavailable')}\r\ncontent-type: {content_type}\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + (b"" if method == "HEAD" else body)


def _json(body: dict[str, Any]) -> tuple[str, bytes]:
    return _JSON_TYPE, json.dumps(body).encode()
