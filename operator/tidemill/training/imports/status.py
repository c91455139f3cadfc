"""The import's status: what was imported last, how the present attempt stands, and whether its version is approved.

What each condition and reason means: docs/conditions-training.md. Ready answers "is what the spec names registered
here?"; whether it may be deployed is the version's own condition Approved, which is quoted.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from tidemill.api.v1alpha1.model_import import ImportAttempts
from tidemill.api.v1alpha1.training_run import RunFailure
from tidemill.core import conditions, pod_settings
from tidemill.core.conditions import Condition
from tidemill.training import constants, job_failure
from tidemill.training.imports.policy import attempts, recording
from tidemill.training.imports.policy.checks import Problem
from tidemill.training.imports.policy.progress import Progress
from tidemill.training.imports.snapshot import ImportSnapshot
from tidemill.training.numbering import Registration
from tidemill.training.recording import condition
from tidemill.training.records import VersionRecord
from tidemill_contracts.training import TrainingResult

_REASONS = {"Running": constants.IMPORTING, "CannotStart": constants.CANNOT_START}


def stalled(snapshot: ImportSnapshot, found: Problem) -> dict[str, Any]:
    """The status of an import that cannot be tried."""
    return _build(snapshot, _stalled(found.reason, found.message))


def going_on(snapshot: ImportSnapshot, found: Progress) -> dict[str, Any]:
    """The status while an attempt goes on."""
    reason = _REASONS.get(found.phase, constants.PENDING)
    trio = conditions.trio(ready=None, reason=reason, message=found.message, reconciling=(reason, found.message))
    handled = attempts.requested(snapshot) or attempts.handled(snapshot)
    return _build(snapshot, trio, job=snapshot.job_name, last_handled_retry=handled)


def failed(snapshot: ImportSnapshot, why: RunFailure, ended: datetime) -> dict[str, Any]:
    """The status after an attempt that has just failed."""
    found = attempts.after(snapshot, why, ended)
    handled = attempts.requested(snapshot) or attempts.handled(snapshot)
    return _build(
        snapshot,
        _failed(found, why),
        job=snapshot.job_name,
        attempts=found,
        failure=why,
        last_handled_retry=handled,
    )


def over(snapshot: ImportSnapshot) -> dict[str, Any]:
    """The status between two attempts, or after the last one."""
    found, why = snapshot.attempts, snapshot.model_import.status.failure
    assert found is not None and why is not None  # noqa: S101 - both were written together
    return _build(snapshot, _failed(found, why))


def _failed(found: ImportAttempts, why: RunFailure) -> list[Condition]:
    message = f"{job_failure.what(why)}: {why.message}"
    if found.next_time is None:
        return _stalled(constants.IMPORT_FAILED, message)
    text = f"{message}; attempt {found.failed + 1} starts at {conditions.format_time(found.next_time)}"
    wanted = (constants.IMPORT_FAILED, text)
    return conditions.trio(ready=False, reason=wanted[0], message=wanted[1], reconciling=wanted)


def registered(
    snapshot: ImportSnapshot,
    result: TrainingResult,
    version: Registration,
    content: str | None,
    record: VersionRecord | None,
) -> dict[str, Any]:
    """The status of an import that has just been registered.

    `content`: digest of the spec of the version, None where another has registered it; `record`: that one.
    """
    assert result.digest  # noqa: S101 - checked by the plan before
    handled = attempts.requested(snapshot) or attempts.handled(snapshot)
    wanted = snapshot.model_import.spec
    same, digest = version.same_content, record.digest if record is not None else result.digest
    rejected = snapshot.rejected.get(digest)
    by_default = False if rejected else (True if wanted.approval == "Automatic" else None)
    approved = record.approved if record is not None else by_default
    return _build(
        snapshot,
        _imported(version.name, digest, approved, same_content=same, rejected=rejected),
        version=version.name,
        version_content=content,
        number=version.number,
        digest=digest,
        uri=record.uri if record is not None else result.uri,
        source_digest=wanted.source.digest,
        import_time=snapshot.now,
        job=snapshot.job_name,
        attempts=None,
        failure=None,
        warnings=list(result.warnings)[:10],
        last_handled_retry=handled,
    )


def unchanged(snapshot: ImportSnapshot) -> dict[str, Any]:
    """The status of an import that was registered before."""
    before, found = snapshot.model_import.status, snapshot.registered
    handled = attempts.requested(snapshot) or attempts.handled(snapshot)
    if found is None:
        text = f"registered as version {before.version}, which was deleted since"
        trio = conditions.trio(ready=True, reason=constants.IMPORTED, message=text)
    else:
        existed = before.version_content is None
        rejected = found.said.version if found.said is not None else None
        trio = _imported(found.name, found.digest, found.approved, same_content=existed, rejected=rejected)
    return _build(snapshot, trio, attempts=None, failure=None, last_handled_retry=handled)


def _imported(
    name: str, digest: str, approved: bool | None, *, same_content: bool = False, rejected: str | None = None
) -> list[Condition]:
    """`rejected`: the version that a person has rejected this content with."""
    text = f"version {name} holds this content already" if same_content else f"registered as version {name}"
    if approved is None:
        how = f"annotate it with {constants.APPROVE}={digest} or {constants.REJECT}={digest}"
        waits = f"version {name} waits for approval: {how}"
        pending = Condition(constants.APPROVAL_PENDING, "True", constants.AWAITING_APPROVAL, waits)
        trio = conditions.trio(ready=True, reason=constants.AWAITING_APPROVAL, message=f"{text}; {waits}")
        return [*trio, pending]
    if not approved and rejected not in (None, name):
        text = f"{text}, which is not approved: version {rejected} with the same content was rejected"
        how = f"to approve it after all, annotate {name} with {constants.APPROVE}={digest}/ and a new word"
        return conditions.trio(ready=True, reason=constants.VERSION_REJECTED, message=f"{text}; {how}")
    if not approved:
        return conditions.trio(ready=True, reason=constants.VERSION_REJECTED, message=f"{text}, which was rejected")
    return conditions.trio(ready=True, reason=constants.IMPORTED, message=text)


def _stalled(reason: str, message: str) -> list[Condition]:
    return conditions.trio(ready=False, reason=reason, message=message, stalled=(reason, message))


def _build(snapshot: ImportSnapshot, wanted: Sequence[Condition], **changes: Any) -> dict[str, Any]:
    """The status before, with changes; attempts at another spec are left out."""
    before = snapshot.model_import.status
    kept: dict[str, Any] = {"last_handled_retry": attempts.handled(snapshot)}
    if snapshot.attempts is None:
        kept |= {"attempts": None, "failure": None}
    update = {**kept, **changes, "observed_generation": snapshot.generation}
    status = before.model_copy(update=update)
    out = status.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"conditions"})
    old = conditions.of(snapshot.object)
    found = [
        *wanted,
        *condition.versions_recorded(recording.keeper(snapshot), before.records),
        *pod_settings.conditions({"spec.pod": snapshot.model_import.spec.pod}),
    ]
    out["conditions"] = conditions.merge(old, found, snapshot.generation, snapshot.now)
    return out
