"""The version's status: the decision on its use, and where it is served."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tidemill.api.v1alpha1.model_version import ModelVersionStatus
from tidemill.core import conditions
from tidemill.core.conditions import Condition
from tidemill.training import constants
from tidemill.training.version.policy.approval import GATES, UNJUDGED, Approval
from tidemill.training.version.policy.registration import Registration
from tidemill.training.version.policy.rollback_marks import RollbackMarks, current_marks
from tidemill.training.version.snapshot import VersionSnapshot

_MADE_ELSEWHERE = (
    "no run or import of this namespace has registered this object, so it is not deployed; "
    "create a ModelImport to bring a model in"
)


def unregistered(snapshot: VersionSnapshot, deployments: Sequence[str]) -> dict[str, Any]:
    """The status of an object that somebody else made: nobody's decision on it counts."""
    status = ModelVersionStatus(
        observed_generation=snapshot.object["metadata"].get("generation", 0), deployments=sorted(deployments)[:100]
    )
    out = status.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"conditions", "taken_back"})
    why = (constants.NOT_REGISTERED, _MADE_ELSEWHERE)
    wanted = [
        *conditions.trio(ready=False, reason=why[0], message=why[1], stalled=why),
        Condition(constants.APPROVED, "Unknown", *why),
    ]
    out["conditions"] = conditions.merge(
        conditions.of(snapshot.object), wanted, out["observedGeneration"], snapshot.now
    )
    return out


def build(
    snapshot: VersionSnapshot, known: Registration, found: Approval, deployments: Sequence[str]
) -> dict[str, Any]:
    """The whole status of a registered version in JSON form."""
    marked = current_marks(snapshot, known, found.decision)
    status = ModelVersionStatus(
        registered=known.registered,
        observed_generation=snapshot.object["metadata"].get("generation", 0),
        decision=found.decision,
        taken_back=dict(marked.taken_back),
        lifted=marked.lifted,
        last_handled_retry=marked.retry,
        deployments=sorted(deployments)[:100],
    )
    out = status.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"conditions"})
    approved = approved_condition(snapshot, known, found)
    trio = conditions.trio(ready=True, reason=constants.REGISTERED, message=f"digest {snapshot.version.spec.digest}")
    old = conditions.of(snapshot.object)
    wanted = [*trio, approved, *rolled_back_condition(marked)]
    if not marked.taken_back:
        del out["takenBack"]
    out["conditions"] = conditions.merge(old, wanted, out["observedGeneration"], snapshot.now)
    return out


def rolled_back_condition(marked: RollbackMarks) -> list[Condition]:
    """TakenBack: True with the newest mark; absent without one."""
    if not marked.taken_back:
        return []
    newest = max(marked.taken_back, key=lambda name: (marked.taken_back[name].time, name))
    mark, others = marked.taken_back[newest], len(marked.taken_back) - 1
    more = f" (and by {others} more)" if others else ""
    return [
        Condition(
            constants.TAKEN_BACK, "True", mark.reason, f"rolled back by ModelDeployment {newest}{more}: {mark.message}"
        )
    ]


def approved_condition(snapshot: VersionSnapshot, known: Registration, found: Approval) -> Condition:
    """Approved: True, False, or Unknown while nothing is decided.

    An annotation says what was decided and not by whom: anybody who may patch the object can set it, a person or a
    program, and only the audit log of the API server has the name. A comment is quoted, whatever it claims.
    """
    decision, digest = found.decision, snapshot.version.spec.digest
    hint = f"; {found.mismatch}" if found.mismatch else ""
    if decision is None:
        reason = constants.DIGEST_MISMATCH if found.mismatch else constants.AWAITING_APPROVAL
        text = f"waits for approval: annotate with {constants.APPROVE}={digest} or {constants.REJECT}={digest}"
        return Condition(constants.APPROVED, "Unknown", reason, text + hint)
    source = snapshot.version.spec.source
    if decision.by == UNJUDGED and source is not None:
        text = f"approved: imported from {source.uri} by ModelImport {source.import_}; no gates were applied here"
        return Condition(constants.APPROVED, "True", constants.IMPORTED, text + hint)
    if decision.by == UNJUDGED:
        text = "approved without gates: the pipeline has none, and spec.approval is Automatic"
        return Condition(constants.APPROVED, "True", constants.NOT_JUDGED, text + hint)
    if decision.by == GATES and known.registered is not None and known.registered.gates == "Unknown":
        text = "approved by an earlier release, which did not record whether there were gates"
        return Condition(constants.APPROVED, "True", constants.APPROVED_EARLIER, text + hint)
    if decision.by == GATES:
        text = f"approved: it passed its gates{_reservation(snapshot)}"
        return Condition(constants.APPROVED, "True", constants.GATES_PASSED, text + hint)
    if decision.version is not None:
        text = (
            f"rejected: version {decision.version} of this pipeline has the same content and was rejected; to approve "
            f"the content after all, set {constants.APPROVE}={digest}/ and a new word on this version"
        )
        return Condition(constants.APPROVED, "False", constants.VERSION_REJECTED, text + hint)
    said = f'; comment: "{decision.comment}"' if decision.comment else ""
    if decision.approved:
        text = f"approved: {decision.by} names this digest{said}{hint}"
        return Condition(constants.APPROVED, "True", constants.APPROVED_BY_HAND, text)
    again = f"; to approve it, set {constants.APPROVE}={digest}/ and a new word" if decision.overruled else ""
    text = f"rejected: {decision.by} names this digest{said}{again}{hint}"
    return Condition(constants.APPROVED, "False", constants.REJECTED_BY_HAND, text)


def _reservation(snapshot: VersionSnapshot) -> str:
    """What has to be said of the comparison with the champion."""
    lineage = snapshot.version.spec.lineage
    return f"; {lineage.parent_overlap}" if lineage is not None and lineage.parent_overlap else ""
