"""Is the candidate good?"""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.serving.make import ANALYSIS, NOW, measurement, stats, version

from tidemill.api.v1alpha1.rollout_analysis import Analysis, AnalysisStatus, CheckResult, Comparison, LimitEvidence
from tidemill.serving import router_stats
from tidemill.serving.policy import analysis
from tidemill.serving.router_stats import ClusterStats
from tidemill.serving.snapshot import Measurement, children_of

NOTHING = Comparison(time=NOW)
STABLE, CANDIDATE = children_of("churn", version(1))[0], children_of("churn", version(2))[0]

CASES = {
    "few errors pass": ([{"metric": "ErrorRatio", "max": 0.01}], stats(1000), stats(100, 1), "Successful"),
    "many errors fail": ([{"metric": "ErrorRatio", "max": 0.01}], stats(1000), stats(100, 2), "Failed"),
    "errors are not refused requests": (
        [{"metric": "ClientErrorRatio", "max": 0.1}], stats(1000), stats(100, 20), "Successful"
    ),
    "many refused fail": (
        [{"metric": "ClientErrorRatio", "max": 0.1}], stats(1000), replace(stats(100), client_errors=11), "Failed"
    ),
    "slow fails": ([{"metric": "LatencyP99Milliseconds", "max": 50}], stats(100), stats(100, 0, 100), "Failed"),
    "fast passes": ([{"metric": "LatencyP99Milliseconds", "max": 50}], stats(100), stats(100, 0, 10), "Successful"),
    "too few requests": ([{"metric": "ErrorRatio", "max": 0.01}], stats(1000), stats(49, 49), "Inconclusive"),
    "no request": ([{"metric": "ErrorRatio", "max": 0.01}], stats(0), stats(0), "Inconclusive"),
    "the worst of several counts": (
        [{"metric": "ErrorRatio", "max": 0.01}, {"metric": "LatencyP99Milliseconds", "max": 5}],
        stats(100),
        stats(100, 0, 50),
        "Failed",
    ),
    "a limit fails before the ratio is known": (
        [{"metric": "LatencyP95Milliseconds", "max": 5, "maxRatioToStable": 9}],
        stats(1),
        stats(100, 0, 50),
        "Failed",
    ),
    "no check: the candidate answered enough": ([], stats(0), stats(50), "Successful"),
    "no check: too few requests": ([], stats(1000), stats(49), "Inconclusive"),
}  # fmt: skip


LATENCY = "LatencyP50Milliseconds"


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
    "requests below": ({"metric": "ErrorRatio", "max": 1}, stats(0), stats(49), "Inconclusive"),
    "requests at": ({"metric": "ErrorRatio", "max": 1}, stats(0), stats(50), "Successful"),
}  # fmt: skip


def judge(wanted: Analysis, found: Measurement, compared: Comparison = NOTHING) -> AnalysisStatus:
    """The verdict on the candidate, after what was `compared` until now."""
    stable, candidate = (router_stats.total(found.before, found.after, name) for name in (STABLE, CANDIDATE))
    return analysis.unreadable(found, NOW) or analysis.judge(wanted, found, stable, candidate, compared, NOW)


def judged(found: Measurement, *checks: dict[str, Any], **fields: Any) -> AnalysisStatus:
    return judge(Analysis.model_validate({**ANALYSIS, "checks": list(checks), **fields}), found)


@pytest.mark.parametrize("name", BOUNDS)
def test_a_value_at_its_limit_passes_and_one_above_fails(name: str) -> None:
    check, stable, candidate, want = BOUNDS[name]
    got = judged(measurement(stable=(1, stable), candidate=(2, candidate)), check)
    assert got.verdict == want, got.message


@pytest.mark.parametrize("name", CASES)
def test_judge(name: str) -> None:
    checks, stable, candidate, want = CASES[name]
    found = measurement(stable=(1, stable), candidate=(2, candidate))
    got = judged(found, *checks)
    assert got.verdict == want
    assert got.message and got.time == NOW and got.since == found.start
    assert got.requests == candidate.requests


def test_unreadable_stats_are_an_error_and_name_the_pod() -> None:
    found = measurement(stable=(1, stats(100)), candidate=(2, stats(100)), missing=("router-1: no answer",))
    got = judge(Analysis.model_validate(ANALYSIS), found)
    assert got.verdict == "Error" and "router-1: no answer" in got.message


def test_message_tells_value_limit_and_sample() -> None:
    found = measurement(stable=(1, stats(100)), candidate=(2, stats(100, 5)))
    got = judge(Analysis.model_validate(ANALYSIS), found)
    assert got.message == "ErrorRatio 0.05 is above 0.01 (100 requests in 15 s)"
    assert (got.checks[0].value, got.checks[0].limit) == (0.05, 0.01)


@pytest.mark.parametrize(
    ("errors", "most", "verdict", "text"),
    [
        (1_004, 0.01, "Failed", "ErrorRatio 0.01004 is above 0.01 "),
        (996, 0.01, "Successful", "ErrorRatio 0.00996 is within 0.01 "),
        (1_000, 0.00999996, "Failed", "ErrorRatio 0.01 is above 0.00999996 "),
        (5, 0.00004, "Failed", "ErrorRatio 5e-05 is above 4e-05 "),
        (3, 0.00004, "Successful", "ErrorRatio 3e-05 is within 4e-05 "),
    ],
)
def test_no_figure_reads_like_a_limit_that_it_is_not_at(errors: int, most: float, verdict: str, text: str) -> None:
    found = measurement(stable=(1, stats(100)), candidate=(2, stats(100_000, errors)))
    got = judged(found, {"metric": "ErrorRatio", "max": most})
    assert got.verdict == verdict
    assert got.message.startswith(text)
    check = got.checks[0]
    assert check.value is not None
    assert (check.limit, check.value > most) == (most, verdict == "Failed")


def test_large_figures_have_all_their_digits() -> None:
    wanted = {"metric": LATENCY, "max": 1234567.0}
    latency = stats(100, milliseconds=1234567.0)
    got = judged(measurement(stable=(1, stats(0)), candidate=(2, latency)), wanted)
    assert "e+" not in got.message


@pytest.mark.parametrize("share", [50, 95, 99])
def test_each_quantile_is_the_one_that_it_is_named_after(share: int) -> None:
    """Of latencies that are spread evenly up to 100 ms."""
    check = {"metric": f"LatencyP{share}Milliseconds"}
    found = measurement(stable=(1, stats(0)), candidate=(2, slow(100)))
    assert judged(found, {**check, "max": share + 0.1}).verdict == "Successful"
    assert judged(found, {**check, "max": share - 0.1}).verdict == "Failed"


def test_without_statistics_there_is_nothing_but_an_error_of_bounded_length() -> None:
    got = judged(measurement(stable=(1, stats(9)), candidate=(2, stats(9)), missing=("x" * 2000,)))
    assert (got.verdict, got.requests, got.checks, len(got.message)) == ("Error", 0, [], 1024)


def test_only_what_is_bad_is_told_and_all_when_all_is_well() -> None:
    checks = ({"metric": "ErrorRatio", "max": 0.01}, {"metric": LATENCY, "max": 100})
    bad = judged(measurement(stable=(1, stats(100)), candidate=(2, stats(100, 5))), *checks)
    assert bad.message == "ErrorRatio 0.05 is above 0.01 (100 requests in 15 s)"
    good = judged(measurement(stable=(1, stats(100)), candidate=(2, stats(100))), *checks)
    assert good.message.startswith("ErrorRatio 0 is within 0.01; LatencyP50Milliseconds ")


def test_without_observations_a_latency_has_no_value() -> None:
    silent = measurement(stable=(1, stats(100)), candidate=(2, ClusterStats(100, 0, {})))
    got = judged(silent, {"metric": LATENCY, "max": 50})
    assert (got.verdict, got.checks[0].value, got.checks[0].limit) == ("Inconclusive", None, 50)
    assert got.message.startswith("LatencyP50Milliseconds has no value")


def test_refused_requests_of_a_measurement_that_an_older_operator_began_are_not_known() -> None:
    unknown = measurement(stable=(1, stats(100)), candidate=(2, replace(stats(100), client_errors=None)))
    got = judged(unknown, {"metric": "ClientErrorRatio", "max": 0.5})
    assert (got.verdict, got.message) == ("Inconclusive", "ClientErrorRatio has no value (100 requests in 15 s)")


def test_values_are_told_with_four_digits() -> None:
    got = judged(measurement(stable=(1, stats(0)), candidate=(2, stats(300, 100))), {"metric": "ErrorRatio", "max": 1})
    assert got.checks[0].value == 0.3333


ERRORS = {"metric": "ErrorRatio", "maxRatioToStable": 2}
FOUND = measurement(stable=(1, stats(900)), candidate=(2, stats(100)))


def compared(*entries: dict[str, Any]) -> Comparison:
    return Comparison(time=NOW, limits=[LimitEvidence.model_validate(entry) for entry in entries])


def seen(requests: int, events: int, stable: int, stable_events: int, evidence: float, **more: Any) -> dict[str, Any]:
    """What was counted for ERRORS."""
    counts = {"requests": requests, "events": events, "stableRequests": stable, "stableEvents": stable_events}
    return {**ERRORS, **counts, "exceeded": [evidence] * 20, **more}


def check_of(wanted: Analysis, *entries: dict[str, Any]) -> tuple[str, str, CheckResult]:
    """Verdict, message and the result of the last check."""
    got = judge(wanted, FOUND, compared(*entries))
    return got.verdict, got.message, got.checks[-1]


RATIO = Analysis.model_validate({**ANALYSIS, "checks": [ERRORS], "clientErrors": "Ignore"})


def test_a_ratio_that_is_shown_to_be_exceeded_fails() -> None:
    verdict, message, result = check_of(RATIO, seen(1000, 60, 9000, 90, 6.0))
    assert verdict == "Failed"
    assert message == (
        "ErrorRatio is more than 2 × the stable version's, confidence 0.99 (60 of 1000 requests, "
        "stable version 90 of 9000) (100 requests in 15 s)"
    )
    assert (result.value, result.stable_value, result.max_ratio_to_stable, result.limit) == (0.06, 0.01, 2, None)
    assert result.confidence == 0.9975


def test_a_ratio_that_is_not_shown_passes_and_tells_what_would_have_been_seen() -> None:
    verdict, message, result = check_of(RATIO, seen(1000, 15, 9000, 90, 0.1))
    assert verdict == "Successful"
    assert message.startswith("ErrorRatio is not shown to be more than 2 × the stable version's; a ratio of ")
    assert result.visible_ratio is not None and 2.5 < result.visible_ratio < 8
    more = check_of(RATIO, seen(100_000, 1500, 900_000, 9000, 0.1))[2].visible_ratio
    assert more is not None and 2 < more < result.visible_ratio


@pytest.mark.parametrize(
    ("counts", "who"),
    [((49, 0, 900, 0), "49 requests to the candidate"), ((60, 0, 49, 0), "49 requests to the stable")],
)
def test_with_too_few_requests_of_either_version_nothing_is_said(counts: tuple[int, int, int, int], who: str) -> None:
    verdict, message, result = check_of(RATIO, seen(*counts, 0.0))
    assert verdict == "Inconclusive" and who in message
    assert result.verdict == "Inconclusive"


def test_few_requests_may_be_enough_to_fail() -> None:
    few = measurement(stable=(1, stats(90)), candidate=(2, stats(10, 10)))
    got = judge(RATIO, few, compared(seen(10, 10, 90, 0, 6.0)))
    assert got.verdict == "Failed" and got.requests == 10


def test_a_limit_that_no_spec_names_stops_a_rollout_and_never_holds_it() -> None:
    wanted = Analysis.model_validate({**ANALYSIS, "checks": []})
    refused = {"metric": "ClientErrorRatio", "maxRatioToStable": 2}
    nothing = judge(wanted, FOUND, NOTHING)
    assert (nothing.verdict, nothing.message) == ("Successful", "100 requests in 15 s")
    assert [c.verdict for c in nothing.checks] == ["Inconclusive"]
    bad = judge(wanted, FOUND, compared({**seen(100, 100, 900, 0, 6.0), **refused}))
    assert bad.verdict == "Failed" and bad.message.startswith("ClientErrorRatio is more than 2 ×")


def test_where_proof_is_wanted_a_limit_that_is_not_shown_to_be_kept_holds_the_step() -> None:
    wanted = RATIO.model_copy(update={"require_proof": True})
    entry = seen(1000, 5, 9000, 90, -1.0)
    verdict, message, _ = check_of(wanted, entry)
    assert verdict == "Inconclusive"
    assert message.startswith("ErrorRatio is not shown to be at most 2 × the stable version's (requireProof)")
    assert check_of(wanted, {**entry, "kept": [6.0] * 20})[0] == "Successful"


def test_where_proof_is_wanted_so_it_is_of_absolute_limits() -> None:
    check = {"metric": "ErrorRatio", "max": 0.01}
    fields = {**ANALYSIS, "checks": [check], "clientErrors": "Ignore", "requireProof": True}
    wanted = Analysis.model_validate(fields)
    verdict, message, _ = check_of(wanted, {**check, "requests": 100})
    assert verdict == "Inconclusive"
    assert message.startswith("ErrorRatio 0 is not shown to be within 0.01 (requireProof)")
    assert check_of(wanted, {**check, "requests": 3000})[0] == "Successful"


def test_a_visible_ratio_of_latencies_is_one_of_latencies() -> None:
    check = {"metric": "LatencyP99Milliseconds", "maxRatioToStable": 1.3}
    wanted = Analysis.model_validate({**ANALYSIS, "checks": [check], "clientErrors": "Ignore"})
    edges = {"edgeMilliseconds": 150, "stableEdgeMilliseconds": 100}
    entry = {**seen(2000, 18, 18_000, 180, 0.0), **check, **edges}
    found = measurement(stable=(1, slow(100, 18_000)), candidate=(2, slow(100, 2000)))
    got = judge(wanted, found, compared(entry))
    assert got.verdict == "Successful"
    assert "18 of 2000 requests above 150 ms, stable version 180 of 18000 above 100 ms" in got.message
    (result,) = got.checks
    assert (result.value, result.stable_value) == (99, 99)
    assert result.visible_ratio is not None and 1.5 < result.visible_ratio < 1.6


def test_a_limit_that_no_spec_names_is_told_where_all_is_well() -> None:
    """Who wonders whether clients are refused more often reads what would have been seen."""
    wanted = Analysis.model_validate({**ANALYSIS, "checks": []})
    fine = {**seen(1000, 10, 9000, 90, 0.0), "metric": "ClientErrorRatio"}
    got = judge(wanted, FOUND, compared(fine))
    assert got.verdict == "Successful"
    assert got.message.startswith("ClientErrorRatio is not shown to be more than 2 × the stable version's; ")


@pytest.mark.parametrize("counts", [(50, 0, 900, 0), (900, 0, 50, 0), (50, 0, 50, 0)])
def test_as_many_requests_as_are_needed_are_enough(counts: tuple[int, int, int, int]) -> None:
    assert check_of(RATIO, seen(*counts, 0.0))[0] == "Successful"
    proof = RATIO.model_copy(update={"require_proof": True})
    assert "(requireProof)" in check_of(proof, seen(*counts, 0.0))[1], "not: too few requests"


def test_a_stretch_without_requests_of_the_stable_version_has_no_visible_ratio_of_latencies() -> None:
    check = {"metric": "LatencyP99Milliseconds", "maxRatioToStable": 1.3}
    wanted = Analysis.model_validate({**ANALYSIS, "checks": [check], "clientErrors": "Ignore"})
    edges = {"edgeMilliseconds": 150, "stableEdgeMilliseconds": 100}
    found = measurement(stable=(1, stats(0)), candidate=(2, slow(100, 2000)))
    got = judge(wanted, found, compared({**seen(2000, 18, 18_000, 180, 0.0), **check, **edges}))
    assert (got.verdict, got.checks[0].visible_ratio, got.checks[0].stable_value) == ("Successful", None, None)
    assert "no ratio would have been seen" in got.message
    edge_alone = {**seen(2000, 18, 18_000, 180, 0.0), **check, "edgeMilliseconds": 150}
    assert "(18 of 2000 requests, stable version 180 of 18000)" in judge(wanted, found, compared(edge_alone)).message
