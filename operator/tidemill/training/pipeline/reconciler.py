"""Gathers what a decision about a TrainingPipeline needs. All reads are here; all thinking is in `plan`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from tidemill.api.base import API_VERSION
from tidemill.api.v1alpha1.training_pipeline import TrainingPipeline, TrainingPipelineSpec, TrainingPipelineStatus
from tidemill.core import hashing, references
from tidemill.core.children import is_controlled_by
from tidemill.core.parsing import parsed
from tidemill.core.plan import Key, ObjectRef, Plan
from tidemill.core.podfailure import PodFailure
from tidemill.engine.contract import Deps
from tidemill.engine.memory import Memory
from tidemill.training import constants, job_pods, job_status, records
from tidemill.training.config_map_digests import ConfigMapDigests
from tidemill.training.pipeline import observe
from tidemill.training.pipeline import plan as plans
from tidemill.training.pipeline.policy import history as histories
from tidemill.training.pipeline.policy import recording, retention
from tidemill.training.pipeline.snapshot import CodeContent, MapContent, PipelineSnapshot, ProbeJob, RowsPlace
from tidemill.training.recording import gather
from tidemill.training.recording.snapshot import RecordsState, has_store
from tidemill.training.records import RunRecord, VersionRecord
from tidemill.training.run_expectations import RunExpectations
from tidemill_contracts.revisions import image_code_digest

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
        self._contents = Memory[tuple[str, datetime | None]]()
        """What the ConfigMaps of a pipeline had in them at the last pass, and when that was first seen to change."""

    async def gather(self, key: Key) -> PipelineSnapshot | None:
        """The pipeline and its surroundings; None when it is gone or being deleted. Stalled when it cannot be read."""
        cache, namespace = self._deps.cache, key.namespace
        obj = await self._deps.read(key)
        if obj is None or obj["metadata"].get("deletionTimestamp"):
            self._expectations.forget(key)
            self._contents.forget(key)
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
            kept_rows=self._kept_rows(namespace, pipeline.spec),
            runs=tuple(sorted(runs, key=lambda r: (r.created, r.name))),
            vanished=await self._vanished(key, uid, pipeline.status, living),
            versions=records.version_records(cache, namespace, key.name),
            requests=observe.monitor_requests(self._monitors(pipeline.spec, key), key.name),
            deployments=cache.derived("ModelDeployment", namespace, records.deployment_record),
            probes=tuple([await self._probe(job) for job in observe.living(probes)]),
        )
        found = replace(found, maps_changed=self._changed(key, found))
        if not self._deps.config.record_keys:
            return found
        return replace(found, records=await self._records(found))

    def _changed(self, key: Key, found: PipelineSnapshot) -> datetime | None:
        """When code and data in ConfigMaps were seen to change; a restart forgets it, and then nothing waits."""
        maps = {name: content and dict(content.revisions) for name, content in found.maps.items()}
        content = hashing.digest({"code": found.code and found.code.digest, "maps": maps})
        uid = found.object["metadata"]["uid"]
        before = self._contents.get(key, uid)
        changed = None if before is None else before[1] if before[0] == content else found.now
        self._contents.put(key, uid, (content, changed))
        return changed

    def plan(self, snapshot: PipelineSnapshot) -> Plan:
        """The decision."""
        return plans.plan(snapshot)

    async def _records(self, found: PipelineSnapshot) -> RecordsState:
        """What is known of the records of its versions in the artifact store."""
        if not has_store(found.pipeline.spec.artifacts.uri):
            return RecordsState(usable=False)
        return await gather.state(self._deps, recording.keeper(found), {v.name for v in self._surplus(found)})

    def _surplus(self, found: PipelineSnapshot) -> tuple[VersionRecord, ...]:
        """Versions that this pass may remove: the store does not name them any more when that is done."""
        if len(found.versions) <= found.pipeline.spec.history.versions:
            return ()
        return retention.surplus_versions(found, histories.history(found))

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

    def _kept_rows(self, namespace: str, spec: TrainingPipelineSpec) -> Mapping[str, RowsPlace]:
        cache, found = self._deps.cache, {}
        for name in observe.deployments_read(spec.to_json()):
            watching = observe.living(cache.naming("ModelMonitor", namespace, name, references.deployment))
            deployment = next(
                iter(observe.living([o] if (o := cache.get("ModelDeployment", namespace, name)) else [])), None
            )
            found[name] = observe.rows_place(namespace, name, deployment, watching)
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
