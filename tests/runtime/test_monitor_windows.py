"""Windows, verdicts and reports of a whole monitor, on a clock that the test turns."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.monitoring import DIGEST, PROFILE, START, Clock, batch, config, reference, running

from tidemill_contracts.drift_tests import BY_NAME, NAMES
from tidemill_contracts.inference import PredictionBatch
from tidemill_contracts.monitoring import (
    ColumnConfig,
    DriftConfig,
    MonitorReport,
    QualityConfig,
    TestConfig,
    WindowReport,
)
from tidemill_contracts.reference import CategoricalProfile, NumericProfile, ReferenceProfile
from tidemill_runtime.monitor import schema, writes
from tidemill_runtime.monitor.binning import Layout
from tidemill_runtime.monitor.bounds import InvalidBatchError
from tidemill_runtime.monitor.ingest import count_batch
from tidemill_runtime.monitor.service import Monitor

HOUR = 3600.0


def windows(monitor: Monitor) -> tuple[WindowReport, ...]:
    return monitor.report().versions[0].windows


def test_the_same_data_is_not_drift(tmp_path: Path) -> None:
    with running(config(tmp_path)) as monitor:
        monitor.add_batch(batch()).result()
        (window,) = windows(monitor)
    assert (window.rows, window.judged, window.drift, window.closed) == (1_000, True, False, False)
    assert (window.start, window.end) == (START, START + HOUR)
    assert [f.name for f in window.features] == ["age", "plan"]
    assert all(f.score is not None and f.score < 0.05 and f.note == "" for f in window.features)
    assert window.drifted_share == 0.0


def test_a_shifted_feature_is_named_and_makes_the_window_drift(tmp_path: Path) -> None:
    with running(config(tmp_path)) as monitor:
        monitor.add_batch(batch(shift=0.3)).result()
        (window,) = windows(monitor)
    age, plan = window.features
    assert (age.drifted, plan.drifted, window.drifted_share, window.drift) == (True, False, 0.5, True)
    assert (age.test, age.threshold) == ("PSI", 0.2)
    assert age.out_of_range_ratio == pytest.approx(0.3, abs=0.05)


def test_one_of_two_features_is_below_a_share_of_six_tenths(tmp_path: Path) -> None:
    drift = DriftConfig(features=TestConfig(), drifted_share=0.6)
    with running(config(tmp_path, drift=drift)) as monitor:
        monitor.add_batch(batch(shift=0.3)).result()
        (window,) = windows(monitor)
    assert (window.drifted_share, window.drift, window.prediction and window.prediction.score) == (0.5, False, None)


def test_drifted_predictions_alone_make_the_window_drift(tmp_path: Path) -> None:
    with running(config(tmp_path)) as monitor:
        monitor.add_batch(batch(positive=0.95)).result()
        (window,) = windows(monitor)
    assert window.prediction is not None
    assert (window.prediction.name, window.prediction.drifted, window.drifted_share) == ("churned", True, 0.0)
    assert window.drift


def test_a_window_of_too_few_rows_shows_scores_and_gives_no_verdict(tmp_path: Path) -> None:
    with running(config(tmp_path, quality=QualityConfig(max_out_of_range_ratio=0.0))) as monitor:
        monitor.add_batch(batch(rows=499, shift=0.5, positive=1.0)).result()
        (window,) = windows(monitor)
    assert (window.rows, window.judged, window.drift, window.drifted_share) == (499, False, False, None)
    assert window.quality_problems == ()
    assert not any(f.drifted for f in window.features)
    assert window.features[0].score is not None
    assert window.features[0].score > 0.2


def test_a_score_that_chance_explains_is_not_drift_and_says_so(tmp_path: Path) -> None:
    rows = 40
    ages = [0.1] * 16 + [0.3] * 8 + [0.5] * 8 + [0.7] * 4 + [0.9] * 4
    columns = {"age": ages, "plan": ["basic", "pro"] * (rows // 2)}
    with running(config(tmp_path, min_rows=10)) as monitor:
        monitor.add_batch(batch(rows=rows, columns=columns)).result()
        (window,) = windows(monitor)
    age = window.features[0]
    assert age.score is not None
    assert age.score > 0.2
    assert not age.drifted
    assert age.p_value is not None
    assert 0.001 < age.p_value < 0.05
    assert age.note == f"not significant: such a difference has probability {age.p_value:.2g} without any change"


def test_tests_by_feature_override_the_common_one(tmp_path: Path) -> None:
    drift = DriftConfig(
        features=TestConfig(test="KolmogorovSmirnov", threshold=0.15),
        overrides={"plan": TestConfig(test="JensenShannon", threshold=0.3)},
    )
    with running(config(tmp_path, drift=drift)) as monitor:
        monitor.add_batch(batch(shift=0.3, pro=0.9)).result()
        (window,) = windows(monitor)
    age, plan = window.features
    assert (age.test, age.threshold, age.drifted) == ("KolmogorovSmirnov", 0.15, True)
    assert (plan.test, plan.threshold, plan.drifted) == ("JensenShannon", 0.3, True)


def test_a_test_for_numbers_is_replaced_on_categories_and_the_note_says_so(tmp_path: Path) -> None:
    drift = DriftConfig(features=TestConfig(test="KolmogorovSmirnov", threshold=0.15))
    with running(config(tmp_path, drift=drift)) as monitor:
        monitor.add_batch(batch(pro=0.9)).result()
        (window,) = windows(monitor)
    plan = window.features[1]
    assert (plan.test, plan.threshold, plan.drifted) == ("PSI", 0.2, True)
    assert plan.note == "KolmogorovSmirnov needs a numeric column; judged by PSI instead"


def test_quality_problems_name_feature_ratio_and_limit(tmp_path: Path) -> None:
    quality = QualityConfig(max_missing_ratio=0.05, max_unseen_ratio=0.01, max_out_of_range_ratio=0.05)
    columns: dict[str, list[Any]] = {
        "age": [None] * 100 + ["?"] * 30 + [math.inf] * 80 + [0.5] * 790,
        "plan": ["gold"] * 65 + ["pro"] * 935,
    }
    with running(config(tmp_path, quality=quality)) as monitor:
        monitor.add_batch(batch(columns=columns)).result()
        (window,) = windows(monitor)
    assert window.quality_problems == (
        "age: missing_ratio 0.1 and mistyped_ratio 0.03 > 0.05",
        "age: out_of_range_ratio 0.11 > 0.05",
        "plan: unseen_ratio 0.065 > 0.01",
    )
    note = "30 values are not numbers; not judged for drift: its values are a finding of quality"
    assert window.features[0].note == note


def test_a_column_that_is_not_sent_is_missing_and_is_not_judged_for_drift(tmp_path: Path) -> None:
    with running(config(tmp_path, quality=QualityConfig(max_missing_ratio=0.05))) as monitor:
        monitor.add_batch(batch(columns={"plan": ["basic", "pro"] * 500, "Age": [0.5] * 1_000})).result()
        (window,) = windows(monitor)
    age = window.features[0]
    assert (age.missing_ratio, age.score, age.drifted, age.note) == (1.0, None, False, "no values to compare")
    assert window.quality_problems == ("age: no value in 1000 rows (missing in training: 0)",)
    assert (window.comparable, window.without_score, window.drifted_share) == (False, ("age",), None)  # one of two


def wide(count: int) -> ReferenceProfile:
    """Return a profile of so many numeric features like `age`, f0 and so on."""
    age = PROFILE.features[0]
    return ReferenceProfile(rows=1_000, features=tuple(age.model_copy(update={"name": f"f{i}"}) for i in range(count)))


@pytest.mark.parametrize("rows", [30, 1_000])
@pytest.mark.parametrize("test", NAMES)
def test_one_of_thirty_features_that_moved_by_five_deviations_is_named(tmp_path: Path, test: str, rows: int) -> None:
    random, moved = np.random.default_rng(5), 5 * 0.2887
    columns = {f"f{i}": (random.random(rows) + (moved if i == 7 else 0)).tolist() for i in range(30)}
    drift = DriftConfig(features=TestConfig(test=test, threshold=BY_NAME[test].threshold))
    with running(config(tmp_path, drift=drift, min_rows=10)) as monitor:
        monitor.add_reference(reference("sha256:wide", "wide-1", wide(30))).result()
        monitor.add_batch(batch(rows=rows, digest="sha256:wide", columns=columns)).result()
        window = monitor.report("sha256:wide").versions[0].windows[0]
    assert [f.name for f in window.features if f.drifted] == ["f7"]
    assert not window.drift  # a share of 0.03; the operator names it
    assert window.features[7].above_ratio == 1.0


def test_a_decisive_feature_makes_a_window_drift_alone(tmp_path: Path) -> None:
    drift = DriftConfig(features=TestConfig(), drifted_share=0.6)
    columns = {"plan": ColumnConfig(decisive=True)}
    with running(config(tmp_path, drift=drift, columns=columns), Clock(START + HOUR)) as monitor:
        monitor.add_batch(batch(shift=0.3)).result()
        monitor.add_batch(batch(1, pro=0.95, at=START + HOUR)).result()
        other, decisive = windows(monitor)
    assert (other.drifted_share, other.drift) == (0.5, False)
    assert (decisive.drifted_share, decisive.drift) == (0.5, True)


def test_a_column_that_drifted_says_what_changed(tmp_path: Path) -> None:
    with running(config(tmp_path)) as monitor:
        monitor.add_batch(batch(shift=0.3, pro=0.95)).result()
        (window,) = windows(monitor)
    age, plan = window.features
    assert (age.reference_mean, age.mean) == (pytest.approx(0.5), pytest.approx(0.73, abs=0.03))
    assert (age.below_ratio, age.above_ratio) == (0.0, pytest.approx(0.3, abs=0.05))
    assert (plan.category, plan.reference_share, plan.share) == ("basic", 0.5, pytest.approx(0.05, abs=0.02))


def test_the_probability_of_the_predicted_class_is_judged_as_the_predictions_are(tmp_path: Path) -> None:
    age = PROFILE.features[0]
    assert isinstance(age, NumericProfile)
    profile = PROFILE.model_copy(update={"score": age.model_copy(update={"name": "score"})})
    random = np.random.default_rng(2)
    same, sure = random.random(1_000).tolist(), (1 - random.random(1_000) / 3).tolist()
    with running(config(tmp_path), Clock(START + 2 * HOUR)) as monitor:
        monitor.add_reference(reference("sha256:scores", "churn-2", profile)).result()
        for number, scores in enumerate((same, sure, None)):
            at = START + number * HOUR
            monitor.add_batch(batch(number, digest="sha256:scores", at=at, scores=scores)).result()
        found = monitor.report("sha256:scores").versions[0].windows
    outputs = [window.probability for window in found]
    assert [output and (output.name, output.test, output.drifted) for output in outputs] == [
        ("score", "PSI", False),
        ("score", "PSI", True),
        ("score", "PSI", False),
    ]
    assert [window.drift for window in found] == [False, True, False]
    assert outputs[2] is not None
    assert outputs[2].note == "no values to compare"  # windows of before had no such counters either


def test_auto_chooses_a_test_by_column_and_says_which(tmp_path: Path) -> None:
    auto = TestConfig(test="Auto")
    with running(config(tmp_path, drift=DriftConfig(features=auto, predictions=auto))) as monitor:
        monitor.add_batch(batch(shift=0.3)).result()
        (window,) = windows(monitor)
    tests = [(f.test, f.threshold, f.note) for f in (*window.features, window.prediction) if f is not None]
    assert tests == [("KolmogorovSmirnov", 0.1, ""), ("JensenShannon", 0.1, ""), ("JensenShannon", 0.1, "")]


def test_a_report_says_at_what_level_it_judged_and_what_so_many_rows_can_show(tmp_path: Path) -> None:
    with running(config(tmp_path), Clock(START + HOUR)) as monitor:
        monitor.add_batch(batch()).result()
        monitor.add_batch(batch(1, rows=20, at=START + HOUR)).result()
        large, small = windows(monitor)
    assert large.level == pytest.approx(0.005, abs=0.002)
    assert large.smallest_shift == pytest.approx(0.46, abs=0.02)  # where PSI reaches 0.2
    assert (small.judged, small.level, small.smallest_shift) == (False, None, None)


CONSTANT = NumericProfile(
    name="constant", edges=(5.0,), counts=(0, 100), missing=0, minimum=5.0, maximum=5.0, mean=5.0, std=0.0
)
EMPTY = NumericProfile(name="empty", edges=(), counts=(0,), missing=100)
RARE = CategoricalProfile(name="rare", categories=("a",), counts=(90, 10), missing=0)


@pytest.mark.parametrize(
    ("values", "drifted", "out_of_range"),
    [([5] * 600, False, 0.0), ([5] * 300 + [6] * 300, True, 0.5), ([4.9] * 600, True, 1.0)],
)
def test_a_constant_column_drifts_when_it_takes_other_values(
    tmp_path: Path, values: list[float], drifted: bool, out_of_range: float
) -> None:
    score = odd_column(tmp_path, CONSTANT, values)
    assert (score.drifted, score.out_of_range_ratio) == (drifted, out_of_range)


def test_a_column_without_reference_values_is_not_judged(tmp_path: Path) -> None:
    score = odd_column(tmp_path, EMPTY, [1.0] * 600)
    assert (score.score, score.note) == (None, "the reference has no values")


def test_unseen_is_what_exceeds_the_references_own_rare_categories(tmp_path: Path) -> None:
    assert odd_column(tmp_path, RARE, ["a"] * 540 + ["b"] * 60).unseen_ratio == 0.0
    assert odd_column(tmp_path, RARE, ["a"] * 300 + ["b"] * 300, number=1).unseen_ratio == pytest.approx(0.4)


def odd_column(folder: Path, profile: NumericProfile | CategoricalProfile, values: list[Any], number: int = 0) -> Any:
    """Return the score of one column of its own version."""
    digest = f"sha256:{number:064}"
    with running(config(folder)) as monitor:
        whole = ReferenceProfile(rows=100, features=(profile,))
        monitor.add_reference(reference(digest, f"odd-{number}", whole)).result()
        monitor.add_batch(batch(number, len(values), digest=digest, columns={profile.name: values})).result()
        return monitor.report(digest).versions[0].windows[0].features[0]


def test_records_go_to_the_window_of_their_time_also_late_ones(tmp_path: Path) -> None:
    clock = Clock(START + 2 * HOUR + 10)
    times = [START + HOUR - 0.001] * 3 + [START + HOUR] * 4 + [START + 2 * HOUR + 9] * 2
    with running(config(tmp_path, min_rows=1), clock) as monitor:
        monitor.add_batch(batch(1, 9, times=times)).result()
        assert [(w.start - START, w.rows, w.closed) for w in windows(monitor)] == [
            (0, 3, True),
            (HOUR, 4, True),
            (2 * HOUR, 2, False),
        ]
        monitor.add_batch(batch(2, 5, at=START + 1)).result()
        assert [w.rows for w in windows(monitor)] == [8, 4, 2]


def test_a_window_closes_when_its_last_records_had_time_to_come(tmp_path: Path) -> None:
    clock = Clock(START)
    with running(config(tmp_path), clock) as monitor:
        monitor.add_batch(batch(rows=5)).result()
        closed = []
        for clock.now in (START + HOUR - 1, START + HOUR + 4.9, START + HOUR + 5):
            closed.append(windows(monitor)[0].closed)
    assert closed == [False, False, True]


def test_times_in_the_future_or_not_finite_count_as_now_and_expired_rows_as_dropped(tmp_path: Path) -> None:
    clock = Clock(START + 10 * HOUR)
    times = [clock.now + 86_400, math.inf, math.nan, clock.now - 3 * HOUR - 1, clock.now]
    with running(config(tmp_path, retention_seconds=2 * 3600), clock) as monitor:
        monitor.add_batch(batch(rows=5, times=times)).result()
        (version,) = monitor.report().versions
    assert [(w.start, w.rows) for w in version.windows] == [(clock.now, 4)]
    assert (version.rows, version.dropped) == (4, 1)


def test_a_report_holds_the_last_24_windows_that_have_records(tmp_path: Path) -> None:
    clock = Clock(START + 40 * HOUR)
    with running(config(tmp_path), clock) as monitor:
        for hour in range(0, 40):
            if hour != 30:
                monitor.add_batch(batch(hour, 2, at=START + hour * HOUR)).result()
        starts = [round((w.start - START) / HOUR) for w in windows(monitor)]
        assert monitor.report().versions[0].rows == 78
    assert starts == [hour for hour in range(15, 40) if hour != 30]


def test_errors_and_latencies_are_kept_and_silence_is_not_broken_by_errors(tmp_path: Path) -> None:
    clock = Clock(START + 100)
    with running(config(tmp_path), clock) as monitor:
        (before,) = monitor.report().versions
        monitor.add_batch(batch(1, 0, at=START + 90, errors=3, latencies=[0.2, 0.3])).result()
        (silent,) = monitor.report().versions
        monitor.add_batch(batch(2, 98, at=START + 90, latencies=[0.0031] * 98)).result()
        (version,) = monitor.report().versions
    assert (before.last_record_at, before.windows, before.rows) == (None, (), 0)
    assert (silent.last_record_at, silent.windows[0].errors, silent.windows[0].rows) == (None, 3, 0)
    assert version.last_record_at == START + 100
    (window,) = version.windows
    assert window.latency_p50_seconds == pytest.approx(0.0035, abs=0.0005)
    assert window.latency_p99_seconds is not None
    assert 0.15 <= window.latency_p99_seconds <= 0.2


def test_dropped_records_are_added_over_processes_and_restarts_of_their_count(tmp_path: Path) -> None:
    with running(config(tmp_path)) as monitor:
        for number, dropped in enumerate((5, 5, 8, 6)):  # 6: an older batch that came late
            monitor.add_batch(batch(number, 1, dropped=dropped)).result()
        monitor.add_batch(batch(9, 1, dropped=2, batch_id="pod-2/1/0")).result()
        assert monitor.report().versions[0].dropped == 10


def test_versions_are_apart_and_a_report_can_be_of_one(tmp_path: Path) -> None:
    other = "sha256:" + "b" * 64
    with running(config(tmp_path)) as monitor:
        monitor.add_reference(reference(other, "churn-2")).result()
        monitor.add_batch(batch(1, 10)).result()
        monitor.add_batch(batch(2, 20, digest=other)).result()
        assert [(v.version, v.rows) for v in monitor.report().versions] == [("churn-1", 10), ("churn-2", 20)]
        assert [v.version for v in monitor.report(other).versions] == ["churn-2"]
        assert monitor.report("sha256:none").versions == ()


def test_a_report_survives_json(tmp_path: Path) -> None:
    with running(config(tmp_path)) as monitor:
        monitor.add_batch(batch(shift=0.3)).result()
        report = monitor.report()
    assert MonitorReport.model_validate_json(report.model_dump_json()) == report
    assert MonitorReport.model_validate_json(report.to_json()) == report


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"times": [START]}, "times: 1 entries, but ids has 2"),
        ({"predictions": [1, 0, 1]}, "predictions: 3 entries, but ids has 2"),
        ({"scores": []}, "scores: 0 entries"),
        ({"columns": {"age": [1.0]}}, r"columns\['age'\]: 1 entries"),
        ({"errors": -1}, "errors: must not be negative"),
        ({"deployment": "other"}, "deployment: this monitor watches 'churn', not 'other'"),
    ],
)
def test_a_batch_that_contradicts_itself_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with running(config(tmp_path)) as monitor, pytest.raises(InvalidBatchError, match=message):
        monitor.add_batch(batch(rows=2, **changes))


Row = tuple[float | str | None, str | None, int, float]

rows_of_any_kind = st.lists(
    st.tuples(
        st.floats() | st.none() | st.sampled_from(["x"]),
        st.sampled_from(["basic", "pro", "gold", None]),
        st.integers(0, 2),
        st.floats(START - 5 * HOUR, START + HOUR),
    ),
    max_size=30,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=rows_of_any_kind, cuts=st.lists(st.integers(0, 30), max_size=4), order=st.randoms(use_true_random=False))
def test_neither_splitting_nor_order_of_batches_changes_a_counter(rows: list[Row], cuts: list[int], order: Any) -> None:
    bounds = [0, *sorted(cuts), len(rows)]
    parts = [rows[a:b] for a, b in pairwise(bounds)]
    order.shuffle(parts)
    assert counters(parts) == counters([rows])


def counters(parts: list[list[Row]]) -> list[tuple[Any, ...]]:
    """Count batches of rows in a database in memory; return all its counters and totals."""
    connection = schema.connect(":memory:")
    schema.migrate(connection)
    writes.add_reference(connection, reference(), START)
    layout = Layout(PROFILE)
    for number, part in enumerate(parts):
        posted = PredictionBatch(
            batch_id=f"p/{number}",
            deployment="churn",
            version="churn-1",
            digest=DIGEST,
            sent_at=START,
            ids=[f"{number}/{n}" for n in range(len(part))],
            times=[row[3] for row in part],
            columns={"age": [row[0] for row in part], "plan": [row[1] for row in part]},
            predictions=[row[2] for row in part],
        )
        addition = count_batch(posted, layout, now=START, window_seconds=600, retention_seconds=4 * 3600)
        assert writes.add_batch(connection, addition, 600)
    sql = "SELECT start, name, bin, count FROM counter JOIN window ON window.id = window ORDER BY 1, 2, 3"
    totals = connection.execute("SELECT rows, dropped FROM version").fetchall()
    starts = connection.execute("SELECT start, rows FROM window ORDER BY 1").fetchall()
    result = [*connection.execute(sql).fetchall(), *totals, *starts]
    connection.close()
    return result


def test_counters_add_up_to_the_rows(tmp_path: Path) -> None:
    with running(config(tmp_path)) as monitor:
        for number in range(5):
            monitor.add_batch(batch(number, 100)).result()
        (window,) = windows(monitor)
    assert window.rows == 500
    ages = np.concatenate([batch(number, 100).columns["age"] for number in range(5)])
    shares = np.bincount((ages.astype(float) * 5).astype(int), minlength=5) / 500
    assert window.features[0].score == pytest.approx(float(np.sum((0.2 - shares) * np.log(0.2 / shares))))
