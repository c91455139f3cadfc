"""Everything that one decision about a ModelVersion is based on. Frozen, and free of I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tidemill.api.v1alpha1.model_version import ModelVersion
from tidemill.core.snapshot import ObjectSnapshot
from tidemill.training.records import DeploymentRecord
from tidemill.training.rejections import Said


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionSnapshot(ObjectSnapshot):
    """A version and its surroundings at one moment."""

    version: ModelVersion
    pipeline_uid: str | None = None
    """Uid of the TrainingPipeline of that name that exists now."""
    origin: dict[str, Any] | None = None
    """The TrainingRun or ModelImport that the version names, as it is now."""
    record_keys: tuple[str, ...] = field(default=(), repr=False)
    """Keys by which the operator knows records that it has signed."""
    deployments: tuple[DeploymentRecord, ...] = ()
    """ModelDeployments of the namespace."""

    elsewhere: Said | None = None
    """The newest decision of a person on its content that was made on another version of the pipeline."""

    @property
    def import_uid(self) -> str | None:
        """Uid of the ModelImport that registered the version, where that exists and is among its owners."""
        if self.version.spec.source is None or self.origin is None:
            return None
        uid: str = self.origin["metadata"]["uid"]
        owners = self.object["metadata"].get("ownerReferences") or ()
        return uid if any(o["uid"] == uid for o in owners) else None
