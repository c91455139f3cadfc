"""The annotation tidemill.io/promote: each value is taken once, for the candidate of that moment.

So a value that was of no use then releases no later version, and one for a version whose pods still start waits with
it, and goes with it. The candidate's record is that of one content (name and digest): a version of the same name that
was made anew is another candidate. Whoever removes an annotation may set the same value again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tidemill.core import labels as keys
from tidemill.core.plan import Event
from tidemill.core.request_annotations import new_value
from tidemill.serving.snapshot import Snapshot
from tidemill.serving.state import State, Target, Transition

_SHOWN = 100
"""Characters of a value that a sentence repeats."""


def forget(snapshot: Snapshot, state: State, target: Target) -> Transition | None:
    """An annotation that was removed requests nothing; the same value set later is a new request."""
    del target
    handled = {"promote": keys.PROMOTE, "abort": keys.ABORT, "retry": keys.RETRY}
    gone: dict[str, Any] = {
        name: None
        for name, key in handled.items()
        if getattr(state, name) is not None and not snapshot.annotations.get(key)
    }
    return Transition(replace(state, **gone)) if gone else None


def take(snapshot: Snapshot, state: State, target: Target) -> Transition | None:
    """A new value is the candidate's from now on; without one, or for another version, it has no effect."""
    del target
    requested = new_value(snapshot.annotations, keys.PROMOTE, state.promote)
    if requested is None:
        return None
    taken, candidate = replace(state, promote=requested), state.candidate
    if candidate is None:
        return Transition(taken, (ignored(requested, "no version is being rolled out"),))
    if requested != candidate.version and any(requested == version.name for version in snapshot.versions):
        return Transition(taken, (ignored(requested, f"it names another version than {candidate.version}"),))
    asked = candidate.model_copy(update={"promote_requested": requested})
    return Transition(replace(taken, candidate=asked))


def ignored(requested: str, why: str) -> Event:
    """That a value has no effect, also not later, and what to do instead."""
    again = "nor has it later: to request it again, remove the annotation and then set it"
    message = f"tidemill.io/promote={requested[:_SHOWN]} has no effect: {why}; {again}"
    return Event("Warning", "PromoteIgnored", message, "ShiftTraffic")
