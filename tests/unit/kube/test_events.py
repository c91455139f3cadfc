from typing import Any

import pytest
from tests.unit.engine.fakes import FakeApi, FakeClock

from tidemill.core.plan import Event
from tidemill.errors import ApiError
from tidemill.kube.events import BURST, EventRecorder

OBJ = {
    "apiVersion": "tidemill.io/v1alpha1",
    "kind": "ModelMonitor",
    "metadata": {"name": "m" * 63, "namespace": "ns", "uid": "u", "resourceVersion": "5"},
}
KEPT = Event("Normal", "Kept", "kept", "Keep")


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def recorder(api: FakeApi, clock: FakeClock) -> EventRecorder:
    return EventRecorder(api, "pod-1", clock.now, clock.monotonic)  # type: ignore[arg-type]


def only(api: FakeApi) -> dict[str, Any]:
    (found,) = api.objects.values()
    return found


async def test_first_event(api: FakeApi, clock: FakeClock) -> None:
    await recorder(api, clock).post(OBJ, KEPT)
    found = only(api)
    assert found["involvedObject"]["uid"] == "u"
    assert (found["reportingComponent"], found["reportingInstance"]) == ("tidemill.io/operator", "pod-1")
    assert (found["type"], found["reason"], found["action"], found["message"]) == ("Normal", "Kept", "Keep", "kept")
    assert found["eventTime"] == "2026-03-01T12:00:00.000000Z"
    assert found["count"] == 1


async def test_events_have_the_time_by_which_kubectl_sorts(api: FakeApi, clock: FakeClock) -> None:
    events = recorder(api, clock)
    await events.post(OBJ, KEPT)
    assert (only(api)["firstTimestamp"], only(api)["lastTimestamp"]) == ("2026-03-01T12:00:00Z",) * 2
    clock.advance(90)
    await events.post(OBJ, KEPT)
    assert (only(api)["firstTimestamp"], only(api)["lastTimestamp"]) == ("2026-03-01T12:00:00Z", "2026-03-01T12:01:30Z")


async def test_repetitions_are_counted_in_one_object_and_rarely_written(api: FakeApi, clock: FakeClock) -> None:
    events = recorder(api, clock)
    for _ in range(100):
        await events.post(OBJ, KEPT)
        clock.advance(1)
    assert only(api)["count"] == 2
    assert len(api.writes) == 2
    clock.advance(400)
    await events.post(OBJ, KEPT)
    assert only(api)["count"] == 101


async def test_another_replica_goes_on_counting(api: FakeApi, clock: FakeClock) -> None:
    await recorder(api, clock).post(OBJ, KEPT)
    await recorder(api, clock).post(OBJ, KEPT)
    assert only(api)["count"] == 2


async def test_the_count_of_an_older_release_is_taken_over(api: FakeApi, clock: FakeClock) -> None:
    await recorder(api, clock).post(OBJ, KEPT)
    series = {"count": 7, "lastObservedTime": "2026-03-01T12:00:00.000000Z"}
    api.put({**{k: v for k, v in only(api).items() if k not in ("count", "lastTimestamp")}, "series": series})
    await recorder(api, clock).post(OBJ, KEPT)
    assert (only(api)["count"], only(api)["series"]) == (8, None), "kubectl would show the series first"


async def test_different_things_are_different_events(api: FakeApi, clock: FakeClock) -> None:
    events = recorder(api, clock)
    await events.post(OBJ, KEPT)
    await events.post(OBJ, Event("Normal", "Kept", "kept again", "Keep"))
    assert len(api.objects) == 2


async def test_one_object_cannot_flood(api: FakeApi, clock: FakeClock) -> None:
    events = recorder(api, clock)
    for n in range(BURST + 20):
        await events.post(OBJ, Event("Warning", "Loop", f"number {n}", "Loop"))
    assert len(api.objects) == BURST
    clock.advance(31)
    await events.post(OBJ, Event("Warning", "Loop", "later", "Loop"))
    assert len(api.objects) == BURST + 1


async def test_expired_series_starts_anew(api: FakeApi, clock: FakeClock) -> None:
    events = recorder(api, clock)
    await events.post(OBJ, KEPT)
    api.objects.clear()
    await events.post(OBJ, KEPT)
    await events.post(OBJ, KEPT)
    assert only(api)["count"] == 1


async def test_api_errors_never_fail_a_pass_and_long_notes_are_cut(api: FakeApi, clock: FakeClock) -> None:
    events = recorder(api, clock)
    api.fail = [ApiError(403, "Forbidden", "namespace is being terminated")]
    await events.post(OBJ, KEPT)
    assert api.objects == {}
    await events.post(OBJ, Event("Warning", "Long", "x" * 5000, "Talk"))
    assert len(only(api)["message"]) == 1024
