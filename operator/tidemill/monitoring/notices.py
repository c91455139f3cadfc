"""The alerts of a monitor that are true now, as its pod tells them to webhooks.

They follow the conditions that the status has, as the rules of Prometheus do: what is told was written before.
"""

from __future__ import annotations

from datetime import timedelta

from tidemill.core import conditions, hashing
from tidemill.core.alert_rules import OWNER_LABELS
from tidemill.core.conditions import parse_time
from tidemill.monitoring.snapshot import Snapshot
from tidemill_contracts.alert import Alert
from tidemill_contracts.alerts import MONITOR, RUNBOOKS
from tidemill_contracts.notices import AlertNotice

_MESSAGE = 2048


def active(snapshot: Snapshot) -> list[AlertNotice]:
    """Each alert whose condition has the alarming status, with when that began."""
    written = conditions.of(snapshot.object)
    found = ((alert, conditions.get(written, alert.condition)) for alert in MONITOR if alert.condition)
    return [_notice(snapshot, alert, c) for alert, c in found if c is not None and _is_alarming(alert, c)]


def _is_alarming(alert: Alert, condition: dict[str, str]) -> bool:
    if condition["status"] != alert.status or condition["reason"] in alert.other_reasons:
        return False
    return not alert.reasons or condition["reason"] in alert.reasons


def _notice(snapshot: Snapshot, alert: Alert, condition: dict[str, str]) -> AlertNotice:
    since = condition["lastTransitionTime"]
    start = parse_time(since)
    given = snapshot.spec.prometheus.labels if snapshot.spec.prometheus is not None else {}
    docs = snapshot.settings.docs_url
    return AlertNotice(
        id=hashing.short([snapshot.object["metadata"]["uid"], alert.name, since], 16),
        alert=alert.name,
        severity="Page" if alert.severity == "page" else "Ticket",
        start=start.timestamp(),
        not_before=(start + timedelta(seconds=alert.hold)).timestamp(),
        summary=f"{snapshot.spec.deployment} in {snapshot.namespace}: {alert.summary}",
        message=condition["message"][:_MESSAGE],
        runbook=f"{docs.rstrip('/')}/{RUNBOOKS}#{alert.name.lower()}" if docs else "",
        labels={
            "namespace": snapshot.namespace,
            "monitor": snapshot.name,
            "deployment": snapshot.spec.deployment,
            **({"version": snapshot.status.version} if snapshot.status.version else {}),
            **{key: given[key] for key in OWNER_LABELS if key in given},
        },
    )
