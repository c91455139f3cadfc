"""What the router does for gRPC beside HTTP, on the same port: routes, clusters, counts by status, errors in the log.

A version has a second cluster for gRPC, since its servers take that on another port, over HTTP/2. An error of gRPC is
an HTTP 200, so Envoy counts these calls by their own status; `router_stats` reads them as part of the version.
Must not know Kubernetes objects, like `envoy`, which puts these parts in their places.
"""

from __future__ import annotations

from typing import Any

from tidemill.serving.router_stats import GRPC_FAULTS

# Above so many calls at once the router opens a further connection: one server process of several answers each.
CALLS_PER_CONNECTION = 32
RETRY_ON = "connect-failure,refused-stream,reset-before-request,unavailable"
_EXTENSION = "type.googleapis.com/envoy.extensions"


def match(prefix: str = "/") -> dict[str, Any]:
    """What makes a request one of gRPC: its content type."""
    return {"prefix": prefix, "grpc": {}}


def unavailable(reason: str) -> dict[str, Any]:
    """A route that refuses every call for now."""
    return _refusal(503, reason)


def unimplemented(reason: str) -> dict[str, Any]:
    """A route that refuses every call; 404 is the HTTP status that stands for UNIMPLEMENTED."""
    return _refusal(404, reason)


def _refusal(status: int, reason: str) -> dict[str, Any]:
    """Envoy makes a gRPC status and its message of this."""
    return {"match": match(), "direct_response": {"status": status, "body": {"inline_string": reason}}}


def routes(route: dict[str, Any]) -> list[dict[str, Any]]:
    """The routes of gRPC; streams of health and reflection last as long as their client wants."""
    endless = {"timeout": "0s", "idle_timeout": "0s"}
    return [{"match": match("/grpc."), "route": route | endless}, {"match": match(), "route": route}]


def protocol() -> dict[str, Any]:
    """HTTP/2 to the servers."""
    return {"http2_protocol_options": {"max_concurrent_streams": CALLS_PER_CONNECTION}}


def stats_filter() -> dict[str, Any]:
    """Counts calls by status, all methods together."""
    kind = f"{_EXTENSION}.filters.http.grpc_stats.v3.FilterConfig"
    return {"name": "grpc_stats", "typed_config": {"@type": kind, "stats_for_all_methods": False}}


def faults() -> dict[str, Any]:
    """The access log's filter: calls that failed by the server's fault."""
    is_grpc = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
    statuses = {"grpc_status_filter": {"statuses": list(GRPC_FAULTS.values())}}
    return {"and_filter": {"filters": [{"header_filter": {"header": is_grpc}}, statuses]}}
