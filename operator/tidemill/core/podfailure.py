"""Why a pod of ours is not there or not ready, as far as Kubernetes says so: of runs, servers, routers and monitors.

What is read, in this order: the pod and its container, the conditions of the Deployment that cannot make pods, and,
where neither says anything, events (of a Job without pods, of a pod whose volumes or network are not there). Equal
causes give equal answers over time, so that a status that quotes them is not written again and again. The code in
a pod may leave any text, and chooses no reason with it: only the words of our own servers count as such.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tidemill.core import conditions
from tidemill.core.text import clean
from tidemill_contracts.failures import IN_EVENTS, REFUSALS, START_REASONS, WAITING
from tidemill_contracts.training import EXIT_NOT_RETRIABLE

START_REFUSED = "StartRefused"
"""The reason of a container that ended for good with a text that begins with none of our words."""
_REASON = re.compile(rf"^({'|'.join(sorted(reason.name for reason in START_REASONS))}): (.+)", re.DOTALL)
_SAYS_NOTHING = (None, "", "Error", "Completed")
_LIMIT = 1024
_NOT_YET = (None, "", "ContainerCreating", "PodInitializing")
"""What a container waits for on its way, whether or not it gets any further."""
_COMBINED = "(combined from similar events): "
_REFUSED_POD = re.compile(r'^(?:Error creating: )?pods? "[^"]*" is (?:forbidden|invalid): ', re.IGNORECASE)
"""Before the cause in what the API server says; the generated name is another one each time."""
_NO_CAUSE = "Unable to attach or mount volumes"
"""What the kubelet sums up after two minutes; the event before it has the cause."""

LOOK_SECONDS = 10.0
"""How often events are looked at of what gives no other reason."""
SILENT_SECONDS = 5.0
"""How long a pod may be on its way until its events are looked at: most start within that time."""


@dataclass(frozen=True, slots=True)
class PodFailure:
    """Why a container of a pod last ended, or cannot start."""

    reason: str
    message: str
    exit_code: int | None = None

    @property
    def is_refusal(self) -> bool:
        """Whether it says nothing of what runs in the pod: the cluster or a store refuses, and may do so no longer."""
        return self.reason in REFUSALS and self.exit_code != EXIT_NOT_RETRIABLE

    def __str__(self) -> str:
        """As it stands in sentences."""
        return f"{self.reason}: {self.message}".rstrip(": ")


@dataclass(frozen=True, slots=True)
class ObjectEvent:
    """What an event says of an object."""

    version: int
    """Its resourceVersion: the larger, the later it was written."""
    is_warning: bool
    reason: str
    note: str


def pod_failure(pod: Mapping[str, Any], container: str) -> PodFailure | None:
    """Why a pod that is not ready last ended, or cannot start; None when nothing is wrong yet."""
    status = pod.get("status") or {}
    if status.get("phase") == "Failed" and status.get("reason"):  # evicted: the disk or the memory of the node was full
        return PodFailure(status["reason"], clean(status.get("message") or "the kubelet stopped the pod")[:_LIMIT])
    for found in status.get("containerStatuses") or ():
        if found.get("name", container) == container and not found.get("ready"):
            failure = _container(found, container)
            if failure is not None:
                return failure
    scheduled = conditions.get(status.get("conditions") or (), "PodScheduled")
    if scheduled and scheduled.get("status") == "False":
        text = clean(scheduled.get("message") or "no node can run the pod")
        return PodFailure(scheduled.get("reason") or "Unschedulable", text[:_LIMIT])
    return None


def is_silent(pod: Mapping[str, Any], container: str) -> bool:
    """Whether a pod is on a node, its container has not started, and nothing in the pod says why: only an event can."""
    status = pod.get("status") or {}
    if pod["metadata"].get("deletionTimestamp") or status.get("phase") != "Pending":
        return False
    found = [s for s in status.get("containerStatuses") or () if s.get("name", container) == container]
    has_begun = any(
        "running" in state or "terminated" in state
        for s in found
        for state in (s.get("state") or {}, s.get("lastState") or {})
    )
    waits_for = [((s.get("state") or {}).get("waiting") or {}).get("reason") for s in found]
    return not has_begun and all(w in _NOT_YET for w in waits_for) and pod_failure(pod, container) is None


def is_silent_for_long(pod: Mapping[str, Any], container: str, now: datetime) -> bool:
    """Whether it has been so for long enough to ask for its events."""
    return is_silent(pod, container) and is_older(pod, now)


def is_older(obj: Mapping[str, Any], now: datetime) -> bool:
    """Whether an object is older than what starts normally takes."""
    made = obj["metadata"].get("creationTimestamp")
    return bool(made) and (now - conditions.parse_time(made)).total_seconds() >= SILENT_SECONDS


def reported(events: Iterable[ObjectEvent]) -> PodFailure | None:
    """What the events of one object say keeps it from going on; None when the last of them says that it goes on.

    Whoever may write events in the namespace may write these: they choose among a few reasons, and decide nothing but
    what a status says and that a version is waited for.
    """
    found = sorted(events, key=lambda e: e.version)
    went_on = max((e.version for e in found if not e.is_warning), default=0)
    causes = [e for e in found if e.is_warning and e.version > went_on and e.reason in IN_EVENTS]
    if not causes:
        return None
    last = next((e for e in reversed(causes) if not e.note.startswith(_NO_CAUSE)), causes[-1])
    return PodFailure(last.reason, _why(last.note) or "the event has no message")


def _why(text: str) -> str:
    """The cause in what a controller says about a pod that it cannot make, without the name that is never the same."""
    return _REFUSED_POD.sub("", clean(text).strip().removeprefix(_COMBINED))[:_LIMIT]


def refused_pods(deployment: Mapping[str, Any]) -> PodFailure | None:
    """Why a Deployment cannot even make its pods, as quota or an admission policy says.

    Its controller copies the condition from the ReplicaSet, so that nobody else needs to read those.
    """
    found = conditions.get((deployment.get("status") or {}).get("conditions") or (), "ReplicaFailure")
    if found is None or found.get("status") != "True":
        return None
    return PodFailure(found.get("reason") or "FailedCreate", _why(found.get("message") or "no pod could be created"))


def worst(found: Iterable[PodFailure | None]) -> PodFailure | None:
    """The failure that says most: one that another start cannot help first, a pod that was evicted long ago last."""
    known = [f for f in found if f is not None]
    return min(
        known,
        key=lambda f: (f.exit_code != EXIT_NOT_RETRIABLE, f.exit_code is None, -(f.exit_code or 0), not f.is_refusal),
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
        said = clean(waiting.get("message") or "").strip()[:_LIMIT]
        text = clean(last).strip()[-_LIMIT:] or said or "the container cannot start"
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
