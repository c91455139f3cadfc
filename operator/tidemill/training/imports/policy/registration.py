"""Which ModelVersion does an imported model become? Derived from what exists: no crash can register it twice."""

from __future__ import annotations

from tidemill.core import conditions
from tidemill.training import numbering
from tidemill.training.imports.snapshot import ImportSnapshot
from tidemill.training.numbering import Registration
from tidemill.training.records import VersionRecord


def registration(snapshot: ImportSnapshot, digest: str) -> Registration:
    """The version that this generation of the import made already, that holds its content already, or the next one."""
    own = next((v for v in reversed(snapshot.versions) if _is_own(snapshot, v) and v.digest == digest), None)
    if own is not None:
        return numbering.of(own)
    name = snapshot.model_import.spec.as_.name
    if name is not None:  # the one of that name is of an import of this name, or it is a problem; a pipeline may follow
        before = next((v for v in snapshot.versions if v.name == name), None)
        return numbering.of(before) if before is not None else Registration(name, 1, exists=False)
    return numbering.registration(
        snapshot.series,
        digest,
        snapshot.versions,
        stable=snapshot.stable,
        numbers_used=snapshot.numbers_used,
        names_taken=snapshot.names_taken,
    )


def _is_own(snapshot: ImportSnapshot, version: VersionRecord) -> bool:
    """Whether this very generation registered it: an import that was made again has the generations of its namesake.

    A version that was found again in the store is that of an import which was applied again with its pipeline: what
    it names is no news, and as the next number an old model would go out again. Once its spec changes, it is.
    """
    if version.restored and snapshot.generation == 1:
        return version.imported_by is not None and version.imported_by[0] == snapshot.name
    born = conditions.parse_time(snapshot.object["metadata"]["creationTimestamp"])
    return version.imported_by == (snapshot.name, snapshot.generation) and version.created >= born
