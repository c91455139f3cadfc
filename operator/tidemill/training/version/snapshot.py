"""Everything that one decision about a ModelVersion is based on. Frozen, and free of I/O."""

from __future__ import annotations

from dataclasses import dataclass

from tidemill.api.v1alpha1.model_version import ModelVersion
from tidemill.core.snapshot import ObjectSnapshot
from tidemill.training.records import DeploymentRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionSnapshot(ObjectSnapshot):
    """A version and its surroundings at one moment."""

    version: ModelVersion
    pipeline_uid: str | None = None
    """Uid of the TrainingPipeline of that name that exists now."""
    deployments: tuple[DeploymentRecord, ...] = ()
    """ModelDeployments of the namespace."""
