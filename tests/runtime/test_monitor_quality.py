"""Bad values against training: what is a finding, what is chance, and that neither is ever called drift."""

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from tests.support.monitoring import PROFILE, START, Clock, batch, config, reference, running

from tidemill.monitoring import reports
from tidemill_contracts.monitoring import (
    ColumnConfig,
    DriftConfig,
    MonitorConfig,
    QualityConfig,
    TestConfig,
    WindowReport,
)
from tidemill_contracts.reference import CategoricalProfile, NumericProfile, ReferenceProfile
from tidemill_runtime.monitor import quality
from tidemill_runtime.monitor.service import Monitor
from tidemill_runtime.monitor.stattests import binomial
from tidemill_runtime.trainer.package.reference_profile import categorical

DIGEST = "sha256:" + "b" * 64


# The statements on shares, against scipy


@given(st.integers(1, 3_000), st.data(), st.floats(1e-6, 0.999))
def test_the_tail_is_that_of_the_binomial_distribution(rows: int, data: Any, share: float) -> None:
    hits = data.draw(st.integers(0, rows))
    expected = float(stats.binom.sf(hits - 1, rows, share))
    assert binomial.tail(hits, rows, share) == pytest.approx(expected, rel=1e-8, abs=1e-14)


@given(st.integers(1, 3_000), st.data(), st.sampled_from([0.05, 1e-3, 1e-6, 1e-9]))
def test_bounds_are_those_of_clopper_and_pearson(rows: int, data: Any, error: float) -> None:
    hits = data.draw(st.integers(0, rows))
    upper = float(stats.beta.ppf(1 - error, hits + 1, rows - hits)) if hits < rows else 1.0
    lower = float(stats.beta.ppf(error, hits, rows - hits + 1)) if hits else 0.0
    assert binomial.upper_bound(hits, rows, error) == pytest.approx(upper, rel=1e-6, abs=1e-9)
    assert binomial.lower_bound(hits, rows, error) == pytest.approx(lower, rel=1e-6, abs=1e-9)


@given(st.integers(1, 3_000), st.data(), st.floats(0.001, 0.999), st.sampled_from([0.05, 1e-3, 1e-6]))
def test_a_share_is_above_its_limit_when_the_exact_test_says_so(
    rows: int, data: Any, limit: float, error: float
) -> None:
    hits = data.draw(st.integers(0, rows))
    exact = float(stats.binom.sf(hits - 1, rows, limit))
    if not math.isclose(exact, error, rel_tol=1e-6):
        assert binomial.is_above(hits, rows, limit, error) == (hits / rows > limit and exact <= error)


@given(st.integers(1, 2_000), st.integers(1, 2_000), st.data())
def test_the_chance_of_no_hit_is_that_of_fishers_test(rows: int, others: int, data: Any) -> None:
    hits = data.draw(st.integers(0, others))
    expected = float(stats.hypergeom.pmf(0, others + rows, hits, rows))
    assert binomial.chance_of_none(rows, hits, others) == pytest.approx(expected, rel=1e-6, abs=1e-200)


@pytest.mark.parametrize("rows", [10**6, 10**9])
def test_many_rows_are_judged_as_exactly(rows: int) -> None:
    hits = round(rows * 0.05 + 4.5 * math.sqrt(rows * 0.05 * 0.95))
    assert binomial.tail(hits, rows, 0.05) == pytest.approx(float(stats.binom.sf(hits - 1, rows, 0.05)), rel=1e-3)


@pytest.mark.parametrize(
    ("hits", "limit", "above"), [(0, 0.0, False), (1, 0.0, True), (10, 1.0, False), (3, 0.3, False)]
)
def test_limits_at_the_ends(hits: int, limit: float, above: bool) -> None:
    assert binomial.is_above(hits, 10, limit, 0.5) == above


# What is a finding


def settings(**changes: Any) -> MonitorConfig:
    values: dict[str, Any] = {"drift": DriftConfig(features=TestConfig())}
    return MonitorConfig(namespace="team", monitor="churn", deployment="churn", **(values | changes))


def number(missing: int = 0, rows: int = 1_000, name: str = "age") -> NumericProfile:
    return NumericProfile(name=name, edges=(), counts=(rows - missing,), missing=missing)


def category(*counts: int, missing: int = 0, **changes: Any) -> CategoricalProfile:
    names = tuple(f"c{n}" for n in range(len(counts) - 1))
    return CategoricalProfile(name="plan", categories=names, counts=counts, missing=missing, **changes)


def tally(profile: Any, rows: int, *, missing: int = 0, mistyped: int = 0, unseen: int = 0, outside: int = 0) -> Any:
    return quality.Tally(profile.name, profile, rows, missing, mistyped, unseen, outside)


def found(tally: quality.Tally, **changes: Any) -> list[str]:
    return [problem.text for problem in quality.problems(settings(**changes), [tally])]


ALL = {"quality": QualityConfig(max_missing_increase=1)}
PER_COLUMN = {"columns": {"age": ColumnConfig(max_missing_increase=0.5)}}
OFF = {"columns": {"age": ColumnConfig(max_missing_increase=1)}}
FINDINGS: dict[str, tuple[quality.Tally, dict[str, Any], list[str]]] = {
    "nothing is missing": (tally(number(), 500), {}, []),
    "from 0 to 60 %": (
        tally(number(), 500, missing=300), {},
        ["age: missing_ratio 0.6 > 0.05 (training 0 + maxMissingIncrease 0.05)"],
    ),
    "missing as in training": (tally(number(300), 500, missing=160), {}, []),
    "more than in training": (
        tally(number(300), 5_000, missing=2_500), {},
        ["age: missing_ratio 0.5 > 0.35 (training 0.3 + maxMissingIncrease 0.05)"],
    ),
    "within the increase": (tally(number(), 100_000, missing=5_000), {}, []),
    "just above the increase, in a small window": (tally(number(), 500, missing=30), {}, []),
    "just above the increase, in a large window of a large training": (
        tally(number(rows=10**6), 10**6, missing=52_000), {},
        ["age: missing_ratio 0.052 > 0.05 (training 0 + maxMissingIncrease 0.05)"],
    ),
    "a share that three digits would put at its limit": (
        tally(number(), 10**9, missing=50_040_000), {"quality": QualityConfig(max_missing_ratio=0.05)},
        ["age: missing_ratio 0.05004 > 0.05"],
    ),
    "texts where numbers were": (
        tally(number(), 500, missing=25, mistyped=250), {},
        ["age: missing_ratio 0.05 and mistyped_ratio 0.5 > 0.05 (training 0 + maxMissingIncrease 0.05)"],
    ),
    "no value at all": (
        tally(number(12), 500, missing=500), {}, ["age: no value in 500 rows (missing in training: 0.012)"],
    ),
    "no value of the right type": (
        tally(number(), 500, missing=1, mistyped=499), {}, ["age: no value in 500 rows (missing in training: 0)"],
    ),
    "no value of a column that seldom had one": (
        tally(number(970), 500, missing=500), {}, ["age: no value in 500 rows (missing in training: 0.97)"],
    ),
    "no value, which chance explains": (tally(number(990), 10, missing=10), {}, []),
    "no value, and training had none": (tally(number(1_000), 500, missing=500), {}, []),
    "no value, whatever the limit of all values": (
        tally(number(), 500, missing=500), {"quality": QualityConfig(max_missing_ratio=1.0)},
        ["age: no value in 500 rows (missing in training: 0)"],
    ),
    "the check is off": (tally(number(), 500, missing=500), ALL, []),
    "the check of the column is off": (tally(number(), 500, missing=500), OFF, []),
    "the column has a limit of its own": (tally(number(), 500, missing=200), PER_COLUMN, []),
    "the limit that does not look at training": (
        tally(number(300), 5_000, missing=1_500), {"quality": QualityConfig(max_missing_ratio=0.05)},
        ["age: missing_ratio 0.3 > 0.05"],
    ),
    "a limit that does not look at training replaces the default": (
        tally(number(), 500, missing=100), {"quality": QualityConfig(max_missing_ratio=0.3)}, [],
    ),
    "unseen categories": (tally(category(500, 500, 0), 500, unseen=50), {}, ["plan: unseen_ratio 0.1 > 0.01"]),
    "a few of them, which chance explains": (tally(category(500, 500, 0), 500, unseen=9), {}, []),
    "as many as training had once": (tally(category(400, 500, *[1] * 100, 0), 500, unseen=55), {}, []),
    "a single one where none is allowed": (
        tally(category(500, 500, 0), 500, unseen=1), {"quality": QualityConfig(max_unseen_ratio=0)},
        ["plan: unseen_ratio 0.002 > 0"],
    ),
    "the check of unseen ones is off": (
        tally(category(500, 500, 0), 500, unseen=500), {"quality": QualityConfig(max_unseen_ratio=1)}, [],
    ),
    "the reference has others itself": (tally(category(500, 400, 100, distinct=90), 5_000, unseen=550), {}, []),
    "more others than the reference": (
        tally(category(500, 400, 100, distinct=90), 5_000, unseen=1_500), {}, ["plan: unseen_ratio 0.2 > 0.01"],
    ),
    "the range, only where it is asked for": (tally(number(), 500, outside=500), {}, []),
    "outside of the range": (
        tally(number(), 500, outside=100, mistyped=10), {"quality": QualityConfig(max_out_of_range_ratio=0.05)},
        ["age: out_of_range_ratio 0.22 > 0.05"],
    ),
    "quality alone is judged, too": (
        tally(number(), 500, missing=300), {"drift": None, "quality": QualityConfig()},
        ["age: missing_ratio 0.6 > 0.05 (training 0 + maxMissingIncrease 0.05)"],
    ),
    "neither drift nor quality": (tally(number(), 500, missing=500), {"drift": None}, []),
    "no row": (tally(number(), 0), {}, []),
}  # fmt: skip


@pytest.mark.parametrize("name", FINDINGS)
def test_findings(name: str) -> None:
    given, changes, expected = FINDINGS[name]
    assert found(given, **changes) == expected


# Chance


@pytest.mark.parametrize(
    ("seconds", "error"),
    [(3_600, 0.1 / 720), (10, 0.1 / 259_200), (604_800, 0.001), (25_920, 0.001), (25_000, 0.1 / 103.68)],
)
def test_a_month_has_a_tenth_of_a_false_window_however_long_windows_are(seconds: int, error: float) -> None:
    assert quality.window_error(seconds) == pytest.approx(error)


@pytest.mark.parametrize("rows", [10, 100, 500, 5_000])
@pytest.mark.parametrize("trained", [200, 1_000, 20_000])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.4])
def test_at_the_limit_the_error_is_not_above_what_is_stated(rows: int, trained: int, share: float) -> None:
    """Computed, not drawn: the sum over all that training may have had of what a window may then have."""
    error = 0.01
    usual = np.arange(trained + 1)
    weights = stats.binom.pmf(usual, trained, share)
    total = 0.0
    for reference_hits in usual[weights > 1e-9]:
        limit = min(1.0, binomial.upper_bound(int(reference_hits), trained, error / 2) + 0.05)
        least = int(stats.binom.isf(error / 2, rows, limit)) + 1
        total += weights[reference_hits] * stats.binom.sf(least - 1, rows, min(1.0, share + 0.05))
    assert total <= error


@pytest.mark.parametrize("levels", [5, 30, 1_000])
@pytest.mark.parametrize("shape", ["uniform", "zipf"])
@pytest.mark.parametrize("trained", [300, 5_000])
def test_rows_drawn_like_training_have_no_unseen_categories(levels: int, shape: str, trained: int) -> None:
    """Also of columns with so many categories that training never had all of them."""
    random = np.random.default_rng(levels + trained)
    shares = np.ones(levels) if shape == "uniform" else 1.0 / np.arange(1, levels + 1)
    shares /= shares.sum()
    alarms = 0
    for _ in range(25):
        column = random.choice(levels, trained, p=shares).astype(str)
        profile = categorical(pd.Series(column, dtype=object), "plan")
        current = random.choice(levels, 2_000, p=shares).astype(str)
        unseen = int(np.sum(~np.isin(current, profile.categories)))
        alarms += bool(found(tally(profile, 2_000, unseen=unseen)))
    assert alarms == 0


def test_a_new_category_of_a_column_of_many_is_still_found() -> None:
    random = np.random.default_rng(1)
    named = tuple(str(level) for level in range(50))  # chosen on other rows than those that are counted
    column = random.choice(200, 50_000).astype(str)
    counts = [int(np.sum(column == name)) for name in named]
    profile = CategoricalProfile(
        name="plan", categories=named, counts=(*counts, 50_000 - sum(counts)), missing=0, distinct=200
    )
    current = np.where(random.random(5_000) < 0.2, "new", random.choice(200, 5_000).astype(str))
    unseen = int(np.sum(~np.isin(current, profile.categories)))
    assert found(tally(profile, 5_000, unseen=unseen))


# Never drift: a whole monitor

FIVE = ReferenceProfile(
    rows=1_000,
    features=(*(PROFILE.features[0].model_copy(update={"name": f"age{n}"}) for n in range(4)), PROFILE.features[1]),
    prediction=PROFILE.prediction,
)


def seen(monitor: Monitor, columns: dict[str, list[Any]], number: int = 0, **changes: Any) -> WindowReport:
    at = START + 3_600 * number
    monitor.add_batch(batch(number, columns=columns, at=at, digest=DIGEST, **changes)).result()
    return monitor.report(DIGEST).versions[0].windows[-1]


def ages(shift: float = 0.0) -> list[float]:
    return (np.random.default_rng(5).random(1_000) + shift).tolist()


def five(**changes: list[Any]) -> dict[str, list[Any]]:
    return {**{f"age{n}": ages() for n in range(4)}, "plan": ["basic", "pro"] * 500, **changes}


LATE = START + 24 * 3_600
ALL_NULL: dict[str, list[Any]] = {name: [None] * 1_000 for name in five()}


@pytest.mark.parametrize(
    "columns",
    [ALL_NULL, {name.upper(): values for name, values in five().items()}, {}],
    ids=["null", "renamed", "none"],
)
def test_no_data_is_no_health_and_no_drift(tmp_path: Path, columns: dict[str, list[Any]]) -> None:
    """The predictions of such rows are all alike, which is no drift either."""
    with running(config(tmp_path), Clock(LATE)) as monitor:
        monitor.add_reference(reference(DIGEST, profile=FIVE)).result()
        found = [seen(monitor, columns, number, positive=0.0) for number in range(2)]
    for window in found:
        assert window.prediction is not None and window.prediction.score is not None and window.prediction.score > 1
        assert (window.judged, window.drift, window.comparable, window.drifted_share) == (True, False, False, None)
        assert window.without_score == tuple(five()) and window.tested == 5
        assert window.quality_problems == tuple(
            f"{name}: no value in 1000 rows (missing in training: 0)" for name in five()
        )


def test_one_feature_of_five_without_values_leaves_a_verdict_by_the_others(tmp_path: Path) -> None:
    with running(config(tmp_path), Clock(LATE)) as monitor:
        monitor.add_reference(reference(DIGEST, profile=FIVE)).result()
        calm = seen(monitor, five(age0=[None] * 1_000), 0)
        moved = {f"age{n}": ages(0.5) for n in range(1, 4)}
        drifted = seen(monitor, five(age0=[None] * 1_000, **moved), 1)
        two = seen(monitor, five(age0=[None] * 1_000, age1=["?"] * 1_000, age2=ages(0.5), age3=ages(0.5)), 2)
    assert (calm.comparable, calm.drift, calm.without_score) == (True, False, ("age0",))
    assert (drifted.comparable, drifted.drift, drifted.drifted_share) == (True, True, 0.75)
    assert (two.comparable, two.drift, two.without_score) == (False, False, ("age0", "age1"))


def test_broken_values_are_quality_and_not_drift(tmp_path: Path) -> None:
    """A column of which 60 % are missing, one with texts, one with new categories: each has a drifted score."""
    broken: dict[str, list[Any]] = {
        "age0": [None] * 600 + [0.95] * 400,
        "plan": ["Basic"] * 500 + ["pro"] * 500,
    }
    drift = DriftConfig(features=TestConfig(), predictions=TestConfig(), drifted_share=0.1)
    with running(config(tmp_path, drift=drift), Clock(LATE)) as monitor:
        monitor.add_reference(reference(DIGEST, profile=FIVE)).result()
        for number, (name, values) in enumerate(broken.items()):
            window = seen(monitor, five(**{name: values}), number, positive=0.99)
            column = next(f for f in window.features if f.name == name)
            assert column.score is not None and column.score > 0.2 and not column.drifted
            assert "not judged for drift" in column.note
            assert window.prediction is not None and not window.prediction.drifted
            assert (window.comparable, window.drift, window.without_score) == (True, False, (name,))
            assert len(window.quality_problems) == 1 and window.quality_problems[0].startswith(f"{name}: ")
        calm = seen(monitor, five(), len(broken), positive=0.99)
    assert calm.drift and calm.quality_problems == ()  # the same predictions of sound values are drift


def test_a_range_that_is_left_is_drift_and_a_finding(tmp_path: Path) -> None:
    with running(config(tmp_path, quality=QualityConfig(max_out_of_range_ratio=0.1))) as monitor:
        monitor.add_reference(reference(DIGEST, profile=FIVE)).result()
        window = seen(monitor, five(age0=ages(0.9), age1=ages(0.9)))
    assert window.drift and window.without_score == ()
    assert len(window.quality_problems) == 2


def test_columns_of_which_training_had_no_value_are_no_part_of_the_share(tmp_path: Path) -> None:
    empty = tuple(NumericProfile(name=f"empty{n}", edges=(), counts=(0,), missing=1_000) for n in range(4))
    profile = FIVE.model_copy(update={"features": (*FIVE.features, *empty)})
    with running(config(tmp_path), Clock(LATE)) as monitor:
        monitor.add_reference(reference(DIGEST, profile=profile)).result()
        window = seen(monitor, five())
    assert (window.tested, window.without_score, window.comparable, window.drift) == (5, (), True, False)


def test_a_window_of_few_rows_gives_no_verdict_on_quality(tmp_path: Path) -> None:
    with running(config(tmp_path), Clock(LATE)) as monitor:
        monitor.add_batch(batch(rows=400, columns={})).result()
        (window,) = monitor.report().versions[0].windows
    assert (window.judged, window.quality_problems, window.drift) == (False, (), False)


def test_the_operator_believes_what_the_monitor_says_of_quality(tmp_path: Path) -> None:
    """It believes texts of a few forms only, so each form has to be one of them."""
    limits = QualityConfig(max_out_of_range_ratio=0.01)
    columns: dict[str, list[Any]] = {
        "age0": [None] * 700 + ["?"] * 200 + [0.5] * 100,
        "age1": [None] * 1_000,
        "age2": ages(0.9),
        "age3": [None] * 300 + ages()[300:],
        "plan": ["gold"] * 100 + ["pro"] * 900,
    }
    with running(config(tmp_path, quality=limits)) as monitor:
        monitor.add_reference(reference(DIGEST, profile=FIVE)).result()
        window = seen(monitor, columns)
        report = json.loads(monitor.report(DIGEST).to_json())
    report["versions"][0]["windows"][-1]["closed"] = True
    expected = reports.Expected("churn", DIGEST, None, datetime.fromtimestamp(START + 7_200, UTC))
    read = reports.read(json.dumps(report).encode(), expected).versions[0].windows[-1]
    assert len(window.quality_problems) == 6  # one more for the texts of age0, which are in no range
    assert (read.quality_problems, read.without_score) == (window.quality_problems, window.without_score)
    assert (read.comparable, read.tested) == (False, 5)
