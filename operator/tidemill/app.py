"""Wires the operator: configuration, client, slices, engine; and decides when it ends, and how.

Order of a clean stop: finish the passes that run, release the Lease, stop the watches. What ends unasked (a lost Lease,
a taken port, a bug in a watch) ends the process with an error, so that the kubelet starts it anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tidemill.api.base import API_VERSION
from tidemill.config import OperatorConfig
from tidemill.engine import metrics
from tidemill.engine.apply import Applier
from tidemill.engine.clock import Clock, SystemClock
from tidemill.engine.conditions_metric import ConditionsCollector
from tidemill.engine.contract import Deps, Reconciler, Watch
from tidemill.engine.controller import Controller
from tidemill.engine.event_handler import EventHandler, sources
from tidemill.engine.health import HealthServer, Heartbeats
from tidemill.engine.informer import Informers
from tidemill.engine.leader import LeaderElector
from tidemill.engine.listing import Lister
from tidemill.engine.queue import WorkQueue
from tidemill.engine.resync import Resync
from tidemill.engine.terminating import Terminating
from tidemill.errors import ApiError
from tidemill.kube.access import Access
from tidemill.kube.cache import Cache
from tidemill.kube.client import KubeClient
from tidemill.kube.events import EventRecorder
from tidemill.monitoring import reconcilers as monitoring
from tidemill.serving import reconcilers as serving
from tidemill.training import reconcilers as training

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 10.0
"""How long running passes may take when the process is asked to stop."""
FRESH_SECONDS = 30.0
"""A new leader lists again what was listed longer ago: a watch may be dead without anybody knowing yet."""
_CRD_POLL_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Slices:
    """What the slices contribute. Tests pass their own."""

    reconcilers: Sequence[Reconciler]
    watches: Sequence[Watch]


def load_slices(deps: Deps) -> Slices:
    """All reconcilers of the product."""
    slices = (training, serving, monitoring)
    return Slices(
        reconcilers=[r for s in slices for r in s.build(deps)],
        watches=[w for s in slices for w in s.WATCHES],
    )


class Operator:
    """One replica of the operator."""

    def __init__(
        self,
        config: OperatorConfig,
        access: Access,
        clock: Clock | None = None,
        load: Callable[[Deps], Slices] = load_slices,
    ) -> None:
        """Opens nothing yet; see `run`. `load` gives the reconcilers."""
        self.config = config
        self.clock = clock or SystemClock()
        self.client = KubeClient(access, connections=max(config.workers, 4))
        # A connection of its own: a renewal must never queue behind a burst of work.
        self.lease_client = KubeClient(access, connections=1, timeout_seconds=config.retry_period_seconds * 2)
        self.cache = Cache()
        self.deps = Deps(self.client, self.cache, config, self.clock)
        self.heartbeats = Heartbeats(self.clock, config.watch_stale_seconds)
        self.health = HealthServer(self.heartbeats, config.http_port)
        self.elector = LeaderElector(self.lease_client, config, self.clock)
        self.served = asyncio.Event()
        """Set when the API server has answered and knows our kinds."""
        self.leading = asyncio.Event()
        """Set while the workers run."""
        self._wire(load(self.deps))

    def _wire(self, slices: Slices) -> None:
        self._reconciled = [r.kind for r in slices.reconcilers]
        self.health.registry.register(ConditionsCollector(self.cache, self._reconciled, self.leading.is_set))
        watched = sources(self._reconciled, slices.watches)
        queues = {kind: WorkQueue(kind.lower(), self.clock) for kind in self._reconciled}
        self.deps.updates.wake = lambda key: queues[key.kind].add(key)
        self.handler = EventHandler(self.cache, queues, watched)
        streams, beat, namespaces = self.client.streams, self.heartbeats.beat, self.config.watch_namespaces
        lister = Lister(streams, self.handler, self.clock, beat)
        self.informers = Informers(self.handler, lister, streams, self.clock, beat, namespaces)
        self.heartbeats.unready = lambda: [f"{path} was not listed yet" for path in self.informers.missing()]
        self.resync = Resync(lister, self.handler, namespaces, self.config.resync_seconds)
        applier = Applier(self.client, self.cache, [s.resource.kind for s in watched], self.clock)
        recorder = EventRecorder(self.client, self.config.pod_name, self.clock.now, self.clock.monotonic)
        closed, passed = Terminating(self.cache, self.clock, self._reconciled), self.heartbeats.passed
        knows = self.deps.updates.knows = self.informers.knows
        self.controllers = [
            Controller(r, self.deps, queues[r.kind], applier, recorder, closed, passed, knows)
            for r in slices.reconcilers
        ]
        metrics.BUILD.labels(_version()).set(1)

    async def run(self, stop: asyncio.Event) -> None:
        """Runs until `stop` is set (returns) or something that must not end has ended (raises)."""
        tick = asyncio.create_task(self.heartbeats.tick(), name="loop heartbeat")
        watching: asyncio.Task[None] | None = None
        try:
            await self.health.start()
            if not await self._crds_served(stop):
                return
            self.served.set()
            self.heartbeats.expect(informer.path for informer in self.informers.all)
            watching = asyncio.create_task(self.informers.run(), name="watches")
            leading = asyncio.create_task(self._lead(), name="leadership")
            stopping = asyncio.create_task(stop.wait(), name="stop")
            await asyncio.wait({leading, stopping, watching}, return_when=asyncio.FIRST_COMPLETED)
            await self._wind_down(leading, stopping)
            if watching.done() and (bug := watching.exception()) is not None:
                raise _only(bug)
        finally:
            await self.health.stop()
            if watching is not None:
                watching.cancel()
                with contextlib.suppress(BaseException):
                    await watching
            tick.cancel()
            await self.deps.scraper.close()
            await self.client.close()
            await self.lease_client.close()

    async def _wind_down(self, leading: asyncio.Task[None], stopping: asyncio.Task[bool]) -> None:
        """Drains the workers, then releases the Lease; raises what ended the leadership, if anything did."""
        self.heartbeats.unready = lambda: ["stopping"]
        lost = leading.exception() if leading.done() and not leading.cancelled() else None
        leading.cancel()
        stopping.cancel()
        if lost is not None:
            self.leading.clear()
            for controller in self.controllers:
                controller.abort()
            raise _only(lost)
        await asyncio.gather(*(c.stop(DRAIN_SECONDS) for c in self.controllers))
        self.leading.clear()
        if self.config.leader_election:
            await self.elector.release()

    async def _lead(self) -> None:
        """Takes the Lease, fills the cache from live lists, starts the workers, and renews until the Lease is lost."""
        if self.config.leader_election:
            await self.elector.acquire()
        else:
            metrics.LEADER.labels(self.config.lease_name).set(1)
        self.heartbeats.lead()
        async with asyncio.TaskGroup() as group:
            if self.config.leader_election:
                group.create_task(self.elector.hold(), name="lease renewal")
            await self._fill()
            self.deps.updates.resume(o for kind in self._reconciled for o in self.cache.list(kind))
            for controller in self.controllers:
                controller.start()
            self.heartbeats.work(lambda: max(c.queue.oldest_seconds() for c in self.controllers))
            self.leading.set()
            group.create_task(self.resync.run(), name="resync")

    async def _fill(self) -> None:
        """Nothing is decided before every kind was listed, and no longer than a moment ago."""
        await self.informers.listed()
        while True:
            try:
                await self.resync.once(FRESH_SECONDS)
                return
            except ApiError as error:
                logger.warning("the first lists failed, again in 2 s: %s", error)
                await asyncio.sleep(2.0)

    async def _crds_served(self, stop: asyncio.Event) -> bool:
        """Waits until the API server knows our kinds. False when stopped."""
        while not stop.is_set():
            try:
                missing = [k for k in self._reconciled if not await self.client.has_kind(API_VERSION, k, ttl_seconds=0)]
                if not missing:
                    return True
                logger.warning("waiting for the CustomResourceDefinitions of %s", ", ".join(missing))
            except ApiError as error:
                logger.warning("the API server does not answer yet: %s", error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _CRD_POLL_SECONDS)
        return False


def _only(error: BaseException) -> BaseException:
    """The one exception inside a group, for a log line that says what happened."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _version() -> str:
    try:
        return importlib.metadata.version("tidemill")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
