"""What decisions read and change of the status: what is served, what is on its way, what failed, what was requested.

Everything a restarted operator needs is in here, and so in the object's status; nothing is decided from memory.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from tidemill.api.v1alpha1.model_deployment import CandidateStatus, ModelDeploymentStatus, StableStatus
from tidemill.api.v1alpha1.rollback import EarlierVersion, FailedVersion
from tidemill.core.plan import Event
from tidemill.core.request_annotations import recorded
from tidemill.serving.snapshot import Version

MAX_FAILED = 20
MAX_EARLIER = 10


Recorded = StableStatus | CandidateStatus | EarlierVersion


@dataclass(frozen=True, slots=True)
class State:
    """Where the rollout stands."""

    stable: StableStatus | None = None
    previous: StableStatus | None = None
    earlier: tuple[EarlierVersion, ...] | None = None
    """Where a rollback may lead, newest first; None: not recorded yet, so it is the previous version (`ways_back`)."""
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
            stable=status.stable,
            previous=status.previous,
            earlier=None if status.rollback_versions is None else tuple(status.rollback_versions),
            candidate=status.candidate,
            failed=tuple(status.failed_versions),
            promote=recorded(status.last_handled_promote),
            abort=recorded(status.last_handled_abort),
            retry=recorded(status.last_handled_retry),
            rollback=status.last_handled_rollback,
        )

    def has_failed(self, name: str, digest: str) -> FailedVersion | None:
        """The record of a version that was rolled back and is not tried again."""
        return next((f for f in self.failed if (f.version, f.digest) == (name, digest)), None)

    @property
    def ways_back(self) -> tuple[EarlierVersion, ...]:
        """The versions that were stable before and that no rollback left, newest first."""
        if self.earlier is not None:
            return self.earlier
        if self.previous is None:
            return ()
        return (EarlierVersion(version=self.previous.version, digest=self.previous.digest),)

    @property
    def is_rolling_back(self) -> bool:
        """The candidate was stable before a stable version that was rolled back: it gets all requests, no canary."""
        stable, candidate = self.stable, self.candidate
        if stable is None or candidate is None or self.has_failed(stable.version, stable.digest) is None:
            return False
        return any(is_same(candidate, earlier) for earlier in self.ways_back)


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


def is_same(one: Recorded, other: Recorded) -> bool:
    """Whether two records speak of one version with one content."""
    return (one.version, one.digest) == (other.version, other.digest)


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
    return replace(state, stable=stable, previous=before, earlier=_earlier(state, candidate), candidate=None)


def _earlier(state: State, candidate: CandidateStatus) -> tuple[EarlierVersion, ...]:
    """Where a rollback from the candidate may lead: like a stack, so that going back does not lead forward later."""
    ways = state.ways_back
    for place, version in enumerate(ways):
        if is_same(version, candidate):
            return ways[place + 1 :]
    stable = state.stable
    if stable is None or state.has_failed(stable.version, stable.digest) is not None:
        return ways
    return (EarlierVersion(version=stable.version, digest=stable.digest), *ways)[:MAX_EARLIER]


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
