"""Events of one object, listed when nothing else says why it does not run: how often, how many, and what is kept."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.unit.engine.fakes import FakeClock

from tidemill.core.conditions import format_time
from tidemill.core.podfailure import LOOK_SECONDS, ObjectEvent, PodFailure
from tidemill.errors import ApiError
from tidemill.kube import object_events
from tidemill.kube.object_events import BURST, PER_SECOND, ObjectEvents

FULL = ObjectEvent(5, True, "FailedCreate", "exceeded quota: team")
CAUSE = PodFailure("FailedCreate", "exceeded quota: team")


class Client:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.found: list[ObjectEvent] = [FULL]
        self.error: ApiError | None = None

    async def events_about(self, namespace: str, uid: str) -> list[ObjectEvent]:
        self.asked.append(f"{namespace}/{uid}")
        if self.error is not None:
            raise self.error
        return self.found


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def events(client: Client, clock: FakeClock) -> ObjectEvents:
    return ObjectEvents(client, clock.monotonic)  # type: ignore[arg-type]


def job(number: int = 1) -> dict[str, Any]:
    return {"kind": "Job", "metadata": {"name": f"j{number}", "namespace": "team", "uid": f"u{number}"}}


def pod(clock: FakeClock, age: float, **status: Any) -> dict[str, Any]:
    made = format_time(clock.now() - timedelta(seconds=age))
    meta = {"name": "p", "namespace": "team", "uid": "u", "creationTimestamp": made}
    return {"kind": "Pod", "metadata": meta, "status": {"phase": "Pending", **status}}


async def test_one_object_is_asked_about_once_in_ten_seconds(
    events: ObjectEvents, client: Client, clock: FakeClock
) -> None:
    for _ in range(5):
        assert await events.cause(job()) == CAUSE
    assert client.asked == ["team/u1"]
    clock.advance(LOOK_SECONDS)
    client.found = []
    assert await events.cause(job()) is None, "what is over is no cause any more"
    assert len(client.asked) == 2


async def test_a_thousand_objects_cost_a_few_requests_a_second(
    events: ObjectEvents, client: Client, clock: FakeClock
) -> None:
    seconds = 60
    for _ in range(seconds):
        for number in range(1000):
            await events.cause(job(number))
        clock.advance(1)
    assert len(client.asked) <= BURST + seconds * PER_SECOND
    assert len(client.asked) >= seconds * PER_SECOND


async def test_who_gets_no_turn_is_told_what_was_known(events: ObjectEvents, client: Client, clock: FakeClock) -> None:
    assert await events.cause(job()) == CAUSE
    clock.advance(LOOK_SECONDS)
    for number in range(2, 40):
        await events.cause(job(number))
    assert await events.cause(job()) == CAUSE
    assert client.asked.count("team/u1") == 1


async def test_without_the_right_to_list_events_nothing_is_known_and_nothing_fails(
    events: ObjectEvents, client: Client, clock: FakeClock
) -> None:
    client.error = ApiError(403, "Forbidden", "events is forbidden: User cannot list")
    assert await events.cause(job()) is None
    assert await events.cause(job()) is None
    assert len(client.asked) == 1


async def test_what_is_remembered_is_bounded(client: Client, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_events, "_REMEMBERED", 3)
    events = ObjectEvents(client, clock.monotonic)  # type: ignore[arg-type]
    for number in range(9):
        await events.cause(job(number))
    assert await events.cause(job(0)) == CAUSE
    assert client.asked.count("team/u0") == 2, "the oldest was forgotten"


async def test_of_several_pods_the_first_that_has_been_silent_for_long_is_asked(
    events: ObjectEvents, client: Client, clock: FakeClock
) -> None:
    young, old = pod(clock, 1), pod(clock, 6)
    assert await events.cause_of_first([young], "server", clock.now()) is None
    assert client.asked == []
    assert await events.cause_of_first([young, old], "server", clock.now()) == CAUSE
    runs = pod(clock, 60, phase="Running")
    assert await events.cause_of_first([runs], "server", clock.now()) is None
    assert client.asked == ["team/u"]
