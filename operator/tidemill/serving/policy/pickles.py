"""May a server load what runs code: a pickle, or functions and classes of the training code that a version brings?

It runs in the server's pod, so the deployment's author must have said so. Neither the pipeline's `allowPickle` nor a
ModelVersion says that: whoever may write those need not be who decides what runs in this deployment
(docs/decisions/0155).
"""

from __future__ import annotations

from dataclasses import replace

from tidemill.core.plan import Event
from tidemill.serving.snapshot import Snapshot, Version, runtime_of
from tidemill.serving.state import State, Target, Transition
from tidemill_contracts.formats import pickles, with_code

REASON = "PickleNotAllowed"
CODE_REASON = "CodeNotAllowed"


def is_refused(snapshot: Snapshot, version: Version) -> bool:
    """Whether nothing but what may not be loaded could serve the version."""
    if snapshot.runtime_of(version).runtime is not None:
        return False
    return runtime_of(snapshot.spec.server.runtime, version, allow_pickle=True, allow_code=True).runtime is not None


def reason(version: Version) -> str:
    """The reason for which a refused version is not served."""
    return CODE_REASON if with_code(version.formats) else REASON


def refusal(version: Version) -> str:
    """Why it is not served, as a sentence."""
    subject = f"{version.name} (forms: {', '.join(version.formats)}) can be loaded only"
    if with_code(version.formats):
        return (
            f"{subject} with functions or classes of its training code, which then run in the servers; "
            "spec.server.allowCode: true allows it"
        )
    refused = " and ".join(pickles(version.formats))
    return f"{subject} from a pickle ({refused}), and that runs code; spec.server.allowPickle: true allows it"


def refuse(snapshot: Snapshot, state: State, target: Target) -> Transition | None:
    """A candidate that may not be loaded goes, and is not held to be bad."""
    del target
    candidate = state.candidate
    version = snapshot.version(candidate.version, candidate.digest) if candidate else None
    if version is None or not is_refused(snapshot, version):
        return None
    return Transition(replace(state, candidate=None), (Event("Warning", reason(version), refusal(version), "RollOut"),))
