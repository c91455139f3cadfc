"""Reads Jobs and their pods: how they ended, what they said, why they do not start. Knows nothing of runs.

Why a pod does not start is read in one place for all kinds (`core.podfailure`); here it gets the category of a run.
Works on the reduced objects of the cache: of a pod's spec only the container names are left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tidemill.core import conditions, podfailure
from tidemill.core.podfailure import PodFailure
from tidemill_contracts.failures import BY_REASON, FailureCategory
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
    if terminated(pod):
        return None
    found = podfailure.pod_failure(pod, CONTAINER)
    return categorised(found, str(container_status(pod).get("image", ""))) if found is not None else None


def categorised(found: PodFailure, image: str = "") -> StartFailure | None:
    """The cause with the category of a run that it would end; None for what cannot be before a start.

    `image`: which one it is about. A reason that is in no table is the cluster's, as an admission by the kubelet.
    """
    row = BY_REASON.get(found.reason)
    if row is None:
        return StartFailure("Infrastructure", found.reason, found.message)
    if row.category == "ImagePull":
        hint = "the name is not valid" if row.is_permanent else "it cannot be pulled"
        text = f"image {image}: {hint}; check the name, the registry and the pull secrets"
        return StartFailure(row.category, row.run_reason, text, permanent=row.is_permanent)
    if row.category is None:
        return None
    return StartFailure(row.category, row.run_reason or found.reason, found.message)


def start_problem(job: Obj, pods: Iterable[Obj], event: PodFailure | None) -> str | None:
    """Why a Job that has not ended does not start, as half a sentence; `event`: what events say of it or its pod."""
    pod = newest(pods)
    found = start_failure(pod) if pod is not None and not started_at(pod) else None
    if found is None and event is not None:
        found = categorised(event)
    return f"{found.reason}: {found.message}" if found is not None and job_outcome(job) is None else None


def silent(job: Obj, pods: Iterable[Obj]) -> Obj | None:
    """The Job or the pod whose events alone can say why nothing runs; None when something does, or says why not.

    That is the Job while it goes on and has no pod, or none that has not ended, and a pod that does not start.
    """
    if job_outcome(job) is not None or is_suspended(job) or job["metadata"].get("deletionTimestamp"):
        return None
    pod = newest(pods)
    if pod is None:
        return job
    ended = terminated(pod)
    if ended:  # well, and the Job follows at once; else another pod does
        return job if ended.get("exitCode") else None
    return pod if podfailure.is_silent(pod, CONTAINER) else None
