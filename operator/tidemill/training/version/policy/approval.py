"""May a registered version be deployed? The decision of a person, or where approval is automatic, of the gates.

Only gates that the version has passed are said to have decided. A pipeline without gates decides by its approval alone.

A person decides by an annotation whose value is the digest that was looked at. The decision is remembered in status, so
taking the annotation away changes nothing. Where both annotations name the digest, the rejection counts, also when its
annotation is taken away: the approval that it overruled decides again only when it is set anew. Any word may stand
behind the digest and a `/`, so that one command can give the same decision again (docs/decisions/0250).

A decision is about content. A rejection of another version of the pipeline that has the same content counts here, too,
unless this one was decided on later (docs/decisions/0254).
"""

from __future__ import annotations

from dataclasses import dataclass

from tidemill.api.v1alpha1.model_version import Decision
from tidemill.core.request_annotations import recorded
from tidemill.core.text import clean
from tidemill.training import constants
from tidemill.training.registered import BY_ANNOTATION
from tidemill.training.version.policy.registration import Registration
from tidemill.training.version.snapshot import VersionSnapshot

GATES = "gates"
UNJUDGED = "approval: Automatic"
"""Who decided where there were no gates."""
AUTOMATIC = frozenset({GATES, UNJUDGED})
"""Who decides where no person does."""
PASSED_ON = "rejection of"
"""How `decision.by` begins where another version with the same content was rejected; its name follows."""
COMMENT_LIMIT = 1024


@dataclass(frozen=True, slots=True)
class Approval:
    """The decision in force, and what is said of an annotation that names another digest, as it stands in a status."""

    decision: Decision | None
    mismatch: str | None


def approval(snapshot: VersionSnapshot, known: Registration) -> Approval:
    """The decision as it is now on a version that is registered."""
    annotations = snapshot.object["metadata"].get("annotations") or {}
    digest, before = snapshot.version.spec.digest, _before(snapshot, known)
    approve, reject = (_said(annotations.get(name), digest) for name in (constants.APPROVE, constants.REJECT))
    wrong = [
        a for a, said in ((constants.REJECT, reject), (constants.APPROVE, approve)) if annotations.get(a) and not said
    ]
    mismatch = None
    if wrong:
        mismatch = clean(f"annotation {wrong[0]} names {annotations[wrong[0]][:80]}, but this version is {digest}")
    if reject is not None:
        found = _by_hand(snapshot, before, constants.REJECT, reject, approved=False)
        return Approval(_overruling(found, approve), mismatch)
    other = _rejected_elsewhere(snapshot, before)
    if other is not None and (approve is None or _is_known(approve, before)):
        return Approval(_overruling(other, approve), mismatch)
    if before is not None and before.version is not None:  # that rejection was taken back, or is answered here
        before = None
    if before is not None and before.overruled and (approve is None or approve.word == before.overruled_word):
        return Approval(_overruling(before, approve), mismatch)
    if approve is not None:
        return Approval(_by_hand(snapshot, before, constants.APPROVE, approve, approved=True), mismatch)
    if before is None and snapshot.version.spec.approval == "Automatic":
        by = GATES if _has_passed_gates(known) else UNJUDGED
        return Approval(Decision(approved=True, by=by, time=snapshot.now, digest=digest), mismatch)
    return Approval(before, mismatch)


def _rejected_elsewhere(snapshot: VersionSnapshot, before: Decision | None) -> Decision | None:
    """The rejection of another version with this content, unless a decision on this one is newer or a rejection itself.

    It stays when the other version is gone, until somebody approves the content.
    """
    newest = snapshot.elsewhere
    is_passed_on = before is not None and before.version is not None
    if newest is not None and newest.approved:
        return before if is_passed_on and before is not None and newest.time < before.time else None
    if newest is None:
        return before if is_passed_on else None
    if before is not None and not is_passed_on and (not before.approved or newest.time < before.time):
        return None
    return Decision(
        approved=False,
        by=f"{PASSED_ON} {newest.version}",
        time=newest.time,
        digest=snapshot.version.spec.digest,
        version=newest.version,
    )


def _is_known(approve: _Said, before: Decision | None) -> bool:
    """Whether the approval was there before, and is no answer to a rejection of another version."""
    if before is None:
        return False
    is_overruled = bool(before.overruled) and approve.word == before.overruled_word
    is_same = before.by == f"{BY_ANNOTATION}{constants.APPROVE}" and approve.word == before.word
    return is_overruled or is_same


@dataclass(frozen=True, slots=True)
class _Said:
    """What an annotation says that names the version's digest."""

    word: str | None
    """Behind the digest and a `/`."""


def _said(value: str | None, digest: str) -> _Said | None:
    found, _, word = (value or "").partition("/")
    return _Said(recorded(word)) if found == digest else None


def _before(snapshot: VersionSnapshot, known: Registration) -> Decision | None:
    """The last decision; earlier releases said "gates" where there were none, which is put right where it is known."""
    found = known.decision(snapshot)
    judged = known.registered is None or known.registered.gates != "NotJudged"
    return found if found is None or judged or found.by != GATES else found.model_copy(update={"by": UNJUDGED})


def _has_passed_gates(known: Registration) -> bool:
    return known.registered is not None and known.registered.gates == "Passed"


def _overruling(rejection: Decision, approve: _Said | None) -> Decision:
    """The rejection, with the approval that it overrules, where one is still there."""
    there = (
        {"overruled": True, "overruled_word": approve.word} if approve else {"overruled": None, "overruled_word": None}
    )
    return rejection.model_copy(update=there)


def _by_hand(
    snapshot: VersionSnapshot, before: Decision | None, annotation: str, said: _Said, *, approved: bool
) -> Decision:
    by = f"{BY_ANNOTATION}{annotation}"
    comment = (snapshot.object["metadata"].get("annotations") or {}).get(constants.DECISION_COMMENT)
    comment = str(comment)[:COMMENT_LIMIT] if comment else None
    if before is not None and (before.by, before.comment, before.word) == (by, comment, said.word):
        return before
    digest = snapshot.version.spec.digest
    return Decision(approved=approved, by=by, time=snapshot.now, digest=digest, comment=comment, word=said.word)
