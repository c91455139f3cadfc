"""ModelMonitor: what is monitored, and which actions follow."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tidemill.api.base import (
    ATOMIC,
    DEFAULT_READY,
    MAX_SECONDS,
    PENDING,
    READY_COLUMNS,
    SET,
    TAIL_COLUMNS,
    Column,
    DefaultCondition,
    Kind,
    LabelName,
    Labels,
    Model,
    NetworkPolicies,
    Resource,
    Resources,
    Status,
    Time,
    list_map,
    rule,
    rules,
)
from tidemill.api.v1alpha1.monitor_baseline import SPAN_RULES, Baseline
from tidemill.api.v1alpha1.monitor_drift import Drift, DriftVerdict, FeatureScore
from tidemill.api.v1alpha1.monitor_fairness import Fairness, FairnessVerdict
from tidemill.api.v1alpha1.monitor_gaming import Gaming
from tidemill.api.v1alpha1.monitor_notify import Notify
from tidemill.api.v1alpha1.monitor_performance import Performance, PerformanceStatus, PerformanceVerdict
from tidemill.api.v1alpha1.monitor_quality import Quality
from tidemill.api.v1alpha1.monitor_storage import Storage
from tidemill.api.v1alpha1.monitored_columns import MonitoredColumn
from tidemill.api.v1alpha1.pod_settings import PodSettings
from tidemill_contracts.gaming import REPORTED_CLIENTS


class Window(Model):
    """Time windows in which predictions are counted and judged. Windows follow one another without overlap."""

    seconds: Annotated[int, Field(ge=10, le=604800)] = 3600
    """Length of a window in seconds."""
    min_rows: Annotated[int, Field(ge=10, le=1_000_000_000)] = 500
    """Minimum number of rows that a window must have to be judged. Small samples can look drifted by chance."""


Cause = Literal["Drift", "Quality", "Performance"]
RetrainCause = Literal["Drift", "Quality", "Performance", "EstimatedPerformance"]


class Retrain(Model):
    """Requests a training run from the TrainingPipeline of the served version.

    The pipeline must have set spec.triggers.monitors.
    """

    causes: Annotated[list[RetrainCause], Field(min_length=1, max_length=4, json_schema_extra=SET)]
    """Findings that lead to a request: Drift, Quality, Performance or EstimatedPerformance. Each requires the section
    of that name in spec, EstimatedPerformance requires performance.estimate; Quality is also judged with drift
    alone."""
    cooldown_seconds: Annotated[int, Field(ge=0, le=MAX_SECONDS)] = 21600
    """Minimum time in seconds between two requests, whatever their causes."""
    max_per_day: Annotated[int, Field(ge=1, le=10)] = 2
    """Maximum number of requests within 24 hours."""


class Rollback(Model):
    """Requests a rollback of the ModelDeployment to the previous stable version."""

    causes: Annotated[list[Cause], Field(min_length=1, max_length=3, json_schema_extra=SET)]
    """Findings that lead to a request: Drift, Quality or Performance. Each requires the section of that name in
    spec; Quality is also judged with drift alone."""
    cooldown_seconds: Annotated[int, Field(ge=0, le=MAX_SECONDS)] = 21600
    """Minimum time in seconds between two requests, whatever their causes."""
    max_per_day: Annotated[int, Field(ge=1, le=10)] = 1
    """Maximum number of requests within 24 hours."""


class Actions(Model):
    """Actions that the monitor may request automatically. Whoever is acted on must allow it: a TrainingPipeline by
    spec.triggers.monitors, a ModelDeployment by spec.rollout.monitorRollback."""

    dry_run: bool = False
    """Whether the monitor only shows what it would request, in the condition ActionsHeld."""
    retrain: Retrain | None = None
    """When the monitor requests a training run. If not set, it requests none."""
    rollback: Rollback | None = None
    """When the monitor requests a rollback. If not set, it requests none."""


class Prometheus(Model):
    """Creates a ServiceMonitor and a PrometheusRule. Requires the Prometheus operator in the cluster."""

    labels: Labels = {}
    """Labels of the created objects, for example {release: prometheus}, by which your Prometheus selects them. Alerts
    have the labels team and tier, too. Their rules need the metrics of the operator."""


class ModelMonitorSpec(Model):
    """Desired state of a ModelMonitor."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "has(self.drift) || has(self.quality) || has(self.performance) || has(self.fairness) || "
                "has(self.gaming)",
                "spec: at least one of drift, quality, performance, fairness and gaming must be set",
            ),
            rule(
                "!has(self.fairness) || has(self.performance) || "
                "self.fairness.limits.all(l, l.metric in ['SelectionRateRatio', 'SelectionRateDifference'])",
                "spec.fairness.limits: FalsePositiveRateDifference and FalseNegativeRateDifference require "
                "spec.performance, which says when labels are due",
            ),
            rule(
                "!has(self.performance) || double(self.window.seconds) * self.performance.falseAlarmsPerMonth"
                " <= 259200.0",
                "spec.performance.falseAlarmsPerMonth times spec.window.seconds must be at most 259200: at most one "
                "window in ten may raise a false alarm",
            ),
            rule(
                "!has(self.actions) || ["
                "has(self.actions.retrain) ? self.actions.retrain.causes : [], has(self.actions.rollback) ? "
                "self.actions.rollback.causes : []"
                "].all(l, l.all(c, (c == 'Drift' && has(self.drift)) || "
                "(c == 'Quality' && (has(self.quality) || has(self.drift))) || "
                "(c == 'Performance' && has(self.performance)) || "
                "(c == 'EstimatedPerformance' && has(self.performance) && has(self.performance.estimate))))",
                "spec.actions: each entry of causes (Drift, Quality, Performance) requires the section of that "
                "name in spec, Quality at least drift, and EstimatedPerformance requires spec.performance.estimate",
            ),
            *SPAN_RULES,
        )
    }

    suspend: bool = False
    """Whether the monitor stops judging. If true, it still counts predictions, but judges nothing and requests
    nothing."""
    deployment: Annotated[
        LabelName,
        Field(
            json_schema_extra=rules(
                rule("self == oldSelf", "spec.deployment is immutable; create another ModelMonitor instead")
            )
        ),
    ]
    """Name of the ModelDeployment in the same namespace that is monitored. Cannot be changed."""
    window: Window = Window()
    """Time windows in which predictions are counted and judged."""
    baseline: Baseline | None = None
    """What current data is compared with for drift. If not set, it is the training data of the served version."""
    columns: Annotated[list[MonitoredColumn], Field(max_length=500, json_schema_extra=list_map("name"))] = []
    """Features that are judged otherwise than they appear, by another limit, or that count more than others. Only
    exceptions are stated."""
    drift: Drift | None = None
    """Detection of drift: how far current features and predictions differ from the training data. If not set, drift is
    not checked."""
    quality: Quality | None = None
    """Limits for missing, mistyped, unseen and out-of-range values. If not set, the defaults apply where drift is set;
    otherwise data quality is not checked."""
    performance: Performance | None = None
    """A metric that compares predictions with labels (ground truth) that arrive later. If not set, performance is not
    checked."""
    fairness: Fairness | None = None
    """How the model treats groups of rows, for example by gender. If not set, groups are neither recorded nor compared,
    also where spec.logging.columns of the deployment has such columns."""
    gaming: Gaming | None = None
    """Detection of clients that may game the system, for example with false labels. If not set, nothing is stored about
    clients."""
    actions: Actions | None = None
    """Actions that the monitor may request automatically. If not set, it requests none."""
    notify: Notify | None = None
    """Where the monitor sends a message when one of its alerts begins or ends. If not set, it sends none; alerts of
    Prometheus do not depend on it."""
    prometheus: Prometheus | None = None
    """Creates a ServiceMonitor and a PrometheusRule for the Prometheus operator. If not set, none are created."""
    network_policies: NetworkPolicies = None
    resources: Resources | None = None
    """CPU and memory of the monitor's pod. If not set, it requests 50m CPU and 128Mi memory and has a memory limit of
    1Gi."""
    pod: PodSettings | None = None
    """Settings of the monitor's pod. If not set, it has the operator's own settings only."""
    storage: Storage = Storage()
    """PersistentVolumeClaim that stores the counters of the monitor."""

    @property
    def judges_quality(self) -> bool:
        """Whether data quality is judged: wherever it or drift is asked for."""
        return self.quality is not None or self.drift is not None


class WindowStatus(Model):
    """The last judged window."""

    start: Time
    """Start of the window."""
    end: Time
    """End of the window. It does not belong to the window."""
    rows: int
    """Number of rows in the window."""
    drifted_share: float | None = None
    """Share of features that drifted, from 0 to 1."""
    drifted_features: Annotated[list[FeatureScore], Field(max_length=20, json_schema_extra=ATOMIC)] = []
    """Features that drifted, at most 20: the most important one to the model first, and of equally important ones the
    one with the largest score relative to its threshold."""
    prediction_score: float | None = None
    """Drift score of the predictions. Set only if spec.drift.predictions is set."""
    probability_score: float | None = None
    """Drift score of the probability of the predicted class. Set only if spec.drift.predictions is set and the model
    returns probabilities."""
    quality_problems: Annotated[list[str], Field(max_length=20, json_schema_extra=ATOMIC)] = []
    """Features that exceed a limit of spec.quality, for example "age: missing_ratio 0.31 > 0.05"."""
    features_without_score: Annotated[list[str], Field(max_length=20, json_schema_extra=ATOMIC)] = []
    """Features that drift cannot be judged by, at most 20: they have no values, or their values exceed a limit."""


class Evidence(Model):
    """The time range of the predictions that a request is based on."""

    start: Time
    """Start of the oldest window."""
    end: Time
    """End of the newest window."""


class Verdicts(Model):
    """What the verdicts rest on, and what they can show."""

    drift: DriftVerdict | None = None
    """About DriftDetected. Set only if spec.drift is set."""
    performance: PerformanceVerdict | None = None
    """How far the performance metric is known. Set only if spec.performance is set."""
    fairness: FairnessVerdict | None = None
    """How groups of rows were treated. Set only if spec.fairness is set."""


class ActionStatus(Model):
    """A request that the monitor made."""

    id: str
    """Unique id of the request. The TrainingPipeline or ModelDeployment that processes the request stores it in its
    status."""
    type: Literal["Retrain", "Rollback"]
    """What was requested: Retrain (a training run) or Rollback."""
    cause: RetrainCause
    """Finding that led to the request: Drift, Quality, Performance or EstimatedPerformance."""
    target: str
    """Name of the TrainingPipeline (for Retrain) or ModelDeployment (for Rollback) that the request is for."""
    version: str
    """Name of the ModelVersion that was served at the time of the request."""
    message: Annotated[str, Field(max_length=1024)]
    """Explanation of the cause."""
    time: Time
    """Time of the request."""
    evidence: Evidence | None = None
    """Time range of the predictions that the request is based on. The same predictions do not lead to another request
    of this type."""


class VersionFinding(Model):
    """A finding about a version while it was served last."""

    version: str
    """Name of the ModelVersion."""
    cause: RetrainCause
    """The finding: Drift, Quality, Performance or EstimatedPerformance."""


class ModelMonitorStatus(Status):
    """Observed state of a ModelMonitor."""

    version: str | None = None
    """Name of the served ModelVersion. Current data is compared with its training data."""
    last_record_time: Time | None = None
    """Time when the newest prediction arrived, rounded down to the minute."""
    rows: int = 0
    """Number of rows in the last judged window."""
    window: WindowStatus | None = None
    """The last judged window."""
    drifted_windows: Annotated[int, Field(ge=0)] = 0
    """Number of consecutive drifted windows, up to the last judged one. If spec.drift.outOf is set, number of drifted
    windows among the last outOf judged ones."""
    verdicts: Verdicts | None = None
    """What the verdicts rest on, and what they can show."""
    observed_alarms_per_month: float | None = None
    """How often DriftDetected became True within 30 days. Set from four weeks after counting began. Compare it with
    spec.drift.falseAlarmsPerMonth: real data moves, so a higher number does not mean that the alarms were false."""
    performance: PerformanceStatus | None = None
    """The performance metric. Set only if spec.performance is set."""
    actions: Annotated[list[ActionStatus], Field(max_length=20, json_schema_extra=ATOMIC)] = []
    """The last requests of the monitor, newest last, at most 20."""
    findings: Annotated[list[VersionFinding], Field(max_length=20, json_schema_extra=ATOMIC)] = []
    """Findings about the served version and about those before it when they were served last, at most 20. A rollback to
    a version that had the same finding is not requested."""
    suspected_clients: Annotated[
        list[Annotated[str, Field(max_length=64)]], Field(max_length=REPORTED_CLIENTS, json_schema_extra=ATOMIC)
    ] = []
    """Hashes of the clients that are suspected (condition GamingSuspected), at most 20. A TrainingPipeline on the rows
    of the deployment may leave theirs out."""
    unsettled_since: Time | None = None
    """Time since when the monitor of a deployment that serves a version has not been running as the spec says. Not set
    while it is."""
    last_evaluation_time: Time | None = None
    """Time when this status was last computed from the monitor's report. Updated at most once a minute if nothing else
    changes."""


class ModelMonitor(Resource):
    """Monitors the data, predictions and labels of a ModelDeployment and requests retraining or a rollback."""

    INFO: ClassVar[Kind] = Kind(
        kind="ModelMonitor",
        plural="modelmonitors",
        singular="modelmonitor",
        short_names=("mm",),
        description=(
            "ModelMonitor monitors the data, predictions and labels of a ModelDeployment, reports findings as "
            "conditions, and requests retraining or a rollback."
        ),
        columns=(
            *READY_COLUMNS,
            Column("Deployment", "string", ".spec.deployment", "Name of the monitored ModelDeployment."),
            Column(
                "Data",
                "string",
                '.status.conditions[?(@.type=="DataArriving")].status',
                "Whether predictions arrive (condition DataArriving).",
            ),
            Column(
                "Drift",
                "string",
                '.status.conditions[?(@.type=="DriftDetected")].status',
                "Whether drift was detected (condition DriftDetected).",
            ),
            Column("Rows", "integer", ".status.rows", "Number of rows in the last judged window."),
            *TAIL_COLUMNS,
        ),
        default_conditions=(DEFAULT_READY, DefaultCondition("DataArriving", "Unknown", PENDING, "Not known yet")),
        selectable=(".spec.deployment",),
        name_rule=rule("size(self.metadata.name) <= 63", "metadata.name must have at most 63 characters"),
    )

    kind: Literal["ModelMonitor"] = "ModelMonitor"
    spec: ModelMonitorSpec
    status: ModelMonitorStatus = ModelMonitorStatus()
