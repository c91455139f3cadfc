"""Full live lists of every watched kind: at the start of a leadership, and about every ten minutes.

Why: a watch that was interrupted for too long starts over with a list, and what was deleted in between is never
reported (kopf does not synthesise deletions). Here the cache is compared with the truth, the difference wakes
reconcilers, and every object of ours gets a look even when nothing seems to have happened.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import Any

from tidemill.core.plan import Key
from tidemill.engine import metrics
from tidemill.engine.intake import Intake, Source
from tidemill.errors import ApiError
from tidemill.kube.client import KubeClient

logger = logging.getLogger(__name__)

Obj = dict[str, Any]


class Resync:
    """Compares the cache with live lists."""

    def __init__(self, client: KubeClient, intake: Intake, namespaces: Sequence[str], interval_seconds: float) -> None:
        """`namespaces`: the watched ones, empty for the whole cluster."""
        self._client = client
        self._intake = intake
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

    async def once(self) -> None:
        """Lists every kind, prunes and completes the cache, then wakes every reconciled object.

        One of several namespaces that refuses is left out: it may be gone, and the others are served all the same.
        """
        refused: dict[str | None, ApiError] = {}
        for source in self._intake.sources.values():
            for namespace in self._scopes:
                try:
                    await self._kind(source, namespace)
                except ApiError as error:
                    if error.status != 403 or namespace is None:
                        raise
                    refused[namespace] = error
        if len(refused) == len(self._scopes):
            raise next(iter(refused.values()))
        for namespace, why in refused.items():
            logger.warning("namespace %s is not served, no RoleBinding allows it: %s", namespace, why)
        for kind, queue in self._intake.queues.items():
            for obj in self._intake.cache.list(kind):
                queue.add(Key(kind, obj["metadata"]["namespace"], obj["metadata"]["name"]))

    async def _kind(self, source: Source, namespace: str | None) -> None:
        kind = source.resource.kind
        live: list[Obj] = []
        version = 0
        pages = self._client.pages(
            source.resource.api_version, kind, namespace, source.selector, source.resource.field_selector
        )
        async for items, page_version in pages:
            version = version or page_version
            live.extend(self._intake.thin(item) for item in items)
        in_scope = None if namespace is None else (lambda obj: obj["metadata"].get("namespace") == namespace)
        learnt, pruned = self._intake.cache.replace(kind, live, version, in_scope)
        metrics.RESYNCS.labels(kind).inc()
        metrics.DRIFT.labels(kind, "learnt").inc(len(learnt))
        metrics.DRIFT.labels(kind, "pruned").inc(len(pruned))
        for obj in pruned:
            self._intake.forget(obj)
        for obj in (*learnt, *pruned):
            self._intake.wake(source, obj)
