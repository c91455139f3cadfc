"""Metrics of queue and loop, under controller-runtime's names, so that the stock Kubebuilder dashboards work.

Module-level because a process has one metrics endpoint; several engines in one process (tests) share the series.
Own names start with `tidemill_operator_`.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

RECONCILE_TOTAL = Counter(
    "controller_runtime_reconcile_total", "Number of reconciliations, by result.", ["controller", "result"]
)  # result: success | error | requeue | requeue_after
RECONCILE_ERRORS = Counter(
    "controller_runtime_reconcile_errors_total", "Number of reconciliations that failed with an error.", ["controller"]
)
RECONCILE_TERMINAL_ERRORS = Counter(
    "controller_runtime_terminal_reconcile_errors_total",
    "Number of reconciliations after which the object was Stalled.",
    ["controller"],
)
RECONCILE_PANICS = Counter(
    "controller_runtime_reconcile_panics_total",
    "Number of reconciliations that ended with an unexpected exception.",
    ["controller"],
)
RECONCILE_SECONDS = Histogram(
    "controller_runtime_reconcile_time_seconds",
    "Duration of a reconciliation in seconds.",
    ["controller"],
    buckets=_SECONDS,
)
ACTIVE_WORKERS = Gauge(
    "controller_runtime_active_workers", "Number of workers that are reconciling an object now.", ["controller"]
)
MAX_WORKERS = Gauge(
    "controller_runtime_max_concurrent_reconciles", "Maximum number of concurrent reconciliations.", ["controller"]
)

QUEUE_DEPTH = Gauge("workqueue_depth", "Number of objects in the queue.", ["name"])
QUEUE_ADDS = Counter(
    "workqueue_adds_total",
    "Number of objects added to the queue. An object that is in the queue already is not counted again.",
    ["name"],
)
QUEUE_RETRIES = Counter(
    "workqueue_retries_total", "Number of objects put back into the queue after a failure.", ["name"]
)
QUEUE_SECONDS = Histogram(
    "workqueue_queue_duration_seconds", "Time in seconds that an object waits in the queue.", ["name"], buckets=_SECONDS
)
WORK_SECONDS = Histogram(
    "workqueue_work_duration_seconds", "Time in seconds that a worker needs for an object.", ["name"], buckets=_SECONDS
)
UNFINISHED_SECONDS = Gauge(
    "workqueue_unfinished_work_seconds",
    "Sum of the durations in seconds of the reconciliations that are running.",
    ["name"],
)
LONGEST_SECONDS = Gauge(
    "workqueue_longest_running_processor_seconds",
    "Duration in seconds of the longest reconciliation that is running.",
    ["name"],
)

LEASE_RENEWALS = Counter(
    "tidemill_lease_renewals", "Number of writes of the leader election Lease: acquired, renewed or released."
)
LEADER = Gauge("leader_election_master_status", "1 if this replica is the leader, otherwise 0.", ["name"])
WATCH_SEEN = Gauge(
    "tidemill_operator_watch_last_activity_timestamp_seconds",
    "Unix time in seconds of the last event or bookmark from the watch of a kind.",
    ["kind"],
)
RESYNCS = Counter(
    "tidemill_operator_resync_total", "Number of resyncs: complete lists of a kind from the API server.", ["kind"]
)
DRIFT = Counter(
    "tidemill_operator_resync_drift_total",
    "Number of changes that a resync found and the watch had not delivered, by change: learnt (added or updated) or "
    "pruned (deleted).",
    ["kind", "change"],
)
CACHED = Gauge("tidemill_operator_cached_objects", "Number of objects in the cache, by kind.", ["kind"])
BUILD = Gauge(
    "tidemill_operator_build_info", "Always 1. The label identifies the version of the operator.", ["version"]
)
UPDATES = Gauge(
    "tidemill_operator_updates",
    "Number of objects whose pods are replaced because the operator or an image was upgraded, by state: updating, late "
    "(the new pods are not ready in time) or waiting.",
    ["state"],
)
