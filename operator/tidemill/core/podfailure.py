"""Why a pod of ours is not ready, as far as Kubernetes says so: one table for servers, routers and monitors.

Equal causes give equal answers over time, so that a status that quotes them is not written again and again. The code in
a pod may leave any text, and chooses no reason with it: only the words of our own servers count as such.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tidemill.core import conditions
from tidemill.core.text import clean
from tidemill_contracts.failures import START_REASONS, WAITING
from tidemill_contracts.training import EXIT_NOT_RETRIABLE

START_REFUSED = "StartRefused"
"""The reason of a container that ended for good with a text that begins with none of our words."""
_REASON = re.compile(rf"^({'|'.join(sorted(reason.name for reason in START_REASONS))}): (.+)", re.DOTALL)
_SAYS_NOTHING = (None, "", "Error", "Completed")
_LIMIT = 1024


@dataclass(frozen=True, slots=True)
class PodFailure:
    """Why a container of a pod last ended, or cannot start."""

    reason: str
    message: str
    exit_code: int | None = None


def pod_failure(pod: Mapping[str, Any], container: str) -> PodFailure | None:
    """Why a pod that is not ready last ended, or cannot start; None when nothing is wrong yet."""
    status = pod.get("status") or {}
    if status.get("phase") == "Failed" and status.get("reason"):  # evicted: the disk or the memory of the node was full
        return PodFailure(status["reason"], (status.get("message") or "the kubelet stopped the pod")[:_LIMIT])
    for found in status.get("containerStatuses") or ():
        if found.get("name", container) == container and not found.get("ready"):
            failure = _container(found, container)
            if failure is not None:
                return failure
    scheduled = conditions.get(status.get("conditions") or (), "PodScheduled")
    if scheduled and scheduled.get("status") == "False":
        return PodFailure(
            scheduled.get("reason") or "Unschedulable", scheduled.get("message") or "no node can run the pod"
        )
    return None


def refused_pods(deployment: Mapping[str, Any]) -> PodFailure | None:
    """Why a Deployment cannot even make its pods, as quota or an admission policy says."""
    found = conditions.get((deployment.get("status") or {}).get("conditions") or (), "ReplicaFailure")
    if found is None or found.get("status") != "True":
        return None
    return PodFailure(
        found.get("reason") or "FailedCreate", (found.get("message") or "no pod could be created")[:_LIMIT]
    )


def worst(found: Iterable[PodFailure | None]) -> PodFailure | None:
    """The failure that says most: one that another start cannot help first."""
    known = [f for f in found if f is not None]
    return min(
        known,
        key=lambda f: (f.exit_code != EXIT_NOT_RETRIABLE, f.exit_code is None, -(f.exit_code or 0)),
        default=None,
    )


def _container(status: Mapping[str, Any], name: str) -> PodFailure | None:
    waiting = (status.get("state") or {}).get("waiting") or {}
    for state in (status.get("state") or {}, status.get("lastState") or {}):
        ended = state.get("terminated")
        if ended and ended.get("exitCode"):
            return _ended(ended, waiting.get("reason"), name)
    if waiting.get("reason") in WAITING:
        last = ((status.get("lastState") or {}).get("terminated") or {}).get("message") or ""
        text = clean(last).strip()[-_LIMIT:] or waiting.get("message") or "the container cannot start"
        return PodFailure(waiting["reason"], text)
    return None


def _ended(ended: Mapping[str, Any], waits: str | None, name: str) -> PodFailure:
    text = clean(ended.get("message") or "").strip()
    match = _REASON.match(text)
    if match:
        return PodFailure(match[1], match[2][:_LIMIT], ended["exitCode"])
    reason = ended.get("reason")
    if ended["exitCode"] == EXIT_NOT_RETRIABLE:
        reason = START_REFUSED
    if reason in _SAYS_NOTHING:
        reason = waits if waits in WAITING else "Error"
    return PodFailure(
        str(reason), text[-_LIMIT:] or f"the {name} ended with exit code {ended['exitCode']}", ended["exitCode"]
    )
