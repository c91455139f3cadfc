"""Drift tests against worked examples, scipy, Evidently's conventions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial import distance
from scipy.stats import contingency, ks_2samp, wasserstein_distance

from tidemill_contracts.drift_tests import NAMES
from tidemill_contracts.monitoring import ColumnScore, DriftConfig, TestConfig
from tidemill_contracts.reference import CategoricalProfile
from tidemill_runtime.monitor.binning import ColumnBins
from tidemill_runtime.monitor.drift import Scored, judge
from tidemill_runtime.monitor.scoring import column_score
from tidemill_runtime.monitor.stattests.formulas import FORMULAS
from tidemill_runtime.monitor.stattests.sample import NO_POSITIONS, Bins
from tidemill_runtime.monitor.tally import ColumnTally

Counts = NDArray[np.int64]

counts_pairs = st.integers(2, 12).flatmap(
    lambda k: st.tuples(
        st.lists(st.integers(0, 10_000), min_size=k, max_size=k).filter(any),
        st.lists(st.integers(0, 10_000), min_size=k, max_size=k).filter(any),
    )
)


def counts(*values: int) -> Counts:
    return np.array(values, dtype=np.int64)


def bins(k: int) -> Bins:
    return Bins(np.arange(float(k)), 2.0)


@pytest.mark.parametrize(
    ("reference", "current", "expected"),
    [
        pytest.param((40, 30, 30), (35, 25, 40), 0.0446, id="three income bands, GeeksforGeeks 2025"),
        pytest.param((50, 50), (70, 30), 0.2 * math.log(7 / 3), id="(0.7 - 0.5)(ln 1.4 - ln 0.6)"),
        pytest.param((600, 400), (380, 620), 0.22 * math.log(60 * 62 / (38 * 40)), id="a shift just below 0.2"),
        pytest.param((10,) * 10, (10,) * 10, 0.0, id="equal shares"),
        pytest.param((10,) * 10, (1000,) * 10, 0.0, id="equal shares of another size"),
    ],
)
def test_psi_of_worked_examples(reference: tuple[int, ...], current: tuple[int, ...], expected: float) -> None:
    assert FORMULAS["PSI"](counts(*reference), counts(*current), NO_POSITIONS) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(
    ("reference", "current", "expected"),
    [
        pytest.param((5, 5), (10, 0), 0.5 * math.log(2) + (0.5 - 1e-4) * math.log(0.5 / 1e-4), id="a ten-thousandth"),
        pytest.param(
            (50_000, 50_000, 0),
            (99_999, 0, 1),
            (0.99999 - 0.5) * math.log(0.99999 / 0.5)
            + (0.5 - 1e-11) * math.log(0.5 / 1e-11)
            + (1e-5 - 1e-4) * math.log(1e-5 / 1e-4),
            id="a millionth of the smallest share, when that is small; the other sample keeps its own",
        ),
        pytest.param((5, 0, 5), (5, 0, 5), 0.0, id="a bin empty in both adds nothing"),
    ],
)
def test_psi_fills_empty_bins_as_evidently_does(
    reference: tuple[int, ...], current: tuple[int, ...], expected: float
) -> None:
    assert FORMULAS["PSI"](counts(*reference), counts(*current), NO_POSITIONS) == pytest.approx(expected)


@given(counts_pairs)
def test_jensen_shannon_is_scipys(pair: tuple[list[int], list[int]]) -> None:
    reference, current = counts(*pair[0]), counts(*pair[1])
    expected = distance.jensenshannon(reference, current)
    # scipy takes the root of a difference that may be a rounding error away from 0
    assert FORMULAS["JensenShannon"](reference, current, NO_POSITIONS) == pytest.approx(expected, rel=1e-6, abs=1e-7)


def test_jensen_shannon_of_disjoint_samples_is_the_root_of_ln_2() -> None:
    assert FORMULAS["JensenShannon"](counts(5, 0), counts(0, 9), NO_POSITIONS) == pytest.approx(math.sqrt(math.log(2)))


@given(counts_pairs)
def test_kolmogorov_smirnov_on_bins_is_scipys_of_binned_values(pair: tuple[list[int], list[int]]) -> None:
    reference, current = ([i for i, n in enumerate(side) for _ in range(min(n, 50))] for side in pair)
    if not reference or not current:
        return
    k = len(pair[0])
    score = FORMULAS["KolmogorovSmirnov"](
        np.bincount(reference, minlength=k), np.bincount(current, minlength=k), NO_POSITIONS
    )
    assert score == pytest.approx(ks_2samp(reference, current).statistic)


def test_kolmogorov_smirnov_on_bins_is_a_lower_bound_of_the_raw_statistic() -> None:
    random = np.random.default_rng(7)
    reference, current = random.normal(size=5_000), random.normal(0.3, 1.2, size=2_000)
    edges = np.quantile(reference, np.linspace(0.1, 0.9, 9))
    binned = [np.bincount(edges.searchsorted(x, side="right"), minlength=10) for x in (reference, current)]
    score = FORMULAS["KolmogorovSmirnov"](binned[0], binned[1], NO_POSITIONS)
    exact = ks_2samp(reference, current).statistic
    assert exact - 0.1 <= score <= exact


@given(counts_pairs)
def test_wasserstein_is_scipys_of_values_at_the_bins_positions(pair: tuple[list[int], list[int]]) -> None:
    reference, current = counts(*pair[0]), counts(*pair[1])
    positions = np.arange(float(len(reference))) ** 2
    expected = wasserstein_distance(positions, positions, reference, current) / 2.0
    score = FORMULAS["Wasserstein"](reference, current, Bins(positions, 2.0))
    assert score == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_wasserstein_of_a_shift_by_one_deviation_is_about_one() -> None:
    random = np.random.default_rng(3)
    reference = random.normal(size=20_000)
    edges = np.linspace(-3, 4, 60)
    binned = [np.bincount(edges.searchsorted(x, side="right"), minlength=61) for x in (reference, reference + 1)]
    positions = np.concatenate(([-3.1], (edges[1:] + edges[:-1]) / 2, [4.1]))
    assert FORMULAS["Wasserstein"](binned[0], binned[1], Bins(positions, float(reference.std()))) == pytest.approx(
        1, abs=0.02
    )


def test_wasserstein_without_spread_is_not_defined() -> None:
    assert math.isnan(FORMULAS["Wasserstein"](counts(3, 0), counts(0, 3), Bins(np.array([1.0, 1.0]), 0.0)))


def test_chi_squared_is_scipys_cramers_v_of_samples_of_one_size() -> None:
    reference, current = counts(120, 300, 80, 500), counts(200, 200, 100, 500)
    expected = contingency.association(np.array([reference, current]), method="cramer")
    assert FORMULAS["ChiSquared"](reference, current, NO_POSITIONS) == pytest.approx(expected)
    assert FORMULAS["ChiSquared"](reference, current * 17, NO_POSITIONS) == pytest.approx(expected)


@given(counts_pairs)
def test_l_infinity_is_scipys_chebyshev_distance_of_shares(pair: tuple[list[int], list[int]]) -> None:
    reference, current = counts(*pair[0]), counts(*pair[1])
    expected = distance.chebyshev(reference / reference.sum(), current / current.sum())
    assert FORMULAS["LInfinity"](reference, current, NO_POSITIONS) == pytest.approx(expected, abs=1e-12)


@given(counts_pairs)
def test_hellinger_is_one_minus_the_bhattacharyya_coefficient(pair: tuple[list[int], list[int]]) -> None:
    reference, current = counts(*pair[0]), counts(*pair[1])
    r, c = reference / reference.sum(), current / current.sum()
    coefficient = float(np.sum(np.sqrt(r * c)))  # Bhattacharyya, 1943
    found = FORMULAS["Hellinger"](reference, current, NO_POSITIONS)
    assert found**2 == pytest.approx(1 - coefficient, abs=1e-12)
    assert found == pytest.approx(np.linalg.norm(np.sqrt(r) - np.sqrt(c)) / math.sqrt(2), abs=1e-12)


@pytest.mark.parametrize(
    ("name", "reference", "current", "expected"),
    [
        pytest.param("LInfinity", (50, 30, 20), (40, 30, 30), 0.1, id="a tenth of the rows has moved"),
        pytest.param("LInfinity", (5, 0), (0, 9), 1.0, id="no bin in common, largest difference"),
        pytest.param("LInfinity", (900, 100, 0), (870, 90, 40), 0.04, id="a category that training never saw"),
        pytest.param("Hellinger", (5, 5), (10, 0), math.sqrt(1 - math.sqrt(0.5)), id="half of the rows has moved"),
        pytest.param("Hellinger", (5, 0), (0, 9), 1.0, id="no bin in common, Hellinger"),
        pytest.param("Hellinger", (10, 0), (9, 1), math.sqrt(1 - math.sqrt(0.9)), id="a tenth is unseen, Hellinger"),
    ],
)
def test_l_infinity_and_hellinger_of_worked_examples(
    name: str, reference: tuple[int, ...], current: tuple[int, ...], expected: float
) -> None:
    assert FORMULAS[name](counts(*reference), counts(*current), NO_POSITIONS) == pytest.approx(expected)


def test_hellinger_of_a_small_difference_is_near_jensen_shannon() -> None:
    """So the two have one threshold."""
    reference, current = counts(*(1000,) * 10), counts(*range(800, 1250, 45))
    found, expected = (FORMULAS[n](reference, current, NO_POSITIONS) for n in ("Hellinger", "JensenShannon"))
    assert found == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("name", ["LInfinity", "Hellinger"])
def test_an_empty_window_is_not_judged_and_categories_that_training_never_saw_are_drift(name: str) -> None:
    profile = CategoricalProfile(name="plan", categories=("basic", "pro"), counts=(700, 300, 0), missing=0)
    column, config = ColumnBins(profile), DriftConfig(features=TestConfig(test=name, threshold=0.1))

    def judged(values: list[str | None]) -> ColumnScore:
        counted = column.count(values)
        found = Scored(column_score("plan", column, counted, config.features), profile, ColumnTally.of(column, counted))
        return judge(config, [found], window_seconds=3_600, rows=len(values)).columns[0]

    empty = judged([None, None])
    assert (empty.test, empty.score, empty.drifted, empty.note) == (name, None, False, "no values to compare")

    same = judged(["basic"] * 68 + ["pro"] * 32)
    assert (same.drifted, same.note) == (False, "")

    new = judged(["basic"] * 350 + ["pro"] * 150 + ["gold"] * 100)
    assert (new.drifted, new.unseen_ratio) == (True, pytest.approx(1 / 6))
    assert (new.category, new.reference_share, new.share) == ("other", 0, pytest.approx(1 / 6))


@given(counts_pairs, st.sampled_from(NAMES))
def test_scores_are_finite_not_negative_and_zero_for_equal_shares(pair: tuple[list[int], list[int]], name: str) -> None:
    reference, current = counts(*pair[0]), counts(*pair[1])
    score = FORMULAS[name]
    assert math.isfinite(score(reference, current, bins(len(reference))))
    assert score(reference, current, bins(len(reference))) >= 0
    assert score(reference, reference * 3, bins(len(reference))) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("current", [(900, 80, 20, 0), (9, 1, 0, 2), (9_000, 800, 100, 100)])
def test_scores_are_plain_numbers(name: str, current: tuple[int, ...]) -> None:
    """A report holds what they say, and JSON knows no number of numpy's."""
    samples = counts(9_000, 900, 99, 1), counts(*current), bins(4)
    assert type(FORMULAS[name](*samples)) is float


@given(counts_pairs, st.sampled_from([name for name in NAMES if name != "PSI"]))
def test_all_but_psi_with_empty_bins_are_symmetric(pair: tuple[list[int], list[int]], name: str) -> None:
    reference, current = counts(*pair[0]), counts(*pair[1])
    score = FORMULAS[name]
    k = bins(len(reference))
    assert score(reference, current, k) == pytest.approx(score(current, reference, k), abs=1e-9)


def test_the_mean_of_psi_without_drift_is_the_published_expectation() -> None:
    random = np.random.default_rng(5)
    shares = np.full(10, 0.1)
    scores = [
        FORMULAS["PSI"](random.multinomial(2_000, shares), random.multinomial(1_000, shares), NO_POSITIONS)
        for _ in range(2_000)
    ]
    assert np.mean(scores) == pytest.approx(9 * (1 / 2_000 + 1 / 1_000), rel=0.06)
