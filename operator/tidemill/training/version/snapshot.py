"""Everything that one decision about a ModelVersion is based on. Frozen, and free of I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tidemill.api.v1alpha1.model_version import ModelVersion
from tidemill.training.records import DeploymentRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionSnapshot:
    """A version and its surroundings at one moment."""

    object: dict[str, Any]
    version: ModelVersion
    now: datetime
    pipeline_uid: str | None = None
    """Uid of the TrainingPipeline of that name that exists now."""
    deployments: tuple[DeploymentRecord, ...] = ()
    """ModelDeployments of the namespace."""
