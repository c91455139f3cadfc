"""Keeps the state of the fleet from which `core.staged_updates` decides: who updates its pods, and who waits.

Who updates stands in the objects' status, so a new leader knows it; who waits says so again with every pass. Between
the picture that a pass is given and what it says it will do nothing is awaited, so no other gets the same picture.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

from tidemill.core import staged_updates
from tidemill.core.plan import Key, Turn
from tidemill.core.staged_updates import Fleet
from tidemill.engine import metrics
from tidemill.engine.clock import Clock
from tidemill.kube.cache import Cache

logger = logging.getLogger(__name__)

Obj = dict[str, Any]


class StagedUpdates:
    """One process's view; used within one event loop."""

    def __init__(self, cache: Cache, clock: Clock, limit: int) -> None:
        """`limit`: how many objects may update their pods at the same time."""
        self._cache = cache
        self._clock = clock
        self._limit = limit
        self._updating: set[Key] = set()
        self._passing: set[Key] = set()
        """Those that are just being applied: their status does not say so yet."""
        self._waiting: dict[Key, tuple[int, int]] = {}
        self._number = count()
        self._reported: tuple[Fleet, tuple[Key, ...]] | None = None
        self.wake: Callable[[Key], None] = lambda _: None
        """Wants a look at an object whose turn may have come."""
        self.knows: Callable[[str], bool] = lambda _: True
        """Whether what is in a namespace is known; where its rights were taken away nobody is waited for."""

    def resume(self, objects: Iterable[Obj]) -> None:
        """Takes over from the leader of before, given all reconciled objects."""
        found = (o for o in objects if staged_updates.update_record(o) is not None)
        self._updating |= {Key(o["kind"], o["metadata"]["namespace"], o["metadata"]["name"]) for o in found}

    def fleet(self) -> Fleet:
        """The picture now. What it costs grows with those that update or wait, not with all objects."""
        late = set()
        for key in [k for k in self._updating if k not in self._passing]:
            state = self._state(key)
            if state is None:
                self._updating.discard(key)
            elif state == staged_updates.LATE:
                late.add(key)
        waiting = sorted((k for k in self._waiting if k not in self._updating), key=self._waiting.__getitem__)
        metrics.UPDATES.labels("updating").set(len(self._updating) - len(late))
        metrics.UPDATES.labels("late").set(len(late))
        metrics.UPDATES.labels("waiting").set(len(waiting))
        return Fleet(self._limit, frozenset(self._updating), frozenset(late), tuple(waiting))

    def begin(self, key: Key, turn: Turn | None) -> None:
        """A pass is about to do what it planned."""
        if turn is None or turn.kind == "updates":
            self._waiting.pop(key, None)
        if turn is None:
            self._updating.discard(key)
        elif turn.kind == "updates":
            if key not in self._updating:
                logger.info("pods are replaced in its turn", extra={"object": str(key)})
            self._updating.add(key)
            self._passing.add(key)
        elif key not in self._waiting:
            self._waiting[key] = (turn.rank, next(self._number))

    def end(self, key: Key, *, planned: bool) -> None:
        """A pass has ended. One that came to no plan, or whose object is gone, waits no longer; it may ask again."""
        self._passing.discard(key)
        if not planned:
            self._waiting.pop(key, None)
        if not self._waiting:
            self._reported = None
            return
        fleet = self.fleet()
        turn = fleet.next
        before, self._reported = self._reported, (fleet, turn)
        if before is not None and before[0].late != fleet.late:
            turn = fleet.waiting  # all of them say in their status why they wait
        elif before == (fleet, turn):
            return
        for waiting in turn:
            self.wake(waiting)

    def _state(self, key: Key) -> str | None:
        """UPDATING, LATE, or None when the object is through, gone, changed by its user, or out of reach."""
        obj = self._cache.get(key.kind, key.namespace, key.name)
        mark = staged_updates.update_record(obj) if obj is not None else None
        if obj is None or mark is None or obj["metadata"].get("deletionTimestamp") or not self.knows(key.namespace):
            return None
        deployments = self._cache.list("Deployment", key.namespace, owner_uid=obj["metadata"]["uid"])
        if all(map(staged_updates.ready, deployments)):
            return None
        age = (self._clock.now() - mark.since).total_seconds()
        return (
            staged_updates.LATE if mark.late or age > staged_updates.deadline(deployments) else staged_updates.UPDATING
        )
