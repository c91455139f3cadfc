"""The router's configuration: Envoy with exact weights, configured by files that change without a restart.

Why files: `clusters.json` (CDS) and `routes.json` (RDS) lie in a mounted ConfigMap that Envoy watches, so that a new
weight is in force as soon as the kubelet renews the mount, and the router keeps working when the operator is away.
`bootstrap.json` is read once. Endpoints come from the headless Services by DNS, every second.
Must not know Kubernetes objects: `router.py` wraps this into a ConfigMap and a Deployment.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tidemill.core import hashing
from tidemill.serving.builders import envoy_grpc
from tidemill.serving.router_stats import GRPC_SUFFIX, LATENCY_BUCKETS
from tidemill_contracts import digests
from tidemill_contracts.ports import GRPC_PORT, HTTP_PORT, ROUTER_STATS_PORT

CONFIG_DIR = "/etc/tidemill-router"
ADMIN_SOCKET = "/tmp/envoy-admin.sock"  # noqa: S108  on the pod's own emptyDir
CONNECTION_SECONDS = 5
"""After so long a client is asked to connect again, at the end of a request: those of a pod that is told to go so find
another one by themselves, and nothing has to tell the router that it drains."""
STATS_CONNECTIONS = 1000
VERSION_HEADER = "x-tidemill-version"
ROUTE_CONFIG = "inference"

# The server gives up by itself; the router waits a little longer, so that its answer arrives.
TIMEOUT_MARGIN_SECONDS = 5
IDLE_SECONDS = 300  # Envoy's own limit for a request on which no byte moves
# Far shorter than the servers' keep-alive: the router, not the server, closes an idle connection, so that none breaks
# under a request.
UPSTREAM_IDLE_TIMEOUT = "60s"

_RETRY = {
    "retry_on": "connect-failure,refused-stream,reset-before-request,retriable-status-codes",
    "retriable_status_codes": [503],
}
_NOTHING_READY = "no version of the model is ready yet"
_NO_GRPC = "this model is not served over gRPC (spec.server.grpc of its ModelDeployment is false); use HTTP"
_EXTENSION = "type.googleapis.com/envoy.extensions"
_MONITORS = f"{_EXTENSION}.resource_monitors"
_CONFIG = "type.googleapis.com/envoy.config"


@dataclass(frozen=True, slots=True)
class Upstream:
    """One version behind the router."""

    name: str  # cluster name: no dots, they would break the names of statistics
    host: str  # name that DNS resolves to the pods
    version: str  # name of the ModelVersion, in a header of every answer
    weight: int = 0
    port: int = HTTP_PORT
    grpc_port: int = GRPC_PORT


@dataclass(frozen=True, slots=True)
class Limits:
    """What the servers take; the router refuses or gives up no earlier than they do."""

    request_seconds: int = 30
    body_bytes: int = 16 * 1024 * 1024
    grpc: bool = True


def bootstrap(
    node: str,
    *,
    directory: str = CONFIG_DIR,
    admin_socket: str = ADMIN_SOCKET,
    port: int = HTTP_PORT,
    stats_port: int = ROUTER_STATS_PORT,
    connection_seconds: int = CONNECTION_SECONDS,
    edge: float | None = None,
) -> dict[str, Any]:
    """The static part: two listeners, the admin interface on a socket inside the pod, and where the files are.

    `edge`: a bound of the latency histogram, in milliseconds, beside the usual ones.

    Nothing in it is secret, and neither listener has a path that changes anything.
    """
    inference = _connection_manager(
        "inference",
        {"rds": {"route_config_name": ROUTE_CONFIG, "config_source": _files(directory, "routes.json")}},
        [envoy_grpc.stats_filter(), _router_filter()],
    )
    inference |= {
        "use_remote_address": True,
        # No address: nobody's x-envoy-* headers set time-outs or retries, as older Envoys let pods.
        "internal_address_config": {"cidr_ranges": [{"address_prefix": "::", "prefix_len": 128}]},
        "preserve_external_request_id": True,
        "always_set_request_id_in_response": True,
        "common_http_protocol_options": {"idle_timeout": "300s", "max_connection_duration": f"{connection_seconds}s"},
        # HTTP/1: the next answer says `Connection: close`. Without it the connection would break under a request.
        "http1_safe_max_connection_duration": True,
        "access_log": [_error_log()],
    }
    return {
        "node": {"id": node, "cluster": node},
        "admin": {"address": {"pipe": {"path": admin_socket, "mode": 0o600}}},
        "stats_flush_interval": "1s",
        "stats_config": {
            "histogram_bucket_settings": [{"match": {"suffix": "upstream_rq_time"}, "buckets": _buckets(edge)}],
            "stats_matcher": {"exclusion_list": {"patterns": [{"contains": c} for c in (".external.", ".internal.")]}},
        },
        "dynamic_resources": {"cds_config": _files(directory, "clusters.json")},
        "static_resources": {
            "listeners": [
                _listener("inference", port, inference),
                # Clients that use up all connections must not make the kubelet take the router for dead.
                _listener("stats", stats_port, _stats()) | {"ignore_global_conn_limit": True},
            ],
            "clusters": [_admin_cluster(admin_socket)],
        },
        **_connection_limits(),
    }


def _buckets(edge: float | None) -> list[float]:
    return sorted({*LATENCY_BUCKETS, edge}) if edge is not None else list(LATENCY_BUCKETS)


def clusters(upstreams: Sequence[Upstream], *, grpc: bool = True) -> dict[str, Any]:
    """The CDS file: a cluster a version for HTTP and one for gRPC, where servers answer that, in the order given."""
    http2 = envoy_grpc.protocol()
    return _versioned(
        [_cluster(u, u.name, u.port, {"http_protocol_options": {}}) for u in upstreams]
        + [_cluster(u, u.name + GRPC_SUFFIX, u.grpc_port, http2) for u in upstreams if grpc]
    )


def routes(upstreams: Sequence[Upstream], limits: Limits = Limits()) -> dict[str, Any]:
    """The RDS file: all requests, by weight, over the upstreams with a weight; 503 when there is none.

    A body that is declared to be larger than the servers take is answered here, before it is sent on.
    """
    weighted = [u for u in upstreams if u.weight > 0]
    if weighted:
        action: dict[str, Any] = {"route": _weighted_route(weighted, limits)}
        grpc = envoy_grpc.routes(_weighted_route(weighted, limits, GRPC_SUFFIX, {"retry_on": envoy_grpc.RETRY_ON}))
    else:
        action = {
            "direct_response": {"status": 503, "body": {"inline_string": json.dumps({"error": _NOTHING_READY})}},
            "response_headers_to_add": [_header("content-type", "application/json"), _header("retry-after", "1")],
        }
        grpc = [envoy_grpc.unavailable(_NOTHING_READY)]
    if not limits.grpc:
        grpc = [envoy_grpc.unimplemented(_NO_GRPC)]
    return _versioned(
        [
            {
                "@type": f"{_CONFIG}.route.v3.RouteConfiguration",
                "name": ROUTE_CONFIG,
                "virtual_hosts": [
                    {
                        "name": "model",
                        "domains": ["*"],
                        "routes": [*grpc, _too_large(limits.body_bytes), {"match": {"prefix": "/"}, **action}],
                    }
                ],
            }
        ]
    )


def _too_large(limit: int) -> dict[str, Any]:
    """413 in the servers' words. A body without a declared length is for the server to count."""
    length = {"name": "content-length", "range_match": {"start": str(limit + 1), "end": str(2**63 - 1)}}
    return {
        "match": {"prefix": "/", "headers": [length]},
        "direct_response": {
            "status": 413,
            "body": {"inline_string": json.dumps({"error": f"the body is larger than {limit} bytes"})},
        },
        "response_headers_to_add": [_header("content-type", "application/json")],
    }


def dump(document: dict[str, Any]) -> str:
    """The text of a file: equal documents give equal texts."""
    return digests.canonical_json(document).decode()


def version_of(document: dict[str, Any]) -> str:
    """The version that Envoy reports once this CDS or RDS file is in force."""
    return str(document["version_info"])


def _versioned(resources: list[dict[str, Any]]) -> dict[str, Any]:
    return {"version_info": hashing.short(resources, 16), "resources": resources}


def _files(directory: str, name: str) -> dict[str, Any]:
    # A ConfigMap mount changes by renaming `..data`, so the folder is watched, not the file.
    source = {"path": f"{directory}/{name}", "watched_directory": {"path": directory}}
    return {"path_config_source": source, "resource_api_version": "V3"}


def _listener(name: str, port: int, manager: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": port}},  # noqa: S104  a pod's own network
        "filter_chains": [{"filters": [{"name": "envoy.http_connection_manager", "typed_config": manager}]}],
    }


def _connection_limits() -> dict[str, Any]:
    """20,000 connections of clients, and apart from them some of the stats listener."""
    limit = {"envoy.resource_limits.listener.stats.connection_limit": STATS_CONNECTIONS}
    monitor = {
        "name": "envoy.resource_monitors.global_downstream_max_connections",
        "typed_config": {
            "@type": f"{_MONITORS}.downstream_connections.v3.DownstreamConnectionsConfig",
            "max_active_downstream_connections": 20000,
        },
    }
    return {
        "layered_runtime": {"layers": [{"name": "static", "static_layer": limit}]},
        "overload_manager": {"resource_monitors": [monitor]},
    }


def _connection_manager(prefix: str, routing: dict[str, Any], filters: list[dict[str, Any]]) -> dict[str, Any]:
    kind = f"{_EXTENSION}.filters.network.http_connection_manager.v3.HttpConnectionManager"
    return {"@type": kind, "stat_prefix": prefix, **routing, "http_filters": filters}


def _router_filter() -> dict[str, Any]:
    return {"name": "router", "typed_config": {"@type": f"{_EXTENSION}.filters.http.router.v3.Router"}}


def _error_log() -> dict[str, Any]:
    """Only what clients saw as 5xx, or as such a status of gRPC, one JSON line each, with Envoy's own reason."""
    fields = {
        "time": "%START_TIME%",
        "level": "warning",
        "status": "%RESPONSE_CODE%",
        "grpcStatus": "%GRPC_STATUS%",
        "flags": "%RESPONSE_FLAGS%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "cluster": "%UPSTREAM_CLUSTER%",
        "upstream": "%UPSTREAM_HOST%",
        "path": "%REQ(:PATH)%",
        "requestId": "%REQ(X-REQUEST-ID)%",
        "milliseconds": "%DURATION%",
    }
    comparison = {"op": "GE", "value": {"default_value": 500, "runtime_key": "tidemill.access_log_status"}}
    return {
        "name": "errors",
        "filter": {"or_filter": {"filters": [{"status_code_filter": {"comparison": comparison}}, envoy_grpc.faults()]}},
        "typed_config": {
            "@type": f"{_EXTENSION}.access_loggers.stream.v3.StdoutAccessLog",
            "log_format": {"json_format": fields},
        },
    }


def _stats() -> dict[str, Any]:
    """Statistics and readiness for everybody, both only read; nothing else of the admin interface."""
    route_list = [{"match": {"path": path}, "route": {"cluster": "admin"}} for path in ("/stats/prometheus", "/ready")]
    routing = {
        "route_config": {"name": "stats", "virtual_hosts": [{"name": "stats", "domains": ["*"], "routes": route_list}]}
    }
    return _connection_manager("stats", routing, [_router_filter()])


def _admin_cluster(socket: str) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": {"pipe": {"path": socket}}}}
    return {
        "name": "admin",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": "admin", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _cluster(upstream: Upstream, name: str, port: int, protocol: dict[str, Any]) -> dict[str, Any]:
    address = {"socket_address": {"address": upstream.host, "port_value": port}}
    limits = {"max_connections": 4096, "max_pending_requests": 4096, "max_requests": 4096}
    budget = {"budget_percent": {"value": 20}, "min_retry_concurrency": 20}
    http = f"{_EXTENSION}.upstreams.http.v3.HttpProtocolOptions"
    return {
        "@type": f"{_CONFIG}.cluster.v3.Cluster",
        "name": name,
        "connect_timeout": "1s",
        "cluster_type": {"name": "envoy.cluster.dns", "typed_config": _dns()},
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        "lb_policy": "LEAST_REQUEST",
        "circuit_breakers": {"thresholds": [{**limits, "retry_budget": budget}]},
        "outlier_detection": _outlier_detection(),
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": http,
                "common_http_protocol_options": {"idle_timeout": UPSTREAM_IDLE_TIMEOUT},
                "explicit_http_config": protocol,
            }
        },
    }


def _dns() -> dict[str, Any]:
    return {
        "@type": f"{_EXTENSION}.clusters.dns.v3.DnsCluster",
        "dns_refresh_rate": "1s",
        "dns_failure_refresh_rate": {"base_interval": "1s", "max_interval": "2s"},
        "respect_dns_ttl": False,
        "dns_lookup_family": "V4_PREFERRED",
    }


def _outlier_detection() -> dict[str, Any]:
    """Only a pod that cannot be reached is left out for some seconds; a model's errors are for the analysis."""
    return {
        "split_external_local_origin_errors": True,
        "consecutive_local_origin_failure": 3,
        "enforcing_consecutive_local_origin_failure": 100,
        "interval": "1s",
        "base_ejection_time": "3s",
        "max_ejection_percent": 50,
        "enforcing_consecutive_5xx": 0,
        "enforcing_consecutive_gateway_failure": 0,
        "enforcing_success_rate": 0,
        "enforcing_local_origin_success_rate": 0,
    }


def _weighted_route(
    upstreams: Sequence[Upstream], limits: Limits, suffix: str = "", retry: dict[str, Any] = _RETRY
) -> dict[str, Any]:
    seconds = limits.request_seconds + TIMEOUT_MARGIN_SECONDS
    return {
        "timeout": f"{seconds}s",
        "idle_timeout": f"{max(seconds, IDLE_SECONDS)}s",
        "weighted_clusters": {
            "clusters": [
                {
                    "name": u.name + suffix,
                    "weight": u.weight,
                    "response_headers_to_add": [_header(VERSION_HEADER, u.version)],
                }
                for u in upstreams
            ]
        },
        "retry_policy": {
            **retry,
            "num_retries": 2,
            "retry_host_predicate": [
                {
                    "name": "previous_hosts",
                    "typed_config": {"@type": f"{_EXTENSION}.retry.host.previous_hosts.v3.PreviousHostsPredicate"},
                }
            ],
            "host_selection_retry_max_attempts": 3,
            "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.250s"},
        },
    }


def _header(key: str, value: str) -> dict[str, Any]:
    return {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
