"""What a slice gives to the engine, and what it gets: the whole interface between them.

A slice package exports from its module `reconcilers`:
    WATCHES: Sequence[Watch]                       kinds beside the reconciled ones that wake a reconciler
    def build(deps: Deps) -> list[Reconciler]      one reconciler per kind
The reconciled kinds are watched without being named in WATCHES.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from tidemill.api.base import API_VERSION
from tidemill.config import OperatorConfig
from tidemill.core.children import controller_of
from tidemill.core.plan import Key, ObjectRef, Plan
from tidemill.engine.clock import Clock
from tidemill.engine.staged_updates import StagedUpdates
from tidemill.kube.cache import Cache
from tidemill.kube.client import KubeClient
from tidemill.kube.object_events import ObjectEvents
from tidemill.kube.scraper import Scraper
from tidemill.kube.transform import is_truncated, strip

Obj = dict[str, Any]
Mapper = Callable[[Obj, Cache], Iterable[Key]]


@dataclass(frozen=True, slots=True)
class Deps:
    """What every reconciler is built from."""

    client: KubeClient
    cache: Cache
    config: OperatorConfig
    clock: Clock
    scraper: Scraper = field(default_factory=Scraper)
    """One for all kinds: its bounds are of the process."""
    large: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    """Held by the pass over an object that the cache holds a part of: one at a time, of whatever kind."""
    begun: list[Callable[[Obj, Plan], None]] = field(default_factory=list)
    """Called with an object and its plan right before that is carried out: for what a process knows of its own writes.
    """
    updates: StagedUpdates = field(init=False)
    object_events: ObjectEvents = field(init=False)
    """One for all kinds: its bounds are of the process."""

    def __post_init__(self) -> None:
        """The picture of the fleet starts empty, and no events were read."""
        object.__setattr__(self, "updates", StagedUpdates(self.cache, self.clock, self.config.updates_at_once))
        object.__setattr__(self, "object_events", ObjectEvents(self.client, self.clock.monotonic))

    async def read(self, key: Key) -> Obj | None:
        """The reconciled object, whole: as cached, or live where the cache holds a part of a large one only."""
        obj = self.cache.get(key.kind, key.namespace, key.name)
        if obj is None or not is_truncated(obj):
            return obj
        live = await self.client.get(ObjectRef(API_VERSION, key.kind, key.namespace, key.name))
        return None if live is None else strip(live)


class Snapshot(Protocol):
    """Everything that one decision is based on. Slices make theirs a frozen dataclass with at least `object`."""

    @property
    def object(self) -> Obj:
        """The reconciled object as read from the cache or the API server (with uid, resourceVersion, status)."""
        ...


class Reconciler(Protocol):
    """One kind's logic. `gather` does all the reading, `plan` all the thinking; neither writes."""

    kind: str
    """The reconciled kind, of tidemill.io/v1alpha1."""

    async def gather(self, key: Key) -> Any | None:
        """A `Snapshot` for the object, None when it is gone or being deleted (nothing is done then)."""
        ...

    def plan(self, snapshot: Any) -> Plan:
        """The decision: pure, no clock, no I/O, nothing remembered. May raise Stalled or Waiting."""
        ...


class Watch(NamedTuple):
    """A kind to watch and whom to wake.

    `selector` is a label selector for the API server ("k=v", None = all objects). Two watches on one kind: the wider
    selector is used and both mappers see every object. `map` gets the cached object (also on deletion) and the cache.
    """

    api_version: str
    kind: str
    selector: str | None
    map: Mapper


def controller_keys(*owner_kinds: str) -> Mapper:
    """A mapper to the controlling object, when it is ours and of one of `owner_kinds` (none given: any)."""

    def mapper(obj: Obj, cache: Cache) -> Iterable[Key]:
        del cache
        owner = controller_of(obj)
        if owner.get("apiVersion") == API_VERSION and (not owner_kinds or owner["kind"] in owner_kinds):
            yield Key(owner["kind"], obj["metadata"]["namespace"], owner["name"])

    return mapper


def label_keys(label: str, owner_kind: str) -> Mapper:
    """A mapper to the object of `owner_kind` that the value of `label` names, in the same namespace."""

    def mapper(obj: Obj, cache: Cache) -> Iterable[Key]:
        del cache
        name = (obj["metadata"].get("labels") or {}).get(label)
        if name:
            yield Key(owner_kind, obj["metadata"]["namespace"], name)

    return mapper
