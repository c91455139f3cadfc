"""Whatever is sent is refused with the field or counted; nothing holds up or ruins what others have sent."""

import json
import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.support.monitoring import DIGEST, PROFILE, START, Clock, batch, config, reference, running

from tidemill_contracts.inference import Feedback, PredictionBatch, Reference
from tidemill_contracts.monitoring import MonitorReport, PerformanceConfig
from tidemill_contracts.reference import NumericProfile, ReferenceProfile
from tidemill_runtime.monitor import bounds, retention, schema
from tidemill_runtime.monitor.app import parse_feedback
from tidemill_runtime.monitor.bounds import LARGEST_COUNT, InvalidBatchError
from tidemill_runtime.monitor.retention import Retention
from tidemill_runtime.monitor.service import Monitor

PRICE = "sha256:" + "c" * 64
PRICES = ReferenceProfile(
    rows=10,
    features=PROFILE.features,
    prediction=NumericProfile(name="price", edges=(1.0,), counts=(5, 5), missing=0, mean=1.0, std=1.0),
)
NUMBERS = (
    *("0", "-0.0", "1", "1.5", "5e-324", "1e-200", "1e100", "-1e101", "1e154", "1e200", "-1e308", "1e400", "-1e400"),
    *("NaN", "Infinity", "-Infinity", str(2**53 + 1), str(2**63), str(-(2**70)), "9" * 400, "9" * 4299, "9" * 5000),
)
TEXTS = ('""', '"0"', '"x"', '"1e200"', '"\\u0000"', '"\\ud800"', '"\\ud83d\\ude00"', json.dumps("long " * 1_000))
OTHERS = ("true", "false", "null", "[]", "{}", "[" * 150 + "]" * 150, "[" * 5_000 + "]" * 5_000)
TOKENS = st.sampled_from([*NUMBERS, *TEXTS, *OTHERS])
USUAL = {"id": None, "time": str(START), "age": "0.5", "plan": '"pro"', "prediction": "1", "score": "0.5"}


@pytest.fixture(scope="module", params=[DIGEST, PRICE], ids=["classes", "numbers"])
def watched(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Monitor, str]]:
    """A monitor, and the digest of the version that the test sends records of."""
    metric = "accuracy" if request.param == DIGEST else "mae"
    performance = PerformanceConfig(metric=metric, max=1e300, min_labels=1, label_delay_seconds=0)
    folder = tmp_path_factory.mktemp("monitor")
    with running(config(folder, performance=performance), Clock(START + 7_300)) as monitor:
        monitor.add_reference(reference(PRICE, "price-1", PRICES)).result()
        yield monitor, request.param


def document(number: int, digest: str, row: dict[str, str], head: dict[str, str]) -> str:
    """A batch of three rows as JSON, of which the second is `row`."""
    ids = [json.dumps(f"f{number}/{n}") for n in range(3)]
    rows = [{**USUAL, "id": ids[0]}, {**USUAL, "id": ids[1], **row}, {**USUAL, "id": ids[2]}]

    def column(name: str) -> str:
        return "[" + ",".join(str(one[name]) for one in rows) + "]"

    fields = {
        "batch_id": json.dumps(f"fuzz/1/{number}"),
        "deployment": '"churn"',
        "version": '"churn-1"',
        "digest": json.dumps(digest),
        "sent_at": str(START),
        "ids": column("id"),
        "times": column("time"),
        "columns": f'{{"age": {column("age")}, "plan": {column("plan")}}}',
        "predictions": column("prediction"),
        "scores": column("score"),
        **head,
    }
    return "{" + ",".join(f'"{name}": {text}' for name, text in fields.items()) + "}"


def post_label(monitor: Monitor, identifier: str, token: str) -> None:
    """Post a label as a client does; it may be refused."""
    try:
        labels, _ = parse_feedback(f'[{{"id": {identifier}, "label": {token}}}]'.encode())
    except ValidationError:
        return
    monitor.add_feedback(labels).result(10)


def rows_of(monitor: Monitor, digest: str) -> int:
    """The rows of a version, of a report that could cross the border."""
    report = MonitorReport.from_json(monitor.report(digest).model_dump_json())
    (version,) = report.versions
    for window in version.windows:
        assert 0 <= window.errors <= LARGEST_COUNT
        assert window.drifted_share is None or math.isfinite(window.drifted_share)
    assert 0 <= version.dropped <= LARGEST_COUNT
    return version.rows


numbers = iter(range(1, 10**9))


@given(
    row=st.dictionaries(st.sampled_from(sorted(USUAL)), TOKENS, max_size=3),
    head=st.dictionaries(st.sampled_from(["sent_at", "errors", "dropped"]), TOKENS, max_size=1)
    | TOKENS.map(lambda token: {"latencies": f"[0.01, {token}]"}),
    early=st.lists(TOKENS, max_size=3),
    late=st.lists(TOKENS, max_size=3),
)
def test_no_value_holds_up_or_ruins_what_others_sent(
    watched: tuple[Monitor, str], row: dict[str, str], head: dict[str, str], early: list[str], late: list[str]
) -> None:
    monitor, digest = watched
    number = next(numbers)
    before = rows_of(monitor, digest)
    for place, token in enumerate(early):
        post_label(monitor, f'"f{number}/{place}"', token)
    try:
        posted = PredictionBatch.from_json(document(number, digest, row, head))
        counted = monitor.add_batch(posted).result(10)
    except (ValidationError, InvalidBatchError):
        counted = False  # with the field
    after = rows_of(monitor, digest)
    assert after - before in ((2, 3) if counted else (0,)), "a row of too long ago is no row; no other is lost"
    for place, token in enumerate(late):
        post_label(monitor, f'"f{number}/{place}"', token)
    good = [Feedback(id=f"f{number}/{place}", label=1) for place in (0, 2)]
    outcomes = monitor.add_feedback(good).result(10)
    assert len(outcomes.outcomes) == 2
    rows_of(monitor, digest)


@given(label=TOKENS, identifier=TOKENS)
def test_a_list_of_labels_loses_none_but_those_out_of_bounds(label: str, identifier: str) -> None:
    body = f'[{{"id": "a", "label": 1}}, {{"id": {identifier}, "label": {label}}}, {{"id": "b", "label": 0}}]'
    try:
        labels, problems = parse_feedback(body.encode())
    except ValidationError as error:
        assert {problem["loc"][:1] for problem in error.errors()} <= {(), (1,)}
        return
    assert len(labels) + len(problems) == 3
    assert [labels[0].id, labels[-1].id] == ["a", "b"]
    assert all(problem.startswith(("1.id: ", "1.label: ")) for problem in problems)
    for one in labels:
        assert len(one.id) <= bounds.MAX_ID
        assert len(one.label) <= bounds.MAX_LABEL if isinstance(one.label, str) else abs(one.label or 0) <= 1e100


@given(st.lists(st.floats(-1e100, 1e100), min_size=1, max_size=20), st.floats(-1e100, 1e100))
def test_sums_of_labels_within_bounds_are_finite(labels: list[float], prediction: float) -> None:
    from tidemill_runtime.monitor.binning import PREDICTION, Layout
    from tidemill_runtime.monitor.performance import addition, metric

    column = Layout(PRICES).columns[PREDICTION]
    sums: dict[str, float] = {}
    for label in labels:
        for name, value in addition(column, prediction, None, label).items():
            sums[name] = sums.get(name, 0.0) + value * 1e12
    assert all(map(math.isfinite, sums.values()))
    for name in ("rmse", "mae", "r2", "mape"):
        value, note = metric(name, sums, PRICES.prediction)
        assert value is not None or note or name == "r2"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"errors": 2**70}, "errors: must not be negative or more than 9007199254740992"),
        ({"dropped": -1}, "dropped: must not be negative"),
        ({"dropped": 2**53 + 1}, "dropped: must not be negative or more than"),
        ({"batch_id": "x" * 600}, "batch_id: must have 1 to 512 characters, got 600"),
        ({"batch_id": ""}, "batch_id: must have 1 to 512 characters, got 0"),
        ({"scores": [0.5]}, "scores: 1 entries, but ids has 2"),
    ],
)
def test_a_batch_out_of_bounds_is_refused_with_the_field(tmp_path: Path, changes: dict[str, Any], error: str) -> None:
    with running(config(tmp_path)) as monitor, pytest.raises(InvalidBatchError) as caught:
        monitor.add_batch(batch(1, 2, **changes))
    assert error in str(caught.value)


def test_rows_of_very_many_windows_are_refused_at_once(tmp_path: Path) -> None:
    times = [START - 10 * row for row in range(2_001)]
    with (
        running(config(tmp_path, window_seconds=10)) as monitor,
        pytest.raises(InvalidBatchError, match="times: rows of more than 2000 windows; send them in several batches"),
    ):
        monitor.add_batch(batch(1, 2_001, times=times))


def test_counters_stop_where_they_are_no_longer_exact(tmp_path: Path) -> None:
    with running(config(tmp_path)) as monitor:
        for number in range(1, 4):
            posted = batch(number, 1, errors=LARGEST_COUNT, dropped=LARGEST_COUNT, batch_id=f"pod-{number}/1/1")
            assert monitor.add_batch(posted).result() is True
        (version,) = monitor.report().versions
    assert (version.dropped, version.windows[0].errors, version.rows) == (LARGEST_COUNT, LARGEST_COUNT, 3)


@pytest.mark.parametrize("counts", [(2**70, 0), (2**53, 1), (-1, 5)])
def test_a_reference_whose_counts_are_out_of_bounds_is_refused(tmp_path: Path, counts: tuple[int, int]) -> None:
    price = NumericProfile(name="price", edges=(1.0,), counts=counts, missing=0)
    posted = Reference(
        deployment="churn", version="v", digest=PRICE, profile=ReferenceProfile(rows=1, features=(), prediction=price)
    )
    with running(config(tmp_path)) as monitor:
        with pytest.raises(InvalidBatchError, match="profile of 'price': counts and missing"):
            monitor.add_reference(posted)
        with pytest.raises(InvalidBatchError, match="version: must have 1 to 512 characters"):
            monitor.add_reference(reference(PRICE, "v" * 10_000))
        monitor.report()


def test_a_row_with_a_huge_id_or_prediction_counts_and_is_not_kept_for_a_label(tmp_path: Path) -> None:
    ids = ["x" * 1_000_000, "a", "", "b"]
    with running(config(tmp_path)) as monitor:
        assert monitor.add_batch(batch(1, 4, ids=ids, predictions=[1, "y" * 1_000, 0, 1])).result() is True
        assert monitor.report().versions[0].rows == 4
    connection = sqlite3.connect(tmp_path / "monitor.db")
    assert connection.execute("SELECT id FROM prediction").fetchall() == [("b",)]
    assert connection.execute("SELECT discarded FROM version").fetchone() == (3,)
    connection.close()


def test_labels_that_wait_are_bounded_though_all_came_in_one_moment(tmp_path: Path) -> None:
    with running(config(tmp_path)) as monitor:
        monitor.add_feedback([Feedback(id=f"x{n}", label=1) for n in range(50)]).result()
        keep = Retention(windows=10**9, predictions=10**9, pending_rows=10)
        monitor._writer.submit(lambda c: retention.prune(c, keep, START)).result()
    connection = schema.connect(str(tmp_path / "monitor.db"), readonly=True)
    assert connection.execute("SELECT count(*) FROM pending").fetchone() == (10,)
    connection.close()
