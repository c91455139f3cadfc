"""The always-valid test: its arithmetic against other ways to say the same, and the error rates that docs promise."""

from __future__ import annotations

import itertools
import math
import random
import re
from pathlib import Path

import pytest
from tests.unit.serving import simulation
from tests.unit.serving.simulation import World

from tidemill.serving.policy import eprocess
from tidemill.serving.policy.eprocess import Interval
from tidemill_contracts.evidence import FACTORS, POINTS

PAGE = Path(__file__).parents[3] / "docs" / "rollout-analysis.md"
INTERVALS = (Interval(30, 2, 270, 1), Interval(5, 0, 500, 9), Interval(100, 7, 100, 3), Interval(200, 3, 20, 1))


def likelihood(seen: tuple[Interval, ...], ratio: float, factor: float) -> float:
    """E(r, j) of these intervals, as the docs print it."""
    product = 1.0
    for n, c, m, s in seen:
        p, p1 = factor * ratio * n / (factor * ratio * n + m), ratio * n / (ratio * n + m)
        product *= (p / p1) ** c * ((1 - p) / (1 - p1)) ** s
    return product


@pytest.mark.parametrize("ratio", [0.5, 1, 2])
@pytest.mark.parametrize("kept", [False, True])
def test_the_evidence_is_the_mean_of_the_likelihood_ratios(ratio: float, kept: bool) -> None:
    evidence: tuple[float, ...] = ()
    for number, seen in enumerate(INTERVALS):
        evidence = eprocess.added(evidence, number, seen, ratio, kept=kept)
    factors = [math.exp(-f if kept else f) for f in FACTORS]
    last = len(INTERVALS)
    expected = 1 - sum(1 / (j * (j + 1)) for j in range(1, last + 1))  # those that have not begun
    for j in range(1, last + 1):
        mean = sum(likelihood(INTERVALS[j - 1 :], ratio, factor) for factor in factors) / len(factors)
        expected += mean / (j * (j + 1))
    assert math.exp(eprocess.log_e(evidence, last)) == pytest.approx(expected, rel=1e-4)
    assert eprocess.log_e((), 0) == 0


def test_a_candidate_that_was_good_for_a_day_is_seen_when_it_becomes_bad() -> None:
    evidence: tuple[float, ...] = ()
    for number in range(5760):
        evidence = eprocess.added(evidence, number, Interval(30, 0.3, 270, 2.7), 2)
    looks = 0
    while eprocess.log_e(evidence, 5760 + looks) < math.log(100):
        evidence = eprocess.added(evidence, 5760 + looks, Interval(30, 30, 270, 2.7), 2, most=2 / 3 * math.log(100))
        looks += 1
    assert looks <= 8, "two minutes"


def test_the_alternatives_are_those_that_the_docs_name() -> None:
    assert len(FACTORS) == POINTS == 20
    assert [f"{math.exp(f):.3g}" for f in (FACTORS[0], FACTORS[-1])] == ["1.03", "9.41"]
    assert list(FACTORS) == sorted(FACTORS)


@pytest.mark.parametrize(("requests", "stable"), list(itertools.product((1, 2, 5), (1, 3))))
@pytest.mark.parametrize(("ratio", "share"), [(1, 0.01), (1, 0.5), (1, 1.0), (2, 0.3), (2, 0.5), (0.5, 0.9)])
def test_the_expected_evidence_of_a_candidate_at_its_limit_never_grows(
    requests: int, stable: int, ratio: float, share: float
) -> None:
    """Exactly, over all outcomes of independent requests, also where most of them are events."""
    for kept in (False, True):
        expected = 0.0
        for c, s in itertools.product(range(requests + 1), range(stable + 1)):
            chance = binomial(requests, c, ratio * share) * binomial(stable, s, share)
            grown = eprocess.added((), 0, Interval(requests, c, stable, s), ratio, kept=kept)
            expected += chance * math.exp(eprocess.log_e(grown, 1))
        assert expected <= 1 + 1e-4


def binomial(number: int, count: int, share: float) -> float:
    return math.comb(number, count) * share**count * (1 - share) ** (number - count)


@pytest.mark.parametrize("share", [0.01, 0.3, 1.0])
def test_the_same_holds_of_an_absolute_limit(share: float) -> None:
    expected = sum(binomial(9, c, share) * math.exp(eprocess.log_e_below(9, c, share)) for c in range(10))
    assert expected <= 1 + 1e-9


def test_one_interval_adds_no_more_than_is_allowed() -> None:
    half = math.log(0.5)
    burst = Interval(30, 30, 270, 0)
    assert max(eprocess.added((), 0, burst, 2)) > 20
    assert max(eprocess.added((), 0, burst, 2, most=3.0)) == pytest.approx(3.0 + half)
    calm = Interval(30, 0, 270, 3)
    assert eprocess.added((), 0, calm, 2, most=3.0) == eprocess.added((), 0, calm, 2)


@pytest.mark.parametrize("ratio", [1e-300, 1e-9, 1e9, 1e300])
def test_extreme_ratios_and_counts_stay_finite(ratio: float) -> None:
    for seen in (Interval(1, 1, 2**53, 0), Interval(2**53, 2**53, 1, 1), Interval(1, 0, 1, 1)):
        for kept in (False, True):
            evidence = eprocess.added((), 0, seen, ratio, kept=kept)
            evidence = eprocess.added(evidence, 1, seen, ratio, kept=kept)
            assert all(map(math.isfinite, evidence)) and math.isfinite(eprocess.log_e(evidence, 2))


@pytest.mark.parametrize(
    ("counts", "expected"),
    [([], 1.0), ([5], 1.0), ([0, 0, 0], 1.0), ([3, 3, 3], 1.0), ([0, 10], 10.0), ([0, 0, 0, 12], 12.0)],
)
def test_the_dispersion_is_the_fano_factor_where_all_intervals_are_alike(counts: list[int], expected: float) -> None:
    squares = sum(e * e / 100 for e in counts)
    assert eprocess.dispersion(len(counts), 100 * len(counts), sum(counts), squares) == pytest.approx(expected)


def test_changing_traffic_is_no_dispersion() -> None:
    """Ten times as many requests with ten times as many errors are one share."""
    intervals = [(100, 1), (1000, 10), (5000, 50)]
    squares = sum(e * e / n for n, e in intervals)
    assert eprocess.dispersion(3, 6100, 61, squares) == 1.0


def test_the_smallest_visible_share_is_found_by_about_half_of_all_rollouts() -> None:
    rng, level = random.Random(1), math.log(100)
    total = Interval(3000, 0, 27_000, 270)
    share = eprocess.smallest_visible_share(total, 2, level)
    assert share is not None and 0.02 < share < 0.05
    found = 0
    for _ in range(200):
        evidence: tuple[float, ...] = ()
        for number in range(10):
            seen = Interval(300, simulation.poisson(rng, 300 * share), 2700, simulation.poisson(rng, 27))
            evidence = eprocess.added(evidence, number, seen, 2)
        found += eprocess.log_e(evidence, 10) >= level
    assert 80 <= found <= 130


def test_with_too_few_requests_nothing_would_be_seen() -> None:
    assert eprocess.smallest_visible_share(Interval(0, 0, 9, 0), 2, 4.6) is None
    assert eprocess.smallest_visible_share(Interval(9, 0, 0, 0), 2, 4.6) is None
    assert eprocess.smallest_visible_share(Interval(1, 0, 1, 0), 2, 4.6) is None
    assert eprocess.smallest_visible_share(Interval(50, 0, 450, 0), 2, 4.6) is not None


FEW = 60
"""Rollouts of the quick look at error rates; the tables of the docs have them all."""


@pytest.mark.parametrize(
    ("world", "low", "high"),
    [(World(20, 0.01, 1), 0, 0), (World(2, 0.01, 2), 0, 0.05), (World(20, 0.01, 10), 1, 1)],
    ids=["identical", "at the limit", "ten times worse"],
)
def test_error_rates_at_a_glance(world: World, low: float, high: float) -> None:
    found = simulation.simulated(world, rollouts=FEW)
    assert low <= found.stopped <= high


@pytest.mark.slow
@pytest.mark.parametrize("worlds", [simulation.INDEPENDENT, simulation.BURSTS], ids=["independent", "bursts"])
def test_the_docs_print_what_the_simulation_gives(worlds: list[World]) -> None:
    """`python -m tests.unit.serving.simulation` prints the tables."""
    assert "\n".join(simulation.table(worlds)) in PAGE.read_text()


@pytest.mark.slow
def test_the_docs_print_what_the_simulation_gives_for_latencies() -> None:
    assert "\n".join(simulation.latency_table()) in PAGE.read_text()


def rows(worlds: list[World]) -> list[tuple[World, float]]:
    """Worlds with the share of rollouts that the docs say are stopped."""
    text = PAGE.read_text()
    found = re.findall(r"^\| [\d.]+ × \|.*?\| ([\d.]+)% \| [\d ]*s? *\| \d+% \|$", text, re.MULTILINE)
    shares = [float(share) / 100 for share in found]
    start = 0 if worlds is simulation.INDEPENDENT else len(simulation.INDEPENDENT)
    return list(zip(worlds, shares[start : start + len(worlds)], strict=True))


def test_candidates_within_the_limit_are_stopped_no_more_often_than_stated() -> None:
    within = [share for world, share in rows(simulation.INDEPENDENT) if world.times <= 2]
    assert len(within) == 8 and max(within) <= 0.015, "1 %, and what chance adds in 200 rollouts"
    identical = [share for world, share in rows(simulation.BURSTS) if world.times == 1]
    assert len(identical) == 2 and max(identical) <= 0.03
