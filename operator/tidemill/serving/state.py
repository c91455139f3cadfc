"""What decisions read and change of the status: what is served, what is on its way, what failed, what was requested.

Everything a restarted operator needs is in here, and so in the object's status; nothing is decided from memory.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from tidemill.api.v1alpha1.model_deployment import (
    CandidateStatus,
    FailedVersion,
    ModelDeploymentStatus,
    StableStatus,
)
from tidemill.core.plan import Event
from tidemill.core.request_annotations import recorded
from tidemill.serving.snapshot import Version

MAX_FAILED = 20


@dataclass(frozen=True, slots=True)
class State:
    """Where the rollout stands."""

    stable: StableStatus | None = None
    previous: StableStatus | None = None
    candidate: CandidateStatus | None = None
    failed: tuple[FailedVersion, ...] = ()
    promote: str | None = None
    abort: str | None = None
    retry: str | None = None
    rollback: str | None = None

    @classmethod
    def of(cls, status: ModelDeploymentStatus) -> State:
        """The state that a status records."""
        return cls(
            status.stable,
            status.previous,
            status.candidate,
            tuple(status.failed_versions),
            recorded(status.last_handled_promote),
            recorded(status.last_handled_abort),
            recorded(status.last_handled_retry),
            status.last_handled_rollback,
        )

    def has_failed(self, name: str, digest: str) -> FailedVersion | None:
        """The record of a version that was rolled back and is not tried again."""
        return next((f for f in self.failed if (f.version, f.digest) == (name, digest)), None)

    @property
    def is_rolling_back(self) -> bool:
        """The candidate is the version before a stable one that was rolled back: it gets all requests, no canary."""
        stable, previous, candidate = self.stable, self.previous, self.candidate
        if stable is None or previous is None or candidate is None:
            return False
        is_previous = (candidate.version, candidate.digest) == (previous.version, previous.digest)
        return is_previous and self.has_failed(stable.version, stable.digest) is not None


@dataclass(frozen=True, slots=True)
class Target:
    """The wanted version; without one, why there is none yet."""

    version: Version | None
    reason: str = ""
    message: str = ""
    stalled: bool = False
    """A human must act: waiting does not help."""


@dataclass(frozen=True, slots=True)
class Transition:
    """One decided change of the state, with the events that report it."""

    state: State
    events: tuple[Event, ...] = ()


def is_version(record: StableStatus | CandidateStatus | None, version: Version | None) -> bool:
    """Whether a record of the state speaks of that version with that content."""
    return (
        record is not None and version is not None and (record.version, record.digest) == (version.name, version.digest)
    )


def start(state: State, version: Version, now: datetime) -> State:
    """A candidate whose pods are to be started."""
    return replace(state, candidate=CandidateStatus(version=version.name, digest=version.digest, started_at=now))


def promote(state: State, now: datetime) -> State:
    """The candidate becomes the stable version, the stable one the previous."""
    candidate = state.candidate
    if candidate is None:
        return state
    stable = StableStatus(version=candidate.version, digest=candidate.digest, since=now)
    before = state.stable.model_copy(update={"weight": 0}) if state.stable else state.previous
    return replace(state, stable=stable, previous=before, candidate=None)


def roll_back(state: State, reason: str, message: str, spec: str, now: datetime) -> State:
    """The candidate is remembered as failed under the spec of that digest, and gets no more requests."""
    candidate = state.candidate
    if candidate is None:
        return state
    record = FailedVersion(
        version=candidate.version,
        digest=candidate.digest,
        reason=reason,
        message=message[:1024],
        time=now,
        spec=spec,
    )
    return replace(state, candidate=None, failed=remember(state.failed, record))


def remember(failed: tuple[FailedVersion, ...], record: FailedVersion) -> tuple[FailedVersion, ...]:
    """Adds a record, newest last, one a version."""
    others = tuple(f for f in failed if (f.version, f.digest) != (record.version, record.digest))
    return (*others, record)[-MAX_FAILED:]
