"""The annotation tidemill.io/promote: each value is taken once, for the candidate of that moment.

So a value that was of no use then releases no later version, and one for a version whose pods still start waits with
it, and goes with it. A value names a version by what stands before a `/`: `<name>/<any word>` names it again, in one
write that no pass of the operator can miss. The candidate's record is that of one content (name and digest): a version
of the same name that was made anew is another candidate. Whoever removes an annotation may set the same value again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tidemill.core import labels as keys
from tidemill.core import names
from tidemill.core.plan import Event
from tidemill.core.request_annotations import new_value
from tidemill.serving.snapshot import Snapshot
from tidemill.serving.state import State, Target, Transition

_SHOWN = 100
"""Characters of a value that a sentence repeats."""
_DIGITS = 10
"""Of the largest number of a version."""


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
        return Transition(taken, (ignored(snapshot, requested, "no version is being rolled out", "VERSION"),))
    if named(requested) != candidate.version and _is_a_version(snapshot, state, named(requested)):
        why = f"it names another version than {candidate.version}"
        return Transition(taken, (ignored(snapshot, requested, why, candidate.version),))
    asked = candidate.model_copy(update={"promote_requested": requested})
    return Transition(replace(taken, candidate=asked))


def named(requested: str | None) -> str | None:
    """The name in a value: all of it, or what stands before the first `/`, which no name of an object contains."""
    return None if requested is None else requested.partition("/")[0]


def _is_a_version(snapshot: Snapshot, state: State, name: str | None) -> bool:
    """Whether it is the name of a version, or what one of this series would be called: a person means no other one."""
    if name is None or any(name == version.name for version in snapshot.versions):
        return name is not None
    series, _, number = name.rpartition("-")
    if not (number.isascii() and number.isdigit() and len(number) <= _DIGITS):
        return False
    pipeline = snapshot.spec.model.pipeline
    if pipeline is not None and name == names.child_name(pipeline, int(number)):
        return True
    records = (state.candidate, state.stable)
    return any(series == record.version.rpartition("-")[0] for record in records if record is not None)


def command(snapshot: Snapshot, version: str) -> str:
    """What a person types to name a version: each value counts once, so the command makes a new one each time."""
    value = f"{keys.PROMOTE}={version}/$(date +%s)"
    return f"kubectl -n {snapshot.namespace} annotate modeldeployment {snapshot.name} --overwrite {value}"


def ignored(snapshot: Snapshot, requested: str, why: str, version: str) -> Event:
    """That a value has no effect, also not later, and the command for `version`."""
    later = "each value counts once, when it is set, so it has no effect later either"
    message = f"{keys.PROMOTE}={requested[:_SHOWN]} has no effect: {why}; {later}. {_when(version)}: "
    return Event("Warning", "PromoteIgnored", message + command(snapshot, version), "ShiftTraffic")


def _when(version: str) -> str:
    return "When one is" if version == "VERSION" else f"For {version}"
