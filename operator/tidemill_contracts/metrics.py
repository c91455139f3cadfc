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
PREDICTIONS = Metric("tidemill_predictions_total", "Rows predicted.", ("namespace", "deployment", "version"))
REQUESTS = Metric(
    "tidemill_requests_total",
    "Inference requests by outcome: success, invalid, unavailable, error.",
    ("namespace", "deployment", "version", "outcome"),
)
REQUEST_DURATION = Metric(
    "http_request_duration_seconds",
    "Inference requests by status; the name that Flagger's built-in checks read.",
    ("namespace", "deployment", "version", "status"),
)
IN_FLIGHT = Metric("tidemill_requests_in_flight", "Inference requests being answered.", ("deployment", "version"))
RECORDS_DROPPED = Metric(
    "tidemill_prediction_records_dropped_total",
    "Prediction records that were dropped because the monitor was slow or away.",
    ("namespace", "deployment", "version"),
)
RECORDS_SENT = Metric(
    "tidemill_prediction_records_sent_total",
    "Prediction records that the monitor acknowledged.",
    ("namespace", "deployment", "version"),
)
BATCHES = Metric(
    "tidemill_batches_total",
    "Calls of the model that answered several requests at once.",
    ("namespace", "deployment", "version"),
)
BATCHED_ROWS = Metric(
    "tidemill_batched_rows_total",
    "Rows predicted in such calls; divided by their number, the mean size of a batch.",
    ("namespace", "deployment", "version"),
)
TRACES_DROPPED = Metric(
    "tidemill_trace_spans_dropped_total",
    "Spans that were dropped because the collector was slow or away.",
    ("namespace", "deployment", "version"),
)
ACCESS_LINES_DROPPED = Metric(
    "tidemill_access_log_lines_dropped_total",
    "Lines of the access log that were dropped because its reader was slow.",
    ("namespace", "deployment", "version"),
)
WORKER_DEATHS = Metric(
    "tidemill_worker_deaths_total",
    "Worker processes that died and were replaced.",
    ("namespace", "deployment", "version"),
)
MODEL_INFO = Metric(
    "tidemill_model_info",
    "The model that is served: always 1; what is told is in the labels.",
    ("namespace", "deployment", "version", "digest", "runtime"),
)

# Monitor
DRIFT_SCORE = Metric(
    "tidemill_drift_score",
    "Drift score of the last judged window.",
    ("namespace", "monitor", "deployment", "version", "feature", "test"),
)
DRIFT_THRESHOLD = Metric(
    "tidemill_drift_threshold",
    "The score from which a feature counts as drifted.",
    ("namespace", "monitor", "deployment", "version", "feature", "test"),
)
DRIFTED_SHARE = Metric(
    "tidemill_drifted_features_ratio",
    "Share of judged features that drifted in the last judged window.",
    ("namespace", "monitor", "deployment", "version"),
)
WINDOW_ROWS = Metric(
    "tidemill_monitor_window_rows",
    "Rows in the open window.",
    ("namespace", "monitor", "deployment", "version"),
)
PERFORMANCE = Metric(
    "tidemill_performance",
    "The watched metric on joined labels.",
    ("namespace", "monitor", "deployment", "version", "metric"),
)
LABELS_JOINED = Metric(
    "tidemill_labels_joined_total", "Labels joined to a prediction.", ("namespace", "monitor", "deployment", "version")
)
QUALITY_RATIO = Metric(
    "tidemill_data_quality_ratio",
    "Share of bad values in the last judged window by problem: missing, unseen, out_of_range.",
    ("namespace", "monitor", "deployment", "version", "feature", "problem"),
)
LAST_RECORD = Metric(
    "tidemill_monitor_last_record_timestamp_seconds",
    "When the newest prediction record arrived.",
    ("namespace", "monitor", "deployment", "version"),
)
MONITOR_LAST_SUCCESS = Metric(
    "tidemill_monitor_last_success_timestamp_seconds",
    "When the monitor last evaluated its windows.",
    ("namespace", "monitor", "deployment"),
)
