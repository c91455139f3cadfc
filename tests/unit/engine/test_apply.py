"""Writes of children: which refusals end a pass, whose children are left alone, and what needs no write."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.engine.fakes import FakeApi, FakeClock

from tidemill.core.labels import MANAGED_BY, MANAGED_BY_VALUE
from tidemill.core.plan import ObjectRef, Patch, Plan
from tidemill.core.random_values import RANDOM
from tidemill.engine import apply as applying
from tidemill.engine.apply import Applier
from tidemill.errors import ApiError, Stalled, Waiting
from tidemill.kube.cache import Cache

Obj = dict[str, Any]
OWNER = {"apiVersion": "tidemill.io/v1alpha1", "kind": "ModelMonitor", "name": "m", "uid": "u", "controller": True}
POD = ObjectRef("v1", "Pod", "ns", "p")


class World:
    """An applier that knows ConfigMaps and Jobs by a watch."""

    def __init__(self) -> None:
        self.api, self.cache = FakeApi(), Cache()
        self.applier = Applier(self.api, self.cache, ["ConfigMap", "Job"])  # type: ignore[arg-type]

    def refuse_patches(self, error: ApiError) -> None:
        async def patch(*_: Any) -> Obj:
            raise error

        self.api.patch_merge = patch  # type: ignore[method-assign]


@pytest.fixture
def world() -> World:
    return World()


def child(kind: str = "ConfigMap", name: str = "c", **metadata: Any) -> Obj:
    version = {"Job": "batch/v1", "Deployment": "apps/v1"}.get(kind, "v1")
    meta = {"name": name, "namespace": "ns", "ownerReferences": [OWNER], **metadata}
    return {"apiVersion": version, "kind": kind, "metadata": meta, "spec": {"x": 1}}


def ours(obj: Obj, **metadata: Any) -> Obj:
    return {**obj, "metadata": {**obj["metadata"], "labels": {MANAGED_BY: MANAGED_BY_VALUE}, **metadata}}


def patch(*, uid: str | None = None, ignore_missing: bool = True) -> Plan:
    ref = ObjectRef("v1", "Pod", "ns", "p", uid)
    gone = ObjectRef("batch/v1", "Job", "ns", "old")
    return Plan(patches=(Patch(ref, {"metadata": {}}, ignore_missing=ignore_missing),), delete=(gone,))


MISSING, CONFLICT = ApiError(404, "NotFound", "gone"), ApiError(409, "Conflict", "changed")
FORBIDDEN, BUSY = ApiError(403, "Forbidden", "quota"), ApiError(429, "TooManyRequests", "slow down")


@pytest.mark.parametrize(
    ("plan", "error", "outcome"),
    [
        (patch(), MISSING, "goes on"),
        (patch(uid="u"), CONFLICT, "goes on"),
        (patch(), CONFLICT, "ends"),
        (patch(ignore_missing=False), MISSING, "is kept"),
        (patch(ignore_missing=False, uid="u"), CONFLICT, "ends"),
        (patch(uid="u"), FORBIDDEN, "is kept"),
        (patch(), BUSY, "ends"),
    ],
)
async def test_a_patch_of_what_may_be_gone_and_one_that_is_refused(
    world: World, plan: Plan, error: ApiError, outcome: str
) -> None:
    world.refuse_patches(error)
    deleted = [("delete", "Job", "old")]
    if outcome == "ends":
        with pytest.raises(ApiError) as raised:
            await world.applier.execute(plan)
        assert raised.value is error
        assert world.api.writes == []
    elif outcome == "is kept":
        assert await world.applier.execute(plan) is error
        assert world.api.writes == [], "a delete relies on what was written before"
    else:
        assert await world.applier.execute(plan) is None
        assert world.api.writes == deleted


async def test_of_several_refusals_the_first_is_told(world: World) -> None:
    second = ApiError(403, "Forbidden", "second")
    world.api.refused = {"a": FORBIDDEN, "b": second}
    assert await world.applier.execute(Plan(apply=(child(name="a"), child(name="b")))) is FORBIDDEN
    world.refuse_patches(second)
    both = Plan(apply=(child(name="a"),), patches=patch(uid="u").patches)
    assert await world.applier.execute(both) is FORBIDDEN


@pytest.mark.parametrize(("status", "is_final"), [(400, True), (422, True), (401, False), (403, False)])
async def test_what_the_api_server_never_takes_is_a_humans_business(world: World, status: int, is_final: bool) -> None:
    world.api.refused = {"c": ApiError(status, "Reason", "no")}
    with pytest.raises(Stalled if is_final else ApiError) as raised:
        await world.applier.apply(child())
    assert isinstance(raised.value, Stalled | ApiError)
    assert raised.value.reason == ("Rejected" if is_final else "Reason")


async def test_a_child_that_is_made_again_has_another_uid(world: World) -> None:
    """A manifest that was copied from a live child does not mean that one alone."""
    world.cache.put(ours(child("Job", uid="live", resourceVersion="1")))
    await world.applier.apply(child("Job", uid="copied"))
    assert world.api.writes == []


async def test_what_is_made_once_is_made_by_one_request(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.api, "get", lambda *_: pytest.fail("it is looked for"))
    await world.applier.apply(child("Job"))
    assert world.api.writes == [("create", "Job", "c")]
    assert world.cache.get("Job", "ns", "c") is not None
    await world.applier.apply(child("Job"))
    assert world.api.writes == [("create", "Job", "c")]


def version(digest: str, controller: str, number: int = 1) -> Obj:
    owner = {**OWNER, "uid": controller}
    meta = {"name": "churn-1", "namespace": "ns", "ownerReferences": [owner], "uid": controller, "resourceVersion": "1"}
    spec = {"pipeline": "churn", "number": number, "digest": digest}
    return {"apiVersion": "tidemill.io/v1alpha1", "kind": "ModelVersion", "metadata": meta, "spec": spec}


@pytest.mark.parametrize("controller", ["a", "b"], ids=["of the same controller", "of another controller"])
async def test_a_version_that_another_pass_registered_meanwhile_is_not_taken_for_the_wanted_one(
    world: World, controller: str
) -> None:
    """A run and an import of one pipeline may come to one number: who is second plans again, with what is there."""
    applier = Applier(world.api, world.cache, ["ModelVersion"])  # type: ignore[arg-type]
    there = ours(version("first", controller))

    async def create(manifest: Obj) -> Obj:
        raise ApiError(409, "AlreadyExists", "there")

    async def get(_: ObjectRef) -> Obj:
        return there

    world.api.create = create  # type: ignore[method-assign]
    world.api.get = get  # type: ignore[method-assign]
    with pytest.raises(ApiError, match="created meanwhile with other content") as raised:
        await applier.apply(version("second", "a"))
    assert raised.value.is_conflict
    assert world.cache.get("ModelVersion", "ns", "churn-1") is not None, "the next pass sees it"


async def test_a_version_of_the_same_content_and_controller_is_the_wanted_one(world: World) -> None:
    applier = Applier(world.api, world.cache, ["ModelVersion"])  # type: ignore[arg-type]
    world.cache.put(ours(version("first", "a")))
    await applier.apply(version("first", "a"))
    assert world.api.writes == []


async def test_a_name_that_is_taken_and_free_again_is_waited_for(world: World) -> None:
    async def create(manifest: Obj) -> Obj:
        raise ApiError(409, "AlreadyExists", "there")

    world.api.create = create  # type: ignore[method-assign]
    with pytest.raises(Waiting, match="is being deleted") as raised:
        await world.applier.apply(child("Job"))
    assert (raised.value.reason, raised.value.retry_after_seconds) == ("ChildTerminating", 2.0)


async def test_somebody_elses_job_of_that_name_is_not_taken_for_ours(world: World) -> None:
    world.api.put(ours(child("Job"), ownerReferences=[{**OWNER, "uid": "another", "name": "other"}]))
    with pytest.raises(Stalled, match="is controlled by ModelMonitor other"):
        await world.applier.apply(child("Job"))


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"deletionTimestamp": "2026-03-01T12:00:00Z"}, "is being deleted"),
        ({"ownerReferences": [{**OWNER, "uid": "of-before"}]}, "still belongs to an earlier ModelMonitor"),
    ],
)
async def test_what_goes_is_waited_for_two_seconds(world: World, metadata: Obj, says: str) -> None:
    world.api.put(ours(child(), **metadata))
    with pytest.raises(Waiting, match=says) as raised:
        await world.applier.apply(child())
    assert (raised.value.reason, raised.value.retry_after_seconds) == ("ChildTerminating", 2.0)


async def test_content_that_the_server_spells_in_another_way_is_applied_once(world: World) -> None:
    store = world.api.apply

    async def spelled(manifest: Obj) -> Obj:
        written = await store(manifest)
        live = world.api.objects["Deployment", "ns", "c"]
        live["spec"] = {"x": "one"}
        return {**written, "spec": live["spec"]}

    world.api.apply = spelled  # type: ignore[method-assign]
    for _ in range(3):
        await world.applier.apply(child("Deployment"))
    assert world.api.writes == [("apply", "Deployment", "c")]
    world.api.objects["Deployment", "ns", "c"]["metadata"]["resourceVersion"] = "99"
    await world.applier.apply(child("Deployment"))
    assert len(world.api.writes) == 2, "somebody changed it"


async def test_content_that_is_as_it_was_written_is_compared_each_time(world: World) -> None:
    await world.applier.apply(child("Deployment"))
    assert list(world.applier._settled) == []
    await world.applier.apply(child("ConfigMap"))
    assert len(world.applier._settled) == 1


async def test_what_is_remembered_of_children_has_a_bound(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert applying._REMEMBERED == 20_000
    monkeypatch.setattr(applying, "_REMEMBERED", 2)
    for name in "abc":
        await world.applier.apply(child(name=name))
    uids = [world.api.objects["ConfigMap", "ns", name]["metadata"]["uid"] for name in "bc"]
    assert list(world.applier._settled) == uids, "the oldest has gone"


def secret(uid: str = "u") -> Obj:
    meta = {"name": "churn-ingest", "namespace": "ns", "ownerReferences": [{**OWNER, "uid": uid}]}
    values = {"token": RANDOM, "name": "churn"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "Opaque", "stringData": values}


class Secrets:
    """An API server that takes Secrets and shows none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock, self.api, self.taken = FakeClock(), FakeApi(), False
        self.made: list[dict[str, str]] = []
        self.applier = Applier(self.api, Cache(), ["ConfigMap"], self.clock)  # type: ignore[arg-type]
        for verb in ("get", "get_metadata", "apply", "patch_merge", "delete"):
            monkeypatch.setattr(self.api, verb, lambda *_: pytest.fail("it may only be created"), raising=False)
        monkeypatch.setattr(self.api, "create", self.create)

    async def create(self, manifest: Obj) -> Obj:
        self.made.append(manifest["stringData"])
        if self.taken:
            raise ApiError(409, "AlreadyExists", "there")
        return manifest


async def test_a_secret_is_created_with_a_value_that_nobody_knew_and_never_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = Secrets(monkeypatch)
    wanted = secret()
    await world.applier.apply(wanted)
    await world.applier.apply(secret("another"))
    first, second = (made["token"] for made in world.made)
    assert len(first) >= 43 and first != second
    assert [made["name"] for made in world.made] == ["churn", "churn"]
    assert wanted["stringData"]["token"] == RANDOM


async def test_a_secret_that_may_be_gone_is_asked_for_again_after_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Secrets(monkeypatch)
    for seconds, made in ((0, 1), (599, 1), (2, 2), (1, 2)):
        world.clock.advance(seconds)
        await world.applier.apply(secret())
        assert len(world.made) == made


async def test_a_name_that_is_taken_is_asked_for_again_soon_as_it_may_be_an_earlier_owners(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = Secrets(monkeypatch)
    world.taken = True
    await world.applier.apply(secret())
    world.taken = False
    await world.applier.apply(secret())
    assert len(world.made) == 1
    world.clock.advance(15)
    await world.applier.apply(secret())
    assert len(world.made) == 2


async def test_a_secret_that_must_not_be_created_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Secrets(monkeypatch)

    async def create(_: Obj) -> Obj:
        raise FORBIDDEN

    monkeypatch.setattr(world.api, "create", create)
    assert await world.applier.execute(Plan(apply=(secret(),))) is FORBIDDEN
