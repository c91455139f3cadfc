"""Evidence against a limit: e-values have a mean of at most 1, and a detector keeps its mean time between alarms."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable

import pytest

from tidemill_contracts import evidence
from tidemill_contracts.evidence import BETS, FACTORS, NOTHING, POINTS


def mean_of_e(outcomes: Iterable[tuple[float, tuple[float, ...]]]) -> list[float]:
    """The mean e-value of each alternative; `outcomes`: probability and logarithms."""
    total = [0.0] * POINTS
    for chance, growth in outcomes:
        total = [t + chance * math.exp(g) for t, g in zip(total, growth, strict=True)]
    return total


@pytest.mark.parametrize("share", [0.02, 0.15, 0.5])
def test_a_likelihood_ratio_has_mean_one_at_the_limit_and_less_within(share: float) -> None:
    odds = math.log(share / (1 - share))

    def expected(true: float, fewer: bool) -> list[float]:
        return mean_of_e(
            (
                math.comb(8, n) * true**n * (1 - true) ** (8 - n),
                evidence.share_growth(odds, n, 8 - n, fewer=fewer),
            )
            for n in range(9)
        )

    assert expected(share, False) == pytest.approx([1.0] * POINTS)
    assert expected(share, True) == pytest.approx([1.0] * POINTS)
    assert max(expected(0.8 * share, False)) < 1
    assert max(expected(1.2 * share, True)) < 1


def test_bets_on_a_fair_game_have_mean_one() -> None:
    values = {-1.0: 0.5, 0.5: 0.4, 3.0: 0.1}  # the mean is 0
    games = itertools.product(values.items(), repeat=3)
    mean = mean_of_e(
        (math.prod(chance for _, chance in game), evidence.bet_growth([(gain, 1) for gain, _ in game]))
        for game in games
    )
    assert mean == pytest.approx([1.0] * POINTS)


def test_sums_of_gains_are_never_more_than_the_bets_on_them() -> None:
    draw = random.Random(7)
    for _ in range(200):
        gains = [draw.choice((-1.0, draw.uniform(-1, 0.2), draw.expovariate(0.3))) for _ in range(5)]
        bets = evidence.bet_growth([(gain, 1) for gain in gains])
        sums = evidence.sum_growth(sum(gains), sum(g * g for g in gains))
        assert all(s <= b + 1e-12 for s, b in zip(sums, bets, strict=True))


def test_alternatives_are_those_that_the_docs_name() -> None:
    assert len(FACTORS) == len(BETS) == POINTS == 20
    assert (BETS[0], BETS[-1]) == (pytest.approx(0.005), pytest.approx(0.95))


def test_a_detector_without_evidence_counts_the_time() -> None:
    state = NOTHING
    for _ in range(5):
        state = evidence.detected(state, (0.0,) * POINTS, 3600)
    assert math.exp(evidence.log_mean(state)) == pytest.approx(5 * 3600)
    assert evidence.detected(state, (0.0,) * POINTS, 0) == pytest.approx(state)
    assert evidence.detected(NOTHING, (5.0,) * POINTS, 0) == NOTHING, "no time, no alarm"


def test_a_long_good_time_does_not_delay_what_comes_after() -> None:
    """It restarts by itself: the delay after a year of hours without an error is that after a day."""

    def delay(hours: int) -> int:
        state, looks = NOTHING, 0
        good = evidence.share_growth(math.log(0.15 / 0.85), 10, 190)
        for _ in range(hours):
            state = evidence.detected(state, good, 3600)
        while evidence.log_mean(state) < math.log(150 * 86_400):
            state = evidence.detected(state, evidence.share_growth(math.log(0.15 / 0.85), 50, 150), 3600)
            looks += 1
        return looks

    assert delay(24 * 365) == delay(24) <= 4


def test_the_mean_time_between_false_alarms_is_at_least_the_stated_one() -> None:
    """Exactly at the limit, the worst that is no breach: 200 labels each hour, limit 0.85, stated 100 hours."""
    draw, odds, hours, alarms, state = random.Random(3), math.log(0.15 / 0.85), 10_000, 0, NOTHING
    for _ in range(hours):
        wrong = sum(draw.random() < 0.15 for _ in range(200))
        state = evidence.detected(state, evidence.share_growth(odds, wrong, 200 - wrong), 3600)
        if evidence.log_mean(state) >= math.log(100 * 3600):
            alarms, state = alarms + 1, NOTHING
    assert 1 <= alarms <= hours / 100
