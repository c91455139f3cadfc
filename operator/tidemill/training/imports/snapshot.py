"""Everything that one decision about a ModelImport is based on. Frozen, and free of I/O.

```
   spec (generation) ──► Job ──► Pending ──► Running ──► Complete ──► ModelVersion ──► Imported
                          ▲         │           │
                          └─ later ─┴───────────┴──► failed: category, reason, last lines of the log
```
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tidemill.api.v1alpha1.model_import import ImportAttempts, ModelImport
from tidemill.config import OperatorConfig
from tidemill.core import names
from tidemill.core.podfailure import PodFailure
from tidemill.core.snapshot import ObjectSnapshot
from tidemill.training.recording.snapshot import RecordsState
from tidemill.training.records import VersionRecord

Obj = dict[str, Any]
PENDING_SECONDS = 600
"""How long the pod of an attempt may take to start."""
ACTIVE_SECONDS = 3600
"""How long an attempt may take (activeDeadlineSeconds)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportSnapshot(ObjectSnapshot):
    """An import and its surroundings at one moment."""

    model_import: ModelImport
    config: OperatorConfig
    jobs: tuple[Obj, ...] = ()
    """Jobs of this import that exist now and are not being deleted."""
    pods: tuple[Obj, ...] = ()
    """Pods of the present attempt's Job."""
    is_silent: bool = False
    """Nothing runs, and only events can say why."""
    event: PodFailure | None = None
    """What they say."""
    log: str | None = None
    """Last lines of the newest pod's log; read only for a Job that failed."""
    claim_exists: bool = False
    """Whether the namespace's default claim was seen lately, or nothing speaks against it."""
    pipeline: Obj | None = None
    """The TrainingPipeline that the version belongs to; None: there is none of that name."""
    pipeline_is_empty: bool = False
    """The pipeline has still to look for its earlier versions in the store: their numbers are not known yet."""
    versions: tuple[VersionRecord, ...] = ()
    """Registered versions of the pipeline, or of the name, by number."""
    unregistered: tuple[Obj, ...] = ()
    """ModelVersions that name this import and that nothing has registered: made in a pass that did not end, or by hand.
    """
    names_taken: frozenset[str] = frozenset()
    """Names of all ModelVersions of the namespace."""
    registered: VersionRecord | None = None
    """The ModelVersion that status names."""
    records: RecordsState = field(default_factory=RecordsState)
    others_look: bool = False
    """Another new import into the pipeline, which does not exist, has still to look for its earlier versions."""
    numbers_used: int = 0
    """Highest number of the pipeline that its status, or that of an import, knows; versions may have been removed."""
    rejected: Mapping[str, str] = field(default_factory=dict)
    """By digest, the version of the pipeline that a person has rejected content with."""
    stable: frozenset[str] = frozenset()
    """Versions that some ModelDeployment serves as stable."""

    @property
    def series(self) -> str:
        """What spec.pipeline of the version is: the pipeline, or the version's own name."""
        return series(self.model_import)

    @property
    def attempts(self) -> ImportAttempts | None:
        """The failed attempts of the present spec."""
        found = self.model_import.status.attempts
        return found if found is not None and found.generation == self.generation else None

    @property
    def job_name(self) -> str:
        """Name of the present attempt's Job."""
        return job_name(self.model_import)

    @property
    def job(self) -> Obj | None:
        """The present attempt's Job."""
        return next((j for j in self.jobs if j["metadata"]["name"] == self.job_name), None)


def series(model_import: ModelImport) -> str:
    """What spec.pipeline of an imported version is."""
    wanted = model_import.spec.as_
    return wanted.pipeline or wanted.name or ""


def job_name(model_import: ModelImport) -> str:
    """`<import>-<generation>-<attempt>`, at most 63 characters: each attempt at each spec has a Job of its own."""
    meta, found = model_import.metadata, model_import.status.attempts
    generation = int(meta.get("generation") or 0)
    failed = found.failed if found is not None and found.generation == generation else 0
    return names.child_name(meta["name"], generation, failed + 1)
