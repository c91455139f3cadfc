"""Performance by segment: which there are, that they are the metric of their rows, and what is kept of a row."""

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics
from tests.support.monitoring import DIGEST, PROFILE, START, Clock, batch, config, running

from tidemill_contracts.inference import Feedback
from tidemill_contracts.monitoring import PerformanceConfig, SegmentReport
from tidemill_contracts.reference import CategoricalProfile, NumericProfile
from tidemill_runtime.monitor import queries, schema
from tidemill_runtime.monitor.segments import Segments
from tidemill_runtime.monitor.service import Monitor

HOUR = 3600.0
ZIP = CategoricalProfile(
    name="zip", categories=tuple(f"z{i}" for i in range(50)), counts=(*range(100, 50, -1), 500), missing=0
)
AGE = PROFILE.features[0]
PLAN = PROFILE.features[1]


def settings(folder: Path, *segments: str, **changes: Any) -> Any:
    values = {"metric": "accuracy", "min": 0.8, "min_labels": 100, "label_delay_seconds": 0, "segments": segments}
    return config(folder, performance=PerformanceConfig(**(values | changes)))


def segments(monitor: Monitor) -> dict[tuple[str, str], SegmentReport]:
    found = monitor.report(DIGEST).versions[0].performance
    assert found is not None
    return {(segment.column, segment.segment): segment for segment in found.segments}


def stored(folder: Path, query: str) -> list[Any]:
    connection = sqlite3.connect(f"file:{folder / 'monitor.db'}?mode=ro", uri=True)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def names(*profiles: Any) -> list[tuple[str, str]]:
    return Segments({p.name: p for p in profiles}, [p.name for p in profiles]).names


def test_the_segments_of_columns_are_fixed_by_the_profile_and_at_most_50() -> None:
    assert names(PLAN) == [("plan", text) for text in ("basic", "pro", "(other)", "(missing)")]
    assert names(AGE) == [
        ("age", text) for text in ("below 0.2", "0.2 to 0.4", "0.4 to 0.8", "0.8 or more", "(missing)")
    ]
    assert names(ZIP)[-3:] == [("zip", "z47"), ("zip", "(other)"), ("zip", "(missing)")]
    many = [ZIP.model_copy(update={"name": f"zip{i}"}) for i in range(10)]
    for columns in range(1, 11):
        assert len(names(*many[:columns])) <= 50
    assert [text for name, text in names(*many) if name == "zip0"] == ["z0", "z1", "z2", "(other)", "(missing)"]
    constant = NumericProfile(name="one", edges=(), counts=(9,), missing=0)
    assert names(constant) == [("one", "any number"), ("one", "(missing)")]


def test_each_value_has_its_segment() -> None:
    found = Segments({"plan": PLAN, "age": AGE}, ["plan", "age", "nothing"])
    assert found.unknown == ("nothing",)
    rows = found.of({"plan": ["pro", "gold", None, 1.0], "age": [0.1, 0.2, float("nan"), "old"]}, 4).tolist()
    assert [[found.names[place][1] for place in row] for row in rows] == [
        ["pro", "below 0.2"],
        ["(other)", "0.2 to 0.4"],
        ["(missing)", "(missing)"],
        ["(other)", "(missing)"],
    ]
    assert [found.names[place][1] for place in found.of({}, 1)[0].tolist()] == ["(missing)", "(missing)"]


def test_the_metric_of_a_segment_is_that_of_its_rows(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    clock = Clock(START)
    with running(settings(tmp_path, "plan", "age"), clock) as monitor:
        rows: dict[str, list[Any]] = {"plan": [], "age": [], "predicted": [], "label": []}
        for hour in range(4):
            clock.now = START + (hour + 1) * HOUR + 10  # later, its predictions may be overdue and gone
            sent = batch(hour, 300, at=START + hour * HOUR)
            labels = np.where(random.random(300) < 0.8, sent.predictions, 1 - np.array(sent.predictions))
            monitor.add_batch(sent).result(10)
            feedback = [Feedback(id=name, label=int(label)) for name, label in zip(sent.ids, labels, strict=True)]
            monitor.add_feedback(feedback).result(10)
            for name, values in {**sent.columns, "predicted": sent.predictions, "label": labels.tolist()}.items():
                rows[name] += values
        found = segments(monitor)
        assert set(found) == {("plan", "basic"), ("plan", "pro")} | {
            ("age", text) for text in ("below 0.2", "0.2 to 0.4", "0.4 to 0.8", "0.8 or more")
        }
        # 100 labels for each of the 5 segments by age: the newest two windows
        columns = {name: np.array(values[600:]) for name, values in rows.items()}
        masks = {
            ("plan", "pro"): columns["plan"] == "pro",
            ("age", "0.4 to 0.8"): (columns["age"] >= 0.4) & (columns["age"] < 0.8),
        }
        for name, mask in masks.items():
            truth, predicted = columns["label"][mask], columns["predicted"][mask]
            assert found[name].labels == mask.sum()
            assert found[name].value == pytest.approx(metrics.accuracy_score(truth, predicted))
            assert found[name].low is not None
            assert found[name].high is not None
            assert found[name].low < found[name].value < found[name].high  # type: ignore[operator]


def test_what_a_row_belongs_to_is_kept_until_its_label_comes_or_is_overdue(tmp_path: Path) -> None:
    clock = Clock(START + 1)
    with running(settings(tmp_path, "plan"), clock) as monitor:
        sent = batch(0, 4, columns={"plan": ["pro", "basic", "pro", None], "age": [0.5] * 4})
        monitor.add_batch(sent).result(10)
        query = "SELECT segments IS NULL, label IS NULL FROM prediction ORDER BY number"
        assert stored(tmp_path, query) == [(0, 1)] * 4
        monitor.add_feedback([Feedback(id="p0/1", label=1)]).result(10)
        assert stored(tmp_path, query) == [(0, 1), (1, 0), (0, 1), (0, 1)]
        clock.now = START + 2 * HOUR
        monitor.prune()
        assert stored(tmp_path, "SELECT count(*) FROM prediction WHERE segments IS NOT NULL") == [(0,)]


def test_an_early_label_and_one_of_no_class_count_in_their_segment(tmp_path: Path) -> None:
    with running(settings(tmp_path, "plan", min_labels=1), Clock(START + 1)) as monitor:
        monitor.add_feedback([Feedback(id="p0/0", label=1), Feedback(id="p0/1", label="hunter2")]).result(10)
        sent = batch(0, 2, columns={"plan": ["pro", "pro"], "age": [0.5] * 2}, predictions=[1, 1])
        monitor.add_batch(sent).result(10)
        monitor._clock.now = START + 2 * HOUR  # type: ignore[attr-defined]
        assert segments(monitor)["plan", "pro"].labels == 1
        assert "hunter2" not in str(stored(tmp_path, "SELECT name FROM segment_performance"))


def test_other_columns_begin_anew_and_old_ones_are_shown_no_more(tmp_path: Path) -> None:
    for columns, wanted in ((("plan",), {"plan"}), (("age",), {"age"}), (("plan", "age"), {"plan", "age"})):
        with running(settings(tmp_path, *columns, min_labels=1), Clock(START + HOUR + 10)) as monitor:
            number = len(columns) * 10 + len(columns[0])
            monitor.add_batch(batch(number, 50, at=START)).result(10)
            monitor.add_feedback([Feedback(id=f"p{number}/{row}", label=1) for row in range(50)]).result(10)
            assert {column for column, _ in segments(monitor)} == wanted


def test_a_column_that_is_no_feature_is_told(tmp_path: Path) -> None:
    with running(settings(tmp_path, "plan", "country")) as monitor:
        notes = monitor.report(DIGEST).versions[0].column_notes
        assert [(note.name, note.finding) for note in notes] == [("country", "NoSegments")]


def test_who_names_no_column_stores_nothing_of_it(tmp_path: Path) -> None:
    with running(settings(tmp_path), Clock(START + HOUR)) as monitor:
        monitor.add_batch(batch(0, 5)).result(10)
        monitor.add_feedback([Feedback(id="p0/1", label=1)]).result(10)
        assert segments(monitor) == {}
        assert stored(tmp_path, "SELECT count(segments) FROM prediction") == [(0,)]
        assert stored(tmp_path, "SELECT count(*) FROM segment") == [(0,)]


def test_numbers_of_segments_are_a_few_bytes_of_a_stored_prediction(tmp_path: Path) -> None:
    sizes = []
    for number, columns in enumerate(((), ("plan", "age"))):
        folder = tmp_path / str(number)
        with running(settings(folder, *columns), Clock(START)) as monitor:
            monitor.add_batch(batch(0, 500)).result(10)
            connection = schema.connect(str(folder / "monitor.db"), readonly=True)
            sizes.append(queries.prediction_bytes(connection))
            connection.close()
    assert 2 <= sizes[1] - sizes[0] <= 6
