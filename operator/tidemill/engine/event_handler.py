"""Where watch events and live lists enter: cache them, and wake whom they concern.

Everything that wakes a reconciler goes through here, so that a watch event and a resync finding have the same effect.
It must never wait: it runs inside the watchers.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from tidemill.api.base import API_VERSION
from tidemill.core.children import controller_of
from tidemill.core.labels import MANAGED_BY, MANAGED_BY_VALUE
from tidemill.core.plan import Key
from tidemill.engine import metrics
from tidemill.engine.contract import Mapper, Watch
from tidemill.engine.queue import WorkQueue
from tidemill.kube import registry
from tidemill.kube.cache import Cache, version_of
from tidemill.kube.transform import identity, transform

logger = logging.getLogger(__name__)

Obj = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Source:
    """One kind to watch: which objects, and whom they wake."""

    resource: registry.Resource
    selector: str | None
    mappers: tuple[Mapper, ...]


def sources(reconciled: Iterable[str], watches: Sequence[Watch]) -> list[Source]:
    """One Source per kind: the reconciled kinds (whole) and the watched ones (the widest of their selectors)."""
    found: dict[tuple[str, str], tuple[set[str | None], list[Mapper]]] = {}
    for kind in reconciled:
        found[API_VERSION, kind] = ({None}, [])
    for watch in watches:
        selectors, mappers = found.setdefault((watch.api_version, watch.kind), (set(), []))
        selectors.add(watch.selector)
        mappers.append(watch.map)
    return [
        Source(registry.lookup(*kind), next(iter(selectors)) if len(selectors) == 1 else None, tuple(mappers))
        for kind, (selectors, mappers) in found.items()
    ]


class EventHandler:
    """Feeds the cache and the queues."""

    def __init__(self, cache: Cache, queues: Mapping[str, WorkQueue], watched: Sequence[Source]) -> None:
        """`queues` by reconciled kind."""
        self.cache = cache
        self.queues = queues
        self.sources = {(s.resource.api_version, s.resource.kind): s for s in watched}
        for source in watched:
            kind = source.resource.kind
            metrics.CACHED.labels(kind).set_function(partial(cache.count, kind))

    def on_event(self, source: Source, deleted: bool, obj: Obj) -> None:
        """One watch event: `obj` is the object as delivered, with apiVersion and kind."""
        with _understood(obj):
            self._take(source, deleted, obj)

    def on_listed(self, source: Source, obj: Obj) -> bool:
        """One object of a live list; True when the cache did not have it."""
        learnt = False
        with _understood(obj):
            cached = self.transform(obj)
            before = self._known(cached)
            learnt = self.cache.learn(cached)
            if learnt:
                self._wake_left(source, before, cached)
                self.wake(source, cached)
        return learnt

    def _take(self, source: Source, deleted: bool, obj: Obj) -> None:
        cached = self.transform(obj)
        before = self._known(cached)
        if deleted:
            self.forget(cached)
        elif not self.cache.put(cached):
            return  # older than what is known: whoever stored the newer state has woken the right ones
        self._wake_left(source, before, cached)
        self.wake(source, cached, echo_of=None if deleted else self.cache.writer_of(cached))

    def _known(self, obj: Obj) -> Obj | None:
        return self.cache.get(obj["kind"], obj["metadata"].get("namespace"), obj["metadata"]["name"])

    def _wake_left(self, source: Source, before: Obj | None, after: Obj) -> None:
        """Whoever controlled an object until now, as that one is not named any more by the object's new state."""
        if before is not None and controller_of(before).get("uid") not in (None, controller_of(after).get("uid")):
            self.wake(source, before)

    def transform(self, obj: Obj) -> Obj:
        """The object as it is cached."""
        if obj["kind"] == "ConfigMap" and (obj["metadata"].get("labels") or {}).get(MANAGED_BY) != MANAGED_BY_VALUE:
            return identity(obj)
        return transform(obj)

    def forget(self, obj: Obj) -> None:
        """Drops an object from the cache that is gone, as delivered: with the resourceVersion of the deletion."""
        meta = obj["metadata"]
        self.cache.remove(obj["kind"], meta.get("namespace"), meta["name"], meta.get("uid"), version_of(obj))

    def wake(self, source: Source, obj: Obj, echo_of: Key | None = None) -> None:
        """Enqueues the object itself, when its kind is reconciled, and whomever the mappers name, except `echo_of`."""
        kind, meta = source.resource.kind, obj["metadata"]
        if kind in self.queues:
            self.queues[kind].add(Key(kind, meta["namespace"], meta["name"]))
        for mapper in source.mappers:
            try:
                for key in mapper(obj, self.cache):
                    if key.kind in self.queues and key != echo_of:
                        self.queues[key.kind].add(key)
            except Exception:  # a mapper's bug must not end the watch for everybody else
                logger.exception("mapping failed", extra={"object": f"{kind}/{meta.get('namespace')}/{meta['name']}"})


@contextmanager
def _understood(obj: Obj) -> Iterator[None]:
    """One object that nobody foresaw must not end the watch for all others: it is logged and left out."""
    try:
        yield
    except Exception:
        meta = obj["metadata"]
        name = f"{obj['kind']}/{meta.get('namespace')}/{meta.get('name')}"
        logger.exception("an object was not understood", extra={"object": name})
