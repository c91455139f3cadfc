"""Raw objects → the snapshot's dataclasses: the one place that knows how Kubernetes and others spell them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tidemill.api.v1alpha1.payload_log import Payloads
from tidemill.api.v1alpha1.training_run import KeptRows
from tidemill.core.conditions import parse_time
from tidemill.core.podfailure import PodFailure
from tidemill.training import job_status
from tidemill.training.pipeline.snapshot import MonitorRequest, ProbeJob, RowsPlace
from tidemill_contracts import payloads, schemes
from tidemill_contracts.access import is_client_hash
from tidemill_contracts.gaming import MAX_CLIENTS
from tidemill_contracts.storage import parse_uri

Obj = dict[str, Any]


def probe_job(job: Obj, pods: Sequence[Obj], event: PodFailure | None = None) -> ProbeJob:
    """A probe's Job with its pods; `event`: what events say of either of them."""
    messages = [text for pod in pods if (text := job_status.termination_message(pod))]
    finished = job_status.job_outcome(job) is not None
    return ProbeJob(
        name=job["metadata"]["name"],
        uid=job["metadata"]["uid"],
        created=parse_time(job["metadata"]["creationTimestamp"]),
        finished=finished,
        message=messages[-1] if messages else job_status.job_message(job),
        problem=job_status.start_problem(job, pods, event),
        is_silent=job_status.silent(job, pods) is not None,
    )


def monitor_requests(monitors: Iterable[Obj], pipeline: str) -> tuple[MonitorRequest, ...]:
    """The newest retrain request of each monitor to a pipeline."""
    found = []
    for monitor in monitors:
        requested = [a for a in retrain_actions(monitor) if a.get("target") == pipeline]
        if requested:
            last = requested[-1]
            name = monitor["metadata"]["name"]
            uid = monitor["metadata"].get("uid", "")
            time = parse_time(last["time"]) if last.get("time") else None
            about = (last.get("cause", ""), last.get("message", ""), time, last.get("version", ""))
            found.append(MonitorRequest(name, uid, last["id"], *about))
    return tuple(found)


def config_map_inputs(spec: Mapping[str, Any]) -> list[str]:
    """Names of the ConfigMaps that a pipeline's inputs name; unreadable URIs are left to the policies."""
    found = set()
    for source in spec.get("data") or ():
        try:
            uri = parse_uri(str(source.get("uri", "")))
        except ValueError:
            continue
        if schemes.BY_NAME[uri.scheme].mount == "configMap":
            found.add(uri.authority)
    return sorted(found)


def deployments_read(spec: Mapping[str, Any]) -> list[str]:
    """Names of the ModelDeployments whose kept rows a pipeline's inputs name."""
    found = {schemes.deployment_of_rows(str(source.get("uri", ""))) for source in spec.get("data") or ()}
    return sorted(name for name in found if name is not None)


def rows_place(namespace: str, name: str, deployment: Obj | None, monitors: Sequence[Obj]) -> RowsPlace:
    """Where a ModelDeployment keeps its rows. `monitors`: those that watch it, one of which writes them."""
    if deployment is None:
        return RowsPlace(None, f"ModelDeployment {name} does not exist in namespace {namespace}")
    raw = ((deployment.get("spec") or {}).get("logging") or {}).get("payloads")
    no_rows = f"ModelDeployment {name} keeps no rows"
    if raw is None:
        return RowsPlace(None, f"{no_rows}: set spec.logging.payloads there")
    try:
        wanted = Payloads.model_validate(raw)
        uri = payloads.folder(wanted.uri, namespace, name)
    except ValueError as error:  # a deployment of another version of the API, or written past its schema
        return RowsPlace(None, f"{no_rows} that can be found: its spec.logging.payloads: {str(error).splitlines()[0]}")
    if wanted.columns == []:
        return RowsPlace(None, f"ModelDeployment {name} keeps no inputs: spec.logging.payloads.columns is empty there")
    if not monitors:
        return RowsPlace(None, f"{no_rows}, as no ModelMonitor watches it: create one with spec.deployment {name}")
    suspected = {
        str(client) for monitor in monitors for client in (monitor.get("status") or {}).get("suspectedClients") or ()
    }
    return RowsPlace(
        KeptRows(
            uri=uri,
            secret_ref=wanted.secret_ref,
            columns=wanted.columns,
            suspected_clients=sorted(filter(is_client_hash, suspected))[:MAX_CLIENTS],
        )
    )


def retrained_pipelines(monitor: Obj) -> set[str]:
    """Pipelines of which the monitor has requested a retrain."""
    return {str(a["target"]) for a in retrain_actions(monitor) if a.get("target")}


def retrain_actions(monitor: Obj) -> list[dict[str, Any]]:
    """The retrain requests in a ModelMonitor's status, newest last."""
    actions = (monitor.get("status") or {}).get("actions") or ()
    return [a for a in actions if a.get("type") == "Retrain" and a.get("id")]


def living(objects: Sequence[Obj]) -> list[Obj]:
    return [o for o in objects if not o["metadata"].get("deletionTimestamp")]
