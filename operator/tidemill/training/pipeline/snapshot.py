"""Everything that one decision about a TrainingPipeline is based on. Frozen, and free of I/O.

```
 ConfigMap (code)   ConfigMap (data)   probe Job     ModelMonitor.status.actions   ModelDeployment.status
        │                  │               │                    │                          │
        └────── revisions ─┴───────────────┘                 requests                 what is in use
                                   └──────────► snapshot ◄──────┴──────────────────────────┘
                   TrainingRuns (what was tried) ──►   ◄── ModelVersions (what came of it)
```
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from tidemill.api.v1alpha1.training_pipeline import TrainingPipeline
from tidemill.api.v1alpha1.training_run import KeptRows
from tidemill.api.v1alpha1.training_template import DataSource
from tidemill.config import OperatorConfig
from tidemill.core.snapshot import ObjectSnapshot
from tidemill.training.recording.snapshot import IMPORTS, RecordsState, namespace_folder
from tidemill.training.records import DeploymentRecord, RunRecord, VersionRecord
from tidemill_contracts import schemes

PROBE_DEADLINE_SECONDS = 300
"""The longest that a probe Job may run (activeDeadlineSeconds)."""


@dataclass(frozen=True, slots=True)
class CodeContent:
    """The code as it is now."""

    digest: str
    files: frozenset[str] | None
    """Keys of the ConfigMap; None when the image carries the code."""


@dataclass(frozen=True, slots=True)
class MapContent:
    """Revisions of the keys of a ConfigMap that holds data."""

    revisions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RowsPlace:
    """Where a ModelDeployment keeps its rows, or why it keeps none that could be trained on."""

    rows: KeptRows | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class MonitorRequest:
    """A retrain request in a ModelMonitor's status."""

    monitor: str
    uid: str
    """Of the monitor: one that is made again under the same name is another one."""
    id: str
    cause: str
    message: str
    time: datetime | None = None
    version: str = ""
    """The version that it is about."""


@dataclass(frozen=True, slots=True)
class ProbeJob:
    """The probe Job of this pipeline that exists now; at most one is looked at."""

    name: str
    uid: str
    created: datetime
    finished: bool
    message: str | None
    """Termination message of its pod, None while there is none."""
    problem: str | None = None
    """Why it does not start."""
    is_silent: bool = False
    """It does not run, and only events can say why: they are looked at again and again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineSnapshot(ObjectSnapshot):
    """A pipeline and its surroundings at one moment."""

    pipeline: TrainingPipeline
    config: OperatorConfig
    code: CodeContent | None
    """None: the ConfigMap does not exist."""
    maps: Mapping[str, MapContent | None] = field(default_factory=dict)
    """By name, the ConfigMaps that the inputs name; None: does not exist."""
    kept_rows: Mapping[str, RowsPlace] = field(default_factory=dict)
    """By name, of the ModelDeployments that the inputs name."""
    maps_changed: datetime | None = None
    """When this process saw other content in the ConfigMaps of code and data than before; None: it never did."""
    runs: tuple[RunRecord, ...] = ()
    """Oldest first."""
    vanished: RunRecord | None = None
    """A started run that was deleted before status knew of it: it is not made again."""
    versions: tuple[VersionRecord, ...] = ()
    """By number, lowest first."""
    requests: tuple[MonitorRequest, ...] = ()
    """The newest retrain request of each monitor to this pipeline."""
    deployments: tuple[DeploymentRecord, ...] = ()
    probes: tuple[ProbeJob, ...] = ()
    records: RecordsState = field(default_factory=RecordsState)

    @property
    def image(self) -> str:
        """Image that a run would use."""
        return self.pipeline.spec.image or self.config.trainer_image

    @property
    def waiting_requests(self) -> list[MonitorRequest]:
        """Requests of monitors that nothing has served."""
        if self.pipeline.spec.triggers.monitors is None:
            return []
        handled = self.pipeline.status.last_handled_monitor_requests
        return [r for r in self.requests if handled.get(r.monitor) != r.id]

    @property
    def is_data_watched(self) -> bool:
        """Whether anybody wants to know of new data: the trigger dataChange, or a monitor that waits for it."""
        return self.pipeline.spec.triggers.data_change is not None or bool(self.waiting_requests)

    @property
    def watched_sources(self) -> list[DataSource]:
        """The inputs that can change and whose revisions are wanted. Kept rows always are: a run takes those known."""
        found = [source for source in self.pipeline.spec.data if probed_by(source) != "nobody"]
        return [source for source in found if self.is_data_watched or is_kept_rows(source)]

    @property
    def probed_sources(self) -> list[DataSource]:
        """Those of them that only a probe can look at, and where it is known where to look."""
        found = [source for source in self.watched_sources if probed_by(source) == "probe"]
        return [source for source in found if not is_kept_rows(source) or self.rows_of(source) is not None]

    def rows_of(self, source: DataSource) -> KeptRows | None:
        """Where the rows of an input are kept; None where it is no such input, or where there are none."""
        place = self.kept_rows.get(schemes.deployment_of_rows(source.uri) or "")
        return place.rows if place is not None else None


def store_folder(snapshot: PipelineSnapshot) -> str:
    """URI of the folder that all pipelines of this name in a namespace of this name have in the artifact store."""
    uri, name = snapshot.pipeline.spec.artifacts.uri, snapshot.name
    folder = f"{name}_" if name == IMPORTS else name  # which is the folder of no other: names have no underscore
    return namespace_folder(uri, snapshot.config, snapshot.namespace, folder)


def probed_by(source: DataSource) -> Literal["nobody", "operator", "probe"]:
    """Who learns the revision of an input: nobody (it never changes), the operator from the cluster, or a probe."""
    scheme = schemes.BY_NAME.get(source.uri.partition("://")[0])
    return scheme.probed_by if scheme else "nobody"


def is_kept_rows(source: DataSource) -> bool:
    """Whether an input is the kept rows of a ModelDeployment."""
    return schemes.deployment_of_rows(source.uri) is not None
