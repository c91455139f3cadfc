"""Why a pod of ours is not ready."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.core.causes import CONFIG_MAP, GATED, QUOTA, QUOTA_TEXT, SANDBOX

from tidemill.core.podfailure import ObjectEvent, PodFailure, is_silent, pod_failure, refused_pods, reported, worst
from tidemill_contracts.failures import BY_REASON, POD_REASONS


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
    gone, refused_now = PodFailure("Evicted", "the node was full"), PodFailure("Unschedulable", "0/3 nodes")
    assert worst([gone, refused_now]) == refused_now, "what was evicted stays there when others have taken its place"
    assert worst([None]) is None


POD = {"metadata": {"name": "p"}}
ON_ITS_WAY = {"waiting": {"reason": "ContainerCreating"}}
SILENT: dict[str, tuple[dict[str, Any], bool]] = {
    "just made": ({"phase": "Pending"}, True),
    "waits for a volume": (pod(ON_ITS_WAY, phase="Pending")["status"], True),
    "runs": (pod({"running": {}}, phase="Running")["status"], False),
    "says why itself": (pod(BACK_OFF, ended(1, "boom"), phase="Pending")["status"], False),
    "has no node": ({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False"}]}, False),
    "has run before": (pod(ON_ITS_WAY, ended(0), phase="Pending")["status"], False),
    "is ready": ({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}, False),
}


@pytest.mark.parametrize("name", SILENT)
def test_only_a_pod_that_says_nothing_is_asked_for_its_events(name: str) -> None:
    status, want = SILENT[name]
    assert is_silent({**POD, "status": status}, "server") is want
    going = {"metadata": {**POD["metadata"], "deletionTimestamp": "2026-11-23T12:00:00Z"}, "status": status}
    assert not is_silent(going, "server")


def said(version: int, reason: str, note: str = "x", *, is_warning: bool = True) -> ObjectEvent:
    return ObjectEvent(version, is_warning, reason, note)


PULLING = said(9, "Pulling", is_warning=False)
SUM = "Unable to attach or mount volumes: unmounted volumes=[code]: timed out waiting for the condition"
EVENTS: dict[str, tuple[list[ObjectEvent], PodFailure | None]] = {
    "none": ([], None),
    "quota": ([said(5, "FailedCreate", QUOTA)], PodFailure("FailedCreate", QUOTA_TEXT)),
    "many of the kind": (
        [said(5, "FailedCreate", f"(combined from similar events): {QUOTA}")], PodFailure("FailedCreate", QUOTA_TEXT),
    ),
    "there was room again": ([said(5, "FailedCreate", QUOTA), said(7, "SuccessfulCreate", is_warning=False)], None),
    "and none any more": (
        [said(8, "FailedCreate", QUOTA), said(7, "SuccessfulCreate", is_warning=False)],
        PodFailure("FailedCreate", QUOTA_TEXT),
    ),
    "a ConfigMap is missing": ([said(5, "FailedMount", CONFIG_MAP)], PodFailure("FailedMount", CONFIG_MAP)),
    "and the kubelet sums it up": (
        [said(5, "FailedMount", CONFIG_MAP), said(6, "FailedMount", SUM)], PodFailure("FailedMount", CONFIG_MAP),
    ),
    "it only sums up": ([said(6, "FailedMount", SUM)], PodFailure("FailedMount", SUM)),
    "the volume came": ([said(5, "FailedMount", CONFIG_MAP), PULLING], None),
    "no network": ([said(5, "FailedCreatePodSandBox", SANDBOX)], PodFailure("FailedCreatePodSandBox", SANDBOX)),
    "another's words": ([said(5, "DriftDetected", "x"), said(6, "Serving", "x")], None),
    "a text that turns round": (
        [said(5, "FailedMount", "Evil\u202e")], PodFailure("FailedMount", "Evil\N{REPLACEMENT CHARACTER}"),
    ),
    "a very long one": ([said(5, "FailedMount", "x" * 5000)], PodFailure("FailedMount", "x" * 1024)),
}  # fmt: skip


@pytest.mark.parametrize("name", EVENTS)
def test_what_events_say_of_an_object(name: str) -> None:
    found, want = EVENTS[name]
    assert reported(found) == want
    assert reported(reversed(found)) == want, "in whatever order they are listed"


def test_the_same_quota_reads_the_same_from_an_event_and_from_a_condition() -> None:
    condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate"}
    one, other = (QUOTA.removeprefix("Error creating: ").replace("x7k2p", name) for name in ("aaaaa", "bbbbb"))
    for text in (one, other):
        found = refused_pods({"status": {"conditions": [{**condition, "message": text}]}})
        assert found == reported([said(1, "FailedCreate", QUOTA)])


@pytest.mark.parametrize("reason", POD_REASONS, ids=lambda r: r.name)
def test_what_the_cluster_refuses_says_nothing_of_what_would_run(reason: Any) -> None:
    assert PodFailure(reason.name, "x").is_refusal == reason.is_refusal
    ends_by_itself = {"CrashLoopBackOff", "Error", "OOMKilled", "StartRefused", "Evicted"}
    assert reason.is_refusal == (reason.name not in ends_by_itself)


def test_a_store_that_is_away_refuses_as_long_as_another_start_may_help() -> None:
    assert PodFailure("ArtifactUnavailable", "SecretNotFound: Secret lake does not exist", 1).is_refusal
    assert not PodFailure("ArtifactUnavailable", "AccessDenied: no", 42).is_refusal
    assert not PodFailure("DigestMismatch", "x", 42).is_refusal


def test_a_pod_that_a_gate_holds_back_is_named() -> None:
    assert pod_failure(GATED, "server") == PodFailure("SchedulingGated", "Scheduling is blocked due to non-empty gates")
    assert BY_REASON["SchedulingGated"].category == "Unschedulable"
