"""Gathers what a decision about a TrainingRun needs. All reads are here; all thinking is in `plan`."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from datetime import datetime
from typing import Any

from tidemill.api.v1alpha1.training_run import TrainingRun
from tidemill.core import children, conditions, labels
from tidemill.core.parsing import parsed
from tidemill.core.plan import Key, ObjectRef, Plan
from tidemill.engine.contract import Deps
from tidemill.training import artifact_claim, job_pods, job_status, records, registered
from tidemill.training.run import observe
from tidemill.training.run import plan as plans
from tidemill.training.run.snapshot import JobSeen, RunSnapshot
from tidemill.training.run_expectations import RunExpectations

Obj = dict[str, Any]

CLAIM_FRESH_SECONDS = 5.0
"""Long enough for a burst of runs in one namespace, too short to outlive a namespace that is deleted and made anew."""
_REMEMBERED = 20_000


class RunReconciler:
    """One kind's logic, as the engine wants it."""

    kind = "TrainingRun"

    def __init__(self, deps: Deps, expectations: RunExpectations) -> None:
        """Starts nothing. `expectations`: runs that this process has started; learns of every run that is seen."""
        self._deps = deps
        self._expectations = expectations
        self._seen: OrderedDict[str, JobSeen] = OrderedDict()
        """What is known of Jobs that were seen, by uid of the run."""
        self._claims: dict[str, float] = {}

    async def gather(self, key: Key) -> RunSnapshot | None:
        """The run and its surroundings; None when it is gone, being deleted, or finished with nothing left to tidy.

        Stalled when it cannot be read.
        """
        cache = self._deps.cache
        obj = await self._deps.read(key)
        if obj is None:
            return None
        self._expectations.observed(obj)
        if obj["metadata"].get("deletionTimestamp"):
            return None
        uid, finished = obj["metadata"]["uid"], observe.is_finished(obj)
        job = self._job(key, obj)
        if finished and (job is None or job_status.job_outcome(job) is not None):
            self._seen.pop(uid, None)
            if not observe.is_left_reconciling(obj):
                return None
        run = parsed(TrainingRun, obj)
        pipeline = cache.get("TrainingPipeline", key.namespace, run.spec.pipeline) or {}
        unlabelled = False
        if (
            job is None
            and not finished
            and await self._job_existed(obj, run, (pipeline.get("status") or {}).get("activeRun"))
        ):
            job, unlabelled = await self._live_job(obj)
        own = await job_pods.pods(self._deps, job)
        self._note_start(uid, own)
        silent = job_status.silent(job, own) if job is not None else None
        deployments = cache.derived("ModelDeployment", key.namespace, records.deployment_record)
        return RunSnapshot(
            object=obj,
            run=run,
            now=self._now(),
            config=self._deps.config,
            job=job,
            job_seen=self._seen.get(uid),
            job_unlabelled=unlabelled,
            pods=tuple(own),
            is_silent=silent is not None,
            event=await job_pods.event(self._deps, silent),
            log=await job_pods.log(self._deps, job, own),
            claim_exists=not _asks_for_claim(job, own) or await self._claim_exists(run, key.namespace),
            versions=(versions := records.version_records(cache, key.namespace, run.spec.pipeline)),
            rejected=records.rejected(cache, key.namespace, run.spec.pipeline, versions),
            unregistered=tuple(
                o
                for o in records.unregistered_versions(cache, key.namespace, run.spec.pipeline)
                if registered.run_of(o) == key.name
            ),
            names_taken=self._names_taken(key.namespace, job),
            numbers_used=records.numbers_used(cache, key.namespace, run.spec.pipeline),
            stable=frozenset(d.stable for d in deployments if d.stable),
        )

    def plan(self, snapshot: RunSnapshot) -> Plan:
        """The decision."""
        return plans.plan(snapshot)

    def _names_taken(self, namespace: str, job: Obj | None) -> frozenset[str]:
        """Names of ModelVersions; only asked for when the run may be about to register one."""
        if job is None or job_status.job_outcome(job) != "Complete":
            return frozenset()
        return frozenset(o["metadata"]["name"] for o in self._deps.cache.list("ModelVersion", namespace))

    def _job(self, key: Key, run: Obj) -> Obj | None:
        uid = run["metadata"]["uid"]
        job = self._deps.cache.get("Job", key.namespace, key.name)
        if job is None or not children.is_controlled_by(job, uid):
            return None
        self._remember(uid, created=conditions.parse_time(job["metadata"]["creationTimestamp"]))
        return job

    def _remember(self, uid: str, *, created: datetime | None = None, started: datetime | None = None) -> None:
        known = self._seen.get(uid) or JobSeen(since=self._now())
        self._seen[uid] = replace(known, created=created or known.created, started=started or known.started)
        while len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)

    def _note_start(self, uid: str, own: list[Obj]) -> None:
        """Remembers when the first pod started: a pod that was drained or deleted is gone before the run ends."""
        starts = [conditions.parse_time(at) for pod in own if (at := job_status.started_at(pod))]
        known = self._seen.get(uid)
        if starts:
            self._remember(uid, started=min([*starts, *([known.started] if known and known.started else [])]))

    def _now(self) -> datetime:
        return self._deps.clock.now().replace(microsecond=0)

    async def _job_existed(self, obj: Obj, run: TrainingRun, active: str | None) -> bool:
        """Whether the run, whose Job is not known, had one: a Job is never made twice (docs/decisions/0094).

        The run's status names the Job, and the pipeline's the run only after the Job was seen. Before either was
        written the API server's history is asked, unless this process made the run itself just now.
        """
        meta = obj["metadata"]
        if meta["uid"] in self._seen or run.status.job is not None:
            return True
        if not conditions.has_default_status(obj) or self._expectations.take(meta["namespace"], meta["name"]):
            return False
        changed = active == meta["name"] or await self._deps.client.changed_since(
            "batch/v1", "Job", meta["namespace"], meta["name"], meta["resourceVersion"], meta["uid"]
        )
        if changed:
            self._remember(meta["uid"])
        return bool(changed)

    async def _live_job(self, run: Obj) -> tuple[Obj | None, bool]:
        """The Job as it is now, and whether it cannot be followed because its label is gone."""
        meta = run["metadata"]
        live = await self._deps.client.get(ObjectRef("batch/v1", "Job", meta["namespace"], meta["name"]))
        if live is None or not children.is_controlled_by(live, meta["uid"]):
            return None, False
        if (live["metadata"].get("labels") or {}).get(labels.MANAGED_BY) != labels.MANAGED_BY_VALUE:
            return None, True
        return live, False

    async def _claim_exists(self, run: TrainingRun, namespace: str) -> bool:
        """Whether the default claim exists, asked at most once in five seconds and namespace."""
        if not artifact_claim.is_default(run.spec.store.uri, self._deps.config):
            return True
        now = self._deps.clock.monotonic()
        if now - self._claims.get(namespace, -CLAIM_FRESH_SECONDS) < CLAIM_FRESH_SECONDS:
            return True
        name = self._deps.config.artifact_claim_name
        found = await self._deps.client.get(ObjectRef("v1", "PersistentVolumeClaim", namespace, name))
        if found is not None:
            self._claims[namespace] = now
        return found is not None


def _asks_for_claim(job: Obj | None, own: list[Obj]) -> bool:
    """Whether the claim may be what is missing: before the Job is made, and when its pod cannot start."""
    return job is None or any(job_status.start_failure(pod) is not None for pod in own)
