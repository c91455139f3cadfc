"""May clients of the stable version be sent to the candidate? Its signature is compared before it gets any request.

What is compared is what clients depend on (`tidemill_contracts.signatures`), as the versions' records say it. Where a
record does not have the columns, the pods of that version are asked; what they say must have the digest of the record,
if there is one. A candidate that differs waits until a person names it; one that cannot be compared does, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from tidemill.api.v1alpha1.model_deployment import CandidateStatus, StableStatus
from tidemill.core.plan import Event
from tidemill.serving import readiness
from tidemill.serving.policy import promotion, rollback_window, strategies
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
    if found is None or is_accepted(candidate):
        return None
    if candidate.promote_requested is not None and found.is_final:
        refused = candidate.model_copy(update={"promote_requested": None})
        why_not = f"{candidate.version} is held until it is named"
        event = promotion.ignored(snapshot, candidate.promote_requested, why_not, candidate.version)
        return Transition(replace(state, candidate=refused), (event,))
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
    release = _release(snapshot, candidate)
    if not (before.is_known and after.is_known):
        unknown = candidate if before.is_known else stable
        message = f"the columns of {unknown.version} are in no record, and none of its pods has said them. {release}"
        deadline = timedelta(seconds=snapshot.spec.rollout.progress_deadline_seconds)
        since = candidate.held_since or snapshot.now
        return Hold(UNKNOWN, message, is_final=snapshot.now - since >= deadline)
    if before.signature is None or after.signature is None:
        if before.digest == after.digest:
            return None
        columns = "the columns are too many for a record, and not all pods have said them"
        what = f"{candidate.version} takes or returns other columns than {stable.version} ({columns})"
        message = f"{what}. {_way(snapshot, state, None)}{release}"
        return Hold(CHANGED, message)
    difference = signatures.compare(before.signature, after.signature)
    if not difference:
        return None
    parts = "; ".join((*difference.inputs, *difference.outputs))
    first = _way(snapshot, state, difference)
    message = f"{candidate.version} differs from {stable.version} in what clients depend on: {parts}. {first}{release}"
    return Hold(CHANGED, message)


def _way(snapshot: Snapshot, state: State, difference: signatures.Difference | None) -> str:
    """What comes first so that no request is refused, as a sentence with a blank; `difference` None: not known."""
    if difference is not None and not difference.inputs:
        return "First let clients take the answers of both versions. "
    if difference is not None and not difference.is_bridged:
        return (
            "No request suits both versions: let the new one take the changed column by a new name, "
            "or serve it by another ModelDeployment until all clients have changed. "
        )
    answers = ", and take the answers of both" if difference is not None and difference.outputs else ""
    both = f"let clients send the columns of both versions, by name{answers}: no request is refused then"
    if difference is not None and not difference.has_unknown:
        return f"First {both}. "
    if snapshot.spec.server.extra_columns != "Ignore":
        return f"First set spec.server.extraColumns to Ignore, wait until the servers are replaced, and {both}. "
    if not _have_the_settings(snapshot, state):
        return f"First wait until the servers are replaced, which has begun, and {both}. "
    return f"First {both}. "


def _have_the_settings(snapshot: Snapshot, state: State) -> bool:
    """Whether all pods of both versions run what spec.server says now."""
    return snapshot.status.observed_generation == snapshot.generation and all(
        readiness.is_ready(snapshot, state, record) for record in (state.stable, state.candidate)
    )


def _release(snapshot: Snapshot, candidate: CandidateStatus) -> str:
    """What lets the candidate go on, and what the same command does once more."""
    planned = strategies.steps(snapshot)
    if not planned:
        then = "then it gets all requests"
    elif planned[0].duration_seconds is None:
        then = f"then it begins with {planned[0].weight} % of the requests, and the same command again ends that step"
    else:
        then = f"then it begins with {planned[0].weight} % of the requests; the same command again gives it all at once"
    command = promotion.command(snapshot, candidate.version)
    return f"It gets no requests until it is named: {command}; {then}. Or set spec.rollout.signatureChanges to Allow"


def is_accepted(candidate: CandidateStatus) -> bool:
    """Whether a person has named this very version in the annotation tidemill.io/promote while it was the candidate."""
    return candidate.signature_accepted is True or promotion.named(candidate.promote_requested) == candidate.version


def accepted(state: State) -> State:
    """The state in which the naming of the candidate has been served: it must not skip the steps as well."""
    candidate = state.candidate
    assert candidate is not None  # noqa: S101  callers checked
    waits = None if promotion.named(candidate.promote_requested) == candidate.version else candidate.promote_requested
    changes = {"signature_accepted": True, "promote_requested": waits}
    return replace(state, candidate=candidate.model_copy(update=changes))


def current(snapshot: Snapshot, state: State) -> Hold | None:
    """Why the candidate is held now, after `hold` has found it; None when it is not, or will not be any more."""
    candidate = state.candidate
    if candidate is None or candidate.step >= 0 or candidate.held_since is None or is_accepted(candidate):
        return None
    return why(snapshot, state)


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of one version: its signature, the digest of it alone, or nothing."""

    signature: Signature | None = None
    recorded: str | None = None

    @property
    def is_known(self) -> bool:
        """Whether it can be compared."""
        return self.signature is not None or self.recorded is not None

    @property
    def digest(self) -> str | None:
        """The digest, taken only where the other version has no more than one."""
        return self.recorded if self.signature is None else signatures.digest(self.signature)


def _known(snapshot: Snapshot, record: StableStatus | CandidateStatus) -> _Known:
    """By the record, else by the pods, which had to agree with the record's digest (`signature_probe`)."""
    version = snapshot.version(record.version, record.digest)
    workload = readiness.workload_of(snapshot, record)
    signature = version.signature if version is not None else None
    if signature is None and workload is not None:
        signature = workload.signature
    return _Known(signature, version.signature_digest if version is not None else None)
