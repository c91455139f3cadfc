"""Kubernetes Events, aggregated: a thing that happens a hundred times is one object with a count.

Why core v1 and not events.k8s.io/v1: that one refuses `lastTimestamp`, by which `kubectl describe` and `kubectl get
events --sort-by=.lastTimestamp` put events in order. Both are the same objects, under two addresses.
Names are derived from what the event says, so that a repetition, also one by another replica after a failover, finds
the first and raises its count instead of doubling it.
Posting never fails a pass: an event is a hint, the status is the truth.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tidemill.api.base import GROUP
from tidemill.core import conditions, hashing, names
from tidemill.core.plan import Event, ObjectRef
from tidemill.core.text import clean
from tidemill.errors import ApiError
from tidemill.kube.client import KubeClient

logger = logging.getLogger(__name__)

CONTROLLER = f"{GROUP}/operator"
NOTE_LIMIT = 1024
SERIES_INTERVAL_SECONDS = 360.0
"""A running series is written again at most this often (client-go: 6 minutes)."""
BURST = 25
REFILL_SECONDS = 30.0
"""Per object: a burst of 25 new events, then one every 30 seconds; the rest is only logged."""
_REMEMBERED = 10_000


@dataclass(slots=True)
class _Series:
    name: str
    count: int
    written_at: float


class EventRecorder:
    """Posts events about objects; remembers what was posted to aggregate repetitions."""

    def __init__(
        self, client: KubeClient, instance: str, now: Callable[[], datetime], monotonic: Callable[[], float]
    ) -> None:
        """`instance` is the pod's name (reportingInstance)."""
        self._client = client
        self._instance = instance[:128]
        self._now = now
        self._monotonic = monotonic
        self._series: OrderedDict[str, _Series] = OrderedDict()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def post(self, obj: Mapping[str, Any], event: Event) -> None:
        """Posts `event` about `obj` (a live object with a uid); API errors are logged, never raised."""
        try:
            await self._post(obj, event)
        except ApiError as error:
            logger.warning("event %s not posted: %s", event.reason, error, extra={"object": obj["metadata"]["name"]})

    async def _post(self, obj: Mapping[str, Any], event: Event) -> None:
        meta = obj["metadata"]
        text = clean(event.message)
        note = text if len(text) <= NOTE_LIMIT else text[: NOTE_LIMIT - 1] + "…"
        what = hashing.short([meta["uid"], event.type, event.reason, event.action, note], 16)
        known = self._series.get(what)
        if known is not None:
            await self._repeat(meta["namespace"], what, known)
            return
        if not self._allowed(meta["uid"]):
            return
        name = names.child_name(meta["name"], what, limit=253)
        try:
            await self._client.create(self._manifest(obj, event, note, name))
            self._put(what, _Series(name, 1, self._monotonic()))
        except ApiError as error:
            if not error.is_conflict:
                raise
            live = await self._client.get("v1", "Event", meta["namespace"], name) or {}
            count = max(live.get("count") or 1, (live.get("series") or {}).get("count") or 1)  # of an older release
            series = _Series(name, count, self._monotonic() - SERIES_INTERVAL_SECONDS)
            self._put(what, series)
            await self._repeat(meta["namespace"], what, series)

    def _put(self, what: str, series: _Series) -> None:
        self._series[what] = series
        while len(self._series) > _REMEMBERED:
            self._series.popitem(last=False)

    async def _repeat(self, namespace: str, what: str, series: _Series) -> None:
        series.count += 1
        if series.count > 2 and self._monotonic() - series.written_at < SERIES_INTERVAL_SECONDS:
            return
        body = {"count": series.count, "lastTimestamp": conditions.format_time(self._now()), "series": None}
        ref = ObjectRef("v1", "Event", namespace, series.name)
        try:
            await self._client.patch_merge(ref, body)
            series.written_at = self._monotonic()
        except ApiError as error:
            if not error.is_not_found:
                raise
            self._series.pop(what, None)  # expired: the next one starts anew

    def _allowed(self, uid: str) -> bool:
        now = self._monotonic()
        tokens, since = self._buckets.pop(uid, (float(BURST), now))
        tokens = min(float(BURST), tokens + (now - since) / REFILL_SECONDS)
        allowed = tokens >= 1.0
        self._buckets[uid] = (tokens - 1.0 if allowed else tokens, now)
        while len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        return allowed

    def _manifest(self, obj: Mapping[str, Any], event: Event, note: str, name: str) -> dict[str, Any]:
        meta = obj["metadata"]
        now = self._now()
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": meta["namespace"]},
            "eventTime": _micro(now),
            "firstTimestamp": conditions.format_time(now),
            "lastTimestamp": conditions.format_time(now),
            "count": 1,
            "reportingComponent": CONTROLLER,
            "reportingInstance": self._instance,
            "source": {"component": CONTROLLER},
            "type": event.type,
            "reason": event.reason[:128],
            "action": event.action[:128],
            "message": note,
            "involvedObject": {
                "apiVersion": obj["apiVersion"],
                "kind": obj["kind"],
                "name": meta["name"],
                "namespace": meta["namespace"],
                "uid": meta["uid"],
                "resourceVersion": meta.get("resourceVersion", ""),
            },
        }


def _micro(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
