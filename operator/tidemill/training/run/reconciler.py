"""Gathers what a decision about a TrainingRun needs. All reads are here; all thinking is in `plan`."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import Any

from tidemill.api.v1alpha1.training_run import TrainingRun
from tidemill.core import podspec
from tidemill.core.parsing import parsed
from tidemill.core.plan import Key, ObjectRef, Plan
from tidemill.engine.contract import Deps
from tidemill.errors import ApiError
from tidemill.training import pods, records, words
from tidemill.training.run import plan as plans
from tidemill.training.run.builders import claim
from tidemill.training.run.snapshot import RunSnapshot
from tidemill_contracts.training import CONTAINER

logger = logging.getLogger(__name__)

Obj = dict[str, Any]

LOG_LINES = 40
CLAIM_FRESH_SECONDS = 5.0
"""Long enough for a burst of runs in one namespace, too short to outlive a namespace that is deleted and made anew."""
_REMEMBERED = 20_000


class RunReconciler:
    """One kind's logic, as the engine wants it."""

    kind = "TrainingRun"

    def __init__(self, deps: Deps) -> None:
        """Starts nothing."""
        self._deps = deps
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._claims: dict[str, float] = {}

    async def gather(self, key: Key) -> RunSnapshot | None:
        """The run and its surroundings; None when it is gone, being deleted, or finished with nothing left to tidy.

        Stalled when it cannot be read.
        """
        cache = self._deps.cache
        obj = cache.get(self.kind, key.namespace, key.name)
        if obj is None or obj["metadata"].get("deletionTimestamp"):
            return None
        job = self._job(key, obj)
        if plans.is_finished(obj) and (job is None or pods.job_outcome(job) is not None):
            return None
        run = parsed(TrainingRun, obj)
        own = await self._pods(job)
        pipeline = cache.get("TrainingPipeline", key.namespace, run.spec.pipeline) or {}
        deployments = [records.deployment_record(o) for o in cache.list("ModelDeployment", key.namespace)]
        return RunSnapshot(
            object=obj,
            run=run,
            now=self._deps.clock.now().replace(microsecond=0),
            config=self._deps.config,
            job=job,
            job_seen=obj["metadata"]["uid"] in self._seen,
            pods=tuple(own),
            log=await self._log(job, own),
            claim_exists=job is not None or await self._claim_exists(run, key.namespace),
            versions=records.version_records(cache, key.namespace, run.spec.pipeline),
            numbers_used=(pipeline.get("status") or {}).get("versions") or 0,
            stable=frozenset(d.stable for d in deployments if d.stable),
        )

    def plan(self, snapshot: RunSnapshot) -> Plan:
        """The decision."""
        return plans.plan(snapshot)

    def _job(self, key: Key, run: Obj) -> Obj | None:
        uid = run["metadata"]["uid"]
        job = self._deps.cache.get("Job", key.namespace, key.name)
        if job is None or not podspec.is_controlled_by(job, uid):
            return None
        self._seen[uid] = None
        while len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return job

    async def _pods(self, job: Obj | None) -> list[Obj]:
        """Pods of the Job. One that ended is asked for live when the cache shows no end: its result decides."""
        if job is None:
            return []
        uid = job["metadata"]["uid"]
        own = self._deps.cache.list("Pod", owner_uid=uid)
        if pods.job_outcome(job) is None or any(pods.terminated(p) for p in own):
            return own
        meta = job["metadata"]
        live = await self._deps.client.list("v1", "Pod", meta["namespace"], f"{words.JOB_NAME}={meta['name']}")
        return [p for p in live if podspec.is_controlled_by(p, uid)]

    async def _log(self, job: Obj | None, own: list[Obj]) -> str | None:
        pod = pods.newest(own)
        if job is None or pod is None or pods.job_outcome(job) != "Failed":
            return None
        meta = pod["metadata"]
        try:
            text = await self._deps.client.pod_logs(meta["namespace"], meta["name"], CONTAINER, LOG_LINES)
        except ApiError as error:  # the node is gone, or its kubelet does not answer: the verdict must not wait for it
            logger.info("no log of pod %s: %s", meta["name"], error)
            return None
        return text or None

    async def _claim_exists(self, run: TrainingRun, namespace: str) -> bool:
        """Whether the default claim exists, asked at most once in five seconds and namespace."""
        if not claim.is_default(run.spec.store.uri, self._deps.config):
            return True
        now = self._deps.clock.monotonic()
        if now - self._claims.get(namespace, -CLAIM_FRESH_SECONDS) < CLAIM_FRESH_SECONDS:
            return True
        name = self._deps.config.artifact_claim_name
        found = await self._deps.client.get(ObjectRef("v1", "PersistentVolumeClaim", namespace, name))
        if found is not None:
            self._claims[namespace] = now
        return found is not None
