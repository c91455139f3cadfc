"""Reads Jobs and their pods: how they ended, what they said, why they do not start. Knows nothing of runs.

Works on the reduced objects of the cache: of a pod's spec only the container names are left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tidemill.core import conditions
from tidemill_contracts.failures import WAITING, FailureCategory
from tidemill_contracts.training import CONTAINER

Obj = dict[str, Any]


def job_outcome(job: Mapping[str, Any]) -> Literal["Complete", "Failed"] | None:
    """How the Job ended, None while it goes on. Interim conditions (FailureTarget, SuccessCriteriaMet) do not count."""
    found = (job.get("status") or {}).get("conditions") or ()
    if conditions.is_true(found, "Complete"):
        return "Complete"
    return "Failed" if conditions.is_true(found, "Failed") else None


def job_condition(job: Mapping[str, Any]) -> Mapping[str, Any]:
    """The terminal condition of the Job; empty while it goes on."""
    outcome = job_outcome(job)
    found = (job.get("status") or {}).get("conditions") or ()
    return (conditions.get(found, outcome) or {}) if outcome else {}


def job_message(job: Mapping[str, Any]) -> str | None:
    """Reason and message of the Job's end, None while it goes on."""
    found = job_condition(job)
    return f"{found.get('reason', '')}: {found.get('message', '')}" if found else None


def is_suspended(job: Mapping[str, Any]) -> bool:
    """Whether a queue (Kueue) holds the Job back."""
    return bool((job.get("spec") or {}).get("suspend"))


def newest(pods: Iterable[Obj]) -> Obj | None:
    """The pod that was created last."""
    return max(pods, key=lambda p: (p["metadata"].get("creationTimestamp", ""), p["metadata"]["name"]), default=None)


def container_status(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """Status of the one container; empty before the kubelet has reported it."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return next((s for s in statuses if s.get("name") == CONTAINER), {})


def terminated(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """The container's end; empty while it runs or waits."""
    return (container_status(pod).get("state") or {}).get("terminated") or {}


def termination_message(pod: Mapping[str, Any]) -> str | None:
    """What the container left behind, None for nothing."""
    return terminated(pod).get("message") or None


def started_at(pod: Mapping[str, Any]) -> str | None:
    """When the container started, RFC 3339; None when it has not."""
    state = container_status(pod).get("state") or {}
    return (state.get("running") or {}).get("startedAt") or (state.get("terminated") or {}).get("startedAt")


def pod_condition(pod: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """One condition of the pod; empty when absent."""
    return conditions.get((pod.get("status") or {}).get("conditions") or (), kind) or {}


@dataclass(frozen=True, slots=True)
class StartFailure:
    """Why a pod does not start, as far as Kubernetes says so."""

    category: FailureCategory
    reason: str
    message: str
    permanent: bool = False
    """Waiting cannot help."""


def start_failure(pod: Mapping[str, Any]) -> StartFailure | None:
    """Why this pod has not started, None when nothing is wrong (yet). Equal causes give equal answers over time."""
    status = container_status(pod)
    waiting = (status.get("state") or {}).get("waiting") or {}
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    row = WAITING.get(reason)
    if row is not None and row.category == "ImagePull":
        image = status.get("image", "")
        hint = "the name is not valid" if row.is_permanent else "it cannot be pulled"
        text = f"image {image}: {hint}; check the name, the registry and the pull secrets"
        return StartFailure(row.category, row.run_reason, text, permanent=row.is_permanent)
    if row is not None and row.category is not None:
        return StartFailure(row.category, reason, message)
    scheduled = pod_condition(pod, "PodScheduled")
    if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        return StartFailure("Unschedulable", "Unschedulable", scheduled.get("message", "no node fits"))
    return None
