"""Which version is wanted: the newest approved one, a number, or a name. The choice is written to status only."""

from __future__ import annotations

from tidemill.serving.policy import pickles, rollback_marks
from tidemill.serving.snapshot import Snapshot, Version
from tidemill.serving.state import State, Target, is_version
from tidemill_contracts.formats import Runtime, loadable
from tidemill_contracts.schemes import ARTIFACT_SCHEMES, listed
from tidemill_contracts.storage import URI_LIMIT, parse_uri


def choose(snapshot: Snapshot, state: State) -> Target:
    """The version that spec.model requests now, when a server can load it."""
    found = _requested(snapshot, state)
    if found.version is None:
        return found
    unreadable = _unreadable(found.version)
    if unreadable:
        return Target(None, "FormatNotServable", f"{found.version.name}: spec.uri: {unreadable}", stalled=True)
    if pickles.is_refused(snapshot, found.version):
        return Target(None, pickles.reason(found.version), pickles.refusal(found.version), stalled=True)
    if is_version(state.stable, found.version) or snapshot.runtime_of(found.version).runtime:
        return found
    requested = snapshot.spec.server.runtime
    forms = ", ".join(found.version.formats) or "no form"
    runtimes: tuple[Runtime, ...] = ("ONNX", "Native") if requested == "Auto" else (requested,)
    readable = listed(name for runtime in runtimes for name in loadable(runtime, allow_pickle=True, allow_code=True))
    message = f"{found.version.name} has {forms}, but spec.server.runtime {requested} needs {readable}"
    return Target(None, "FormatNotServable", message, stalled=True)


def _unreadable(version: Version) -> str:
    """Why no server can be given the version's uri; records written before uris were checked hold any."""
    if len(version.uri) > URI_LIMIT:
        return f"longer than {URI_LIMIT} characters"
    try:
        uri = parse_uri(version.uri)
    except ValueError as error:
        return str(error)
    return (
        ""
        if uri.scheme in ARTIFACT_SCHEMES
        else f"{version.uri!r} has none of the schemes {', '.join(ARTIFACT_SCHEMES)}"
    )


def _requested(snapshot: Snapshot, state: State) -> Target:
    model = snapshot.spec.model
    if model.version is not None:
        found = next((v for v in snapshot.versions if v.name == model.version), None)
        what = f"ModelVersion {model.version}"
        return _pinned(found, what, "VersionNotFound", f"{what} does not exist yet (spec.model.version)")
    if model.number is not None:
        numbered = [v for v in snapshot.versions if v.number == model.number]  # an object made by hand may have it, too
        found = max(numbered, key=lambda v: v.approved, default=None)
        what = f"version {model.number} of {snapshot.series}"
        if found is None and not snapshot.pipeline_exists and not snapshot.versions:
            return _no_pipeline(snapshot)
        return _pinned(found, what, "VersionNotFound", f"{what} does not exist yet (spec.model.number)")
    return _newest(snapshot, state)


def _pinned(found: Version | None, what: str, reason: str, message: str) -> Target:
    if found is None:
        return Target(None, reason, message)
    if not found.approved:
        return Target(None, "VersionNotApproved", f"{what} is not approved: {found.note or 'no decision yet'}")
    return Target(found)


def _newest(snapshot: Snapshot, state: State) -> Target:
    """The newest approved version that no deployment rolled back; one that was only where there is no other.

    Never goes back in time: the record of the served version may be gone, or another deployment may have rolled it
    back, which says nothing against it here.
    """
    approved = sorted((v for v in snapshot.versions if v.approved), key=lambda v: v.number)
    good = [v for v in approved if not rollback_marks.is_marked(snapshot, state, v)]
    serving = _serving(snapshot, state)
    if serving is not None and _may_stay(snapshot, state, serving) and (not good or good[-1].number < serving.number):
        return Target(serving)
    if good or approved:
        return Target((good or approved)[-1])
    if serving is not None:
        return Target(serving)
    return _none_approved(snapshot)


def _may_stay(snapshot: Snapshot, state: State, serving: Version) -> bool:
    """Whether nothing is known against the served version that counts here."""
    return (serving.approved or not serving.recorded) and not rollback_marks.is_own(snapshot, state, serving)


def _none_approved(snapshot: Snapshot) -> Target:
    if snapshot.versions:
        last = max(snapshot.versions, key=lambda v: v.number)
        why = last.note or "no decision yet"
        return Target(None, "WaitingForApproval", f"no version of {snapshot.series} is approved; {last.name}: {why}")
    if not snapshot.pipeline_exists:
        return _no_pipeline(snapshot)
    why = f"; it says {snapshot.pipeline_says}" if snapshot.pipeline_says else ""
    return Target(None, "WaitingForVersion", f"{snapshot.series} has no model version yet{why}")


def _serving(snapshot: Snapshot, state: State) -> Version | None:
    """The served version, unless it is known to be none of those that spec.model speaks of."""
    if state.stable is None:
        return None
    found = snapshot.version(state.stable.version, state.stable.digest)
    return None if found in snapshot.others else found


def _no_pipeline(snapshot: Snapshot) -> Target:
    text = (
        f"{snapshot.series} does not exist yet (spec.model.pipeline), and no ModelImport has registered a version of it"
    )
    return Target(None, "PipelineNotFound", text)
