"""Is the candidate good?"""

import pytest
from tests.unit.serving.make import ANALYSIS, NOW, measurement, stats, version

from tidemill.api.v1alpha1.model_deployment import Analysis
from tidemill.serving.policy import analysis
from tidemill.serving.router_stats import ClusterStats
from tidemill.serving.snapshot import version_child

STABLE, CANDIDATE = version_child("churn", version(1)), version_child("churn", version(2))

CASES = {
    "few errors pass": ([{"metric": "ErrorRatio", "max": 0.01}], stats(1000), stats(100, 1), "Successful"),
    "many errors fail": ([{"metric": "ErrorRatio", "max": 0.01}], stats(1000), stats(100, 2), "Failed"),
    "slow fails": ([{"metric": "LatencyP99Milliseconds", "max": 50}], stats(100), stats(100, 0, 100), "Failed"),
    "fast passes": ([{"metric": "LatencyP99Milliseconds", "max": 50}], stats(100), stats(100, 0, 10), "Successful"),
    "slower than the stable version": (
        [{"metric": "LatencyP99Milliseconds", "maxRatioToStable": 1.3}],
        stats(100, 0, 10),
        stats(100, 0, 50),
        "Failed",
    ),
    "as fast as the stable version": (
        [{"metric": "LatencyP50Milliseconds", "max": 500, "maxRatioToStable": 1.3}],
        stats(100, 0, 50),
        stats(100, 0, 50),
        "Successful",
    ),
    "a limit fails before the ratio is asked": (
        [{"metric": "LatencyP95Milliseconds", "max": 5, "maxRatioToStable": 9}],
        stats(1),
        stats(100, 0, 50),
        "Failed",
    ),
    "nothing to compare with": (
        [{"metric": "LatencyP95Milliseconds", "maxRatioToStable": 2}],
        stats(3),
        stats(100),
        "Inconclusive",
    ),
    "one error beside a perfect stable version is within the ratio": (
        [{"metric": "ErrorRatio", "maxRatioToStable": 2}],
        stats(100),
        stats(100, 1),
        "Successful",
    ),
    "more errors than a perfect stable version": (
        [{"metric": "ErrorRatio", "maxRatioToStable": 2}],
        stats(100),
        stats(100, 3),
        "Failed",
    ),
    "too few requests": ([{"metric": "ErrorRatio", "max": 0.01}], stats(1000), stats(49, 49), "Inconclusive"),
    "no request": ([{"metric": "ErrorRatio", "max": 0.01}], stats(0), stats(0), "Inconclusive"),
    "the worst of several counts": (
        [{"metric": "ErrorRatio", "max": 0.01}, {"metric": "LatencyP99Milliseconds", "max": 5}],
        stats(100),
        stats(100, 0, 50),
        "Failed",
    ),
}


LATENCY = "LatencyP50Milliseconds"
FLOOR = analysis.LATENCY_FLOOR_MILLISECONDS


def slow(milliseconds: float, requests: int = 100) -> ClusterStats:
    """Statistics whose every quantile is exactly this."""
    return (
        ClusterStats(requests, 0, {milliseconds: float(requests), float("inf"): float(requests)})
        if milliseconds
        else stats(0)
    )


def p50(found: ClusterStats) -> float:
    value = found.quantile(0.5)
    assert value is not None
    return value


# (check, stable, candidate, outcome), each with a value below, at, and above its limit.
BOUNDS = {
    "errors below": ({"metric": "ErrorRatio", "max": 0.02}, stats(0), stats(100, 1), "Successful"),
    "errors at": ({"metric": "ErrorRatio", "max": 0.02}, stats(0), stats(100, 2), "Successful"),
    "errors above": ({"metric": "ErrorRatio", "max": 0.02}, stats(0), stats(100, 3), "Failed"),
    "no errors allowed, none seen": ({"metric": "ErrorRatio", "max": 0}, stats(0), stats(100), "Successful"),
    "no errors allowed, one seen": ({"metric": "ErrorRatio", "max": 0}, stats(0), stats(100, 1), "Failed"),
    "latency at": ({"metric": LATENCY, "max": p50(slow(40))}, stats(0), slow(40), "Successful"),
    "latency just above": ({"metric": LATENCY, "max": p50(slow(40)) - 1e-9}, stats(0), slow(40), "Failed"),
    "ratio below": ({"metric": "ErrorRatio", "maxRatioToStable": 2}, stats(100, 10), stats(100, 19), "Successful"),
    "ratio at": ({"metric": "ErrorRatio", "maxRatioToStable": 2}, stats(100, 10), stats(100, 20), "Successful"),
    "ratio above": ({"metric": "ErrorRatio", "maxRatioToStable": 2}, stats(100, 10), stats(100, 21), "Failed"),
    "floor of errors": ({"metric": "ErrorRatio", "maxRatioToStable": 2}, stats(100), stats(100, 2), "Successful"),
    "latency ratio at": ({"metric": LATENCY, "maxRatioToStable": 2}, slow(40), slow(80), "Successful"),
    "floor of latency at": (
        {"metric": LATENCY, "maxRatioToStable": p50(slow(40)) / FLOOR}, slow(0.001), slow(40), "Successful",
    ),
    "stable requests below": (
        {"metric": LATENCY, "maxRatioToStable": 9}, stats(49), stats(100), "Inconclusive",
    ),
    "stable requests at": ({"metric": LATENCY, "maxRatioToStable": 9}, stats(50), stats(100), "Successful"),
    "requests below": ({"metric": "ErrorRatio", "max": 1}, stats(0), stats(49), "Inconclusive"),
    "requests at": ({"metric": "ErrorRatio", "max": 1}, stats(0), stats(50), "Successful"),
}  # fmt: skip


@pytest.mark.parametrize("name", BOUNDS)
def test_a_value_at_its_limit_passes_and_one_above_fails(name: str) -> None:
    check, stable, candidate, want = BOUNDS[name]
    wanted = Analysis.model_validate({**ANALYSIS, "checks": [check]})
    got = analysis.judge(wanted, measurement(stable=(1, stable), candidate=(2, candidate)), STABLE, CANDIDATE, NOW)
    assert got.verdict == want, got.message


@pytest.mark.parametrize("name", CASES)
def test_judge(name: str) -> None:
    checks, stable, candidate, want = CASES[name]
    wanted = Analysis.model_validate({**ANALYSIS, "checks": checks})
    found = measurement(stable=(1, stable), candidate=(2, candidate))
    got = analysis.judge(wanted, found, STABLE, CANDIDATE, NOW)
    assert got.verdict == want
    assert got.message and got.time == NOW and got.since == found.start
    assert got.requests == candidate.requests


def test_unreadable_stats_are_an_error_and_name_the_pod() -> None:
    found = measurement(stable=(1, stats(100)), candidate=(2, stats(100)), missing=("router-1: no answer",))
    got = analysis.judge(Analysis.model_validate(ANALYSIS), found, STABLE, CANDIDATE, NOW)
    assert got.verdict == "Error" and "router-1: no answer" in got.message


def test_message_tells_value_limit_and_sample() -> None:
    found = measurement(stable=(1, stats(100)), candidate=(2, stats(100, 5)))
    got = analysis.judge(Analysis.model_validate(ANALYSIS), found, STABLE, CANDIDATE, NOW)
    assert got.message == "ErrorRatio 0.05 is above 0.01 (100 requests in 15 s)"
    assert (got.checks[0].value, got.checks[0].limit) == (0.05, 0.01)


def judged(found, *checks):
    wanted = Analysis.model_validate({**ANALYSIS, "checks": list(checks)})
    return analysis.judge(wanted, found, STABLE, CANDIDATE, NOW)


@pytest.mark.parametrize("share", [50, 95, 99])
def test_each_quantile_is_the_one_that_it_is_named_after(share: int) -> None:
    """Of latencies that are spread evenly up to 100 ms."""
    check = {"metric": f"LatencyP{share}Milliseconds"}
    found = measurement(stable=(1, stats(0)), candidate=(2, slow(100)))
    assert judged(found, {**check, "max": share + 0.1}).verdict == "Successful"
    assert judged(found, {**check, "max": share - 0.1}).verdict == "Failed"


def test_a_ratio_to_less_than_a_millisecond_is_one_to_a_millisecond() -> None:
    check = {"metric": LATENCY, "maxRatioToStable": 2}
    at = measurement(stable=(1, slow(0.1)), candidate=(2, slow(4)))
    above = measurement(stable=(1, slow(0.1)), candidate=(2, slow(4.02)))
    assert p50(slow(4)) == 2
    assert [judged(found, check).verdict for found in (at, above)] == ["Successful", "Failed"]


def test_without_statistics_there_is_nothing_but_an_error_of_bounded_length() -> None:
    got = judged(
        measurement(stable=(1, stats(9)), candidate=(2, stats(9)), missing=("x" * 2000,)), BOUNDS["ratio at"][0]
    )
    assert (got.verdict, got.requests, got.checks, len(got.message)) == ("Error", 0, [], 1024)


def test_only_what_is_bad_is_told_and_all_when_all_is_well() -> None:
    checks = ({"metric": "ErrorRatio", "max": 0.01}, {"metric": LATENCY, "max": 100})
    bad = judged(measurement(stable=(1, stats(100)), candidate=(2, stats(100, 5))), *checks)
    assert bad.message == "ErrorRatio 0.05 is above 0.01 (100 requests in 15 s)"
    good = judged(measurement(stable=(1, stats(100)), candidate=(2, stats(100))), *checks)
    assert good.message.startswith("ErrorRatio 0 is within 0.01; LatencyP50Milliseconds ")


def test_without_observations_a_latency_has_no_value() -> None:
    silent = measurement(stable=(1, stats(100)), candidate=(2, ClusterStats(100, 0, {})))
    got = judged(silent, {"metric": LATENCY, "max": 50, "maxRatioToStable": 2})
    assert (got.verdict, got.checks[0].value, got.checks[0].limit) == ("Inconclusive", None, 50)
    assert got.message.startswith("LatencyP50Milliseconds has no value")


@pytest.mark.parametrize(("most", "limit"), [(500, 26.0), (26.5, 26.0), (25.5, 25.5)])
def test_of_two_limits_the_lower_is_told(most: float, limit: float) -> None:
    found = measurement(stable=(1, slow(40)), candidate=(2, slow(40)))
    got = judged(found, {"metric": LATENCY, "max": most, "maxRatioToStable": 1.3})
    assert (got.verdict, got.checks[0].limit) == ("Successful", limit)


def test_values_are_told_with_four_digits() -> None:
    got = judged(measurement(stable=(1, stats(0)), candidate=(2, stats(300, 100))), {"metric": "ErrorRatio", "max": 1})
    assert got.checks[0].value == 0.3333
