"""A watch that fails in any way goes on: where it was, or with a new list; and how long it waits in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from prometheus_client import REGISTRY
from tests.unit.engine.fakes import FakeClock

from tidemill.core.plan import Key
from tidemill.engine.contract import Watch, controller_keys
from tidemill.engine.event_handler import EventHandler, sources
from tidemill.engine.informer import FAILURES_BEFORE_A_LIST, LOOK_SECONDS, Informer, Informers
from tidemill.engine.listing import Lister
from tidemill.engine.queue import WorkQueue
from tidemill.errors import ApiError
from tidemill.kube.cache import Cache
from tidemill.kube.streams import Scope
from tidemill.kube.transform import MAX_BYTES, is_truncated, size_of

Obj = dict[str, Any]
MANAGED = {"app.kubernetes.io/managed-by": "tidemill"}
OWNED = {"apiVersion": "tidemill.io/v1alpha1", "kind": "ModelMonitor", "name": "m", "uid": "u", "controller": True}
GONE, AWAY = ApiError(410, "Expired", "too old"), ApiError(0, "NoAnswer", "reset")


class Enough(Exception):  # noqa: N818 - ends a test's loop
    """The script is over."""


def monitor(name: str, version: int) -> Obj:
    meta = {"name": name, "namespace": "ns", "uid": f"u-{name}", "resourceVersion": str(version)}
    return {"apiVersion": "tidemill.io/v1alpha1", "kind": "ModelMonitor", "metadata": meta, "spec": {}}


class Script:
    """Streams that do what the test says: a list is (version, objects) or an error, a watch is events or errors."""

    def __init__(self, *steps: Any) -> None:
        self.steps = list(steps)
        self.asked: list[str] = []
        self.seconds_per_step = 0.0
        self.clock = FakeClock()

    def _next(self) -> Any:
        if not self.steps:
            raise Enough
        self.clock.advance(self.seconds_per_step)
        return self.steps.pop(0)

    async def read(self, scope: Scope, take: Callable[[Obj], None], beat: Callable[[], None]) -> int:
        self.asked.append("list")
        step = self._next()
        if isinstance(step, Exception):
            raise step
        version, objects = step
        for obj in objects:
            beat()
            take(obj)
        return int(version)

    async def watch(self, scope: Scope, version: str, beat: Callable[[], None]) -> AsyncIterator[tuple[str, Obj]]:
        self.asked.append(f"watch {version}")
        for event in self._next():
            if isinstance(event, Exception):
                raise event
            beat()
            yield event


class World:
    def __init__(self, *steps: Any) -> None:
        self.streams = Script(*steps)
        self.cache, self.pauses = Cache(), list[float]()
        self.queue = WorkQueue("modelmonitor", self.streams.clock)
        (source,) = sources(["ModelMonitor"], [])
        handler = EventHandler(self.cache, {"ModelMonitor": self.queue}, [source])
        lister = Lister(self.streams, handler, self.streams.clock, lambda _: None)  # type: ignore[arg-type]
        self.informer = Informer(
            source, None, handler, lister, self.streams, self.streams.clock, lambda _: None, self.sleep  # type: ignore[arg-type]
        )  # fmt: skip

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    async def run(self) -> list[str]:
        with pytest.raises(Enough):
            await self.informer.run()
        return self.streams.asked

    def known(self) -> list[str]:
        return [o["metadata"]["name"] for o in self.cache.list("ModelMonitor")]


async def test_a_watch_begins_where_the_list_ended_and_goes_on_where_it_was() -> None:
    bookmark = ("BOOKMARK", {"metadata": {"resourceVersion": "20"}})
    world = World(
        (7, [monitor("a", 3)]), [("ADDED", monitor("b", 9))], [bookmark], [AWAY], [("DELETED", monitor("a", 25))]
    )
    assert await world.run() == ["list", "watch 7", "watch 9", "watch 20", "watch 20", "watch 25"]
    assert world.known() == ["b"]
    assert [await world.queue.get(), await world.queue.get()] == [Key("ModelMonitor", "ns", n) for n in "ab"]


async def test_410_lists_again_and_finds_what_was_deleted_meanwhile() -> None:
    """Whether 410 is the answer or comes inside the stream, it is this ApiError: tests/unit/kube/test_streams.py."""
    world = World((7, [monitor("a", 3), monitor("b", 4)]), [GONE], (30, [monitor("b", 4)]), [])
    read, woken = world.streams.read, list[list[Key | None]]()

    async def counted(*arguments: Any) -> int:
        woken.append([await world.queue.get() for _ in range(len(world.queue))])
        for key in woken[-1]:
            world.queue.done(key)  # type: ignore[arg-type]
        return await read(*arguments)

    world.streams.read = counted  # type: ignore[method-assign]
    assert await world.run() == ["list", "watch 7", "list", "watch 30", "watch 30"]
    assert world.known() == ["b"]
    assert woken == [[], [Key("ModelMonitor", "ns", n) for n in "ab"]]
    assert len(world.queue) == 1, "only the one that is gone wakes"
    assert await world.queue.get() == Key("ModelMonitor", "ns", "a")


@pytest.mark.parametrize("error", [AWAY, ApiError(500, "InternalError", "no"), ApiError(403, "Forbidden", "no")])
async def test_a_watch_that_keeps_failing_is_listed_again_ever_later(error: ApiError) -> None:
    world = World((7, []), *[[error]] * FAILURES_BEFORE_A_LIST, (8, []), *[[error]] * 3)
    asked = await world.run()
    assert asked[:7] == ["list", *["watch 7"] * FAILURES_BEFORE_A_LIST, "list"]
    first = world.pauses[: FAILURES_BEFORE_A_LIST - 1]
    assert all(2.0**n * 0.8 <= pause <= 2.0**n * 1.2 for n, pause in enumerate(first)), first


async def test_lists_that_fail_are_tried_for_ever_at_most_half_a_minute_apart() -> None:
    world = World(*[AWAY] * 12)
    assert await world.run() == ["list"] * 13
    assert not world.informer.listed.is_set()
    assert max(world.pauses) <= 36
    assert world.pauses[-1] >= 24


async def test_a_watch_that_held_is_no_failure() -> None:
    world = World((7, []), [GONE], (8, []), [GONE], (9, []), [GONE], (9, []), [GONE])
    world.streams.seconds_per_step = 60
    await world.run()
    assert max(world.pauses) <= 1.2


async def test_one_object_that_nobody_foresaw_stops_nobody() -> None:
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    broken = {**monitor("x", 8), "spec": deep}
    world = World((7, [broken, monitor("a", 4)]), [("ADDED", broken), ("ADDED", monitor("b", 9))])
    await world.run()
    assert world.known() == ["a", "b"]


async def test_of_large_objects_the_cache_gets_a_bounded_part() -> None:
    def large(name: str, version: int) -> Obj:
        return {**monitor(name, version), "spec": {"text": "x" * (1 << 20)}}

    world = World((7, [large("a", 3)]), [("ADDED", large("b", 9)), ("MODIFIED", large("a", 10))])
    await world.run()
    assert world.known() == ["a", "b"]
    assert all(size_of(o) <= MAX_BYTES and is_truncated(o) for o in world.cache.list("ModelMonitor"))


async def test_one_of_several_namespaces_that_refuses_holds_up_nobody() -> None:
    """Its RoleBinding may have gone with it. When all refuse, nothing was listed, and the replica is not ready."""
    forbidden = ApiError(403, "Forbidden", "cannot list")
    script = Script(forbidden, forbidden)
    queue = WorkQueue("modelmonitor", script.clock)
    handler = EventHandler(Cache(), {"ModelMonitor": queue}, sources(["ModelMonitor"], []))
    lister, beats = Lister(script, handler, script.clock, lambda _: None), list[str]()  # type: ignore[arg-type]
    both = Informers(handler, lister, script, script.clock, beats.append, ["a", "b"])  # type: ignore[arg-type]
    paths = [informer.path for informer in both.all]
    assert both.missing() == paths
    both.all[0]._note(forbidden)
    assert (both.missing(), beats) == ([paths[1]], [paths[0]])
    both.all[1]._note(forbidden)
    assert both.missing() == paths
    both.all[1].forbidden = False
    both.all[1].listed.set()
    assert both.missing() == []
    async with asyncio.timeout(5):
        await both.listed()


async def test_a_namespace_is_known_when_every_kind_is_listed_and_none_refused() -> None:
    """When a RoleBinding comes back, one kind is listed before the next: runs that were not listed are not missing."""
    script = Script()
    handler = EventHandler(Cache(), {}, sources(["TrainingPipeline", "TrainingRun"], []))
    lister = Lister(script, handler, script.clock, lambda _: None)  # type: ignore[arg-type]
    found = Informers(handler, lister, script, script.clock, lambda _: None, ["a", "b"])  # type: ignore[arg-type]
    for informer in found.all:
        informer.listed.set()
    assert (found.knows("a"), found.knows("b")) == (True, True)
    refused = [i for i in found.all if "/a/" in i.path]
    for informer in refused:
        informer._note(ApiError(403, "Forbidden", "cannot list"))
    assert (found.knows("a"), found.knows("b")) == (False, True)
    for informer, known in zip(refused, (False, True), strict=True):
        script.steps = [(7, []), []]
        with pytest.raises(Enough):
            await informer.run()
        assert found.knows("a") is known
    everywhere = Informers(handler, lister, script, script.clock, lambda _: None, [])  # type: ignore[arg-type]
    for informer in everywhere.all:
        assert not everywhere.knows("a")
        informer.listed.set()
    assert everywhere.knows("a")


async def test_the_echo_of_a_write_wakes_everybody_but_its_writer() -> None:
    writer, other = Key("ModelMonitor", "ns", "a"), Key("ModelMonitor", "ns", "b")
    cache, queue = Cache(), WorkQueue("modelmonitor", FakeClock())
    watch = Watch("v1", "Service", None, lambda obj, cache: (writer, other))
    (source,) = sources([], [watch])
    handler = EventHandler(cache, {"ModelMonitor": queue}, [source])
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {**monitor("s", 5)["metadata"]}}
    cache.put(service, writer)
    handler.on_event(source, False, service)
    assert [await queue.get(), len(queue)] == [other, 0]
    queue.done(other)
    later = {**service, "metadata": {**service["metadata"], "resourceVersion": "6"}}
    handler.on_event(source, False, later)
    assert len(queue) == 2, "what comes after it is somebody else's change"


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("left", [{"labels": MANAGED}, {"ownerReferences": [OWNED]}], ids=["owner", "label"])
async def test_who_loses_a_child_is_woken(left: dict[str, Any], listed: bool) -> None:
    """The object that was left without its owner, or without the label that says it is ours, names nobody any more."""
    cache, queue = Cache(), WorkQueue("modelmonitor", FakeClock())
    (source,) = sources([], [Watch("v1", "ConfigMap", None, controller_keys("ModelMonitor"))])
    handler = EventHandler(cache, {"ModelMonitor": queue}, [source])
    meta = monitor("c", 5)["metadata"]
    mine = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {**meta, "labels": MANAGED, "ownerReferences": [OWNED]},
    }
    handler.on_event(source, False, mine)
    queue.done(await queue.get())
    later = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**meta, **left, "resourceVersion": "6"}}
    if listed:
        handler.on_listed(source, later)
    else:
        handler.on_event(source, False, later)
    assert len(queue) == 1
    assert await queue.get() == Key("ModelMonitor", "ns", "m")


def test_of_a_config_map_that_is_not_ours_the_identity_is_kept() -> None:
    """Labels and annotations of others may take 64 KiB each; of ours they are few."""
    cache = Cache()
    (source,) = sources([], [Watch("v1", "ConfigMap", None, lambda obj, cache: ())])
    handler = EventHandler(cache, {}, [source])
    for name, label in (("theirs", "helm"), ("ours", "tidemill")):
        meta = {**monitor(name, 5)["metadata"], "labels": {"app.kubernetes.io/managed-by": label}}
        handler.on_event(source, False, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta})
    kept = [cache.get("ConfigMap", "ns", name) or {} for name in ("theirs", "ours")]
    assert ["labels" in k["metadata"] for k in kept] == [False, True]


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses without jitter."""
    monkeypatch.setattr("tidemill.engine.informer.random.uniform", lambda low, high: (low + high) / 2)


async def test_lists_that_fail_wait_twice_as_long_each_time(steady: None, caplog: pytest.LogCaptureFixture) -> None:
    world = World(*[AWAY] * 7)
    await world.run()
    assert world.pauses == [1, 2, 4, 8, 16, 30, 30]
    assert LOOK_SECONDS == 0.1
    assert caplog.text.count("reset") == 7


@pytest.mark.parametrize(("seconds", "pauses"), [(15, [1, 2, 4, 8]), (16, [1, 1, 2, 4])])
async def test_only_what_held_for_longer_than_the_longest_pause_was_no_failure(
    steady: None, seconds: float, pauses: list[float]
) -> None:
    """A list and a watch of half the time each, then failures without any time in between."""
    world = World((7, []), [GONE], AWAY, AWAY, AWAY)
    world.streams.seconds_per_step = seconds
    sleep = world.sleep

    async def at_once(pause: float) -> None:
        world.streams.seconds_per_step = 0
        await sleep(pause)

    world.informer._sleep = at_once
    await world.run()
    assert world.pauses == pauses


async def test_an_event_ends_a_row_of_failures(steady: None) -> None:
    world = World((7, []), [AWAY], [AWAY], [("ADDED", monitor("a", 9)), AWAY], *[[AWAY]] * 4)
    asked = await world.run()
    assert asked == ["list", *["watch 7"] * 3, *["watch 9"] * 4, "list"]
    assert world.pauses == [1, 2, 1, 2, 4, 8, 1]


@pytest.mark.parametrize(("seconds", "pauses"), [(0.0, [1, 1]), (0.9, [1, 1]), (1.0, []), (2.0, [])])
async def test_a_watch_that_ends_at_once_is_not_opened_again_at_once(
    steady: None, seconds: float, pauses: list[float]
) -> None:
    world = World((7, []), [], [])
    world.streams.seconds_per_step = seconds
    await world.run()
    assert world.pauses == pauses


async def test_a_watch_that_failed_waits_however_long_it_held(steady: None) -> None:
    world = World((7, []), [AWAY])
    world.streams.seconds_per_step = 20
    await world.run()
    assert world.pauses == [1]


def namespaced(script: Script, namespace: str | None) -> Informer:
    (source,) = sources(["ModelMonitor"], [])
    handler = EventHandler(Cache(), {}, [source])
    lister = Lister(script, handler, script.clock, lambda _: None)  # type: ignore[arg-type]

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(0)

    return Informer(source, namespace, handler, lister, script, script.clock, lambda _: None, sleep)  # type: ignore[arg-type]


REFUSED = ApiError(403, "Forbidden", "cannot list")


@pytest.mark.parametrize(
    ("namespace", "errors", "forbidden", "told"),
    [
        ("a", [REFUSED, REFUSED], True, 1),
        (None, [REFUSED, REFUSED], False, 0),
        ("a", [AWAY, AWAY], False, 0),
        (None, [AWAY], False, 0),
        ("a", [REFUSED, (7, [])], False, 1),
    ],
)
async def test_a_refusal_of_one_namespace_is_told_once_and_over_with_the_next_list(
    caplog: pytest.LogCaptureFixture, namespace: str | None, errors: list[Any], forbidden: bool, told: int
) -> None:
    informer = namespaced(Script(*errors), namespace)
    with pytest.raises(Enough):
        await informer.run()
    assert informer.forbidden is forbidden
    assert caplog.text.count("is not watched") == told


async def test_all_informers_run() -> None:
    script = Script()
    handler = EventHandler(Cache(), {}, sources(["TrainingPipeline", "TrainingRun"], []))
    lister = Lister(script, handler, script.clock, lambda _: None)  # type: ignore[arg-type]
    every = Informers(handler, lister, script, script.clock, lambda _: None, [])  # type: ignore[arg-type]
    with pytest.raises(ExceptionGroup) as raised:
        await every.run()
    assert len(raised.value.exceptions) == len(every.all) == 2


# -- what enters -------------------------------------------------------------------------------------------------------


def test_of_a_kind_that_several_watch_the_widest_selector_is_used() -> None:
    def watches(*selectors: str | None) -> list[Watch]:
        return [Watch("v1", "ConfigMap", selector, lambda obj, cache: ()) for selector in selectors]

    for selectors, used in ((["a=b"], "a=b"), (["a=b", "a=b"], "a=b"), (["a=b", "c=d"], None), (["a=b", None], None)):
        (source,) = sources([], watches(*selectors))
        assert (source.selector, len(source.mappers)) == (used, len(selectors))
    assert sources(["ModelMonitor"], [])[0].selector is None


async def test_what_a_list_learns_is_told_and_shown() -> None:
    world = World()
    handler, source = world.informer._handler, world.informer._source

    def shown(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(f"tidemill_operator_{name}", {"kind": "ModelMonitor", **labels}) or 0.0

    def drift() -> list[float]:
        totals = [shown("resync_drift_total", change=change) for change in ("learnt", "pruned")]
        return [*totals, shown("resync_total")]

    assert handler.on_listed(source, monitor("a", 3))
    assert not handler.on_listed(source, monitor("a", 3))
    assert not handler.on_listed(source, {"apiVersion": "tidemill.io/v1alpha1", "kind": "ModelMonitor", "metadata": {}})
    assert shown("cached_objects") == 1
    before = drift()
    world.streams.steps = [(30, [monitor("b", 9), monitor("c", 9)]), (31, [monitor("b", 9), monitor("c", 9)])]
    for _ in range(2):
        await world.informer._lister.list(source, None)
    assert [now - then for now, then in zip(drift(), before, strict=True)] == [2, 1, 2]
    assert shown("cached_objects") == 2
    handler.on_event(source, False, monitor("a", 3))
    assert world.known() == ["b", "c"], "an event of before its deletion"


async def test_an_event_that_is_older_than_what_is_known_wakes_nobody() -> None:
    world = World()
    handler, source = world.informer._handler, world.informer._source
    handler.on_event(source, False, monitor("a", 9))
    key = await world.queue.get()
    assert key is not None
    world.queue.done(key)
    handler.on_event(source, False, monitor("a", 3))
    assert len(world.queue) == 0
