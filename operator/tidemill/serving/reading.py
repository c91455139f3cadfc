"""Raw objects → the snapshot's dataclasses: the one place that knows how Kubernetes spells them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from tidemill.core import conditions
from tidemill.core import labels as keys
from tidemill.core.conditions import parse_time
from tidemill.core.plan import ObjectRef
from tidemill.core.text import clean
from tidemill.serving.snapshot import (
    FORMATS_ANNOTATION,
    ONNX_ANNOTATION,
    PodFailure,
    RollbackRequest,
    RouterPod,
    Version,
    Workload,
)
from tidemill_contracts.inference import SERVER_CONFIG_ENV, ServerConfig

Obj = dict[str, Any]

SERVER_CONTAINER = "server"
_REASON = re.compile(r"^([A-Z][A-Za-z0-9]{2,63}): (.+)", re.DOTALL)
_WAITING_FAILURES = frozenset(
    {"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "CreateContainerConfigError", "CreateContainerError"}
)


def version(obj: Obj) -> Version:
    """A ModelVersion as data."""
    spec, status = obj["spec"], obj.get("status") or {}
    approved = conditions.get(status.get("conditions") or (), "Approved")
    lifted = (status.get("lifted") or {}).get("time")
    return Version(
        name=obj["metadata"]["name"],
        number=int(spec["number"]),
        digest=spec["digest"],
        uri=spec["uri"],
        formats=tuple(sorted(spec.get("formats") or ())),
        onnx=spec.get("onnx") or "",
        secret=(spec.get("secretRef") or {}).get("name"),
        approved=bool(approved and approved.get("status") == "True"),
        note=(approved or {}).get("message", ""),
        rejected=bool(approved and approved.get("status") == "False"),
        taken_back={
            name: f"{mark.get('reason')}: {mark.get('message')}"
            for name, mark in (status.get("takenBack") or {}).items()
            if mark.get("digest") == spec["digest"]
        },
        lifted=parse_time(lifted) if lifted else None,
    )


def workload(deployment: Obj, pods: Iterable[Obj], versions: Iterable[Version]) -> Workload | None:
    """A version's Deployment with its pods; None when it does not say which version it serves."""
    told = _server_config(deployment)
    if told is None:
        return None
    recorded = next((v for v in versions if v.key == (told.version, told.digest)), None)
    meta, spec, status = deployment["metadata"], deployment["spec"], deployment.get("status") or {}
    annotations = meta.get("annotations") or {}
    replicas = int(spec.get("replicas", 1))
    available = conditions.get(status.get("conditions") or (), "Available") or {}
    since = parse_time(available["lastTransitionTime"]) if available.get("lastTransitionTime") else None
    is_available = available.get("status") == "True"
    return Workload(
        name=meta["name"],
        version=recorded or _told_version(told, annotations),
        replicas=replicas,
        ready=int(status.get("readyReplicas") or 0),
        settled=int(status.get("observedGeneration") or 0) >= int(meta.get("generation") or 0)
        and int(status.get("updatedReplicas") or 0) >= replicas
        and int(status.get("replicas") or 0) <= replicas,
        available_since=since if is_available else None,
        unavailable_since=None if is_available else since,
        failure=_worst(pods),
    )


def _told_version(told: ServerConfig, annotations: Mapping[str, str]) -> Version:
    return Version(
        name=told.version,
        number=int(told.number),
        digest=told.digest,
        uri=told.uri,
        formats=tuple(f for f in annotations.get(FORMATS_ANNOTATION, "").split(",") if f),
        onnx=annotations.get(ONNX_ANNOTATION, ""),
        secret=told.secret,
        recorded=False,
    )


def _server_config(deployment: Obj) -> ServerConfig | None:
    for container in deployment["spec"]["template"]["spec"]["containers"]:
        for variable in container.get("env") or ():
            if variable.get("name") == SERVER_CONFIG_ENV:
                try:
                    return ServerConfig.from_json(variable.get("value") or "")
                except ValidationError:
                    return None
    return None


def _worst(pods: Iterable[Obj]) -> PodFailure | None:
    """The failure that says most: one that another start cannot help first."""
    found = [f for pod in pods if (f := pod_failure(pod)) is not None]
    return min(found, key=lambda f: (f.exit_code is None, -(f.exit_code or 0)), default=None)


def pod_failure(pod: Obj) -> PodFailure | None:
    """Why the server of a pod that is not ready last ended, or cannot start; None when nothing is wrong yet."""
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        if status.get("name") != SERVER_CONTAINER or status.get("ready"):
            continue
        for state in (status.get("state") or {}, status.get("lastState") or {}):
            ended = state.get("terminated")
            if ended and ended.get("exitCode"):
                return _ended(ended)
        waiting = (status.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in _WAITING_FAILURES:
            return PodFailure(waiting["reason"], waiting.get("message") or "the container cannot start")
    scheduled = conditions.get((pod.get("status") or {}).get("conditions") or (), "PodScheduled")
    if scheduled and scheduled.get("status") == "False":
        return PodFailure("Unschedulable", scheduled.get("message") or "no node takes the pod")
    return None


def _ended(ended: Mapping[str, Any]) -> PodFailure:
    text = clean(ended.get("message") or "").strip()
    match = _REASON.match(text)
    if match:
        return PodFailure(match[1], match[2][:1024], ended["exitCode"])
    reason = ended.get("reason") or "Error"
    return PodFailure(reason, text[-1024:] or f"the server ended with exit code {ended['exitCode']}", ended["exitCode"])


def router_pod(pod: Obj) -> RouterPod:
    """A pod of the router, without its figures. A pod that is going away is not ready: nobody is sent there."""
    meta = pod["metadata"]
    ready = conditions.is_true((pod.get("status") or {}).get("conditions") or (), "Ready")
    return RouterPod(
        name=meta["name"],
        ready=ready and not meta.get("deletionTimestamp"),
        refreshed=(meta.get("annotations") or {}).get(keys.REFRESHED_AT),
    )


def routes(config_map: Obj | None, version_key: str, since_key: str) -> tuple[str | None, datetime | None]:
    """Which routes the router's ConfigMap holds and since when; None for what is not there."""
    annotations = ((config_map or {}).get("metadata") or {}).get("annotations") or {}
    since = annotations.get(since_key)
    return annotations.get(version_key), parse_time(since) if since else None


def rollback_requests(monitors: Iterable[Obj], deployment: str) -> list[RollbackRequest]:
    """What the ModelMonitors of a deployment ask for."""
    out = []
    for monitor in monitors:
        if monitor["spec"].get("deployment") != deployment:
            continue
        for action in (monitor.get("status") or {}).get("actions") or ():
            if action.get("type") == "Rollback" and action.get("target") == deployment:
                when = parse_time(action["time"])
                out.append(RollbackRequest(action["id"], action["version"], action.get("message", ""), when))
    return out


def references(objects: Iterable[Obj]) -> tuple[ObjectRef, ...]:
    """References with uid, so that a later object of the same name is never meant."""
    return tuple(ObjectRef.of(o) for o in objects if not o["metadata"].get("deletionTimestamp"))
