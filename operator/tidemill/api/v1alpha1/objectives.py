"""Service level objectives of a ModelDeployment, and what its status records of them.

The status holds all that the next look needs: a restarted operator goes on with the same counts.
"""

from typing import Annotated

from pydantic import Field

from tidemill.api.base import ATOMIC, Model, Time, rule, rules

MAX_SLOTS = 200
"""Spans of time that a history has at most; with 90 days it has 150."""
MAX_COUNTERS = 64
"""Router pods times versions."""

_Counts = Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=MAX_SLOTS, json_schema_extra=ATOMIC)]
_Share = Annotated[float, Field(gt=0, lt=1)]


class LatencyObjective(Model):
    """A share of requests that must be answered within a time."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "self.milliseconds < 100 || (self.milliseconds < 1000 && self.milliseconds % 10 == 0) || "
                "(self.milliseconds < 10000 && self.milliseconds % 100 == 0) || self.milliseconds % 1000 == 0",
                "spec.slo.latency.milliseconds must have at most two significant digits, for example 50, 120 or 2500, "
                "because the router's histogram keeps two",
            )
        )
    }

    quantile: _Share
    """Share of requests that must be answered in less than milliseconds, for example 0.99. Must be greater than 0 and
    less than 1."""
    milliseconds: Annotated[int, Field(ge=1, le=60_000)]
    """Response time at the router in milliseconds, with at most two significant digits, from 1 to 60000. The
    router's histogram gets a bucket that ends just below, so setting or changing it replaces the router's pods."""


class Objectives(Model):
    """Service level objectives, judged on the statistics of the router.

    At least one of availability and latency must be set.
    """

    model_config = {
        "json_schema_extra": rules(
            rule(
                "has(self.availability) || has(self.latency)",
                "spec.slo: at least one of availability and latency must be set",
            )
        )
    }

    availability: _Share | None = None
    """Share of requests that must not be answered with a 5xx status or the gRPC status of a server error, for example
    0.999. Must be greater than 0 and less than 1. If not set, availability is not judged."""
    latency: LatencyObjective | None = None
    """Share of requests that must be answered within a time. If not set, the response time is not judged."""
    window_days: Annotated[int, Field(ge=7, le=90)] = 30
    """Length of the window of the error budget in days, from 7 to 90. It ends now and moves with the time."""


class BurnRate(Model):
    """How fast an error budget is used."""

    window: str
    """Length of the window: 5m, 30m, 1h, 2h, 6h, 1d or 3d."""
    rate: float
    """Share of bad requests in the window, divided by the share that the objective allows. With 1 the budget lasts for
    exactly its window."""


class ObjectiveStatus(Model):
    """One objective and its error budget."""

    objective: float
    """Share of requests that must be good."""
    requests: int = 0
    """Number of requests in the window of the budget."""
    bad: int = 0
    """Number of them that were not good."""
    budget_left: float | None = None
    """Share of the error budget that is left. Negative if more was used than there is. Not set without requests."""
    burn_rates: Annotated[list[BurnRate], Field(max_length=7, json_schema_extra=ATOMIC)] = []
    """Burn rates by window. A window without requests has none."""


class RequestHistory(Model):
    """Counts of requests by spans of time, oldest first. The older the time, the longer the spans."""

    starts: _Counts = []
    """Starts of the spans in seconds since 1970."""
    seconds: _Counts = []
    """Lengths of the spans in seconds."""
    requests: _Counts = []
    """Number of requests that were answered."""
    errors: _Counts = []
    """Number of them that were answered with an error of the server."""
    timed: _Counts = []
    """Number of requests whose response time was measured."""
    slow: _Counts = []
    """Number of them that took spec.slo.latency.milliseconds or longer."""


class RequestCounters(Model):
    """Counters of one router pod for one version. They count from the start of the router pod."""

    pod: Annotated[str, Field(max_length=253)]
    """Name of the router pod."""
    service: Annotated[str, Field(max_length=253)]
    """Name of the Service of the version."""
    requests: Annotated[int, Field(ge=0)] = 0
    """Number of requests that were answered."""
    errors: Annotated[int, Field(ge=0)] = 0
    """Number of them that were answered with an error of the server."""
    timed: Annotated[int | None, Field(ge=0)] = None
    """Number of requests whose response time was measured. Not set if the histogram of the router pod has no bucket
    that ends at the objective."""
    slow: Annotated[int | None, Field(ge=0)] = None
    """Number of them that took as long as the objective or longer."""


class ObjectivesStatus(Model):
    """State of the service level objectives."""

    since: Time
    """Time from which requests were counted. Later than the beginning of the window while the objectives are new."""
    time: Time
    """Time when the statistics of the router were last read."""
    budget_left: float | None = None
    """Share of the error budget that is left, of the objective with the least. Negative if more was used than there is.
    Not set without requests."""
    availability: ObjectiveStatus | None = None
    """The objective of availability."""
    latency: ObjectiveStatus | None = None
    """The objective of the response time."""
    latency_milliseconds: Annotated[int | None, Field(ge=1)] = None
    """The response time that requests were counted by."""
    history: RequestHistory = RequestHistory()
    """Counts of the requests of the window. The operator computes budgets and burn rates from them, also after
    a restart."""
    counters: Annotated[list[RequestCounters], Field(max_length=MAX_COUNTERS, json_schema_extra=ATOMIC)] = []
    """Counters of the router at the last reading, for each router pod and version."""
