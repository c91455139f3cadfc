"""Gathers what a decision about a ModelImport needs. All reads are here; all thinking is in `plan`."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from tidemill.api.v1alpha1.model_import import ModelImport
from tidemill.core import conditions, references
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
            versions=records.version_records(cache, namespace, name, key.name),
            registered=self._version(namespace, found.status.version),
        )
        gathered = self._with_series(gathered)
        return replace(gathered, records=await self._records(gathered))

    def _with_series(self, found: ImportSnapshot) -> ImportSnapshot:
        """The same with what decides which version the import becomes, where that is the question.

        A pass over any other, first of all over one that has ended, costs as much as the import has versions, however
        many versions and imports the namespace has.
        """
        if not _may_register(found):
            return found
        as_, cache = found.model_import.spec.as_, self._deps.cache
        namespace, series = found.namespace, found.series
        versions = records.version_records(cache, namespace, series)
        deployments = cache.derived("ModelDeployment", namespace, records.deployment_record)
        return replace(
            found,
            pipeline_is_empty=self._is_empty(found.pipeline),
            versions=versions,
            rejected=records.rejected(cache, namespace, series, versions),
            unregistered=tuple(
                o
                for o in records.unregistered_versions(cache, namespace, series)
                if registered.origin_of(o) == (self.kind, found.name)
            ),
            names_taken=self._names_taken(namespace, as_.name),
            numbers_used=records.numbers_used(cache, namespace, series),
            stable=frozenset(d.stable for d in deployments if d.stable),
            others_look=found.pipeline is None and as_.pipeline is not None and self._others_look(found),
        )

    def _names_taken(self, namespace: str, name: str | None) -> frozenset[str]:
        """Names of ModelVersions; with as.name no other is asked for."""
        if name is None:
            return frozenset(o["metadata"]["name"] for o in self._deps.cache.list("ModelVersion", namespace))
        return frozenset({name} if self._deps.cache.get("ModelVersion", namespace, name) else ())

    async def _records(self, found: ImportSnapshot) -> RecordsState:
        """What is known of the records of its versions in the artifact store."""
        if not self._deps.config.record_keys:
            return RecordsState()
        if not has_store(found.model_import.spec.artifacts.uri):
            return RecordsState(usable=False)
        return await gather.state(self._deps, recording.keeper(found))

    def _others_look(self, found: ImportSnapshot) -> bool:
        """Whether another import into the pipeline has still to look; it is waited for as a pipeline is."""
        into = self._deps.cache.naming("ModelImport", found.namespace, found.series, references.imported_into)
        return any(self._has_still_to_look(o, "version") for o in into if o["metadata"]["name"] != found.name)

    def plan(self, snapshot: ImportSnapshot) -> Plan:
        """The decision."""
        return plans.plan(snapshot)

    def _version(self, namespace: str, name: str | None) -> VersionRecord | None:
        found = self._deps.cache.get("ModelVersion", namespace, name) if name else None
        return None if found is None else records.in_series(self._deps.cache, found)

    def _is_empty(self, pipeline: Obj | None) -> bool:
        """Whether a new pipeline has still to look for records of its versions.

        Not for longer than that may take, unless it says that it could not: then no number may be given.
        """
        if pipeline is None:
            return False
        artifacts = (pipeline.get("spec") or {}).get("artifacts") or {}
        is_new = self._has_still_to_look(pipeline, "observed", "lastRun", is_error_final=False)
        return is_new and artifacts.get("restore", "Auto") == "Auto"

    def _has_still_to_look(self, keeper: Obj, *history: str, is_error_final: bool = True) -> bool:
        """Whether a new object has not looked for records yet; `history`: fields of a status that has more to say.

        `is_error_final`: one that could not look is not waited for any longer than one that does not.
        """
        if not self._deps.config.record_keys:
            return False
        status = keeper.get("status") or {}
        age = self._deps.clock.now() - conditions.parse_time(keeper["metadata"]["creationTimestamp"])
        read = (status.get("records") or {}).get("read")
        has_looked = read is not None and read.get("error") is None
        is_patient = age < PATIENCE or (read is not None and not is_error_final)
        return not has_looked and not any(status.get(field) for field in history) and is_patient

    async def _claim_exists(self, namespace: str, found: ModelImport) -> bool:
        """Whether the namespace's default claim exists; only asked for when a Job may be made that needs it."""
        claim, uri = self._deps.config.artifact_claim_name, found.spec.artifacts.uri
        elsewhere = uri is not None and not f"{uri}/".startswith(f"pvc://{claim}/")
        if elsewhere or found.status.source_digest == found.spec.source.digest:
            return True
        ref = ObjectRef("v1", "PersistentVolumeClaim", namespace, claim)
        return await self._deps.client.get(ref) is not None


def _may_register(found: ImportSnapshot) -> bool:
    """Whether this pass may register a version, or restore some. With as.name the name is looked at before the copy."""
    if plans.is_imported(found):
        return False
    is_copied = found.job is not None and job_status.job_outcome(found.job) == "Complete"
    return is_copied or recording.is_read_wanted(found) or found.model_import.spec.as_.name is not None
