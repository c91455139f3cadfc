"""The loop around one reconciler: gather, plan, apply, one status write, events. Knows no kind.

Errors are sorted here and nowhere else: Stalled (a human must act; no requeue), Waiting (looked at again later), and
all others (exponential backoff; shown in the status from the third failure in a row).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tidemill.api.base import API_VERSION
from tidemill.core.children import controller_of
from tidemill.core.plan import Key, ObjectRef, Plan
from tidemill.engine import metrics, status, terminating
from tidemill.engine.apply import Applier
from tidemill.engine.contract import Deps, Reconciler, Snapshot
from tidemill.engine.ownership import Refusal
from tidemill.engine.queue import BASE_DELAY_SECONDS, WorkQueue
from tidemill.engine.terminating import Terminating
from tidemill.errors import ApiError, Stalled, Waiting
from tidemill.kube.events import EventRecorder
from tidemill.kube.request_priority import FLOW, Flow
from tidemill.kube.transform import is_truncated, transform

logger = logging.getLogger(__name__)

SHOW_AFTER_FAILURES = 3
"""Failures in a row before the status says so: a conflict or one lost request is nobody's business."""
LARGE_AGAIN_SECONDS = 0.25
"""How soon a large object comes back when the pass over another one goes on."""

UNKNOWN_AGAIN_SECONDS = 5.0
"""How soon an object comes back of whose namespace not every kind may be listed."""

Obj = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a pass ended: `result` as controller-runtime names it, and what the queue is to do."""

    result: str
    requeue_after: float | None = None
    failed: bool = False
    at_least: float = 0.0
    planned: bool = False
    """All of a plan was carried out."""


class Controller:
    """Workers that take keys of one kind from one queue."""

    def __init__(
        self,
        reconciler: Reconciler,
        deps: Deps,
        queue: WorkQueue,
        applier: Applier,
        recorder: EventRecorder,
        closed: Terminating | None = None,
        passed: Callable[[], None] = lambda: None,
        knows: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """Starts nothing; see `start`. `passed`: called after every pass.

        `closed`: namespaces where nothing can be made; None: this kind's own. `knows`: whether every kind of a
        namespace was listed; where one is missing nothing is decided.
        """
        self.kind = reconciler.kind
        self.queue = queue
        self._reconciler = reconciler
        self._deps = deps
        self._applier = applier
        self._recorder = recorder
        self._closed = closed or Terminating(deps.cache, deps.clock, [reconciler.kind])
        self._passed = passed
        self._knows = knows
        self._name = reconciler.kind.lower()
        self._tasks: list[asyncio.Task[None]] = []
        metrics.MAX_WORKERS.labels(self._name).set(deps.config.workers)

    def start(self) -> None:
        """Starts the workers. Only the leader may call this."""
        self._tasks = [
            asyncio.create_task(self._work(), name=f"{self._name} worker {n}") for n in range(self._deps.config.workers)
        ]

    async def stop(self, grace_seconds: float) -> None:
        """Hands out no more keys, lets running passes finish for `grace_seconds`, then cancels them."""
        self.queue.shut_down()
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=grace_seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def abort(self) -> None:
        """Stops at once: the Lease is lost and another replica may be at work."""
        self.queue.shut_down()
        for task in self._tasks:
            task.cancel()

    async def _work(self) -> None:
        while (key := await self.queue.get()) is not None:
            with metrics.ACTIVE_WORKERS.labels(self._name).track_inprogress():
                try:
                    await self._admit(key)
                finally:
                    self.queue.done(key)

    async def _admit(self, key: Key) -> None:
        """Passes over very large objects are made one at a time; who must wait keeps no worker from the others."""
        cached = self._deps.cache.get(*key)
        FLOW.set(Flow(self.kind, is_own=cached is not None and _is_own(cached)))
        if cached is None or not is_truncated(cached):
            await self.process(key)
        elif self._deps.large.locked():
            self.queue.add_after(key, LARGE_AGAIN_SECONDS)
        else:
            async with self._deps.large:
                await self.process(key)

    async def process(self, key: Key) -> Outcome:
        """One pass over `key`; never raises. Tells the queue when to look again, and returns what happened."""
        held = self._closed.hold(key) if self._knows(key.namespace) else UNKNOWN_AGAIN_SECONDS
        if held is not None:
            self._deps.updates.end(key, planned=False)  # nobody waits for its turn
            self.queue.add_after(key, held)
            return Outcome("requeue_after", requeue_after=held)
        with metrics.RECONCILE_SECONDS.labels(self._name).time():
            outcome = await self._guarded(key)
        self._deps.updates.end(key, planned=outcome.planned)
        metrics.RECONCILE_TOTAL.labels(self._name, outcome.result).inc()
        self._passed()
        if outcome.failed:
            metrics.RECONCILE_ERRORS.labels(self._name).inc()
            self.queue.add_rate_limited(key, outcome.at_least)
            if outcome.requeue_after is not None:  # the earlier of the two counts
                self.queue.add_after(key, max(outcome.requeue_after, outcome.at_least, BASE_DELAY_SECONDS))
            return outcome
        self.queue.forget(key)
        if outcome.requeue_after is not None:
            self.queue.add_after(key, max(outcome.requeue_after, 0.05))
        return outcome

    async def _guarded(self, key: Key) -> Outcome:
        obj: Obj | None = None
        try:
            snapshot: Snapshot | None = await self._reconciler.gather(key)
            obj = snapshot.object if snapshot is not None else None
            if obj is None or obj["metadata"].get("deletionTimestamp"):
                return Outcome("success")
            plan = self._reconciler.plan(snapshot)
            self._deps.updates.begin(key, plan.turn)  # nothing was awaited since the snapshot's picture of the fleet
            for begin in self._deps.begun:
                begin(obj, plan)
            refused = await self._applier.execute(plan, key)
            if refused is not None:
                return await self._report_refusal(key, obj, plan, refused)
            await self._report(key, obj, plan)
        except (Stalled, Waiting) as verdict:
            return await self._report_verdict(key, obj, verdict)
        except Exception as error:  # the loop must outlive every reconciler
            if terminating.is_cause(error):
                return Outcome("requeue_after", requeue_after=self._closed.close(key.namespace))
            return await self._report_failure(key, obj, error)
        if plan.error:
            logger.warning("pass failed: %s", plan.error, extra={"object": str(key)})
            return Outcome("error", failed=True)
        if plan.requeue_after is not None:
            return Outcome("requeue_after", requeue_after=plan.requeue_after, planned=True)
        return Outcome("success", planned=True)

    async def _report(self, key: Key, obj: Obj, plan: Plan) -> None:
        if plan.status is not None:
            await self._write(obj, plan.status)
        for event in plan.events:
            logger.info("%s: %s", event.reason, event.message, extra={"object": str(key), "action": event.action})
            await self._recorder.post(obj, event)

    async def _write(self, obj: Obj, wanted: Obj) -> None:
        """The one status write, left out when nothing would change."""
        desired = status.complete(wanted, obj)
        if status.is_same(obj.get("status"), desired):
            return
        written = await self._deps.client.replace_status(obj, desired)
        self._deps.cache.put(transform(written))

    async def _report_refusal(self, key: Key, obj: Obj, plan: Plan, refused: Refusal) -> Outcome:
        """One child was refused: the others are in force, so the plan's status counts, but for its summary.

        Without it an analysis would stand still while its version gets requests. The plan's next look is kept.
        """
        if isinstance(refused, ApiError):
            logger.warning("%s", refused, extra={"object": str(key)})
            outcome = Outcome("error", plan.requeue_after, failed=True, at_least=refused.retry_after_seconds or 0.0)
            if self.queue.failures(key) + 1 < SHOW_AFTER_FAILURES:
                return outcome
            show: Callable[..., Obj] = status.failing
        else:
            logger.info("%s", refused, extra={"object": str(key)})
            if isinstance(refused, Waiting):
                looks = (refused.retry_after_seconds, plan.requeue_after or refused.retry_after_seconds)
                show, outcome = status.waiting, Outcome("requeue_after", min(looks))
            else:
                metrics.RECONCILE_TERMINAL_ERRORS.labels(self._name).inc()
                show, outcome = status.stalled, Outcome("error", _earlier(plan.requeue_after, refused))
        wanted = show(obj, refused, self._deps.clock.now(), plan.status)
        await self._report(key, obj, replace(plan, status=wanted))
        if isinstance(refused, Stalled) and not status.was_stalled_alike(obj, refused):
            await self._recorder.post(obj, status.stalled_event(refused))
        return outcome

    async def _report_verdict(self, key: Key, obj: Obj | None, verdict: Stalled | Waiting) -> Outcome:
        logger.info("%s", verdict, extra={"object": str(key)})
        is_stalled = isinstance(verdict, Stalled)
        try:
            obj = obj or await self._find(key)
            if obj is not None:
                now = self._deps.clock.now()
                wanted = status.stalled(obj, verdict, now) if is_stalled else status.waiting(obj, verdict, now)
                await self._write(obj, wanted)
                if is_stalled and not status.was_stalled_alike(obj, verdict):
                    await self._recorder.post(obj, status.stalled_event(verdict))
        except Exception as error:
            return await self._report_failure(key, None, error)
        if isinstance(verdict, Waiting):
            return Outcome("requeue_after", requeue_after=verdict.retry_after_seconds)
        metrics.RECONCILE_TERMINAL_ERRORS.labels(self._name).inc()
        return Outcome("error", verdict.retry_after_seconds)

    async def _report_failure(self, key: Key, obj: Obj | None, error: Exception) -> Outcome:
        extra = {"object": str(key)}
        if isinstance(error, ApiError) and error.is_conflict:
            await self._refresh(key)
            logger.debug("conflict, again with fresh data: %s", error, extra=extra)
            if self.queue.failures(key) < 2:  # somebody else wrote first: no reason to wait a second
                self.queue.add_after(key, 0.05)
            return Outcome("error", failed=True)
        if isinstance(error, ApiError):
            logger.warning("%s", error, extra=extra)
        else:
            metrics.RECONCILE_PANICS.labels(self._name).inc()
            logger.error("unexpected %s", type(error).__name__, exc_info=error, extra=extra)
        if obj is not None and self.queue.failures(key) + 1 >= SHOW_AFTER_FAILURES:
            try:
                await self._write(obj, status.failing(obj, error, self._deps.clock.now()))
            except ApiError as second:
                logger.warning("the failure could not be written either: %s", second, extra=extra)
                await self._refresh(key)
        at_least = (error.retry_after_seconds or 0.0) if isinstance(error, ApiError) else 0.0
        return Outcome("error", failed=True, at_least=at_least)

    async def _find(self, key: Key) -> Obj | None:
        obj = await self._deps.client.get(ObjectRef(API_VERSION, key.kind, key.namespace, key.name))
        return None if obj is None or obj["metadata"].get("deletionTimestamp") else obj

    async def _refresh(self, key: Key) -> None:
        """Reads the object live into the cache, so that the next pass does not repeat a decision on old data."""
        try:
            live = await self._deps.client.get(ObjectRef(API_VERSION, key.kind, key.namespace, key.name))
        except ApiError:
            return
        if live is not None:
            self._deps.cache.put(transform(live))


def _earlier(planned: float | None, verdict: Stalled) -> float | None:
    """The next look: the plan's, or that of a refusal whose end nobody reports."""
    return min((s for s in (planned, verdict.retry_after_seconds) if s is not None), default=None)


def _is_own(obj: Obj) -> bool:
    """Whether we made it of another object of ours; what somebody's own controller made is a user's."""
    return controller_of(obj).get("apiVersion") == API_VERSION
