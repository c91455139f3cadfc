"""Why nothing runs, where only events say so: of a Job that gets no pod, of a pod that waits for volumes or a network.

Events are not watched: a cluster has more of them than of all other objects together, of which a handful count here.
They are listed for one object at a time, by its uid, as long as it gives no other reason: at most once in
`LOOK_SECONDS`, and at most `PER_SECOND` of all objects, so that a namespace without quota for a thousand Jobs costs the
API server no more than a few requests each second. What is late is named a little later.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from tidemill.core import podfailure
from tidemill.core.podfailure import LOOK_SECONDS, PodFailure
from tidemill.errors import ApiError
from tidemill.kube.client import KubeClient

logger = logging.getLogger(__name__)

Obj = dict[str, Any]

PER_SECOND = 5.0
BURST = 20.0
SLACK_SECONDS = 1.0
"""A look that comes a little early counts: the clock of a queue is not that of this memory."""
_REMEMBERED = 2_000
"""Objects: two megabytes of causes at most."""


class ObjectEvents:
    """What events say of objects, with a memory of seconds."""

    def __init__(self, client: KubeClient, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Reads nothing yet."""
        self._client = client
        self._monotonic = monotonic
        self._known: OrderedDict[str, tuple[float, PodFailure | None]] = OrderedDict()
        self._tokens = (BURST, monotonic())

    async def cause(self, obj: Obj) -> PodFailure | None:
        """What keeps the object from going on, as far as its events say; at most `LOOK_SECONDS` old, unless many ask.

        Events are a hint: where they cannot be read, what was known before stays.
        """
        meta = obj["metadata"]
        looked, known = self._known.get(meta["uid"], (None, None))
        now = self._monotonic()
        if looked is not None and now - looked < LOOK_SECONDS - SLACK_SECONDS:
            return known
        if not self._may_ask(now):
            return known
        try:
            known = podfailure.reported(await self._client.events_about(meta["namespace"], meta["uid"]))
        except ApiError as error:
            logger.info("events of %s %s cannot be read: %s", obj.get("kind"), meta["name"], error)
        self._known[meta["uid"]] = (now, known)
        self._known.move_to_end(meta["uid"])
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return known

    async def cause_of_first(self, pods: Iterable[Obj], container: str, now: datetime) -> PodFailure | None:
        """What keeps the first of these pods from starting that has been silent for long; the others wait for the same.

        `container`: its one container.
        """
        silent = next((p for p in pods if podfailure.is_silent_for_long(p, container, now)), None)
        return await self.cause(silent) if silent is not None else None

    def _may_ask(self, now: float) -> bool:
        tokens, since = self._tokens
        tokens = min(BURST, tokens + (now - since) * PER_SECOND)
        allowed = tokens >= 1.0
        self._tokens = (tokens - 1.0 if allowed else tokens, now)
        return allowed
