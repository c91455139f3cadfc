"""Metrics of queue and loop, under controller-runtime's names, so that the stock Kubebuilder dashboards work.

Module-level because a process has one metrics endpoint; several engines in one process (tests) share the series.
Own names start with `tidemill_operator_`.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

RECONCILE_TOTAL = Counter(
    "controller_runtime_reconcile_total", "Passes by result.", ["controller", "result"]
)  # result: success | error | requeue | requeue_after
RECONCILE_ERRORS = Counter("controller_runtime_reconcile_errors_total", "Passes that failed.", ["controller"])
RECONCILE_TERMINAL_ERRORS = Counter(
    "controller_runtime_terminal_reconcile_errors_total", "Passes that ended in Stalled.", ["controller"]
)
RECONCILE_PANICS = Counter(
    "controller_runtime_reconcile_panics_total", "Passes that ended in an unexpected exception.", ["controller"]
)
RECONCILE_SECONDS = Histogram(
    "controller_runtime_reconcile_time_seconds", "Length of a pass.", ["controller"], buckets=_SECONDS
)
ACTIVE_WORKERS = Gauge("controller_runtime_active_workers", "Workers in a pass now.", ["controller"])
MAX_WORKERS = Gauge("controller_runtime_max_concurrent_reconciles", "Workers there are.", ["controller"])

QUEUE_DEPTH = Gauge("workqueue_depth", "Keys that wait.", ["name"])
QUEUE_ADDS = Counter("workqueue_adds_total", "Keys added (not counting those already waiting).", ["name"])
QUEUE_RETRIES = Counter("workqueue_retries_total", "Keys put back after a failure.", ["name"])
QUEUE_SECONDS = Histogram(
    "workqueue_queue_duration_seconds", "How long a key waits for a worker.", ["name"], buckets=_SECONDS
)
WORK_SECONDS = Histogram("workqueue_work_duration_seconds", "How long a key is worked on.", ["name"], buckets=_SECONDS)
UNFINISHED_SECONDS = Gauge("workqueue_unfinished_work_seconds", "Sum of the ages of passes that still run.", ["name"])
LONGEST_SECONDS = Gauge(
    "workqueue_longest_running_processor_seconds", "Age of the oldest pass that still runs.", ["name"]
)

LEASE_RENEWALS = Counter("tidemill_lease_renewals", "Writes of the Lease: taken, renewed or released.")
LEADER = Gauge("leader_election_master_status", "1 while this replica is the leader.", ["name"])
WATCH_SEEN = Gauge(
    "tidemill_operator_watch_last_activity_timestamp_seconds",
    "When the watch of a kind last delivered something, be it a bookmark (Unix time).",
    ["kind"],
)
RESYNCS = Counter("tidemill_operator_resync_total", "Full live lists, by kind.", ["kind"])
DRIFT = Counter(
    "tidemill_operator_resync_drift_total",
    "Objects whose change the watch had not delivered when a resync found it (change: learnt | pruned).",
    ["kind", "change"],
)
CACHED = Gauge("tidemill_operator_cached_objects", "Objects in the cache, by kind.", ["kind"])
BUILD = Gauge("tidemill_operator_build_info", "Always 1; the version is a label.", ["version"])
UPDATES = Gauge(
    "tidemill_operator_updates",
    "Objects whose pods a new operator or image replaces, by state: updating | late (not ready in time) | waiting.",
    ["state"],
)
