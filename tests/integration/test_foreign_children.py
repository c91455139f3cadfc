"""Objects that somebody else makes, or takes over, under the name of a child: pods never read them."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from tests.support.operators import wait
from tests.support.servingworld import World, condition, ready

pytestmark = pytest.mark.integration
Obj = dict[str, Any]

ROUTER = "churn-router"
THEIRS = '{"resources":[],"version_info":"theirs"}'
HEALED = 40  # seconds: a look every 15 s, then the pods


def make_theirs(world: World) -> None:
    world.kubectl("create", "configmap", ROUTER, f"--from-literal=routes.json={THEIRS}")


def files(world: World) -> Obj:
    found = world.get("configmap", ROUTER)
    return dict(found["data"]) if found is not None else {}


def not_owned(world: World) -> str:
    found = world.until(lambda o: ready(o) == ("False", "NotOwned"), "it is named")
    return str(condition(found, "Ready")["message"])


def test_a_config_map_made_beforehand_drives_no_router(world: World) -> None:
    make_theirs(world)
    world.version(1)
    world.deploy()
    text = not_owned(world)
    assert f"ConfigMap {ROUTER} exists and was not created by Tidemill" in text and "delete or rename it" in text
    assert world.get("deployment", ROUTER) is None
    assert files(world) == {"routes.json": THEIRS}, "it is not changed either"
    world.kubectl("delete", "configmap", ROUTER)
    world.served("churn-1", HEALED)


@pytest.mark.parametrize("owner", [None, "another"])
def test_a_config_map_that_becomes_somebody_elses_drives_no_router_any_more(world: World, owner: str | None) -> None:
    world.version(1)
    world.deploy()
    world.served("churn-1")
    theirs = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "theirs", "uid": "theirs", "controller": True}
    change: Obj = {"metadata": {"ownerReferences": [theirs] if owner else None}, "data": {"routes.json": THEIRS}}
    world.kubectl("patch", "configmap", ROUTER, "--type=merge", "-p", json.dumps(change))
    not_owned(world)
    wait(lambda: world.get("deployment", ROUTER) is None, 10, "no router reads it")
    world.kubectl("delete", "configmap", ROUTER)
    world.served("churn-1", HEALED)


@pytest.mark.parametrize("change", ["data", "label", "a finalizer"])
def test_a_config_map_of_ours_that_somebody_edits_is_put_right(world: World, change: str) -> None:
    world.version(1)
    world.deploy()
    world.served("churn-1")
    before = files(world)
    patch: Obj = {"data": {"routes.json": THEIRS}}
    if change == "label":
        patch["metadata"] = {"labels": {"app.kubernetes.io/managed-by": None}}
    if change == "a finalizer":  # it stays while it is deleted, for as long as somebody likes
        finalizer = {"metadata": {"finalizers": ["example.com/theirs"]}}
        world.kubectl("patch", "configmap", ROUTER, "--type=merge", "-p", json.dumps(finalizer))
        world.kubectl("delete", "configmap", ROUTER, "--wait=false")
    world.kubectl("patch", "configmap", ROUTER, "--type=merge", "-p", json.dumps(patch))
    wait(lambda: files(world) == before, 10, "it is as it was")
    if change == "a finalizer":
        world.kubectl("patch", "configmap", ROUTER, "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
    world.served("churn-1")
    assert world.get("deployment", ROUTER) is not None


def test_no_request_is_led_to_a_service_made_beforehand(world: World) -> None:
    theirs = "churn-2-00000000"
    world.version(1)
    world.deploy()
    world.served("churn-1")
    world.kubectl("create", "service", "clusterip", theirs, "--clusterip=None")
    world.version(2)
    assert f"Service {theirs} exists and was not created by Tidemill" in not_owned(world)
    time.sleep(5)  # longer than the steps take
    assert all(weights in ({}, {"churn-1": 100}) for _, weights in world.cluster.weight_log)
    world.kubectl("delete", "service", theirs)
    world.served("churn-2", HEALED)
