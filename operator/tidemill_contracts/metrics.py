"""Every metric name of both planes, with its help text and labels, in one place.

Base units, `_total` for counters, `_ratio` for shares; no user id, request id or feature value as a label.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """Name, help text and label names of one metric."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


# Model server
DURATION_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds in seconds of every server; one more where a latency objective is declared that is none of them."""
PREDICTIONS = Metric("tidemill_predictions_total", "Number of predicted rows.", ("namespace", "deployment", "version"))
REQUESTS = Metric(
    "tidemill_requests_total",
    "Number of inference requests, by outcome: success, invalid (the client's error), unavailable, error.",
    ("namespace", "deployment", "version", "outcome"),
)
REQUEST_DURATION = Metric(
    "http_request_duration_seconds",
    "Duration of inference requests in seconds, by HTTP status. Flagger's built-in checks read this name.",
    ("namespace", "deployment", "version", "status"),
)
IN_FLIGHT = Metric(
    "tidemill_requests_in_flight", "Number of inference requests that are being processed.", ("deployment", "version")
)
RECORDS_DROPPED = Metric(
    "tidemill_prediction_records_dropped_total",
    "Number of prediction records that were dropped because the monitor was slow or unreachable.",
    ("namespace", "deployment", "version"),
)
RECORDS_SENT = Metric(
    "tidemill_prediction_records_sent_total",
    "Number of prediction records that the monitor acknowledged.",
    ("namespace", "deployment", "version"),
)
BATCHES = Metric(
    "tidemill_batches_total",
    "Number of batches: calls of the model that answered several requests at once.",
    ("namespace", "deployment", "version"),
)
BATCHED_ROWS = Metric(
    "tidemill_batched_rows_total",
    "Number of rows predicted in batches. Divided by tidemill_batches_total, this is the mean size of a batch.",
    ("namespace", "deployment", "version"),
)
TRACES_DROPPED = Metric(
    "tidemill_trace_spans_dropped_total",
    "Number of trace spans that were dropped because the collector was slow or unreachable.",
    ("namespace", "deployment", "version"),
)
ACCESS_LINES_DROPPED = Metric(
    "tidemill_access_log_lines_dropped_total",
    "Number of access log lines that were dropped because the reader of the log was slow.",
    ("namespace", "deployment", "version"),
)
WORKER_DEATHS = Metric(
    "tidemill_worker_deaths_total",
    "Number of worker processes that died and were replaced.",
    ("namespace", "deployment", "version"),
)
MODEL_INFO = Metric(
    "tidemill_model_info",
    "Always 1. The labels identify the model that is served.",
    ("namespace", "deployment", "version", "digest", "runtime"),
)

# Monitor
DRIFT_SCORE = Metric(
    "tidemill_drift_score",
    "Drift score of a feature in the last judged window, by drift test.",
    ("namespace", "monitor", "deployment", "version", "feature", "test"),
)
DRIFT_THRESHOLD = Metric(
    "tidemill_drift_threshold",
    "Drift score from which a feature counts as drifted.",
    ("namespace", "monitor", "deployment", "version", "feature", "test"),
)
DRIFTED_SHARE = Metric(
    "tidemill_drifted_features_ratio",
    "Share of judged features that drifted in the last judged window, from 0 to 1.",
    ("namespace", "monitor", "deployment", "version"),
)
WINDOW_ROWS = Metric(
    "tidemill_monitor_window_rows",
    "Number of rows in the current window, which has not ended yet.",
    ("namespace", "monitor", "deployment", "version"),
)
PERFORMANCE = Metric(
    "tidemill_performance",
    "Value of the monitored performance metric, computed on the labels that have arrived.",
    ("namespace", "monitor", "deployment", "version", "metric"),
)
PERFORMANCE_LOW = Metric(
    "tidemill_performance_low",
    "Lower end of the 95 % interval of the monitored performance metric.",
    ("namespace", "monitor", "deployment", "version", "metric"),
)
PERFORMANCE_HIGH = Metric(
    "tidemill_performance_high",
    "Upper end of the 95 % interval of the monitored performance metric.",
    ("namespace", "monitor", "deployment", "version", "metric"),
)
ESTIMATED_PERFORMANCE = Metric(
    "tidemill_estimated_performance",
    "Value of the monitored performance metric in the last judged window, estimated without labels.",
    ("namespace", "monitor", "deployment", "version", "metric"),
)
LABELS_JOINED = Metric(
    "tidemill_labels_joined_total",
    "Number of labels that were joined to a prediction.",
    ("namespace", "monitor", "deployment", "version"),
)
LABELS_RATIO = Metric(
    "tidemill_labels_ratio",
    "Share of the predictions older than the label delay that have a label, from 0 to 1.",
    ("namespace", "monitor", "deployment", "version"),
)
LABEL_DELAY = Metric(
    "tidemill_label_delay_seconds",
    "Time from prediction to label that a share of the labels (quantile: 0.5, 0.9 or 0.99) does not exceed.",
    ("namespace", "monitor", "deployment", "version", "quantile"),
)
PREDICTIONS_DISCARDED = Metric(
    "tidemill_predictions_discarded_total",
    "Number of predictions that were not kept until their label came, for lack of room or because of their size.",
    ("namespace", "monitor", "deployment", "version"),
)
LABELS_UNMATCHED = Metric(
    "tidemill_labels_unmatched_total",
    "Number of labels whose prediction did not come within 15 minutes, or was no longer stored.",
    ("namespace", "monitor", "deployment"),
)
QUALITY_RATIO = Metric(
    "tidemill_data_quality_ratio",
    "Share of bad values of a feature in the last judged window, by problem: missing, unseen or out_of_range.",
    ("namespace", "monitor", "deployment", "version", "feature", "problem"),
)
LAST_RECORD = Metric(
    "tidemill_monitor_last_record_timestamp_seconds",
    "Unix time in seconds at which the newest prediction record arrived.",
    ("namespace", "monitor", "deployment", "version"),
)
MONITOR_LAST_SUCCESS = Metric(
    "tidemill_monitor_last_success_timestamp_seconds",
    "Unix time in seconds at which the monitor last evaluated its windows.",
    ("namespace", "monitor", "deployment"),
)
