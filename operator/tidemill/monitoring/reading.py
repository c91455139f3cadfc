"""Raw objects → the snapshot's dataclasses: the one place that knows how Kubernetes and the other kinds spell them."""

from __future__ import annotations

from typing import Any

from tidemill.core import conditions
from tidemill.core.conditions import parse_time
from tidemill.monitoring.snapshot import Served
from tidemill_contracts.ports import MONITOR_PORT, REPORT_PORT

Obj = dict[str, Any]

_PROBLEMS = frozenset(
    {"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "CreateContainerConfigError", "CrashLoopBackOff"}
)


def served(deployment: Obj, version: Obj | None) -> Served:
    """A ModelDeployment, and the ModelVersion in service when its record still exists."""
    status = deployment.get("status") or {}
    stable, previous, candidate = (status.get(k) or {} for k in ("stable", "previous", "candidate"))
    failed = {(f["version"], f["digest"]) for f in status.get("failedVersions") or ()}
    way_back = previous.get("version")
    if (way_back, previous.get("digest")) in failed:
        way_back = None
    pipeline = (version or {}).get("spec", {}).get("pipeline") or deployment["spec"].get("model", {}).get("pipeline")
    return Served(
        version=stable.get("version"),
        digest=stable.get("digest"),
        since=parse_time(stable["since"]) if stable.get("since") else None,
        previous=way_back,
        candidate=candidate.get("version"),
        suspended=bool(deployment["spec"].get("suspend")),
        pipeline=pipeline,
    )


def was_taken_back(version: Obj | None, deployment: str) -> bool:
    """Whether that deployment has taken the version back: then it is no way back."""
    return deployment in (((version or {}).get("status") or {}).get("takenBack") or {})


def seniority(monitor: Obj) -> tuple[str, str]:
    """Sort key: the older monitor of a deployment is the one that watches it."""
    meta = monitor["metadata"]
    return meta.get("creationTimestamp") or "", meta["name"]


def is_ready(pod: Obj) -> bool:
    """Whether a pod is ready and has an address."""
    status = pod.get("status") or {}
    return bool(status.get("podIP")) and conditions.is_true(status.get("conditions") or (), "Ready")


def report_port(deployment: Obj | None) -> int:
    """Where the pods of a monitor's Deployment answer with the report.

    Before there was a port for it, it was where records go; such pods are there until the Deployment is brought up to
    date.
    """
    template = ((deployment or {}).get("spec") or {}).get("template") or {}
    containers = (template.get("spec") or {}).get("containers") or ()
    is_old = bool(containers) and not any(p.get("name") == "report" for c in containers for p in c.get("ports") or ())
    return MONITOR_PORT if is_old else REPORT_PORT


def problem(pod: Obj) -> str:
    """Why a pod is not ready, as far as Kubernetes says so."""
    status = pod.get("status") or {}
    for container in status.get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in _PROBLEMS:
            ended = (container.get("lastState") or {}).get("terminated") or {}
            detail = ended.get("message") or waiting.get("message") or ""
            return f"{waiting['reason']}: {detail.strip()[-512:]}".rstrip(": ")
    scheduled = conditions.get(status.get("conditions") or (), "PodScheduled")
    if scheduled and scheduled.get("status") == "False":
        return f"Unschedulable: {scheduled.get('message', '')}"
    return "its pod is not ready"


def had_prometheus(monitor: Obj) -> bool:
    """Whether the status says that Prometheus objects were applied for a spec that no longer asks for them."""
    raw = (monitor.get("status") or {}).get("conditions") or ()
    return "prometheus" not in monitor["spec"] and conditions.is_true(raw, "PrometheusReady")
