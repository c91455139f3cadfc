"""A child that the API server refuses: what is done all the same, what is not, and when it is tried again."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.invariants import check_status, kstatus
from tests.unit.engine.test_controller import KEY, World

from tidemill.core import conditions
from tidemill.core.plan import Event, ObjectRef, Patch, Plan
from tidemill.engine.ownership import FOREIGN_LOOK_SECONDS
from tidemill.errors import ApiError

Obj = dict[str, Any]
INVALID = ApiError(422, "Invalid", "spec.x must be 1")
QUOTA = ApiError(403, "Forbidden", "exceeded quota: pods")


@pytest.fixture
async def world() -> World:
    """`c` comes before `routes`; the status says how far an analysis is."""
    world = World()
    world.api.put({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "ns"}})

    def decide(obj: Obj) -> Plan:
        seen = (obj.get("status") or {}).get("step")
        return Plan(
            apply=(world.child(obj), world.child(obj, name="routes")),
            patches=(Patch(ObjectRef("v1", "Pod", "ns", "p"), {"spec": {}}),) if seen is None else (),
            delete=(ObjectRef("batch/v1", "Job", "ns", "old"),),
            status={**world.ready(obj), "step": 2},
            events=(Event("Normal", "CanaryStep", "20 %", "ShiftTraffic"),) if seen is None else (),
            requeue_after=30,
        )

    world.decide = decide
    return world


async def test_the_other_children_and_the_status_do_not_wait(world: World) -> None:
    world.api.refused = {"c": INVALID}
    outcome = await world.controller.process(KEY)
    assert world.api.writes == [
        ("apply", "ConfigMap", "routes"),
        ("patch", "Pod", "p"),
        ("status", "ModelMonitor", "m"),
        ("event", "Normal", "CanaryStep"),
        ("event", "Warning", "Rejected"),
    ], "everything but the delete, which may rely on what was refused"
    assert (outcome.requeue_after, outcome.failed) == (30, False)
    check_status(world.live)
    assert kstatus(world.live) == "Failed"
    assert world.live["status"]["step"] == 2
    world.api.writes.clear()
    world.clock.advance(30)
    assert (await world.controller.process(KEY)).requeue_after == 30
    assert world.api.writes == [], "the same refusal again changes nothing, nor does its time move"
    world.api.refused = {}
    await world.controller.process(KEY)
    assert kstatus(world.live) == "Current"
    assert ("delete", "Job", "old") in world.api.writes


async def test_a_child_that_is_being_deleted_is_looked_at_soon(world: World) -> None:
    terminating = {
        **world.child(world.live),
        "metadata": {**world.child(world.live)["metadata"], "deletionTimestamp": "x"},
    }
    world.api.put(terminating)
    outcome = await world.controller.process(KEY)
    assert (outcome.result, outcome.requeue_after) == ("requeue_after", 2)
    assert ("apply", "ConfigMap", "routes") in world.api.writes
    assert kstatus(world.live) == "InProgress"
    assert world.live["status"]["step"] == 2


async def test_what_is_somebody_elses_is_not_patched_either(world: World) -> None:
    """A number of pods is patched by name: also where a Deployment of that name is no child of ours."""
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "ns"}, "data": {"v": "2"}}
    world.api.put(theirs)
    sets = tuple(Patch(ObjectRef("v1", "ConfigMap", "ns", name), {"data": {}}) for name in ("c", "routes"))
    world.decide = lambda obj: Plan(apply=(world.child(obj), world.child(obj, name="routes")), patches=sets)
    await world.controller.process(KEY)
    assert world.api.objects["ConfigMap", "ns", "c"]["data"] == {"v": "2"}
    assert [w for w in world.api.writes if w[0] == "patch"] == [("patch", "ConfigMap", "routes")]
    assert kstatus(world.live) == "Failed"


async def test_quota_is_retried_and_shown_from_the_third_time(world: World) -> None:
    world.api.refused = {"c": QUOTA}
    for _ in range(2):
        assert (await world.controller.process(KEY)).failed
        assert "status" not in world.live
    outcome = await world.controller.process(KEY)
    assert outcome.failed
    assert outcome.requeue_after == 30, "the analysis does not wait for a backoff of minutes"
    assert world.live["status"]["step"] == 2
    ready = conditions.get(world.live["status"]["conditions"], "Ready")
    assert ready is not None
    assert "exceeded quota" in ready["message"]
    check_status(world.live)


async def test_what_is_written_once_is_waited_for(world: World) -> None:
    decide = world.decide

    def with_job(obj: Obj) -> Plan:
        plan = decide(obj)
        job = {**world.child(obj, name="job"), "apiVersion": "batch/v1", "kind": "Job", "spec": {}}
        return Plan(apply=(job, *plan.apply), status=plan.status, events=plan.events)

    world.decide = with_job
    world.api.refused = {"job": INVALID}
    await world.controller.process(KEY)
    assert world.api.writes == [("status", "ModelMonitor", "m"), ("event", "Warning", "Rejected")]
    assert "step" not in world.live["status"], "the plan's status may count the Job as made"


@pytest.mark.parametrize("status", [0, 409, 429])
async def test_what_concerns_the_whole_pass_ends_it(world: World, status: int) -> None:
    world.api.refused = {"c": ApiError(status, "Whatever", "not now")}
    assert (await world.controller.process(KEY)).failed
    assert world.api.writes == []


async def test_the_echo_of_a_patch_wakes_and_that_of_an_apply_does_not(world: World) -> None:
    world.decide = lambda obj: Plan(apply=(world.child(obj),))
    await world.controller.process(KEY)
    child = world.api.objects["ConfigMap", "ns", "c"]
    assert world.cache.writer_of(child) == KEY
    world.decide = lambda obj: Plan(patches=(Patch(ObjectRef.of(child), {"data": {"v": "2"}}),))
    await world.controller.process(KEY)
    patched = world.api.objects["ConfigMap", "ns", "c"]
    assert patched["data"] == {"v": "2"}
    known = world.cache.get("ConfigMap", "ns", "c")
    assert known is not None
    assert known["metadata"]["resourceVersion"] == patched["metadata"]["resourceVersion"]
    assert "data" not in known, "content of this kind is not kept"
    assert world.cache.writer_of(patched) is None


def owned(world: World, kind: str, api_version: str) -> Obj:
    """A child that is written once."""
    return {**world.child(world.live, name="once"), "apiVersion": api_version, "kind": kind, "spec": {}}


async def test_a_refused_claim_holds_up_no_other(world: World) -> None:
    decide = world.decide
    claim = owned(world, "PersistentVolumeClaim", "v1")

    def with_claim(obj: Obj) -> Plan:
        plan = decide(obj)
        return Plan(apply=(claim, *plan.apply), status=plan.status)

    world.decide = with_claim
    world.api.refused = {"once": INVALID}
    await world.controller.process(KEY)
    assert [w[:2] for w in world.api.writes[:3]] == [
        ("apply", "ConfigMap"),
        ("apply", "ConfigMap"),
        ("status", "ModelMonitor"),
    ]
    assert world.live["status"]["step"] == 2, "no status counts a claim as made"
    ready = conditions.get(world.live["status"]["conditions"], "Ready")
    assert ready is not None
    assert "PersistentVolumeClaim once was refused" in ready["message"]


async def test_a_job_without_our_label_ends_in_a_condition_and_no_loop(world: World) -> None:
    """The watch on Jobs selects by the label, so the cache never shows this one."""
    job = owned(world, "Job", "batch/v1")
    world.applier._watched = frozenset({*world.applier._watched, "Job"})
    world.api.put(job)
    world.decide = lambda obj: Plan(apply=(job,), requeue_after=1.0)
    outcome = await world.controller.process(KEY)
    assert (outcome.requeue_after, outcome.failed) == (FOREIGN_LOOK_SECONDS, False)
    stalled = conditions.get(world.live["status"]["conditions"], "Stalled")
    assert stalled is not None
    assert stalled["reason"] == "NotOwned"
    assert "exists without the label app.kubernetes.io/managed-by=tidemill" in stalled["message"]
    check_status(world.live)

    labelled = {**job["metadata"], "labels": {"app.kubernetes.io/managed-by": "tidemill"}}
    world.api.put({**job, "metadata": labelled})
    assert (await world.controller.process(KEY)).requeue_after == 1.0
    assert world.cache.get("Job", "ns", "once") is not None, "what was found is known at once"
