"""The part of a ModelDeployment that says how a candidate is judged, and what its status records of that.

What the status holds of a comparison is all that its test knows, so that a restarted operator goes on with it.
"""

from typing import Annotated, Literal

from pydantic import Field

from tidemill.api.base import ATOMIC, Model, Time, rule, rules
from tidemill.api.v1alpha1.router_counters import RouterCounters

Metric = Literal[
    "ErrorRatio", "ClientErrorRatio", "LatencyP50Milliseconds", "LatencyP95Milliseconds", "LatencyP99Milliseconds"
]
Outcome = Literal["Successful", "Failed", "Inconclusive", "Error"]
MAX_LIMITS = 21
"""Limits that one analysis tests: two of each of ten checks, and the one that needs no check."""

SMALLEST_LATENCY = 0.5
"""Milliseconds: the first bound of the router's histogram."""

_Evidence = Annotated[list[float], Field(max_length=64, json_schema_extra=ATOMIC)]


class Check(Model):
    """One check of the candidate, computed from the statistics of the router.

    At least one of max and maxRatioToStable must be set.
    """

    model_config = {
        "json_schema_extra": rules(
            rule(
                "has(self.max) || has(self.maxRatioToStable)",
                "check: at least one of max and maxRatioToStable must be set",
            )
        )
    }

    metric: Metric
    """Metric that is checked. ErrorRatio: share of requests that were answered with a 5xx status or the gRPC status of
    a server error, from 0 to 1. ClientErrorRatio: share of requests that the version refused, with status 400, 415 or
    422 or gRPC status 3, 9 or 11. LatencyP50Milliseconds, LatencyP95Milliseconds, LatencyP99Milliseconds: 50th, 95th or
    99th percentile of the response time in milliseconds."""
    max: Annotated[float | None, Field(ge=0)] = None
    """Maximum value in a measurement with which the check passes. If not set, there is no absolute limit."""
    max_ratio_to_stable: Annotated[float | None, Field(gt=0)] = None
    """Ratio of the candidate's value to the stable version's value that must not be exceeded. For example, with 1.2 a
    value that is 20 % higher is accepted. The check fails if all requests since the rollout began show, with the
    confidence of the analysis, that the ratio is exceeded. A step with weight 100 does not wait for a comparison,
    because the stable version gets no requests in it. If not set, the versions are not compared."""


class Analysis(Model):
    """Automatic analysis of a candidate."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "self.clientErrors != 'Ignore' || !has(self.checks) || "
                "self.checks.all(c, c.metric != 'ClientErrorRatio')",
                "spec.rollout.analysis: clientErrors must be Compare if a check has the metric ClientErrorRatio",
            ),
            rule(
                "!self.requireProof || self.noTraffic == 'Wait'",
                "spec.rollout.analysis: noTraffic must be Wait if requireProof is true",
            ),
            rule(
                "!self.requireProof || !has(self.checks) || self.checks.all(c, !has(c.max) || "
                f"c.max >= (c.metric.startsWith('Latency') ? {SMALLEST_LATENCY} : 0.000001))",
                "spec.rollout.analysis: with requireProof, max must be at least 0.000001, and of a latency at least "
                f"{SMALLEST_LATENCY} milliseconds, because no number of requests shows less",
            ),
        )
    }

    interval_seconds: Annotated[int, Field(ge=1, le=3600)] = 15
    """Time in seconds between two measurements."""
    min_requests: Annotated[int, Field(ge=1, le=1_000_000_000)] = 50
    """Minimum number of requests that the candidate must have answered for a measurement to count. With fewer requests
    the measurement is Inconclusive and continues in the next interval. A comparison is successful only if both versions
    have answered so many requests since the rollout began; it may fail earlier."""
    no_traffic: Literal["Wait", "Proceed"] = "Wait"
    """What happens at the end of a step in which the candidate answered too few requests for any measurement. Wait: the
    step continues until there are enough requests. Proceed: the rollout continues without a measurement."""
    failure_limit: Annotated[int, Field(ge=1, le=100)] = 2
    """Number of failed measurements within one step after which the candidate is rolled back. A comparison with the
    stable version that fails rolls it back at once, because it has counted all requests of the rollout."""
    confidence: Annotated[float, Field(ge=0.5, le=0.9999)] = 0.99
    """Confidence with which a comparison must exclude that the candidate is within a limit, from 0.5 to 0.9999. With
    0.99, at most 1 of 100 candidates that are within all limits is stopped, if errors are independent of each other,
    however many measurements are made."""
    require_proof: bool = False
    """Whether a measurement succeeds only if the requests show, with the same confidence, that the candidate is within
    each limit. If false, a measurement also succeeds if there are enough requests and no limit is shown to be exceeded.
    If true, noTraffic must be Wait, and max must be above 0: no number of requests shows that there are no errors at
    all."""
    client_errors: Literal["Compare", "Ignore"] = "Compare"
    """Whether the shares of refused requests are compared without a check. Compare: the candidate is rolled back if its
    ClientErrorRatio is shown to be more than twice that of the stable version, which happens if clients send what only
    the stable version takes; a check with the metric ClientErrorRatio and maxRatioToStable replaces this limit. Ignore:
    they are not compared."""
    checks: Annotated[list[Check], Field(max_length=10, json_schema_extra=ATOMIC)] = []
    """Checks that are made in each measurement. The measurement succeeds if all of them pass. If empty, only the shares
    of refused requests are compared (clientErrors)."""


class CheckResult(Model):
    """Result of one limit of a check in a measurement."""

    metric: str
    """Metric that was checked."""
    verdict: Outcome
    """Result of the check: Successful, Failed, Inconclusive (too few requests) or Error."""
    value: float | None = None
    """Value of the candidate: milliseconds for a latency, a share from 0 to 1 for the other metrics. A share that is
    compared is the one since the rollout began, other values are those of the measured interval."""
    stable_value: float | None = None
    """Value of the stable version in the same time. Set only for a comparison with the stable version."""
    limit: float | None = None
    """Maximum value with which the candidate passed. Set only for a check with max."""
    max_ratio_to_stable: float | None = None
    """Ratio to the stable version's value that must not be exceeded. Set only for a comparison."""
    confidence: float | None = None
    """Confidence, from 0 to 1, with which the requests since the rollout began exclude that the ratio is within its
    limit. Set only for a comparison."""
    visible_ratio: float | None = None
    """Smallest ratio that about half of all rollouts with so many requests would have shown to exceed the limit. Not
    set if so few requests show none."""


class AnalysisStatus(Model):
    """The last measurement of a candidate."""

    time: Time
    """Time when the measurement was made."""
    since: Time
    """Start of the measured interval. An interval with too few requests is extended until there are enough."""
    verdict: Outcome
    """Result of the measurement. Successful: all checks passed. Failed: a check failed. Inconclusive: there were too
    few requests, or a limit was not shown to be kept (requireProof). Error: the statistics of the router could not be
    read."""
    requests: int = 0
    """Number of requests that the candidate answered in the interval."""
    message: str
    """Explanation of the verdict."""
    checks: Annotated[list[CheckResult], Field(json_schema_extra=ATOMIC)] = []
    """Result of each limit of the checks."""


class LimitEvidence(Model):
    """What the requests since the rollout began say about one limit."""

    metric: str
    """Metric that has the limit."""
    max_ratio_to_stable: float | None = None
    """The limit, if it is a ratio to the stable version's value."""
    max: float | None = None
    """The limit, if it is an absolute one."""
    requests: Annotated[int, Field(ge=0)] = 0
    """Number of requests that the candidate answered since the limit is tested."""
    events: Annotated[int, Field(ge=0)] = 0
    """Number of those that were errors, or took longer than edgeMilliseconds."""
    stable_requests: Annotated[int, Field(ge=0)] = 0
    """Number of requests that the stable version answered in the same time."""
    stable_events: Annotated[int, Field(ge=0)] = 0
    """Number of those that were errors, or took longer than stableEdgeMilliseconds."""
    looks: Annotated[int, Field(ge=0)] = 0
    """Number of times that requests were counted."""
    stable_squares: Annotated[float, Field(ge=0)] = 0
    """Sum over these times of the square of the stable version's events divided by its requests. Shows whether events
    come in bursts."""
    edge_milliseconds: float | None = None
    """Response time above which a request of the candidate is an event until the next count. Set only for a latency."""
    stable_edge_milliseconds: float | None = None
    """Response time above which a request of the stable version is an event until the next count. Set only for a
    latency."""
    exceeded: _Evidence = []
    """Evidence that the limit is exceeded: natural logarithm of the likelihood ratio for each alternative of the test.
    Set only for a ratio."""
    kept: _Evidence = []
    """Evidence that the limit is kept, in the same form. Set only with requireProof."""


class Comparison(Model):
    """What is known of a candidate since its rollout began, in all steps."""

    time: Time
    """Time when requests were last counted."""
    counters: Annotated[list[RouterCounters], Field(max_length=32, json_schema_extra=ATOMIC)] = []
    """Counters of the router at that time, for each router pod and version. A request is counted once, also if the
    operator restarts."""
    limits: Annotated[list[LimitEvidence], Field(max_length=MAX_LIMITS, json_schema_extra=ATOMIC)] = []
    """What the requests say about each limit."""
