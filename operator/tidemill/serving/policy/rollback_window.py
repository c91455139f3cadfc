"""Is the candidate a way back? An earlier version that served all requests before needs no steps to prove itself.

It gets all requests as soon as its pods are ready and every router pod can reach it. Nothing is measured, so it comes
to an end without traffic, too; where its pods do not become ready, the deadline ends it.
"""

from __future__ import annotations

from collections.abc import Iterator

from tidemill.api.v1alpha1.rollback import EarlierVersion
from tidemill.serving.policy import pickles
from tidemill.serving.snapshot import Snapshot, Version
from tidemill.serving.state import State, is_same


def skips_steps(snapshot: Snapshot, state: State) -> bool:
    """Whether the candidate gets all requests at once, although another version is stable."""
    stable, candidate = state.stable, state.candidate
    if stable is None or candidate is None:
        return False
    if state.is_rolling_back:
        return True
    if state.has_failed(stable.version, stable.digest) is not None:
        return _is_older(snapshot, state)
    return any(is_same(candidate, earlier) for earlier in _window(snapshot, state))


def usable(snapshot: Snapshot, state: State) -> Iterator[Version]:
    """The earlier versions that may serve again, the newest first."""
    return (version for version, why in _judged(snapshot, state) if version is not None and not why)


def refusal(snapshot: Snapshot, state: State) -> str:
    """Why no earlier version may serve again, as half a sentence about the newest of them."""
    first = next(_judged(snapshot, state), None)
    return "there is no previous version" if first is None else first[1]


def _window(snapshot: Snapshot, state: State) -> tuple[EarlierVersion, ...]:
    """The versions to which the spec may lead back without steps."""
    within = state.ways_back[: snapshot.spec.rollout.rollback_window.versions]
    # Not recorded yet: the previous version may be the one that a newer operator would have recorded as left.
    return within if state.earlier is not None or _is_older(snapshot, state) else ()


def _is_older(snapshot: Snapshot, state: State) -> bool:
    """Whether the candidate has a smaller number than the stable version."""
    known = [snapshot.version(r.version, r.digest) for r in (state.candidate, state.stable) if r is not None]
    candidate, stable = known
    return candidate is not None and stable is not None and candidate.number < stable.number


def _judged(snapshot: Snapshot, state: State) -> Iterator[tuple[Version | None, str]]:
    """Each earlier version, newest first, with why it may not serve again; empty where it may."""
    for earlier in state.ways_back:
        if state.has_failed(earlier.version, earlier.digest):
            continue
        version = snapshot.version(earlier.version, earlier.digest)
        yield version, _why_not(snapshot, earlier.version, version)


def _why_not(snapshot: Snapshot, name: str, version: Version | None) -> str:
    if version is None:
        return f"the previous version, ModelVersion {name}, does not exist any more"
    if snapshot.name in version.rolled_back:
        return f"the previous version {name} was rolled back by this deployment itself"
    if version.rejected:
        return f"the previous version {name} was rejected ({version.note})"
    return pickles.refusal(version) if pickles.is_refused(snapshot, version) else ""
