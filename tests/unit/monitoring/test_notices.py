"""Which alerts a monitor's pod is told to send, and what its pod gets for that."""

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.monitoring.make import FULL, NOW, UID, snapshot

from tidemill.monitoring import notices, plan
from tidemill.monitoring.builders import workload
from tidemill.monitoring.snapshot import Snapshot

HOOK = {"name": "ops", "url": "https://hooks.example.com/x", "secretRef": {"name": "hook"}}
NOTIFY = {**FULL, "notify": {"webhooks": [HOOK, {**HOOK, "name": "all", "severities": ["Page", "Ticket"]}]}}
SINCE = NOW.strftime("%Y-%m-%dT%H:%M:%SZ")


def says(spec: dict[str, Any] = NOTIFY, **conditions: tuple[str, str]) -> Snapshot:
    """A monitor whose status has these conditions: type=(status, reason)."""
    listed = [
        {"type": kind, "status": status, "reason": reason, "message": f"why {kind}", "lastTransitionTime": SINCE}
        for kind, (status, reason) in conditions.items()
    ]
    return snapshot(spec, {"conditions": listed, "version": "churn-2"})


def test_a_consequence_pages_and_drift_is_a_ticket() -> None:
    found = notices.active(
        says(
            PerformanceDegraded=("True", "LimitsExceeded"),
            DataQualityDegraded=("True", "LimitsExceeded"),
            DriftDetected=("True", "DriftSustained"),
            DataArriving=("True", "PredictionsArrive"),
        )
    )
    assert {notice.alert: notice.severity for notice in found} == {
        "TidemillPerformanceDegraded": "Page",
        "TidemillDataQualityDegraded": "Page",
        "TidemillDriftDetected": "Ticket",
    }


@pytest.mark.parametrize(
    "conditions",
    [
        {},
        {"PerformanceDegraded": ("False", "WithinLimits")},
        {"PerformanceDegraded": ("Unknown", "NotEnoughLabels")},
        {"ActionsHeld": ("True", "DryRun")},
    ],
)
def test_what_alarms_nobody_is_not_told(conditions: dict[str, tuple[str, str]]) -> None:
    assert notices.active(says(**conditions)) == []


def test_an_alert_says_what_began_when_and_where_it_is_explained() -> None:
    spec = {**NOTIFY, "prometheus": {"labels": {"team": "risk", "release": "x"}}}
    found = says(spec, PerformanceDegraded=("True", "LimitsExceeded"), LabelsArriving=("False", "NoLabels"))
    found = replace(found, settings=replace(found.settings, docs_url="https://docs.example.com/"))
    first, second = notices.active(found)
    assert first.start == first.not_before == NOW.timestamp()
    assert first.message == "why PerformanceDegraded"
    assert first.labels == {
        "namespace": "team", "monitor": "churn", "deployment": "churn", "version": "churn-2", "team": "risk",
    }  # fmt: skip
    assert first.runbook == "https://docs.example.com/docs/runbooks.md#tidemillperformancedegraded"
    assert second.not_before == NOW.timestamp() + 3600, "as the rule of Prometheus"
    assert len({first.id, second.id}) == 2 and UID not in first.id


def served(found: Snapshot) -> dict[str, Any]:
    data: dict[str, Any] = workload.served(found)["data"]
    return data


def test_alerts_reach_the_pod_as_a_file_only_where_somebody_is_to_be_told() -> None:
    quiet = says(FULL, PerformanceDegraded=("True", "LimitsExceeded"))
    assert set(served(quiet)) == {"digests.json"}
    (told,) = json.loads(served(says(PerformanceDegraded=("True", "LimitsExceeded")))["alerts.json"])
    assert told["alert"] == "TidemillPerformanceDegraded"
    assert json.loads(served(says())["alerts.json"]) == []


def test_an_alert_restarts_no_pod_and_makes_the_kubelet_look() -> None:
    calm, alarmed = says(), says(PerformanceDegraded=("True", "LimitsExceeded"))
    pods = [[m for m in plan.plan(s).apply if m["kind"] == "Deployment"] for s in (calm, alarmed)]
    assert pods[0] == pods[1]
    patches = [workload.refreshes(replace(s, pod_name="p"))[0].body for s in (calm, alarmed)]
    assert patches[0] != patches[1]


def test_the_pod_gets_the_one_entry_of_each_secret_and_the_receivers_that_are_allowed() -> None:
    found = says()
    found = replace(found, settings=replace(found.settings, webhook_targets=("alertmanager.monitoring.svc:9093",)))
    config = workload.config(found)
    assert [(w.name, w.severities) for w in config.webhooks] == [("ops", ("Page",)), ("all", ("Page", "Ticket"))]
    assert config.webhook_targets == ("alertmanager.monitoring.svc:9093",)
    spec = workload.deployment(found)["spec"]["template"]["spec"]
    volumes = [v["secret"] for v in spec["volumes"] if v["name"].startswith("webhook-")]
    assert volumes == [{"secretName": "hook", "items": [{"key": "key", "path": "key"}], "optional": True}] * 2
    mounts = [m["mountPath"] for m in spec["containers"][0]["volumeMounts"] if m["name"].startswith("webhook-")]
    assert mounts == ["/mnt/webhooks/ops", "/mnt/webhooks/all"]
    assert workload.config(says(FULL)).webhook_targets == ()
