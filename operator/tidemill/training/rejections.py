"""What people have decided on content, under whatever number it was registered.

A decision names a digest, so it is about content. Content is registered again under another number when something else
came in between, and no gate may undo what a person has decided: of all decisions of people on one digest in a
pipeline's versions the newest counts (docs/decisions/0254). A pipeline's status remembers rejections, since pruning
removes the versions that they were made on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tidemill.api.v1alpha1.rejected_content import RejectedContent
from tidemill.core import references
from tidemill.core.conditions import parse_time
from tidemill.kube.cache import Cache
from tidemill.training import registered

Obj = dict[str, Any]

MOST = 100
"""Rejections that a pipeline remembers, the newest: its status and a record in the store hold them."""


@dataclass(frozen=True, slots=True)
class Said:
    """A person's decision on content."""

    digest: str
    version: str
    """The version that it was made on."""
    approved: bool
    time: datetime


def said(version: Obj) -> Said | None:
    """What was decided by hand on a ModelVersion that is registered, or on the one that its rejection comes from."""
    status = version.get("status") or {}
    decision = status.get("decision") or {}
    if not status.get("registered"):
        return None
    return said_by(version["metadata"]["name"], version["spec"]["digest"], decision)


def said_by(name: str, digest: str, decision: Obj) -> Said | None:
    """The same of a decision in its JSON form; None for one that no person has made."""
    of = decision.get("version")
    if not of and not str(decision.get("by", "")).startswith(registered.BY_ANNOTATION):
        return None
    return Said(digest, of or name, bool(decision["approved"]), parse_time(str(decision["time"])))


def standing(found: Iterable[Said], remembered: Iterable[RejectedContent] = ()) -> tuple[RejectedContent, ...]:
    """Content whose newest decision is a rejection, by digest; of more than MOST the newest."""
    by_digest: dict[str, Said] = {}
    for one in (*(_remembered(r) for r in remembered), *found):
        other = by_digest.get(one.digest)
        if other is None or _rank(other) < _rank(one):
            by_digest[one.digest] = one
    rejected = sorted((one for one in by_digest.values() if not one.approved), key=_rank)[-MOST:]
    listed = (RejectedContent(digest=one.digest, version=one.version, time=one.time) for one in rejected)
    return tuple(sorted(listed, key=lambda one: one.digest))


def elsewhere(cache: Cache, version: Obj) -> Said | None:
    """The newest decision of a person on the content of a ModelVersion that was made on another one of its series."""
    meta, spec = version["metadata"], version["spec"]
    namespace, pipeline, digest = meta["namespace"], spec["pipeline"], spec["digest"]
    equal = cache.naming("ModelVersion", namespace, f"{pipeline} {digest}", references.content)
    found = [one for other in equal if other["metadata"]["name"] != meta["name"] and (one := said(other)) is not None]
    found += [_remembered(one) for one in remembered(cache, namespace, pipeline) if one.digest == digest]
    return max((one for one in found if one.version != meta["name"]), key=_rank, default=None)


def remembered(cache: Cache, namespace: str, pipeline: str) -> tuple[RejectedContent, ...]:
    """What the status of the pipeline of that name remembers; nothing where there is none."""
    found = cache.get("TrainingPipeline", namespace, pipeline) or {}
    return tuple(RejectedContent.model_validate(one) for one in (found.get("status") or {}).get("rejected") or ())


def _remembered(one: RejectedContent) -> Said:
    return Said(one.digest, one.version, approved=False, time=one.time)


def _rank(one: Said) -> tuple[datetime, bool, str]:
    """By time; of two at once the rejection counts."""
    return one.time, not one.approved, one.version
