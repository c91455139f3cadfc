"""Status codes, errors, limits and metrics of the monitor's HTTP surface."""

import json
import math
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from pydantic import ValidationError
from tests.support.monitoring import DIGEST, DOORS, START, Clock, batch, config, hear_others, reference

from tidemill_contracts.monitoring import MonitorConfig, MonitorReport, PerformanceConfig
from tidemill_contracts.ports import PORTS
from tidemill_runtime.monitor import schema
from tidemill_runtime.monitor.app import Doors, parse_feedback
from tidemill_runtime.monitor.body_limits import Admission
from tidemill_runtime.monitor.senders import Senders
from tidemill_runtime.monitor.service import Monitor
from tidemill_runtime.monitor.writer import BusyError


class Api(httpx.Client):
    """A client that also holds the monitor it talks to."""

    def __init__(self, ports: dict[str, int], monitor: Monitor) -> None:
        super().__init__(timeout=20)
        self.ports = ports
        self.monitor = monitor

    def url(self, path: str, door: str | None = None) -> str:
        """Return the address of a path behind the usual port for it, or behind another."""
        return f"http://127.0.0.1:{self.ports[door or DOORS.get(path.partition('?')[0], 'http')]}{path}"

    def request(self, method: str, url: Any, *args: Any, **options: Any) -> httpx.Response:
        """Send a request; a bare path goes to its usual port."""
        return super().request(method, self.url(url) if url.startswith("/") else url, *args, **options)


@contextmanager
def serving(
    settings: MonitorConfig,
    clock: Clock | None = None,
    admission: Admission | None = None,
    senders: Senders | None = None,
) -> Iterator[Api]:
    """Serve a monitor in this process."""
    monitor = Monitor(settings, clock or Clock(), senders)
    listeners = {port.name: socket.create_server(("127.0.0.1", 0)) for port in PORTS["monitor"]}
    ports = {name: int(one.getsockname()[1]) for name, one in listeners.items()}
    server = uvicorn.Server(uvicorn.Config(Doors(monitor, admission, ports), log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": list(listeners.values())})
    thread.start()
    try:
        with Api(ports, monitor) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(20)
        for listener in listeners.values():
            listener.close()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with serving(config(tmp_path)) as client:
        yield client


@pytest.fixture
def ready(api: Api) -> Api:
    assert api.post("/v1/references", content=reference().to_json()).status_code == 201
    return api


def post(api: Api, **changes: Any) -> Any:
    return api.post("/v1/batches", content=batch(**changes).model_dump_json())


def test_the_report_for_people_is_a_page_and_json_beside_it(ready: Api) -> None:
    assert ready.post("/v1/batches", content=batch().to_json()).status_code == 202
    page = ready.get("/v1/report.html")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "churn-1" in page.text
    assert ready.get("/v1/report.json").json()["digest"] == DIGEST
    nobody = ready.get("/v1/report.html?digest=%3Cscript%3E")
    assert nobody.status_code == 200
    assert "<script>" not in nobody.text
    assert ready.get("/v1/report.json?digest=x").json()["version"] is None


def test_the_operator_gets_what_decisions_need(ready: Api) -> None:
    assert ready.post("/v1/batches", content=batch().to_json()).status_code == 202
    whole, small = ready.get(f"/v1/report?digest={DIGEST}"), ready.get(f"/v1/report?digest={DIGEST}&brief=true")
    assert len(small.content) < len(whole.content)
    (version,) = MonitorReport.from_json(small.content).versions
    assert (version.digest, version.rows) == (DIGEST, 1_000)


def test_a_server_posts_a_batch_then_its_reference_then_the_batch_again(api: Api) -> None:
    refused = post(api)
    assert (refused.status_code, refused.json()) == (
        409,
        {"error": f"digest: {DIGEST} is unknown; post its reference to /v1/references"},
    )
    assert api.post("/v1/references", content=reference().to_json()).status_code == 201
    assert api.post("/v1/references", content=reference().to_json()).status_code == 200
    assert post(api).status_code == 202
    assert post(api).status_code == 200
    report = MonitorReport.model_validate_json(api.get("/v1/report").content)
    assert (report.monitor, report.now, report.versions[0].rows) == ("churn", START, 1_000)


OPEN = {  # what each port answers; nothing else
    "http": {("POST", "/v1/batches"), ("POST", "/v1/references"), ("POST", "/v1/feedback")},
    "feedback": {("POST", "/v1/feedback")},
    "admin": {("GET", "/metrics"), ("GET", "/healthz"), ("GET", "/readyz")},
    "report": {("GET", "/v1/report"), ("GET", "/v1/report.html"), ("GET", "/v1/report.json")},
}


def test_each_port_answers_what_its_callers_may_ask_and_nothing_else(api: Api) -> None:
    asked = sorted({request for found in OPEN.values() for request in found})
    assert set(api.ports) == set(OPEN)
    for door in OPEN:
        answers = {(m, p): api.request(m, api.url(p, door), content=b"{}").status_code for m, p in asked}
        assert {request for request, status in answers.items() if status != 404} == OPEN[door], door
    assert api.get("/v1/report").json()["versions"] == []


def test_what_came_in_by_several_ports_shares_one_bound(tmp_path: Path) -> None:
    with serving(config(tmp_path), admission=Admission(max_total=1_000)) as api, ThreadPoolExecutor(1) as pool:
        half, go_on = threading.Event(), threading.Event()

        def slow() -> Iterator[bytes]:
            yield b" " * 900
            half.set()
            go_on.wait(20)
            yield b"{}"

        first = pool.submit(api.post, "/v1/batches", content=slow())
        assert half.wait(20)
        busy = until_busy(api)
        go_on.set()
        assert first.result().status_code == 400
    assert busy.headers["retry-after"] == "1"


def until_busy(api: Api) -> httpx.Response:
    """Send labels until they are refused: the bytes of another connection may still be on their way."""
    for _ in range(200):
        answer = api.post(api.url("/v1/feedback", "feedback"), content=b" " * 400)
        if answer.status_code == 503:
            return answer
        assert answer.status_code == 400
        time.sleep(0.01)
    raise AssertionError("each port has a bound of its own")


def test_python_clients_that_write_nan_and_infinity_are_understood(ready: Api) -> None:
    body = batch(rows=2, columns={"age": [1.0, 1.0], "plan": ["pro", "pro"]}).model_dump()
    body["columns"]["age"] = [math.nan, math.inf]
    assert ready.post("/v1/batches", content=json.dumps(body)).status_code == 202
    (age, _) = MonitorReport.model_validate_json(ready.get("/v1/report").content).versions[0].windows[0].features
    assert (age.missing_ratio, age.out_of_range_ratio) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("/v1/batches", b"{", 400, "body: Invalid JSON"),
        ("/v1/batches", b"{}", 400, "batch_id: Field required; deployment: Field required"),
        ("/v1/batches", b'{"colour": 1}', 400, "Field required"),
        ("/v1/batches", batch(rows=2, times=[1.0]).model_dump_json().encode(), 400, "times: 1 entries, but ids has 2"),
        ("/v1/batches", batch(deployment="x").model_dump_json().encode(), 400, "deployment: this monitor watches"),
        ("/v1/references", b"[]", 400, "body: Input should be an object"),
        ("/v1/feedback", b'{"id": "a"}', 400, "label: Field required"),
        ("/v1/feedback", b'{"id": "", "label": 1}', 400, "id: must not be empty"),
        ("/v1/feedback", b'{"id": "a", "label": null}', 400, "label: must be a finite number, a text, true or false"),
        ("/v1/feedback", b'[{"id": "a", "label": NaN}]', 400, "label: must be a finite number, a text, true or false"),
        ("/v1/feedback", b' {"id": "a", "label": 1, "colour": 1}', 400, "body: there is no field colour"),
        ("/v1/feedback", b'[{"id": "a", "label": 1}, {"colour": 1}]', 400, "1: there is no field colour"),
    ],
)
def test_bad_bodies_are_refused_with_the_field(ready: Api, path: str, body: bytes, status: int, error: str) -> None:
    answer = ready.post(path, content=body)
    assert answer.status_code == status
    assert error in answer.json()["error"]
    assert ready.get("/v1/report").json()["versions"][0]["rows"] == 0


def test_another_profile_under_a_known_digest_is_refused(ready: Api) -> None:
    changed = reference().profile.model_copy(update={"rows": 5})
    answer = ready.post("/v1/references", content=reference(profile=changed).to_json())
    assert (answer.status_code, answer.json()["error"]) == (409, f"digest {DIGEST} is stored with another profile")


def test_a_profile_that_contradicts_itself_is_refused(ready: Api) -> None:
    body = reference(digest="sha256:new").model_dump()
    body["profile"]["features"][0]["counts"] = [1]
    answer = ready.post("/v1/references", json=body)
    assert answer.status_code == 400
    assert "'age': counts must have one entry more than edges" in answer.json()["error"]


def test_feedback_as_one_and_as_a_list(ready: Api) -> None:
    assert post(ready, rows=5).status_code == 202
    one = ready.post("/v1/feedback", json={"id": "p0/0", "label": 1})
    assert (one.status_code, one.json()) == (202, {"joined": 1, "pending": 0, "repeated": 0})
    again = ready.post("/v1/feedback", json={"id": "p0/0", "label": 1})
    assert (again.status_code, again.json()) == (200, {"joined": 0, "pending": 0, "repeated": 1})
    more = ready.post("/v1/feedback", json=[{"id": "p0/1", "label": 1}, {"id": "later", "label": 1}])
    assert (more.status_code, more.json()) == (202, {"joined": 1, "pending": 1, "repeated": 0})
    mixed = ready.post("/v1/feedback", json=[{"id": "p0/0", "label": 0}, {"id": "p0/2", "label": 1}])
    assert mixed.status_code == 409
    assert (mixed.json()["conflicts"], mixed.json()["joined"]) == (["p0/0"], 1)
    assert "another label is stored for p0/0" in mixed.json()["error"]


def test_labels_out_of_bounds_are_refused_and_the_others_of_the_list_are_stored(ready: Api) -> None:
    assert post(ready, rows=5).status_code == 202
    labels = [("p0/0", 1), ("p0/1", 1e200), ("x" * 1_000_000, 1), ("p0/2", None), ("p0/3", "y" * 300), ("p0/4", 0)]
    mixed = ready.post("/v1/feedback", json=[{"id": one, "label": label} for one, label in labels])
    assert mixed.status_code == 400
    assert mixed.json() == {
        "error": (
            "1.label: a number must be from -1e+100 to 1e+100; 2.id: must have at most 300 characters, got 1000000; "
            "3.label: must be a finite number, a text, true or false"
        ),
        "refused": 4,
        "joined": 2,
        "pending": 0,
        "repeated": 0,
    }
    alone = ready.post("/v1/feedback", json={"id": "p0/3", "label": "y" * 300})
    assert (alone.status_code, alone.json()["error"]) == (400, "label: must have at most 256 characters, got 300")
    both = ready.post("/v1/feedback", json=[{"id": "p0/0", "label": 0}, {"id": "", "label": 0}])
    assert (both.status_code, both.json()["conflicts"], both.json()["refused"]) == (400, ["p0/0"], 1)


def test_counters_beyond_all_bounds_are_the_senders_mistake(ready: Api) -> None:
    for field in ("errors", "dropped"):
        refused = post(ready, rows=1, batch_id=f"pod/{field}/1", **{field: 2**70})
        assert refused.status_code == 400
        assert f"{field}: must not be negative or more than 9007199254740992 (2**53)" in refused.json()["error"]
    assert post(ready, rows=1).status_code == 202


def test_a_statement_that_does_not_suit_its_values_is_a_fault_and_not_an_outage(
    ready: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server sends 503 again for ever, and 500 some times."""

    def fail(*_: Any) -> None:
        raise sqlite3.IntegrityError("NOT NULL constraint failed")

    monkeypatch.setattr("tidemill_runtime.monitor.writes.add_batch", fail)
    assert post(ready, rows=1).status_code == 500


def test_a_body_above_the_limit_is_413_and_too_much_at_once_is_503(tmp_path: Path) -> None:
    with serving(config(tmp_path), admission=Admission(max_body=1_000)) as api:
        large = post(api)
        assert (large.status_code, large.json()["error"]) == (413, "body: at most 1000 bytes")
        assert api.post("/v1/batches", content=iter([b"x" * 600, b"x" * 600])).status_code == 413
    with serving(config(tmp_path), admission=Admission(max_total=1_000)) as api:
        busy = post(api)
        assert (busy.status_code, busy.headers["retry-after"]) == (503, "1")
        small = api.post("/v1/feedback", json={"id": "a", "label": 1})
        assert small.status_code == 202  # what was refused no longer counts


@pytest.mark.parametrize(
    "body", [b"[" + b"1," * 80 + b"1]", b"[" + b"[]," * 40 + b"[]]", b"{" + b'"a":1,' * 80 + b'"a":1}']
)
def test_a_body_of_many_short_values_counts_more_than_its_bytes(tmp_path: Path, body: bytes) -> None:
    with serving(config(tmp_path), admission=Admission(max_body=1_000)) as api:
        answer = api.post("/v1/feedback", content=body)
        assert (answer.status_code, answer.json()) == (413, {"error": "body: at most 62 values"})
    with serving(config(tmp_path), admission=Admission(max_total=1_000)) as api:
        assert api.post("/v1/feedback", content=body).status_code == 503
        assert api.post("/v1/feedback", json={"id": "a", "label": 1}).status_code == 202


@pytest.mark.parametrize("body", [b"[" + b"1," * 900 + b"1]", b"{%s}" % b",".join(b'"%d":1' % i for i in range(900))])
def test_mistakes_of_a_stranger_are_not_collected(body: bytes) -> None:
    """An error takes 650 bytes, the item that it is of two."""
    with pytest.raises(ValidationError) as caught:
        parse_feedback(body)
    assert caught.value.error_count() == 1


def test_a_full_writer_queue_is_503_with_retry_after(ready: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(job: Callable[..., Any]) -> Any:
        raise BusyError

    monkeypatch.setattr(ready.monitor._writer, "submit", refuse)
    answer = post(ready)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json() == {"error": "too much waits to be written; try again"}


def test_posts_to_a_newer_database_are_503_while_the_report_says_why(tmp_path: Path) -> None:
    connection = schema.connect(config(tmp_path).database)
    newer = len(schema.STEPS) + 1
    connection.execute(f"PRAGMA user_version={newer}")
    connection.close()
    with serving(config(tmp_path)) as api:
        assert api.get("/readyz").status_code == api.get("/healthz").status_code == 200
        assert MonitorReport.from_json(api.get("/v1/report").content).newer_database == newer
        answer = post(api)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json() == {
            "error": f"the database has schema {newer}, and this monitor knows {len(schema.STEPS)} at most"
        }


def test_probes_tell_a_failing_database_from_a_dead_thread(ready: Api) -> None:
    monitor: Monitor = ready.monitor
    assert (ready.get("/healthz").status_code, ready.get("/readyz").status_code) == (200, 200)
    monitor._writer.last_error = "disk I/O error"
    assert (ready.get("/healthz").status_code, ready.get("/readyz").status_code) == (200, 503)
    assert ready.get("/readyz").text == "database: disk I/O error"
    assert post(ready, rows=1).status_code == 202  # works again
    assert ready.get("/readyz").status_code == 200
    monitor._writer.stop()
    assert ready.get("/healthz").status_code == 500
    monitor._writer.stop = lambda: None  # type: ignore[method-assign]  # stopped already


def serving_judged(folder: Path, clock: Clock) -> AbstractContextManager[Api]:
    performance = PerformanceConfig(metric="accuracy", min=0.8, min_labels=1, label_delay_seconds=0)
    return serving(config(folder, performance=performance, retention_seconds=3 * 3600), clock)


def test_metrics_of_a_judged_window(tmp_path: Path) -> None:
    clock = Clock()
    with serving_judged(tmp_path, clock) as api:
        api.post("/v1/references", content=reference().to_json())
        post(api, shift=0.3, predictions=[1] * 1_000)
        api.post("/v1/feedback", json={"id": "p0/0", "label": 1})
        clock.now = START + 3_700
        post(api, number=1, rows=7, at=clock.now)
        text = scrape(api)
    version = 'deployment="churn",monitor="churn",namespace="team-a",version="churn-1"'
    assert text["tidemill_monitor_window_rows{" + version + "}"] == 7
    assert text["tidemill_monitor_last_record_timestamp_seconds{" + version + "}"] == clock.now
    assert text["tidemill_labels_joined_total{" + version + "}"] == 1
    assert text["tidemill_drifted_features_ratio{" + version + "}"] == 0.5
    assert text[series("tidemill_drift_score", feature="age", test="PSI")] > 0.2
    assert text[series("tidemill_drift_threshold", feature="plan", test="PSI")] == 0.2
    assert text[series("tidemill_drift_score", feature="(prediction)", test="PSI")] > 0.2
    assert text[series("tidemill_data_quality_ratio", feature="age", problem="out_of_range")] > 0.2
    assert text[series("tidemill_performance", metric="accuracy")] == 1.0
    assert text[series("tidemill_performance_low", metric="accuracy")] == pytest.approx(0.2065, abs=1e-4)  # Wilson's
    assert text[series("tidemill_performance_high", metric="accuracy")] == 1.0
    success = 'tidemill_monitor_last_success_timestamp_seconds{deployment="churn",monitor="churn",namespace="team-a"}'
    assert text[success] == clock.now


def test_series_of_a_version_that_is_gone_are_gone(tmp_path: Path) -> None:
    clock = Clock()
    with serving_judged(tmp_path, clock) as api:
        api.post("/v1/references", content=reference().to_json())
        post(api, rows=10)
        assert any('version="churn-1"' in name for name in scrape(api))
        clock.now += 10 * 86_400
        hear_others(api.monitor, clock.now)
        api.monitor.prune()
        assert not any('version="churn-1"' in name for name in scrape(api))


def scrape(api: Api) -> dict[str, float]:
    """Evaluate now instead of in a few seconds, and return samples with labels in alphabetical order."""
    monitor: Monitor = api.monitor
    monitor.collector.update(monitor._evaluator.evaluate())
    samples: dict[str, float] = {}
    for line in api.get("/metrics").text.splitlines():
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            metric, _, labels = name.partition("{")
            samples[metric + "{" + ",".join(sorted(labels.rstrip("}").split(","))) + "}"] = float(value)
    return samples


def series(name: str, **extra: str) -> str:
    labels = {"namespace": "team-a", "monitor": "churn", "deployment": "churn", "version": "churn-1", **extra}
    return name + "{" + ",".join(f'{k}="{v}"' for k, v in sorted(labels.items())) + "}"
