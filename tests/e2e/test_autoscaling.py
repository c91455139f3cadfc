"""A deployment with `autoscaling` grows under load, and the operator leaves the number of replicas to the autoscaler.

Needs a cluster with CPU figures (metrics.k8s.io), which docs/local-cluster.md says of each provider. That it shrinks
again is asserted by what the autoscaler wants: it waits five minutes before it does it.
"""

from typing import Any

import pytest
from hack.tools.kubectl import Kubectl, is_true, wait_for
from tests.e2e.client import Client
from tests.e2e.conftest import conditions, lacking, wait_condition
from tests.e2e.manifests import code, deployment, pipeline

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

NAME = "elastic"
RATE = 150.0  # requests a second: several times the CPU that one pod may use before another is wanted
METRICS = "v1beta1.metrics.k8s.io"


def autoscaler(kubectl: Kubectl) -> dict[str, Any]:
    """Return the autoscaler of the version in service."""
    found = kubectl.list("horizontalpodautoscaler")
    assert len(found) == 1, [h["metadata"]["name"] for h in found]
    return found[0]


def replicas(kubectl: Kubectl) -> tuple[int, int]:
    """Return how many replicas the autoscaler wants, and how many it saw when it looked last."""
    status = autoscaler(kubectl)["status"]
    return status["desiredReplicas"], status["currentReplicas"]


def reason(scaler: dict[str, Any], kind: str) -> str | None:
    """Return the reason of one of the autoscaler's conditions."""
    listed = (scaler.get("status") or {}).get("conditions") or []
    return next((c["reason"] for c in listed if c["type"] == kind), None)


def test_load_makes_a_deployment_grow_and_its_status_agrees(namespace: Kubectl, cluster: Kubectl) -> None:
    if cluster.get("apiservice", METRICS) is None:
        lacking(cluster, f"the cluster has no {METRICS}, so no autoscaler works on it (docs/local-cluster.md)")
    scaling = {"minReplicas": 1, "maxReplicas": 2, "targetCPUUtilization": 30}
    resources = {"resources": {"requests": {"cpu": "100m", "memory": "128Mi"}}}
    namespace.apply([code(f"{NAME}-code"), pipeline(NAME), deployment(NAME, autoscaling=scaling, server=resources)])
    client = Client(namespace).start()
    ready = wait_condition(namespace, "modeldeployment", NAME, lambda md: is_true(md, "Ready"), 180)
    assert ready["status"]["replicas"] == 1
    limits = autoscaler(namespace)["spec"]
    assert (limits["minReplicas"], limits["maxReplicas"]) == (1, 2)

    with client.streaming(NAME, {"instances": [[5.1, 3.5, 1.4, 0.2]]}, rate=RATE) as stream:
        grown = wait_condition(
            namespace, "modeldeployment", NAME, lambda md: md["status"].get("replicas") == 2, 180
        )  # figures every 10 s, the autoscaler every 15 s

    assert stream.failed() == []
    wait_for("the autoscaler to count two", lambda: replicas(namespace) == (2, 2), 60, lambda: str(replicas(namespace)))
    assert "replicas" not in grown["spec"], "the operator wrote into spec"
    wait_condition(namespace, "modeldeployment", NAME, lambda md: is_true(md, "Ready"), 60)

    # Without load the autoscaler wants one again and says that it waits; the operator does not interfere.
    wait_for(
        "the wish to shrink",
        lambda: reason(autoscaler(namespace), "AbleToScale") == "ScaleDownStabilized",
        120,
        lambda: str(autoscaler(namespace).get("status")),
    )
    namespace.run("annotate", "modeldeployment", NAME, "tidemill.io/promote=nothing-to-promote")
    seen = wait_condition(namespace, "modeldeployment", NAME, lambda md: md["status"].get("lastHandledPromote"), 30)
    assert seen["status"]["replicas"] == 2, conditions(seen)
    workload = namespace.list("deployment", f"app.kubernetes.io/component=server,tidemill.io/deployment={NAME}")[0]
    assert workload["spec"]["replicas"] == 2
