"""What the cluster refuses to server pods is on the deployment that people look at, within 20 s.

No operator with training runs beside: the versions here are written by the test, not reported by runs.
"""

from __future__ import annotations

import time
from typing import Any

import pytest
from tests.integration.test_causes import SEEN_SECONDS, WITHIN, limit_range
from tests.support.servingcluster import Behaviour
from tests.support.servingworld import CANARY, World, candidate, condition, ready, stable

pytestmark = pytest.mark.integration
Obj = dict[str, Any]


SHORT = {**CANARY, "progressDeadlineSeconds": 10}


def message(obj: Obj) -> str:
    return str(condition(obj, "Ready")["message"])


def test_a_candidate_without_room_waits_is_not_remembered_and_goes_on(world: World) -> None:
    world.version(1)
    world.deploy({"rollout": SHORT})
    world.served("churn-1")
    world.installation.apply(limit_range(world.namespace))
    time.sleep(SEEN_SECONDS)
    world.version(2)
    early = world.until(lambda o: ready(o) == ("Unknown", "PodsRefused"), "it is named", WITHIN)
    assert "maximum memory usage per Container is 64Mi" in message(early)
    late = world.until(lambda o: ready(o) == ("False", "PodsRefused"), "it is Stalled after the deadline", 30)
    assert (stable(late), candidate(late)) == ("churn-1", ("churn-2", -1))
    assert "failedVersions" not in late["status"] and "churn-1 keeps serving" in message(late)
    assert late["status"]["candidate"]["refusedSince"]
    assert world.cluster.weights() == {"churn-1": 100}
    world.kubectl("delete", "limitrange", "small")
    world.served("churn-2", 40)
    assert world.mark("churn-2") is None
    assert "PodsRefused" in world.events()


def test_one_pod_of_two_that_crashes_is_named_while_the_other_serves(world: World) -> None:
    world.version(1)
    world.deploy({"rollout": SHORT, "replicas": 2})
    world.served("churn-1")
    selector = "tidemill.io/deployment=churn,app.kubernetes.io/component=server"
    pods = world.installation.get("pods", "-n", world.namespace, "-l", selector)["items"]
    world.cluster.of_pods[pods[0]["metadata"]["name"]] = Behaviour(exit=(1, "boom"))
    broken = world.until(lambda o: ready(o) == ("Unknown", "PodsFailing"), "it is named", WITHIN)
    assert message(broken) == "1 of 2 pods of churn-1 is ready; CrashLoopBackOff: boom"
    assert condition(broken, "Available")["status"] == "True"
    world.until(lambda o: ready(o) == ("False", "PodsFailing"), "it is Stalled after the deadline", 30)
    world.cluster.of_pods.clear()
    world.served("churn-1")


def test_an_image_of_servers_that_cannot_be_pulled_is_named(world: World) -> None:
    world.version(1)
    world.cluster.behaviours["churn-1"] = Behaviour(waits=("ImagePullBackOff", "Back-off pulling image"))
    world.deploy({"rollout": SHORT})
    found = world.until(lambda o: ready(o) == ("False", "PodsRefused"), "it is named", WITHIN)
    assert "ImagePullBackOff" in message(found)
    world.cluster.behaviours["churn-1"] = Behaviour()
    world.served("churn-1")
