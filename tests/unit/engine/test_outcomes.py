"""What becomes of a pass: when the key comes back, what the metrics count, and how the workers end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import REGISTRY
from tests.unit.engine.fakes import settle
from tests.unit.engine.test_controller import KEY, World

from tidemill.config import OperatorConfig
from tidemill.core import conditions
from tidemill.core.plan import Key, Plan, Turn
from tidemill.engine import controller as controllers
from tidemill.engine.controller import Outcome
from tidemill.errors import ApiError, Stalled, Waiting

Obj = dict[str, Any]
OTHER = Key("ModelMonitor", "ns", "other")
DELETED = {"deletionTimestamp": "2026-03-01T12:00:00Z"}


@pytest.fixture
async def world() -> World:
    return World()


def counted(name: str, **labels: str) -> float:
    labels = {"controller": "modelmonitor", **labels}
    return REGISTRY.get_sample_value(f"controller_runtime_{name}", labels) or 0.0


def raising(world: World, error: Exception) -> None:
    def decide(obj: Obj) -> Plan:
        raise error

    world.decide = decide


def due(world: World) -> float | None:
    """In how many seconds the key comes back, None for never; 0 when it waits."""
    if len(world.queue):
        return 0.0
    timer = world.queue._timers.get(KEY)
    return None if timer is None else round(timer[0] - world.clock.monotonic(), 3)


def test_an_outcome_promises_nothing_that_it_was_not_told() -> None:
    assert Outcome("success") == Outcome("success", None, False, 0.0, False)
    assert (controllers.LARGE_AGAIN_SECONDS, controllers.UNKNOWN_AGAIN_SECONDS) == (0.25, 5.0)
    assert controllers.SHOW_AFTER_FAILURES == 3


@pytest.mark.parametrize(
    ("wanted", "seconds", "result"),
    [(None, None, "success"), (30.0, 30.0, "requeue_after"), (0.5, 0.5, "requeue_after"), (0.0, 0.05, "requeue_after")],
)
async def test_a_pass_that_went_well_comes_back_when_it_said(
    world: World, wanted: float | None, seconds: float | None, result: str
) -> None:
    world.decide = lambda obj: Plan(requeue_after=wanted)
    before, errors = counted("reconcile_total", result=result), counted("reconcile_errors_total")
    outcome = await world.controller.process(KEY)
    assert outcome == Outcome(result, wanted, planned=True)
    assert due(world) == seconds
    assert counted("reconcile_total", result=result) == before + 1
    assert counted("reconcile_errors_total") == errors


@pytest.mark.parametrize(
    ("error", "at_least", "panics"),
    [
        (ApiError(500, "InternalError", "no"), 0.0, 0),
        (ApiError(429, "TooManyRequests", "no", 17), 17.0, 0),
        (KeyError("boom"), 0.0, 1),
    ],
)
async def test_a_pass_that_failed_comes_back_after_its_backoff(
    world: World, error: Exception, at_least: float, panics: int
) -> None:
    raising(world, error)
    names = ("reconcile_errors_total", "reconcile_panics_total")
    before = [counted(name) for name in names]
    assert await world.controller.process(KEY) == Outcome("error", failed=True, at_least=at_least)
    assert due(world) == max(at_least, 1.0)
    assert [counted(name) - old for name, old in zip(names, before, strict=True)] == [1, panics]


async def test_after_a_conflict_the_first_two_passes_follow_at_once(world: World) -> None:
    raising(world, ApiError(409, "Conflict", "changed"))
    seconds = []
    for _ in range(3):
        await world.controller.process(KEY)
        seconds.append(due(world))
        world.queue.add(KEY)
        await world.queue.get()
        world.queue.done(KEY)
    assert seconds == [0.05, 0.05, 4.0]


async def test_a_refused_child_is_counted_and_comes_back_after_its_backoff(world: World) -> None:
    world.decide = lambda obj: Plan(apply=(world.child(obj),))
    world.api.refused = {"c": ApiError(403, "Forbidden", "quota")}
    assert await world.controller.process(KEY) == Outcome("error", failed=True, at_least=0.0)


@pytest.mark.parametrize(("planned", "seconds"), [(None, 2.0), (30.0, 2.0), (0.5, 0.5)])
async def test_a_child_that_goes_is_waited_for_no_longer_than_the_plan_says(
    world: World, planned: float | None, seconds: float
) -> None:
    world.decide = lambda obj: Plan(apply=(world.child(obj),), requeue_after=planned)
    going = world.child(world.live)
    world.api.put({**going, "metadata": {**going["metadata"], **DELETED}})
    assert await world.controller.process(KEY) == Outcome("requeue_after", seconds)


async def test_what_a_human_must_mend_is_counted(world: World) -> None:
    name = "terminal_reconcile_errors_total"
    before = counted(name)
    raising(world, Stalled("Bad", "spec.x"))
    await world.controller.process(KEY)
    assert counted(name) == before + 1
    raising(world, Waiting("NotYet", "soon", 7))
    await world.controller.process(KEY)
    assert counted(name) == before + 1
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "ns"}}
    world.api.put(theirs)
    world.decide = lambda obj: Plan(apply=(world.child(obj),))
    await world.controller.process(KEY)
    assert counted(name) == before + 2


class Unread(World):
    """A world in which gathering fails before the object is known."""

    def __init__(self, error: Exception) -> None:
        super().__init__()

        async def gather(key: Key) -> None:
            raise error

        self.controller._reconciler.gather = gather  # type: ignore[method-assign]


async def test_a_verdict_before_the_object_was_read_is_written_all_the_same() -> None:
    world = Unread(Stalled("Bad", "spec.x"))
    assert (await world.controller.process(KEY)).result == "error"
    stalled = conditions.get(world.live["status"]["conditions"], "Stalled")
    assert stalled is not None
    assert stalled["reason"] == "Bad"


@pytest.mark.parametrize("gone", [True, False])
async def test_a_verdict_on_what_is_gone_or_goes_is_written_nowhere(gone: bool) -> None:
    world = Unread(Waiting("NotYet", "soon", 7))
    if gone:
        world.api.objects.clear()
    else:
        world.api.put({**world.live, "metadata": {**world.live["metadata"], **DELETED}})
    assert (await world.controller.process(KEY)).requeue_after == 7
    assert world.api.writes == []


async def test_a_verdict_that_cannot_be_written_is_a_failure(world: World) -> None:
    async def replace_status(obj: Obj, status: Obj) -> Obj:
        raise ApiError(500, "InternalError", "etcd is away", 9)

    world.api.replace_status = replace_status  # type: ignore[method-assign]
    raising(world, Stalled("Bad", "spec.x"))
    assert await world.controller.process(KEY) == Outcome("error", failed=True, at_least=9)


async def test_a_failure_that_cannot_be_written_reads_what_is_there(world: World) -> None:
    raising(world, KeyError("boom"))
    for _ in range(2):
        await world.controller.process(KEY)
    changed = world.api.put({**world.live, "spec": {"changed": True}})  # unknown to the cache
    await world.controller.process(KEY)
    assert (world.cache.get(*KEY) or {})["metadata"]["resourceVersion"] == changed["metadata"]["resourceVersion"]


async def test_where_nothing_can_be_read_either_the_cache_stays_as_it_is(world: World) -> None:
    raising(world, ApiError(409, "Conflict", "changed"))
    world.api.fail = [ApiError(500, "InternalError", "no")]
    assert (await world.controller.process(KEY)).failed
    assert world.cache.get(*KEY) is not None


class Updates:
    """What a controller tells of turns."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def begin(self, key: Key, turn: Turn | None) -> None:
        self.told.append(("begin", key, turn))

    def end(self, key: Key, *, planned: bool) -> None:
        self.told.append(("end", key, planned))


def watched(world: World) -> Updates:
    updates = Updates()
    object.__setattr__(world.deps, "updates", updates)
    return updates


async def test_turns_are_told_of_every_pass_and_whether_it_came_to_its_plan(world: World) -> None:
    turn, updates = Turn("waits", 1), watched(world)
    world.decide = lambda obj: Plan(turn=turn)
    await world.controller.process(KEY)
    world.decide = lambda obj: Plan(turn=turn, requeue_after=5)
    await world.controller.process(KEY)
    assert updates.told == [("begin", KEY, turn), ("end", KEY, True)] * 2
    updates.told.clear()
    raising(world, KeyError("boom"))
    await world.controller.process(KEY)
    world.controller._knows = lambda namespace: False
    await world.controller.process(KEY)
    assert updates.told == [("end", KEY, False)] * 2


@pytest.fixture
async def workers(world: World) -> AsyncIterator[World]:
    object.__setattr__(world.deps, "config", replace(OperatorConfig(), workers=2))
    yield world
    world.controller.abort()
    await asyncio.gather(*world.controller._tasks, return_exceptions=True)


async def test_workers_take_what_waits_and_hand_it_back(workers: World) -> None:
    seen: list[str] = []
    workers.decide = lambda obj: seen.append(obj["metadata"]["name"]) or Plan()  # type: ignore[func-returns-value]
    workers.controller.start()
    assert len(workers.controller._tasks) == 2
    for _ in range(2):
        workers.queue.add(KEY)
        await settle()
    assert seen == ["m", "m"]
    async with asyncio.timeout(5):
        await workers.queue.drained()
        await workers.controller.stop(1.0)
    assert all(task.done() for task in workers.controller._tasks)


def slow(world: World) -> asyncio.Event:
    """Passes wait until the event is set."""
    go = asyncio.Event()

    async def gather(key: Key) -> None:
        await go.wait()

    world.controller._reconciler.gather = gather  # type: ignore[method-assign]
    return go


async def test_a_stop_waits_for_what_runs_and_starts_nothing_more(workers: World) -> None:
    go = slow(workers)
    workers.controller.start()
    workers.queue.add(KEY)
    await settle()
    stopping = asyncio.create_task(workers.controller.stop(60))
    await settle()
    workers.queue.add(OTHER)
    assert not stopping.done()
    assert len(workers.queue) == 0
    go.set()
    async with asyncio.timeout(5):
        await stopping
    assert [task.cancelled() for task in workers.controller._tasks] == [False, False]


async def test_a_stop_ends_what_takes_too_long(workers: World) -> None:
    slow(workers)
    workers.controller.start()
    workers.queue.add(KEY)
    await settle()
    async with asyncio.timeout(5):
        await workers.controller.stop(0.01)
    assert [task.done() for task in workers.controller._tasks] == [True, True]
    assert [task.cancelled() for task in workers.controller._tasks].count(True) == 1


async def test_what_never_started_stops_at_once(world: World) -> None:
    await world.controller.stop(1.0)
    world.queue.add(KEY)
    assert len(world.queue) == 0


async def test_an_abort_ends_all_at_once(workers: World) -> None:
    slow(workers)
    workers.controller.start()
    workers.queue.add(KEY)
    await settle()
    workers.controller.abort()
    workers.queue.add(OTHER)
    assert len(workers.queue) == 0
    await asyncio.wait(workers.controller._tasks, timeout=5)
    assert all(task.cancelled() for task in workers.controller._tasks)


async def test_how_many_workers_there_are_is_shown(world: World) -> None:
    shown = REGISTRY.get_sample_value("controller_runtime_max_concurrent_reconciles", {"controller": "modelmonitor"})
    assert shown == OperatorConfig().workers
