"""May clients of the stable version be sent to the candidate? Its signature is compared before it gets any request.

What is compared is what clients depend on (`tidemill_contracts.signatures`), as the versions' records say it. Where a
record does not have the columns, the pods of that version are asked; what they say must have the digest of the record,
if there is one. A candidate that differs waits until a person names it; one that cannot be compared does, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from tidemill.api.v1alpha1.model_deployment import CandidateStatus, StableStatus
from tidemill.core import labels as keys
from tidemill.core.plan import Event
from tidemill.core.request_annotations import new_value, recorded
from tidemill.serving import readiness
from tidemill.serving.policy import rollback_window
from tidemill.serving.snapshot import Snapshot
from tidemill.serving.state import State, Target, Transition
from tidemill_contracts import signatures
from tidemill_contracts.artifact import Signature

CHANGED = "SignatureChanged"
UNKNOWN = "SignatureUnknown"


@dataclass(frozen=True, slots=True)
class Hold:
    """Why the candidate gets no requests although its pods are ready."""

    reason: str
    message: str
    is_final: bool = True
    """Waiting does not help: a person must decide."""


def hold(snapshot: Snapshot, state: State, target: Target) -> Transition | None:
    """Records since when the candidate is held, tells it once, and refuses to be released by any other word."""
    del target
    candidate = state.candidate
    if candidate is None or candidate.step >= 0 or not readiness.is_ready(snapshot, state, candidate):
        return None
    found = why(snapshot, state)
    if found is None or is_accepted(snapshot, candidate):
        return None
    requested = new_value(snapshot.annotations, keys.PROMOTE, state.promote)
    if requested is not None and found.is_final:
        message = f"tidemill.io/promote={requested[:100]} has no effect: {candidate.version} is held until it is named"
        event = Event("Warning", "PromoteIgnored", message, "Hold")
        return Transition(replace(state, promote=requested), (event,))
    if candidate.held_since is not None:
        return None
    held = candidate.model_copy(update={"held_since": snapshot.now})
    return Transition(replace(state, candidate=held), (Event("Warning", found.reason, found.message, "Hold"),))


def why(snapshot: Snapshot, state: State) -> Hold | None:
    """Why a person must name the candidate before it may get requests; None when clients notice no difference."""
    stable, candidate = state.stable, state.candidate
    if stable is None or candidate is None or snapshot.spec.rollout.signature_changes == "Allow":
        return None
    if rollback_window.skips_steps(snapshot, state):
        return None
    before, after = _known(snapshot, stable), _known(snapshot, candidate)
    release = (
        f"It gets no requests until the annotation tidemill.io/promote={candidate.version} is set or "
        "spec.rollout.signatureChanges is Allow"
    )
    if before.digest is None or after.digest is None:
        unknown = stable if before.digest is None else candidate
        message = f"the columns of {unknown.version} are in no record, and none of its pods has said them. {release}"
        deadline = timedelta(seconds=snapshot.spec.rollout.progress_deadline_seconds)
        since = candidate.held_since or snapshot.now
        return Hold(UNKNOWN, message, is_final=snapshot.now - since >= deadline)
    if before.signature is None or after.signature is None:
        if before.digest == after.digest:
            return None
        columns = "the columns are too many for a record, and not all pods have said them"
        message = f"{candidate.version} takes or returns other columns than {stable.version} ({columns}). {release}"
        return Hold(CHANGED, message)
    difference = signatures.compare(before.signature, after.signature)
    if not difference:
        return None
    parts = "; ".join((*difference.inputs, *difference.outputs))
    message = f"{candidate.version} differs from {stable.version} in what clients depend on: {parts}. {release}"
    return Hold(CHANGED, message)


def is_accepted(snapshot: Snapshot, candidate: CandidateStatus) -> bool:
    """Whether a person has named this very version in the annotation tidemill.io/promote, now or some time before."""
    return candidate.signature_accepted is True or snapshot.annotations.get(keys.PROMOTE) == candidate.version


def accepted(snapshot: Snapshot, state: State) -> State:
    """The state in which the naming of the candidate has been served: it must not skip the steps as well."""
    candidate, requested = state.candidate, snapshot.annotations.get(keys.PROMOTE)
    assert candidate is not None  # noqa: S101  callers checked
    promote = recorded(requested) if requested == candidate.version else state.promote
    return replace(state, promote=promote, candidate=candidate.model_copy(update={"signature_accepted": True}))


def current(snapshot: Snapshot, state: State) -> Hold | None:
    """Why the candidate is held now, after `hold` has found it; None when it is not, or will not be any more."""
    candidate = state.candidate
    if candidate is None or candidate.step >= 0 or candidate.held_since is None or is_accepted(snapshot, candidate):
        return None
    return why(snapshot, state)


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of one version: both, a digest alone, or nothing."""

    signature: Signature | None = None
    digest: str | None = None


def _known(snapshot: Snapshot, record: StableStatus | CandidateStatus) -> _Known:
    """By the record, else by the pods, which had to agree with the record's digest (`signature_probe`)."""
    version = snapshot.version(record.version, record.digest)
    workload = readiness.workload_of(snapshot, record)
    signature = version.signature if version is not None else None
    if signature is None and workload is not None:
        signature = workload.signature
    if signature is not None:
        return _Known(signature, signatures.digest(signature))
    return _Known(None, version.signature_digest if version is not None else None)
