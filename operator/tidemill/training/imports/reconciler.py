"""Gathers what a decision about a ModelImport needs. All reads are here; all thinking is in `plan`."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from tidemill.api.v1alpha1.model_import import ModelImport
from tidemill.core import conditions
from tidemill.core.parsing import parsed
from tidemill.core.plan import Key, ObjectRef, Plan
from tidemill.engine.contract import Deps
from tidemill.training import job_pods, job_status, records, registered
from tidemill.training.imports import plan as plans
from tidemill.training.imports.policy import recording
from tidemill.training.imports.snapshot import ImportSnapshot, job_name, series
from tidemill.training.recording import gather
from tidemill.training.recording.observe import records_mode
from tidemill.training.recording.snapshot import RecordsState, has_store
from tidemill.training.records import VersionRecord

Obj = dict[str, Any]
PATIENCE = timedelta(minutes=10)
"""How long a new pipeline is waited for that looks for its earlier versions."""


class ImportReconciler:
    """One kind's logic, as the engine wants it."""

    kind = "ModelImport"

    def __init__(self, deps: Deps) -> None:
        """Starts nothing."""
        self._deps = deps

    async def gather(self, key: Key) -> ImportSnapshot | None:
        """The import and its surroundings; None when it is gone or being deleted. Stalled when it cannot be read."""
        cache, namespace = self._deps.cache, key.namespace
        obj = await self._deps.read(key)
        if obj is None or obj["metadata"].get("deletionTimestamp"):
            return None
        found = parsed(ModelImport, obj)
        jobs = [
            j
            for j in cache.list("Job", owner_uid=obj["metadata"]["uid"])
            if not j["metadata"].get("deletionTimestamp") and not records_mode(j)
        ]
        job = next((j for j in jobs if j["metadata"]["name"] == job_name(found)), None)
        pods = await job_pods.pods(self._deps, job)
        silent = job_status.silent(job, pods) if job is not None else None
        name = series(found)
        pipeline = cache.get("TrainingPipeline", namespace, name)
        deployments = cache.derived("ModelDeployment", namespace, records.deployment_record)
        gathered = ImportSnapshot(
            object=obj,
            model_import=found,
            now=self._deps.clock.now().replace(microsecond=0),
            config=self._deps.config,
            jobs=tuple(jobs),
            pods=tuple(pods),
            is_silent=silent is not None,
            event=await job_pods.event(self._deps, silent),
            log=await job_pods.log(self._deps, job, pods),
            claim_exists=job is not None or await self._claim_exists(namespace, found),
            pipeline=pipeline,
            pipeline_is_empty=self._is_empty(pipeline),
            versions=records.version_records(cache, namespace, name),
            unregistered=tuple(
                o
                for o in records.unregistered_versions(cache, namespace, name)
                if registered.origin_of(o) == (self.kind, key.name)
            ),
            names_taken=frozenset(o["metadata"]["name"] for o in cache.list("ModelVersion", namespace)),
            registered=self._version(namespace, found.status.version),
            numbers_used=records.numbers_used(cache, namespace, name),
            stable=frozenset(d.stable for d in deployments if d.stable),
            others_look=pipeline is None and found.spec.as_.pipeline is not None and self._others_look(key, name),
        )
        return replace(gathered, records=await self._records(gathered))

    async def _records(self, found: ImportSnapshot) -> RecordsState:
        """What is known of the records of its versions in the artifact store."""
        if not self._deps.config.record_keys:
            return RecordsState()
        if not has_store(found.model_import.spec.artifacts.uri):
            return RecordsState(usable=False)
        return await gather.state(self._deps, recording.keeper(found))

    def _others_look(self, key: Key, pipeline: str) -> bool:
        """Whether another import into the pipeline has still to look; it is waited for as a pipeline is."""
        others = [
            o
            for o in self._deps.cache.list("ModelImport", key.namespace)
            if o["metadata"]["name"] != key.name and records.as_pipeline(o) == pipeline
        ]
        return any(self._has_still_to_look(o, "version") for o in others)

    def plan(self, snapshot: ImportSnapshot) -> Plan:
        """The decision."""
        return plans.plan(snapshot)

    def _version(self, namespace: str, name: str | None) -> VersionRecord | None:
        found = self._deps.cache.get("ModelVersion", namespace, name) if name else None
        return None if found is None else records.version_record(found)

    def _is_empty(self, pipeline: Obj | None) -> bool:
        """Whether a new pipeline has still to look for records of its versions; not for longer than that may take."""
        if pipeline is None:
            return False
        artifacts = (pipeline.get("spec") or {}).get("artifacts") or {}
        is_new = self._has_still_to_look(pipeline, "versions", "observed", "lastRun")
        return is_new and artifacts.get("restore", "Auto") == "Auto"

    def _has_still_to_look(self, keeper: Obj, *history: str) -> bool:
        """Whether a new object has not looked for records yet; `history`: fields of a status that has more to say."""
        if not self._deps.config.record_keys:
            return False
        status = keeper.get("status") or {}
        age = self._deps.clock.now() - conditions.parse_time(keeper["metadata"]["creationTimestamp"])
        has_looked = ((status.get("records") or {}).get("read") or {"error": ""}).get("error") is None
        return not has_looked and not any(status.get(field) for field in history) and age < PATIENCE

    async def _claim_exists(self, namespace: str, found: ModelImport) -> bool:
        """Whether the namespace's default claim exists; only asked for when a Job may be made that needs it."""
        claim, uri = self._deps.config.artifact_claim_name, found.spec.artifacts.uri
        elsewhere = uri is not None and not f"{uri}/".startswith(f"pvc://{claim}/")
        if elsewhere or found.status.source_digest == found.spec.source.digest:
            return True
        ref = ObjectRef("v1", "PersistentVolumeClaim", namespace, claim)
        return await self._deps.client.get(ref) is not None
