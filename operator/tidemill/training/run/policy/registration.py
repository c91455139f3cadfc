"""Which ModelVersion does a passed run become? Derived from what exists: no crash can give a run two of them."""

from __future__ import annotations

from tidemill.core import names
from tidemill.training.run.snapshot import RunSnapshot
from tidemill.training.run.state import Registration


def registration(snapshot: RunSnapshot, digest: str) -> Registration:
    """The version that this run made already, that holds its content already, or the next number with a free name.

    A name may be taken by an object that nobody registered: it is passed over, and nothing of it is believed.

    Equal content is named again only when it is the newest version or one in service: otherwise a newer, different
    version lies between, and going back to the older content is a change that deployments must follow.
    """
    own = next((v for v in snapshot.versions if v.run == snapshot.name and v.digest == digest), None)
    if own is not None:
        return Registration(own.name, own.number, exists=True, same_content=own.restored)
    newest = snapshot.versions[-1].name if snapshot.versions else None
    equal = [v for v in snapshot.versions if v.digest == digest and (v.name == newest or v.name in snapshot.stable)]
    if equal:
        return Registration(equal[-1].name, equal[-1].number, exists=True, same_content=True)
    number = max([snapshot.numbers_used, *(v.number for v in snapshot.versions)]) + 1
    while version_name(snapshot.run.spec.pipeline, number) in snapshot.names_taken:
        number += 1
    return Registration(version_name(snapshot.run.spec.pipeline, number), number, exists=False)


def version_name(pipeline: str, number: int) -> str:
    """`<pipeline>-<number>`, at most 63 characters."""
    return names.child_name(pipeline, number)
