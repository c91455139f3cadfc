"""What the cluster refuses is named where people look, with the cluster's own words, and goes on when it is gone."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hack.tools.kubectl import Kubectl, condition, is_true, wait_for
from tests.e2e.conftest import wait_condition
from tests.e2e.manifests import GOOD_CODE, code, deployment, pipeline

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

WITHIN = 20.0
"""Seconds from the cluster's word to ours."""
PATIENT = {"backoffLimit": 3, "activeDeadlineSeconds": 300, "pendingDeadlineSeconds": 300}


def said(kubectl: Kubectl, reason: str, *words: str) -> None:
    """Wait until an event of the cluster's own controllers says it."""

    def probe() -> bool:
        found = [e for e in kubectl.list("event") if e["reason"] == reason]
        return any(all(word in e["message"] for word in words) for e in found)

    wait_for(f"an event {reason}", probe, 60, lambda: kubectl.run("get", "events", "--sort-by=.lastTimestamp"))


def names(obj: dict[str, Any], reason: str, *words: str) -> bool:
    """Whether Ready has this reason, and its message these words."""
    ready = condition(obj, "Ready")
    return ready.get("reason") == reason and all(word in ready["message"] for word in words)


def says(obj: dict[str, Any], word: str) -> bool:
    """Whether the message of Ready has a word."""
    return word in condition(obj, "Ready").get("message", "")


def test_quota_is_named_on_pipeline_and_run_and_both_go_on_without_it(namespace: Kubectl) -> None:
    quota = "exceeded quota: team"
    namespace.run("create", "quota", "team", "--hard=pods=0")
    namespace.apply([code("flowers-code"), pipeline("flowers", run=PATIENT)])

    said(namespace, "FailedCreate", quota)
    since = time.monotonic()
    wait_condition(namespace, "trainingpipeline", "flowers", lambda o: names(o, "RunCannotStart", quota), WITHIN + 5)
    assert time.monotonic() - since <= WITHIN
    (run,) = namespace.list("trainingrun")
    assert condition(run, "Succeeded")["reason"] == "CannotStart"
    assert quota in condition(run, "Succeeded")["message"]

    namespace.run("delete", "quota", "team")
    wait_condition(namespace, "trainingpipeline", "flowers", lambda o: is_true(o, "Ready"), 180)


def serves(obj: dict[str, Any], version: str) -> bool:
    """Whether a version answers all requests."""
    return is_true(obj, "Ready") and (obj["status"].get("stable") or {}).get("version") == version


def test_a_candidate_without_room_waits_and_goes_on(namespace: Kubectl) -> None:
    namespace.apply([code("room-code"), pipeline("room", triggers={"codeChange": {}})])
    wait_condition(namespace, "trainingpipeline", "room", lambda o: is_true(o, "Ready"), 150)
    rollout = {"strategy": "Immediate", "progressDeadlineSeconds": 20}
    server = {"resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "700Mi"}}}
    namespace.apply(deployment("room", rollout=rollout, server=server))
    wait_condition(namespace, "modeldeployment", "room", lambda o: serves(o, "room-1"), 120)

    small = [{"type": "Container", "max": {"memory": "600Mi"}}]
    meta = {"name": "small"}
    namespace.apply({"apiVersion": "v1", "kind": "LimitRange", "metadata": meta, "spec": {"limits": small}})
    second = GOOD_CODE.replace("random_state=seed", "C=0.5, random_state=seed")
    namespace.apply(code("room-code", second))
    refused = wait_condition(namespace, "modeldeployment", "room", lambda o: names(
        o, "PodsRefused", "maximum memory usage per Container is 600Mi"), 180)  # fmt: skip
    assert refused["status"]["candidate"]["refusedSince"]
    stalled = wait_condition(namespace, "modeldeployment", "room", lambda o: is_true(o, "Stalled"), 60)
    assert names(stalled, "PodsRefused", "room-1 keeps serving")
    assert not stalled["status"].get("failedVersions")

    namespace.run("delete", "limitrange", "small")
    wait_condition(namespace, "modeldeployment", "room", lambda o: serves(o, "room-2"), 120)
    marked = namespace.get("modelversion", "room-2")
    assert marked is not None
    assert "takenBack" not in marked["status"]


def test_a_secret_that_is_missing_is_named_on_the_pipeline_before_the_run_has_ended(namespace: Kubectl) -> None:
    data = [{"name": "rows", "uri": "s3://lake/rows/", "secretRef": {"name": "lake"}}]
    namespace.apply([code("secret-code"), pipeline("secret", data=data, run=PATIENT)])
    found = wait_condition(namespace, "trainingpipeline", "secret", lambda o: says(o, "SecretNotFound"), 90)
    assert says(found, "Secret lake does not exist")
    (run,) = namespace.list("trainingrun")
    assert "Secret lake does not exist" in condition(run, "Succeeded")["message"]


def test_a_volume_that_is_missing_is_named_on_the_pipeline(namespace: Kubectl) -> None:
    data = [{"name": "rows", "uri": "pvc://nowhere/rows.csv"}]
    namespace.apply([code("claim-code"), pipeline("claim", data=data, run=PATIENT)])
    wait_condition(namespace, "trainingpipeline", "claim", lambda o: names(o, "RunCannotStart", "nowhere"), 60)


def test_an_image_that_cannot_be_pulled_is_named_on_the_pipeline(namespace: Kubectl) -> None:
    image = "registry.invalid/nothing:1"
    namespace.apply([code("pull-code"), pipeline("pull", image=image, run=PATIENT)])
    wait_condition(namespace, "trainingpipeline", "pull", lambda o: names(o, "RunCannotStart", image), 60)
