"""May a server load a version's pickle? It runs code in the server's pod, so the deployment's author must have said so.

Neither the pipeline's `allowPickle` nor a ModelVersion says that: whoever may write those need not be who decides what
runs in this deployment (docs/decisions/0155).
"""

from __future__ import annotations

from dataclasses import replace

from tidemill.core.plan import Event
from tidemill.serving.snapshot import Snapshot, Version, runtime_of
from tidemill.serving.state import State, Target, Transition
from tidemill_contracts.formats import pickles

REASON = "PickleNotAllowed"


def is_refused(snapshot: Snapshot, version: Version) -> bool:
    """Whether nothing but a pickle that may not be loaded could serve the version."""
    if snapshot.runtime_of(version).runtime is not None:
        return False
    return runtime_of(snapshot.spec.server.runtime, version, allow_pickle=True).runtime is not None


def refusal(version: Version) -> str:
    """Why it is not served, as a sentence."""
    refused = " and ".join(pickles(version.formats))
    return (
        f"{version.name} (forms: {', '.join(version.formats)}) can be loaded only from a pickle ({refused}), and that "
        "runs code; spec.server.allowPickle: true allows it"
    )


def refuse(snapshot: Snapshot, state: State, target: Target) -> Transition | None:
    """A candidate that could only be loaded from a pickle goes when that is not allowed, and is not held to be bad."""
    del target
    candidate = state.candidate
    version = snapshot.version(candidate.version, candidate.digest) if candidate else None
    if version is None or not is_refused(snapshot, version):
        return None
    return Transition(replace(state, candidate=None), (Event("Warning", REASON, refusal(version), "RollOut"),))
