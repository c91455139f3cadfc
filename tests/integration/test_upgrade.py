"""A new image for every server: a few at a time, each until it is ready, across leaders, and stopped by what breaks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.apiserver import connect
from tests.support.operators import InProcess, Installation, wait
from tests.support.servingcluster import Cluster
from tests.support.servingworld import World, load, ready

from tidemill.core import conditions

pytestmark = pytest.mark.integration
Obj = dict[str, Any]
NAMES = ("one", "two", "three", "four")
SPEC: Obj = {"rollout": {"strategy": "Immediate", "progressDeadlineSeconds": 10}}


@pytest.fixture
def world(installation: Installation, namespace: str) -> Iterator[World]:
    with connect(installation.kubeconfig) as api, Cluster(api.http, namespace) as cluster:
        yield World(installation, cluster, namespace)


def operator(world: World, image: str) -> InProcess:
    settings: Obj = {"lease_name": "upgrade", "leader_election": False, "resync_seconds": 3600, "updates_at_once": 1}
    return InProcess(world.installation, load, server_image=image, **settings).start()


def images(world: World) -> dict[str, str]:
    """Deployment of ours → the image that its servers shall run."""
    found = world.installation.get("deployments", "-n", world.namespace, "-l", "app.kubernetes.io/component=server")
    return {
        d["metadata"]["labels"]["tidemill.io/deployment"]: d["spec"]["template"]["spec"]["containers"][0]["image"]
        for d in found["items"]
    }


def updated(world: World, image: str) -> set[str]:
    return {name for name, has in images(world).items() if has == image}


def pods_current(world: World, name: str) -> str | None:
    found = conditions.get(world.md(name)["status"]["conditions"], "PodsCurrent")
    return found["reason"] if found else None


def test_a_new_image_comes_to_one_after_the_other_and_a_broken_one_to_nobody_else(world: World) -> None:
    cluster = world.cluster
    running = operator(world, "server:1")
    try:
        world.version(1)
        for name in NAMES:
            world.deploy(SPEC, name)
        for name in NAMES:
            world.until(lambda o: ready(o) == ("True", "Serving"), f"{name} serves", name=name)
    finally:
        running.stop()

    cluster.unready_images = {"server:2"}
    running = operator(world, "server:2")
    try:
        (first,) = wait(lambda: updated(world, "server:2"), 10, "somebody is updated")
        others = [n for n in NAMES if n != first]
        for name in others:
            world.until(lambda o, n=name: pods_current(world, n) == "WaitingForTurn", f"{name} waits", name=name)
            assert ready(world.md(name)) == ("True", "Serving"), "it serves as before"
        user = others[0]
        world.kubectl("patch", "modeldeployment", user, "--type=merge", "-p", '{"spec":{"server":{"maxInFlight":9}}}')
        wait(lambda: updated(world, "server:2") == {first, user}, 10, "a user's change does not wait")
    finally:
        running.stop()

    running = operator(world, "server:2")  # the next leader
    try:
        time.sleep(1)
        assert updated(world, "server:2") == {first, user}
        for name in others[1:]:
            world.until(lambda o, n=name: pods_current(world, n) == "UpdatesStopped", f"{name} is kept", name=name)
        world.until(lambda o: pods_current(world, first) == "NotReadyInTime", f"{first} is late", name=first)
        wait(lambda: "NotReadyInTime" in world.events(), 10, "that is reported")
        assert updated(world, "server:2") == {first, user}
        cluster.unready_images = set()
        wait(lambda: updated(world, "server:2") == set(NAMES), 20, "all come through")
        for name in NAMES:
            world.until(lambda o: ready(o) == ("True", "Serving"), f"{name} serves", name=name)
            world.until(lambda o, n=name: pods_current(world, n) is None, f"{name} has the newest pods", name=name)
        generations = {n: g["metadata"]["generation"] for n, g in deployments_of(world).items()}
    finally:
        running.stop()

    running = operator(world, "server:2")  # nothing has changed for it
    try:
        time.sleep(2)
        assert {n: g["metadata"]["generation"] for n, g in deployments_of(world).items()} == generations
    finally:
        running.stop()


def deployments_of(world: World) -> dict[str, Obj]:
    found = world.installation.get("deployments", "-n", world.namespace)["items"]
    return {d["metadata"]["name"]: d for d in found}
