"""Who may lead when: the rules of client-go, on a clock that the test moves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.engine.fakes import FakeApi, FakeClock

from tidemill.config import OperatorConfig
from tidemill.engine.leader import LeaderElector, LeadershipLost
from tidemill.errors import ApiError


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def elector(api: FakeApi, clock: FakeClock, name: str) -> LeaderElector:
    config = OperatorConfig(
        pod_name=name, retry_period_seconds=0.01, renew_deadline_seconds=10, lease_duration_seconds=15
    )
    return LeaderElector(api, config, clock)  # type: ignore[arg-type]


def spec(api: FakeApi) -> dict[str, Any]:
    found: dict[str, Any] = api.objects["Lease", "tidemill-system", "tidemill-operator"]["spec"]
    return found


async def test_first_come_leads_and_the_second_waits_until_the_record_is_stale(api: FakeApi, clock: FakeClock) -> None:
    one, two = elector(api, clock, "one"), elector(api, clock, "two")
    await one.acquire()
    assert one.is_leader
    waiting = asyncio.create_task(two.acquire())
    await asyncio.sleep(0.05)
    clock.advance(14.9)
    await asyncio.sleep(0.05)
    assert not waiting.done()
    clock.advance(0.2)
    await asyncio.wait_for(waiting, 1)
    assert spec(api)["holderIdentity"] == "two"
    assert spec(api)["leaseTransitions"] == 1


async def test_renewal_counts_from_when_it_was_seen_not_from_its_time_stamp(api: FakeApi, clock: FakeClock) -> None:
    """A holder whose wall clock is years behind keeps the Lease as long as its record changes."""
    one, two = elector(api, clock, "one"), elector(api, clock, "two")
    await one.acquire()
    waiting = asyncio.create_task(two.acquire())
    for n in range(5):
        clock.advance(10)
        live = api.objects["Lease", "tidemill-system", "tidemill-operator"]
        api.put({**live, "spec": {**live["spec"], "renewTime": f"2001-01-01T00:00:0{n}.000000Z"}})
        await asyncio.sleep(0.03)
    assert not waiting.done()
    waiting.cancel()


async def test_release_hands_over_at_once(api: FakeApi, clock: FakeClock) -> None:
    one, two = elector(api, clock, "one"), elector(api, clock, "two")
    await one.acquire()
    await one.release()
    assert not one.is_leader
    await asyncio.wait_for(two.acquire(), 1)
    await one.release()
    assert spec(api)["holderIdentity"] == "two", "who does not hold it does not release it"


async def test_holder_gives_up_when_it_cannot_renew_before_anybody_may_take_over(
    api: FakeApi, clock: FakeClock
) -> None:
    one = elector(api, clock, "one")
    await one.acquire()
    api.fail = [ApiError(0, "NoAnswer", "no answer") for _ in range(1000)]
    holding = asyncio.create_task(one.hold())
    await asyncio.sleep(0.05)
    assert not holding.done(), "a few lost renewals are nothing"
    clock.advance(10.1)
    with pytest.raises(LeadershipLost, match="could not be renewed in time"):
        await asyncio.wait_for(holding, 1)
    assert not one.is_leader


async def test_holder_gives_up_when_another_holds_the_lease(api: FakeApi, clock: FakeClock) -> None:
    one = elector(api, clock, "one")
    await one.acquire()
    live = api.objects["Lease", "tidemill-system", "tidemill-operator"]
    api.put({**live, "spec": {**live["spec"], "holderIdentity": "two"}})
    with pytest.raises(LeadershipLost, match="another replica"):
        await asyncio.wait_for(one.hold(), 1)


async def test_hold_renews(api: FakeApi, clock: FakeClock) -> None:
    one = elector(api, clock, "one")
    await one.acquire()
    acquired = spec(api)["acquireTime"]
    clock.advance(1)
    holding = asyncio.create_task(one.hold())
    await asyncio.sleep(0.05)
    assert spec(api)["renewTime"] > acquired
    assert spec(api)["acquireTime"] == acquired
    assert spec(api)["leaseTransitions"] == 0
    holding.cancel()
