"""Leader election on a coordination.k8s.io Lease, with the rules of client-go's leaderelection package.

Why: two replicas may run, only one may write. The holder renews every 2 s; a replica takes over when it has seen the
record unchanged for 15 s of its own monotonic clock (clocks of other machines are never compared); a holder that could
not renew for 10 s gives up before anybody else can have started. A clean stop releases the Lease, so that the other
replica goes on within one retry period.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tidemill.config import OperatorConfig
from tidemill.core.plan import ObjectRef
from tidemill.engine import metrics
from tidemill.engine.clock import Clock, sleep, within
from tidemill.errors import ApiError, TidemillError
from tidemill.kube.client import KubeClient

logger = logging.getLogger(__name__)

Obj = dict[str, Any]


class LeadershipLost(TidemillError):  # noqa: N818 - says what happened
    """The Lease could not be renewed in time or another replica holds it: stop writing at once."""


@dataclass(slots=True)
class _Seen:
    """The record as last seen, and when it was seen to change (own monotonic clock)."""

    record: Obj
    at: float


class LeaderElector:
    """One replica's view of one Lease."""

    def __init__(self, client: KubeClient, config: OperatorConfig, clock: Clock) -> None:
        """Identity is `config.pod_name`; the Lease lives in `config.namespace`."""
        self._client = client
        self._config = config
        self._clock = clock
        self._ref = ObjectRef("coordination.k8s.io/v1", "Lease", config.namespace, config.lease_name)
        self._seen: _Seen | None = None
        self._holding = False
        metrics.LEADER.labels(config.lease_name).set(0)

    @property
    def is_leader(self) -> bool:
        """Whether this replica holds the Lease, as far as it knows."""
        return self._holding

    async def acquire(self) -> None:
        """Returns when this replica holds the Lease; looks every half retry period."""
        logger.info("waiting for the Lease %s/%s", self._config.namespace, self._config.lease_name)
        while True:
            try:
                if await self._try():
                    break
            except ApiError as error:
                logger.warning("the Lease cannot be read or written: %s", error)
            await sleep(self._clock, self._until_next_look())
        self._holding = True
        metrics.LEADER.labels(self._config.lease_name).set(1)
        logger.info("this replica is the leader", extra={"identity": self._config.pod_name})

    def _until_next_look(self) -> float:
        """Half a retry period, less when the record seen runs out sooner: a kill costs 15 s and little more."""
        pause = self._config.retry_period_seconds / 2
        if self._seen is not None:
            left = self._seen.at + self._config.lease_duration_seconds - self._clock.monotonic()
            pause = min(pause, max(left, 0.0) + 0.01)
        return pause

    async def hold(self) -> None:
        """Renews for ever; LeadershipLost when another holds the Lease or no renewal succeeded before the deadline."""
        renewed = self._clock.monotonic()
        while True:
            await sleep(self._clock, self._config.retry_period_seconds)
            left = renewed + self._config.renew_deadline_seconds - self._clock.monotonic()
            try:
                async with within(self._clock, max(left, 0.0)):
                    held = await self._try()
            except (ApiError, TimeoutError) as error:
                logger.warning("the Lease was not renewed: %s", error)
                if self._clock.monotonic() - renewed >= self._config.renew_deadline_seconds:
                    self._lose()
                    raise LeadershipLost("the Lease could not be renewed in time") from error
                continue
            if not held:
                self._lose()
                raise LeadershipLost("another replica holds the Lease")
            renewed = self._clock.monotonic()

    async def release(self) -> None:
        """Empties the Lease, if held, so that another replica can take it at once; errors are logged only."""
        if not self._holding:
            return
        self._lose()
        try:
            async with within(self._clock, self._config.retry_period_seconds):
                live = await self._client.get(self._ref)
                if live is None or live["spec"].get("holderIdentity") != self._config.pod_name:
                    return
                live["spec"] |= {
                    "holderIdentity": "",
                    "leaseDurationSeconds": 1,
                    "renewTime": _micro(self._clock.now()),
                }
                await self._client.replace(live)
                metrics.LEASE_RENEWALS.inc()
            logger.info("the Lease is released")
        except (ApiError, TimeoutError) as error:
            logger.warning("the Lease was not released: %s", error)

    async def _try(self) -> bool:
        """One attempt to take or renew; False when another replica holds an unexpired Lease."""
        live = await self._client.get(self._ref)
        if live is None:
            try:
                await self._client.create(self._manifest({}, None))
            except ApiError as error:
                if error.is_conflict:
                    return False
                raise
            metrics.LEASE_RENEWALS.inc()
            return True
        spec = live.get("spec") or {}
        if self._seen is None or self._seen.record != spec:
            self._seen = _Seen(dict(spec), self._clock.monotonic())
        holder = spec.get("holderIdentity") or ""
        duration = float(spec.get("leaseDurationSeconds") or self._config.lease_duration_seconds)
        if holder not in ("", self._config.pod_name) and self._clock.monotonic() < self._seen.at + duration:
            return False
        try:
            written = await self._client.replace(self._manifest(spec, live))
        except ApiError as error:
            if error.is_conflict:
                return False if not self._holding else await self._still_ours()
            raise
        metrics.LEASE_RENEWALS.inc()
        self._seen = _Seen(dict(written["spec"]), self._clock.monotonic())
        return True

    async def _still_ours(self) -> bool:
        """After a conflict: somebody wrote the Lease; ours unless the holder changed."""
        live = await self._client.get(self._ref)
        return live is not None and live["spec"].get("holderIdentity") == self._config.pod_name

    def _manifest(self, old: Obj, live: Obj | None) -> Obj:
        now = _micro(self._clock.now())
        ours = old.get("holderIdentity") == self._config.pod_name
        spec = {
            "holderIdentity": self._config.pod_name,
            "leaseDurationSeconds": max(1, round(self._config.lease_duration_seconds)),
            "acquireTime": old["acquireTime"] if ours and "acquireTime" in old else now,
            "renewTime": now,
            "leaseTransitions": int(old.get("leaseTransitions") or 0) + (0 if ours or live is None else 1),
        }
        if live is not None:
            return {**live, "spec": spec}
        meta = {"name": self._ref.name, "namespace": self._ref.namespace}
        return {"apiVersion": self._ref.api_version, "kind": self._ref.kind, "metadata": meta, "spec": spec}

    def _lose(self) -> None:
        self._holding = False
        metrics.LEADER.labels(self._config.lease_name).set(0)


def _micro(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
