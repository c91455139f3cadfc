"""Everything that one decision about a ModelMonitor is based on, frozen, with the time of the look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tidemill.api.v1alpha1.model_monitor import ModelMonitorSpec, ModelMonitorStatus
from tidemill.api.v1alpha1.payload_log import Payloads
from tidemill.core import names, networkpolicy
from tidemill.core.last_applied import Applied
from tidemill.core.plan import ObjectRef
from tidemill.core.pod import ClusterSettings
from tidemill.core.podfailure import PodFailure
from tidemill.core.snapshot import ObjectSnapshot
from tidemill.core.staged_updates import ALONE, Fleet
from tidemill_contracts import quantities
from tidemill_contracts.monitoring import MonitorReport, VersionReport, WindowReport
from tidemill_contracts.retention import STORAGE_BYTES

Obj = dict[str, Any]

SERVICE_MONITOR = "ServiceMonitor"
PROMETHEUS_RULE = "PrometheusRule"

LARGEST_SIZE = 2**60
"""Bytes of a claim that are believed."""
SILENCE_SECONDS = 120
"""Shortest silence that counts, however short the windows are."""


@dataclass(frozen=True, slots=True)
class Served:
    """The watched ModelDeployment as data."""

    version: str | None = None
    """Name of the stable version; None while nothing is served."""
    digest: str | None = None
    since: datetime | None = None
    previous: str | None = None
    """Where a rollback would go; None when there is nowhere to go."""
    candidate: str | None = None
    suspended: bool = False
    says: str = ""
    """Why the deployment is not Ready; empty when it is."""
    pipeline: str | None = None
    """The TrainingPipeline of the version in service."""
    monitor_rollback: str = "Propose"
    """What the deployment does about a rollback that its monitor requests: Never, Propose or Act."""
    has_feedback_keys: bool = False
    has_keys: bool = False  # of any kind, by which clients are known
    """Whether the deployment takes labels with a feedback key only."""
    logged_columns: frozenset[str] = frozenset()
    """Columns that its servers send beside those of the model."""
    pipeline_exists: bool = True
    """Whether there is a TrainingPipeline of that name: versions that were imported need none."""
    allows_retrain: bool = True
    """Whether the pipeline trains when a monitor requests it."""
    payloads: Payloads | None = None
    """Which rows the deployment wants to be kept."""
    handled_request: str | None = None
    """Id of the last request of this monitor that the pipeline has served, or that another run has answered."""
    digests: frozenset[str] = frozenset()
    """Of all versions that are served, rolled out, or may be returned to."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The monitor's report; or why it could not be read."""

    report: MonitorReport | None = None
    time: datetime | None = None
    """When a report was read last."""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator's configuration says about generated pods."""

    image: str
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    network: networkpolicy.Settings = field(default_factory=networkpolicy.Settings)
    docs_url: str = ""
    """What stands before docs/ in the `runbook_url` of alerts."""
    webhook_targets: tuple[str, ...] = ()
    """Receivers with private addresses that an administrator allows."""
    data_environment: Mapping[str, str] = field(default_factory=dict)
    """Environment of pods that write to a store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot(ObjectSnapshot):
    """One look at a ModelMonitor and everything around it."""

    spec: ModelMonitorSpec
    status: ModelMonitorStatus
    settings: Settings
    served: Served | None = None
    """None: the ModelDeployment does not exist."""
    holder: str | None = None
    """Another ModelMonitor that watches the deployment already."""
    predecessor: str | None = None
    """A ModelMonitor that is gone, and whose Service of the deployment is still being removed."""
    actions_held: str = ""
    """Why nothing is requested in the whole namespace; empty when nothing speaks against it."""
    pod_name: str | None = None
    """Its pod; None when there is none."""
    pod_refreshed: str | None = None
    """For which files the kubelet was made to look at the pod's mounts."""
    pod_ready: bool = False
    pod_problem: str = ""
    """Why its pod is not ready, as half a sentence."""
    pod_failure: PodFailure | None = None
    """The same, as far as Kubernetes says so."""
    is_pod_silent: bool = False
    """The pod does not start, and only events can say why: they are looked at again and again."""
    settled: bool = True
    """Whether the pod that runs, if any, is of the newest template."""
    applied: Applied | None = None
    """Which manifests the live children are of; None: not looked at."""
    reading: Reading = Reading()
    prometheus_kinds: frozenset[str] = frozenset()
    """Which of ServiceMonitor and PrometheusRule the cluster knows; asked only when spec.prometheus is set."""
    children: tuple[ObjectRef, ...] = ()
    deployments: Mapping[str, Obj] = field(default_factory=dict)
    """Its Deployment as it is, by name."""
    fleet: Fleet = ALONE

    @property
    def version_report(self) -> VersionReport | None:
        """What the monitor knows about the version in service."""
        report, served = self.reading.report, self.served
        if report is None or served is None:
            return None
        return next((v for v in report.versions if v.digest == served.digest), None)

    @property
    def judged(self) -> tuple[WindowReport, ...]:
        """Closed windows of the version in service that had enough rows, newest last."""
        found = self.version_report
        return tuple(w for w in found.windows if w.closed and w.judged) if found else ()

    @property
    def comparable(self) -> tuple[WindowReport, ...]:
        """Of the judged windows those that say something about drift, newest last."""
        return tuple(w for w in self.judged if w.comparable)


def storage_bytes(size: str | int) -> int:
    """The size of the claim in bytes; the default where the API server lets through a text that is no number."""
    found = quantities.number(size)
    return STORAGE_BYTES if found is None or not 0 < found < LARGEST_SIZE else int(found)


def moment(seconds: float) -> datetime:
    """Seconds since the epoch as an aware time."""
    return datetime.fromtimestamp(seconds, UTC)


def child(monitor: str) -> str:
    """Name of the monitor's Deployment, claim, ServiceMonitor and PrometheusRule."""
    return names.child_name(monitor, "monitor")
