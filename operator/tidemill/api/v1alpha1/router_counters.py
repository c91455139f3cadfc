"""Counters of the router, as the status of a ModelDeployment records them for a measurement."""

from typing import Annotated

from pydantic import Field

from tidemill.api.base import ATOMIC, Model


class LatencyBucket(Model):
    """One bucket of a latency histogram of the router. Buckets are cumulative."""

    milliseconds: Annotated[float | None, Field(ge=0)] = None
    """Upper bound of the response time in milliseconds. Not set in the bucket that counts all requests."""
    requests: Annotated[int, Field(ge=0)]
    """Number of requests that were answered within this time."""


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
    latencies: Annotated[list[LatencyBucket], Field(max_length=64, json_schema_extra=ATOMIC)] = []
    """Histogram of the response times, without buckets that count no more requests than the bucket before."""
