"""Gathers what a decision about a TrainingPipeline needs. All reads are here; all thinking is in `plan`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tidemill.api.base import API_VERSION
from tidemill.api.v1alpha1.training_pipeline import TrainingPipeline, TrainingPipelineSpec, TrainingPipelineStatus
from tidemill.core import conditions
from tidemill.core.children import is_controlled_by
from tidemill.core.parsing import parsed
from tidemill.core.plan import Key, ObjectRef, Plan
from tidemill.core.podfailure import PodFailure
from tidemill.engine.contract import Deps
from tidemill.errors import ApiError
from tidemill.kube.transform import is_truncated
from tidemill.training import artifact_claim, constants, job_pods, job_status, records
from tidemill.training.config_map_digests import ConfigMapDigests
from tidemill.training.pipeline import observe
from tidemill.training.pipeline import plan as plans
from tidemill.training.pipeline.policy import history as histories
from tidemill.training.pipeline.policy import retention, version_records
from tidemill.training.pipeline.snapshot import (
    CodeContent,
    MapContent,
    PipelineSnapshot,
    ProbeJob,
    RecordsJob,
    RecordsState,
    has_store,
    store_folder,
)
from tidemill.training.records import RunRecord, VersionRecord
from tidemill.training.run_expectations import RunExpectations
from tidemill_contracts.records import LOG_LIMIT, MOST_RECORDS
from tidemill_contracts.revisions import image_code_digest
from tidemill_contracts.training import CONTAINER

logger = logging.getLogger(__name__)

Obj = dict[str, Any]


class PipelineReconciler:
    """One kind's logic, as the engine wants it."""

    kind = "TrainingPipeline"

    def __init__(self, deps: Deps, expectations: RunExpectations) -> None:
        """Starts nothing. `expectations`: knows of every run that this process starts."""
        self._deps = deps
        self._expectations = expectations
        self._config_maps = ConfigMapDigests(deps.client, deps.cache)

    async def gather(self, key: Key) -> PipelineSnapshot | None:
        """The pipeline and its surroundings; None when it is gone or being deleted. Stalled when it cannot be read."""
        cache, namespace = self._deps.cache, key.namespace
        obj = await self._deps.read(key)
        if obj is None or obj["metadata"].get("deletionTimestamp"):
            self._expectations.forget(key)
            return None
        pipeline = parsed(TrainingPipeline, obj)
        uid = obj["metadata"]["uid"]
        living = observe.living(cache.list("TrainingRun", owner_uid=uid))
        runs = [records.run_record(o, has_job=self._has_job(o)) for o in living]
        probes = cache.list("Job", owner_uid=uid, selector={constants.PROBE: "true"})
        found = PipelineSnapshot(
            object=obj,
            pipeline=pipeline,
            now=self._deps.clock.now().replace(microsecond=0),
            config=self._deps.config,
            code=await self._code(namespace, pipeline.spec),
            maps=await self._maps(namespace, pipeline.spec),
            runs=tuple(sorted(runs, key=lambda r: (r.created, r.name))),
            vanished=await self._vanished(key, uid, pipeline.status, living),
            versions=records.version_records(cache, namespace, key.name),
            requests=observe.monitor_requests(self._monitors(pipeline.spec, key), key.name),
            deployments=cache.derived("ModelDeployment", namespace, records.deployment_record),
            probes=tuple([await self._probe(job) for job in observe.living(probes)]),
        )
        if not self._deps.config.record_keys:
            return found
        return replace(found, records=await self._records(found))

    def plan(self, snapshot: PipelineSnapshot) -> Plan:
        """The decision."""
        return plans.plan(snapshot)

    async def _records(self, found: PipelineSnapshot) -> RecordsState:
        """What is known of the records of its versions in the artifact store."""
        cache, uid, status = self._deps.cache, found.object["metadata"]["uid"], found.pipeline.status.records
        if not has_store(found):
            return RecordsState(usable=False)
        folder = store_folder(found)
        going = {v.name for v in self._surplus(found)}
        known = [cache.get("ModelVersion", found.namespace, v.name) for v in found.versions if v.name not in going]
        versions = [v for v in known if v is not None and version_records.is_recordable(v, folder)]
        listed = status.written.versions if status is not None and status.written is not None else None
        wanted = version_records.digest_of(versions, version_records.numbers_used(found), listed)
        is_same = status is not None and status.written is not None and status.written.digest == wanted
        jobs = observe.living(cache.list("Job", owner_uid=uid))
        return RecordsState(
            jobs=tuple([await self._records_job(found, job) for job in jobs if observe.records_mode(job)]),
            wanted=wanted,
            count=len(versions),
            versions=() if is_same else tuple([await self._whole(v) for v in versions]),
            store_exists=not version_records.is_read_wanted(found) or await self._store_exists(found),
            unsettled=tuple(
                v["metadata"]["name"]
                for v in records.unregistered_versions(cache, found.namespace, found.name)
                if is_controlled_by(v, uid) and conditions.has_default_status(v) and observe.is_restored(v)
            ),
        )

    def _surplus(self, found: PipelineSnapshot) -> tuple[VersionRecord, ...]:
        """Versions that this pass may remove: the store does not name them any more when that is done."""
        if len(found.versions) <= found.pipeline.spec.history.versions:
            return ()
        return retention.surplus_versions(found, histories.history(found))

    async def _records_job(self, found: PipelineSnapshot, job: Obj) -> RecordsJob:
        """The Job; with the log of the pod that has read the store, while the pipeline's status does not know of it."""
        pods = self._deps.cache.list("Pod", owner_uid=job["metadata"]["uid"])
        newest = job_status.newest(pods)
        if job_status.job_outcome(job) is None:
            return observe.records_job(job, pods, "", await self._event(job, pods))
        if newest is None or not version_records.is_read_wanted(found):
            return observe.records_job(job, pods, "")
        name, lines = newest["metadata"]["name"], MOST_RECORDS * 2 + 100  # with room for what else a pod may print
        try:
            log = await self._deps.client.pod_logs(found.namespace, name, CONTAINER, lines, LOG_LIMIT + (64 << 10))
        except ApiError as error:  # the node is gone, or its kubelet does not answer: it is read again by another Job
            logger.info("no log of pod %s: %s", name, error)
            log = ""
        return observe.records_job(job, pods, log)

    async def _whole(self, version: Obj) -> Obj:
        """The version as it is: the cache holds a part only of a very large one."""
        if not is_truncated(version):
            return version
        return await self._deps.client.get(ObjectRef.of(version)) or version

    async def _store_exists(self, found: PipelineSnapshot) -> bool:
        """Whether there can be anything in the store: the namespace's default claim is made by its first run."""
        if not artifact_claim.is_default(store_folder(found), self._deps.config):
            return True
        name = self._deps.config.artifact_claim_name
        return await self._deps.client.get(ObjectRef("v1", "PersistentVolumeClaim", found.namespace, name)) is not None

    async def _vanished(
        self, key: Key, uid: str, status: TrainingPipelineStatus, living: Sequence[Obj]
    ) -> RunRecord | None:
        """The run that was started here and deleted before the pipeline's status knew of it.

        It was there when one of our two reconcilers saw it, else when the API server remembers it. The deletion of the
        run of that name which a predecessor of the pipeline has left says nothing.
        """
        record, version = self._expectations.last(key, uid) or (None, "")
        if record is None or record.name in (status.last_run, status.active_run):
            return None
        if status.last_run_time is not None and status.last_run_time >= record.created:
            return None
        found = next((o for o in living if o["metadata"]["name"] == record.name), None)
        if found is not None:
            self._expectations.observed(found)
            return None
        ref, client = ObjectRef(API_VERSION, "TrainingRun", key.namespace, record.name), self._deps.client
        live = await client.get(ref)
        is_ours = live is not None and is_controlled_by(live, uid)
        if live is not None and is_ours and not live["metadata"].get("deletionTimestamp"):
            return None
        if is_ours or self._expectations.was_observed(uid, record.name):
            return record
        if live is not None:  # the name is taken: ours could not be made yet
            return None
        was_there = await client.changed_since(API_VERSION, ref.kind, key.namespace, ref.name, version, uid)
        return record if was_there else None

    def _has_job(self, run: Obj) -> bool:
        meta = run["metadata"]
        job = self._deps.cache.get("Job", meta["namespace"], meta["name"])
        return job is not None and is_controlled_by(job, meta["uid"])

    async def _code(self, namespace: str, spec: TrainingPipelineSpec) -> CodeContent | None:
        if spec.code.config_map is None:
            return CodeContent(image_code_digest(spec.image or self._deps.config.trainer_image), None)
        found = await self._config_maps.get(namespace, spec.code.config_map.name)
        return CodeContent(found.code, frozenset(found.revisions)) if found else None

    async def _maps(self, namespace: str, spec: TrainingPipelineSpec) -> Mapping[str, MapContent | None]:
        found: dict[str, MapContent | None] = {}
        for name in observe.config_map_inputs(spec.to_json()):
            content = await self._config_maps.get(namespace, name)
            found[name] = MapContent(content.revisions) if content else None
        return found

    def _monitors(self, spec: TrainingPipelineSpec, key: Key) -> list[Obj]:
        """Monitors that have requested a retrain; none when spec does not listen to any."""
        if not spec.triggers.monitors:
            return []
        return self._deps.cache.naming("ModelMonitor", key.namespace, key.name, observe.retrained_pipelines)

    async def _probe(self, job: Obj) -> ProbeJob:
        pods = self._deps.cache.list("Pod", owner_uid=job["metadata"]["uid"])
        return observe.probe_job(job, pods, await self._event(job, pods))

    async def _event(self, job: Obj, pods: Sequence[Obj]) -> PodFailure | None:
        """What events say of a Job whose pod does not run, where nothing else says it."""
        return await job_pods.event(self._deps, job_status.silent(job, pods))
