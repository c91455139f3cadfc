"""Raw objects → the snapshot's dataclasses: the one place that knows how Kubernetes and the other kinds spell them."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from tidemill.api.v1alpha1.payload_log import Payloads
from tidemill.core import conditions, podfailure
from tidemill.core import labels as keys
from tidemill.core.conditions import parse_time
from tidemill.core.podfailure import PodFailure
from tidemill.monitoring.snapshot import Served
from tidemill_contracts.ports import MONITOR_PORT, REPORT_PORT

Obj = dict[str, Any]

CONTAINER = "monitor"


def served(deployment: Obj, version: Obj | None) -> Served:
    """A ModelDeployment, and the ModelVersion in service when its record still exists."""
    status = deployment.get("status") or {}
    stable, previous, candidate = (status.get(k) or {} for k in ("stable", "previous", "candidate"))
    failed = {(f.get("version"), f.get("digest")) for f in status.get("failedVersions") or ()}
    recorded = status.get("rollbackVersions")
    ways_back = ((w.get("version"), w.get("digest")) for w in ([previous] if recorded is None else recorded))
    way_back = next((version for version, digest in ways_back if (version, digest) not in failed), None)
    known = [stable, previous, candidate, *(recorded or ())]
    pipeline = (version or {}).get("spec", {}).get("pipeline") or deployment["spec"].get("model", {}).get("pipeline")
    return Served(
        version=stable.get("version"),
        digest=stable.get("digest"),
        since=parse_time(stable["since"]) if stable.get("since") else None,
        previous=way_back,
        candidate=candidate.get("version"),
        suspended=bool(deployment["spec"].get("suspend")),
        says=conditions.unready(deployment),
        pipeline=pipeline,
        monitor_rollback=str((deployment["spec"].get("rollout") or {}).get("monitorRollback") or "Propose"),
        has_keys=bool(deployment["spec"].get("access")),
        has_feedback_keys=bool((deployment["spec"].get("access") or {}).get("feedback")),
        payloads=payloads(deployment),
        logged_columns=frozenset(map(str, (deployment["spec"].get("logging") or {}).get("columns") or ())),
        digests=frozenset(str(one["digest"]) for one in known if one.get("digest")),
    )


def payloads(deployment: Obj) -> Payloads | None:
    """Which rows a ModelDeployment wants to be kept; none where that cannot be read."""
    found = (deployment["spec"].get("logging") or {}).get("payloads")
    if not found:
        return None
    try:
        return Payloads.model_validate(found)
    except ValidationError:
        return None


def allows_retrain(pipeline: Obj | None) -> bool:
    """Whether a TrainingPipeline trains when a monitor requests it."""
    triggers = ((pipeline or {}).get("spec") or {}).get("triggers") or {}
    return triggers.get("monitors") is not None


def handled_request(pipeline: Obj | None, monitor: str) -> str | None:
    """Id of the last request of a ModelMonitor that a TrainingPipeline needs no run for any more."""
    handled = ((pipeline or {}).get("status") or {}).get("lastHandledMonitorRequests") or {}
    return handled.get(monitor)


def are_actions_disabled(namespace: Obj | None) -> bool:
    """Whether somebody has switched the actions of all monitors of a Namespace off."""
    found = ((namespace or {}).get("metadata") or {}).get("labels") or {}
    return found.get(keys.ACTIONS) == keys.ACTIONS_DISABLED


def seniority(monitor: Obj) -> tuple[str, str]:
    """Sort key: the older monitor of a deployment is the one that watches it."""
    meta = monitor["metadata"]
    return meta.get("creationTimestamp") or "", meta["name"]


def is_ready(pod: Obj) -> bool:
    """Whether a pod is ready and has an address."""
    status = pod.get("status") or {}
    return bool(status.get("podIP")) and conditions.is_true(status.get("conditions") or (), "Ready")


def refreshed(pod: Obj | None) -> str | None:
    """Value of the annotation that made the kubelet look at the pod's files."""
    found = ((pod or {}).get("metadata") or {}).get("annotations") or {}
    value = found.get(keys.REFRESHED_AT)
    return None if value is None else str(value)


def report_port(deployment: Obj | None) -> int:
    """Where the pods of a monitor's Deployment answer with the report.

    Before there was a port for it, it was where records go; such pods are there until the Deployment is brought up to
    date.
    """
    template = ((deployment or {}).get("spec") or {}).get("template") or {}
    containers = (template.get("spec") or {}).get("containers") or ()
    is_old = bool(containers) and not any(p.get("name") == "report" for c in containers for p in c.get("ports") or ())
    return MONITOR_PORT if is_old else REPORT_PORT


def failure(pod: Obj | None, deployment: Obj | None = None, event: PodFailure | None = None) -> PodFailure | None:
    """Why the monitor's pod is not ready or not there, as far as Kubernetes says so; `event`: as its events say."""
    found = podfailure.pod_failure(pod, CONTAINER) if pod is not None else None
    return found or event or (podfailure.refused_pods(deployment) if deployment is not None else None)


def problem(found: PodFailure | None, pod: Obj | None) -> str:
    """The same as half a sentence, also where nothing is known."""
    if found is not None:
        return str(found)
    return "its pod is not ready" if pod is not None else "its pod does not exist yet"


def is_settled(deployment: Obj | None) -> bool:
    """Whether the Deployment controller has seen the newest template and the pod runs it."""
    if deployment is None:
        return False
    status, generation = deployment.get("status") or {}, int(deployment["metadata"].get("generation") or 0)
    is_seen = int(status.get("observedGeneration") or 0) >= generation
    return is_seen and int(status.get("updatedReplicas") or 0) >= 1


def had_prometheus(monitor: Obj) -> bool:
    """Whether the status speaks of Prometheus objects, some of which may be there, for a spec that asks for none."""
    raw = (monitor.get("status") or {}).get("conditions") or ()
    return "prometheus" not in monitor["spec"] and conditions.get(raw, "PrometheusReady") is not None
