"""Significance, levels and false alarms against scipy and by simulation: the stated number of false alarms holds."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from tidemill_contracts.monitoring import ColumnScore, DriftConfig
from tidemill_contracts.reference import CategoricalProfile, NumericProfile, Profile
from tidemill_runtime.monitor.drift import Scored, judge
from tidemill_runtime.monitor.stattests import false_alarms, significance
from tidemill_runtime.monitor.stattests.false_alarms import benjamini_hochberg, expected_alarms, window_level
from tidemill_runtime.monitor.stattests.sensitivity import smallest_shift
from tidemill_runtime.monitor.tally import ColumnTally

Counts = NDArray[np.int64]
Shares = NDArray[np.float64]
LEVEL = 1e-3


def p_of(reference: Counts, current: Counts, *, ordered: bool = True, level: float = LEVEL) -> float:
    return significance.p_value(reference, current, ordered=ordered, level=level)


@given(
    st.integers(2, 12).flatmap(
        lambda k: st.tuples(*(st.lists(st.integers(1, 5_000), min_size=k, max_size=k) for _ in "ab"))
    )
)
def test_the_statistic_is_scipys(pair: tuple[list[int], list[int]]) -> None:
    table = np.array(pair, dtype=np.int64)
    assert significance.statistic(table) == pytest.approx(
        stats.chi2_contingency(table, correction=False).statistic, rel=1e-9, abs=1e-9
    )


@pytest.mark.parametrize("shift", [0.0, 0.03, 0.1])
def test_of_large_samples_the_p_value_is_scipys(shift: float) -> None:
    random = np.random.default_rng(4)
    shares = np.full(10, 0.1)
    table = np.array([random.multinomial(50_000, shares), random.multinomial(20_000, shares + tilt(10, shift))])
    expected = stats.chi2_contingency(table, correction=False).pvalue
    assert p_of(*table) == pytest.approx(expected, rel=0.02)


def tilt(k: int, by: float) -> Shares:
    return by * np.linspace(-0.02, 0.02, k)


@given(st.lists(st.integers(0, 60), min_size=4, max_size=4).filter(lambda t: (t[0] + t[1]) * (t[2] + t[3]) > 0))
def test_of_two_bins_the_p_value_is_fishers_as_scipy_has_it(values: list[int]) -> None:
    table = np.array(values, dtype=np.int64).reshape(2, 2)
    assert p_of(*table) == pytest.approx(stats.fisher_exact(table).pvalue, rel=1e-6)


@pytest.mark.parametrize(("shape", "value"), [(0.5, 3.0), (0.5, 0.01), (4.5, 0.3), (4.5, 40.0), (500, 600), (500, 430)])
def test_the_gamma_tail_is_scipys(shape: float, value: float) -> None:
    assert significance.gamma_tail(shape, value) == pytest.approx(stats.gamma.sf(value, shape), rel=1e-9)


def test_mean_and_variance_of_the_statistic_are_those_of_random_tables() -> None:
    table = np.array([[200, 200, 200, 205, 9], [4, 3, 8, 9, 2]], dtype=np.int64)
    random, totals = np.random.default_rng(2), table.sum(axis=0)
    drawn = random.multivariate_hypergeometric(totals, 26, size=20_000)
    found = [significance.statistic(np.array([totals - d, d])) for d in drawn]
    assert significance.moments(table) == pytest.approx((np.mean(found), np.var(found)), rel=0.05)


def test_a_simulated_p_value_is_near_the_exact_one_and_the_same_each_time() -> None:
    reference, current = np.array([40, 40, 40]), np.array([16, 8, 6])
    found = p_of(reference, current)
    exact = stats.chi2_contingency([reference, current], correction=False).pvalue
    assert found == p_of(reference, current)
    assert found == pytest.approx(exact, rel=0.5)


def test_bins_are_merged_until_each_expects_five_values() -> None:
    table = np.array([[1, 2, 3, 994, 1_000], [0, 1, 2, 97, 100]], dtype=np.int64)
    assert significance.merge(table, ordered=True).tolist() == [[1_000, 1_000], [100, 100]]
    table = np.array([[500, 5, 490, 5, 30, 20], [50, 0, 49, 1, 3, 2]], dtype=np.int64)
    assert significance.merge(table, ordered=False).tolist() == [[500, 490, 60], [50, 49, 6]]


def test_values_in_one_bin_never_differ() -> None:
    assert p_of(np.array([7, 0]), np.array([3, 0])) == 1.0


def test_ten_rows_that_all_lie_where_training_has_none_are_significant_beyond_what_draws_resolve() -> None:
    assert p_of(np.array([0, *[1_000] * 9, 0]), np.array([0] * 10 + [10])) < 1e-20
    assert p_of(np.array([10**9] * 10), np.array([0] * 9 + [10])) < 1e-8


AWKWARD: dict[str, tuple[Shares, bool]] = {
    "ten even bins": (np.full(10, 0.1), True),
    "a thousand categories": (np.full(1_000, 0.001), False),
    "a thousand categories, few of them frequent": (1 / np.arange(1.0, 1_001), False),
    "one value has most rows": (np.array([0.93, *[0.01] * 7]), True),
    "yes and no": (np.array([0.5, 0.5]), False),
    "one in a thousand": (np.array([0.999, 0.001]), False),
    "one category and forty rare ones": (np.array([0.9] + [0.0025] * 40), False),
}


@pytest.mark.parametrize("name", AWKWARD)
@pytest.mark.parametrize(
    ("n_reference", "n_current"), [(5_000, 30), (455, 100), (5_000, 500), (1_000, 1_000), (500, 5_000)]
)
def test_without_drift_p_values_are_not_smaller_than_they_should_be(
    name: str, n_reference: int, n_current: int
) -> None:
    weights, ordered = AWKWARD[name]
    random, shares = np.random.default_rng(7), weights / weights.sum()
    drawn = 400
    found = np.array(
        [
            p_of(random.multinomial(n_reference, shares), random.multinomial(n_current, shares), ordered=ordered)
            for _ in range(drawn)
        ]
    )
    for level in (0.05, 0.01):
        assert np.mean(found <= level) <= level + 4 * math.sqrt(level / drawn)
    assert np.sum(found <= 0.0005) <= 3


@given(st.lists(st.floats(1e-9, 1), min_size=1, max_size=40), st.sampled_from([0.05, 0.01, 1e-4]))
def test_benjamini_hochberg_is_scipys(p_values: list[float], level: float) -> None:
    adjusted = stats.false_discovery_control(p_values)
    if np.all(np.abs(adjusted - level) > 1e-12):
        assert benjamini_hochberg(p_values, level) == (adjusted <= level).tolist()


@pytest.mark.parametrize(("needed", "out_of"), [(1, 1), (2, 2), (2, 3), (3, 5)])
def test_alarms_of_independent_windows_are_as_many_as_a_long_run_has(needed: int, out_of: int) -> None:
    windows, level = 1_000_000, 0.05
    differs = np.random.default_rng(1).random(windows) < level
    alarm = np.convolve(differs, np.ones(out_of), mode="valid") >= needed
    expected = expected_alarms(level, windows=windows, needed=needed, out_of=out_of, common=0.0)
    assert np.count_nonzero(alarm[1:] & ~alarm[:-1]) == pytest.approx(expected, rel=0.1, abs=10)


@pytest.mark.parametrize("common", [0.0, 0.3, 0.7, 0.95])
def test_alarms_of_windows_with_one_training_sample_are_as_many_as_simulated(common: float) -> None:
    random, level, monitors, windows = np.random.default_rng(3), 0.02, 3_000, 60
    limit = stats.norm.isf(level / 2)
    training, own = random.normal(size=(monitors, 1)), random.normal(size=(monitors, windows))
    differs = np.abs(math.sqrt(common) * training + math.sqrt(1 - common) * own) > limit
    alarm = differs[:, 1:] & differs[:, :-1]
    starts = alarm[:, 0].sum() + np.count_nonzero(alarm[:, 1:] & ~alarm[:, :-1])
    expected = expected_alarms(level, windows=windows, needed=2, out_of=2, common=common)
    assert starts / monitors <= expected + 4 * math.sqrt(expected / monitors)
    assert starts / monitors >= expected * 0.6


def test_the_level_grows_with_window_length_and_windows_needed_and_shrinks_with_the_windows_size() -> None:
    def level(seconds: int = 3_600, needed: int = 2, out_of: int = 2, n_current: int = 500) -> float:
        return window_level(0.2, seconds=seconds, needed=needed, out_of=out_of, n_reference=10_000, n_current=n_current)

    assert level(60) < level(3_600) < level(86_400) <= false_alarms.LARGEST_LEVEL
    assert level(needed=1, out_of=1) < level(out_of=3) < level() < level(needed=3, out_of=3)
    assert level(n_current=50_000) < level(n_current=5_000) < level()
    assert level(needed=1, out_of=1) == pytest.approx(0.2 / 720, rel=0.1)
    assert level(604_800) == false_alarms.LARGEST_LEVEL


def numeric(name: str, counts: Counts, missing: int) -> Profile:
    edges = tuple(float(edge) for edge in range(1, len(counts)))
    means = tuple(edge + 0.5 for edge in range(len(counts)))
    return NumericProfile(
        name=name, edges=edges, counts=tuple(counts.tolist()), missing=missing, minimum=0.0,
        maximum=float(len(counts)), mean=1.0, std=2.0, bin_means=means,
    )  # fmt: skip


def categorical(name: str, counts: Counts, missing: int) -> Profile:
    names = tuple(str(number) for number in range(len(counts) - 1))
    return CategoricalProfile(name=name, categories=names, counts=tuple(counts.tolist()), missing=missing)


KINDS: dict[str, tuple[Callable[[str, Counts, int], Profile], Shares, float]] = {
    "even": (numeric, np.full(10, 0.1), 0.0),
    "atom": (numeric, np.array([0.93, *[0.01] * 7]), 0.0),
    "mostly missing": (numeric, np.full(10, 0.1), 0.95),
    "zip code": (categorical, np.full(1_000, 0.001), 0.0),
    "flag": (categorical, np.array([0.97, 0.03]), 0.0),
}


def drawn(random: np.random.Generator, shares: Shares, missing: float, rows: int) -> tuple[Counts, int]:
    gone = int(random.binomial(rows, missing))
    return random.multinomial(rows - gone, shares), gone


def scored(profile: Profile, counts: Counts, missing: int) -> Scored:
    """A column whose score is always beyond its threshold: only significance stands between it and an alarm."""
    tally = ColumnTally(int(counts.sum()) + missing, counts, missing, 0, 0, 0)
    score = ColumnScore(name=profile.name, test="PSI", score=9.0 if counts.sum() else None, threshold=0.1)
    return Scored(score, profile, tally)


@pytest.mark.parametrize(("n_reference", "n_current"), [(2_000, 20), (5_000, 400), (1_000, 1_000)])
def test_the_stated_number_of_false_alarms_holds_on_awkward_columns(n_reference: int, n_current: int) -> None:
    """Months of half days, two of three windows, every kind of column; one drifted column is enough."""
    config = DriftConfig(false_alarms_per_month=2.0, consecutive_windows=2, out_of=3)
    random, months, windows, starts = np.random.default_rng(9), 25, 60, 0
    for _ in range(months):
        profiles = [
            make(name, *drawn(random, shares, missing, n_reference)) for name, (make, shares, missing) in KINDS.items()
        ]
        history = [False] * 3
        was_alarm = False
        for _ in range(windows):
            columns = [
                scored(profile, *drawn(random, shares, missing, n_current))
                for profile, (_, shares, missing) in zip(profiles, KINDS.values(), strict=True)
            ]
            verdict = judge(config, columns, window_seconds=43_200, rows=n_current)
            history = [*history[1:], any(column.drifted for column in verdict.columns)]
            is_alarm = sum(history) >= 2
            starts += is_alarm and not was_alarm
            was_alarm = is_alarm
    assert starts / months <= 2.0 + 3 * math.sqrt(2.0 / months)


@pytest.mark.parametrize("n_current", [200, 2_000])
def test_the_smallest_shift_is_seen_in_four_of_five_windows_and_half_of_it_is_not(n_current: int) -> None:
    level, n_reference = 1e-3, 5_000
    shift = smallest_shift("Wasserstein", 0.01, level=level, n_reference=n_reference, n_current=n_current)
    assert shift is not None
    random, edges = np.random.default_rng(8), stats.norm.ppf(np.linspace(0.1, 0.9, 9))

    def counted(by: float, rows: int) -> Counts:
        return np.bincount(edges.searchsorted(random.normal(by, 1, rows)), minlength=10)

    def seen(by: float) -> float:
        pairs = [(counted(0, n_reference), counted(by, n_current)) for _ in range(60)]
        return float(np.mean([p_of(*pair, level=level) <= level for pair in pairs]))

    assert seen(shift) >= 0.65
    assert seen(shift / 2) <= 0.4


def test_the_smallest_shift_is_that_of_the_threshold_where_rows_are_many() -> None:
    many = {"level": 1e-3, "n_reference": 10**6, "n_current": 10**6}
    assert smallest_shift("Wasserstein", 0.1, **many) == pytest.approx(0.1, abs=0.005)  # type: ignore[arg-type]
    assert smallest_shift("PSI", 0.2, **many) == pytest.approx(0.46, abs=0.02)  # type: ignore[arg-type]
    assert smallest_shift("PSI", 1_000, **many) is None  # type: ignore[arg-type]
