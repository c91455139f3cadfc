"""Liveness, readiness and metrics on a port and a thread of their own.

A slow prediction can hold the event loop; it must not make the kubelet kill the pod, nor make metrics
time out just when somebody needs them. Starts before the model is loaded.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tidemill_runtime.server.sockets import listen
from tidemill_runtime.server.state import State
from tidemill_runtime.server.telemetry import Telemetry

_LIVE = frozenset({"/livez", "/healthz", "/v2/health/live"})
_READY = frozenset({"/readyz", "/v2/health/ready"})
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class AdminServer:
    """GET /livez, /readyz, /metrics (and the protocol's health paths)."""

    def __init__(self, port: int, state: State, telemetry: Telemetry, stuck_after_seconds: float) -> None:
        self._server = _Server(state, telemetry, stuck_after_seconds, port)
        self._thread = threading.Thread(target=self._server.serve_forever, name="admin", daemon=True)

    @property
    def port(self) -> int:
        """The port that is really bound."""
        return int(self._server.socket.getsockname()[1])

    def start(self) -> None:
        """Answer from now on, until the process ends."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering and close the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, state: State, telemetry: Telemetry, stuck_after_seconds: float, port: int) -> None:
        super().__init__(("", port), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listen(port)
        self.state = state
        self.telemetry = telemetry
        self.stuck_after_seconds = stuck_after_seconds

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Return status, content type and body for a path."""
        if path == "/metrics":
            return 200, _METRICS_TYPE, self.telemetry.exposition()
        if path in _LIVE:
            is_stuck = self.state.is_stuck(self.stuck_after_seconds)
            return (
                (503, *_json({"live": False, "error": "the event loop is stuck"}))
                if is_stuck
                else (200, *_json({"live": True}))
            )
        if path in _READY:
            if self.state.is_ready:
                return 200, *_json({"ready": True})
            return 503, *_json({"ready": False, "error": f"the server is {self.state.phase}"})
        return 404, *_json({"error": "expected /livez, /readyz or /metrics"})

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that hang up."""


def _json(body: dict[str, Any]) -> tuple[str, bytes]:
    return "application/json", json.dumps(body).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30  # seconds that an idle connection holds its thread
    server: _Server

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        status, content_type, body = self.server.answer(path.rstrip("/") or "/")
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: probes come every few seconds."""
