"""Why a pod of ours is not ready."""

from __future__ import annotations

from typing import Any

import pytest

from tidemill.core.podfailure import PodFailure, pod_failure, refused_pods, worst


def pod(
    state: dict[str, Any], last: dict[str, Any] | None = None, *, ready: bool = False, **status: Any
) -> dict[str, Any]:
    found = {"name": "server", "ready": ready, "state": state, "lastState": last or {}}
    return {"status": {"containerStatuses": [found], **status}}


def ended(code: int, message: str = "", reason: str | None = "Error") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "message": message, "reason": reason}}


BACK_OFF = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container"}}
FULL = "OSError: [Errno 28] No space left on device"
EVICTED = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: ephemeral-storage."}


def REFUSED(text: str) -> PodFailure:  # noqa: N802 - reads as the others of the table
    return PodFailure("StartRefused", text, 42)


CASES: dict[str, tuple[dict[str, Any], PodFailure | None]] = {
    "runs": (pod({"running": {}}, ready=True), None),
    "crashes again and again": (pod(BACK_OFF, ended(1, "boom")), PodFailure("CrashLoopBackOff", "boom", 1)),
    "crashes without a word": (
        pod(BACK_OFF, ended(1)), PodFailure("CrashLoopBackOff", "the server ended with exit code 1", 1),
    ),
    "ends well again and again": (
        pod(BACK_OFF, ended(0, "done", "Completed")), PodFailure("CrashLoopBackOff", "done"),
    ),
    "its own disk is full": (pod(BACK_OFF, ended(1, FULL)), PodFailure("CrashLoopBackOff", FULL, 1)),
    "it could not be had for now": (
        pod(BACK_OFF, ended(1, "ArtifactUnavailable: s3 is away")), PodFailure("ArtifactUnavailable", "s3 is away", 1),
    ),
    "it refused for good": (
        pod(BACK_OFF, ended(42, "DigestMismatch: model.onnx")), PodFailure("DigestMismatch", "model.onnx", 42),
    ),
    "a condition's word": (pod(BACK_OFF, ended(42, "Serving: all good")), REFUSED("Serving: all good")),
    "a word with more behind it": (pod(BACK_OFF, ended(42, "NotFoundEver: x")), REFUSED("NotFoundEver: x")),
    "a document": (pod(BACK_OFF, ended(42, '{"reason":"DigestMismatch"}')), REFUSED('{"reason":"DigestMismatch"}')),
    "a text that turns round": (pod(BACK_OFF, ended(42, "Evil\u202e: x")), REFUSED("Evil\N{REPLACEMENT CHARACTER}: x")),
    "nothing at all, for good": (pod({}, ended(42)), REFUSED("the server ended with exit code 42")),
    "more memory than its limit": (
        pod(BACK_OFF, ended(137, "", "OOMKilled")), PodFailure("OOMKilled", "the server ended with exit code 137", 137),
    ),
    "the node's disk is full": ({"status": EVICTED}, PodFailure("Evicted", EVICTED["message"])),
    "another container's business": ({"status": {"containerStatuses": [{"name": "sidecar", "state": BACK_OFF}]}}, None),
    "no node": (
        {"status": {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}]}},
        PodFailure("Unschedulable", "0/1 nodes"),
    ),
    "somebody holds it back": (
        {"status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}},
        PodFailure("SchedulingGated", "no node can run the pod"),
    ),
    "the registry is away": (
        pod({"waiting": {"reason": "RegistryUnavailable", "message": "try later"}}),
        PodFailure("RegistryUnavailable", "try later"),
    ),
    "nothing known yet": ({}, None),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_pod_failure(name: str) -> None:
    found, want = CASES[name]
    assert pod_failure(found, "server") == want


def test_a_deployment_that_cannot_make_pods_says_why() -> None:
    quota = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: team"}
    assert refused_pods({"status": {"conditions": [quota]}}) == PodFailure("FailedCreate", "exceeded quota: team")
    assert refused_pods({"status": {"conditions": [{**quota, "status": "False"}]}}) is None
    assert refused_pods({}) is None


def test_the_one_that_another_start_cannot_help_comes_first() -> None:
    waits, crashed = PodFailure("ImagePullBackOff", "x"), PodFailure("Error", "x", 1)
    killed, refused = PodFailure("OOMKilled", "x", 137), PodFailure("DigestMismatch", "x", 42)
    assert worst([waits, None, crashed, killed, refused]) == refused
    assert worst([waits, crashed]) == crashed
    assert worst([None]) is None
