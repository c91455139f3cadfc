"""Alerts that are told to webhooks: what is sent where, once, signed, again when it was not taken."""

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.support.monitoring import START, Clock, config

from tidemill_contracts.notices import AlertNotice, WebhookConfig
from tidemill_runtime.monitor import notifier, webhooks
from tidemill_runtime.monitor.service import Monitor
from tidemill_runtime.monitor.webhooks import DeliveryError
from tidemill_runtime.mounts import MOUNT_ROOT_ENV
from tidemill_runtime.network import addresses

KEY = b"the key of the hook"
HOOK = WebhookConfig(name="ops", url="https://hooks.example.com/x")


def alert(identity: str = "a", **changes: Any) -> AlertNotice:
    values: dict[str, Any] = {
        "id": identity,
        "alert": "TidemillPerformanceDegraded",
        "severity": "Page",
        "start": START,
        "not_before": START,
        "summary": "churn: worse",
        "message": "accuracy is 0.6",
        "labels": {"namespace": "team-a", "deployment": "churn"},
    }
    return AlertNotice(**{**values, **changes})


class World:
    """A monitor whose messages are taken or not, as the test says."""

    def __init__(self, folder: Path, *hooks: WebhookConfig) -> None:
        self.clock, self.sent, self.refuses = Clock(), [], False
        self.folder = folder
        self.files = folder / "mnt"
        (self.files / "served").mkdir(parents=True, exist_ok=True)
        for hook in hooks or (HOOK,):
            (self.files / "webhooks" / hook.name).mkdir(parents=True, exist_ok=True)
            (self.files / "webhooks" / hook.name / "key").write_bytes(KEY)
        self.monitor = Monitor(config(folder, webhooks=hooks or (HOOK,)), self.clock)
        self.monitor._writer.start()
        self.notifier = self.monitor._notifier
        self.notifier._deliver = self.deliver

    def deliver(self, webhook: WebhookConfig, message: bytes, key: bytes, now: float, targets: Any = ()) -> None:
        assert key == KEY
        if self.refuses:
            raise DeliveryError("it answered 500", "NotTaken", 500)
        self.sent.append((webhook.name, json.loads(message)))

    def lists(self, *alerts: AlertNotice) -> None:
        text = json.dumps([json.loads(a.to_json()) for a in alerts])
        (self.files / "served" / "alerts.json").write_text(text)

    def look(self, seconds: float = 5) -> list[tuple[str, Any]]:
        """What is sent by the next look."""
        self.clock.now += seconds
        before = len(self.sent)
        self.notifier.look()
        return self.sent[before:]

    def close(self) -> None:
        self.monitor._writer.stop()
        self.monitor._evaluator.close()
        self.notifier._reader.close()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv(MOUNT_ROOT_ENV, str(tmp_path / "mnt"))
    found = World(tmp_path)
    yield found
    found.close()


def briefly(sent: list[tuple[str, Any]]) -> list[tuple[str, str, str]]:
    return [(name, document["id"], document["status"]) for name, document in sent]


def test_an_alert_is_told_once_when_it_begins_and_once_when_it_ends(world: World) -> None:
    world.lists()
    assert world.look() == []
    world.lists(alert())
    assert briefly(world.look()) == [("ops", "a", "Firing")]
    assert world.look() == [] and world.look(3600) == []
    world.lists()
    ((_, document),) = world.look()
    assert (document["status"], document["id"]) == ("Ended", "a")
    assert document["start"] < document["end"]
    assert world.look(86400) == []
    world.lists(alert("b"))
    assert briefly(world.look()) == [("ops", "b", "Firing")]


def test_what_was_told_is_known_after_a_restart(world: World, tmp_path: Path) -> None:
    world.lists(alert())
    assert len(world.look()) == 1
    world.monitor._writer.stop()
    again = World(tmp_path)
    again.clock.now = world.clock.now
    assert again.look() == []
    again.lists()
    assert briefly(again.look()) == [("ops", "a", "Ended")]
    again.close()


def test_a_message_that_is_not_taken_is_sent_again_later_each_time(world: World) -> None:
    world.lists(alert())
    world.refuses = True
    tried = 0
    deliver = world.notifier._deliver

    def counting(*given: Any) -> None:
        nonlocal tried
        tried += 1
        deliver(*given)

    world.notifier._deliver = counting
    for _ in range(120):
        world.look()
    assert 5 <= tried <= 9, "within ten minutes"
    world.refuses = False
    assert briefly(world.look(600)) == [("ops", "a", "Firing")]


def outcomes(world: World) -> list[tuple[str, Any, Any, int]]:
    return [(r.name, r.problem, r.http_status, r.waiting) for r in world.monitor.report().webhooks or ()]


def test_the_report_tells_failure_from_success_also_after_a_restart(world: World, tmp_path: Path) -> None:
    world.lists()
    world.look()
    assert outcomes(world) == [], "nothing was to be sent"
    world.lists(alert("a"), alert("b"))
    world.refuses = True
    world.look()
    assert outcomes(world) == [("ops", "NotTaken", 500, 1)]
    world.look()
    assert outcomes(world) == [("ops", "NotTaken", 500, 2)], "the other message was tried, too"
    world.monitor._writer.stop()
    again = World(tmp_path)
    again.clock.now = world.clock.now
    again.notifier._read_reports()
    assert outcomes(again) == [("ops", "NotTaken", 500, 2)]
    again.look(60)
    assert outcomes(again) == [("ops", None, None, 0)]
    again.close()


def test_a_webhook_that_is_not_asked_for_any_more_is_not_reported(world: World, tmp_path: Path) -> None:
    world.lists(alert())
    world.refuses = True
    world.look()
    world.monitor._writer.stop()
    again = World(tmp_path, HOOK.model_copy(update={"name": "other"}))
    again.look()
    assert [name for name, *_ in outcomes(again)] == ["other"]
    again.close()


def test_one_receiver_that_does_not_answer_delays_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has more messages that are due, and older ones, than a look sends."""
    monkeypatch.setenv(MOUNT_ROOT_ENV, str(tmp_path / "mnt"))
    world = World(tmp_path, HOOK, HOOK.model_copy(update={"name": "other"}))
    deliver, taken, tried = world.notifier._deliver, threading.Event(), 0

    def silent(webhook: WebhookConfig, *given: Any) -> None:
        nonlocal tried
        if webhook.name == "other":
            deliver(webhook, *given)
            taken.set()
            return
        tried += 1
        assert taken.wait(20), "the other webhook waits"
        raise DeliveryError("TimeoutError", "NotReachable")

    world.notifier._deliver = silent
    world.lists(*(alert(str(number)) for number in range(60)))
    world.look()
    assert tried == 1, "one message that is not taken is enough for a look"
    assert outcomes(world) == [("ops", "NotReachable", None, 1), ("other", None, None, 0)]
    world.close()


def test_an_alert_that_ended_before_anybody_was_told_is_not_told(world: World) -> None:
    world.lists(alert())
    world.refuses = True
    world.look()
    world.refuses = False
    world.lists()
    assert world.look(600) == []


def test_it_is_given_up_after_a_day(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.lists(alert())
    world.refuses = True
    for _ in range(notifier._GIVE_UP):
        world.look(700)
    assert "is not told of a any more" in caplog.text
    world.refuses = False
    assert world.look(700) == []


def test_an_alert_is_told_when_it_has_lasted(world: World) -> None:
    world.lists(alert(not_before=START + 60))
    assert world.look() == []
    assert len(world.look(60)) == 1


@pytest.mark.parametrize("content", [None, "", "{", "{}", '[{"id": 1}]'])
def test_a_list_that_cannot_be_read_begins_and_ends_nothing(world: World, content: str | None) -> None:
    world.lists(alert())
    assert len(world.look()) == 1
    file = world.files / "served" / "alerts.json"
    file.unlink() if content is None else file.write_text(content)
    assert world.look() == []


def test_each_webhook_gets_its_severities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MOUNT_ROOT_ENV, str(tmp_path / "mnt"))
    both = HOOK.model_copy(update={"name": "all", "severities": ("Page", "Ticket")})
    world = World(tmp_path, HOOK, both)
    world.lists(alert("page"), alert("ticket", severity="Ticket"))
    assert sorted(briefly(world.look())) == [
        ("all", "page", "Firing"), ("all", "ticket", "Firing"), ("ops", "page", "Firing"),
    ]  # fmt: skip
    world.close()


def test_without_its_key_nothing_is_sent(world: World) -> None:
    world.lists(alert())
    (world.files / "webhooks" / "ops" / "key").unlink()
    assert world.look() == []
    (world.files / "webhooks" / "ops" / "key").write_bytes(KEY)
    assert len(world.look(600)) == 1


def test_alertmanager_hears_of_an_alert_for_as_long_as_it_lasts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MOUNT_ROOT_ENV, str(tmp_path / "mnt"))
    world = World(tmp_path, HOOK.model_copy(update={"format": "Alertmanager"}))
    world.lists(alert())
    ((_, (first,)),) = world.look()
    assert first["labels"]["alertname"] == "TidemillPerformanceDegraded"
    assert first["labels"]["severity"] == "page"
    assert world.look() == []
    ((_, (second,)),) = world.look(60)
    assert second["startsAt"] == first["startsAt"] and second["endsAt"] > first["endsAt"]
    world.lists()
    ((_, (last,)),) = world.look()
    assert last["endsAt"] < second["endsAt"]
    assert world.look(3600) == []
    world.close()


# ---- one message over the network ----


class Receiver(BaseHTTPRequestHandler):
    answer = 200
    got: list[tuple[str, dict[str, str], bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.got.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        self.send_response(self.answer)
        if self.answer == 302:
            self.send_header("location", "/elsewhere")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[HTTPServer]:
    monkeypatch.setenv("TIDEMILL_ALLOWED_NETWORKS", "127.0.0.0/8")  # loopback is refused whatever is named
    handler = type("Handler", (Receiver,), {"got": []})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def place(server: HTTPServer) -> str:
    return f"127.0.0.1:{server.server_address[1]}"


def hook(server: HTTPServer, path: str = "/x?a=b") -> WebhookConfig:
    return HOOK.model_copy(update={"url": f"http://{place(server)}{path}"})


def test_a_message_is_signed_with_its_time(receiver: HTTPServer) -> None:
    message = webhooks.body(HOOK, alert(), None, START)
    webhooks.deliver(hook(receiver), message, KEY, START, [place(receiver)])
    ((path, headers, body),) = receiver.RequestHandlerClass.got  # type: ignore[attr-defined]
    assert (path, body, headers["content-type"]) == ("/x?a=b", message, "application/json")
    at, proof = (part.partition("=")[2] for part in headers["x-tidemill-signature"].split(","))
    assert at == str(int(START))
    assert proof == hmac.new(KEY, f"{at}.".encode() + body, hashlib.sha256).hexdigest()


@pytest.mark.parametrize("answer", [302, 400, 401, 500])
def test_what_is_not_taken_is_an_error_and_redirects_are_not_followed(receiver: HTTPServer, answer: int) -> None:
    receiver.RequestHandlerClass.answer = answer  # type: ignore[attr-defined]
    with pytest.raises(DeliveryError, match=f"it answered {answer}"):
        webhooks.deliver(hook(receiver), b"{}", KEY, START, [place(receiver)])
    assert len(receiver.RequestHandlerClass.got) == 1  # type: ignore[attr-defined]


def test_a_private_address_must_be_named_by_an_administrator(receiver: HTTPServer) -> None:
    for targets in ((), ("127.0.0.1:1",), (place(receiver) + "0",)):
        with pytest.raises(DeliveryError, match="a private address that TIDEMILL_WEBHOOK_TARGETS does not name"):
            webhooks.deliver(hook(receiver), b"{}", KEY, START, targets)
    assert receiver.RequestHandlerClass.got == []  # type: ignore[attr-defined]


@pytest.mark.parametrize("host", ["127.0.0.1", "169.254.169.254", "[::1]", "0.0.0.0"])
def test_the_pod_and_its_node_are_never_dialled(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIDEMILL_ALLOWED_NETWORKS", raising=False)
    webhook = HOOK.model_copy(update={"url": f"http://{host}:80/"})
    with pytest.raises(DeliveryError, match="an address of the pod, its node or the cloud's metadata"):
        webhooks.deliver(webhook, b"{}", KEY, START, [f"{host.strip('[]')}:80"])


def test_a_public_address_must_be_https(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "addresses", lambda host, port: [(2, ("93.184.216.34", port))])
    webhook = HOOK.model_copy(update={"url": "http://hooks.example.com/x"})
    with pytest.raises(DeliveryError, match="a public address must be https"):
        webhooks.deliver(webhook, b"{}", KEY, START)
