"""The operator is stopped and started anew in the middle of a canary: requests and decisions go on where they were."""

from __future__ import annotations

import time

import pytest
from tests.support.apiserver import connect
from tests.support.operators import Installation
from tests.support.servingcluster import Cluster
from tests.support.servingworld import World, candidate, operator_of

pytestmark = pytest.mark.integration

ROLLOUT = {
    "strategy": "Canary",
    "steps": [{"weight": 10, "durationSeconds": 3}],
    "analysis": {"intervalSeconds": 1, "minRequests": 20, "checks": [{"metric": "ErrorRatio", "max": 0.05}]},
}


def test_restart_in_the_middle_of_a_canary(installation: Installation, namespace: str) -> None:
    first = operator_of(installation)
    with connect(installation.kubeconfig) as api, Cluster(api.http, namespace) as cluster:
        world = World(installation, cluster, namespace)
        try:
            cluster.rate = 1000
            world.version(1)
            world.deploy({"rollout": ROLLOUT})
            world.served("churn-1")
            world.version(2)
            before = world.until(lambda o: candidate(o) == ("churn-2", 0), "the canary begins")
        finally:
            first.stop()
        time.sleep(1)
        assert cluster.weights() == {"churn-1": 90, "churn-2": 10}, "the router needs no operator"
        second = operator_of(installation)
        try:
            after = world.served("churn-2")
        finally:
            second.stop()
        assert before["status"]["candidate"]["startedAt"] <= after["status"]["stable"]["since"]
        assert world.events().count("Promoted") == 2
