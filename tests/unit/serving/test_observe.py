"""Kubernetes' spelling → snapshot."""

from typing import Any

import pytest
from tests.unit.serving.make import ago, digest, snapshot, version

from tidemill.serving import observe
from tidemill.serving.builders import server
from tidemill.serving.snapshot import PodFailure

RECORD = {
    "apiVersion": "tidemill.io/v1alpha1",
    "kind": "ModelVersion",
    "metadata": {"name": "churn-1", "namespace": "team"},
    "spec": {
        "pipeline": "churn",
        "number": 1,
        "digest": digest(1),
        "uri": "pvc://models/churn/1",
        "formats": ["skops", "onnx"],
    },
    "status": {"conditions": [{"type": "Approved", "status": "True", "message": "by the gates"}]},
}


def test_a_record_becomes_a_version() -> None:
    assert observe.version(RECORD) == version(1, note="by the gates", onnx_check=1, columns=None)


def test_a_record_without_a_decision_is_not_approved() -> None:
    assert not observe.version({**RECORD, "status": {}}).approved


def deployment(**status: Any) -> dict[str, Any]:
    made = server.deployment(snapshot(), version(1))
    made["metadata"]["generation"] = 2
    made["spec"]["replicas"] = 2
    found = {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2}
    condition = {"type": "Available", "status": "True", "lastTransitionTime": "2026-11-23T11:59:00Z"}
    made["status"] = {**found, "conditions": [condition], **status}
    return made


@pytest.mark.parametrize(
    ("status", "settled"),
    [
        ({}, True),
        ({"observedGeneration": 1}, False),
        ({"updatedReplicas": 1}, False),
        ({"replicas": 3}, False),  # an old pod is still there
    ],
)
def test_settled_means_all_pods_run_the_newest_template(status: dict[str, Any], settled: bool) -> None:
    found = observe.workload(deployment(**status), [], [])
    assert found is not None and found.settled == settled and found.ready == 2
    assert found.available_since == ago(60) and found.unavailable_since is None


def test_a_version_without_a_record_is_what_its_servers_were_given() -> None:
    found = observe.workload(deployment(), [], [])
    assert found is not None
    assert found.version == version(1, approved=False, recorded=False, columns=None)
    with_record = observe.workload(deployment(), [], [version(1)])
    assert with_record is not None and with_record.version == version(1)
    other = observe.workload(deployment(), [], [version(1, digest=digest(9))])
    assert other is not None and not other.version.recorded


def test_other_deployments_are_no_workload() -> None:
    made = deployment()
    made["spec"]["template"]["spec"]["containers"][0]["env"] = []
    assert observe.workload(made, [], []) is None


def pod(state: dict[str, Any], last: dict[str, Any] | None = None, ready: bool = False, **status: Any):
    statuses = [{"name": "server", "ready": ready, "state": state, "lastState": last or {}}]
    return {"metadata": {"name": "p"}, "status": {"containerStatuses": statuses, **status}}


def ended(code: int, message: str = "", reason: str = "Error") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "message": message, "reason": reason}}


BACK_OFF = {"waiting": {"reason": "CrashLoopBackOff"}}


@pytest.mark.parametrize(
    ("found", "want"),
    [
        (pod({"running": {}}, ready=True), None),
        (pod({"running": {}}), None),
        (pod({"waiting": {"reason": "ContainerCreating"}}), None),
        (
            pod(BACK_OFF, ended(42, "DigestMismatch: model.onnx is not what was registered\n")),
            PodFailure("DigestMismatch", "model.onnx is not what was registered", 42),
        ),
        (pod(ended(137, "", "OOMKilled")), PodFailure("OOMKilled", "the server ended with exit code 137", 137)),
        (
            pod({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}),
            PodFailure("ImagePullBackOff", "no such image"),
        ),
        (
            pod({}, conditions=[{"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}]),
            PodFailure("Unschedulable", "0/1 nodes"),
        ),
        (pod({"running": {}}, ended(1, "boom"), ready=True), None),  # it has healed
    ],
)
def test_pod_failure(found: dict[str, Any], want: PodFailure | None) -> None:
    assert observe.pod_failure(found) == want


def test_the_failure_that_another_start_cannot_help_comes_first() -> None:
    pods = [
        pod({"waiting": {"reason": "ImagePullBackOff", "message": "x"}}),
        pod(ended(1, "x")),
        pod(ended(42, "DigestMismatch: x")),
    ]
    found = observe.workload(deployment(), pods, [])
    assert found is not None and found.failure is not None and found.failure.exit_code == 42


def test_how_a_pod_ends_that_is_being_replaced_says_nothing() -> None:
    stopped = pod(ended(143, "stopped"))
    stopped["metadata"]["deletionTimestamp"] = "2026-11-23T12:00:00Z"
    found = observe.workload(deployment(), [stopped], [])
    assert found is not None and found.failure is None
    stopped["status"]["containerStatuses"][0]["name"] = "router"
    router = observe.router_workload(deployment(), [stopped])
    assert router is not None and router.failure is None


def test_a_router_pod_that_goes_away_is_not_ready() -> None:
    ready = {"conditions": [{"type": "Ready", "status": "True"}], "podIP": "10.0.0.1"}
    assert observe.router_pod({"metadata": {"name": "r"}, "status": ready}).ready
    gone = {"metadata": {"name": "r", "deletionTimestamp": "2026-11-23T12:00:00Z"}, "status": ready}
    assert not observe.router_pod(gone).ready


def test_rollback_requests_of_this_deployment_only() -> None:
    def monitor(deployment: str, **action: Any) -> dict[str, Any]:
        entry = {"id": "a", "type": "Rollback", "target": "churn", "version": "churn-2", "time": "2026-11-23T12:00:00Z"}
        return {"spec": {"deployment": deployment}, "status": {"actions": [{**entry, **action}]}}

    found = observe.rollback_requests(
        [monitor("churn"), monitor("other"), monitor("churn", type="Retrain"), {"spec": {"deployment": "churn"}}],
        "churn",
    )
    assert [(r.id, r.version) for r in found] == [("a", "churn-2")]
