"""Objects for the Prometheus operator: what to scrape, and when to wake somebody.

Alerts follow one rule: what hurts users (performance, data quality) is a warning to look at soon, drift and silence are
tickets, because drift explains and does not hurt by itself. Thresholds come from spec: alert and condition agree.
"""

from __future__ import annotations

from typing import Any

from tidemill.core import children, names
from tidemill.core import labels as keys
from tidemill.monitoring.builders import workload
from tidemill.monitoring.snapshot import PROMETHEUS_RULE, SERVICE_MONITOR, SILENCE_SECONDS, Snapshot, child
from tidemill_contracts import metrics

API_VERSION = "monitoring.coreos.com/v1"
STALE_SECONDS = 300


def build(snapshot: Snapshot) -> list[dict[str, Any]]:
    """The objects whose kinds the cluster knows; none without spec.prometheus."""
    if snapshot.spec.prometheus is None:
        return []
    out = []
    if SERVICE_MONITOR in snapshot.prometheus_kinds:
        out += [_service_monitor(snapshot), _server_monitor(snapshot)]
    if PROMETHEUS_RULE in snapshot.prometheus_kinds:
        out.append(_rules(snapshot))
    return out


def servers_name(name: str) -> str:
    """Name of the ServiceMonitor of the watched servers, from that of the monitor's children."""
    return names.child_name(name, "servers")


def _metadata(snapshot: Snapshot, name: str) -> dict[str, Any]:
    prometheus = snapshot.spec.prometheus
    wanted = {**(prometheus.labels if prometheus else {}), **workload.labels(snapshot)}
    return children.metadata(name, snapshot.object, wanted)


def _service_monitor(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": SERVICE_MONITOR,
        "metadata": _metadata(snapshot, child(snapshot.name)),
        "spec": {
            "selector": {"matchLabels": workload.selector(snapshot)},
            "endpoints": [{"port": "admin", "path": "/metrics", "interval": "30s", "honorLabels": True}],
        },
    }


def _server_monitor(snapshot: Snapshot) -> dict[str, Any]:
    """The servers of the deployment, through the headless Services of its versions."""
    chosen = {keys.COMPONENT: "server", keys.DEPLOYMENT: snapshot.spec.deployment}
    return {
        "apiVersion": API_VERSION,
        "kind": SERVICE_MONITOR,
        "metadata": _metadata(snapshot, servers_name(child(snapshot.name))),
        "spec": {
            "selector": {"matchLabels": chosen},
            "endpoints": [{"port": "admin", "path": "/metrics", "interval": "30s", "honorLabels": True}],
        },
    }


def _rules(snapshot: Snapshot) -> dict[str, Any]:
    rules = [*_drift(snapshot), *_quality(snapshot), *_performance(snapshot), *_silence(snapshot)]
    return {
        "apiVersion": API_VERSION,
        "kind": PROMETHEUS_RULE,
        "metadata": _metadata(snapshot, child(snapshot.name)),
        "spec": {"groups": [{"name": f"tidemill.{snapshot.namespace}.{snapshot.name}", "rules": rules}]},
    }


def _alert(
    snapshot: Snapshot,
    name: str,
    expression: str,
    *,
    hold: int,
    severity: str,
    summary: str,
    description: str,
    **more: str,
) -> dict[str, Any]:
    labels = {"severity": severity, "namespace": snapshot.namespace, "deployment": snapshot.spec.deployment, **more}
    return {
        "alert": name,
        "expr": expression,
        "for": f"{hold}s",
        "labels": labels,
        "annotations": {
            "summary": f"{snapshot.spec.deployment} in {snapshot.namespace}: {summary}",
            "description": f"{description} See ModelMonitor {snapshot.name}.",
        },
    }


def _matchers(snapshot: Snapshot, **more: str) -> str:
    found = {"namespace": snapshot.namespace, "monitor": snapshot.name, **more}
    return "{" + ",".join(f'{k}="{v}"' for k, v in found.items()) + "}"


def _drift(snapshot: Snapshot) -> list[dict[str, Any]]:
    spec = snapshot.spec.drift
    if spec is None:
        return []
    # The series shows one window for as long as that window is the last judged one.
    hold = snapshot.spec.window.seconds * (spec.consecutive_windows - 1)
    return [
        _alert(
            snapshot,
            "TidemillDriftSustained",
            f"{metrics.DRIFTED_SHARE.name}{_matchers(snapshot)} >= {max(spec.drifted_share, 1e-9):g}",
            hold=hold,
            severity="ticket",
            summary="the inputs differ from the training data",
            description="The share of drifted features is {{ $value | humanizePercentage }}.",
        )
    ]


def _quality(snapshot: Snapshot) -> list[dict[str, Any]]:
    spec = snapshot.spec.quality
    if spec is None:
        return []
    limits = {
        "missing": spec.max_missing_ratio,
        "unseen": spec.max_unseen_ratio,
        "out_of_range": spec.max_out_of_range_ratio,
    }
    return [
        _alert(
            snapshot,
            "TidemillDataQualityDegraded",
            f"{metrics.QUALITY_RATIO.name}{_matchers(snapshot, problem=problem)} > {limit:g}",
            hold=0,
            severity="warning",
            summary=f"too many {problem.replace('_', ' ')} values",
            description="Feature {{ $labels.feature }}: {{ $value | humanizePercentage }}.",
            problem=problem,
        )
        for problem, limit in limits.items()
        if limit is not None
    ]


def _performance(snapshot: Snapshot) -> list[dict[str, Any]]:
    spec = snapshot.spec.performance
    if spec is None:
        return []
    series = f"{metrics.PERFORMANCE.name}{_matchers(snapshot, metric=spec.metric)}"
    limits = (("<", spec.min), (">", spec.max))
    return [
        _alert(
            snapshot,
            "TidemillPerformanceDegraded",
            f"{series} {sign} {limit:g}",
            hold=0,
            severity="warning",
            summary=f"{spec.metric} is {'below' if sign == '<' else 'above'} {limit:g}",
            description="Its value on the labels that have arrived is {{ $value }}.",
            bound="min" if sign == "<" else "max",
        )
        for sign, limit in limits
        if limit is not None
    ]


def _silence(snapshot: Snapshot) -> list[dict[str, Any]]:
    limit = max(2 * snapshot.spec.window.seconds, SILENCE_SECONDS)
    dropped = f'{{namespace="{snapshot.namespace}",deployment="{snapshot.spec.deployment}"}}'
    return [
        _alert(
            snapshot,
            "TidemillNoPredictions",
            f"time() - max({metrics.LAST_RECORD.name}{_matchers(snapshot)}) > {limit}",
            hold=0,
            severity="ticket",
            summary="no predictions arrive",
            description="The last prediction arrived {{ $value | humanizeDuration }} ago.",
        ),
        _alert(
            snapshot,
            "TidemillMonitorStale",
            f"time() - {metrics.MONITOR_LAST_SUCCESS.name}{_matchers(snapshot)} > {STALE_SECONDS}",
            hold=0,
            severity="ticket",
            summary="the monitor has stopped evaluating",
            description="The last evaluation was {{ $value | humanizeDuration }} ago.",
        ),
        _alert(
            snapshot,
            "TidemillPredictionRecordsDropped",
            f"sum(rate({metrics.RECORDS_DROPPED.name}{dropped}[5m])) > 0",
            hold=600,
            severity="ticket",
            summary="prediction records are dropped",
            description="The monitor is slow or unreachable. {{ $value }} records per second are lost.",
        ),
    ]
