"""Which number does new content of a pipeline get? Derived from what exists, the same way for runs and imports.

Equal content is named again only when it is the newest version or one in service: otherwise a newer, different version
lies between, and going back to the older content is a change that deployments must follow.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidemill.core import names
from tidemill.training import registered
from tidemill.training.records import VersionRecord


@dataclass(frozen=True, slots=True)
class Registration:
    """The version that content becomes, or is already."""

    name: str
    number: int
    exists: bool
    same_content: bool = False
    """An earlier version already holds exactly this content; nothing is registered."""


def of(version: VersionRecord, *, same_content: bool = False) -> Registration:
    """The registration that a version is."""
    return Registration(version.name, version.number, exists=True, same_content=same_content)


def registration(
    pipeline: str,
    digest: str,
    versions: Sequence[VersionRecord],
    *,
    stable: Collection[str],
    numbers_used: int,
    names_taken: Collection[str],
) -> Registration:
    """The version that holds the content already, or the next number with a free name.

    `versions`: those of the pipeline, by number; `stable`: names of those that a ModelDeployment serves as stable;
    `numbers_used`: the highest number that is known to have been given; `names_taken`: of all ModelVersions, also of
    objects that nobody registered, which are passed over, and nothing of them is believed.
    """
    newest = versions[-1].name if versions else None
    equal = [v for v in versions if v.digest == digest and (v.name == newest or v.name in stable)]
    if equal:
        return of(equal[-1], same_content=True)
    number = max([numbers_used, *(v.number for v in versions)]) + 1
    while version_name(pipeline, number) in names_taken:
        number += 1
    return Registration(version_name(pipeline, number), number, exists=False)


def made_before(
    unregistered: Iterable[Mapping[str, Any]], build: Callable[[Registration], dict[str, Any]]
) -> tuple[Registration, dict[str, Any]] | None:
    """The version that an earlier pass made and whose end it could not record, with its manifest.

    `unregistered`: ModelVersions that name the run or import and that nothing has registered; `build`: the manifest
    that is made now of a name and number. Somebody may have made an object that only looks like it: every word of its
    spec must be what is made now.
    """
    for version in unregistered:
        found = Registration(version["metadata"]["name"], version["spec"]["number"], exists=True)
        manifest = build(found)
        if registered.content_digest(manifest["spec"]) == registered.content_digest(version["spec"]):
            return found, manifest
    return None


def version_name(pipeline: str, number: int) -> str:
    """`<pipeline>-<number>`, at most 63 characters."""
    return names.child_name(pipeline, number)
