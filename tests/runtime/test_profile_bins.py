"""Bins of the reference profile: the rows they were made of fall into them, however a client or a runtime rounds."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.datasets import load_diabetes, load_iris, load_wine

from tidemill_contracts.monitoring import TestConfig
from tidemill_runtime.monitor.binning import ColumnBins
from tidemill_runtime.monitor.scoring import column_score
from tidemill_runtime.trainer.package import profile_bins
from tidemill_runtime.trainer.package.reference_profile import numeric

PSI = TestConfig(test="PSI", threshold=0.2)
Floats = NDArray[np.float64]


def psi(reference: Floats, current: Floats) -> float | None:
    """PSI of values against the profile of others; None where there is nothing to judge."""
    column = ColumnBins(numeric(reference, "x"))
    return column_score("x", column, column.count(current.tolist()), PSI).score


def single(values: Floats) -> Floats:
    """The values after a way through FP32."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32).astype(np.float64)


COLUMNS = st.one_of(
    st.lists(st.floats(-1e30, 1e30), min_size=2, max_size=200),
    st.lists(st.floats(0, 1, width=16), min_size=2, max_size=200),
    st.lists(st.integers(-(2**53), 2**53).map(float), min_size=2, max_size=200),
    st.lists(st.integers(1_700_000_000, 1_700_100_000).map(float), min_size=2, max_size=200),
    st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.30000000000000004, 0.3, 1e-300, 5.1]), min_size=2, max_size=200),
)


@settings(max_examples=300)
@given(COLUMNS)
def test_the_rows_that_bins_were_made_of_fall_into_them_as_fp64_and_as_fp32(values: list[float]) -> None:
    rows = np.array(values)
    edges = profile_bins.edges(rows)
    assert len(edges) <= 2 * profile_bins.BINS
    assert all(a < b for a, b in pairwise(edges.tolist()))
    bins = edges.searchsorted(rows, side="right")
    assert len(np.unique(bins)) == len(edges) + 1 if len(edges) else True  # none is empty
    if len(np.unique(single(rows))) > 1:
        assert (edges.searchsorted(single(rows), side="right") == bins).all()


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_many_rows_of_any_scale_fall_into_their_bins(scale: float) -> None:
    rows = np.random.default_rng(3).normal(size=20_000) * scale
    profile = numeric(rows, "x")
    assert len(profile.counts) == 10
    assert psi(rows, rows) == 0
    assert psi(rows, single(rows)) == 0


def test_rows_beyond_the_range_of_fp32_have_bins() -> None:
    rows = np.random.default_rng(3).normal(size=2_000) * 2e307
    edges = profile_bins.edges(rows)
    assert len(edges) == 9
    assert np.bincount(edges.searchsorted(rows, side="right")).min() >= 150


@pytest.mark.parametrize("load", [load_iris, load_wine, load_diabetes])
def test_published_tables_score_nothing_in_fp32_and_next_to_nothing_in_fp16(load: object) -> None:
    for column in load(return_X_y=True)[0].T:  # type: ignore[operator]
        assert psi(column, single(column)) == 0
        assert psi(column, column.astype(np.float16).astype(np.float64)) == pytest.approx(0, abs=0.02)
        assert psi(column, column) == 0


def test_the_errors_of_sums_stay_within_wide_gaps() -> None:
    """A model by ONNX adds in FP32, so its answers differ by some steps from those that the profile was made of."""
    random = np.random.default_rng(5)
    rows = np.round(random.normal(100, 20, size=(2_000, 8)), 1).mean(axis=1)
    noisy = rows * (1 + random.uniform(-3e-7, 3e-7, size=len(rows)))
    assert psi(rows, noisy) == pytest.approx(0, abs=1e-4)


def test_an_edge_lies_in_the_widest_gap_near_its_quantile() -> None:
    rows = np.sort(np.random.default_rng(7).normal(size=1_000))
    rows[512:] += 0.5
    edges = profile_bins.edges(rows)
    assert np.abs(edges - (rows[511] + rows[512]) / 2).min() < 1e-6


def test_values_that_fp32_cannot_tell_apart_have_bins_nevertheless() -> None:
    rows = 1.7e12 + np.arange(1_000.0)  # a second of milliseconds; a step of FP32 is 131 s
    assert psi(rows, rows) == 0
    assert len(profile_bins.edges(rows)) == 9


@pytest.mark.parametrize("place", ["minimum", "middle", "maximum"])
def test_a_value_with_the_rows_of_a_bin_has_one_of_its_own(place: str) -> None:
    at = {"minimum": -100.0, "middle": 0.0, "maximum": 100.0}[place]
    rest = np.random.default_rng(11).uniform(-50, 50, 700)
    profile = numeric(np.concatenate([np.full(300, at), rest]), "x")
    number = int(np.searchsorted(profile.edges, at, side="right"))
    assert profile.counts[number] == 300
    assert 10 <= len(profile.counts) <= 12


def test_nine_tenths_at_the_minimum_are_judged() -> None:
    """Amounts that are mostly zero: their share, and what the others are, can drift."""
    random = np.random.default_rng(13)
    rows = np.concatenate([np.zeros(9_000), random.lognormal(3, 1, 1_000)])
    assert psi(rows, rows) == 0
    more = np.concatenate([np.zeros(5_000), random.lognormal(3, 1, 5_000)])
    larger = np.concatenate([np.zeros(9_000), random.lognormal(6, 1, 1_000)])
    for changed in (more, larger):
        score = psi(rows, changed)
        assert score is not None and score > 0.2
    for sample in range(5):
        again = np.where(random.uniform(size=5_000) < 0.9, 0.0, random.lognormal(3, 1, 5_000))
        score = psi(rows, again)
        assert score is not None and score < 0.05, sample


def test_many_values_with_a_tenth_of_the_rows_each_keep_bins_few() -> None:
    rows = np.concatenate([np.full(90, float(i)) for i in range(10)] + [np.linspace(-0.4, 9.4, 100)])
    profile = numeric(rows, "x")
    assert len(profile.counts) <= 21
    assert sum(profile.counts) == len(rows)
