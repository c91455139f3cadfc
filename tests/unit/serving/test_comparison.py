"""What is counted for a comparison: each request once, over restarts of operator and routers, and what that shows."""

from __future__ import annotations

import json
import math
from datetime import timedelta
from typing import Any

import pytest
from hack.generate import crd
from jsonschema import validate
from tests.unit.serving.make import NOW, ago, candidate

from tidemill.api.v1alpha1 import ModelDeployment
from tidemill.api.v1alpha1.model_deployment import CandidateStatus
from tidemill.api.v1alpha1.rollout_analysis import MAX_LIMITS, SMALLEST_LATENCY, Analysis, Comparison, LimitEvidence
from tidemill.core.parsing import parsed
from tidemill.kube.transform import is_truncated, transform
from tidemill.serving import baseline
from tidemill.serving.policy import comparison
from tidemill.serving.policy.comparison import Clusters, Limit, Scrapes
from tidemill.serving.router_stats import LATENCY_BUCKETS, ClusterStats, Scrape

NAMES = Clusters("churn-1", "churn-2")
INF = math.inf
NO_STATS = ClusterStats()
ERRORS = Limit("ErrorRatio", 2)
REFUSED = Limit("ClientErrorRatio", comparison.CLIENT_ERRORS_RATIO, implied=True)
LATENCY = Limit("LatencyP99Milliseconds", 1.3)


def analysis(*checks: dict[str, Any], **fields: Any) -> Analysis:
    return Analysis.model_validate({"checks": list(checks), **fields})


RATIO = analysis({"metric": "ErrorRatio", "maxRatioToStable": 2})


def stats(requests: float, errors: float = 0, refused: float = 0, milliseconds: float = 5) -> ClusterStats:
    bounds = [*map(float, LATENCY_BUCKETS), INF]
    return ClusterStats(requests, errors, {b: requests if b >= milliseconds else 0.0 for b in bounds}, refused)


def scrapes(seconds: float, **pods: tuple[ClusterStats, ClusterStats]) -> Scrapes:
    """Counters of router pods, of stable version and candidate, so many seconds after now."""
    by_pod = {pod: Scrape(dict(zip(NAMES, pair, strict=True)), {}) for pod, pair in pods.items()}
    return Scrapes(NOW + timedelta(seconds=seconds), by_pod)


def stored(known: Comparison) -> Comparison:
    """As another operator reads it from the status."""
    return parsed(Comparison, json.loads(json.dumps(known.to_json())))


def counted(*looks: Scrapes, wanted: Analysis = RATIO, stretch: ClusterStats = NO_STATS) -> Comparison:
    """The comparison after these looks; between two of them the operator restarts."""
    known = comparison.counted(None, wanted, looks[0], NAMES, stretch)
    for look in looks[1:]:
        known = comparison.counted(stored(known), wanted, look, NAMES, stretch)
    return known


def numbers(known: Comparison, limit: Limit = ERRORS) -> tuple[int, int, int, int]:
    entry = comparison.evidence(known, limit)
    return entry.requests, entry.events, entry.stable_requests, entry.stable_events


def test_what_is_compared_without_a_check_and_how_to_switch_it_off() -> None:
    assert comparison.limits(Analysis()) == (REFUSED,)
    assert comparison.limits(Analysis(client_errors="Ignore")) == ()
    assert comparison.limits(RATIO) == (ERRORS, REFUSED)
    own = analysis({"metric": "ClientErrorRatio", "maxRatioToStable": 5})
    assert comparison.limits(own) == (Limit("ClientErrorRatio", 5),), "a check replaces the limit"
    absolute = analysis({"metric": "ClientErrorRatio", "max": 0.1})
    assert comparison.limits(absolute) == (REFUSED,), "an absolute limit does not"


def test_absolute_limits_are_tested_where_proof_is_wanted() -> None:
    check = {"metric": "ErrorRatio", "max": 0.01, "maxRatioToStable": 2}
    assert comparison.limits(analysis(check, requireProof=True)) == (ERRORS, REFUSED, Limit("ErrorRatio", most=0.01))


def test_requests_are_counted_from_the_first_look_on() -> None:
    first = scrapes(0, a=(stats(1000, 100), stats(0)))
    assert numbers(counted(first)) == (0, 0, 0, 0), "what was before the rollout does not count"
    later = scrapes(15, a=(stats(1090, 101), stats(10, 4)))
    assert numbers(counted(first, later)) == (10, 4, 90, 1)


def test_a_request_is_counted_once_however_often_the_operator_looks() -> None:
    first, later = scrapes(0, a=(stats(0), stats(0))), scrapes(15, a=(stats(90, 1), stats(10, 4)))
    once, thrice = counted(first, later), counted(first, later, later, later)
    assert numbers(once) == numbers(thrice) == (10, 4, 90, 1)
    (entry, *_), (again, *_) = once.limits, thrice.limits
    assert (entry.exceeded, entry.looks) == (again.exceeded, again.looks)


def test_a_pass_whose_status_was_not_written_is_made_again() -> None:
    """The counters and what was counted are one status: the next pass starts from both as they were."""
    first = counted(scrapes(0, a=(stats(0), stats(0))))
    comparison.counted(stored(first), RATIO, scrapes(15, a=(stats(90), stats(10, 1))), NAMES, ClusterStats())
    after = comparison.counted(stored(first), RATIO, scrapes(16, a=(stats(99), stats(11, 1))), NAMES, ClusterStats())
    assert numbers(after) == (11, 1, 99, 0)


def test_routers_that_restart_start_from_zero() -> None:
    looks = (
        scrapes(0, a=(stats(5000, 9), stats(0))),
        scrapes(15, a=(stats(5090, 9), stats(10))),
        scrapes(30, a=(stats(45, 1), stats(5, 1))),  # restarted in between
        scrapes(45, a=(stats(135, 2), stats(15, 1))),
    )
    assert numbers(counted(*looks)) == (10 + 5 + 10, 1, 90 + 45 + 90, 2)


def test_a_router_pod_that_is_new_counts_whole_and_one_that_was_not_seen_from_now_on() -> None:
    known = counted(scrapes(0, a=(stats(0), stats(0))))
    look = scrapes(15, a=(stats(9), stats(1)), b=(stats(800), stats(0)), c=(stats(27), stats(3)))
    created = {"a": ago(99), "b": ago(99), "c": NOW + timedelta(seconds=2)}
    known = comparison.counted(known, RATIO, Scrapes(look.time, look.by_pod, created), NAMES, ClusterStats())
    assert numbers(known) == (1 + 3, 0, 9 + 27, 0)
    look = scrapes(30, a=(stats(18), stats(2)), b=(stats(809), stats(1)), c=(stats(36), stats(4)))
    known = comparison.counted(known, RATIO, Scrapes(look.time, look.by_pod, created), NAMES, ClusterStats())
    assert numbers(known) == (4 + 3, 0, 36 + 27, 0)


def test_a_version_whose_counters_were_not_kept_counts_from_now_on() -> None:
    """For a while the name of its Service was not known: its whole past must not count as one interval."""
    alone = Clusters("", NAMES.candidate)
    known = comparison.counted(None, RATIO, scrapes(0, a=(stats(5000, 50), stats(0))), alone, NO_STATS)
    later = scrapes(15, a=(stats(5090, 50), stats(10, 1)))
    known = comparison.counted(stored(known), RATIO, later, NAMES, NO_STATS)
    assert numbers(known) == (0, 0, 0, 0)
    last = scrapes(30, a=(stats(5180, 51), stats(20, 1)))
    assert numbers(comparison.counted(stored(known), RATIO, last, NAMES, NO_STATS)) == (10, 0, 90, 1)


def test_a_router_pod_that_goes_takes_nothing_back() -> None:
    both = {"a": (stats(90), stats(10)), "b": (stats(90), stats(10, 2))}
    looks = (scrapes(0, a=(stats(0), stats(0)), b=(stats(0), stats(0))), scrapes(15, **both))
    assert numbers(counted(*looks, scrapes(30, a=(stats(99), stats(11))))) == (21, 2, 189, 0)


def test_evidence_grows_over_all_steps_and_a_changed_limit_begins_anew() -> None:
    looks = [scrapes(0, a=(stats(0), stats(0)))]
    for n, share in ((1, 0.1), (2, 0.1), (3, 0.5)):
        stable, own = looks[-1].by_pod["a"].clusters.values()
        more = stable.plus(stats(300 * (1 - share), 0)), own.plus(stats(300 * share, 2))
        looks.append(scrapes(15 * n, a=more))
    known = counted(*looks)
    assert numbers(known) == (30 + 30 + 150, 6, 270 + 270 + 150, 0)
    assert comparison.evidence(known, ERRORS).looks == 3
    changed = analysis({"metric": "ErrorRatio", "maxRatioToStable": 3})
    after = comparison.counted(stored(known), changed, looks[-1], NAMES, ClusterStats())
    assert numbers(after, Limit("ErrorRatio", 3)) == (0, 0, 0, 0)
    assert [(e.metric, e.max_ratio_to_stable) for e in after.limits] == [("ErrorRatio", 3), ("ClientErrorRatio", 2)]


def test_refused_requests_are_a_count_of_their_own() -> None:
    known = counted(scrapes(0, a=(stats(0), stats(0))), scrapes(15, a=(stats(90, 1, 2), stats(10, 3, 4))))
    assert numbers(known, REFUSED) == (10, 4, 90, 2)
    assert numbers(known, ERRORS) == (10, 3, 90, 1)


def test_a_version_that_refuses_everything_is_seen_at_the_third_look() -> None:
    """And one burst in one look stops nobody."""
    wanted, looks = Analysis(), [scrapes(0, a=(stats(0), stats(0)))]
    found = []
    for n in range(1, 4):
        looks.append(scrapes(15 * n, a=(stats(27 * n), stats(3 * n, 0, 3 * n))))
        known = counted(*looks, wanted=wanted)
        found.append(comparison.shown(comparison.evidence(known, REFUSED), REFUSED, wanted).exceeded)
    assert found == [False, False, True]


def test_the_level_is_divided_by_the_number_of_limits() -> None:
    entry = LimitEvidence(metric="ErrorRatio", max_ratio_to_stable=2, exceeded=[math.log(150)] * 20)
    one = analysis({"metric": "ErrorRatio", "maxRatioToStable": 2}, clientErrors="Ignore")
    two = analysis({"metric": "ErrorRatio", "maxRatioToStable": 2})
    assert comparison.shown(entry, ERRORS, one).exceeded and not comparison.shown(entry, ERRORS, two).exceeded
    assert comparison.shown(entry, ERRORS, one).confidence == pytest.approx(1 - 1 / 151)
    assert comparison.shown(entry, ERRORS, two).confidence == pytest.approx(1 - 2 / 151)
    less = one.model_copy(update={"confidence": 0.999})
    assert not comparison.shown(entry, ERRORS, less).exceeded


def test_bursts_of_the_stable_version_weaken_the_evidence() -> None:
    calm = LimitEvidence(
        metric="ErrorRatio", max_ratio_to_stable=2, exceeded=[9.0] * 20, looks=10, stable_requests=1000,
        stable_events=10, stable_squares=10 * 1 / 100,
    )  # fmt: skip
    burst = calm.model_copy(update={"stable_squares": 10**2 / 100})
    assert comparison.shown(calm, ERRORS, RATIO).exceeded
    assert comparison.shown(burst, ERRORS, RATIO).confidence < 0.2


@pytest.mark.parametrize(
    ("value", "edges"),
    [(10, (14, 10)), (3, (4, 3)), (0.5, (2, 1)), (100, (150, 100)), (700, (1000, 700)), (60_000, (78_000, 60_000))],
)
def test_a_ratio_of_latencies_is_between_two_bounds_of_the_histogram(value: float, edges: tuple[float, float]) -> None:
    wanted = analysis({"metric": "LatencyP99Milliseconds", "maxRatioToStable": 1.3})
    stretch = ClusterStats(100, 0, {value - 0.001: 0.0, value: 100.0, INF: 100.0})
    known = counted(scrapes(0, a=(stats(0), stats(0))), wanted=wanted, stretch=stretch)
    entry = comparison.evidence(known, LATENCY)
    assert (entry.edge_milliseconds, entry.stable_edge_milliseconds) == edges


def test_slow_requests_are_counted_above_edges_that_were_fixed_before() -> None:
    wanted = analysis({"metric": "LatencyP99Milliseconds", "maxRatioToStable": 1.3})
    few, enough = stats(49, milliseconds=10), stats(50, milliseconds=10)
    first = scrapes(0, a=(stats(1000), stats(0)))
    none = comparison.counted(None, wanted, first, NAMES, few)
    assert comparison.evidence(none, LATENCY).edge_milliseconds is None

    known = stored(comparison.counted(None, wanted, first, NAMES, enough))
    slow = stats(1000).plus(stats(80, milliseconds=10)).plus(stats(10, milliseconds=12))
    mine = stats(7, milliseconds=14).plus(stats(3, milliseconds=16))
    known = comparison.counted(known, wanted, scrapes(15, a=(slow, mine)), NAMES, stats(90, milliseconds=50))
    assert numbers(known, LATENCY) == (10, 3, 90, 10)
    entry = comparison.evidence(known, LATENCY)
    assert (entry.edge_milliseconds, entry.stable_edge_milliseconds) == (70, 50), "those of the next look"
    after = scrapes(30, a=(slow.plus(stats(90)), mine.plus(stats(10, milliseconds=80))))
    known = comparison.counted(stored(known), wanted, after, NAMES, stats(90))
    assert numbers(known, LATENCY) == (20, 13, 180, 10)


def test_a_latency_beyond_the_histogram_is_never_exceeded() -> None:
    wanted = analysis({"metric": "LatencyP99Milliseconds", "maxRatioToStable": 1.3})
    slowest = ClusterStats(100, 0, {60_000.0: 0.0, INF: 100.0})
    known = counted(scrapes(0, a=(stats(0), stats(0))), wanted=wanted, stretch=slowest)
    look = scrapes(15, a=(slowest, slowest))
    known = comparison.counted(known, wanted, look, NAMES, slowest)
    assert numbers(known, LATENCY) == (100, 0, 100, 100)


def test_an_absolute_limit_is_proven_by_enough_requests_within_it() -> None:
    limit = Limit("ErrorRatio", most=0.01)
    wanted = analysis({"metric": "ErrorRatio", "max": 0.01}, requireProof=True, clientErrors="Ignore")
    few = LimitEvidence(metric="ErrorRatio", max=0.01, requests=300)
    many = few.model_copy(update={"requests": 3000, "events": 5})
    bad = many.model_copy(update={"events": 30})
    assert [comparison.shown(entry, limit, wanted).kept for entry in (few, many, bad)] == [False, True, False]


def test_a_latency_limit_is_proven_at_the_bound_below_it() -> None:
    limit = Limit("LatencyP95Milliseconds", most=47)
    wanted = analysis({"metric": "LatencyP95Milliseconds", "max": 47}, requireProof=True, clientErrors="Ignore")
    looks = (
        scrapes(0, a=(stats(0), stats(0))),
        scrapes(15, a=(stats(0), stats(990).plus(stats(10, milliseconds=46)))),
    )
    known = counted(*looks, wanted=wanted)
    entry = comparison.evidence(known, limit)
    assert (entry.edge_milliseconds, entry.requests, entry.events) == (45, 1000, 10)
    assert comparison.shown(entry, limit, wanted).kept


def test_the_smallest_latency_that_can_be_proven_is_the_first_bound_of_the_histogram() -> None:
    """What is smaller, the API server refuses with requireProof: no rollout would ever end."""
    assert LATENCY_BUCKETS[0] == SMALLEST_LATENCY
    wanted = analysis({"metric": "LatencyP50Milliseconds", "max": SMALLEST_LATENCY}, requireProof=True)
    limit = Limit("LatencyP50Milliseconds", most=SMALLEST_LATENCY)
    fast = [stats(1000 * n, milliseconds=SMALLEST_LATENCY) for n in range(3)]
    entry = comparison.evidence(counted(*(scrapes(n, a=(s, s)) for n, s in enumerate(fast)), wanted=wanted), limit)
    assert comparison.shown(entry, limit, wanted).kept


def test_a_ratio_is_proven_where_the_candidate_has_clearly_less() -> None:
    wanted = analysis({"metric": "ErrorRatio", "maxRatioToStable": 2}, requireProof=True)
    looks = [scrapes(0, a=(stats(0), stats(0)))]
    for n in range(1, 21):
        looks.append(scrapes(15 * n, a=(stats(300 * n, 6 * n), stats(300 * n, 3 * n))))
    found = [comparison.shown(comparison.evidence(counted(*looks[:n], wanted=wanted), ERRORS), ERRORS, wanted).kept
             for n in (2, 21)]  # fmt: skip
    assert found == [False, True]
    assert comparison.evidence(counted(*looks, wanted=wanted), REFUSED).kept == [], "only what spec names is proven"


def test_the_largest_record_passes_the_schema_and_the_usual_one_is_cached_whole() -> None:
    checks = [{"metric": "LatencyP99Milliseconds", "max": n, "maxRatioToStable": n} for n in range(1, 11)]
    wanted = analysis(*checks, requireProof=True)
    top = stats(2.0**53, 2.0**53, 2.0**53)
    pods = {f"churn-router-{n:03}": (top, top) for n in range(40)}
    known = counted(scrapes(0), scrapes(15, **pods), scrapes(30, **pods), wanted=wanted, stretch=stats(100))
    assert len(known.limits) == MAX_LIMITS and len(known.counters) == 32
    schema = crd.object_schema(ModelDeployment)["properties"]["status"]["properties"]["candidate"]
    validate(candidate(2, 0, step_started=0, comparison=known).to_json(), schema)

    usual = analysis(*checks[:2], {"metric": "ErrorRatio", "maxRatioToStable": 2})
    pair = (stats(9000, 9), stats(1000, 9))
    looks = (scrapes(15 * n, **dict.fromkeys(("a", "b", "c"), pair)) for n in range(2))
    known = counted(*looks, wanted=usual, stretch=stats(100))
    status = candidate(2, 0, step_started=0, comparison=known, **baseline.fields(scrapes(0, **pods).by_pod, []))
    obj = {"apiVersion": "tidemill.io/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": "churn"}}
    assert not is_truncated(transform({**obj, "spec": {}, "status": {"candidate": status.to_json()}}))


def test_a_status_of_before_has_no_comparison_and_of_another_grid_no_evidence() -> None:
    assert parsed(CandidateStatus, candidate(2, 0, step_started=0).to_json()).comparison is None
    first = counted(scrapes(0, a=(stats(0), stats(0))))
    entry = first.limits[0].model_copy(update={"exceeded": [50.0] * 7, "looks": 3})
    other = first.model_copy(update={"limits": [entry]})
    known = comparison.counted(stored(other), RATIO, scrapes(15, a=(stats(90, 1), stats(10))), NAMES, ClusterStats())
    assert max(comparison.evidence(known, ERRORS).exceeded) <= 0


@pytest.mark.parametrize(("metric", "own"), [("P50", 10), ("P95", 50), ("P99", 100)])
def test_the_edge_is_the_stable_versions_own_quantile(metric: str, own: float) -> None:
    name = f"Latency{metric}Milliseconds"
    wanted = analysis({"metric": name, "maxRatioToStable": 2, "max": 70}, requireProof=True, clientErrors="Ignore")
    stretch = stats(700, milliseconds=10).plus(stats(270, milliseconds=50)).plus(stats(30, milliseconds=100))
    known = counted(scrapes(0, a=(stats(0), stats(0))), wanted=wanted, stretch=stretch)
    ratio = comparison.evidence(known, Limit(name, 2))
    assert (ratio.stable_edge_milliseconds, ratio.edge_milliseconds) == (own, 2 * own)
    absolute = comparison.evidence(known, Limit(name, most=70))
    assert (absolute.stable_edge_milliseconds, absolute.edge_milliseconds) == (70, 70)


@pytest.mark.parametrize(("metric", "few", "enough"), [("P50", 14, 17), ("P95", 155, 175), ("P99", 775, 825)])
def test_a_latency_is_proven_to_be_within_its_limit_by_requests_without_a_slow_one(
    metric: str, few: int, enough: int
) -> None:
    limit = Limit(f"Latency{metric}Milliseconds", most=50)
    wanted = analysis({"metric": limit.metric, "max": 50}, requireProof=True)
    entries = (LimitEvidence(metric=limit.metric, max=50, requests=number) for number in (few, enough))
    assert [comparison.shown(entry, limit, wanted).kept for entry in entries] == [False, True]


def test_one_look_adds_two_thirds_of_what_stops_a_candidate() -> None:
    wanted = analysis({"metric": "ErrorRatio", "maxRatioToStable": 2}, clientErrors="Ignore")
    known = counted(scrapes(0, a=(stats(0), stats(0))), scrapes(15, a=(stats(900), stats(100, 100))), wanted=wanted)
    largest = max(comparison.evidence(known, ERRORS).exceeded)
    assert largest == pytest.approx(math.log(0.5) + math.log(100) * 2 / 3, abs=1e-5)


def test_one_burst_of_the_stable_version_proves_nothing_of_the_candidate() -> None:
    wanted = analysis({"metric": "ErrorRatio", "maxRatioToStable": 2}, requireProof=True, clientErrors="Ignore")
    looks = [scrapes(0, a=(stats(0), stats(0))), scrapes(15, a=(stats(500, 100), stats(500)))]
    entry = comparison.evidence(counted(*looks, wanted=wanted), ERRORS)
    assert max(entry.kept) == pytest.approx(math.log(0.5) + math.log(100) * 2 / 3, abs=1e-5)
    assert not comparison.shown(entry, ERRORS, wanted).kept
    looks += [scrapes(15 * n, a=(stats(500 * n, 100), stats(500 * n))) for n in range(2, 20)]
    assert not comparison.shown(comparison.evidence(counted(*looks, wanted=wanted), ERRORS), ERRORS, wanted).kept


def test_what_is_counted_is_what_both_versions_answered() -> None:
    """An interval in which one of them had no requests says nothing of a ratio, and all of an absolute limit."""
    check = {"metric": "ErrorRatio", "max": 0.1, "maxRatioToStable": 2}
    wanted = analysis(check, requireProof=True, clientErrors="Ignore")
    first = scrapes(0, a=(stats(0), stats(0)))
    for later in (scrapes(15, a=(stats(90, 9), stats(0))), scrapes(15, a=(stats(0), stats(90, 9)))):
        known = counted(first, later, wanted=wanted)
        entry = comparison.evidence(known, ERRORS)
        assert (entry.requests, entry.stable_requests, entry.looks, entry.exceeded) == (0, 0, 0, [])
        absolute = comparison.evidence(known, Limit("ErrorRatio", most=0.1))
        assert absolute.requests + absolute.stable_requests == 90 and absolute.looks == 1


def test_an_absolute_limit_is_held_against_one_stretch_and_only_its_proof_is_counted() -> None:
    wanted = analysis({"metric": "ErrorRatio", "max": 0.01}, requireProof=True)
    limit = Limit("ErrorRatio", most=0.01)
    for events, kept in ((0, True), (900, False)):
        entry = LimitEvidence(metric="ErrorRatio", max=0.01, requests=3000, events=events)
        found = comparison.shown(entry, limit, wanted)
        assert (found.exceeded, found.kept, found.confidence) == (False, kept, 0.0)
