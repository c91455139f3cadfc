"""Counters of the router, as the status of a ModelDeployment records them for a measurement."""

from typing import Annotated

from pydantic import Field

from tidemill.api.base import ATOMIC, Model


class RouterCounters(Model):
    """Counters of one router pod for one version. They count from the start of the router pod."""

    pod: Annotated[str, Field(max_length=253)]
    """Name of the router pod."""
    service: Annotated[str, Field(max_length=253)]
    """Name of the Service of the version."""
    requests: Annotated[int, Field(ge=0)] = 0
    """Number of requests that the version answered."""
    errors: Annotated[int, Field(ge=0)] = 0
    """Number of requests that were answered with a 5xx status or the gRPC status of a server error."""
    client_errors: Annotated[int | None, Field(ge=0)] = None
    """Number of requests that the version refused: status 400, 415 or 422, or gRPC status 3, 9 or 11. Not set in
    counters that an older operator recorded."""
    latency_bounds: Annotated[list[Annotated[float, Field(ge=0)]], Field(max_length=64, json_schema_extra=ATOMIC)] = []
    """Histogram of the response times: upper bounds of the buckets in milliseconds, increasing. Bounds that add no
    requests are left out."""
    latency_counts: Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=65, json_schema_extra=ATOMIC)] = []
    """Histogram of the response times: number of requests that were answered within each of latencyBounds. If some
    took longer than the last bound, one more entry counts all requests."""
