"""Who may lead when: the rules of client-go, on a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client import REGISTRY
from tests.unit.engine.fakes import FakeApi, FakeClock, pass_time

from tidemill.config import OperatorConfig
from tidemill.engine.leader import LeaderElector, LeadershipLost
from tidemill.errors import ApiError

KEY = ("Lease", "tidemill-system", "tidemill-operator")
NO_ANSWER = ApiError(0, "NoAnswer", "no answer")
Obj = dict[str, Any]


class Api(FakeApi):
    """Calls back before a record is replaced; hangs while told so."""

    hangs = False
    before_replace: Callable[[], object] | None = None

    async def get(self, *args: Any, **kwargs: Any) -> Obj | None:
        if self.hangs:
            await asyncio.Event().wait()
        return await super().get(*args, **kwargs)

    async def replace(self, obj: Obj) -> Obj:
        before, self.before_replace = self.before_replace, None
        if before is not None:
            before()
        return await super().replace(obj)

    def change(self, **changes: Any) -> None:
        """Changes the record as somebody else would."""
        live = self.objects[KEY]
        self.put({**live, "spec": {**live["spec"], **changes}})

    @property
    def spec(self) -> Obj:
        found: Obj = self.objects[KEY]["spec"]
        return found


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def elector(api: FakeApi, clock: FakeClock, name: str, retry: float = 2) -> LeaderElector:
    config = OperatorConfig(
        pod_name=name, retry_period_seconds=retry, renew_deadline_seconds=10, lease_duration_seconds=15
    )
    return LeaderElector(api, config, clock)  # type: ignore[arg-type]


@pytest.fixture
async def one(api: Api, clock: FakeClock) -> LeaderElector:
    """The leader."""
    found = elector(api, clock, "one")
    await found.acquire()
    return found


@asynccontextmanager
async def running(work: Any) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.ensure_future(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_first_come_leads(api: Api, clock: FakeClock, one: LeaderElector) -> None:
    assert one.is_leader
    now = "2026-03-01T12:00:00.000000Z"
    assert api.spec == {
        "holderIdentity": "one",
        "leaseDurationSeconds": 15,
        "acquireTime": now,
        "renewTime": now,
        "leaseTransitions": 0,
    }


async def test_the_second_waits_until_the_record_is_stale(api: Api, clock: FakeClock, one: LeaderElector) -> None:
    clock.advance(3.3)
    two = elector(api, clock, "two", retry=4)  # looks every 2 s: the record's end is none of their moments
    async with running(two.acquire()) as waiting:
        await pass_time(clock, 14.99)
        assert not waiting.done()
        assert not two.is_leader
        await pass_time(clock, 0.03)
        assert waiting.done()
    assert two.is_leader
    assert (api.spec["holderIdentity"], api.spec["leaseTransitions"]) == ("two", 1)
    assert api.spec["acquireTime"] == api.spec["renewTime"] > "2026-03-01T12:00:18"


async def test_the_duration_is_the_holders(api: Api, clock: FakeClock, one: LeaderElector) -> None:
    api.change(leaseDurationSeconds=5)
    async with running(elector(api, clock, "two").acquire()) as waiting:
        await pass_time(clock, 4.99)
        assert not waiting.done()
        await pass_time(clock, 0.01)
        assert waiting.done(), "at the moment itself"


async def test_renewal_counts_from_when_it_was_seen_not_from_its_time_stamp(
    api: Api, clock: FakeClock, one: LeaderElector
) -> None:
    """A holder whose wall clock is years behind keeps the Lease as long as its record changes."""
    async with running(elector(api, clock, "two").acquire()) as waiting:
        for n in range(5):
            await pass_time(clock, 10)
            api.change(renewTime=f"2001-01-01T00:00:0{n}.000000Z")
        await pass_time(clock, 14.99)
        assert not waiting.done()


async def test_release_hands_over_at_the_next_look(api: Api, clock: FakeClock, one: LeaderElector) -> None:
    async with running(elector(api, clock, "two").acquire()) as waiting:
        await pass_time(clock, 0.5)
        await one.release()
        assert not one.is_leader
        assert (api.spec["holderIdentity"], api.spec["leaseDurationSeconds"]) == ("", 1)
        await pass_time(clock, 0.49)
        assert not waiting.done()
        await pass_time(clock, 0.01)
        assert waiting.done(), "half a retry period after the first look"
    await one.release()
    assert api.spec["holderIdentity"] == "two", "who does not hold it does not release it"


async def test_who_lost_the_lease_unknowingly_releases_nothing(api: Api, clock: FakeClock, one: LeaderElector) -> None:
    api.change(holderIdentity="two")
    await one.release()
    assert api.spec["holderIdentity"] == "two"


async def test_a_release_that_is_not_answered_ends(api: Api, clock: FakeClock, one: LeaderElector) -> None:
    api.hangs = True
    async with running(one.release()) as releasing:
        await pass_time(clock, 1.99)
        assert not releasing.done()
        await pass_time(clock, 0.01)
        assert releasing.done()
        assert releasing.exception() is None


async def test_errors_are_waited_out(api: Api, clock: FakeClock) -> None:
    api.fail = [NO_ANSWER] * 2
    two = elector(api, clock, "two")
    async with running(two.acquire()):
        await pass_time(clock, 1.99)
        assert not two.is_leader
        await pass_time(clock, 0.01)
        assert two.is_leader


async def test_holder_gives_up_when_it_cannot_renew_before_anybody_may_take_over(
    api: Api, clock: FakeClock, one: LeaderElector
) -> None:
    api.fail = [NO_ANSWER] * 1000
    async with running(one.hold()) as holding:
        await pass_time(clock, 9.99)
        assert not holding.done(), "a few lost renewals are nothing"
        assert one.is_leader
        await pass_time(clock, 0.01)
        with pytest.raises(LeadershipLost, match="could not be renewed in time"):
            holding.result()
    assert not one.is_leader


async def test_a_renewal_that_is_not_answered_ends_at_the_deadline(
    api: Api, clock: FakeClock, one: LeaderElector
) -> None:
    async with running(one.hold()) as holding:
        await pass_time(clock, 2)
        api.hangs = True
        await pass_time(clock, 9.99)
        assert not holding.done()
        await pass_time(clock, 0.01)
        with pytest.raises(LeadershipLost, match="could not be renewed in time"):
            holding.result()


async def test_a_renewal_that_succeeds_moves_the_deadline(api: Api, clock: FakeClock, one: LeaderElector) -> None:
    api.fail = [NO_ANSWER] * 3
    async with running(one.hold()) as holding:
        await pass_time(clock, 8)
        api.fail = [NO_ANSWER] * 1000
        await pass_time(clock, 9.99)
        assert not holding.done()
        await pass_time(clock, 0.01)
        assert holding.done()


async def test_holder_gives_up_when_another_holds_the_lease(api: Api, clock: FakeClock, one: LeaderElector) -> None:
    async with running(one.hold()) as holding:
        api.change(holderIdentity="two")
        await pass_time(clock, 1.99)
        assert not holding.done()
        await pass_time(clock, 0.01)
        with pytest.raises(LeadershipLost, match="another replica"):
            holding.result()
    assert not one.is_leader


@pytest.mark.parametrize(("holder", "is_lost"), [("one", False), ("two", True)])
async def test_a_record_written_by_somebody_else_meanwhile(
    holder: str, is_lost: bool, api: Api, clock: FakeClock, one: LeaderElector
) -> None:
    api.before_replace = lambda: api.change(holderIdentity=holder)
    async with running(one.hold()) as holding:
        await pass_time(clock, 2)
        assert holding.done() is is_lost
        assert one.is_leader is not is_lost


async def test_a_stale_record_that_another_takes_first_is_its(api: Api, clock: FakeClock, one: LeaderElector) -> None:
    two = elector(api, clock, "two")
    async with running(two.acquire()):
        await pass_time(clock, 14)
        api.before_replace = lambda: api.change(holderIdentity="three")
        await pass_time(clock, 10)
        assert not two.is_leader
    assert api.spec["holderIdentity"] == "three"


async def test_a_record_that_another_makes_first_is_its(api: Api, clock: FakeClock) -> None:
    two = elector(api, clock, "two")
    api.fail = [ApiError(409, "AlreadyExists", "there already")]
    real, api.get = api.get, _absent  # type: ignore[method-assign]
    async with running(two.acquire()):
        await pass_time(clock, 0)
        assert not two.is_leader
        api.get = real  # type: ignore[method-assign]
        await pass_time(clock, 1)
        assert two.is_leader


async def _absent(*_: Any, **__: Any) -> None:
    return None


async def test_hold_renews_each_period(api: Api, clock: FakeClock, one: LeaderElector) -> None:
    acquired = api.spec["acquireTime"]
    async with running(one.hold()):
        await pass_time(clock, 1.99)
        assert api.spec["renewTime"] == acquired
        await pass_time(clock, 0.01)
        assert api.spec["renewTime"] == "2026-03-01T12:00:02.000000Z"
        await pass_time(clock, 2)
        assert api.spec["renewTime"] == "2026-03-01T12:00:04.000000Z"
        assert (api.spec["acquireTime"], api.spec["leaseTransitions"]) == (acquired, 0)


def shown(config: OperatorConfig) -> float | None:
    return REGISTRY.get_sample_value("leader_election_master_status", {"name": config.lease_name})


def renewals() -> float:
    return REGISTRY.get_sample_value("tidemill_lease_renewals_total") or 0.0


async def test_who_leads_and_every_write_of_the_lease_are_shown(api: Api, clock: FakeClock) -> None:
    config = OperatorConfig(pod_name="one", lease_name="of-metrics", lease_duration_seconds=15)
    found = LeaderElector(api, config, clock)  # type: ignore[arg-type]
    assert shown(config) == 0
    before = renewals()
    await found.acquire()
    assert (shown(config), renewals() - before) == (1, 1)
    assert await found._try()
    assert renewals() - before == 2
    await found.release()
    assert (shown(config), renewals() - before) == (0, 3)


async def test_a_leader_that_lost_is_shown_as_none(api: Api, clock: FakeClock, one: LeaderElector) -> None:
    async with running(one.hold()) as holding:
        await pass_time(clock, 0)
        api.change(holderIdentity="two")
        await pass_time(clock, 2)
        assert isinstance(holding.exception(), LeadershipLost)
    assert shown(one._config) == 0


async def test_nothing_is_released_that_was_not_held(api: Api, clock: FakeClock, one: LeaderElector) -> None:
    """A process that starts under the name of one before it has not got the Lease that the other left."""
    api.writes.clear()
    await elector(api, clock, "one").release()
    assert (api.writes, api.spec["holderIdentity"]) == ([], "one")


@pytest.mark.parametrize(("left", "seconds"), [(9.0, 1.0), (0.5, 0.51), (0.0, 0.01), (-5.0, 0.01)])
async def test_the_next_look_is_when_the_record_runs_out_and_not_before(
    api: Api, clock: FakeClock, one: LeaderElector, left: float, seconds: float
) -> None:
    two = elector(api, clock, "two")
    assert two._until_next_look() == 1.0
    assert not await two._try()
    clock.advance(15 - left)
    assert two._until_next_look() == pytest.approx(seconds)


async def test_a_renewal_that_is_not_answered_is_waited_for_until_the_deadline(
    api: Api, clock: FakeClock, one: LeaderElector
) -> None:
    asked, get = list[float](), api.get

    async def counted(*args: Any, **kwargs: Any) -> Obj | None:
        asked.append(clock.monotonic())
        return await get(*args, **kwargs)

    api.get = counted  # type: ignore[method-assign]
    api.hangs = True
    began = clock.monotonic()
    async with running(one.hold()) as holding:
        await pass_time(clock, 9.9)
        assert [when - began for when in asked] == [2]
        await pass_time(clock, 0.1)
        assert isinstance(holding.exception(), LeadershipLost)


async def test_the_last_attempt_ends_at_the_deadline(api: Api, clock: FakeClock, one: LeaderElector) -> None:
    api.fail = [NO_ANSWER] * 4
    async with running(one.hold()) as holding:
        await pass_time(clock, 9.5)
        assert api.fail == []
        api.hangs = True
        await pass_time(clock, 0.5)
        assert isinstance(holding.exception(), LeadershipLost)


@pytest.mark.parametrize("exists", [True, False])
async def test_a_write_that_is_refused_is_no_lost_race(api: Api, clock: FakeClock, exists: bool) -> None:
    if exists:
        await elector(api, clock, "one").acquire()
    api.refused = {KEY[2]: ApiError(500, "InternalError", "no")}
    with pytest.raises(ApiError, match="InternalError"):
        await elector(api, clock, "one")._try()


@pytest.mark.parametrize(("seconds", "told"), [(0.4, 1), (1, 1), (1.6, 2)])
async def test_a_lease_lasts_whole_seconds_and_at_least_one(
    api: Api, clock: FakeClock, seconds: float, told: int
) -> None:
    config = OperatorConfig(pod_name="one", lease_duration_seconds=seconds)
    await LeaderElector(api, config, clock).acquire()  # type: ignore[arg-type]
    assert api.spec["leaseDurationSeconds"] == told
