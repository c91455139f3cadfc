"""The part of a ModelDeployment that says how one server pod works: form of the model, limits, workers, observability.

Bounds are those within which a server can work at all; what is sensible for a cluster is its administrator's to say.
Defaults are the server's own (`ServerConfig`), so that a field left out and a field at its default are one thing.
"""

from typing import Annotated, Literal

from pydantic import Field

from tidemill.api.base import Model, Ratio, Resources, rule, rules
from tidemill_contracts.inference import ServerConfig

MAX_WORKERS = 64
MAX_TIMEOUT_SECONDS = 600
MAX_BODY_BYTES = 1024**3

_CONFIG = ServerConfig.model_fields


class Batching(Model):
    """How single rows of many requests are predicted together."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "self.enabled || !(has(self.maxRows) || has(self.maxDelayMilliseconds))",
                "spec.server.batching: maxRows and maxDelayMilliseconds have an effect only with enabled true",
            )
        )
    }

    enabled: Annotated[bool, Field(description="false: every request is predicted by itself.")] = True
    max_rows: Annotated[
        int | None, Field(ge=2, le=100_000, description="Most rows of one batch; absent: the server's own limit.")
    ] = None
    max_delay_milliseconds: Annotated[
        float | None,
        Field(
            ge=0,
            le=1000,
            description="Longest time that a row waits for others; a server with nothing to do never waits. Absent: the server's own limit.",
        ),
    ] = None


class Tracing(Model):
    """Where spans of requests are sent (OpenTelemetry, OTLP over HTTP)."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "isURL(self.endpoint) && url(self.endpoint).getScheme() in ['http', 'https'] "
                "&& url(self.endpoint).getHostname() != ''",
                "spec.server.tracing.endpoint must be the address of an OTLP collector, http:// or https://, "
                "for example http://otel-collector.observability:4318",
            )
        )
    }

    endpoint: Annotated[
        str,
        Field(
            min_length=1,
            max_length=2048,
            description="Address of an OTLP collector that takes HTTP, for example http://otel-collector.observability:4318.",
        ),
    ]
    sample_ratio: Annotated[
        Ratio,
        Field(
            description="Share of requests that start a trace, 0 to 1; a request that carries a trace context follows the caller's choice."
        ),
    ] = 1.0


class Server(Model):
    """The model server's pods."""

    runtime: Annotated[
        Literal["Auto", "ONNX", "Native"],
        Field(description="Auto: ONNX when the version carries a verified ONNX form, else Native (scikit-learn)."),
    ] = "Auto"
    allow_pickle: Annotated[
        bool,
        Field(
            description="Load a version's joblib form where it has no other native one. Loading a pickle runs code in the server's pod: only for versions you trust."
        ),
    ] = _CONFIG["allow_pickle"].default
    resources: Annotated[
        Resources | None,
        Field(description="CPU and memory of one replica, all its workers together; absent: grows with workers."),
    ] = None
    workers: Annotated[
        int,
        Field(
            ge=1,
            le=MAX_WORKERS,
            description="Processes of one replica that answer requests on one port; more than its CPUs make answers slower.",
        ),
    ] = _CONFIG["workers"].default
    batching: Annotated[
        Batching | None,
        Field(description="Rows of several requests predicted at once; absent: the server decides by its own timings."),
    ] = None
    max_in_flight: Annotated[
        int,
        Field(
            ge=1,
            le=65536,
            description="Requests at once in one replica, shared among its workers; others are answered 503 with Retry-After.",
        ),
    ] = _CONFIG["max_in_flight"].default
    max_body_bytes: Annotated[
        int, Field(ge=1024, le=MAX_BODY_BYTES, description="Largest body of a request; a larger one is answered 413.")
    ] = _CONFIG["max_body_bytes"].default
    request_timeout_seconds: Annotated[
        int,
        Field(
            ge=1,
            le=MAX_TIMEOUT_SECONDS,
            description="A request without an answer for so long is answered 503; longer work belongs into a batch prediction.",
        ),
    ] = int(_CONFIG["request_timeout_seconds"].default)
    access_log_ratio: Annotated[
        Ratio, Field(description="Share of requests that get a line in the server's log, 0 to 1.")
    ] = _CONFIG["access_log_ratio"].default
    tracing: Annotated[Tracing | None, Field(description="OpenTelemetry traces; absent: none.")] = None
