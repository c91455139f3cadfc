"""May the version be deployed? The decision of a person, or of the gates where approval is automatic.

A person decides by an annotation whose value is the digest that was looked at. The decision is remembered in status, so
taking the annotation away changes nothing. Where both annotations name the digest, the rejection counts.
"""

from __future__ import annotations

from dataclasses import dataclass

from tidemill.api.v1alpha1.model_version import Decision
from tidemill.core.text import clean
from tidemill.training import constants
from tidemill.training.version.snapshot import VersionSnapshot

GATES = "gates"
COMMENT_LIMIT = 1024


@dataclass(frozen=True, slots=True)
class Approval:
    """The decision in force, and what is said of an annotation that names another digest, as it stands in a status."""

    decision: Decision | None
    mismatch: str | None


def approval(snapshot: VersionSnapshot) -> Approval:
    """The decision as it is now."""
    annotations = snapshot.object["metadata"].get("annotations") or {}
    digest, before = snapshot.version.spec.digest, snapshot.version.status.decision
    wrong = [a for a in (constants.REJECT, constants.APPROVE) if annotations.get(a) and annotations[a] != digest]
    mismatch = None
    if wrong:
        mismatch = clean(f"annotation {wrong[0]} names {annotations[wrong[0]][:80]}, but this version is {digest}")
    for annotation, approved in ((constants.REJECT, False), (constants.APPROVE, True)):
        if annotations.get(annotation) == digest:
            return Approval(_by_hand(snapshot, annotation, approved), mismatch)
    if before is None and snapshot.version.spec.approval == "Automatic":
        return Approval(Decision(approved=True, by=GATES, time=snapshot.now, digest=digest), mismatch)
    return Approval(before, mismatch)


def _by_hand(snapshot: VersionSnapshot, annotation: str, approved: bool) -> Decision:
    before = snapshot.version.status.decision
    by = f"annotation {annotation}"
    comment = (snapshot.object["metadata"].get("annotations") or {}).get(constants.DECISION_COMMENT)
    comment = str(comment)[:COMMENT_LIMIT] if comment else None
    same = before is not None and before.by == by and before.comment == comment
    if before is not None and same:
        return before
    return Decision(approved=approved, by=by, time=snapshot.now, digest=snapshot.version.spec.digest, comment=comment)
