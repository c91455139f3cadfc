"""A namespace that is being deleted is left alone: one refusal is enough, whatever child and however many events."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.engine.test_controller import KEY, World

from tidemill.core.plan import Key, Plan
from tidemill.engine.terminating import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, Terminating
from tidemill.errors import ApiError
from tidemill.kube.transport import error_of

Obj = dict[str, Any]
BODY = (
    b'{"kind":"Status","status":"Failure","reason":"Forbidden","code":403,"message":"configmaps \\"c\\" is forbidden",'
    b'"details":{"causes":[{"reason":"NamespaceTerminating","message":"namespace ns is being terminated"}]}}'
)
REFUSED = error_of("PATCH", "/api/v1/namespaces/ns/configmaps/c", 403, {}, BODY)
OTHERS = [Key("ModelMonitor", "ns", f"m{n}") for n in range(50)]


class Busy(World):
    """A namespace with many monitors, each of which wants two children; every write there is tried and counted."""

    def __init__(self, kind: str = "ConfigMap") -> None:
        super().__init__()
        self.tried = 0
        self.kind = kind
        for key in OTHERS:
            meta = {"name": key.name, "namespace": "ns", "generation": 1}
            self.cache.put(self.api.put({"apiVersion": "tidemill.io/v1alpha1", "kind": key.kind, "metadata": meta}))
        self.decide = lambda obj: Plan(apply=(self.one(obj, "c"), self.one(obj, "d")), status=self.ready(obj))
        store = self.api._store

        def refuse(verb: str, obj: Obj, merge: bool = False) -> Obj:
            self.tried += 1
            if self.going:
                raise REFUSED
            return store(verb, obj, merge)

        self.going = True
        self.api._store = refuse  # type: ignore[method-assign]

    def one(self, obj: Obj, name: str) -> Obj:
        made = self.child(obj, name=f"{name}-{obj['metadata']['name']}")
        owner = {**made["metadata"]["ownerReferences"][0], "name": obj["metadata"]["name"]}
        meta = {**made["metadata"], "ownerReferences": [owner]}
        version = "batch/v1" if self.kind == "Job" else "v1"
        return {**made, "apiVersion": version, "kind": self.kind, "metadata": meta}


def test_the_cause_is_read_from_the_answer() -> None:
    assert REFUSED.causes == {"NamespaceTerminating"} and REFUSED.status == 403
    assert error_of("PATCH", "/x", 403, {}, b'{"reason":"Forbidden","details":null}').causes == frozenset()
    assert error_of("PATCH", "/x", 502, {}, b"<html>").causes == frozenset()


@pytest.mark.parametrize("kind", ["ConfigMap", "Service", "Job"])
async def test_one_refusal_holds_everything_in_the_namespace(kind: str) -> None:
    world = Busy(kind)
    for _ in range(20):  # every deleted child wakes somebody
        for key in (KEY, *OTHERS):
            outcome = await world.controller.process(key)
            assert not outcome.failed and outcome.requeue_after is not None
            assert 0 < outcome.requeue_after <= FIRST_PAUSE_SECONDS
    assert world.tried == 1
    assert world.api.writes == [], "no status, no event either"


async def test_it_is_looked_at_again_seldom_by_one_of_them() -> None:
    world = Busy()
    for _ in range(3600 // 5):
        for key in (KEY, *OTHERS):
            await world.controller.process(key)
        world.clock.advance(5)
    assert world.tried <= 4 + 3600 / LONGEST_PAUSE_SECONDS + 2


async def test_another_namespace_is_not_concerned_and_another_refusal_closes_nothing() -> None:
    world = Busy()
    await world.controller.process(KEY)
    world.going = False
    meta = {"name": "m", "namespace": "elsewhere", "generation": 1}
    world.cache.put(world.api.put({"apiVersion": "tidemill.io/v1alpha1", "kind": "ModelMonitor", "metadata": meta}))
    assert (await world.controller.process(Key("ModelMonitor", "elsewhere", "m"))).result == "success"

    quota = World()
    quota.api.refused = {"c": ApiError(403, "Forbidden", "exceeded quota")}
    quota.decide = lambda obj: Plan(apply=(quota.child(obj), quota.child(obj, name="d")), status=quota.ready(obj))
    await quota.controller.process(KEY)
    assert ("apply", "ConfigMap", "d") in quota.api.writes


async def test_a_namespace_of_that_name_that_comes_back_is_served_at_once() -> None:
    world = Busy()
    await world.controller.process(KEY)
    for key in (KEY, *OTHERS):
        obj = world.cache.get(*key)
        assert obj is not None
        world.cache.remove(*key, obj["metadata"]["uid"])
        assert (await world.controller.process(key)).result == "success", "it is gone: nothing is held"
    world.going = False
    meta = {"name": "m", "namespace": "ns", "generation": 1, "uid": "new"}
    world.api.objects.clear()
    world.cache.put(world.api.put({"apiVersion": "tidemill.io/v1alpha1", "kind": "ModelMonitor", "metadata": meta}))
    assert (await world.controller.process(KEY)).result == "success"
    assert ("apply", "ConfigMap", "c-m") in world.api.writes


async def test_so_is_one_whose_old_objects_were_not_seen_to_go() -> None:
    world = Busy()
    await world.controller.process(KEY)
    world.going = False
    obj = world.cache.get(*KEY)
    assert obj is not None
    world.cache.remove(*KEY, obj["metadata"]["uid"])
    world.api.objects.pop(("ModelMonitor", "ns", "m"))
    meta = {"name": "m", "namespace": "ns", "generation": 1, "uid": "new"}
    world.cache.put(world.api.put({"apiVersion": "tidemill.io/v1alpha1", "kind": "ModelMonitor", "metadata": meta}))
    assert (await world.controller.process(KEY)).result == "success"


async def test_nothing_is_remembered_of_namespaces_that_are_gone() -> None:
    world = World()
    closed = Terminating(world.cache, world.clock, ["ModelMonitor"])
    closed.close("ns")
    assert closed.hold(KEY) is not None and len(closed) == 1
    obj = world.cache.get(*KEY)
    assert obj is not None
    world.cache.remove(*KEY, obj["metadata"]["uid"])
    assert closed.hold(KEY) is None and len(closed) == 0


async def test_the_last_of_many_objects_ends_it_and_none_before_asks_for_all_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Six thousand removals that looked at all that was left took half a minute of the operator's time."""
    world = Busy()
    closed = Terminating(world.cache, world.clock, ["ModelMonitor", "ModelDeployment"])
    closed.close("ns")
    monkeypatch.setattr(world.cache, "list", lambda *_, **__: pytest.fail("all objects are looked at"))
    for left, key in enumerate((KEY, *OTHERS)):
        assert len(closed) == 1, left
        world.cache.remove(*key)
        assert closed.hold(key) is None
    assert len(closed) == 0


def closed_namespace() -> tuple[World, Terminating]:
    world = World()
    closed = Terminating(world.cache, world.clock, ["ModelMonitor"])
    assert closed.close("ns") == FIRST_PAUSE_SECONDS == 10
    return world, closed


async def test_one_pass_looks_after_each_pause_and_the_pauses_double_up_to_five_minutes() -> None:
    world, closed = closed_namespace()
    world.clock.advance(9.5)
    assert closed.hold(KEY) == 0.5
    world.clock.advance(0.5)
    pauses = []
    for _ in range(7):
        assert closed.hold(KEY) is None, "its turn to look"
        pause = closed.hold(KEY)
        assert pause is not None
        pauses.append(pause)
        world.clock.advance(pause)
    assert pauses == [20, 40, 80, 160, 300, 300, 300]


async def test_a_refusal_that_comes_again_waits_for_what_is_left_and_at_least_a_second() -> None:
    world, closed = closed_namespace()
    world.clock.advance(4)
    assert closed.close("ns") == 6
    world.clock.advance(6)
    assert closed.close("ns") == 1
    assert len(closed) == 1


async def test_an_object_of_a_new_namespace_of_that_name_opens_it() -> None:
    world, closed = closed_namespace()
    meta = {"name": "new", "namespace": "ns", "uid": "new", "resourceVersion": "99"}
    world.cache.put({"apiVersion": "tidemill.io/v1alpha1", "kind": "ModelMonitor", "metadata": meta})
    assert closed.hold(Key("ModelMonitor", "ns", "new")) is None
    assert len(closed) == 0
