"""What Kubernetes says when it does not run a pod: texts as controllers and kubelets write them (1.34)."""

from __future__ import annotations

from typing import Any

QUOTA_TEXT = "exceeded quota: team, requested: limits.memory=1Gi, used: limits.memory=2Gi, limited: limits.memory=2Gi"
QUOTA = f'Error creating: pods "churn-3f2a-x7k2p" is forbidden: {QUOTA_TEXT}'
LIMIT_RANGE_TEXT = "maximum memory usage per Container is 512Mi, but limit is 1Gi"
LIMIT_RANGE = f'Error creating: pods "churn-3f2a-x7k2p" is forbidden: {LIMIT_RANGE_TEXT}'
CONFIG_MAP = 'MountVolume.SetUp failed for volume "code" : configmap "churn-code" not found'
SANDBOX = 'Failed to create pod sandbox: plugin type="calico" failed: no address is left'
GATED: dict[str, Any] = {
    "status": {
        "phase": "Pending",
        "conditions": [
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty gates",
            }
        ],
    }
}


def waiting(reason: str, message: str) -> dict[str, Any]:
    """The state of a container that waits."""
    return {"state": {"waiting": {"reason": reason, "message": message}}}


def crashed(message: str) -> dict[str, Any]:
    """The state of a container that ends again and again."""
    ended = {"terminated": {"exitCode": 1, "message": message, "reason": "Error"}}
    return {**waiting("CrashLoopBackOff", "back-off 5m0s"), "lastState": ended}


def pod_of(container: str, name: str) -> dict[str, Any]:
    """A pod in which one of `PODS` has happened to its one container."""
    state, condition = PODS[name]
    statuses = [{"name": container, "image": "registry.invalid/x:1", "ready": False, **state}] if state else []
    return {
        "metadata": {"name": "p", "namespace": "team"},
        "status": {"phase": "Pending", "containerStatuses": statuses, "conditions": [condition] if condition else []},
    }


SCHEDULED = {"type": "PodScheduled", "status": "True"}
NO_NODE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/3 nodes are available: 3 Insufficient memory.",
}
PODS: dict[str, tuple[dict[str, Any], dict[str, Any] | None]] = {
    "ErrImagePull": (waiting("ErrImagePull", "manifest unknown"), SCHEDULED),
    "ImagePullBackOff": (waiting("ImagePullBackOff", "Back-off pulling image"), SCHEDULED),
    "InvalidImageName": (waiting("InvalidImageName", "couldn't parse image"), SCHEDULED),
    "CreateContainerConfigError": (waiting("CreateContainerConfigError", 'secret "x" not found'), SCHEDULED),
    "CreateContainerError": (waiting("CreateContainerError", "no space"), SCHEDULED),
    "RunContainerError": (waiting("RunContainerError", "exec: not found"), SCHEDULED),
    "CrashLoopBackOff": (crashed("boom"), SCHEDULED),
    "Unschedulable": ({}, NO_NODE),
    "SchedulingGated": ({}, {**NO_NODE, "reason": "SchedulingGated", "message": "Scheduling is blocked"}),
}
"""By reason: the state of the container, and the pod's condition."""
