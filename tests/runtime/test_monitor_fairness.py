"""Fairness: rates and gaps by group are those of the rows, their errors are as stated, and what is kept of a row."""

import math
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom, norm
from scipy.stats.contingency import relative_risk
from tests.support.monitoring import DIGEST, START, Clock, batch, config, running

from tidemill_contracts.fairness import (
    FairnessConfig,
    FairnessLimit,
    FairnessReport,
    GapReport,
    GroupColumnConfig,
    GroupReport,
)
from tidemill_contracts.inference import Feedback
from tidemill_contracts.monitoring import PerformanceConfig
from tidemill_runtime.monitor import schema
from tidemill_runtime.monitor.service import Monitor
from tidemill_runtime.monitor.two_rates import (
    Rate,
    difference_interval,
    difference_score,
    ratio_interval,
    ratio_score,
)

HOUR = 3600.0
WATCHED = PerformanceConfig(metric="accuracy", min=0.1, min_labels=10, label_delay_seconds=0)
RATIO = FairnessLimit(metric="SelectionRateRatio", min=0.8)
FALSE_POSITIVE = FairnessLimit(metric="FalsePositiveRateDifference", max=0.1)


def settings(folder: Path, *limits: FairnessLimit, labels: bool = True, **changes: Any) -> Any:
    values: dict[str, Any] = {"groups": (GroupColumnConfig(column="gender", privileged="m"),), "limits": limits}
    fairness = FairnessConfig(**(values | changes))
    return config(folder, fairness=fairness, performance=WATCHED if labels else None)


def fairness(monitor: Monitor) -> FairnessReport:
    found = monitor.report(DIGEST).versions[0].fairness
    assert found is not None
    return found


def groups(monitor: Monitor) -> dict[str, GroupReport]:
    return {group.group: group for group in fairness(monitor).groups}


def gap(group: GroupReport, metric: str) -> GapReport:
    return next(gap for gap in group.gaps if gap.metric == metric)


def stored(folder: Path, query: str) -> list[Any]:
    connection = sqlite3.connect(f"file:{folder / 'monitor.db'}?mode=ro", uri=True)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def send(
    monitor: Monitor,
    number: int,
    genders: list[Any],
    predictions: list[int],
    labels: list[int] | None = None,
    **more: Any,
) -> None:
    """Send rows in batches of 3,000; their labels, if any."""
    for start in range(0, len(genders), 3_000):
        part = slice(start, start + 3_000)
        rows = len(genders[part])
        columns = {"age": [0.5] * rows, "plan": ["pro"] * rows, "gender": genders[part]}
        sent = batch(number, rows, columns=columns, predictions=predictions[part], **more)
        monitor.add_batch(sent).result(10)
        if labels is not None:
            pairs = zip(sent.ids, labels[part], strict=True)
            monitor.add_feedback([Feedback(id=name, label=label) for name, label in pairs]).result(10)
        number += 1


# ProPublica, How We Analyzed the COMPAS Recidivism Algorithm (Larson, Mattu, Kirchner and Angwin, 2016): defendants
# by score (low; medium or high) and whether they offended again within two years, and the rates printed beside them.
COMPAS = {
    "African-American": {(0, 0): 990, (1, 0): 805, (0, 1): 532, (1, 1): 1369},
    "Caucasian": {(0, 0): 1139, (1, 0): 349, (0, 1): 461, (1, 1): 505},
}
PRINTED = {"African-American": (44.85, 27.99), "Caucasian": (23.45, 47.72)}


def test_the_published_error_rates_of_compas(tmp_path: Path) -> None:
    race: list[Any] = []
    predictions: list[int] = []
    labels: list[int] = []
    for group, cells in COMPAS.items():
        for (predicted, label), rows in cells.items():
            race += [group] * rows
            predictions += [predicted] * rows
            labels += [label] * rows
    order = np.random.default_rng(0).permutation(len(race)).tolist()
    shuffled = ([values[place] for place in order] for values in (race, predictions, labels))
    wanted = settings(
        tmp_path, RATIO, FALSE_POSITIVE, groups=(GroupColumnConfig(column="gender", privileged="Caucasian"),)
    )
    with running(wanted, Clock(START + HOUR + 10)) as monitor:
        send(monitor, 0, *shuffled)
        found = groups(monitor)
    assert found.keys() == COMPAS.keys()
    for group, (false_positive, false_negative) in PRINTED.items():
        assert found[group].rows == sum(COMPAS[group].values())
        assert round(100 * (found[group].false_positive_rate or 0), 2) == false_positive
        assert round(100 * (found[group].false_negative_rate or 0), 2) == false_negative
    black, white = found["African-American"], found["Caucasian"]
    assert (black.selection_rate, white.selection_rate) == pytest.approx((2174 / 3696, 854 / 2454))
    assert (white.privileged, white.gaps) == (True, ())
    ratio, difference = gap(black, "SelectionRateRatio"), gap(black, "FalsePositiveRateDifference")
    assert ratio.value == pytest.approx(2174 / 3696 / (854 / 2454))
    assert (ratio.judged, ratio.exceeded) == (True, False)  # 0.8 is a lower limit
    assert difference.value == pytest.approx(805 / 1795 - 349 / 1488)
    assert (difference.rows, difference.privileged_rows) == (1795, 1488)
    assert (difference.judged, difference.exceeded) == (True, True)
    assert gap(black, "FalseNegativeRateDifference").value == pytest.approx(532 / 1901 - 461 / 966)
    assert not gap(black, "FalseNegativeRateDifference").judged  # it has no limit


# Newcombe, Interval estimation for the difference between independent proportions (1998), table II, method 6.
PUBLISHED = [
    ((56, 70), (48, 80), (0.0528, 0.3382)),
    ((9, 10), (3, 10), (0.1700, 0.8406)),
    ((5, 56), (0, 29), (-0.0326, 0.1933)),
    ((10, 10), (0, 20), (0.7156, 1.0)),
]


@pytest.mark.parametrize(("one", "other", "interval"), PUBLISHED)
def test_published_intervals_of_a_difference(one: Any, other: Any, interval: tuple[float, float]) -> None:
    assert difference_interval(Rate(*one), Rate(*other)) == pytest.approx(interval, abs=5e-5)


def test_the_interval_of_a_ratio_is_that_of_statsmodels() -> None:
    """As confint_proportions_2indep(56, 70, 48, 80, compare="ratio", method="score") of statsmodels 0.15."""
    assert ratio_interval(Rate(56, 70), Rate(48, 80)) == pytest.approx((1.0790471195, 1.6721453591), abs=1e-9)


def test_the_interval_of_a_ratio_is_that_of_scipy_in_large_samples_and_covers_in_small_ones() -> None:
    many = relative_risk(40_000, 100_000, 50_000, 100_000).confidence_interval()
    assert ratio_interval(Rate(40_000, 100_000), Rate(50_000, 100_000)) == pytest.approx(many, rel=1e-4)
    for rates in ((0.4, 0.5), (0.05, 0.1), (0.9, 0.95)):
        covered = sum(
            weight
            for one, other, weight in _outcomes(40, *rates)
            if abs(ratio_score(one, other, rates[0] / rates[1])) <= norm.ppf(0.975)
        )
        assert 0.93 < covered < 0.97


def test_an_interval_has_the_values_that_its_score_does_not_reject() -> None:
    one, other = Rate(13, 50), Rate(29, 70)
    low, high = difference_interval(one, other) or (0.0, 0.0)
    assert [difference_score(one, other, edge) for edge in (low, high)] == pytest.approx([1.96, -1.96], abs=1e-3)
    low, high = ratio_interval(one, other) or (0.0, 0.0)
    assert [ratio_score(one, other, edge) for edge in (low, high)] == pytest.approx([1.96, -1.96], abs=1e-3)
    assert difference_score(one, other, 0.0) == pytest.approx(ratio_score(one, other, 1.0))


def test_scores_of_one_row_each_and_of_rates_without_variance() -> None:
    """By hand: pooled rate 1/2, variance (1/4 + 1/4) * 2 / (2 - 1) = 1."""
    assert difference_score(Rate(1, 1), Rate(0, 1), 0.0) == pytest.approx(1.0)
    for rate in (Rate(0, 10), Rate(10, 10)):
        assert difference_score(rate, rate, 0.0) == ratio_score(rate, rate, 1.0) == 0.0
    assert ratio_score(Rate(0, 10), Rate(0, 20), 0.8) == 0.0


def test_a_score_whose_discriminant_is_rounded_to_less_than_nothing_is_one() -> None:
    assert ratio_score(Rate(140892, 140892), Rate(596854, 596854), 0.9999999984359857) == pytest.approx(0, abs=0.1)
    assert ratio_score(Rate(761112, 761112), Rate(30452, 30452), 0.999999999999996) == pytest.approx(0, abs=0.1)


def test_an_interval_stays_within_what_is_possible() -> None:
    low, high = difference_interval(Rate(0, 1), Rate(1, 1)) or (0.0, 0.0)
    assert (low, high) == pytest.approx((-1.0, 0.586901371))
    assert low >= -1 and difference_score(Rate(0, 1), Rate(1, 1), high) == pytest.approx(-1.96, abs=1e-3)
    assert difference_interval(Rate(1, 1), Rate(0, 1)) == pytest.approx((-high, -low))
    bottom, top = ratio_interval(Rate(0, 50), Rate(10, 50)) or (-1.0, -1.0)
    assert bottom == 0.0
    assert ratio_score(Rate(0, 50), Rate(10, 50), top) == pytest.approx(-1.96, abs=1e-3)


@pytest.mark.parametrize(
    ("one", "other", "difference", "ratio"),
    [
        ((0, 0), (1, 2), None, None),
        ((0, 5), (0, 5), "ordered", None),
        ((0, 9), (3, 9), "ordered", "ordered"),
        ((9, 9), (9, 9), "ordered", "ordered"),
    ],
)
def test_rates_without_rows_or_hits(one: Any, other: Any, difference: str | None, ratio: str | None) -> None:
    for found, wanted in ((difference_interval, difference), (ratio_interval, ratio)):
        interval = found(Rate(*one), Rate(*other))
        assert (interval is None) == (wanted is None)
        if interval is not None:
            assert all(map(math.isfinite, interval))
            assert interval[0] < interval[1]


def _outcomes(rows: int, first: float, second: float) -> list[tuple[Rate, Rate, float]]:
    one, other = (binom.pmf(range(rows + 1), rows, rate) for rate in (first, second))
    return [
        (Rate(i, rows), Rate(j, rows), one[i] * other[j])
        for i in range(rows + 1)
        for j in range(rows + 1)
        if one[i] * other[j] > 1e-12
    ]


@pytest.mark.parametrize("base", [0.1, 0.3, 0.6])
def test_a_limit_that_is_kept_is_called_exceeded_as_seldom_as_stated(base: float) -> None:
    """Exact, of 200 rows each: at the level of an hour of 0.2 false alarms a month, of four comparisons."""
    level = 0.2 / 720 / 4
    edge = norm.ppf(level)
    wrong = sum(w for a, b, w in _outcomes(200, 0.8 * base, base) if ratio_score(a, b, 0.8) < edge)
    assert wrong < level
    wrong = sum(w for a, b, w in _outcomes(200, base + 0.1, base) if difference_score(a, b, 0.1) > -edge)
    assert wrong < level


def test_small_groups_are_shown_and_not_judged(tmp_path: Path) -> None:
    with running(settings(tmp_path, RATIO), Clock(START + HOUR + 10)) as monitor:
        send(monitor, 0, ["m"] * 400 + ["f"] * 199 + [None] * 50, [1] * 400 + [0] * 249)
        found = groups(monitor)
        assert gap(found["f"], "SelectionRateRatio").value == 0
        assert not gap(found["f"], "SelectionRateRatio").judged
        assert fairness(monitor).level is None
        assert found["(missing)"].gaps == ()
        send(monitor, 1, ["f"], [0])
        found = groups(monitor)
        assert gap(found["f"], "SelectionRateRatio").exceeded
        assert fairness(monitor).level == pytest.approx(0.2 / 720)
        assert found["f"].false_positive_rate is None  # no label came


def test_more_windows_are_taken_until_each_group_has_enough_rows(tmp_path: Path) -> None:
    with running(settings(tmp_path, RATIO, labels=False), Clock(START + 60 * HOUR)) as monitor:
        for hour in range(60):
            genders = ["m"] * 50 + ["f"] * 5
            send(monitor, hour, genders, [1] * 55, at=START + hour * HOUR)
        found = fairness(monitor)
        assert {group.group: group.rows for group in found.groups} == {"m": 48 * 50, "f": 48 * 5}
        assert (found.start, found.end) == (START + 11 * HOUR, START + 59 * HOUR)


def test_a_group_is_kept_until_the_label_comes_or_is_overdue_and_then_only_counted(tmp_path: Path) -> None:
    clock = Clock(START + 1)
    with running(settings(tmp_path, RATIO), clock) as monitor:
        send(monitor, 0, ["m", "f", "f", None], [1, 0, 1, 1])
        query = "SELECT segments IS NULL FROM prediction ORDER BY number"
        assert stored(tmp_path, query) == [(0,)] * 4
        monitor.add_feedback([Feedback(id="p0/1", label=1)]).result(10)
        assert stored(tmp_path, query) == [(0,), (1,), (0,), (0,)]
        clock.now = START + 2 * HOUR
        monitor.prune()
        assert stored(tmp_path, "SELECT count(*) FROM prediction") == [(0,)]
        found = groups(monitor)
        assert {name: group.rows for name, group in found.items()} == {"m": 1, "f": 2, "(missing)": 1}
        assert (found["f"].positives, found["f"].false_negative_rate) == (1, 1.0)


def test_nothing_is_kept_with_an_id_where_no_labels_are_looked_at_or_nobody_asks(tmp_path: Path) -> None:
    wanted = {
        "labels": settings(tmp_path / "a", RATIO, labels=False),
        "off": config(tmp_path / "b", performance=WATCHED),
    }
    for folder, one in zip(("a", "b"), wanted.values(), strict=True):
        with running(one, Clock(START + HOUR + 10)) as monitor:
            send(monitor, 0, ["m", "f"], [1, 0])
            assert stored(tmp_path / folder, "SELECT count(segments) FROM prediction") == [(0,)]
            assert (monitor.report(DIGEST).versions[0].fairness is None) == (folder == "b")
    assert stored(tmp_path / "b", "SELECT count(*) FROM segment_performance") == [(0,)]
    assert "gender" not in Path(tmp_path / "b" / "monitor.db").read_bytes().decode("latin-1")


def test_values_are_bounded_whatever_clients_send(tmp_path: Path) -> None:
    with running(settings(tmp_path, RATIO), Clock(START + HOUR + 10)) as monitor:
        send(monitor, 0, ["x" * 500, *(f"g{i}" for i in range(30)), "m"], [1] * 32)
        send(monitor, 1, ["m", "g0", "new", 7], [1] * 4)
        found = groups(monitor)
        assert len(found) == 11
        assert found["x" * 64].rows == 1
        assert found["g0"].rows == 2
        assert found["m"].rows == 2  # it has a place whenever it comes
        assert found["(other)"].rows == 24


def test_stated_values_are_the_groups_in_any_spelling(tmp_path: Path) -> None:
    wanted = GroupColumnConfig(column="gender", privileged="1", values=("2",))
    with running(settings(tmp_path, RATIO, groups=(wanted,)), Clock(START + HOUR + 10)) as monitor:
        send(monitor, 0, [1, 1.0, "1", "2", 2, "x", float("nan")], [1] * 7)
        assert {name: group.rows for name, group in groups(monitor).items()} == {
            "1": 3,
            "2": 2,
            "(other)": 1,
            "(missing)": 1,
        }


def test_the_class_that_counts_as_selected(tmp_path: Path) -> None:
    for positive, rate, note in (("0", 0.75, ""), (None, 0.25, ""), ("yes", 0.25, ""), ("gold", None, "not known")):
        folder = tmp_path / str(positive)
        with running(settings(folder, RATIO, positive=positive), Clock(START + HOUR + 10)) as monitor:
            send(monitor, 0, ["m"] * 4, [1, 0, 0, 0])
            found = fairness(monitor)
            assert note in found.note
            assert [group.selection_rate for group in found.groups] == ([] if rate is None else [rate])


def test_groups_and_segments_by_one_column_are_apart(tmp_path: Path) -> None:
    watched = WATCHED.model_copy(update={"segments": ("plan",)})
    wanted = FairnessConfig(groups=(GroupColumnConfig(column="plan", privileged="pro"),), limits=(RATIO,))
    with running(config(tmp_path, fairness=wanted, performance=watched), Clock(START + HOUR + 10)) as monitor:
        sent = batch(0, 100)
        monitor.add_batch(sent).result(10)
        monitor.add_feedback([Feedback(id=name, label=1) for name in sent.ids]).result(10)
        version = monitor.report(DIGEST).versions[0]
        assert version.performance is not None
        segments = {one.segment: one.labels for one in version.performance.segments}
        assert segments == {one.group: one.positives for one in fairness(monitor).groups}
        assert sum(segments.values()) == 100
    connection = schema.connect(str(tmp_path / "monitor.db"), readonly=True)
    assert connection.execute("SELECT count(DISTINCT name) FROM segment").fetchone()[0] > len(segments)
    connection.close()
