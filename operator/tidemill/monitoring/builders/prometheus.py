"""Objects for the Prometheus operator: what to scrape, and when to wake somebody.

The rules follow the conditions that the operator reports of the monitor, not the monitor's own figures: alert and
condition cannot disagree (`tidemill_contracts.alerts`).
"""

from __future__ import annotations

from typing import Any

from tidemill.core import alert_rules, children, names
from tidemill.core import labels as keys
from tidemill.monitoring.builders import workload
from tidemill.monitoring.snapshot import PROMETHEUS_RULE, SERVICE_MONITOR, Snapshot, child

API_VERSION = "monitoring.coreos.com/v1"


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
    prometheus = snapshot.spec.prometheus
    labels = prometheus.labels if prometheus else {}
    docs_url = snapshot.settings.docs_url
    rules = alert_rules.of_monitor(snapshot.namespace, snapshot.name, snapshot.spec.deployment, labels, docs_url)
    return {
        "apiVersion": API_VERSION,
        "kind": PROMETHEUS_RULE,
        "metadata": _metadata(snapshot, child(snapshot.name)),
        "spec": {"groups": [{"name": f"tidemill.{snapshot.namespace}.{snapshot.name}", "rules": rules}]},
    }
