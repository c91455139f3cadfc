"""Traces and the access log of single requests, where they are configured.

Without them a server has no observer, and its requests cost nothing more. Transports call `finished` once a request,
with what they know; inference over HTTP is watched from outside, by `http.observed`.
"""

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidemill_contracts.inference import ServerConfig
from tidemill_runtime.server.telemetry.access_log import AccessLog
from tidemill_runtime.server.telemetry.metrics import Telemetry

if TYPE_CHECKING:
    from tidemill_runtime.server.telemetry.tracing import Tracer

FLUSH_SECONDS = 3.0
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
Attributes = dict[str, str | int | float]


@dataclass(frozen=True, slots=True)
class Finished:
    """A request that was answered. Times are seconds, sizes bytes of the bodies, header names lower case."""

    method: str
    route: str | None  # what was called, from a small set: no ids, no query; None: not known
    status: int  # HTTP's, or the one that the error carries
    seconds: float
    headers: Sequence[tuple[bytes, bytes]] = ()
    bytes_in: int = 0
    bytes_out: int = 0
    rows: int = 0  # 0: not known
    request_id: str | None = None
    rpc_status: int | None = None  # gRPC's code, where that is the protocol; `route` is service/method then


class Observer:
    """Reports finished requests; belongs to one event loop."""

    def __init__(self, config: ServerConfig, tracer: "Tracer | None", access_log: AccessLog | None) -> None:
        self._tracer = tracer
        self._access_log = access_log
        self._model = {"tidemill.model.name": config.deployment, "tidemill.model.version": config.number}

    async def run(self) -> None:
        """Write in the background until cancelled."""
        if self._access_log is not None:
            await self._access_log.run()

    def finished(self, request: Finished) -> None:
        """Report a request."""
        trace_id = self._trace(request) if self._tracer is not None else None
        if self._access_log is not None:
            fields = {
                "id": request.request_id,
                "method": request.method,
                "path": request.route,
                "status": request.status,
                "grpc_status": request.rpc_status,
                "seconds": round(request.seconds, 6),
                "bytes_in": request.bytes_in,
                "bytes_out": request.bytes_out,
                "rows": request.rows or None,
                "trace_id": trace_id or _trace_id(request.headers),
            }
            self._access_log.record(time.time(), request.status, fields)

    async def close(self) -> None:
        """Write what is left."""
        if self._access_log is not None:
            await self._access_log.flush(FLUSH_SECONDS)
        if self._tracer is not None:
            await asyncio.to_thread(self._tracer.close, FLUSH_SECONDS)

    def _trace(self, request: Finished) -> str | None:
        assert self._tracer is not None  # noqa: S101
        carrier: dict[str, str] = {}
        attributes: Attributes = {**self._model, "tidemill.rows": request.rows}
        for name, value in request.headers:
            if name in (b"traceparent", b"tracestate"):
                carrier[name.decode()] = value.decode("latin-1")
            elif name == b"host":
                _add_address(attributes, value.decode("latin-1"))
            elif name == b"user-agent":
                attributes["user_agent.original"] = value.decode("latin-1")
        span_name = _add_http(attributes, request) if request.rpc_status is None else _add_rpc(attributes, request)
        if request.request_id is not None:
            attributes["tidemill.prediction.id"] = request.request_id
        is_error = request.status >= 500
        if is_error:
            attributes["error.type"] = str(request.status)
        ended = time.time_ns()
        started = ended - int(request.seconds * 1e9)
        return self._tracer.request(carrier, span_name, started, ended, attributes, is_error=is_error)


def create(config: ServerConfig, telemetry: Telemetry) -> Observer | None:
    """Return what reports requests as configuration and environment say, None where neither is switched on."""
    tracer = None
    if is_tracing():
        from tidemill_runtime.server.telemetry.tracing import Tracer

        tracer = Tracer(config, telemetry.traces_dropped)
    access_log = None
    if config.access_log_ratio > 0:
        access_log = AccessLog(config.access_log_ratio, telemetry.access_lines_dropped)
    return None if tracer is None and access_log is None else Observer(config, tracer, access_log)


def is_tracing() -> bool:
    """Return whether OpenTelemetry's variables name a collector of traces and do not switch them off."""
    is_off = (
        os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none"
    )
    return not is_off and any(os.environ.get(name) for name in _ENDPOINTS)


def _add_http(attributes: Attributes, request: Finished) -> str:
    """Add what the semantic conventions for HTTP say; return the name of the span."""
    attributes["http.request.method"] = request.method
    attributes["http.response.status_code"] = request.status
    attributes["http.request.body.size"] = request.bytes_in
    attributes["http.response.body.size"] = request.bytes_out
    attributes["url.scheme"] = "http"
    if request.route is None:
        return request.method
    attributes["http.route"] = request.route
    return f"{request.method} {request.route}"


def _add_rpc(attributes: Attributes, request: Finished) -> str:
    """Add what the semantic conventions for gRPC say; return the name of the span."""
    name = (request.route or "").strip("/")
    attributes["rpc.system"] = "grpc"
    attributes["rpc.service"], _, attributes["rpc.method"] = name.partition("/")
    attributes["rpc.grpc.status_code"] = request.rpc_status or 0
    return name


def _add_address(attributes: Attributes, host: str) -> None:
    name, colon, port = host.rpartition(":")
    if colon and port.isdigit() and not name.endswith(":"):
        attributes["server.address"], attributes["server.port"] = name.strip("[]"), int(port)
    else:
        attributes["server.address"] = host.strip("[]")


def _trace_id(headers: Sequence[tuple[bytes, bytes]]) -> str | None:
    """Return the caller's trace id; one that is no W3C trace context is none."""
    for name, value in headers:
        if name == b"traceparent":
            parts = value.decode("latin-1").split("-")
            if len(parts) >= 4 and len(parts[1]) == 32 and all(c in "0123456789abcdef" for c in parts[1]):
                return parts[1]
    return None
