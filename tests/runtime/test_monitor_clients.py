"""Clients in the monitor: figures, limits, false labels, marks, bounds, and nothing kept where spec does not ask."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.runtime.test_monitor_http import serving
from tests.runtime.test_monitor_label_keys import OF_SERVERS, TOKEN
from tests.support.monitoring import PROFILE, START, Clock, batch, config, running

from tidemill_contracts.gaming import (
    MAX_CLIENTS,
    PERIOD_SECONDS,
    ClientReport,
    GamingConfig,
    GamingFinding,
    GamingReport,
)
from tidemill_contracts.inference import MONITOR_CONFIG_ENV, Feedback
from tidemill_contracts.monitoring import MonitorConfig, MonitorReport, PerformanceConfig
from tidemill_contracts.reference import NumericProfile
from tidemill_runtime.monitor import client_rows, clients, erase, verdict
from tidemill_runtime.monitor.binning import Layout
from tidemill_runtime.monitor.bounds import InvalidBatchError
from tidemill_runtime.monitor.page import document
from tidemill_runtime.monitor.senders import Senders
from tidemill_runtime.monitor.service import Monitor

A, B, C, D = (letter * 16 for letter in "abcd")
DAY = 86_400


def settings(folder: Path, **gaming: Any) -> MonitorConfig:
    performance = PerformanceConfig(metric="accuracy", min=0.1, label_delay_seconds=30 * DAY)
    return config(folder, gaming=GamingConfig(**gaming), performance=performance)


def report(monitor: Monitor) -> GamingReport:
    monitor.detect()
    found = monitor.report().gaming
    assert found is not None
    return found


def of(found: GamingReport, client: str) -> ClientReport:
    return next(c for c in found.clients if c.client == client)


def kinds(found: GamingReport) -> dict[str, list[str]]:
    return {c.client: [f.kind for f in c.findings] for c in found.clients if c.findings}


def ask(monitor: Monitor, number: int, who: Sequence[str | None], at: float = START, **changes: Any) -> Any:
    made = batch(number, len(who), at=at, clients=who, **changes)
    assert monitor.add_batch(made).result(10)
    return made


def tell(monitor: Monitor, ids: list[str], labels: list[Any], client: str | None) -> None:
    feedback = [Feedback(id=one, label=label) for one, label in zip(ids, labels, strict=True)]
    monitor.add_feedback(feedback, client=client).result(10)


def rows(folder: Path, sql: str) -> list[Any]:
    with sqlite3.connect(folder / "monitor.db") as connection:
        return connection.execute(sql).fetchall()


def test_figures_of_each_client(tmp_path: Path) -> None:
    with running(settings(tmp_path), Clock(START + 61)) as monitor:
        ages = [0.1, 0.1001, 0.5, 0.1, 0.9, 0.9]
        plans = ["pro", "pro", "pro", "pro", "basic", "pro"]
        who = [A, A, A, A, B, B]
        made = ask(monitor, 1, who, columns={"age": ages, "plan": plans})
        ask(monitor, 2, [A, None], at=START + 61, columns={"age": [0.1002, 0.1], "plan": ["pro", "pro"]})
        tell(monitor, made.ids[:3], [1, 1, 1], A)
        tell(monitor, made.ids[4:5], [1], A)
        found = report(monitor)
    assert (found.known, found.suspected, kinds(found)) == (2, 0, {})
    a, b = of(found, A), of(found, B)
    assert (a.rows, a.most_per_minute, a.labels, a.label_share, a.foreign_label_share) == (5, 4, 4, 1.0, 0.25)
    assert a.near_duplicate_share == pytest.approx(3 / 5)  # also those of an earlier batch
    assert a.probing_share == pytest.approx(2 / 3)
    assert (b.rows, b.labels, b.label_share, b.near_duplicate_share, b.probing_share) == (2, 0, 0.0, 0.0, 1.0)
    assert b.foreign_label_share is None


def test_a_batch_that_comes_again_counts_nothing_again(tmp_path: Path) -> None:
    with running(settings(tmp_path)) as monitor:
        made = ask(monitor, 1, [A] * 10, columns={"age": [number / 10 for number in range(10)], "plan": ["pro"] * 10})
        assert not monitor.add_batch(made).result(10)
        found = of(report(monitor), A)
    assert (found.rows, found.most_per_minute, found.near_duplicate_share) == (10, 10, 0.0)


def test_answers_near_the_decision_boundary(tmp_path: Path) -> None:
    two = PROFILE.model_copy(update={"classes": ("0", "1")})
    made = batch(1, 4, clients=[A] * 4, scores=[0.5, 0.55, 0.56, None])
    assert client_rows.count(made, made.times, two)[A][-2:] == (3, 2)
    assert client_rows.count(made, made.times, PROFILE)[A][-2:] == (0, 0)  # not known to have two classes


def test_missing_huge_and_strange_values_have_cells() -> None:
    columns: dict[str, Any] = {
        "age": [None, float("nan"), 1e300, -1e300, "x", 2**80],
        "plan": [None, "", 1, 1.0, True, "é"],
    }
    cells = client_rows.cells(columns, 6, PROFILE.features)
    assert cells[0, 0] == cells[1, 0] == cells[4, 0]
    assert cells[2, 0] == cells[5, 0] == -cells[3, 0]
    assert cells[2, 1] == cells[3, 1] != cells[4, 1]
    assert np.array_equal(client_rows.cells({}, 2, PROFILE.features)[0], client_rows.cells({}, 2, PROFILE.features)[1])
    assert len(set(client_rows.digest(np.arange(20_000).reshape(-1, 2)).tolist())) == 10_000


def test_rows_that_are_remembered_are_bounded_and_never_counted_too_high() -> None:
    random = np.random.default_rng(0)
    known: dict[int, int] = {}
    seen: set[int] = set()
    again = truth = 0
    for _ in range(50):
        drawn = [*(random.integers(0, 2**62, 300).tolist()), *([7] * 20), *([8] * 15)]
        truth += len(drawn) - len(set(drawn)) + len(set(drawn) & seen)
        seen |= set(drawn)
        more, known = client_rows.near_duplicates(known, {d: drawn.count(d) for d in set(drawn)})
        again += more
        assert len(known) <= client_rows.KEPT_ROWS
    assert {7, 8} <= set(known)
    assert again == truth  # what comes often is all found


@pytest.mark.parametrize(
    ("limit", "suspected"),
    [
        ({"max_predictions_per_minute": 99}, {A: ["PredictionRate"]}),
        ({"max_predictions_per_minute": 100}, {}),
        ({"max_near_duplicate_share": 0.5}, {B: ["NearDuplicates"]}),
        ({"max_near_duplicate_share": 1.0}, {}),
        ({"max_label_share_of_client": 0.5}, {A: ["LabelShare"]}),
        ({"max_label_share_of_client": 0.9}, {}),
        ({"max_foreign_label_share": 0.1}, {C: ["ForeignLabels"]}),
        ({}, {}),
    ],
)
def test_limits_that_spec_states(tmp_path: Path, limit: dict[str, Any], suspected: dict[str, list[str]]) -> None:
    clock = Clock()
    with running(settings(tmp_path, **limit), clock) as monitor:
        mine = ask(monitor, 1, [A] * 100)
        ask(monitor, 2, [B] * 50, columns={"age": [0.3] * 50, "plan": ["pro"] * 50})
        theirs = ask(monitor, 3, [D] * 40)
        tell(monitor, mine.ids, mine.predictions, A)
        tell(monitor, theirs.ids[:20], theirs.predictions[:20], D)
        tell(monitor, theirs.ids[20:], theirs.predictions[20:], C)
        monitor.detect()
        if "max_label_share_of_client" in limit:
            assert kinds(report(monitor)) == {}  # whose labels come first in a period says nothing
            clock.now += DAY + 1
        assert kinds(report(monitor)) == suspected


def test_false_labels_are_found_and_rows_of_that_client_are_marked(tmp_path: Path) -> None:
    random, clock = np.random.default_rng(1), Clock()
    with running(settings(tmp_path), clock) as monitor:
        for number in range(12):
            clock.now += 60
            who: list[str | None] = [(A, B, C, D)[place] for place in random.integers(0, 4, 200)]
            made = ask(monitor, number, who, at=clock.now, scores=random.uniform(0.5, 1, 200).tolist())
            right = random.random(200) < np.array(made.scores)
            for client in (A, B, C, D):
                own = [place for place in range(200) if who[place] == client]
                wrong = client == C
                labels = [made.predictions[p] if right[p] != wrong else 1 - int(made.predictions[p]) for p in own]
                tell(monitor, [made.ids[place] for place in own], labels, client)
            monitor.detect()
        found = report(monitor)
        (finding,) = of(found, C).findings
        assert kinds(found) == {C: ["LabelMix"]}
        assert found.clients[0].client == C
        assert finding.value < 0.4 < 0.6 < (finding.expected or 0)
        marked = rows(tmp_path, "SELECT count(*), count(DISTINCT client) FROM marked_prediction")
        assert marked == [(of(found, C).rows, 1)]
        clock.now += PERIOD_SECONDS + 1
        ended = report(monitor)
        assert (ended.suspected, ended.period_start) == (0, clock.now)
        assert rows(tmp_path, "SELECT count(*) FROM marked_prediction") == [(0,)]


def test_labels_that_come_before_their_prediction_count_for_who_sent_them(tmp_path: Path) -> None:
    with running(settings(tmp_path)) as monitor:
        tell(monitor, ["p1/0", "p1/1"], [1, 1], B)
        ask(monitor, 1, [A, B])
        found = of(report(monitor), B)
        assert (found.labels, found.foreign_label_share) == (2, 0.5)
        tell(monitor, ["p1/0"], [1], B)  # a repetition
        assert of(report(monitor), B).labels == 2


def test_where_spec_does_not_ask_nothing_is_kept_of_clients(tmp_path: Path) -> None:
    with running(settings(tmp_path)) as monitor:
        made = ask(monitor, 1, [A, B])
        tell(monitor, made.ids, [1, 1], A)
    with running(config(tmp_path, performance=settings(tmp_path).performance)) as monitor:
        ask(monitor, 2, [A, B])
        tell(monitor, ["p2/0", "late"], [1, 1], A)
        monitor.detect()
        monitor.prune()
        assert monitor.report().gaming is None
    for table in ("client", "client_total", "client_minute", "client_row", "client_label", "client_finding", "gaming"):
        assert rows(tmp_path, f"SELECT * FROM {table}") == []
    assert rows(tmp_path, "SELECT client FROM prediction WHERE id LIKE 'p2/%'") == [(None,), (None,)]
    assert rows(tmp_path, "SELECT client FROM pending") == [(None,)]


def test_clients_beyond_what_is_told_apart_count_together_and_are_not_judged(tmp_path: Path) -> None:
    clock = Clock()
    with running(settings(tmp_path, max_predictions_per_minute=1), clock) as monitor:
        ask(monitor, 1, [f"{number:016x}" for number in range(MAX_CLIENTS)])
        ask(monitor, 2, [A] * 100)
        found = report(monitor)
        assert (found.known, found.suspected) == (MAX_CLIENTS, 0)
        assert len(found.clients) == 20
        assert rows(tmp_path, "SELECT value FROM client_total WHERE client = 0 AND name = 'rows'") == [(100.0,)]
        clock.now += 2 * PERIOD_SECONDS + 1
        monitor.prune()
        assert report(monitor).known == 0


@pytest.mark.parametrize("wrong", [["shop"], [A + "0"], [A.upper()], []])
def test_what_is_no_hash_is_refused(tmp_path: Path, wrong: list[str]) -> None:
    with running(settings(tmp_path)) as monitor, pytest.raises(InvalidBatchError, match="clients"):
        monitor.add_batch(batch(1, 1, clients=wrong))


def test_the_sender_of_labels_is_believed_beside_the_servers_token_alone(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "digests.json").write_text("[]")
    senders = Senders(tmp_path / "token", tmp_path / "digests.json")
    with serving(settings(tmp_path), senders=senders) as api:
        for number, (door, headers) in enumerate(
            [("http", OF_SERVERS), ("feedback", {}), ("feedback", OF_SERVERS), ("http", OF_SERVERS)]
        ):
            named = {"x-tidemill-client-hash": A if number < 3 else "shop", **headers}
            body = {"id": f"p1/{number}", "label": 1}
            assert api.post(api.url("/v1/feedback", door), json=body, headers=named).status_code == 202
    assert rows(tmp_path, "SELECT hash FROM client") == [(A,)]
    assert rows(tmp_path, "SELECT id, client FROM pending ORDER BY id") == [
        ("p1/0", 1), ("p1/1", 0), ("p1/2", 0), ("p1/3", 0)
    ]  # fmt: skip


def test_labels_count_by_prediction_and_score_and_those_of_a_regression_by_their_side() -> None:
    layout = Layout(PROFILE)
    assert clients.place(layout, 7, 1, 0.97, "1") == ("7/1/9", True)
    assert clients.place(layout, 7, 1, None, "0") == ("7/1/-1", False)
    assert clients.place(layout, 7, "unknown", 1.0, "0") == ("7/10/9", False)
    assert clients.place(layout, 7, None, 0.5, "0") is None
    numbers = NumericProfile(name="price", edges=(10.0, 20.0), counts=(1, 1, 1), missing=0)
    regression = Layout(PROFILE.model_copy(update={"prediction": numbers}))
    assert clients.place(regression, 7, 15.0, None, 16) == ("7/1", True)
    assert clients.place(regression, 7, 15.0, None, 14.5) == ("7/1", False)
    assert clients.place(regression, 7, 15.0, None, "x") is None


def test_the_page_has_the_figures_and_the_operators_verdict_only_who_is_suspected(tmp_path: Path) -> None:
    with running(settings(tmp_path, max_predictions_per_minute=5)) as monitor:
        ask(monitor, 1, [A] * 10)
        ask(monitor, 2, [B] * 4)
        monitor.detect()
        page = document.render(monitor.page())
        told = MonitorReport.from_json(verdict.brief(monitor.report())).gaming
    assert told is not None
    assert (kinds(told), len(told.clients), told.known) == ({A: ["PredictionRate"]}, 1, 2)
    assert A in page and B in page and "PredictionRate" in page
    with running(config(tmp_path)) as monitor:
        assert "spec.gaming is not set" in document.render(monitor.page())


def test_a_verdict_with_many_suspects_is_small() -> None:
    finding = GamingFinding(
        kind="LabelMix", began=START, found=START, value=0.123456789, limit=0.1, of=10**9, expected=0.9
    )
    many = tuple(ClientReport(client=f"{n:016x}", findings=(finding,) * 5, rows=10**9) for n in range(20))
    report_ = MonitorReport(monitor="m", now=START, started_at=START, gaming=GamingReport(clients=many, suspected=20))
    assert len(verdict.brief(report_)) < 8_000


def test_a_client_can_be_forgotten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = settings(tmp_path, max_predictions_per_minute=1)
    with running(wanted) as monitor:
        made = ask(monitor, 1, [A, A, B])
        tell(monitor, [*made.ids[:1], "late"], [1, 1], A)
        assert kinds(report(monitor)) == {A: ["PredictionRate"]}
        environment = {MONITOR_CONFIG_ENV: wanted.to_json()}
        assert erase.main([f"client={A}"], environment) == 0
        assert capsys.readouterr().out == "1 client forgotten\n"
        assert [c.client for c in report(monitor).clients] == [B]
        assert erase.main(["p1/0"], environment) == 2
    assert rows(tmp_path, "SELECT hash FROM client") == [(B,)]
    for table in ("client_total", "client_minute", "client_row", "client_label", "client_finding"):
        assert rows(tmp_path, f"SELECT * FROM {table} WHERE client = 1") == []
    assert rows(tmp_path, "SELECT client FROM prediction ORDER BY id") == [(None,), (None,), (2,)]
    assert rows(tmp_path, "SELECT client FROM pending") == [(None,)]
