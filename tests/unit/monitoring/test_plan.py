"""One pass over a ModelMonitor as a whole: children, status and its thrift, events, when to look again."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import yaml
from tests.support.invariants import check_status
from tests.unit.monitoring.make import (
    FULL,
    NOW,
    SPEC,
    UID,
    ago,
    performance,
    report,
    served,
    snapshot,
    window,
)

from tidemill.api.v1alpha1.model_monitor import ModelMonitorStatus
from tidemill.core import conditions
from tidemill.core.plan import ObjectRef, Plan
from tidemill.errors import Waiting
from tidemill.monitoring import plan, status
from tidemill.monitoring.snapshot import Reading, Snapshot
from tidemill_contracts import alerts
from tidemill_contracts.digests import sha256
from tidemill_contracts.inference import MONITOR_CONFIG_ENV
from tidemill_contracts.monitoring import MonitorConfig

GOOD = report(window(2), window(1), performance=performance(0.91234567))
DRIFT = report(window(2, drift=True), window(1, drift=True))
PROMETHEUS = {**FULL, "prometheus": {"labels": {"release": "prometheus"}}}
KINDS = frozenset({"ServiceMonitor", "PrometheusRule"})


WIDE = {
    **SPEC,
    "drift": {
        **SPEC["drift"],
        "overrides": [
            {"name": f"{n:03}".ljust(256, "x"), "test": "JensenShannon", "threshold": 0.123456} for n in range(500)
        ],
    },
    "columns": [{"name": f"{n:03}".ljust(256, "x"), "type": "Category"} for n in range(500)],
}
"""As many overrides and columns, with names as long, as the schema takes."""


def test_a_configuration_that_the_environment_cannot_hold_comes_as_a_file() -> None:
    applied = plan.plan(snapshot(WIDE)).apply
    (config_map,) = [o for o in applied if o["kind"] == "ConfigMap" and "config.json" in o["data"]]
    (made,) = [o for o in applied if o["kind"] == "Deployment"]
    pod = made["spec"]["template"]["spec"]
    given = {e["name"]: e["value"] for e in pod["containers"][0]["env"]}
    text = config_map["data"]["config.json"]
    assert MONITOR_CONFIG_ENV not in given and all(len(value) < 1000 for value in given.values())
    assert given[f"{MONITOR_CONFIG_ENV}_DIGEST"] == sha256(text.encode())
    assert config_map["metadata"]["ownerReferences"][0]["uid"] == UID
    assert {"name": "config", "configMap": {"name": config_map["metadata"]["name"]}} in pod["volumes"]
    config = MonitorConfig.from_json(text)
    assert config.drift is not None and len(config.drift.overrides) == len(config.columns) == 500
    assert applied.index(config_map) < applied.index(made)


def ready(found: Plan) -> tuple[str, str, str | None]:
    assert found.status is not None
    listed = found.status["conditions"]
    summary = conditions.get(listed, "Ready")
    assert summary is not None
    beside = [k for k in ("Reconciling", "Stalled") if conditions.get(listed, k)]
    return summary["status"], summary["reason"], beside[0] if beside else None


READY = {
    "watching": (snapshot(read=GOOD), ("True", "Watching", None)),
    "no deployment": (snapshot(served=None), ("False", "DeploymentNotFound", "Reconciling")),
    "nothing served": (
        snapshot(served=served(version=None, digest=None)),
        ("False", "DeploymentNotServing", "Reconciling"),
    ),
    "pod not ready": (
        snapshot(pod_ready=False, pod_problem="ImagePullBackOff: x"),
        ("False", "MonitorNotReady", "Reconciling"),
    ),
    "no answer": (snapshot(error="the monitor does not answer"), ("False", "MonitorUnreachable", "Reconciling")),
    "drift does not make the watch unready": (snapshot(read=DRIFT), ("True", "Watching", None)),
    "suspended": (snapshot({**SPEC, "suspend": True}, read=GOOD), ("True", "Suspended", None)),
    "second monitor": (snapshot(holder="other"), ("False", "DeploymentAlreadyMonitored", "Stalled")),
}


@pytest.mark.parametrize("name", READY)
def test_ready(name: str) -> None:
    found, want = READY[name]
    made = plan.plan(found)
    assert ready(made) == want
    ModelMonitorStatus.model_validate(made.status)
    check_status({**found.object, "status": made.status})
    assert made.status is not None
    assert {c["reason"] for c in made.status["conditions"]} <= status.REASONS


def test_children_come_before_the_deployment_does() -> None:
    made = plan.plan(snapshot(served=None))
    assert [(m["kind"], m["metadata"]["name"]) for m in made.apply] == [
        ("PersistentVolumeClaim", "churn-monitor"),
        ("Service", "churn-monitor"),
        ("ConfigMap", "churn-monitor-served"),
        ("NetworkPolicy", "churn-monitor-callers"),
        ("Deployment", "churn-monitor"),
    ]
    assert all(m["metadata"]["ownerReferences"][0]["uid"] == UID for m in made.apply)


def test_the_service_is_named_after_the_deployment() -> None:
    made = plan.plan(snapshot({**SPEC, "deployment": "fraud"}, name="watch"))
    names = {m["kind"]: m["metadata"]["name"] for m in made.apply}
    assert names == {
        "PersistentVolumeClaim": "watch-monitor",
        "Service": "fraud-monitor",
        "ConfigMap": "watch-monitor-served",
        "Deployment": "watch-monitor",
        "NetworkPolicy": "watch-monitor-callers",
    }


def served_file(found: Snapshot) -> list[str]:
    (config_map,) = [m for m in plan.plan(found).apply if m["metadata"]["name"] == "churn-monitor-served"]
    digests: list[str] = json.loads(config_map["data"]["digests.json"])
    return digests


def test_the_monitor_is_told_which_versions_are_in_service_without_a_restart() -> None:
    one, two = (snapshot(served=served(digests=frozenset(d))) for d in (["b"], ["b", "a"]))
    assert (served_file(one), served_file(two), served_file(snapshot(served=None))) == (["b"], ["a", "b"], [])
    pods = [[m for m in plan.plan(found).apply if m["kind"] == "Deployment"] for found in (one, two)]
    assert pods[0] == pods[1]


def test_the_kubelet_is_made_to_look_at_a_changed_file_twice() -> None:
    refreshed: str | None = None
    seen = []
    for _ in range(3):
        found = snapshot(pod_name="churn-monitor-x", pod_refreshed=refreshed)
        patches = [p for p in plan.plan(found).patches if p.ref.kind == "Pod"]
        refreshed = patches[0].body["metadata"]["annotations"]["tidemill.io/refreshed-at"] if patches else refreshed
        seen.append(refreshed)
    assert seen[0] != seen[1] == seen[2]
    other = snapshot(pod_name="churn-monitor-x", pod_refreshed=refreshed, served=served(digests=frozenset(["c"])))
    assert [p.ref.name for p in plan.plan(other).patches if p.ref.kind == "Pod"] == ["churn-monitor-x"]
    assert [p for p in plan.plan(snapshot()).patches if p.ref.kind == "Pod"] == []


def test_a_second_monitor_has_no_children() -> None:
    refs = (ObjectRef("apps/v1", "Deployment", "team", "churn-monitor", "u"),)
    made = plan.plan(snapshot(holder="other", children=refs))
    assert made.apply == () and made.delete == refs
    assert "ModelMonitor other" in made.status["conditions"][0]["message"]  # type: ignore[index]


def test_the_service_of_a_deleted_monitor_is_waited_for() -> None:
    with pytest.raises(Waiting) as caught:
        plan.plan(snapshot(predecessor="first"))
    assert "ModelMonitor first" in caught.value.message and caught.value.retry_after_seconds == 2


def test_the_pod_passes_pod_security_restricted_and_is_alone() -> None:
    spec = next(m for m in plan.plan(snapshot()).apply if m["kind"] == "Deployment")["spec"]
    assert spec["strategy"] == {"type": "Recreate"} and spec["replicas"] == 1
    pod = spec["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["fsGroup"]
    (container,) = pod["containers"]
    rights = container["securityContext"]
    assert rights["readOnlyRootFilesystem"] and rights["capabilities"] == {"drop": ["ALL"]}
    assert not pod["automountServiceAccountToken"]


def given(found: Snapshot) -> MonitorConfig:
    pod = next(m for m in plan.plan(found).apply if m["kind"] == "Deployment")["spec"]["template"]["spec"]
    (text,) = [e["value"] for e in pod["containers"][0]["env"] if e["name"] == MONITOR_CONFIG_ENV]
    return MonitorConfig.model_validate_json(text)


def test_the_monitor_is_given_what_to_compute() -> None:
    spec = {
        **FULL,
        "drift": {
            "features": {"test": "JensenShannon", "threshold": 0.1},
            "overrides": [{"name": "größe", "test": "KolmogorovSmirnov", "threshold": 0.3}],
            "predictions": {},
            "driftedShare": 0.5,
        },
        "columns": [{"name": "shop", "type": "Category"}, {"name": "row", "type": "Ignore"}],
    }
    config = given(snapshot(spec))
    assert (config.window_seconds, config.min_rows, config.database) == (60, 50, "/data/monitor.db")
    assert config.drift is not None and config.drift.features is not None
    assert (config.drift.features.test, config.drift.drifted_share) == ("JensenShannon", 0.5)
    assert config.drift.overrides["größe"].threshold == 0.3
    assert config.drift.predictions is not None and config.drift.predictions.test == "PSI"
    assert {name: column.type for name, column in config.columns.items()} == {"shop": "Category", "row": "Ignore"}
    assert config.quality is not None and config.quality.max_missing_ratio == 0.05
    assert config.performance is not None and config.performance.min_labels == 10


def test_what_only_the_operator_judges_restarts_no_monitor() -> None:
    other = {
        **SPEC,
        "actions": {"retrain": {"causes": ["Drift"]}},
        "suspend": True,
    }
    assert given(snapshot()) == given(snapshot(other))
    one, two = (next(m for m in plan.plan(s).apply if m["kind"] == "Deployment") for s in (snapshot(), snapshot(other)))
    assert one["spec"] == two["spec"]


def test_scores_are_rounded_and_times_are_to_the_minute() -> None:
    found = plan.plan(snapshot(FULL, read=report(window(1, drift=True), last=5, performance=performance(0.91234567))))
    assert found.status is not None
    assert found.status["window"]["driftedFeatures"][0]["score"] == 0.612
    assert found.status["performance"]["value"] == 0.912
    assert found.status["lastRecordTime"] == "2026-11-23T11:59:00Z"
    assert found.status["lastEvaluationTime"] == "2026-11-23T12:00:00Z"


def written(found: Snapshot, seconds: float) -> Snapshot:
    """The snapshot after its status was written `seconds` ago, with the same facts."""
    before = replace(found, now=ago(seconds), reading=replace(found.reading, time=ago(seconds)))
    body = plan.plan(before).status
    assert body is not None
    return replace(found, object={**found.object, "status": body}, status=ModelMonitorStatus.model_validate(body))


NEWER = report(window(2), window(1), last=5, performance=performance(0.95))


@pytest.mark.parametrize(
    ("seconds", "read", "writes"),
    [
        (30, GOOD, False),
        (30, NEWER, False),  # numbers wait for their minute
        (60, NEWER, True),
        (300, GOOD, False),  # only the clock has moved
        (600, GOOD, True),
        (5, DRIFT, True),  # a finding does not wait
    ],
)
def test_status_is_written_rarely(seconds: float, read: Any, writes: bool) -> None:
    before = written(snapshot(FULL, read=GOOD), seconds)
    # the newest record keeps its minute, so that only what the row names differs
    now = plan.plan(replace(before, reading=Reading(read, NOW)))
    old = dict(before.object["status"])
    assert now.status is not None
    found = {**now.status, "lastRecordTime": old["lastRecordTime"]} if not writes else now.status
    assert (found != old) == writes


def test_a_new_generation_is_acknowledged_at_once() -> None:
    before = written(snapshot(read=GOOD), 5)
    meta = {**before.object["metadata"], "generation": 2}
    now = plan.plan(replace(before, object={**before.object, "metadata": meta}))
    assert now.status is not None and now.status["observedGeneration"] == 2


def test_a_new_stable_version_re_bases() -> None:
    made = plan.plan(snapshot(status={"version": "churn-1", "driftedWindows": 5}, read=report()))
    assert [e.reason for e in made.events] == ["Rebased"]
    assert made.status is not None
    assert made.status["version"] == "churn-2" and made.status["driftedWindows"] == 0


def test_a_condition_that_becomes_true_is_reported_once() -> None:
    first = plan.plan(snapshot(read=DRIFT))
    assert [e.reason for e in first.events] == ["DriftDetected"]
    again = plan.plan(written(snapshot(read=DRIFT), 5))
    assert again.events == ()


@pytest.mark.parametrize(
    ("found", "want"),
    [
        (snapshot(read=GOOD), 20.0),
        (snapshot({**SPEC, "window": {"seconds": 10}}, read=GOOD), 5.0),
        (snapshot({**SPEC, "window": {"seconds": 3600}}, read=GOOD), 30.0),
        (snapshot(reading=Reading(GOOD, ago(15))), 5.0),
        (snapshot(error="no answer"), 2.0),
        (snapshot(pod_ready=False), 61.0),
        (snapshot(served=None), None),
    ],
)
def test_next_look(found: Snapshot, want: float | None) -> None:
    assert plan.plan(found).requeue_after == want


# -- Prometheus ------------------------------------------------------------------------------------------------------


def objects(found: Snapshot, kind: str) -> list[dict[str, Any]]:
    return [m for m in plan.plan(found).apply if m["kind"] == kind]


def annotations(found: Snapshot) -> dict[str, str]:
    (made,) = objects(found, "Deployment")
    return dict(made["spec"]["template"]["metadata"].get("annotations") or {})


def test_without_prometheus_objects_the_pod_says_where_to_scrape() -> None:
    assert annotations(snapshot())["prometheus.io/scrape"] == "true"
    assert annotations(snapshot(PROMETHEUS))["prometheus.io/scrape"] == "true"
    assert annotations(snapshot(PROMETHEUS, prometheus_kinds=KINDS)) == {}


def test_missing_kinds_are_named() -> None:
    made = plan.plan(snapshot(PROMETHEUS, read=GOOD, prometheus_kinds=frozenset({"ServiceMonitor"})))
    assert made.status is not None
    found = conditions.get(made.status["conditions"], "PrometheusReady")
    assert found is not None and (found["status"], found["reason"]) == ("False", "KindsMissing")
    assert "PrometheusRule" in found["message"] and "ServiceMonitor" not in found["message"]
    assert ready(made) == ("True", "Watching", None)
    without = plan.plan(snapshot(read=GOOD)).status
    assert without is not None and conditions.get(without["conditions"], "PrometheusReady") is None


def test_prometheus_objects_carry_the_labels_that_select_them() -> None:
    found = snapshot(PROMETHEUS, prometheus_kinds=KINDS)
    monitors, (rule,) = objects(found, "ServiceMonitor"), objects(found, "PrometheusRule")
    assert [m["metadata"]["name"] for m in monitors] == ["churn-monitor", "churn-monitor-servers"]
    for made in (*monitors, rule):
        assert made["metadata"]["labels"]["release"] == "prometheus"
    (service,) = objects(found, "Service")
    assert monitors[0]["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()


def test_rules_follow_the_conditions_of_this_monitor_and_no_limits() -> None:
    (rule,) = objects(snapshot(PROMETHEUS, prometheus_kinds=KINDS), "PrometheusRule")
    (group,) = rule["spec"]["groups"]
    rules = {r["alert"]: r for r in group["rules"]}
    assert list(rules) == [alert.name for alert in alerts.MONITOR]
    assert rules["TidemillDriftDetected"]["expr"] == (
        "max by (kind, namespace, name) (max_over_time(tidemill_operator_resource_condition{"
        'kind="ModelMonitor",namespace="team",name="churn",type="DriftDetected",status="True"}[2m])) > 0'
    )
    assert yaml.safe_dump(rule)


def test_rules_carry_the_owner_and_lead_to_the_runbook() -> None:
    labels = {"release": "prometheus", "team": "risk", "tier": "gold"}
    found = snapshot({**FULL, "prometheus": {"labels": labels}}, prometheus_kinds=KINDS)
    found = replace(found, settings=replace(found.settings, docs_url="https://git.example.com/tidemill/"))
    ((group,),) = [rule["spec"]["groups"] for rule in objects(found, "PrometheusRule")]
    identity = {"kind": "ModelMonitor", "namespace": "team", "name": "churn", "deployment": "churn"}
    for one in group["rules"]:
        severity = one["labels"]["severity"]
        assert one["labels"] == {"severity": severity, **identity, "team": "risk", "tier": "gold"}
        page = f"https://git.example.com/tidemill/docs/runbooks.md#{one['alert'].lower()}"
        assert one["annotations"]["runbook_url"] == page


def test_objects_that_are_no_longer_requested_go() -> None:
    refs = (
        ObjectRef("monitoring.coreos.com/v1", "PrometheusRule", "team", "churn-monitor"),
        ObjectRef("apps/v1", "Deployment", "team", "churn-monitor", "u"),
    )
    assert plan.plan(snapshot(children=refs)).delete == refs[:1]


def test_the_value_of_performance_has_its_interval_in_status() -> None:
    proof = {"exceeded_since": NOW.timestamp() - 600, "low": 0.3061, "high": 0.4999, "asymptotic": True}
    bad = performance(0.40004, degraded=True).model_copy(update=proof)
    found = plan.plan(snapshot(FULL, read=report(window(1), performance=bad))).status or {}
    assert found["verdicts"]["performance"] == {
        "value": 0.4,
        "low": 0.306,
        "high": 0.5,
        "asymptotic": True,
        "exceededSince": (NOW - timedelta(seconds=600)).isoformat().replace("+00:00", "Z"),
    }
