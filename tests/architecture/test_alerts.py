"""Each condition that should alarm somebody has one alert, and each alert has a condition that exists and a runbook."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from tests.architecture.test_conditions import TYPES
from tests.support.documented import everywhere, of_kind

from tidemill.core import alert_rules
from tidemill_contracts import alerts
from tidemill_contracts.alert import Alert
from tidemill_contracts.alerts import ALL

ROOT = Path(__file__).resolve().parents[2]
SUMMARY = {"Ready", "Reconciling", "Stalled"}
BY_CONDITION = [alert for alert in ALL if alert.condition]


@pytest.mark.parametrize("kind", alerts.NO_ALERT)
def test_each_condition_has_an_alert_or_a_reason_to_have_none(kind: str) -> None:
    followed = {alert.condition for alert in BY_CONDITION if kind in alert.kinds and alert.condition != "Ready"}
    if kind == "ModelMonitor":
        followed.add(next(a.condition for a in alerts.MONITOR if a.condition == "Ready"))
    without = set(alerts.NO_ALERT[kind])
    assert followed | without == TYPES[kind] | SUMMARY, "a row of tidemill_contracts.alerts is missing"
    assert followed & without == set()


def test_no_condition_has_two_alerts_for_the_same_reasons() -> None:
    assert len({alert.name for alert in ALL}) == len(ALL)
    for table in (alerts.MONITOR, alerts.INSTALLATION):
        keys = [(kind, a.condition, a.status, r) for a in table for kind in a.kinds for r in a.reasons or ("",)]
        followed = [key for key in keys if key[1]]
        assert len(set(followed)) == len(followed)


@pytest.mark.parametrize("alert", BY_CONDITION, ids=lambda a: a.name)
def test_an_alert_follows_a_condition_that_its_kinds_have(alert: Alert) -> None:
    for kind in alert.kinds:
        known = of_kind(kind) | {(type_, status, reason) for type_, status, reason in everywhere()}
        assert alert.condition in {type_ for type_, _, _ in known}, kind
        reasons = {reason for type_, _, reason in known if type_ == alert.condition}
        assert {*alert.reasons, *alert.other_reasons} <= reasons, kind


def test_an_alert_is_named_after_its_condition() -> None:
    for alert in BY_CONDITION:
        words = re.findall(r"[A-Z][a-z]+", " ".join((alert.condition, *alert.reasons)))
        named = set(re.findall(r"[A-Z][a-z]+", alert.name)) - {"Tidemill", "Not", "Monitor"}
        assert named & set(words) or alert.name == "TidemillCandidateUnjudged", alert.name
        assert ("Not" in re.findall(r"[A-Z][a-z]+", alert.name)) == (alert.status != "True" and not _is_error(alert))
        assert alert.reasons or alert.status != "Unknown", alert.name


def _is_error(alert: Alert) -> bool:
    return alert.name == "TidemillReconcileError"


def test_only_a_consequence_pages() -> None:
    assert {alert.name for alert in ALL if alert.severity == "page"} == {
        "TidemillPerformanceDegraded",
        "TidemillDataQualityDegraded",
        "TidemillNotAvailable",
        "TidemillNoLeader",
        "TidemillSLOBurnRate1h",
        "TidemillSLOBurnRate6h",
    }


def test_each_alert_has_its_texts_and_a_runbook() -> None:
    headings = set(re.findall(r"^### (\w+)$", (ROOT / alerts.RUNBOOKS).read_text(), re.MULTILINE))
    assert headings == {alert.name for alert in ALL}, "run `make generate`"
    for rule in (*alert_rules.of_monitor("ns", "m", "d", {}, ""), *alert_rules.of_installation()):
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert page == alerts.RUNBOOKS and anchor == rule["alert"].lower()
        assert all(rule["annotations"].values()) and rule["labels"]["severity"] in ("page", "ticket")


def test_the_shipped_monitor_scrapes_what_the_rules_read() -> None:
    folder = ROOT / "manifests" / "prometheus"
    (rule,) = yaml.safe_load_all((folder / "rules.yaml").read_text())
    assert [r["alert"] for r in rule["spec"]["groups"][0]["rules"]] == [a.name for a in alerts.INSTALLATION]
    monitor = yaml.safe_load((folder / "servicemonitor.yaml").read_text())["spec"]
    service = yaml.safe_load((ROOT / "manifests" / "base" / "service.yaml").read_text())
    (endpoint,) = monitor["endpoints"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]} and endpoint["honorLabels"]
    seconds = int(endpoint["interval"].removesuffix("s"))
    assert 4 * seconds <= 60 * int(alert_rules.BRIDGED.removesuffix("m")), (
        "a change of the leader must not end an alert"
    )
