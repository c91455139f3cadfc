"""One pass: what is written, in which order, and what each kind of failure becomes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
from tests.support.invariants import check_status, kstatus
from tests.unit.engine.fakes import FakeApi, FakeClock

from tidemill.config import OperatorConfig
from tidemill.core import conditions
from tidemill.core.plan import Event, Key, ObjectRef, Patch, Plan
from tidemill.engine.apply import Applier
from tidemill.engine.contract import Deps
from tidemill.engine.controller import LARGE_AGAIN_SECONDS, UNKNOWN_AGAIN_SECONDS, Controller
from tidemill.engine.queue import WorkQueue
from tidemill.errors import ApiError, Stalled, Waiting
from tidemill.kube.cache import Cache
from tidemill.kube.request_priority import FLOW, Flow
from tidemill.kube.transform import TRUNCATED, transform

Obj = dict[str, Any]
KEY = Key("ModelMonitor", "ns", "m")


@dataclass(frozen=True)
class Snap:
    object: Obj
    now: datetime


class Scripted:
    """Plans whatever the test says."""

    kind = "ModelMonitor"

    def __init__(self, world: World) -> None:
        self.world = world

    async def gather(self, key: Key) -> Snap | None:
        obj = await self.world.deps.read(key)
        return None if obj is None else Snap(obj, self.world.clock.now())

    def plan(self, snapshot: Snap) -> Plan:
        return self.world.decide(snapshot.object)


class Recorder:
    def __init__(self, api: FakeApi) -> None:
        self.api = api

    async def post(self, obj: Obj, event: Event) -> None:
        self.api.writes.append(("event", event.type, event.reason))


class World:
    """A controller with everything around it."""

    def __init__(self) -> None:
        self.api, self.cache, self.clock = FakeApi(), Cache(), FakeClock()
        self.decide: Callable[[Obj], Plan] = lambda obj: Plan()
        deps = self.deps = Deps(self.api, self.cache, OperatorConfig(), self.clock)  # type: ignore[arg-type]
        self.queue = WorkQueue("modelmonitor", self.clock, jitter=lambda: 1.0)
        self.applier = Applier(self.api, self.cache, ["ConfigMap", "ModelMonitor"])  # type: ignore[arg-type]
        self.controller = Controller(Scripted(self), deps, self.queue, self.applier, Recorder(self.api))  # type: ignore[arg-type]
        meta = {"name": "m", "namespace": "ns", "generation": 1}
        self.cache.put(self.api.put({"apiVersion": "tidemill.io/v1alpha1", "kind": "ModelMonitor", "metadata": meta}))

    def count_gets(self) -> Callable[[], int]:
        """How many reads of single objects there were since now."""
        asked, get = [0], self.api.get

        async def counted(*arguments: Any) -> Obj | None:
            asked[0] += 1
            return await get(*arguments)

        self.api.get = counted  # type: ignore[method-assign]
        return lambda: asked[0]

    @property
    def live(self) -> Obj:
        return self.api.objects["ModelMonitor", "ns", "m"]

    def ready(self, obj: Obj) -> Obj:
        trio = conditions.trio(ready=True, reason="Kept", message="kept")
        old = (obj.get("status") or {}).get("conditions") or []
        return {"conditions": conditions.merge(old, trio, 1, self.clock.now())}

    def child(self, obj: Obj, value: str = "1", name: str = "c") -> Obj:
        owner = {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "name": "m", "uid": obj["metadata"]["uid"]}
        meta = {"name": name, "namespace": "ns", "ownerReferences": [{**owner, "controller": True}]}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"v": value}}


@pytest.fixture
async def world() -> World:
    return World()


async def test_order_of_a_pass(world: World) -> None:
    pod = ObjectRef("v1", "Pod", "ns", "p")
    world.decide = lambda obj: Plan(
        apply=(world.child(obj),),
        patches=(Patch(pod, {"metadata": {"annotations": {"a": "b"}}}),),
        delete=(ObjectRef("batch/v1", "Job", "ns", "old"),),
        status=world.ready(obj),
        events=(Event("Normal", "Kept", "kept", "Keep"),),
        requeue_after=30,
    )
    outcome = await world.controller.process(KEY)
    assert world.api.writes == [
        ("apply", "ConfigMap", "c"),
        ("delete", "Job", "old"),
        ("status", "ModelMonitor", "m"),
        ("event", "Normal", "Kept"),
    ]
    assert (outcome.result, outcome.requeue_after) == ("requeue_after", 30)
    check_status(world.live)
    assert world.live["status"]["observedGeneration"] == 1


async def test_a_plan_is_announced_before_anything_of_it_is_written(world: World) -> None:
    plan = Plan(apply=(world.child(world.live),))
    world.decide = lambda _: plan
    seen: list[tuple[str, Plan, int]] = []
    world.deps.begun.append(lambda obj, plan: seen.append((obj["metadata"]["name"], plan, len(world.api.writes))))
    await world.controller.process(KEY)
    assert seen == [("m", plan, 0)]
    assert world.api.writes == [("apply", "ConfigMap", "c")]


async def test_second_pass_writes_nothing(world: World) -> None:
    world.decide = lambda obj: Plan(apply=(world.child(obj),), status=world.ready(obj))
    await world.controller.process(KEY)
    world.api.writes.clear()
    world.clock.advance(3600)
    assert (await world.controller.process(KEY)).result == "success"
    assert world.api.writes == []


async def test_own_writes_are_seen_at_once(world: World) -> None:
    world.decide = lambda obj: Plan(apply=(world.child(obj),), status=world.ready(obj))
    await world.controller.process(KEY)
    assert world.cache.get("ConfigMap", "ns", "c") is not None
    assert world.cache.get(*KEY)["status"]["conditions"]  # type: ignore[index]


async def test_events_are_not_posted_when_the_status_was_not_written(world: World) -> None:
    world.decide = lambda obj: Plan(status=world.ready(obj), events=(Event("Normal", "Kept", "kept", "Keep"),))
    world.api.put({**world.live, "spec": {"changed": True}})  # the cache does not know yet
    outcome = await world.controller.process(KEY)
    assert outcome.failed
    assert world.api.writes == []
    assert (await world.controller.process(KEY)).result == "success", "the conflict made it read the newest state"
    assert [w[0] for w in world.api.writes] == ["status", "event"]


@pytest.mark.parametrize(
    ("raised", "result", "verdict", "reason"),
    [
        (Stalled("Bad", "spec.x must be 1"), "error", "Failed", "Bad"),
        (Waiting("NotYet", "soon", 7), "requeue_after", "InProgress", "NotYet"),
    ],
)
async def test_verdicts(world: World, raised: Exception, result: str, verdict: str, reason: str) -> None:
    def decide(obj: Obj) -> Plan:
        raise raised

    world.decide = decide
    outcome = await world.controller.process(KEY)
    assert outcome.result == result
    assert not outcome.failed, "neither is a failure that backs off"
    assert outcome.requeue_after == (7 if isinstance(raised, Waiting) else None)
    check_status(world.live)
    assert kstatus(world.live) == verdict
    assert conditions.get(world.live["status"]["conditions"], "Ready")["reason"] == reason  # type: ignore[index]
    events = [w for w in world.api.writes if w[0] == "event"]
    assert events == ([("event", "Warning", "Bad")] if isinstance(raised, Stalled) else [])
    world.api.writes.clear()
    await world.controller.process(KEY)
    assert world.api.writes == [], "the same verdict again changes nothing"


async def test_unexpected_exception_is_retried_and_shown_from_the_third_time(world: World) -> None:
    world.decide = lambda obj: Plan(status=world.ready(obj))
    await world.controller.process(KEY)

    def decide(obj: Obj) -> Plan:
        raise KeyError("boom")

    world.decide = decide
    for _ in range(2):
        assert (await world.controller.process(KEY)).failed
        assert kstatus(world.live) == "Current"
    await world.controller.process(KEY)
    assert kstatus(world.live) == "InProgress"
    ready = conditions.get(world.live["status"]["conditions"], "Ready")
    assert ready is not None
    assert ready["reason"] == "ReconcileError"
    assert "KeyError: 'boom'" in ready["message"]
    check_status(world.live)
    world.decide = lambda obj: Plan(status=world.ready(obj))
    await world.controller.process(KEY)
    assert kstatus(world.live) == "Current"
    assert world.queue.failures(KEY) == 0


async def test_too_many_requests_are_waited_for(world: World) -> None:
    world.decide = lambda obj: Plan(apply=(world.child(obj),))
    world.api.fail = [ApiError(429, "TooManyRequests", "slow down", 17)]
    outcome = await world.controller.process(KEY)
    assert outcome.failed
    assert outcome.at_least == 17


async def test_plan_error_counts_as_failure_after_everything_is_done(world: World) -> None:
    world.decide = lambda obj: Plan(status=world.ready(obj), error="figures could not be read")
    outcome = await world.controller.process(KEY)
    assert outcome.failed
    assert kstatus(world.live) == "Current"


async def test_deleted_objects_are_left_alone(world: World) -> None:
    world.decide = lambda obj: Plan(apply=(world.child(obj),))
    doomed = {**world.live, "metadata": {**world.live["metadata"], "deletionTimestamp": "2026-03-01T12:00:00Z"}}
    world.cache.put(world.api.put(doomed))
    assert (await world.controller.process(KEY)).result == "success"
    world.cache.remove(*KEY)
    assert (await world.controller.process(KEY)).result == "success"
    assert world.api.writes == []


async def test_child_of_another_owner_is_not_touched(world: World) -> None:
    theirs = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d", "uid": "theirs", "controller": True}
    meta = {"name": "c", "namespace": "ns", "ownerReferences": [theirs]}
    world.api.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"v": "theirs"}})
    world.decide = lambda obj: Plan(apply=(world.child(obj),))
    await world.controller.process(KEY)
    stalled = conditions.get(world.live["status"]["conditions"], "Stalled")
    assert stalled is not None
    assert stalled["reason"] == "NotOwned"
    assert "is controlled by Deployment d" in stalled["message"]
    assert world.api.objects["ConfigMap", "ns", "c"]["data"] == {"v": "theirs"}


async def test_changed_child_is_applied_again_and_a_job_never(world: World) -> None:
    def job(obj: Obj, image: str) -> Obj:
        return {**world.child(obj), "apiVersion": "batch/v1", "kind": "Job", "spec": {"image": image}}

    world.decide = lambda obj: Plan(apply=(world.child(obj, "1"), job(obj, "a")))
    await world.controller.process(KEY)
    world.api.writes.clear()
    world.decide = lambda obj: Plan(apply=(world.child(obj, "2"), job(obj, "b")))
    await world.controller.process(KEY)
    assert world.api.writes == [("apply", "ConfigMap", "c")]
    assert world.api.objects["Job", "ns", "c"]["spec"] == {"image": "a"}


async def test_large_objects_are_read_whole_and_one_at_a_time(world: World) -> None:
    """The cache holds a part of them; whoever must wait comes back and keeps no worker."""
    large = {"x": "y" * (1 << 20)}
    stored = world.api.put({**world.live, "spec": large})
    world.cache.put(transform(stored))
    seen: list[Obj] = []

    def decide(obj: Obj) -> Plan:
        seen.append(obj["spec"])
        return Plan()

    world.decide = decide
    async with world.deps.large:
        await world.controller._admit(KEY)
        assert seen == []
        assert world.queue._timers[KEY][0] == world.clock.monotonic() + LARGE_AGAIN_SECONDS
    await world.controller._admit(KEY)
    assert seen == [large], "whole, as the API server has it"
    assert not world.deps.large.locked()


async def test_content_that_is_not_watched_is_read_once_for_each_change(world: World) -> None:
    """A ConfigMap is cached without its data: after a restart it is asked for, and then known until it changes."""
    world.decide = lambda obj: Plan(apply=(world.child(obj),))
    await world.controller.process(KEY)
    world.applier._settled.clear()  # as after a restart
    gets = world.count_gets()
    for _ in range(3):
        await world.controller.process(KEY)
    assert (gets(), world.api.writes) == (1, [("apply", "ConfigMap", "c")])
    changed = world.api.put({**world.api.objects["ConfigMap", "ns", "c"], "data": {"v": "theirs"}})
    world.cache.put(transform(changed))
    await world.controller.process(KEY)
    assert (gets(), world.api.objects["ConfigMap", "ns", "c"]["data"]) == (2, {"v": "1"})
    await world.controller.process(KEY)
    assert gets() == 2, "what was written just now needs no look"


@pytest.mark.parametrize(("wanted", "backoff_failures", "due"), [(30.0, 0, 1.0), (3.0, 4, 3.0), (0.01, 4, 1.0)])
async def test_of_backoff_and_next_look_the_earlier_counts(
    world: World, wanted: float, backoff_failures: int, due: float
) -> None:
    """A refused child fails the pass; the plan's own next look is neither lost nor allowed to come before a second."""
    world.decide = lambda obj: Plan(apply=(world.child(obj),), status=world.ready(obj), requeue_after=wanted)
    world.api.refused = {"c": ApiError(403, "Forbidden", "exceeded quota: pods")}
    for _ in range(backoff_failures):
        world.queue.add_rate_limited(KEY)
    world.queue.add(KEY)
    assert await world.queue.get() == KEY  # clears what was due
    await world.controller.process(KEY)
    world.queue.done(KEY)
    world.clock.advance(due - 0.05)
    assert len(world.queue) == 0
    world.clock.advance(0.1)
    assert len(world.queue) == 1


async def test_a_child_without_an_owner_that_is_not_ours_is_not_touched(world: World) -> None:
    """A child that is meant to have none, as a claim: somebody else's of that name has none, either."""

    def decide(obj: Obj) -> Plan:
        child = world.child(obj)
        del child["metadata"]["ownerReferences"]
        return Plan(apply=(child,), status=world.ready(obj))

    world.decide = decide
    theirs = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "c", "namespace": "ns"},
        "data": {"v": "theirs"},
    }
    world.api.put(theirs)
    await world.controller.process(KEY)
    assert world.api.objects["ConfigMap", "ns", "c"]["data"] == {"v": "theirs"}
    stalled = conditions.get(world.live["status"]["conditions"], "Stalled")
    assert stalled is not None
    assert stalled["reason"] == "NotOwned"
    assert "was not created by Tidemill" in stalled["message"]
    world.api.put(
        {**theirs, "metadata": {**theirs["metadata"], "labels": {"app.kubernetes.io/managed-by": "tidemill"}}}
    )  # type: ignore[dict-item]
    await world.controller.process(KEY)
    assert world.api.objects["ConfigMap", "ns", "c"]["data"] == {"v": "1"}, "one of ours is kept as it should be"


@pytest.mark.parametrize(
    ("owner", "is_own"), [(None, False), ("tidemill.io/v1alpha1", True), ("example.com/v1", False)]
)
async def test_requests_for_what_we_made_ourselves_wait_in_another_line(
    world: World, owner: str | None, is_own: bool
) -> None:
    """What another operator made of an object of its own is a user's."""
    lines = list[Flow]()
    world.decide = lambda obj: lines.append(FLOW.get()) or Plan(status=world.ready(obj))  # type: ignore[func-returns-value]
    if owner is not None:
        owners = [{"controller": True, "apiVersion": owner, "kind": "TrainingPipeline", "name": "p", "uid": "u"}]
        meta = {**world.live["metadata"], "ownerReferences": owners}
        world.cache.put(world.api.put({**world.live, "metadata": meta}))
    await world.controller._admit(KEY)
    assert lines == [Flow("ModelMonitor", is_own=is_own)]


async def test_nothing_is_decided_where_not_every_kind_is_known(world: World) -> None:
    known = [False]
    asked = list[Obj]()
    world.decide = lambda obj: asked.append(obj) or Plan()  # type: ignore[func-returns-value]
    world.controller._knows = lambda namespace: known[0]
    outcome = await world.controller.process(KEY)
    assert (outcome.requeue_after, asked) == (UNKNOWN_AGAIN_SECONDS, [])
    world.clock.advance(UNKNOWN_AGAIN_SECONDS)
    assert len(world.queue) == 1
    known[0] = True
    await world.controller.process(KEY)
    assert len(asked) == 1


async def test_every_pass_is_reported(world: World) -> None:
    """Liveness rests on it: a leader that does nothing is ended."""
    passed = list[bool]()
    world.controller._passed = lambda: passed.append(True)
    await world.controller.process(KEY)
    world.api.fail = [ApiError(500, "InternalError", "no")] * 9
    world.decide = lambda obj: Plan(status=world.ready(obj))
    await world.controller.process(KEY)
    assert len(passed) == 2


async def test_a_label_that_somebody_takes_away_is_put_back_where_content_is_not_watched(world: World) -> None:
    """It moves no generation: of what was settled the metadata is compared all the same."""
    world.applier._watched |= {"NetworkPolicy"}
    policy = {**world.child(world.live, name="n"), "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}
    wanted = {k: v for k, v in policy.items() if k != "data"} | {"spec": {"podSelector": {}}}
    put = world.api.put
    await world.applier.apply(wanted)
    live = copy.deepcopy(world.api.objects["NetworkPolicy", "ns", "n"])
    live["metadata"]["generation"] = 1
    world.cache.put(transform(put(live)))
    await world.applier.apply(wanted)  # settles this generation
    world.api.writes.clear()
    await world.applier.apply(wanted)
    assert world.api.writes == []
    live["metadata"]["labels"] = {}
    world.cache.put(transform(put(live)))
    await world.applier.apply(wanted)
    assert world.api.writes == [("apply", "NetworkPolicy", "n")]


async def test_a_child_of_which_the_cache_has_a_part_is_read_live(world: World) -> None:
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "ns"}, "data": {"v": "x"}}
    ours = world.child(world.live)
    world.cache.put(
        {**transform(world.api.put(theirs)), "metadata": {**ours["metadata"], "uid": "u"}, TRUNCATED: 1 << 20}
    )
    with pytest.raises(Stalled, match="was not created by Tidemill"):
        await world.applier.apply(ours)
