"""Objects that pods would read by name and that are not ours: no such pods are made, kept or changed."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.invariants import check_status, kstatus
from tests.unit.engine.test_controller import KEY, World

from tidemill.core import conditions
from tidemill.core.labels import MANAGED_BY, MANAGED_BY_VALUE
from tidemill.core.plan import Plan
from tidemill.engine.ownership import FOREIGN_LOOK_SECONDS
from tidemill.errors import ApiError
from tidemill.kube.transform import transform

Obj = dict[str, Any]
THEIRS = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "ns"}, "data": {"v": "2"}}
QUOTA = ApiError(403, "Forbidden", "exceeded quota: configmaps")
LABELLED = {MANAGED_BY: MANAGED_BY_VALUE}


def pods(world: World, obj: Obj, kind: str = "Deployment", reads: str = "c", image: str = "a") -> Obj:
    """A child with pods that mount a ConfigMap."""
    volumes = [{"name": "config", "configMap": {"name": reads}}]
    spec = {"template": {"spec": {"containers": [{"name": "x", "image": image}], "volumes": volumes}}}
    version = {"Deployment": "apps/v1", "Job": "batch/v1"}[kind]
    return {**world.child(obj, name="pods"), "apiVersion": version, "kind": kind, "spec": spec}


@pytest.fixture
async def world() -> World:
    """A plan with a ConfigMap, pods that read it, and another child; Deployments are watched."""
    world = World()
    world.applier._watched = frozenset({*world.applier._watched, "Deployment"})
    world.decide = lambda obj: Plan(
        apply=(world.child(obj), pods(world, obj), world.child(obj, name="other")), status=world.ready(obj)
    )
    return world


def ready(world: World) -> Obj:
    found = conditions.get(world.live["status"]["conditions"], "Ready")
    assert found is not None
    return dict(found)


async def test_no_pods_are_made_that_would_read_what_somebody_else_made(world: World) -> None:
    world.api.put(THEIRS)
    outcome = await world.controller.process(KEY)
    assert ("Deployment", "ns", "pods") not in world.api.objects
    assert ("ConfigMap", "ns", "other") in world.api.objects, "what does not read it does not wait"
    assert world.api.objects["ConfigMap", "ns", "c"]["data"] == {"v": "2"}
    assert (kstatus(world.live), ready(world)["reason"]) == ("Failed", "NotOwned")
    text = ready(world)["message"]
    assert "ConfigMap c exists and was not created by Tidemill" in text and "delete or rename it" in text
    assert "Deployment pods" in text
    check_status(world.live)
    assert outcome.requeue_after == FOREIGN_LOOK_SECONDS, "nobody says when it is gone"


async def test_it_heals_by_itself_when_the_object_is_gone(world: World) -> None:
    world.api.put(THEIRS)
    await world.controller.process(KEY)
    del world.api.objects["ConfigMap", "ns", "c"]
    await world.controller.process(KEY)
    assert kstatus(world.live) == "Current"
    assert ("Deployment", "ns", "pods") in world.api.objects


@pytest.mark.parametrize("change", ["made again by somebody else", "without its owner"])
async def test_pods_do_not_go_on_reading_what_has_become_somebody_elses(world: World, change: str) -> None:
    await world.controller.process(KEY)
    mine = world.api.objects["ConfigMap", "ns", "c"]
    if change == "without its owner":
        left = {k: v for k, v in mine["metadata"].items() if k != "ownerReferences"}
        world.api.objects["ConfigMap", "ns", "c"] = {**mine, "metadata": {**left, "resourceVersion": "900"}}
        world.cache.put(transform(world.api.objects["ConfigMap", "ns", "c"]))
    else:
        world.cache.remove("ConfigMap", "ns", "c", mine["metadata"]["uid"], 900)
        world.api.objects["ConfigMap", "ns", "c"] = {**THEIRS, "metadata": {**THEIRS["metadata"], "uid": "x"}}
    world.api.writes.clear()
    await world.controller.process(KEY)
    assert ("delete", "Deployment", "pods") in world.api.writes
    assert ("apply", "ConfigMap", "c") not in world.api.writes
    assert ready(world)["reason"] == "NotOwned"


async def test_pods_that_do_not_read_it_stay_as_they_are(world: World) -> None:
    """Those of a template from before: neither changed to one that reads it nor removed."""
    both = world.decide
    world.decide = lambda obj: Plan(apply=(pods(world, obj, reads="other"), world.child(obj, name="other")))
    await world.controller.process(KEY)
    world.api.put(THEIRS)
    world.decide = both
    world.api.writes.clear()
    await world.controller.process(KEY)
    assert [w for w in world.api.writes if w[1] == "Deployment"] == []


async def test_pods_that_are_not_watched_are_stopped_as_well(world: World) -> None:
    """Somebody took the label from a Deployment of ours, too."""
    await world.controller.process(KEY)
    world.cache.remove(
        "Deployment", "ns", "pods", world.api.objects["Deployment", "ns", "pods"]["metadata"]["uid"], 900
    )
    world.cache.remove("ConfigMap", "ns", "c", world.api.objects["ConfigMap", "ns", "c"]["metadata"]["uid"], 900)
    world.api.objects["ConfigMap", "ns", "c"] = {**THEIRS, "metadata": {**THEIRS["metadata"], "uid": "x"}}
    await world.controller.process(KEY)
    assert ("delete", "Deployment", "pods") in world.api.writes


async def test_pods_of_somebody_else_are_left_alone(world: World) -> None:
    world.api.put(THEIRS)
    stranger = pods(world, world.live)
    owner = {**stranger["metadata"]["ownerReferences"][0], "uid": "another"}
    meta = {**stranger["metadata"], "ownerReferences": [owner], "labels": LABELLED}
    world.cache.put(transform(world.api.put({**stranger, "metadata": meta})))
    await world.controller.process(KEY)
    assert [w for w in world.api.writes if w[0] == "delete"] == []


async def test_pods_also_wait_for_what_could_not_be_written(world: World) -> None:
    """The name is free as long as a quota refuses it: somebody else's would be read."""
    world.api.refused = {"c": QUOTA}
    await world.controller.process(KEY)
    assert ("Deployment", "ns", "pods") not in world.api.objects
    assert ("ConfigMap", "ns", "other") in world.api.objects
    world.api.refused = {}
    await world.controller.process(KEY)
    assert ("Deployment", "ns", "pods") in world.api.objects
    world.api.refused = {"c": QUOTA}
    world.decide = lambda obj: Plan(apply=(world.child(obj, "2"), pods(world, obj, image="b")))
    world.api.writes.clear()
    await world.controller.process(KEY)
    assert world.api.writes == [], "what is there stays"


async def test_a_job_is_not_made_and_not_counted_as_made(world: World) -> None:
    world.api.put(THEIRS)
    world.decide = lambda obj: Plan(apply=(world.child(obj), pods(world, obj, "Job")), status={"step": 2})
    outcome = await world.controller.process(KEY)
    assert ("Job", "ns", "pods") not in world.api.objects
    assert ready(world)["reason"] == "NotOwned" and "Job pods" in ready(world)["message"]
    assert "step" not in world.live["status"]
    assert outcome.requeue_after == FOREIGN_LOOK_SECONDS
    del world.api.objects["ConfigMap", "ns", "c"]
    await world.controller.process(KEY)
    assert ("Job", "ns", "pods") in world.api.objects


async def test_what_nobody_owns_on_purpose_is_no_reason_to_wait(world: World) -> None:
    """The default claim of a namespace may be made by an administrator, and outlives all that use it."""
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "store", "namespace": "ns"}}
    volumes = [{"name": "store", "persistentVolumeClaim": {"claimName": "store"}}]

    def decide(obj: Obj) -> Plan:
        job = pods(world, obj, "Job")
        job["spec"]["template"]["spec"]["volumes"] = volumes
        return Plan(apply=({**claim, "spec": {}}, job))

    world.decide = decide
    world.api.refused = {"store": QUOTA}
    await world.controller.process(KEY)
    assert ("Job", "ns", "pods") in world.api.objects


async def test_an_object_of_ours_without_its_label_is_put_right(world: World) -> None:
    """The cache knows the identity alone of an object without the label: whose it is is read live."""
    await world.controller.process(KEY)
    mine = world.api.objects["ConfigMap", "ns", "c"]
    bare = {"name": "c", "namespace": "ns", "uid": mine["metadata"]["uid"], "resourceVersion": "900"}
    meta = {k: v for k, v in mine["metadata"].items() if k != "labels"}
    world.api.objects["ConfigMap", "ns", "c"] = {**mine, "metadata": {**meta, "resourceVersion": "900"}}
    world.cache.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": bare})
    world.api.writes.clear()
    await world.controller.process(KEY)
    assert ("apply", "ConfigMap", "c") in world.api.writes
    assert ("delete", "Deployment", "pods") not in world.api.writes
    assert kstatus(world.live) == "Current"


async def test_what_is_being_deleted_is_put_right_as_long_as_it_is_there(world: World) -> None:
    """A finalizer keeps an object of ours for as long as somebody likes, and pods go on reading it."""
    await world.controller.process(KEY)
    mine = world.api.objects["ConfigMap", "ns", "c"]
    meta = {**mine["metadata"], "deletionTimestamp": "2026-03-01T12:00:00Z", "finalizers": ["example.com/mine"]}
    world.cache.put(transform(world.api.put({**mine, "metadata": meta, "data": {"v": "theirs"}})))
    await world.controller.process(KEY)
    assert world.api.objects["ConfigMap", "ns", "c"]["data"] == {"v": "1"}
    assert kstatus(world.live) == "InProgress"
    assert ("Deployment", "ns", "pods") in world.api.objects


async def test_no_requests_are_led_to_what_somebody_else_made(world: World) -> None:
    """Routes name a Service; the pods that read the routes go on with those of before."""
    service = {"apiVersion": "v1", "kind": "Service", "spec": {}}
    leads = {("ConfigMap", "c"): frozenset({("Service", "s")})}

    def decide(obj: Obj) -> Plan:
        made = {**service, "metadata": world.child(obj, name="s")["metadata"]}
        return Plan(apply=(made, world.child(obj, "new"), pods(world, obj)), leads_to=leads, status=world.ready(obj))

    await world.controller.process(KEY)
    world.decide = decide
    world.api.put({**service, "metadata": {"name": "s", "namespace": "ns"}})
    world.api.writes.clear()
    await world.controller.process(KEY)
    assert world.api.objects["ConfigMap", "ns", "c"]["data"] == {"v": "1"}
    assert [w for w in world.api.writes if w[0] in ("apply", "delete")] == []
    assert ready(world)["reason"] == "NotOwned"
    assert "Service s exists" in ready(world)["message"] and "ConfigMap c is not changed" in ready(world)["message"]
    del world.api.objects["Service", "ns", "s"]
    await world.controller.process(KEY)
    assert world.api.objects["ConfigMap", "ns", "c"]["data"] == {"v": "new"}
    assert kstatus(world.live) == "Current"
