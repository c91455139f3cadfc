"""The performance of a monitored model: what is asked for, and what is known about it."""

from typing import Annotated, Literal

from pydantic import Field

from tidemill.api.base import ATOMIC, MAX_SECONDS, SET, Model, Ratio, Time, rule, rules
from tidemill_contracts.model_metrics import MonitoredMetric, listed
from tidemill_contracts.monitoring import MAX_SEGMENT_COLUMNS, MAX_SEGMENTS


class Estimate(Model):
    """Estimation of the metric without labels, from the probabilities or numbers that the model answers. It has no
    settings: {}."""


class Performance(Model):
    """A metric that compares predictions with labels (ground truth) that arrive later."""

    model_config = {
        "json_schema_extra": rules(
            rule("has(self.min) || has(self.max)", "spec.performance: at least one of min and max must be set")
        )
    }

    metric: Annotated[
        MonitoredMetric,
        Field(
            description="Metric that is computed: "
            f"{listed('classification', 'or', monitored=True)} for classification; "
            f"{listed('regression', 'or', monitored=True)} for regression."
        ),
    ]
    min: float | None = None
    """Minimum acceptable value. The condition PerformanceDegraded becomes True when labels prove that the metric is
    lower. If not set, there is no minimum."""
    max: float | None = None
    """Maximum acceptable value. The condition PerformanceDegraded becomes True when labels prove that the metric is
    higher. If not set, there is no maximum."""
    label_delay_seconds: Annotated[int, Field(ge=0, le=MAX_SECONDS)] = 86400
    """Time in seconds by which the label of a prediction is expected. Only windows that ended at least this long ago
    are judged."""
    min_labels: Annotated[int, Field(ge=1, le=1_000_000_000)] = 200
    """Minimum number of labels that the metric needs to be judged. The value in status is that of the newest windows
    that together have so many."""
    min_labels_ratio: Ratio | None = None
    """Minimum share of predictions that must have a label, in the windows that ended at least labelDelaySeconds ago.
    Windows below it are not judged. Set it if predictions that have a label can be unlike those that have none. If not
    set, any share is judged."""
    false_alarms_per_month: Annotated[float, Field(gt=0, le=10)] = 0.2
    """Maximum number of times in 30 days, on average, that the condition PerformanceDegraded becomes True without a
    cause, for a metric that is exactly at its limit. Lower values need more labels to find a cause. 0.2 is one false
    alarm in five months."""
    segments: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=256)]],
        Field(max_length=MAX_SEGMENT_COLUMNS, json_schema_extra=SET),
    ] = []
    """Features by whose values the metric is also computed, for example [country]. They share 50 segments: the most
    frequent categories, or ranges of numbers. A row's segments are kept with its id until its label comes or is
    overdue. If not set, there are none."""
    labels: Literal["AsTheyCome", "RandomSample"] = "AsTheyCome"
    """Which predictions get a label. RandomSample: those with a label are a random sample of all in their window, for
    example because people are asked about rows that a die has chosen. Then
    status.verdicts.performance.predictionPowered also uses the answers without labels. AsTheyCome: nothing is known."""
    estimate: Estimate | None = None
    """Estimation of the metric for predictions without labels, for example {}. It assumes that labels depend on the
    model's answers as they did on the holdout. The condition EstimatedPerformanceLow follows it. If not set, nothing is
    estimated."""


class LabelDelayStatus(Model):
    """How long after their predictions labels came, right to 9 %, of predictions older than labelDelaySeconds."""

    p50_seconds: float
    """Time in seconds within which half of the labels came."""
    p90_seconds: float
    """Time in seconds within which nine of ten labels came."""
    p99_seconds: float
    """Time in seconds within which 99 of 100 labels came."""


class PerformanceStatus(Model):
    """The performance metric."""

    metric: str
    """Name of the metric."""
    value: float | None = None
    """Value of the metric, rounded to three decimals. Not set if it cannot be computed."""
    labels: int = 0
    """Number of labels that the value is computed from."""
    unrecognized_labels: int | None = None
    """Number of further labels that name no class of the model, or are no number. Not set if there are none."""
    labels_ratio: float | None = None
    """Share of predictions with a label, from 0 to 1, in the windows that ended at least labelDelaySeconds ago."""
    label_delay: LabelDelayStatus | None = None
    """How long labels take. Not set if no prediction older than labelDelaySeconds has a label."""
    discarded: int | None = None
    """Number of predictions of the served version that were removed before a label came because spec.storage.size holds
    no more, or that were too long to be stored. Not set if there is none."""
    labels_unmatched: int | None = None
    """Number of labels for which no prediction was found within 15 minutes. Not set if there is none."""


class SegmentPerformance(Model):
    """The performance metric of one segment."""

    column: str
    """Name of the column."""
    segment: str
    """Value of the column, range of its values, (other) or (missing)."""
    value: float | None = None
    """Value of the metric, rounded to three decimals. Not set if it cannot be computed."""
    low: float | None = None
    """Lower end of the 95 % interval of the value, rounded to three decimals."""
    high: float | None = None
    """Upper end of the 95 % interval of the value, rounded to three decimals."""
    labels: int = 0
    """Number of labels that the value is computed from."""


class EstimatedPerformance(Model):
    """The performance metric of predictions without labels, estimated."""

    value: float
    """Estimated value of the metric in the last judged window, rounded to three decimals."""
    low: float | None = None
    """Lower end of the 95 % interval of the value that labels of these predictions would show."""
    high: float | None = None
    """Upper end of the 95 % interval of the value that labels of these predictions would show."""
    rows: int
    """Number of predictions that the value is estimated for."""
    start: Time
    """Start of the window."""
    end: Time
    """End of the window. It does not belong to the window."""
    trusted: bool
    """Whether at most 5 % of the predictions are of a kind of which the holdout had fewer than 30 rows. If false, the
    value is not judged."""
    unsupported_ratio: float
    """Share of predictions of a kind of which the holdout had fewer than 30 rows, from 0 to 1."""
    value_at_labels: float | None = None
    """Estimated value for the predictions that status.verdicts.performance.value is of. If the two differ by more than
    the interval of that value, the assumption does not hold. Not set if there are no labels."""
    assumption: str
    """What the estimate assumes."""


class PredictionPowered(Model):
    """The performance metric of all predictions, from the labels of a random sample of them and all answers."""

    value: float
    """Value of the metric, rounded to three decimals."""
    low: float
    """Lower end of the 95 % interval of the value, rounded to three decimals."""
    high: float
    """Upper end of the 95 % interval of the value, rounded to three decimals."""
    rows: int
    """Number of predictions that the value is of."""
    labels: int
    """Number of labels among them."""


class PerformanceVerdict(Model):
    """How far the performance metric is known."""

    value: float | None = None
    """Value of the metric, rounded to three decimals, on the newest windows that together have minLabels labels, or on
    more of them where it took more to prove that a limit is exceeded. Not set if it cannot be computed."""
    low: float | None = None
    """Lower end of the 95 % interval of the value, rounded to three decimals."""
    high: float | None = None
    """Upper end of the 95 % interval of the value, rounded to three decimals."""
    labels_needed: int | None = None
    """About how many more labels like these would decide whether a limit is exceeded. Not set if that is decided, or if
    it cannot be said."""
    asymptotic: bool = False
    """Whether falseAlarmsPerMonth holds for this metric with many labels only."""
    exceeded_since: Time | None = None
    """Start of the windows whose labels proved first that a limit is exceeded. Not set if none is proven to be."""
    segments: Annotated[list[SegmentPerformance] | None, Field(max_length=MAX_SEGMENTS, json_schema_extra=ATOMIC)] = (
        None
    )
    """The metric by segment, on the newest windows that are due and together hold minLabels labels for each segment. Of
    20 intervals one is expected to miss the true value. Set only if spec.performance.segments is set."""
    prediction_powered: PredictionPowered | None = None
    """The metric of all predictions of these windows. Set only if spec.performance.labels is RandomSample, for
    accuracy, log_loss and brier, and for mae, rmse and mape, where the version has a calibration table."""
    estimated: EstimatedPerformance | None = None
    """The metric estimated without labels. Set only if spec.performance.estimate is set and there is an estimate."""
