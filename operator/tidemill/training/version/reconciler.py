"""Gathers what a decision about a ModelVersion needs. All reads are here; all thinking is in `plan`."""

from __future__ import annotations

from tidemill.api.v1alpha1.model_version import ModelVersion
from tidemill.core.parsing import parsed
from tidemill.core.plan import Key, Plan
from tidemill.engine.contract import Deps
from tidemill.training import records, rejections
from tidemill.training.version import plan as plans
from tidemill.training.version.snapshot import VersionSnapshot


class VersionReconciler:
    """One kind's logic, as the engine wants it."""

    kind = "ModelVersion"

    def __init__(self, deps: Deps) -> None:
        """Starts nothing."""
        self._deps = deps

    async def gather(self, key: Key) -> VersionSnapshot | None:
        """The version and its surroundings; None when it is gone or being deleted. Stalled when it cannot be read."""
        cache = self._deps.cache
        obj = await self._deps.read(key)
        if obj is None or obj["metadata"].get("deletionTimestamp"):
            return None
        version = parsed(ModelVersion, obj)
        pipeline = cache.get("TrainingPipeline", key.namespace, version.spec.pipeline)
        living = [d for d in cache.list("ModelDeployment", key.namespace) if not d["metadata"].get("deletionTimestamp")]
        return VersionSnapshot(
            object=obj,
            version=version,
            now=self._deps.clock.now().replace(microsecond=0),
            pipeline_uid=pipeline["metadata"]["uid"] if pipeline else None,
            origin=records.origin(cache, obj),
            record_keys=self._deps.config.record_keys,
            elsewhere=rejections.elsewhere(cache, obj),
            deployments=tuple(records.deployment_record(d) for d in living),
        )

    def plan(self, snapshot: VersionSnapshot) -> Plan:
        """The decision."""
        return plans.plan(snapshot)
