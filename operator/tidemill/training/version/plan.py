"""From a version's snapshot to what is done.

A ModelDeployment that serves a version becomes its second owner, so that deleting the pipeline takes the record of a
served model away only together with the last deployment that serves it. A pipeline that is made again takes over what
its predecessor left (docs/decisions/0074).
"""

from __future__ import annotations

from typing import Any

from tidemill.api.base import API_VERSION
from tidemill.api.v1alpha1.model_version import Registered
from tidemill.core import conditions, labels
from tidemill.core.plan import Event, ObjectRef, Patch, Plan
from tidemill.training import constants
from tidemill.training.records import DeploymentRecord
from tidemill.training.version import status as statuses
from tidemill.training.version.policy.approval import approval
from tidemill.training.version.policy.registration import registration
from tidemill.training.version.snapshot import VersionSnapshot


def plan(snapshot: VersionSnapshot) -> Plan:
    """Everything that should happen to the version now."""
    known = registration(snapshot)
    if known.waits:
        return Plan()  # the status of its run or import wakes it
    serving = [d for d in snapshot.deployments if snapshot.name in d.served]
    names = [d.name for d in serving]
    if known.registered is None:
        status = statuses.unregistered(snapshot, names)
        return Plan(status=status, events=_not_registered(snapshot, status))
    found = approval(snapshot, known)
    status = statuses.build(snapshot, known, found, names)
    patches = (*_owners(snapshot, serving), *_annotation(snapshot, known.registered))
    return Plan(patches=patches, status=status, events=_events(snapshot, found.mismatch))


def _annotation(snapshot: VersionSnapshot, known: Registered) -> tuple[Patch, ...]:
    """Sets the annotation tidemill.io/spec back to what was trained, where somebody has changed it: people read it."""
    said = (snapshot.object["metadata"].get("annotations") or {}).get(constants.SPEC)
    if known.training is None or said == known.training:
        return ()
    note = {constants.SPEC: known.training}
    return (Patch(ObjectRef.of(snapshot.object), {"metadata": {"annotations": note}}),)


def _owners(snapshot: VersionSnapshot, serving: list[DeploymentRecord]) -> tuple[Patch, ...]:
    """The pipeline of that name, else the import, and whoever serves the version; nothing for one of a person."""
    meta = snapshot.object["metadata"]
    if (meta.get("labels") or {}).get(labels.MANAGED_BY) != labels.MANAGED_BY_VALUE:
        return ()
    has: list[dict[str, Any]] = meta.get("ownerReferences") or []
    wanted = [_owner("ModelDeployment", d.name, d.uid) for d in sorted(serving, key=lambda d: d.name)]
    if snapshot.pipeline_uid is not None:
        wanted.insert(0, _owner("TrainingPipeline", snapshot.version.spec.pipeline, snapshot.pipeline_uid))
    elif snapshot.import_uid is not None and snapshot.version.spec.source is not None:
        wanted.insert(0, _owner("ModelImport", snapshot.version.spec.source.import_, snapshot.import_uid))
    if not wanted or [o["uid"] for o in wanted] == [o["uid"] for o in has]:
        return ()  # without any owner left it would never be collected: it goes with the last one that it had
    return (Patch(ObjectRef.of(snapshot.object), {"metadata": {"ownerReferences": wanted}}),)


def _owner(kind: str, name: str, uid: str) -> dict[str, Any]:
    is_controller = kind != "ModelDeployment"
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "name": name,
        "uid": uid,
        "controller": is_controller,
        "blockOwnerDeletion": is_controller,
    }


def _not_registered(snapshot: VersionSnapshot, status: dict[str, Any]) -> tuple[Event, ...]:
    """A warning about an object that somebody else made, once."""
    before = conditions.get(conditions.of(snapshot.object), conditions.READY) or {}
    if before.get("reason") == constants.NOT_REGISTERED:
        return ()
    ready = conditions.get(status["conditions"], conditions.READY) or {}
    return (Event("Warning", constants.NOT_REGISTERED, ready["message"], "Register"),)


def _events(snapshot: VersionSnapshot, mismatch: str | None) -> tuple[Event, ...]:
    """A warning about an annotation with another digest, once: the message of Approved ends with it from then on."""
    before = conditions.get(conditions.of(snapshot.object), constants.APPROVED) or {}
    if mismatch is None or str(before.get("message") or "").endswith(mismatch):
        return ()
    return (Event("Warning", constants.DIGEST_MISMATCH, mismatch, "Decide"),)
