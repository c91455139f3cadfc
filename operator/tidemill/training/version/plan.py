"""From a version's snapshot to what is done.

A ModelDeployment that serves a version becomes its second owner, so that deleting the pipeline takes the record of a
served model away only together with the last deployment that serves it (docs/decisions/0074).
"""

from __future__ import annotations

from typing import Any

from tidemill.api.base import API_VERSION
from tidemill.core import conditions
from tidemill.core.plan import Event, ObjectRef, Patch, Plan
from tidemill.training import words
from tidemill.training.records import DeploymentRecord
from tidemill.training.version import status as statuses
from tidemill.training.version.policy.approval import approval
from tidemill.training.version.snapshot import VersionSnapshot


def plan(snapshot: VersionSnapshot) -> Plan:
    """Everything that should happen to the version now."""
    found = approval(snapshot)
    name = snapshot.object["metadata"]["name"]
    serving = [d for d in snapshot.deployments if name in d.served]
    status = statuses.build(snapshot, found, [d.name for d in serving])
    return Plan(patches=_owners(snapshot, serving), status=status, events=_events(snapshot, status, found.mismatch))


def _owners(snapshot: VersionSnapshot, serving: list[DeploymentRecord]) -> tuple[Patch, ...]:
    has: list[dict[str, Any]] = snapshot.object["metadata"].get("ownerReferences") or []
    others = [o for o in has if o.get("kind") != "ModelDeployment"]
    wanted = others + [_owner(d) for d in sorted(serving, key=lambda d: d.name)]
    if not others or [o["uid"] for o in wanted] == [o["uid"] for o in has]:
        return ()  # a version without a pipeline belongs to a person: it never gets an owner
    return (Patch(ObjectRef.of(snapshot.object), {"metadata": {"ownerReferences": wanted}}),)


def _owner(deployment: DeploymentRecord) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "ModelDeployment",
        "name": deployment.name,
        "uid": deployment.uid,
        "controller": False,
        "blockOwnerDeletion": False,
    }


def _events(snapshot: VersionSnapshot, status: dict[str, Any], mismatch: str | None) -> tuple[Event, ...]:
    if mismatch is None:
        return ()
    old = (snapshot.object.get("status") or {}).get("conditions") or ()
    before = conditions.get(old, words.APPROVED) or {}
    now = conditions.get(status["conditions"], words.APPROVED) or {}
    if before.get("message") == now.get("message"):
        return ()
    return (Event("Warning", words.DIGEST_MISMATCH, mismatch, "Decide"),)
