"""Full live lists of one kind into the cache: at the start of every watch, and for the resync.

What a list shows and the cache lacks is learnt, what the cache has and the list lacks is forgotten, and both wake
reconcilers. Objects are taken one at a time, reduced before the next is read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tidemill.engine import metrics
from tidemill.engine.clock import Clock
from tidemill.engine.event_handler import EventHandler, Source
from tidemill.kube.cache import slot_of
from tidemill.kube.streams import Scope, Streams, watched

Obj = dict[str, Any]


class Lister:
    """Lists kinds, and knows when each was listed last."""

    def __init__(self, streams: Streams, handler: EventHandler, clock: Clock, beat: Callable[[str], None]) -> None:
        """`beat`: called with the path of a list or watch whenever something of it has arrived."""
        self._streams = streams
        self._handler = handler
        self._clock = clock
        self._beat = beat
        self._listed: dict[Scope, float] = {}

    def age(self, scope: Scope) -> float:
        """Seconds since the last list was complete; infinite when there was none."""
        return self._clock.monotonic() - self._listed.get(scope, float("-inf"))

    async def list(self, source: Source, namespace: str | None) -> int:
        """One list; returns its resourceVersion. ApiError when it failed: what it had shown until then is learnt."""
        scope, cache = scope_of(source, namespace), self._handler.cache
        kind, path = source.resource.kind, scope.path
        seen: set[tuple[str, str]] = set()
        learnt = 0

        def take(obj: Obj) -> None:
            nonlocal learnt
            seen.add(slot_of(obj))
            learnt += self._handler.on_listed(source, obj)

        version = await self._streams.read(scope, take, lambda: self._beat(path))
        pruned = cache.prune(kind, seen, version, namespace)
        for obj in pruned:
            self._handler.forget(obj)
            self._handler.wake(source, obj)
        metrics.RESYNCS.labels(kind).inc()
        metrics.DRIFT.labels(kind, "learnt").inc(learnt)
        metrics.DRIFT.labels(kind, "pruned").inc(len(pruned))
        self._listed[scope] = self._clock.monotonic()
        return version


def scope_of(source: Source, namespace: str | None) -> Scope:
    """What is listed and watched of a source."""
    return watched(source.resource, namespace, source.selector)
