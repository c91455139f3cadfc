"""/healthz, /readyz and /metrics of the operator process.

Why own probes: a process whose watches are silently dead, whose event loop is blocked, or whose leader does nothing
looks alive from outside. Liveness fails when a watch has delivered nothing for too long, not even a bookmark (the API
server sends one about every minute), when a leader has work and no pass has ended for as long, or when the loop's own
heartbeat is late. A blocked loop cannot answer at all, which the kubelet counts as failed, too. Readiness means that
every kind was listed: standby replicas are ready, they watch and can take over.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable

from aiohttp import web
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from tidemill.engine import metrics
from tidemill.engine.clock import Clock

LOOP_LATE_SECONDS = 10.0


class Heartbeats:
    """When each watch was last seen alive, and when the leader last got something done."""

    def __init__(self, clock: Clock, stale_seconds: float) -> None:
        """`stale_seconds`: silence after which a watch, or a leader with work, counts as dead."""
        self._clock = clock
        self._stale = stale_seconds
        self._seen: dict[str, float] = {}
        self._loop_seen = clock.monotonic()
        self._passed: float | None = None
        self._waited: Callable[[], float] = lambda: math.inf
        self.unready: Callable[[], list[str]] = lambda: ["starting"]
        """Sentences about what readiness waits for; empty when ready."""

    def lead(self) -> None:
        """This replica is the leader from now on: passes are due, even where the workers could not start."""
        self._passed = self._clock.monotonic()

    def work(self, waited: Callable[[], float]) -> None:
        """The workers run. `waited`: for how many seconds a key has waited for one of them, 0 when none waits."""
        self._waited = waited

    def passed(self) -> None:
        """A pass has ended, well or not."""
        self._passed = self._clock.monotonic()

    def expect(self, paths: Iterable[str]) -> None:
        """Names the watches that there must be (URL paths of their collections); they count as alive now."""
        now = self._clock.monotonic()
        for path in paths:
            self._seen.setdefault(path, now)

    def beat(self, path: str) -> None:
        """The watch on `path` delivered something; unknown paths are ignored."""
        if path in self._seen:
            self._seen[path] = self._clock.monotonic()
            metrics.WATCH_SEEN.labels(path.rpartition("/")[2]).set(time.time())

    async def tick(self) -> None:
        """Beats for the event loop, for ever."""
        while True:
            self._loop_seen = self._clock.monotonic()
            await asyncio.sleep(1.0)

    def problems(self) -> list[str]:
        """Sentences about what is dead; empty when all is well."""
        now = self._clock.monotonic()
        found = [
            f"watch on {path} silent for {now - seen:.0f} s"
            for path, seen in sorted(self._seen.items())
            if now - seen > self._stale
        ]
        if self._passed is not None:
            idle = min(now - self._passed, self._waited())
            if idle > self._stale:
                found.append(f"no pass for {idle:.0f} s although there is work")
        if now - self._loop_seen > LOOP_LATE_SECONDS:
            found.append(f"event loop late by {now - self._loop_seen:.0f} s")
        return found


class HealthServer:
    """The HTTP server on all addresses of the pod."""

    def __init__(self, heartbeats: Heartbeats, port: int) -> None:
        """`port` 0 takes a free one; see `port` after `start`."""
        self._heartbeats = heartbeats
        self.registry = CollectorRegistry()
        """Series of this operator alone; /metrics shows those of the process, too."""
        self._runner: web.AppRunner | None = None
        self.port = port

    async def start(self) -> None:
        """Listens; OSError when the port is taken."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, None, self.port)
        await site.start()
        if self.port == 0:
            # IPv4 and IPv6 get different ports then; IPv4 addresses are pairs.
            self.port = next(int(a[1]) for a in self._runner.addresses if len(a) == 2)

    async def stop(self) -> None:
        """Stops listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, request: web.Request) -> web.Response:
        del request
        problems = self._heartbeats.problems()
        return web.Response(status=500 if problems else 200, text="\n".join(problems or ["ok"]) + "\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        del request
        waiting = self._heartbeats.unready()
        return web.Response(status=503 if waiting else 200, text="\n".join(waiting or ["ok"]) + "\n")

    async def _metrics(self, request: web.Request) -> web.Response:
        del request
        body = generate_latest(REGISTRY) + generate_latest(self.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})
