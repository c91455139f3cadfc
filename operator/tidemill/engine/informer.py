"""Keeps the cache in step with the API server: a list, then a watch from there on, for each kind and namespace.

A watch that ends is opened again where it was; one whose version has become too old (410, as an answer or inside the
stream) starts over with a list, which also finds what was deleted meanwhile. Nothing that the API server answers ends
the process: it is tried again, 1 s to 30 s apart, and a watch that stays silent fails the liveness probe.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence

from tidemill.engine.clock import Clock
from tidemill.engine.event_handler import EventHandler, Source
from tidemill.engine.listing import Lister, scope_of
from tidemill.errors import ApiError
from tidemill.kube.streams import Streams

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
FAILURES_BEFORE_A_LIST = 5
"""A watch that fails so often in a row starts over with a list."""
LOOK_SECONDS = 0.1
"""How often it is looked whether everything was listed."""
Sleep = Callable[[float], Awaitable[None]]


class Informer:
    """One kind in one namespace, or in all."""

    def __init__(
        self,
        source: Source,
        namespace: str | None,
        handler: EventHandler,
        lister: Lister,
        streams: Streams,
        clock: Clock,
        beat: Callable[[str], None],
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """Reads nothing yet. `beat`: called with the path whenever something has arrived."""
        self._source = source
        self._namespace = namespace
        self._handler = handler
        self._lister = lister
        self._streams = streams
        self._clock = clock
        self._beat = beat
        self._sleep = sleep
        self._scope = scope_of(source, namespace)
        self.path = self._scope.path
        """URL path of what is watched."""
        self.listed = asyncio.Event()
        """Set when a list is complete, until one is refused."""
        self.forbidden = False
        """Whether one of several namespaces refuses: its RoleBinding has gone, or is still to come. No other waits."""

    async def run(self) -> None:
        """Lists and watches for ever."""
        failures = 0
        while True:
            started = self._clock.monotonic()
            try:
                version = await self._lister.list(self._source, self._namespace)
                self.forbidden = False
                self.listed.set()
                await self._follow(str(version))
            except ApiError as error:
                self._note(error)
            # A list and a watch that held for a while were no failure, whatever ended them.
            failures = 0 if self._clock.monotonic() - started > LONGEST_PAUSE_SECONDS else failures + 1
            await self._pause(failures)

    def _note(self, error: ApiError) -> None:
        if error.status != 403 or self._namespace is None:
            logger.warning("%s", error)
            return
        if not self.forbidden:
            logger.warning("%s is not watched, no RoleBinding allows it: %s", self.path, error)
        self.forbidden = True
        self.listed.clear()
        self._beat(self.path)

    async def _follow(self, version: str) -> None:
        """Watches from `version` on; returns when it has become too old, ApiError when watching goes on failing."""
        failures = 0
        while True:
            opened = self._clock.monotonic()
            try:
                async for verb, obj in self._streams.watch(self._scope, version, lambda: self._beat(self.path)):
                    version, failures = obj["metadata"].get("resourceVersion") or version, 0
                    if verb != "BOOKMARK":
                        self._handler.on_event(self._source, verb == "DELETED", obj)
            except ApiError as error:
                if error.status == 410:
                    logger.info("watch of %s: %s", self.path, error.message)
                    return
                failures += 1
                if failures >= FAILURES_BEFORE_A_LIST:
                    raise
                logger.warning("watch of %s, again from where it was: %s", self.path, error)
            if failures or self._clock.monotonic() - opened < FIRST_PAUSE_SECONDS:
                await self._pause(failures)

    async def _pause(self, failures: int) -> None:
        seconds = min(FIRST_PAUSE_SECONDS * 2.0 ** max(failures - 1, 0), LONGEST_PAUSE_SECONDS)
        await self._sleep(seconds * random.uniform(0.8, 1.2))  # noqa: S311 - jitter


class Informers:
    """All of them: one for each source, and each namespace when not all are served."""

    def __init__(
        self,
        handler: EventHandler,
        lister: Lister,
        streams: Streams,
        clock: Clock,
        beat: Callable[[str], None],
        namespaces: Sequence[str],
    ) -> None:
        """`namespaces`: the watched ones, empty for the whole cluster."""
        scopes: tuple[str | None, ...] = tuple(namespaces) or (None,)
        self._of: dict[str | None, list[Informer]] = {
            namespace: [
                Informer(source, namespace, handler, lister, streams, clock, beat)
                for source in handler.sources.values()
            ]
            for namespace in scopes
        }
        self.all = [informer for found in self._of.values() for informer in found]

    async def run(self) -> None:
        """Runs until cancelled; raises only what is a bug."""
        async with asyncio.TaskGroup() as group:
            for informer in self.all:
                group.create_task(informer.run(), name=f"watch of {informer.path}")

    async def listed(self) -> None:
        """Returns when every kind was listed once."""
        while self.missing():  # noqa: ASYNC110 - of many informers, and what is forbidden may be allowed meanwhile
            await asyncio.sleep(LOOK_SECONDS)

    def missing(self) -> list[str]:
        """Paths of what was not listed yet; what one of several namespaces refuses is not missed."""
        if all(informer.forbidden for informer in self.all):
            return [informer.path for informer in self.all]
        return [i.path for i in self.all if not i.listed.is_set() and not i.forbidden]

    def knows(self, namespace: str) -> bool:
        """Whether every kind of a namespace was listed, and none is refused: else what is there is not known."""
        return all(i.listed.is_set() for i in self._of.get(namespace) or self._of.get(None, []))
