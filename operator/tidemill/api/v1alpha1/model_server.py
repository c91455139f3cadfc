"""The part of a ModelDeployment that says how one server pod works: form of the model, limits, workers, observability.

Bounds are those within which a server can work at all; what is sensible for a cluster is its administrator's to say.
Defaults are the server's own (`ServerConfig`), so that a field left out and a field at its default are one thing.
"""

from typing import Annotated, Literal

from pydantic import Field

from tidemill.api.base import Model, Ratio, Resources, rule, rules
from tidemill.api.v1alpha1.pod_settings import TRACING_PREFIX, PodSettings
from tidemill_contracts.inference import Batching as BatchingConfig
from tidemill_contracts.inference import ServerConfig

MAX_WORKERS = 64
MAX_TIMEOUT_SECONDS = 600
MAX_BODY_BYTES = 1024**3

_CONFIG = ServerConfig.model_fields
_BATCHING = BatchingConfig()


class Batching(Model):
    """How the server predicts rows of several requests together."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "self.enabled || !(has(self.maxRows) || has(self.maxDelayMilliseconds))",
                "spec.server.batching: maxRows and maxDelayMilliseconds may be set only with enabled true",
            )
        )
    }

    enabled: bool = True
    """Whether the server may predict the rows of several requests with one call of the model. If false, each request is
    predicted separately."""
    max_rows: Annotated[
        int | None,
        Field(ge=2, le=100_000, description=f"Maximum number of rows in one batch. If not set, {_BATCHING.max_rows}."),
    ] = None
    max_delay_milliseconds: Annotated[
        float | None,
        Field(
            ge=0,
            le=1000,
            description=(
                "Maximum time in milliseconds that a request waits for other requests to join its batch. An idle "
                f"server does not wait. If not set, {_BATCHING.max_delay_milliseconds:g}."
            ),
        ),
    ] = None


class Tracing(Model):
    """Export of OpenTelemetry traces, by OTLP over HTTP."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "isURL(self.endpoint) && url(self.endpoint).getScheme() in ['http', 'https'] "
                "&& url(self.endpoint).getHostname() != ''",
                "spec.server.tracing.endpoint must be the URL of an OTLP collector, http:// or https://, "
                "for example http://otel-collector.observability:4318",
            )
        )
    }

    endpoint: Annotated[str, Field(min_length=1, max_length=2048)]
    """URL of an OpenTelemetry collector that accepts OTLP over HTTP, for example
    http://otel-collector.observability:4318."""
    sample_ratio: Ratio = 1.0
    """Share of requests for which a new trace is started. For a request that carries a trace context, the sampling
    decision of the caller applies instead."""


class Server(Model):
    """Settings of the model server and its pods."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "!has(self.tracing) || !has(self.pod) || !has(self.pod.env) || "
                f"self.pod.env.all(e, !e.name.startsWith('{TRACING_PREFIX}'))",
                f"spec.server.pod.env: a name must not begin with {TRACING_PREFIX} if spec.server.tracing is set, "
                "because that sets these variables",
            )
        )
    }

    runtime: Literal["Auto", "ONNX", "Native"] = "Auto"
    """Runtime that executes the model. Auto: ONNX if the version has a verified ONNX form or no native form, otherwise
    Native. ONNX: ONNX Runtime. Native: scikit-learn."""
    allow_pickle: bool = _CONFIG["allow_pickle"].default
    """Whether servers may load a version that is stored only as a pickle (joblib). Loading a pickle runs code in the
    server's pod, so set this to true only for versions that you trust. If false, such a version is not deployed."""
    allow_code: bool = _CONFIG["allow_code"].default
    """Whether servers may load functions and classes of the training code that are part of a version's model (format
    skops-code). They run in the server's pod, so set this to true only for pipelines whose code you trust. If false,
    such a version is not deployed, unless it has an ONNX form."""
    extra_columns: Literal["Refuse", "Ignore"] = _CONFIG["extra_columns"].default
    """What servers do with columns of a request that the model does not know. Refuse: status 400, which names them.
    Ignore: they are not read. Columns that the model knows and does not use need not be sent and are never refused."""
    grpc: bool = _CONFIG["grpc"].default
    """Whether the server answers gRPC beside HTTP. If false, it has no port for gRPC and needs less memory, and the
    router answers calls with the status UNIMPLEMENTED."""
    resources: Resources | None = None
    """CPU and memory of one server pod, shared by all its workers. If not set, a pod with one worker requests 100m CPU
    and 256Mi memory and has a memory limit of 1Gi; each further worker adds 100m, 128Mi and 256Mi."""
    workers: Annotated[int, Field(ge=1, le=MAX_WORKERS)] = _CONFIG["workers"].default
    """Number of processes in one server pod. They answer requests on the same port. More workers than CPUs make
    responses slower."""
    batching: Batching | None = None
    """Limits for predicting the rows of several requests together. If not set, the server uses batching where it
    measures that this is faster."""
    max_in_flight: Annotated[int, Field(ge=1, le=65536)] = _CONFIG["max_in_flight"].default
    """Maximum number of requests that one server pod processes at the same time, shared by its workers. Further
    requests are answered with status 503 and the header Retry-After."""
    max_body_bytes: Annotated[int, Field(ge=1024, le=MAX_BODY_BYTES)] = _CONFIG["max_body_bytes"].default
    """Maximum size of a request body in bytes. Larger requests are answered with status 413."""
    request_timeout_seconds: Annotated[int, Field(ge=1, le=MAX_TIMEOUT_SECONDS)] = int(
        _CONFIG["request_timeout_seconds"].default
    )
    """Time in seconds after which a request that has no response yet is answered with status 503. Use batch prediction
    for longer work."""
    access_log_ratio: Ratio = _CONFIG["access_log_ratio"].default
    """Share of requests that are written to the access log of the server."""
    tracing: Tracing | None = None
    """Export of OpenTelemetry traces. If not set, no traces are created."""
    pod: PodSettings | None = None
    """Settings of the server pods. A change replaces the pods of all versions that are served, without a rollout. If
    not set, the pods have the operator's own settings only."""


class RouterSettings(Model):
    """Settings of the router."""

    pod: PodSettings | None = None
    """Settings of the router pods. A change replaces these pods. If not set, they have the operator's own settings
    only."""
