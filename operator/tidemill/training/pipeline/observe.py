"""Raw objects → the snapshot's dataclasses: the one place that knows how Kubernetes and others spell them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tidemill.core.conditions import parse_time
from tidemill.core.podfailure import PodFailure
from tidemill.training import constants, job_status
from tidemill.training.pipeline.snapshot import MonitorRequest, ProbeJob, RecordsJob
from tidemill_contracts import schemes
from tidemill_contracts.storage import parse_uri

Obj = dict[str, Any]


def probe_job(job: Obj, pods: Sequence[Obj], event: PodFailure | None = None) -> ProbeJob:
    """A probe's Job with its pods; `event`: what events say of either of them."""
    messages = [text for pod in pods if (text := job_status.termination_message(pod))]
    pod, finished = job_status.newest(pods), job_status.job_outcome(job) is not None
    found = job_status.start_failure(pod) if pod is not None and not job_status.started_at(pod) else None
    if found is None and event is not None:
        found = job_status.categorised(event)
    return ProbeJob(
        name=job["metadata"]["name"],
        uid=job["metadata"]["uid"],
        created=parse_time(job["metadata"]["creationTimestamp"]),
        finished=finished,
        message=messages[-1] if messages else job_status.job_message(job),
        problem=f"{found.reason}: {found.message}" if found is not None and not finished else None,
        is_silent=job_status.silent(job, pods) is not None,
    )


def records_mode(job: Obj) -> str | None:
    """What a Job does with records, read or write; None for other Jobs."""
    return (job["metadata"].get("labels") or {}).get(constants.RECORDS)


def is_restored(version: Obj) -> bool:
    """Whether a ModelVersion was made of a record in the artifact store."""
    return bool((version["metadata"].get("annotations") or {}).get(constants.RECORD))


def records_job(job: Obj, pods: Sequence[Obj], log: str, event: PodFailure | None = None) -> RecordsJob:
    """A Job that reads or writes records, with its pods and the log of the one that has read."""
    meta, newest, started = job["metadata"], job_status.newest(pods), probe_job(job, pods, event)
    digest, _, count = (meta.get("annotations") or {}).get(constants.RECORDS, "").partition(" ")
    return RecordsJob(
        name=meta["name"],
        uid=meta["uid"],
        created=parse_time(meta["creationTimestamp"]),
        mode=records_mode(job) or "",
        digest=digest,
        versions=int(count) if count.isdecimal() else None,
        finished=job_status.job_outcome(job) is not None,
        message=(job_status.termination_message(newest) if newest else None) or job_status.job_message(job),
        log=log,
        problem=started.problem,
        is_silent=started.is_silent,
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
            found.append(MonitorRequest(name, uid, last["id"], last.get("cause", ""), last.get("message", "")))
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


def retrained_pipelines(monitor: Obj) -> set[str]:
    """Pipelines of which the monitor has requested a retrain."""
    return {str(a["target"]) for a in retrain_actions(monitor) if a.get("target")}


def retrain_actions(monitor: Obj) -> list[dict[str, Any]]:
    """The retrain requests in a ModelMonitor's status, newest last."""
    actions = (monitor.get("status") or {}).get("actions") or ()
    return [a for a in actions if a.get("type") == "Retrain" and a.get("id")]


def living(objects: Sequence[Obj]) -> list[Obj]:
    return [o for o in objects if not o["metadata"].get("deletionTimestamp")]
