"""Is the version registered, and by what? Everything else that is decided on a version presupposes it.

What counts is in `tidemill.training.registered`, and the signed record of a version that was found again in the
artifact store (`tidemill.training.store_records`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from tidemill.api.v1alpha1.model_version import Decision, Lifted, Registered, TakenBack, VersionOrigin
from tidemill.core import conditions
from tidemill.training import constants, registered, store_records
from tidemill.training.store_records import Statement
from tidemill.training.version.snapshot import VersionSnapshot


@dataclass(frozen=True, slots=True)
class Registration:
    """Whether the version counts, and what was known of it before."""

    registered: Registered | None
    waits: bool = False
    """The run or import that it names has not ended yet: its status will say."""
    restored: Statement | None = None
    """The record by which it was found again, in the pass that finds it."""

    def decision(self, snapshot: VersionSnapshot) -> Decision | None:
        """The last decision on the version."""
        return self.restored.decision if self.restored else snapshot.version.status.decision

    def taken_back(self, snapshot: VersionSnapshot) -> dict[str, TakenBack]:
        """Rollbacks of the version so far."""
        return self.restored.taken_back if self.restored else snapshot.version.status.taken_back

    def lifted(self, snapshot: VersionSnapshot) -> Lifted | None:
        """The last time that a person lifted rollbacks."""
        return self.restored.lifted if self.restored else snapshot.version.status.lifted


def registration(snapshot: VersionSnapshot) -> Registration:
    """What registered the version; nothing for an object that somebody else made."""
    version = snapshot.object
    if registered.is_recorded(version):
        known = snapshot.version.status.registered
        if known is not None and known.training is None:
            known = known.model_copy(update={"training": registered.training_of(version, snapshot.origin)})
        return Registration(known)
    if registered.is_result_of(version, snapshot.origin):
        return Registration(_of_origin(snapshot))
    if registered.is_of_earlier_release(version):
        decision = snapshot.version.status.decision
        return Registration(_earlier(snapshot, decision))
    statement = store_records.carried(version, snapshot.record_keys)
    if statement is not None:
        found = {"restored": snapshot.now, "training": statement.registered.training or statement.training}
        return Registration(statement.registered.model_copy(update=found), restored=statement)
    return Registration(None, waits=_waits(snapshot))


def _of_origin(snapshot: VersionSnapshot) -> Registered:
    origin = cast("dict[str, Any]", snapshot.origin)
    meta = origin["metadata"]
    return Registered(
        digest=snapshot.version.spec.digest,
        time=snapshot.now,
        origin=VersionOrigin(kind=origin["kind"], name=meta["name"], uid=meta.get("uid")),
        gates=registered.gates_of(origin, snapshot.object),
        training=registered.training_of(snapshot.object, origin),
    )


def _earlier(snapshot: VersionSnapshot, decision: Decision | None) -> Registered:
    """What is still known of a version of an earlier release."""
    made = conditions.parse_time(snapshot.object["metadata"]["creationTimestamp"])
    return Registered(
        digest=snapshot.version.spec.digest,
        time=decision.time if decision else made,
        gates=registered.gates_of(snapshot.origin, snapshot.object),
        training=registered.training_of(snapshot.object, snapshot.origin),
    )


def _waits(snapshot: VersionSnapshot) -> bool:
    """Whether the run or import that the version names goes on: it names its version when it has ended."""
    if snapshot.origin is None or not conditions.has_default_status(snapshot.object):
        return False
    found = conditions.of(snapshot.origin)
    if snapshot.origin["kind"] == "ModelImport":
        return not (conditions.is_true(found, conditions.READY) or conditions.is_true(found, conditions.STALLED))
    ended = conditions.get(found, constants.SUCCEEDED) or {}
    return bool(ended.get("status", "Unknown") == "Unknown")
