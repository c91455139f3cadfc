"""Raw objects → the snapshot's dataclasses: the one place that knows how Kubernetes spells them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from tidemill.core import conditions, podfailure, rollback_marks
from tidemill.core import labels as keys
from tidemill.core.children import controller_of
from tidemill.core.conditions import parse_time
from tidemill.core.plan import ObjectRef
from tidemill.core.podfailure import PodFailure
from tidemill.serving.snapshot import (
    BATCHING_ANNOTATION,
    FORMATS_ANNOTATION,
    ONNX_ANNOTATION,
    ONNX_CHECK_ANNOTATION,
    RollbackRequest,
    RouterPod,
    RouterWorkload,
    Version,
    Workload,
)
from tidemill_contracts.inference import SERVER_CONFIG_ENV, ServerConfig

Obj = dict[str, Any]

SERVER_CONTAINER = "server"
ROUTER_CONTAINER = "router"


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
        onnx_check=int(spec.get("onnxCheck") or 1),
        batching=spec.get("batching") is not False,
        secret=(spec.get("secretRef") or {}).get("name"),
        approved=bool(approved and approved.get("status") == "True"),
        note=(approved or {}).get("message", ""),
        rejected=bool(approved and approved.get("status") == "False"),
        rolled_back={
            name: f"{mark.get('reason')}: {mark.get('message')}" for name, mark in rollback_marks.active(obj).items()
        },
        columns=spec.get("signature"),
        signature_digest=spec.get("signatureDigest"),
        lifted=parse_time(lifted) if lifted else None,
    )


def workload(
    deployment: Obj, pods: Iterable[Obj], versions: Iterable[Version], event: PodFailure | None = None
) -> Workload | None:
    """A version's Deployment with its pods; None when it does not say which version it serves.

    `event`: what events say of a pod that gives no reason itself.
    """
    config = _server_config(deployment)
    if config is None:
        return None
    recorded = next((v for v in versions if v.key == (config.version, config.digest)), None)
    meta, spec, status = deployment["metadata"], deployment["spec"], deployment.get("status") or {}
    annotations = meta.get("annotations") or {}
    replicas = int(spec.get("replicas", 1))
    available = conditions.get(status.get("conditions") or (), "Available") or {}
    since = parse_time(available["lastTransitionTime"]) if available.get("lastTransitionTime") else None
    is_available = available.get("status") == "True"
    return Workload(
        name=meta["name"],
        version=recorded or _reported_version(config, annotations),
        replicas=replicas,
        ready=int(status.get("readyReplicas") or 0),
        settled=is_settled(deployment),
        available_since=since if is_available else None,
        unavailable_since=None if is_available else since,
        failure=podfailure.worst(map(pod_failure, _staying(pods))) or event or podfailure.refused_pods(deployment),
    )


def _staying(pods: Iterable[Obj]) -> Iterable[Obj]:
    """Those that nobody has stopped: how a stopped one ends says nothing."""
    return (p for p in pods if not p["metadata"].get("deletionTimestamp"))


def _whole(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else 1


def _reported_version(config: ServerConfig, annotations: Mapping[str, str]) -> Version:
    return Version(
        name=config.version,
        number=int(config.number),
        digest=config.digest,
        uri=config.uri,
        formats=tuple(f for f in annotations.get(FORMATS_ANNOTATION, "").split(",") if f),
        onnx=annotations.get(ONNX_ANNOTATION, ""),
        onnx_check=_whole(annotations.get(ONNX_CHECK_ANNOTATION)),
        batching=annotations.get(BATCHING_ANNOTATION) != "false",
        secret=config.secret,
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


def pod_failure(pod: Obj) -> PodFailure | None:
    """Why the server of a pod that is not ready last ended, or cannot start; None when nothing is wrong yet."""
    return podfailure.pod_failure(pod, SERVER_CONTAINER)


def is_settled(deployment: Obj) -> bool:
    """Whether the Deployment controller has seen the newest template and every pod runs it."""
    meta, status = deployment["metadata"], deployment.get("status") or {}
    replicas = int(deployment["spec"].get("replicas", 1))
    return (
        int(status.get("observedGeneration") or 0) >= int(meta.get("generation") or 0)
        and int(status.get("updatedReplicas") or 0) >= replicas
        and int(status.get("replicas") or 0) <= replicas
    )


def is_ready(pod: Obj) -> bool:
    """Whether a pod is ready and stays."""
    ready = conditions.is_true((pod.get("status") or {}).get("conditions") or (), "Ready")
    return ready and not pod["metadata"].get("deletionTimestamp")


def selector(deployment: Obj) -> Mapping[str, str]:
    """The labels by which a Deployment selects its pods."""
    found: Mapping[str, str] = (deployment["spec"].get("selector") or {}).get("matchLabels") or {}
    return found


def strangers(pods: Iterable[Obj], selector: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the ready pods with these labels that no ReplicaSet controls.

    No controller of the cluster removes such a pod. One with a false owner goes by itself: the cluster removes
    what is surplus, or whose owner does not exist.
    """
    wanted = selector.items()
    found = (p["metadata"] for p in pods if is_ready(p) and controller_of(p).get("kind") != "ReplicaSet")
    return tuple(sorted(meta["name"] for meta in found if wanted <= (meta.get("labels") or {}).items()))


def router_workload(
    deployment: Obj | None, pods: Sequence[Obj], event: PodFailure | None = None, labelled: Iterable[Obj] = ()
) -> RouterWorkload | None:
    """The router's own Deployment with its pods; None while it is not there. `event`: as of `workload`.

    `labelled`: all pods with the labels of routers, whoever owns them.
    """
    if deployment is None:
        return None
    failures = [podfailure.pod_failure(p, ROUTER_CONTAINER) for p in _staying(pods)]
    return RouterWorkload(
        replicas=int(deployment["spec"].get("replicas", 1)),
        ready=int((deployment.get("status") or {}).get("readyReplicas") or 0),
        settled=is_settled(deployment),
        failure=podfailure.worst(failures) or event or podfailure.refused_pods(deployment),
        is_silent=any(podfailure.is_silent(p, ROUTER_CONTAINER) for p in pods),
        strangers=strangers(labelled, selector(deployment)),
    )


def router_pod(pod: Obj) -> RouterPod:
    """A pod of the router, without its statistics. A pod that is going away is not ready: nobody is sent there."""
    meta = pod["metadata"]
    created = meta.get("creationTimestamp")
    return RouterPod(
        name=meta["name"],
        ready=is_ready(pod),
        refreshed=(meta.get("annotations") or {}).get(keys.REFRESHED_AT),
        created=parse_time(created) if created else None,
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
