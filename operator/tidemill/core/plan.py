"""What a reconciler wants done, as data: the only thing that a pure `plan()` may return.

Why: deciding and doing are apart, so that every decision is a table test. Nothing here talks to anything.
The engine executes a plan in this order: `apply`, `patches`, `delete`, one write of `status` on the reconciled
object (skipped when equal), then `events`, and these only when the status write succeeded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple


class Key(NamedTuple):
    """What the work queue holds: which object to look at. Says nothing about why."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        """`Kind/namespace/name`, as logs show it."""
        return f"{self.kind}/{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """Points at one object; with `uid` it never means a later object of the same name."""

    api_version: str
    kind: str
    namespace: str | None
    name: str
    uid: str | None = None

    @classmethod
    def of(cls, obj: Mapping[str, Any], *, with_uid: bool = True) -> ObjectRef:
        """The reference of a manifest or a live object (dict with apiVersion, kind, metadata)."""
        meta = obj["metadata"]
        uid = meta.get("uid") if with_uid else None
        return cls(obj["apiVersion"], obj["kind"], meta.get("namespace"), meta["name"], uid)


@dataclass(frozen=True, slots=True)
class Patch:
    """A JSON merge patch, for what cannot be applied as a whole: an annotation on a pod, for example."""

    ref: ObjectRef
    body: dict[str, Any]
    subresource: str | None = None
    ignore_missing: bool = True
    """A target that is gone is no error."""


@dataclass(frozen=True, slots=True)
class Event:
    """One Kubernetes Event about the reconciled object."""

    type: Literal["Normal", "Warning"]
    reason: str
    """PascalCase, documented."""
    message: str
    """A sentence, cut at 1024 characters."""
    action: str
    """What the operator did or tried, PascalCase ("StartRun", "ShiftTraffic")."""


class Turn(NamedTuple):
    """What a pass does about pods that only the operator would make otherwise (see `core.staged_updates`)."""

    kind: Literal["waits", "updates"]
    rank: int
    """Objects of a lower rank have their turn first."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that one pass wants done.

    `apply`: full server-side-apply manifests, in order. `status`: the whole desired status of the reconciled object
    (None = leave it alone; keys with value None are dropped; `observedGeneration` is filled in when absent).
    `requeue_after`: seconds until the next look, None = only on change. `error`: when set, all of the plan is carried
    out and the pass still counts as failed (backoff).
    """

    apply: tuple[dict[str, Any], ...] = ()
    delete: tuple[ObjectRef, ...] = ()
    patches: tuple[Patch, ...] = ()
    status: dict[str, Any] | None = None
    events: tuple[Event, ...] = field(default=())
    requeue_after: float | None = None
    error: str | None = None
    turn: Turn | None = None
    leads_to: Mapping[tuple[str, str], frozenset[tuple[str, str]]] = field(default_factory=dict)
    """By kind and name of a manifest: the children, by kind and name, to which its content leads requests. What pods
    read is found in the manifests themselves."""
