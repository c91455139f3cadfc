"""Labels that were sent with a feedback key: nothing else is taken or judged where keys are demanded."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.test_monitor_http import Api, serving
from tests.support.monitoring import DIGEST, START, Clock, batch, config, reference

from tidemill_contracts.inference import Feedback
from tidemill_contracts.monitoring import MonitorConfig, PerformanceConfig, PerformanceReport
from tidemill_runtime.monitor.senders import Senders
from tidemill_runtime.monitor.service import Monitor

TOKEN = "the token"
OF_SERVERS = {"authorization": f"Bearer {TOKEN}"}
ROWS = 400


def settings(folder: Path, *, authenticated: bool) -> MonitorConfig:
    limits = {"metric": "accuracy", "min": 0.8, "min_labels": 30, "label_delay_seconds": 0}
    return config(
        folder, window_seconds=60, min_rows=10, performance=PerformanceConfig(**limits, authenticated=authenticated)
    )


@pytest.fixture
def senders(tmp_path: Path) -> Senders:
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "digests.json").write_text("[]")
    return Senders(tmp_path / "token", tmp_path / "digests.json")


@pytest.fixture
def api(tmp_path: Path, senders: Senders) -> Iterator[Api]:
    with serving(settings(tmp_path, authenticated=True), senders=senders) as client:
        yield client


def post(api: Api, door: str, **headers: str) -> Any:
    return api.post(api.url("/v1/feedback", door), json={"id": "x", "label": 1}, headers=headers)


def test_labels_without_a_key_are_refused_whichever_way_they_come(api: Api) -> None:
    for door, headers in (
        ("feedback", {}),
        ("feedback", {"x-tidemill-client": "somebody"}),
        ("feedback", {**OF_SERVERS, "x-tidemill-client": "somebody"}),
        ("http", OF_SERVERS),
    ):
        answer = post(api, door, **headers)
        assert answer.status_code == 401, (door, headers)
        assert "labels of this model need a feedback key" in answer.json()["error"]
    assert post(api, "http", **{"x-tidemill-client": "somebody"}).status_code == 401
    assert post(api, "http", **OF_SERVERS, **{"x-tidemill-client": "labeller"}).json() == {
        "joined": 0,
        "pending": 1,
        "repeated": 0,
    }


def test_a_name_proves_nothing_where_servers_show_no_token(tmp_path: Path) -> None:
    """Before all servers know the token anybody who reaches the port could send the header."""
    nothing = Senders(tmp_path / "no-token", tmp_path / "digests.json")
    with serving(settings(tmp_path, authenticated=True), senders=nothing) as client:
        assert post(client, "http", **{"x-tidemill-client": "labeller"}).status_code == 401


def test_without_keys_to_demand_labels_are_taken_from_everybody(tmp_path: Path, senders: Senders) -> None:
    with serving(settings(tmp_path, authenticated=False), senders=senders) as client:
        assert post(client, "feedback").status_code == 202


class Labelled:
    """A monitor with one window of wrong predictions after the other."""

    def __init__(self, folder: Path, *, authenticated: bool) -> None:
        self.clock = Clock()
        self.monitor = Monitor(settings(folder, authenticated=authenticated), self.clock)
        self.monitor._writer.start()
        self.monitor.add_reference(reference()).result(10)

    def window(self, number: int, *, with_key: bool) -> None:
        at = START + 60.0 * number
        self.clock.now = at + 1
        self.monitor.add_batch(batch(number, ROWS, at=at, positive=0.0)).result(10)
        labels = [Feedback(id=f"p{number}/{row}", label=1) for row in range(ROWS)]
        self.monitor.add_feedback(labels, authenticated=with_key).result(10)

    def performance(self, number: int) -> PerformanceReport:
        self.clock.now = START + 60.0 * number
        self.monitor.detect()
        (version,) = self.monitor.report(DIGEST).versions
        assert version.performance is not None
        return version.performance

    def close(self) -> None:
        self.monitor._writer.stop()
        self.monitor._evaluator.close()


@pytest.mark.parametrize("early", [False, True])
def test_labels_from_before_keys_were_demanded_prove_nothing(tmp_path: Path, early: bool) -> None:
    before = Labelled(tmp_path, authenticated=False)
    for number in range(3):
        before.window(number, with_key=False)
    assert before.performance(4).degraded
    assert not before.performance(4).authenticated
    if early:  # labels that came before their predictions
        labels = [Feedback(id=f"p5/{row}", label=1) for row in range(ROWS)]
        before.monitor.add_feedback(labels).result(10)
    before.close()

    after = Labelled(tmp_path, authenticated=True)
    found = after.performance(5)
    assert (found.degraded, found.authenticated) == (False, True)
    if early:
        after.clock.now = START + 301
        after.monitor.add_batch(batch(5, ROWS, at=START + 300, positive=0.0)).result(10)
        assert not after.performance(7).degraded
    for number in (8, 9):
        after.window(number, with_key=True)
    found = after.performance(11)
    assert found.degraded
    assert found.breach_start is not None
    assert found.breach_start >= START + 60 * 8
    after.close()


def test_one_label_without_a_key_takes_its_window_out(tmp_path: Path) -> None:
    found = Labelled(tmp_path, authenticated=True)
    found.window(0, with_key=True)
    found.monitor.add_batch(batch(1, 1, at=START, positive=0.0)).result(10)
    found.monitor.add_feedback([Feedback(id="p1/0", label=1)]).result(10)
    assert not found.performance(3).degraded
    found.close()
