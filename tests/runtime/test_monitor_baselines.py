"""Windows compared with other windows of the same version: a span of time, earlier windows, those of a season."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.monitoring import DIGEST, PROFILE, START, Clock, batch, config, hear_others, reference, running

from tidemill_contracts.baselines import BaselineConfig, BaselineReport
from tidemill_contracts.monitoring import DriftConfig, TestConfig, WindowReport
from tidemill_contracts.reference import CategoricalProfile, NumericProfile, ReferenceProfile
from tidemill_runtime.monitor import queries, schema
from tidemill_runtime.monitor.baselines import Baselines
from tidemill_runtime.monitor.queries import StoredVersion, StoredWindow
from tidemill_runtime.monitor.retention import Retention
from tidemill_runtime.monitor.service import Monitor
from tidemill_runtime.monitor.stattests.false_alarms import window_level
from tidemill_runtime.monitor.stattests.formulas import FORMULAS
from tidemill_runtime.monitor.stattests.sample import NO_POSITIONS

HOUR, DAY, WEEK = 3_600, 86_400, 604_800
PSI = TestConfig(test="PSI", threshold=0.2)
PREVIOUS = BaselineConfig(type="Previous")
SEASONAL = BaselineConfig(type="Seasonal", period_seconds=WEEK, count=4)


def span(first: int, last: int) -> BaselineConfig:
    """The windows from the first hour to the last one, exclusive."""
    return BaselineConfig(type="Window", start=START + first * HOUR, end=START + last * HOUR)


def settings(folder: Path, baseline: BaselineConfig, **changes: Any) -> Any:
    drift = DriftConfig(features=PSI, predictions=PSI, **changes.pop("drift", {}))
    return config(folder, baseline=baseline, drift=drift, **changes)


def counted(folder: Path, baseline: BaselineConfig, shifts: dict[int, float], **changes: Any) -> list[WindowReport]:
    """Reported windows, newest last, of a thousand rows an hour; `shifts`: by how much ages moved, by hour."""
    clock = Clock()
    with running(settings(folder, baseline, **changes), clock) as monitor:
        for number, (hour, shift) in enumerate(shifts.items()):
            clock.now = START + hour * HOUR
            monitor.add_batch(batch(number, at=clock.now, shift=shift)).result(10)
        clock.now += 2 * HOUR
        return list(monitor.report().versions[0].windows)


def drifted(windows: list[WindowReport]) -> str:
    return "".join("x" if window.drift else "." for window in windows)


def test_a_span_of_time_is_the_baseline_of_the_windows_after_it(tmp_path: Path) -> None:
    windows = counted(tmp_path, span(0, 2), {0: 0.4, 1: 0.4, 2: 0.4, 3: 0.0})
    assert drifted(windows) == "xx.x"  # the first two are the baseline, and are compared with training
    assert windows[0].baseline == BaselineReport(type="Training")
    expected = BaselineReport(type="Window", rows=2_000, windows=2, start=START, end=START + 2 * HOUR)
    assert windows[2].baseline == windows[3].baseline == expected
    age = windows[3].features[0]
    assert age.reference_mean is not None and age.mean is not None
    assert age.reference_mean > 0.7 > 0.55 > age.mean


def test_training_is_the_baseline_while_a_span_has_too_few_rows(tmp_path: Path) -> None:
    (only,) = counted(tmp_path, span(-48, -24), {0: 0.4})
    assert (only.baseline, only.drift) == (BaselineReport(type="Training"), True)
    few = counted(tmp_path / "few", span(0, 1), {0: 0.0, 1: 0.0}, min_rows=1_001)[1]
    few_rows = BaselineReport(type="Training", rows=1_000, windows=1)
    assert (few.baseline, few.judged) == (few_rows, False)


def test_training_is_the_baseline_where_it_is_asked_for_and_nothing_is_said(tmp_path: Path) -> None:
    (only,) = counted(tmp_path, BaselineConfig(), {0: 0.4})
    assert (only.baseline, only.drift) == (None, True)


@pytest.mark.parametrize(("needed", "out_of", "after"), [(1, None, "x...."), (2, None, "xx..."), (2, 3, "xxx..")])
def test_a_sudden_change_lasts_as_many_windows_as_an_alarm_looks_at(
    tmp_path: Path, needed: int, out_of: int | None, after: str
) -> None:
    hours = dict.fromkeys(range(4), 0.0) | dict.fromkeys(range(4, 9), 0.4)
    drift = {"consecutive_windows": needed, "out_of": out_of}
    windows = counted(tmp_path, PREVIOUS, hours, drift=drift)
    assert drifted(windows) == "...." + after
    lag = max(needed, out_of or 0)
    base = windows[4].baseline
    assert base is not None
    assert (base.type, base.rows, base.start) == ("Previous", 1_000, START + (4 - lag) * HOUR)


def test_the_previous_window_is_one_of_enough_rows_however_long_ago(tmp_path: Path) -> None:
    clock = Clock()
    with running(settings(tmp_path, PREVIOUS, drift={"consecutive_windows": 1}), clock) as monitor:
        for number, (hour, rows, shift) in enumerate([(0, 1_000, 0.4), (300, 10, 0.0), (600, 1_000, 0.4)]):
            clock.now = START + hour * HOUR
            monitor.add_batch(batch(number, rows, at=clock.now, shift=shift)).result(10)
            monitor.prune()
        last = monitor.report().versions[0].windows[-1]
    assert last.baseline is not None
    assert (last.drift, last.baseline.start) == (False, START)


def test_hours_of_the_week_are_compared_with_themselves(tmp_path: Path) -> None:
    """Every Monday at nine ages are higher than in training: that is no drift, and a Monday without it is."""
    week = WEEK // HOUR
    usual = {number * week + hour: 0.4 * (hour == 0) for number in range(5) for hour in (0, 1)}
    windows = counted(tmp_path, SEASONAL, usual | {5 * week: 0.0})
    assert [w.drift for w in windows[:2]] == [True, False]  # nothing but training to compare with
    assert not any(w.drift for w in windows[2:-1])
    last = windows[-1]
    assert last.drift
    assert last.baseline is not None
    assert (last.baseline.windows, last.baseline.rows) == (4, 4_000)
    assert (last.baseline.start, last.baseline.end) == (START + WEEK, START + 4 * WEEK + HOUR)


def test_a_baseline_that_changes_later_changes_the_verdict(tmp_path: Path) -> None:
    clock = Clock(START + 3 * HOUR)
    with running(settings(tmp_path, span(0, 1)), clock) as monitor:
        monitor.add_batch(batch(1, 600, at=START)).result(10)
        monitor.add_batch(batch(2, at=START + 2 * HOUR)).result(10)
        assert not monitor.report().versions[0].windows[-1].drift
        monitor.add_batch(batch(3, 9_000, at=START, shift=0.5)).result(10)
        found = monitor.report().versions[0].windows[-1]
    assert found.drift
    assert found.baseline is not None and found.baseline.rows == 9_600


def test_a_promoted_version_begins_with_its_own_training_data(tmp_path: Path) -> None:
    other = "sha256:" + "c" * 64
    clock = Clock()
    with running(settings(tmp_path, PREVIOUS, drift={"consecutive_windows": 1}), clock) as monitor:
        monitor.add_reference(reference(other, "churn-2")).result(10)
        for number, digest in enumerate((DIGEST, DIGEST, other, other)):
            clock.now = START + number * HOUR
            monitor.add_batch(batch(number, at=clock.now, digest=digest, shift=0.4)).result(10)
        (version,) = monitor.report(other).versions
    kinds = [window.baseline.type if window.baseline else None for window in version.windows]
    assert (kinds, drifted(list(version.windows))) == (["Training", "Previous"], "x.")


def test_scores_are_those_of_both_windows_and_quality_is_compared_with_training(tmp_path: Path) -> None:
    clock = Clock()
    with running(settings(tmp_path, span(0, 1)), clock) as monitor:
        for number, pro in enumerate((0.9, 0.7)):
            clock.now = START + number * HOUR
            gone = {"age": [None] * 1_000, "plan": ["pro"] * round(1_000 * pro) + ["basic"] * round(1_000 * (1 - pro))}
            monitor.add_batch(batch(number, at=clock.now, columns=gone)).result(10)
        window = monitor.report().versions[0].windows[-1]
    age, plan = window.features
    expected = FORMULAS["PSI"](np.array([100, 900, 0]), np.array([300, 700, 0]), NO_POSITIONS)
    assert plan.score == pytest.approx(expected)
    assert (plan.category, plan.reference_share, plan.share) == ("pro", pytest.approx(0.9), pytest.approx(0.7))
    assert age.note == "the baseline has no values"
    assert any(problem.startswith("age: no value") for problem in window.quality_problems)
    assert (window.tested, window.comparable) == (1, True)


def test_a_constant_column_is_compared_on_what_the_baseline_had(tmp_path: Path) -> None:
    constant = NumericProfile(name="age", edges=(), counts=(500,), missing=0, minimum=1.0, maximum=1.0, mean=1.0, std=0)
    profile = PROFILE.model_copy(update={"features": (constant, PROFILE.features[1])})
    clock = Clock()
    digest = "sha256:" + "d" * 64
    values = {0: [1.0, 2.0], 1: [1.0, 2.0], 2: [1.0, 1.0]}
    with running(settings(tmp_path, span(0, 1)), clock) as monitor:
        monitor.add_reference(reference(digest, "churn-3", profile)).result(10)
        for hour, ages in values.items():
            clock.now = START + hour * HOUR
            columns = {"age": ages * 500, "plan": ["basic", "pro"] * 500}
            monitor.add_batch(batch(hour, at=clock.now, digest=digest, columns=columns)).result(10)
        first, same, other = (w.features[0] for w in monitor.report(digest).versions[0].windows)
    assert (first.drifted, same.score, same.drifted, other.drifted) == (True, 0.0, False, True)


def test_windows_of_a_baseline_outlive_the_others(tmp_path: Path) -> None:
    clock = Clock()
    with running(settings(tmp_path, span(0, 2), window_seconds=HOUR, drift={}), clock) as monitor:
        for hour in range(2):
            monitor.add_batch(batch(hour, at=START + hour * HOUR)).result(10)
        for number in range(60):
            clock.now = START + 40 * DAY + number * HOUR
            monitor.add_batch(batch(100 + number, 500, at=clock.now)).result(10)
        monitor.prune()
        last = monitor.report(DIGEST).versions[0].windows[-1]
        assert last.baseline is not None and (last.baseline.type, last.baseline.rows) == ("Window", 2_000)
        clock.now += 31 * DAY
        hear_others(monitor, clock.now)
        monitor.prune()
        assert [v.version for v in monitor.report().versions if v.windows] == ["other-0", "other-1"]


def test_retention_follows_the_season(tmp_path: Path) -> None:
    long = BaselineConfig(type="Seasonal", period_seconds=WEEK, count=12)
    assert Retention.of(settings(tmp_path, long)).windows == 12 * WEEK + 24 * HOUR
    assert Retention.of(settings(tmp_path, SEASONAL)).windows == 30 * DAY
    assert Retention.of(settings(tmp_path, PREVIOUS, drift={"out_of": 5})).newest_windows == 29


def level_of(folder: Path, baseline: BaselineConfig, **drift: Any) -> float:
    window = counted(folder, baseline, {0: 0.0, WEEK // HOUR: 0.0}, drift=drift)[-1]
    assert window.level is not None
    return window.level


def test_windows_with_a_baseline_of_their_own_err_apart(tmp_path: Path) -> None:
    """Those that share one differ together where it is a poor sample, so their level is smaller."""
    same = {"needed": 2, "out_of": 2, "seconds": HOUR, "n_reference": 1_000}
    season = BaselineConfig(type="Seasonal", period_seconds=WEEK, count=1)
    apart, shared = window_level(0.2, n_current=0, **same), window_level(0.2, n_current=1_000, **same)
    assert shared < apart / 2
    assert level_of(tmp_path / "season", season) == pytest.approx(apart)
    assert level_of(tmp_path / "span", span(0, 1)) == pytest.approx(shared)
    hours = BaselineConfig(type="Seasonal", period_seconds=2 * HOUR, count=84)  # of three windows two share rows
    assert level_of(tmp_path / "hours", hours, out_of=3) < window_level(0.2, n_current=0, **same | {"out_of": 3})


@pytest.mark.parametrize("kind", ["Previous", "Seasonal"])
def test_false_alarms_stay_as_rare_as_stated_with_baselines_that_move(kind: str) -> None:
    """Months of windows drawn from one distribution: alarms of two windows in a row, hourly."""
    rate, months, rows, windows = 0.5, 60, 400, 720
    random = np.random.default_rng(5)
    level = window_level(rate, seconds=30 * DAY // windows, needed=2, out_of=2, n_reference=rows, n_current=0)
    lag = 2 if kind == "Previous" else 7
    starts = 0
    for _ in range(months):
        counts = random.multinomial(rows, np.full(10, 0.1), size=windows)
        before, now = counts[:-lag], counts[lag:]
        pooled = (before + now) / 2
        statistic = ((before - pooled) ** 2 / pooled + (now - pooled) ** 2 / pooled).sum(axis=1)
        differs = statistic > chi_squared_quantile(9, level)
        alarm = differs[1:] & differs[:-1]
        starts += int(alarm[0]) + np.count_nonzero(alarm[1:] & ~alarm[:-1])
    assert starts / months <= rate + 3 * math.sqrt(rate / months)
    assert starts / months >= rate / 2


def chi_squared_quantile(freedom: int, level: float) -> float:
    from scipy import stats

    return float(stats.chi2.isf(level, freedom))


def test_a_baseline_of_two_thousand_windows_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    summed = queries.summed_columns

    def noted(connection: Any, windows: Any, layout: Any) -> Any:
        read.append(len(windows))
        return summed(connection, windows, layout)

    monkeypatch.setattr(queries, "summed_columns", noted)
    clock = Clock()
    with running(settings(tmp_path, span(0, 30)), clock) as monitor:
        for hour in range(50):
            clock.now = START + hour * HOUR
            monitor.add_batch(batch(hour, 600, at=clock.now)).result(10)
        clock.now += 2 * HOUR
        for _ in range(3):
            monitor.report()
    assert read == [30]


def test_a_window_that_lost_its_counters_is_no_baseline(tmp_path: Path) -> None:
    connection = schema.connect(str(tmp_path / "t.db"))
    schema.migrate(connection)
    connection.execute("INSERT INTO version (id, digest, name, profile, created) VALUES (1, 'd', 'v', '{}', 0)")
    rows = [(number, 1, HOUR, int(START) + number * HOUR, 900, number != 1) for number in range(3)]
    connection.executemany(
        "INSERT INTO window (id, version, seconds, start, rows, detailed) VALUES (?,?,?,?,?,?)", rows
    )
    version = StoredVersion(1, "d", "v", 0, 0, 0, None, 0)
    window = StoredWindow(9, int(START) + 3 * HOUR, HOUR, 900, 0, 0, 1)

    def chosen(baseline: BaselineConfig) -> list[int]:
        return [w.key for w in Baselines(settings(tmp_path, baseline), connection, version).chosen(window)]

    assert chosen(span(0, 3)) == [0, 2]
    assert chosen(BaselineConfig(type="Seasonal", period_seconds=HOUR, count=3)) == [0, 2]
    assert chosen(PREVIOUS) == [0]
    connection.close()


def test_the_importance_of_features_is_in_the_report(tmp_path: Path) -> None:
    age, plan = PROFILE.features
    features = (age.model_copy(update={"importance": 0.3}), plan.model_copy(update={"importance": 0.1}))
    profile = ReferenceProfile(rows=1_000, features=features, importance_metric="log_loss")
    assert isinstance(plan, CategoricalProfile)
    with running(config(tmp_path)) as monitor:
        digest = "sha256:" + "e" * 64
        monitor.add_reference(reference(digest, "churn-4", profile)).result(10)
        monitor.add_batch(batch(digest=digest)).result(10)
        (window,) = monitor.report(digest).versions[0].windows
        assert [f.importance for f in window.features] == [pytest.approx(0.75), pytest.approx(0.25)]
        monitor.add_batch(batch(1)).result(10)
        assert all(f.importance is None for f in first_window(monitor).features)


def first_window(monitor: Monitor) -> WindowReport:
    return monitor.report(DIGEST).versions[0].windows[0]
