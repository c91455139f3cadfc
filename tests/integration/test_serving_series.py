"""One series of versions replaced by another whose newest version has the same number and digest (decision 0226).

Both versions have one usual name of children. The API server refuses a Deployment whose selector changes, and the
test's routers know as many addresses as pods that the Service of a version really selects.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.apiserver import connect
from tests.support.operators import Installation, wait
from tests.support.servingcluster import Cluster
from tests.support.servingworld import CANARY, World, condition, deployments, operator_of, ready, stable

pytestmark = pytest.mark.integration
Obj = dict[str, Any]
USUAL = "churn-5-00000000"
IMMEDIATE: Obj = {"rollout": {"strategy": "Immediate"}}


@pytest.fixture
def world(installation: Installation, namespace: str) -> Iterator[World]:
    """As the world of all modules, with an operator that ends with the test: here one is stopped in the middle."""
    running = operator_of(installation)
    try:
        with connect(installation.kubeconfig) as api, Cluster(api.http, namespace) as cluster:
            yield World(installation, cluster, namespace)
    finally:
        running.stop()


def follow(world: World, series: str) -> None:
    patch = json.dumps({"spec": {"model": {"pipeline": series}}})
    world.kubectl("patch", "modeldeployment", "churn", "--type=merge", "-p", patch)


def selected(world: World, name: str) -> str | None:
    """The version whose pods a Service selects."""
    found = world.get("service", name)
    return found["spec"]["selector"]["tidemill.io/version"] if found else None


def holds(world: World) -> None:
    """Each Service of a version selects the pods of the Deployment of its name."""
    for name in (n for n in deployments(world) if "router" not in n):
        found = world.get("deployment", name)
        service = selected(world, name)
        if found is not None and service is not None:
            assert service == found["spec"]["selector"]["matchLabels"]["tidemill.io/version"]


def two_series(world: World, spec: Obj) -> None:
    """Two imports of one artifact, each as number 5 of its series; the first is served."""
    for series in ("live2", "live3"):
        world.version(5, series=series)
    world.deploy({**spec, "model": {"pipeline": "live2"}})
    world.served("live2-5")
    assert USUAL in deployments(world)
    world.cluster.unanswered.clear()  # before the first version there are no routes to it


@pytest.mark.parametrize("spec", [IMMEDIATE, {"rollout": CANARY, "replicas": 2}], ids=["immediate", "canary"])
def test_a_series_is_replaced_by_another_with_the_same_number_and_digest(world: World, spec: Obj) -> None:
    two_series(world, spec)
    with world.watched("modeldeployment", "churn") as seen:
        follow(world, "live3")

        def done() -> bool:
            holds(world)
            obj = world.md()
            return ready(obj) == ("True", "Serving") and stable(obj) == "live3-5"

        wait(done, 40, "live3-5 serves")
        wait(lambda: USUAL not in deployments(world), 60, "the pods of live2-5 are removed")
        follow(world, "live2")
        world.served("live2-5", 40)
    assert world.cluster.unanswered == []
    assert all(condition(obj, "Available")["status"] == "True" for obj in seen)
    holds(world)
    served = [name for name in deployments(world) if selected(world, name) == "live2-5"]
    assert served and served != [USUAL], "the usual name was that of live3-5 too, which was stable"


def test_a_service_that_an_earlier_release_has_turned_to_pods_that_never_came_is_mended(
    installation: Installation, namespace: str
) -> None:
    """The state that it left: the Deployment of the served version, and its Service with the other's selector."""
    first = operator_of(installation)
    with connect(installation.kubeconfig) as api, Cluster(api.http, namespace) as cluster:
        world = World(installation, cluster, namespace)
        try:
            two_series(world, IMMEDIATE)
        finally:
            first.stop()
        follow(world, "live3")
        patch = json.dumps({"spec": {"selector": {"tidemill.io/version": "live3-5"}}})
        world.kubectl("patch", "service", USUAL, "--type=merge", "-p", patch)
        wait(lambda: cluster.unanswered, 5, "no request is answered")
        second = operator_of(installation)
        try:
            world.served("live3-5", 40)
            holds(world)
            wait(lambda: cluster.weights() == {"live3-5": 100}, 5, "all requests go to live3-5")
            time.sleep(0.2)
            cluster.unanswered.clear()
            wait(lambda: USUAL not in deployments(world), 60, "the pods of live2-5 are removed")
            assert cluster.unanswered == [] and condition(world.md(), "Available")["status"] == "True"
        finally:
            second.stop()


def test_a_service_that_somebody_turned_to_other_pods_is_turned_back(world: World) -> None:
    two_series(world, IMMEDIATE)
    patch = json.dumps({"spec": {"selector": {"tidemill.io/version": "live3-5"}}})
    world.kubectl("patch", "service", USUAL, "--type=merge", "-p", patch)
    wait(lambda: selected(world, USUAL) == "live2-5", 20, "the operator turns it back")
    wait(lambda: world.cluster.members(USUAL) == 1, 5, "the router knows its pods again")
    world.served("live2-5")
