"""Which ModelVersion does a passed run become? Derived from what exists: no crash can give a run two of them."""

from __future__ import annotations

from tidemill.training import numbering
from tidemill.training.numbering import Registration
from tidemill.training.run.snapshot import RunSnapshot


def registration(snapshot: RunSnapshot, digest: str) -> Registration:
    """The version that this run made already, that holds its content already, or the next number with a free name.

    A version that was found again in the store is of a run of before, although that may have had the same name.
    """
    mine = (v for v in snapshot.versions if v.run == snapshot.name and not v.restored)
    own = next((v for v in mine if v.digest == digest), None)
    if own is not None:
        return numbering.of(own)
    return numbering.registration(
        snapshot.run.spec.pipeline,
        digest,
        snapshot.versions,
        stable=snapshot.stable,
        numbers_used=snapshot.numbers_used,
        names_taken=snapshot.names_taken,
    )
