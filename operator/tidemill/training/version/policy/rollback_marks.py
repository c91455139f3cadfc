"""Marks of deployments that rolled the version back: which count, and when a person has lifted them.

The serving slice writes `status.takenBack`, an entry a ModelDeployment (docs/decisions/0170); here they are only
carried on and lifted. Two things lift them: a new value of the annotation tidemill.io/retry on the version, and an
approval by hand that is newer than the mark.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tidemill.api.v1alpha1.model_version import Decision, Lifted, TakenBack
from tidemill.core import labels
from tidemill.core.request_annotations import new_value, still_handled
from tidemill.training.version.policy.approval import AUTOMATIC
from tidemill.training.version.policy.registration import Registration
from tidemill.training.version.snapshot import VersionSnapshot


@dataclass(frozen=True, slots=True)
class RollbackMarks:
    """What is recorded of marks now."""

    taken_back: Mapping[str, TakenBack] = field(default_factory=dict)
    lifted: Lifted | None = None
    retry: str | None = None


def current_marks(snapshot: VersionSnapshot, known: Registration, decision: Decision | None) -> RollbackMarks:
    """The marks that count now. `decision`: the one in force, which may just have been made."""
    status, digest = snapshot.version.status, snapshot.version.spec.digest
    requested = new_value(_annotations(snapshot), labels.RETRY, status.last_handled_retry)
    marks = known.taken_back(snapshot)
    lifted = _lifted(snapshot, known, decision, requested)
    kept = {
        name: mark
        for name, mark in marks.items()
        if mark.digest == digest and (lifted is None or mark.time > lifted.time)
    }
    handled = still_handled(_annotations(snapshot), labels.RETRY, status.last_handled_retry)
    return RollbackMarks(kept, lifted, requested or handled)


def _lifted(
    snapshot: VersionSnapshot, known: Registration, decision: Decision | None, requested: str | None
) -> Lifted | None:
    """The newest of the lifts: an approval that was lifted by before never takes the place of a later retry."""
    before = known.lifted(snapshot)
    if requested is not None:
        return Lifted(by=f"annotation {labels.RETRY}={requested}", time=snapshot.now)
    if decision is None or not decision.approved or decision.by in AUTOMATIC:
        return before
    if before is not None and before.time >= decision.time:
        return before
    older = any(mark.time <= decision.time for mark in known.taken_back(snapshot).values())
    return Lifted(by=decision.by, time=decision.time) if older else before


def _annotations(snapshot: VersionSnapshot) -> Mapping[str, str]:
    return snapshot.object["metadata"].get("annotations") or {}
