"""ModelDeployment on a real API server, from first version to roll-back; the test is kubelet, router and clients."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from tests.integration.conftest import refusals
from tests.support.invariants import kstatus
from tests.support.operators import wait
from tests.support.servingcluster import Behaviour
from tests.support.servingworld import (
    ANALYSIS,
    CANARY,
    World,
    candidate,
    condition,
    deployments,
    ready,
    rolled_back,
    stable,
    writes,
)

pytestmark = pytest.mark.integration
Obj = dict[str, Any]


def test_any_order_of_creation_then_the_first_version_without_a_canary(world: World) -> None:
    world.deploy()
    waiting = world.until(lambda o: ready(o) == ("False", "PipelineNotFound"), "it waits for the pipeline")
    assert kstatus(waiting) == "InProgress"
    world.version(1, approved=False)
    world.until(lambda o: ready(o) == ("False", "WaitingForApproval"), "a version is there, as one that was imported")
    world.approve("churn-1")
    obj = world.served("churn-1")
    assert kstatus(obj) == "Current"
    assert obj["status"]["url"] == f"http://churn.{world.namespace}.svc"
    assert obj["status"]["replicas"] == 1 and "candidate" not in obj["status"]
    wait(lambda: world.cluster.weights() == {"churn-1": 100}, 5, "the router sends everything to churn-1")
    assert "Promoted" in world.events()
    before = writes()
    time.sleep(2)
    assert writes() == before, "a settled deployment costs no writes"


def test_canary_goes_step_by_step_and_the_old_version_leaves(world: World) -> None:
    world.version(1)
    world.deploy({"rollout": {**CANARY, "analysis": ANALYSIS}, "replicas": 2})
    world.served("churn-1")
    world.cluster.rate = 1000
    world.version(2)
    rolling = world.until(lambda o: candidate(o) == ("churn-2", 0), "the canary begins")
    assert ready(rolling) == ("Unknown", "RollingOut")
    assert condition(rolling, "Available")["status"] == "True"
    obj = world.served("churn-2")
    assert obj["status"]["previous"]["version"] == "churn-1" and obj["status"]["replicas"] == 2
    wait(lambda: world.cluster.weights() == {"churn-2": 100}, 5, "all requests go to churn-2")
    seen = [w for _, w in world.cluster.weight_log]
    for expected in ({"churn-1": 90, "churn-2": 10}, {"churn-1": 50, "churn-2": 50}):
        assert expected in seen
    old = [d for d in deployments(world) if "-1-" in d]
    assert old, "the pods of the old version stay for a while"
    wait(lambda: old[0] not in deployments(world), 45, "the old version is removed")
    assert world.get("service", old[0]) is None


def test_a_slow_version_is_rolled_back_and_remembered(world: World) -> None:
    world.version(1)
    steps = [{"weight": 20, "durationSeconds": 60}]
    world.deploy({"rollout": {"strategy": "Canary", "steps": steps, "analysis": ANALYSIS}})
    world.served("churn-1")
    world.cluster.rate = 1000
    world.cluster.behaviours["churn-2"] = Behaviour(milliseconds=80)
    world.version(2)
    world.until(lambda o: candidate(o) == ("churn-2", 0), "the canary begins")
    obj = world.until(rolled_back, "it is rolled back")
    assert world.mark("churn-2")["reason"] == "AnalysisFailed", "whoever sees that it was rolled back finds the mark"
    decided = time.monotonic()
    wait(lambda: world.cluster.weights() == {"churn-1": 100}, 5, "all requests go to churn-1 again")
    assert time.monotonic() - decided < 5
    obj = world.served("churn-1")
    assert kstatus(obj) == "Current"
    assert condition(obj, "Available")["status"] == "True"
    assert condition(obj, "RolledBack")["reason"] == "AnalysisFailed"
    assert "LatencyP99Milliseconds" in condition(obj, "RolledBack")["message"]
    (failure,) = obj["status"]["failedVersions"]
    assert failure["version"] == "churn-2"
    assert {"AnalysisFailed", "RolledBack"} <= set(world.events())
    time.sleep(2)
    assert candidate(world.md()) is None, "a failed version is not tried again"
    world.cluster.behaviours["churn-2"] = Behaviour()
    world.kubectl("annotate", "modeldeployment", "churn", "tidemill.io/retry=again")
    world.until(lambda o: candidate(o) == ("churn-2", 0), "a person asked to try again")
    assert world.mark("churn-2") is None
    world.kubectl("annotate", "modeldeployment", "churn", "tidemill.io/promote=now")
    world.served("churn-2")


def test_a_version_that_refuses_todays_clients_is_rolled_back_without_any_check_in_spec(world: World) -> None:
    """Stopped, tried once more after a pause, and remembered; spec says how often to look, and nothing else."""
    world.version(1)
    steps = [{"weight": 20, "durationSeconds": 60}]
    often = {"intervalSeconds": 1}
    # The pause before the second attempt is half of the deadline, where that is less than a minute.
    rollout = {"strategy": "Canary", "steps": steps, "analysis": often, "progressDeadlineSeconds": 10}
    world.deploy({"rollout": rollout})
    world.served("churn-1")
    world.cluster.rate = 500
    world.cluster.behaviours["churn-2"] = Behaviour(refused_ratio=1)
    world.version(2)
    obj = world.until(lambda o: (o["status"].get("candidate") or {}).get("attempt") == 2, "it is tried again", 30)
    assert "ClientErrorRatio" in obj["status"]["candidate"]["attemptReason"]
    assert "failedVersions" not in obj["status"] and world.mark("churn-2") is None
    wait(lambda: world.cluster.weights() == {"churn-1": 100}, 5, "all requests go to churn-1 meanwhile")
    obj = world.until(rolled_back, "it is rolled back", 40)
    assert world.mark("churn-2")["reason"] == "AnalysisFailed"
    (failure,) = obj["status"]["failedVersions"]
    assert failure["message"].count("ClientErrorRatio is more than 2 × the stable version's") == 2
    assert {"RolloutRetried", "RolledBack"} <= set(world.events())


def test_errors_are_compared_over_all_steps(world: World) -> None:
    """As many errors as the stable version has are no reason to stop; the comparison goes on from step to step."""
    world.version(1)
    check = {"metric": "ErrorRatio", "maxRatioToStable": 2}
    wanted = {"intervalSeconds": 1, "minRequests": 20, "checks": [check]}
    world.deploy({"rollout": {**CANARY, "analysis": wanted}})
    world.served("churn-1")
    world.cluster.rate = 400
    for name in ("churn-1", "churn-2"):
        world.cluster.behaviours[name] = Behaviour(error_ratio=0.03)
    world.version(2)
    second = world.until(lambda o: candidate(o) == ("churn-2", 1), "the second step begins")
    (entry, _) = second["status"]["candidate"]["comparison"]["limits"]
    assert entry["metric"] == "ErrorRatio" and entry["requests"] >= 20, "what the first step counted is kept"
    world.served("churn-2")
    assert "RolloutRetried" not in world.events()


def test_the_mark_outlives_its_deployment_and_a_new_follower_takes_the_version_before(world: World) -> None:
    world.version(1)
    world.deploy({"rollout": {"strategy": "Canary", "steps": [{"weight": 5}]}})
    world.served("churn-1")
    world.version(2)
    world.until(lambda o: candidate(o) == ("churn-2", 0), "the canary begins")
    world.kubectl("annotate", "modeldeployment", "churn", "tidemill.io/abort=slow")
    world.until(rolled_back, "it is aborted")
    world.kubectl("delete", "modeldeployment", "churn")
    mark = world.mark("churn-2")
    assert (mark["reason"], "tidemill.io/abort=slow" in mark["message"]) == ("Aborted", True)
    world.deploy(name="shop")
    obj = world.until(lambda o: ready(o) == ("True", "Serving"), "a new follower is served", name="shop")
    assert stable(obj) == "churn-1" and candidate(obj) is None
    assert "ModelDeployment churn rolled it back" in condition(obj, "Ready")["message"]
    world.deploy({"model": {"pipeline": "churn", "number": 2}}, name="pinned")
    pinned = world.until(lambda o: ready(o) == ("True", "Serving"), "a pin is obeyed", name="pinned")
    assert stable(pinned) == "churn-2"


def test_no_status_of_a_changed_spec_is_ready_before_its_pods_are(world: World) -> None:
    world.version(1)
    world.deploy()
    world.served("churn-1")
    with world.watched("modeldeployment", "churn") as seen:
        for number, memory in enumerate(("1Gi", "1100Mi", "1200Mi"), start=2):
            change = {"spec": {"server": {"resources": {"limits": {"memory": memory}}}}}
            world.kubectl("patch", "modeldeployment", "churn", "--type=merge", "-p", json.dumps(change))
            wait(lambda n=number: world.md()["status"]["observedGeneration"] == n, 10, "it is looked at")
            world.served("churn-1")
        ended = ("True", "Serving")
        wait(lambda: any(o["status"]["observedGeneration"] == 4 and ready(o) == ended for o in seen), 10, "the end")
    for generation in (2, 3, 4):
        first = next(o for o in seen if o["status"]["observedGeneration"] == generation)
        assert ready(first) == ("Unknown", "Updating"), f"the first status of generation {generation}"


def test_a_namespace_that_is_being_deleted_is_left_alone(world: World) -> None:
    world.version(1)
    world.deploy()
    world.deploy(name="shop")
    world.served("churn-1")
    world.until(lambda o: ready(o) == ("True", "Serving"), "the other, too", name="shop")
    before = refusals()
    world.kubectl("delete", "namespace", world.namespace, "--wait=false")
    for _ in range(3):  # as its controller does it, one by one: each removal wakes the owner
        for kind in ("service", "configmap", "deployment", "pdb"):
            world.kubectl("delete", kind, "--selector=app.kubernetes.io/managed-by=tidemill", "--wait=false")
        time.sleep(0.5)
    wait(lambda: refusals() > before, 10, "the first refusal")
    time.sleep(1)
    assert refusals() - before <= 8, "one a pass that was under way, and then none"
    assert deployments(world) == []


def test_abort_and_a_step_that_waits(world: World) -> None:
    world.version(1)
    world.deploy({"rollout": {"strategy": "Canary", "steps": [{"weight": 5}, {"weight": 50}]}})
    world.served("churn-1")
    world.version(2)
    obj = world.until(lambda o: candidate(o) == ("churn-2", 0), "the canary begins")
    assert condition(obj, "Progressing")["reason"] == "WaitingForPromotion"
    world.kubectl("annotate", "modeldeployment", "churn", "tidemill.io/promote=1")
    world.until(lambda o: candidate(o) == ("churn-2", 1), "the next step")
    wait(lambda: world.cluster.weights() == {"churn-1": 50, "churn-2": 50}, 5, "half of the requests")
    world.kubectl("annotate", "modeldeployment", "churn", "tidemill.io/abort=1")
    obj = world.until(rolled_back, "it is aborted")
    assert condition(obj, "RolledBack")["reason"] == "Aborted"
    wait(lambda: world.cluster.weights() == {"churn-1": 100}, 5, "all requests go to churn-1 again")
    world.version(3)
    world.until(lambda o: candidate(o) == ("churn-3", 0), "a newer version gets its chance")


def test_a_changed_artifact_is_refused_while_the_old_version_serves(world: World) -> None:
    world.version(1)
    world.deploy()
    world.served("churn-1")
    world.cluster.behaviours["churn-2"] = Behaviour(exit=(42, "DigestMismatch: model.onnx has another digest"))
    world.version(2)
    obj = world.until(lambda o: ready(o) == ("False", "RolledBack"), "it is refused")
    assert condition(obj, "RolledBack")["reason"] == "DigestMismatch"
    assert "another digest" in condition(obj, "Ready")["message"]
    assert stable(obj) == "churn-1" and world.cluster.weights() == {"churn-1": 100}


def test_the_first_version_with_a_changed_artifact_is_stalled(world: World) -> None:
    world.cluster.behaviours["churn-1"] = Behaviour(exit=(42, "DigestMismatch: model.onnx has another digest"))
    world.version(1)
    world.deploy()
    obj = world.until(lambda o: ready(o) == ("False", "DigestMismatch"), "it is refused")
    assert kstatus(obj) == "Failed"
    world.cluster.behaviours["churn-1"] = Behaviour()
    world.served("churn-1")


def test_pinned_and_not_approved(world: World) -> None:
    world.version(1)
    world.version(2, approved=False)
    world.deploy({"model": {"pipeline": "churn", "number": 2}})
    obj = world.until(lambda o: ready(o) == ("False", "VersionNotApproved"), "it waits for the approval")
    assert "version 2" in condition(obj, "Ready")["message"]
    world.approve("churn-2")
    world.served("churn-2")
    world.version(3)
    time.sleep(1)
    assert stable(world.md()) == "churn-2" and candidate(world.md()) is None
    world.deploy({"model": {"version": "churn-1"}, "rollout": {"strategy": "Immediate"}})
    world.served("churn-1")


def test_a_deleted_record_keeps_serving(world: World) -> None:
    world.version(1)
    world.deploy()
    world.served("churn-1")
    world.kubectl("delete", "modelversion", "churn-1")
    time.sleep(1)
    assert ready(world.md()) == ("True", "Serving")
    world.kubectl("scale", "modeldeployment", "churn", "--replicas=2")
    obj = world.until(lambda o: o["status"]["replicas"] == 2, "it can still be scaled")
    assert stable(obj) == "churn-1"


def test_scale_and_autoscaling(world: World) -> None:
    world.version(1)
    world.deploy({"replicas": 1})
    world.served("churn-1")
    world.kubectl("scale", "modeldeployment", "churn", "--replicas=3")
    obj = world.until(lambda o: o["status"]["replicas"] == 3, "three pods are ready")
    selector = obj["status"]["selector"]
    assert len(world.installation.get("pods", "-n", world.namespace, "-l", selector)["items"]) == 3
    (name,) = [d for d in deployments(world) if "-1-" in d]
    assert world.get("poddisruptionbudget", name) is not None
    world.installation.kubectl(
        *("-n", world.namespace, "patch", "modeldeployment", "churn", "--type=merge"),
        *("-p", '{"spec":{"replicas":null,"autoscaling":{"minReplicas":2,"maxReplicas":5}}}'),
    )
    wait(lambda: world.get("hpa", name), 10, "the autoscaler is there")
    world.kubectl("scale", "deployment", name, "--replicas=5")
    world.until(lambda o: o["status"]["replicas"] == 5, "the autoscaler's number stays")
    time.sleep(1)
    assert (world.get("deployment", name) or {})["spec"]["replicas"] == 5


def test_a_newer_version_in_the_middle_starts_from_the_stable_one(world: World) -> None:
    world.version(1)
    world.deploy({"rollout": {"strategy": "Canary", "steps": [{"weight": 5}]}})
    world.served("churn-1")
    world.version(2)
    world.until(lambda o: candidate(o) == ("churn-2", 0), "the canary begins")
    world.version(3)
    obj = world.until(lambda o: candidate(o) == ("churn-3", 0), "the newer one takes its place")
    assert stable(obj) == "churn-1"
    wait(lambda: world.cluster.weights() == {"churn-1": 95, "churn-3": 5}, 5, "requests follow")


def test_deleted_in_the_middle_of_a_canary(world: World) -> None:
    world.version(1)
    world.deploy({"rollout": {"strategy": "Canary", "steps": [{"weight": 5}]}})
    world.served("churn-1")
    world.version(2)
    obj = world.until(lambda o: candidate(o) == ("churn-2", 0), "the canary begins")
    for kind in ("deployments", "services", "configmaps"):
        for item in world.installation.get(kind, "-n", world.namespace, "-l", "tidemill.io/deployment=churn")["items"]:
            assert item["metadata"]["ownerReferences"][0]["uid"] == obj["metadata"]["uid"]
    world.kubectl("delete", "modeldeployment", "churn")
    world.kubectl("delete", "deployments", "--all")
    time.sleep(1)
    assert deployments(world) == [], "nothing is made again"


def test_somebody_elses_service_is_not_touched(world: World) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "churn", "namespace": world.namespace},
        "spec": {"ports": [{"port": 1}], "selector": {"app": "theirs"}},
    }
    world.installation.apply(service)
    world.version(1)
    world.deploy()
    obj = world.until(lambda o: ready(o) == ("False", "NotOwned"), "it says so")
    assert kstatus(obj) == "Failed"
    assert (world.get("service", "churn") or {})["spec"]["selector"] == {"app": "theirs"}


def test_a_name_of_63_characters(world: World) -> None:
    name = "a" + "b" * 61 + "c"
    world.version(1)
    world.deploy(name=name)
    world.until(lambda o: ready(o) == ("True", "Serving"), "it serves", name=name)


def test_suspend_holds_a_canary(world: World) -> None:
    world.version(1)
    world.deploy({"rollout": {"strategy": "Canary", "steps": [{"weight": 30, "durationSeconds": 3}]}})
    world.served("churn-1")
    world.version(2)
    world.until(lambda o: candidate(o) == ("churn-2", 0), "the canary begins")
    wait(lambda: world.cluster.weights() == {"churn-1": 70, "churn-2": 30}, 5, "30 %")
    world.kubectl("patch", "modeldeployment", "churn", "--type=merge", "-p", '{"spec":{"suspend":true}}')
    world.until(lambda o: (ready(o) or ("", ""))[1] == "Suspended", "it is suspended")
    time.sleep(4)
    assert world.cluster.weights() == {"churn-1": 70, "churn-2": 30}
    world.kubectl("patch", "modeldeployment", "churn", "--type=merge", "-p", '{"spec":{"suspend":false}}')
    world.served("churn-2")
