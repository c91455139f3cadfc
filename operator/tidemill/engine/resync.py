"""Full live lists of every watched kind: at the start of a leadership, and about every ten minutes.

Why: a watch may lose events, and a cache that is wrong stays wrong. Here it is compared with the truth, the difference
wakes reconcilers, and every object of ours gets a look even when nothing seems to have happened.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence

from tidemill.core.plan import Key
from tidemill.engine.event_handler import EventHandler
from tidemill.engine.listing import Lister, scope_of
from tidemill.errors import ApiError

logger = logging.getLogger(__name__)


class Resync:
    """Compares the cache with live lists."""

    def __init__(
        self, lister: Lister, handler: EventHandler, namespaces: Sequence[str], interval_seconds: float
    ) -> None:
        """`namespaces`: the watched ones, empty for the whole cluster."""
        self._lister = lister
        self._handler = handler
        self._scopes: tuple[str | None, ...] = tuple(namespaces) or (None,)
        self._interval = interval_seconds

    async def run(self) -> None:
        """Resyncs for ever, at 0.9 to 1.1 times the interval; a failed round is logged and followed sooner."""
        while True:
            await asyncio.sleep(self._interval * random.uniform(0.9, 1.1))  # noqa: S311 - jitter
            try:
                await self.once()
            except ApiError as error:
                logger.warning("resync failed, next one in a minute: %s", error)
                await asyncio.sleep(60)

    async def once(self, fresh_seconds: float = 0.0) -> None:
        """Lists every kind, prunes and completes the cache, then wakes every reconciled object.

        What was listed less than `fresh_seconds` ago is not listed again. One of several namespaces that refuses is
        left out: it may be gone, and the others are served all the same.
        """
        refused: dict[str | None, ApiError] = {}
        for source in self._handler.sources.values():
            for namespace in self._scopes:
                if self._lister.age(scope_of(source, namespace)) < fresh_seconds:
                    continue
                try:
                    await self._lister.list(source, namespace)
                except ApiError as error:
                    if error.status != 403 or namespace is None:
                        raise
                    refused[namespace] = error
        if len(refused) == len(self._scopes):
            raise next(iter(refused.values()))
        for namespace, why in refused.items():
            logger.warning("namespace %s is not served, no RoleBinding allows it: %s", namespace, why)
        for kind, queue in self._handler.queues.items():
            for obj in self._handler.cache.list(kind):
                queue.add(Key(kind, obj["metadata"]["namespace"], obj["metadata"]["name"]))
