"""Everything that one decision about a TrainingRun is based on. Frozen, and free of I/O.

```
   (no Job) ──► Job ──► Queued ──► Pending ──► Running ──► Complete ──► gates ──► Succeeded | Unchanged | Rejected
                 │         │          │           │
                 └─────────┴──────────┴───────────┴──► Failed: category, reason, last lines of the log
```
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tidemill.api.v1alpha1.training_run import TrainingRun
from tidemill.config import OperatorConfig
from tidemill.core.podfailure import PodFailure
from tidemill.core.snapshot import ObjectSnapshot
from tidemill.training.records import VersionRecord

Obj = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSeen:
    """What this process remembers of a run's Job, also when Job and pods are gone."""

    since: datetime
    """The first look at it."""
    created: datetime | None = None
    """None: only history, or the pipeline's status, tells that it was there."""
    started: datetime | None = None
    """The first start of a pod that was seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSnapshot(ObjectSnapshot):
    """A run and its surroundings at one moment; the Job has the name of the run."""

    run: TrainingRun
    config: OperatorConfig
    job: Obj | None
    """The Job of this run that exists now."""
    job_seen: JobSeen | None
    """Set where a Job of this run is known to have existed: then its absence means that somebody deleted it."""
    job_unlabelled: bool = False
    """The Job exists, but somebody took away the label by which the operator follows it."""
    pods: tuple[Obj, ...] = ()
    """Pods of the Job."""
    is_silent: bool = False
    """Nothing runs, and only events can say why: they are looked at again and again."""
    event: PodFailure | None = None
    """What events say of that."""
    log: str | None = None
    """Last lines of the newest pod's log; read only for a Job that failed."""
    claim_exists: bool = False
    """Whether the namespace's default claim was seen lately, or nothing speaks against it."""
    versions: tuple[VersionRecord, ...] = ()
    """Registered versions of the pipeline, by number."""
    unregistered: tuple[Obj, ...] = ()
    """ModelVersions that name this run and that nothing has registered: made in a pass that did not end, or by hand."""
    names_taken: frozenset[str] = frozenset()
    """Names of all ModelVersions of the namespace."""
    numbers_used: int = 0
    """Highest number that the pipeline's status, or that of an import, knows; versions may have been removed since."""
    rejected: Mapping[str, str] = field(default_factory=dict)
    """By digest, the version of the pipeline that a person has rejected content with."""
    stable: frozenset[str] = frozenset()
    """Versions that some ModelDeployment serves as stable."""
