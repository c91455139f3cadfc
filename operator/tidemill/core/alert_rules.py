"""The rows of `tidemill_contracts.alerts` as rules of Prometheus.

A condition is read over the last two minutes: when another replica of the operator becomes the leader, its series are
missing for some scrapes, and a pending alert must not start again, nor a firing one end and come back. So an alert ends
at most that much later than its condition.
"""

from __future__ import annotations

from collections.abc import Mapping
from string import Template
from typing import Any

from tidemill_contracts.alert import Alert
from tidemill_contracts.alerts import CONDITION_SERIES, INSTALLATION, MONITOR, RUNBOOKS

BRIDGED = "2m"
"""At least four scrapes of the shipped ServiceMonitor."""
OWNER_LABELS = ("team", "tier")
"""Labels of spec.prometheus.labels that alerts carry, too."""
_IDENTITY = ("kind", "namespace", "name")


def of_monitor(
    namespace: str, name: str, deployment: str, labels: Mapping[str, str], docs_url: str
) -> list[dict[str, Any]]:
    """The rules of one ModelMonitor.

    `labels`: those of spec.prometheus. `docs_url`: what stands before docs/runbooks.md in `runbook_url`, may be empty.
    """
    identity = {"kind": "ModelMonitor", "namespace": namespace, "name": name}
    owner = {key: labels[key] for key in OWNER_LABELS if key in labels}
    known = {**identity, "deployment": deployment}
    return [
        _rule(
            alert,
            Template(alert.expression).substitute(known) if alert.expression else _expression(alert, identity),
            {**known, **owner},
            f"{deployment} in {namespace}: {alert.summary}",
            f"{alert.meaning} See ModelMonitor {name}.",
            docs_url,
        )
        for alert in MONITOR
    ]


def of_installation(docs_url: str = "") -> list[dict[str, Any]]:
    """The rules about all objects of an installation and about the operator itself."""
    subject = "{{ $labels.kind }} {{ $labels.namespace }}/{{ $labels.name }}: "
    return [
        _rule(
            alert,
            alert.expression or _expression(alert, {}),
            {},
            f"{subject if alert.condition else 'Tidemill: '}{alert.summary}",
            alert.meaning,
            docs_url,
        )
        for alert in INSTALLATION
    ]


def _expression(alert: Alert, identity: Mapping[str, str]) -> str:
    """True while an object, or that of `identity`, has the condition of the alert with its status and reason."""
    kinds = "|".join(alert.kinds)
    matchers = [f'{key}="{value}"' for key, value in identity.items()]
    if not identity:
        matchers.append(f'kind=~"{kinds}"' if len(alert.kinds) > 1 else f'kind="{kinds}"')
    matchers += [f'type="{alert.condition}"', f'status="{alert.status}"']
    if alert.reasons:
        matchers.append(f'reason=~"{"|".join(alert.reasons)}"')
    if alert.other_reasons:
        matchers.append(f'reason!~"{"|".join(alert.other_reasons)}"')
    series = f"{CONDITION_SERIES}{{{','.join(matchers)}}}"
    return f"max by ({', '.join(_IDENTITY)}) (max_over_time({series}[{BRIDGED}])) > 0"


def _rule(
    alert: Alert, expression: str, labels: Mapping[str, str], summary: str, description: str, docs_url: str
) -> dict[str, Any]:
    base = f"{docs_url.rstrip('/')}/" if docs_url else ""
    return {
        "alert": alert.name,
        "expr": expression,
        "for": f"{alert.hold}s",
        "labels": {"severity": alert.severity, **labels},
        "annotations": {
            "summary": summary,
            "description": description,
            "runbook_url": f"{base}{RUNBOOKS}#{alert.name.lower()}",
        },
    }
