"""Available is not True while every router pod says that it knows no address of the stable version's ready pods."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.serving.make import ago, router, scrape, snapshot, stable, version, workload
from tests.unit.serving.test_reconciler import World

from tidemill.core import conditions
from tidemill.serving import plan, readiness, requeue
from tidemill.serving.builders import server
from tidemill.serving.router_stats import Scrape
from tidemill.serving.snapshot import Router, Snapshot, children_of
from tidemill.serving.state import State

Obj = dict[str, Any]
NONE, ONE = scrape(members={1: 0, 2: 1}), scrape(members={1: 1, 2: 1})
SETTLED = 600.0


def said(status: str, reason: str) -> Obj:
    return conditions.Condition("Available", status, reason, "", 1, ago(3600)).to_json()  # type: ignore[arg-type]


SERVING, LOST = said("True", "Serving"), said("False", "NoReachablePod")
PENDING = said("Unknown", "Pending")


def look(before: Obj, *scrapes: Scrape | None, age: float = SETTLED, router_age: float | None = None) -> Snapshot:
    """Version 1 has served; `age` seconds ago its pods got ready, the routes were written, the router's pods made."""
    made = router(*scrapes, since=age, routes="1")
    pods = tuple(replace(p, created=ago(age if router_age is None else router_age)) for p in made.pods)
    found = snapshot(
        {},
        {"stable": stable(1)},
        versions=(version(1),),
        workloads=(workload(1, available_since=ago(age)),),
        router=replace(made, pods=pods),
    )
    return replace(found, object={**found.object, "status": {**found.object["status"], "conditions": [before]}})


def available(found: Snapshot) -> tuple[str, str]:
    written = plan.plan(found).status
    assert written is not None
    condition = conditions.get(written["conditions"], "Available")
    assert condition is not None
    return condition["status"], condition["reason"]


def test_no_router_pod_knows_an_address() -> None:
    found = look(SERVING, NONE, NONE)
    assert available(found) == ("False", "NoReachablePod")
    written = plan.plan(found).status
    assert written is not None
    ready = conditions.get(written["conditions"], "Ready")
    assert ready is not None and (ready["status"], ready["reason"]) == ("False", "NoReachablePod")
    assert (
        "no pod of the router knows an address of a pod of churn-1, although 1 pod of it is ready" in ready["message"]
    )


def test_one_router_pod_that_knows_an_address_is_enough() -> None:
    for before in (SERVING, LOST):
        assert available(look(before, NONE, ONE)) == ("True", "Serving")
        assert available(look(before, None, ONE)) == ("True", "Serving")


@pytest.mark.parametrize(
    "found",
    [
        look(SERVING, NONE, age=3),
        look(SERVING, NONE, router_age=3),
        replace(look(SERVING, NONE), router=replace(look(SERVING, NONE).router, routes_since=ago(3))),
        replace(look(SERVING, NONE), workloads=(workload(1, available_since=ago(3)),)),
        look(SERVING, NONE, None),
        look(SERVING, None, None),
    ],
    ids=["all new", "new router", "new routes", "new pods", "one says nothing", "none says anything"],
)
def test_what_served_counts_as_lost_only_when_all_say_so_and_had_time_to_learn_it(found: Snapshot) -> None:
    assert available(found) == ("True", "Serving")


@pytest.mark.parametrize("before", [LOST, PENDING, said("False", "NoReadyRouter"), said("False", "NoReadyPod")])
def test_what_did_not_serve_is_available_only_with_an_address(before: Obj) -> None:
    """So a router that has just started does not make it True, False and True again."""
    assert available(look(before, NONE, age=1)) == ("False", "NoReachablePod")
    assert available(look(before, ONE, age=1)) == ("True", "Serving")


def test_a_router_that_does_not_answer_for_once_changes_nothing() -> None:
    for scrapes in ((None,), (None, None), (NONE, None)):
        assert available(look(LOST, *scrapes)) == ("False", "NoReachablePod")
        assert available(look(said("False", "NoReadyPod"), *scrapes)) == ("True", "Serving"), "it could not be asked"


def test_no_ready_pod_and_no_ready_router_keep_their_own_reasons() -> None:
    assert available(replace(look(LOST, NONE), workloads=(workload(1, ready=0),)))[1] == "NoReadyPod"
    assert available(replace(look(LOST, NONE), router=Router()))[1] == "NoReadyRouter"


@pytest.mark.parametrize("scrapes", [(NONE,), (None,)])
def test_it_is_looked_at_again_until_a_router_pod_knows_one(scrapes: tuple[Scrape | None, ...]) -> None:
    found = look(LOST, *scrapes)
    state = State.of(found.status)
    assert readiness.is_unreachable(found, state)
    assert requeue.requeue_after(found, state, "1") == requeue.UNREACHABLE_SECONDS


@pytest.mark.parametrize(
    ("before", "ready", "asks"), [(SERVING, 1, False), (LOST, 1, True), (PENDING, 1, True), (LOST, 0, False)]
)
async def test_the_router_of_what_is_not_available_is_asked_although_nothing_moves(
    before: Obj, ready: int, asks: bool
) -> None:
    world = World()
    world.deployment({"stable": stable(1).to_json(), "conditions": [before]})
    world.model_version("churn-1", "churn", 1)
    child = world.client.deployment(children_of("churn", version(1))[0], snapshot().object)
    child["spec"] = server.deployment(snapshot(), version(1))["spec"]
    child["status"] = {"replicas": 1, "readyReplicas": ready}
    world.put(child)
    world.router_pod("r", "10.0.0.1")
    found = await world.look()
    assert [w.ready for w in found.workloads] == [ready]
    assert bool(world.client.asked) is asks
