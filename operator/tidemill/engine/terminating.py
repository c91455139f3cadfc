"""Namespaces that are being deleted: nothing can be made there any more, so nothing is tried.

Why: a namespace's deletion removes its objects one by one, every removal wakes whoever owns the object, and every pass
tries to make it again, which is refused. The first refusal with that cause closes the namespace for all passes. Now and
then one pass looks whether it is still so, and an object that was not there when it was closed opens it: nothing can be
made in a namespace that is being deleted, so that object is of a new one of that name.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from tidemill.core.plan import Key
from tidemill.engine.clock import Clock
from tidemill.errors import ApiError
from tidemill.kube.cache import Cache

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 300.0
CAUSE = "NamespaceTerminating"


def is_cause(error: BaseException) -> bool:
    """Whether the API server refused something because its namespace is being deleted."""
    return isinstance(error, ApiError) and CAUSE in error.causes


@dataclass(slots=True)
class _Closed:
    known: frozenset[str]
    """Uids of the objects of ours that were there."""
    pause: float
    until: float


class Terminating:
    """Which namespaces are closed. One for all controllers of a process; used within one event loop."""

    def __init__(self, cache: Cache, clock: Clock, kinds: Iterable[str]) -> None:
        """`kinds`: the reconciled ones. None is closed yet."""
        self._cache = cache
        self._clock = clock
        self._kinds = tuple(kinds)
        self._closed: dict[str, _Closed] = {}

    def hold(self, key: Key) -> float | None:
        """Seconds for which `key` must not be worked on; None: now. Of a closed namespace one pass in a pause may."""
        found = self._closed.get(key.namespace)
        if found is None:
            return None
        obj = self._cache.get(key.kind, key.namespace, key.name)
        if obj is None:  # gone: nothing is written for it
            self._forget_if_empty(key.namespace)
            return None
        if obj["metadata"].get("uid", "") not in found.known:
            del self._closed[key.namespace]
            return None
        left = found.until - self._clock.monotonic()
        if left > 0:
            return left
        found.pause = min(found.pause * 2, LONGEST_PAUSE_SECONDS)
        found.until = self._clock.monotonic() + found.pause
        return None

    def close(self, namespace: str) -> float:
        """A write was refused because the namespace is being deleted; returns seconds until the next look."""
        now, found = self._clock.monotonic(), self._closed.get(namespace)
        if found is None:
            until = now + FIRST_PAUSE_SECONDS
            found = self._closed[namespace] = _Closed(frozenset(), FIRST_PAUSE_SECONDS, until)
            logger.info("namespace %s is being deleted: nothing is created there any more", namespace)
        found.known |= self._uids(namespace)
        return max(found.until - now, 1.0)

    def __len__(self) -> int:
        """How many namespaces are closed."""
        return len(self._closed)

    def _uids(self, namespace: str) -> frozenset[str]:
        objects = (o for kind in self._kinds for o in self._cache.list(kind, namespace))
        return frozenset(o["metadata"].get("uid", "") for o in objects)

    def _forget_if_empty(self, namespace: str) -> None:
        if not any(self._cache.has(kind, namespace) for kind in self._kinds):
            del self._closed[namespace]
