"""What keeps an import from being tried at all: only a person can change it."""

from __future__ import annotations

from dataclasses import dataclass

from tidemill.training import constants
from tidemill.training.imports import store
from tidemill.training.imports.snapshot import ImportSnapshot
from tidemill.training.records import VersionRecord
from tidemill_contracts.storage import parse_uri


@dataclass(frozen=True, slots=True)
class Problem:
    """A reason of the condition Stalled, and its sentence."""

    reason: str
    message: str


def problem(snapshot: ImportSnapshot) -> Problem | None:
    """The first thing that is wrong; None when the import can be tried."""
    try:
        parse_uri(snapshot.model_import.spec.source.uri)
    except ValueError as error:
        return Problem(constants.INVALID_SOURCE, f"spec.source.uri: {error}")
    try:
        store.store_uri(snapshot)
    except ValueError as error:
        return Problem(constants.INVALID_ARTIFACTS, f"spec.artifacts.uri: {error}")
    return _name_taken(snapshot)


def _name_taken(snapshot: ImportSnapshot) -> Problem | None:
    """With as.name: the name is that of another version, of other content, or of a pipeline or its versions."""
    name = snapshot.model_import.spec.as_.name
    if name is None:
        return None
    before = next((v for v in snapshot.versions if v.name == name and is_own(snapshot, v)), None)
    if before is not None and before.source_digest == snapshot.model_import.spec.source.digest:
        return None
    if before is not None:
        text = f"ModelVersion {name} was imported from content with digest {before.source_digest}"
        return Problem(constants.NAME_TAKEN, f"spec.as.name: {text}; choose another name")
    if name in snapshot.names_taken and not any(o["metadata"]["name"] == name for o in snapshot.unregistered):
        return taken(name)
    if snapshot.pipeline is not None or snapshot.versions:
        what = "a TrainingPipeline" if snapshot.pipeline is not None else "a pipeline with versions"
        text = f"spec.as.name: {name} is the name of {what}; choose another name, or use as.pipeline"
        return Problem(constants.NAME_TAKEN, text)
    return None


def taken(name: str) -> Problem:
    """Another ModelVersion has the name."""
    return Problem(constants.NAME_TAKEN, f"spec.as.name: ModelVersion {name} exists already; choose another name")


def is_own(snapshot: ImportSnapshot, version: VersionRecord) -> bool:
    """Whether a registered version is one of this import, or of one of its name that was there before."""
    return version.imported_by is not None and version.imported_by[0] == snapshot.name
