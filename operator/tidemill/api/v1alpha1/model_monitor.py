"""ModelMonitor: what is watched, and what happens then."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tidemill.api.base import (
    ATOMIC,
    BORN_READY,
    MAX_SECONDS,
    PENDING,
    READY_COLUMNS,
    SET,
    TAIL_COLUMNS,
    Born,
    Column,
    Kind,
    LabelName,
    Labels,
    Model,
    NetworkPolicies,
    Quantity,
    Ratio,
    Resource,
    Resources,
    Status,
    Time,
    list_map,
    rule,
    rules,
)

DriftTest = Literal["PSI", "JensenShannon", "KolmogorovSmirnov"]
TEST_HELP = (
    "PSI (0.2 is usual), JensenShannon (distance, 0 to 0.83; 0.1 is usual) or KolmogorovSmirnov (0 to 1; 0.1 is usual)."
)


class Window(Model):
    """The stretch of time that one judgement covers."""

    seconds: Annotated[int, Field(ge=10, le=604800, description="Length of a window.")] = 3600
    min_rows: Annotated[
        int,
        Field(
            ge=10,
            le=1_000_000_000,
            description="Rows that a window needs to be judged; small samples look drifted by chance.",
        ),
    ] = 500


class FeatureTest(Model):
    """Test of one feature, in place of the test of all features."""

    name: Annotated[str, Field(min_length=1, max_length=256, description="Name of the feature.")]
    test: Annotated[DriftTest, Field(description=TEST_HELP)] = "PSI"
    threshold: Annotated[float, Field(gt=0, description="Score from which the feature counts as drifted.")]


class DriftTestSpec(Model):
    """A drift test."""

    test: Annotated[DriftTest, Field(description=TEST_HELP)] = "PSI"
    threshold: Annotated[float, Field(gt=0, description="Score from which a column counts as drifted.")] = 0.2


class Drift(Model):
    """Comparison with the data that the version in service was trained on."""

    features: Annotated[DriftTestSpec, Field(description="Test of every feature.")] = DriftTestSpec()
    overrides: Annotated[
        list[FeatureTest],
        Field(max_length=500, description="Tests of single features.", json_schema_extra=list_map("name")),
    ] = []
    predictions: Annotated[DriftTestSpec | None, Field(description="Test of the predictions; absent: not watched.")] = (
        None
    )
    drifted_share: Annotated[
        Ratio, Field(description="Share of features that must have drifted for the window to count as drifted.")
    ] = 0.3
    consecutive_windows: Annotated[
        int, Field(ge=1, le=24, description="Drifted windows in a row before DriftDetected becomes True.")
    ] = 2


class Quality(Model):
    """Largest acceptable shares of bad values in any feature."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "has(self.maxMissingRatio) || has(self.maxUnseenRatio) || has(self.maxOutOfRangeRatio)",
                "spec.quality: at least one of maxMissingRatio, maxUnseenRatio and maxOutOfRangeRatio must be set",
            )
        )
    }

    max_missing_ratio: Annotated[Ratio | None, Field(description="Missing values.")] = None
    max_unseen_ratio: Annotated[Ratio | None, Field(description="Categories that training never saw.")] = None
    max_out_of_range_ratio: Annotated[
        Ratio | None, Field(description="Numbers outside the range seen in training.")
    ] = None


class Performance(Model):
    """A metric on labels that arrive later."""

    model_config = {
        "json_schema_extra": rules(
            rule("has(self.min) || has(self.max)", "spec.performance: at least one of min and max must be set")
        )
    }

    metric: Annotated[
        Literal["accuracy", "balanced_accuracy", "f1", "rmse", "mae", "r2"],
        Field(description="accuracy, balanced_accuracy, f1, rmse, mae or r2."),
    ]
    min: Annotated[float | None, Field(description="Smallest acceptable value.")] = None
    max: Annotated[float | None, Field(description="Largest acceptable value.")] = None
    label_delay_seconds: Annotated[
        int,
        Field(
            ge=0,
            le=MAX_SECONDS,
            description="By when a label is expected; predictions without one are counted from then on.",
        ),
    ] = 86400
    min_labels: Annotated[
        int, Field(ge=1, le=1_000_000_000, description="Labels needed before the metric is judged.")
    ] = 200


Cause = Literal["Drift", "Quality", "Performance"]


class Retrain(Model):
    """Ask the deployment's pipeline for a run."""

    causes: Annotated[
        list[Cause],
        Field(
            min_length=1,
            max_length=3,
            description="What leads to it: Drift, Quality, Performance.",
            json_schema_extra=SET,
        ),
    ]
    cooldown_seconds: Annotated[int, Field(ge=0, le=MAX_SECONDS, description="Shortest time between two requests.")] = (
        21600
    )
    max_per_day: Annotated[int, Field(ge=1, le=10, description="Most requests within 24 hours.")] = 2


class Rollback(Model):
    """Ask the deployment to return to the previous stable version."""

    causes: Annotated[
        list[Cause],
        Field(
            min_length=1,
            max_length=3,
            description="What leads to it: Drift, Quality, Performance.",
            json_schema_extra=SET,
        ),
    ]
    cooldown_seconds: Annotated[int, Field(ge=0, le=MAX_SECONDS, description="Shortest time between two requests.")] = (
        21600
    )
    max_per_day: Annotated[int, Field(ge=1, le=10, description="Most requests within 24 hours.")] = 1


class Actions(Model):
    """What the monitor may ask for by itself."""

    retrain: Annotated[Retrain | None, Field(description="Ask for a training run.")] = None
    rollback: Annotated[Rollback | None, Field(description="Ask for a roll-back.")] = None


class Prometheus(Model):
    """ServiceMonitor and PrometheusRule, where the cluster knows these kinds."""

    labels: Annotated[
        Labels,
        Field(description="Labels that the Prometheus object selects by, for example release: prometheus."),
    ] = {}


class Storage(Model):
    """The claim that holds the monitor's counters."""

    size: Annotated[Quantity, Field(description="Requested size.")] = "1Gi"
    storage_class_name: Annotated[
        str | None, Field(max_length=253, description="StorageClass; absent: the cluster's default.")
    ] = None


class ModelMonitorSpec(Model):
    """What is watched and what follows."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "has(self.drift) || has(self.quality) || has(self.performance)",
                "spec: at least one of drift, quality and performance must be set",
            ),
            rule(
                "!has(self.actions) || ["
                "has(self.actions.retrain) ? self.actions.retrain.causes : [], has(self.actions.rollback) ? self.actions.rollback.causes : []"
                "].all(l, l.all(c, (c == 'Drift' && has(self.drift)) || (c == 'Quality' && has(self.quality)) || "
                "(c == 'Performance' && has(self.performance))))",
                "spec.actions: each of causes (Drift, Quality, Performance) must be watched by the section of that name",
            ),
        )
    }

    suspend: Annotated[bool, Field(description="Keep counting, but ask for nothing and judge nothing.")] = False
    deployment: Annotated[
        LabelName,
        Field(
            description="The ModelDeployment that is watched, in the same namespace.",
            json_schema_extra=rules(
                rule("self == oldSelf", "spec.deployment is immutable: create another ModelMonitor")
            ),
        ),
    ]
    window: Annotated[Window, Field(description="The stretch of time that one judgement covers.")] = Window()
    drift: Annotated[Drift | None, Field(description="Changes of the inputs and predictions.")] = None
    quality: Annotated[Quality | None, Field(description="Missing, unseen and out-of-range values.")] = None
    performance: Annotated[Performance | None, Field(description="A metric on labels that arrive later.")] = None
    actions: Annotated[Actions | None, Field(description="What follows.")] = None
    prometheus: Annotated[Prometheus | None, Field(description="Objects for the Prometheus operator.")] = None
    network_policies: NetworkPolicies = None
    resources: Annotated[Resources | None, Field(description="CPU and memory of the monitor's pod.")] = None
    storage: Annotated[Storage, Field(description="The claim that holds the counters.")] = Storage()


class FeatureScore(Model):
    """The last score of one feature."""

    name: Annotated[str, Field(description="Name of the feature.")]
    test: Annotated[str, Field(description="The test.")]
    score: Annotated[float, Field(description="Rounded score.")]
    threshold: Annotated[float, Field(description="Score from which it counts as drifted.")]


class WindowStatus(Model):
    """The last judged window."""

    start: Annotated[Time, Field(description="First moment.")]
    end: Annotated[Time, Field(description="End.")]
    rows: Annotated[int, Field(description="Rows.")]
    drifted_share: Annotated[float | None, Field(description="Share of features that drifted.")] = None
    drifted_features: Annotated[
        list[FeatureScore],
        Field(max_length=20, description="Features that drifted, worst first, at most 20.", json_schema_extra=ATOMIC),
    ] = []
    prediction_score: Annotated[float | None, Field(description="Drift score of the predictions.")] = None
    quality_problems: Annotated[
        list[str], Field(max_length=20, description="Features with too many bad values.", json_schema_extra=ATOMIC)
    ] = []


class PerformanceStatus(Model):
    """The watched metric."""

    metric: Annotated[str, Field(description="The metric.")]
    value: Annotated[float | None, Field(description="Rounded value.")] = None
    labels: Annotated[int, Field(description="Labels joined.")] = 0
    labels_ratio: Annotated[float | None, Field(description="Share of predictions old enough that have a label.")] = (
        None
    )


class Evidence(Model):
    """What a request is based on: predictions of this stretch of time, in whole windows."""

    start: Annotated[Time, Field(description="Start of the oldest window.")]
    end: Annotated[Time, Field(description="End of the newest window.")]


class ActionStatus(Model):
    """Something that the monitor asked for."""

    id: Annotated[str, Field(description="Unique id; whoever serves the request remembers it.")]
    type: Annotated[Literal["Retrain", "Rollback"], Field(description="What was asked for.")]
    cause: Annotated[Cause, Field(description="Drift, Quality or Performance.")]
    target: Annotated[str, Field(description="The TrainingPipeline or ModelDeployment that was asked.")]
    version: Annotated[str, Field(description="The version in service when it was asked.")]
    message: Annotated[str, Field(max_length=1024, description="Why, as a sentence.")]
    time: Annotated[Time, Field(description="When.")]
    evidence: Annotated[
        Evidence | None,
        Field(description="The predictions that it is based on; they lead to no other request of that type."),
    ] = None


class ModelMonitorStatus(Status):
    """What was last seen."""

    version: Annotated[str | None, Field(description="The version in service that data is compared with.")] = None
    last_record_time: Annotated[
        Time | None, Field(description="When the newest prediction arrived, to the minute.")
    ] = None
    rows: Annotated[int, Field(description="Rows in the last judged window.")] = 0
    window: Annotated[WindowStatus | None, Field(description="The last judged window.")] = None
    drifted_windows: Annotated[int, Field(ge=0, description="Drifted windows in a row.")] = 0
    performance: Annotated[PerformanceStatus | None, Field(description="The watched metric.")] = None
    actions: Annotated[
        list[ActionStatus],
        Field(max_length=20, description="What was asked for, newest last.", json_schema_extra=ATOMIC),
    ] = []
    unsettled_since: Annotated[
        Time | None,
        Field(
            description="Since when the monitor of a served deployment has not run as the spec says; absent while it does."
        ),
    ] = None
    last_evaluation_time: Annotated[
        Time | None, Field(description="When this was last read from the monitor, at most once a minute.")
    ] = None


class ModelMonitor(Resource):
    """Watches a ModelDeployment's data, predictions and truth, and asks for retraining or a roll-back."""

    INFO: ClassVar[Kind] = Kind(
        kind="ModelMonitor",
        plural="modelmonitors",
        singular="modelmonitor",
        short_names=("mm",),
        description="ModelMonitor watches a ModelDeployment's data, predictions and truth, raises conditions, and asks for retraining or a roll-back.",
        columns=(
            *READY_COLUMNS,
            Column("Deployment", "string", ".spec.deployment", "The ModelDeployment."),
            Column(
                "Data", "string", '.status.conditions[?(@.type=="DataArriving")].status', "Whether predictions arrive."
            ),
            Column(
                "Drift",
                "string",
                '.status.conditions[?(@.type=="DriftDetected")].status',
                "Whether drift was detected.",
            ),
            Column("Rows", "integer", ".status.rows", "Rows in the last judged window."),
            *TAIL_COLUMNS,
        ),
        born=(BORN_READY, Born("DataArriving", "Unknown", PENDING, "Not known yet")),
        selectable=(".spec.deployment",),
        name_rule=rule("size(self.metadata.name) <= 63", "metadata.name must be no more than 63 characters"),
    )

    kind: Literal["ModelMonitor"] = "ModelMonitor"
    spec: ModelMonitorSpec
    status: ModelMonitorStatus = ModelMonitorStatus()
