"""Alerts and conditions agree: each alert in each situation, from the status of the object to what Prometheus fires."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support import promtool
from tests.support.promtool import at, case, series, shown
from tests.unit.monitoring.make import FULL, ago, performance, report, served, snapshot, window

from tidemill.core import alert_rules
from tidemill.engine.conditions_metric import ConditionsCollector
from tidemill.kube.cache import Cache
from tidemill.monitoring import plan
from tidemill.monitoring.snapshot import Snapshot
from tidemill_contracts import alerts, metrics
from tidemill_contracts.alert import Alert
from tidemill_contracts.alerts import ALL, CONDITION_SERIES, LEADER_SERIES
from tidemill_contracts.monitoring import ColumnScore

pytestmark = pytest.mark.slow

OWNER = {"team": "risk", "tier": "gold", "release": "prometheus"}
RULES = {
    rule["alert"]: rule
    for rule in (
        *alert_rules.of_monitor("team", "churn", "churn", OWNER, "https://git.example.com/tidemill"),
        *alert_rules.of_installation(),
    )
}
BY_CONDITION = [alert for alert in ALL if alert.condition]
BRIDGED = 120
OLD = "sha256:" + "1" * 64


def condition(alert: Alert, status: str, reason: str, **more: str) -> str:
    labels = {"kind": alert.kinds[0], "namespace": "team", "name": "churn", "type": alert.condition}
    return series(CONDITION_SERIES, {**labels, "status": status, "reason": reason, **more})


def ids(alert: Alert) -> str:
    return alert.name


@pytest.mark.parametrize("alert", BY_CONDITION, ids=ids)
def test_an_alert_fires_as_long_as_its_condition_and_no_longer(alert: Alert, tmp_path: Path) -> None:
    rule, hold = RULES[alert.name], alert.hold
    labels = {"kind": alert.kinds[0], "namespace": "team", "name": "churn"}
    reason = alert.reasons[0] if alert.reasons else "Found"
    others = [status for status in ("True", "False", "Unknown") if status != alert.status]
    end, late = hold + 300, hold + 300 + BRIDGED + 2 * promtool.STEP
    bad = condition(alert, alert.status, reason, pod="one")
    early = [at(hold - promtool.STEP, rule, None)] if hold else []
    fires, ends = [*early, at(hold, rule, labels), at(end, rule, labels)], [at(late, rule, None)]
    silent = [at(0, rule, None), at(hold, rule, None), at(end, rule, None)]
    before = (bad, shown(0, end))
    cases = [
        case([(bad, shown(0, late))], [*fires, at(late, rule, labels)]),
        case([before], [*fires, *ends]),  # the object was deleted
        *(
            case([before, (condition(alert, status, "Other"), shown(end + promtool.STEP, late))], [*fires, *ends])
            for status in others
        ),
        *(case([(condition(alert, status, reason), shown(0, late))], silent) for status in others),
        *(case([(condition(alert, alert.status, why), shown(0, late))], silent) for why in alert.other_reasons),
        *([case([(condition(alert, alert.status, "Other"), shown(0, late))], silent)] if alert.reasons else []),
    ]
    promtool.check(tmp_path, [rule], cases)


@pytest.mark.parametrize("alert", BY_CONDITION, ids=ids)
def test_another_leader_neither_ends_an_alert_nor_delays_it(alert: Alert, tmp_path: Path) -> None:
    """A killed leader takes 20 s to be followed, and for three scrapes there is no series."""
    rule, hold = RULES[alert.name], alert.hold
    labels = {"kind": alert.kinds[0], "namespace": "team", "name": "churn"}
    reason = alert.reasons[0] if alert.reasons else "Found"
    cases = []
    for gone in {promtool.STEP, hold + 60}:
        back, end = gone + 4 * promtool.STEP, hold + 600
        samples = [
            (condition(alert, alert.status, reason, pod="one"), shown(0, gone)),
            (condition(alert, alert.status, reason, pod="two"), shown(back, end)),
        ]
        times = range(hold, end, promtool.STEP)
        cases.append(case(samples, [at(seconds, rule, labels) for seconds in times]))
    promtool.check(tmp_path, [rule], cases)


def test_another_monitors_conditions_are_its_own(tmp_path: Path) -> None:
    rule = RULES["TidemillDriftDetected"]
    mine = {"kind": "ModelMonitor", "type": "DriftDetected", "status": "True", "reason": "DriftSustained"}
    others = [{"namespace": "team", "name": "fraud"}, {"namespace": "other", "name": "churn"}]
    samples = [(series(CONDITION_SERIES, {**mine, **other}), shown(0, 600)) for other in others]
    promtool.check(tmp_path, [rule], [case(samples, [at(300, rule, None)])])


# -- situations ------------------------------------------------------------------------------------------------------


def conditions_of(found: Snapshot) -> list[str]:
    """The series that the operator shows of a monitor after a pass over it."""
    status = plan.plan(found).status
    meta = {**found.object["metadata"], "resourceVersion": "1"}
    cache = Cache()
    cache.put({**found.object, "metadata": meta, "status": status})
    (family,) = ConditionsCollector(cache, ["ModelMonitor"], lambda: True).collect()
    return [series(sample.name, sample.labels) for sample in family.samples]


def drifting_predictions() -> Any:
    prediction = ColumnScore(name="prediction", test="PSI", score=0.9, threshold=0.2, drifted=True)
    calm = (ColumnScore(name="tenure", test="PSI", score=0.01, threshold=0.2, drifted=False),)
    return [window(n, drift=True, drifted_share=0.0, features=calm, prediction=prediction) for n in (2, 1)]


DRIFTED = report(window(2, drift=True), window(1, drift=True), performance=performance(0.9))
SITUATIONS: dict[str, tuple[Snapshot, set[str]]] = {
    "all is well": (snapshot(FULL, read=report(window(1), performance=performance(0.9))), set()),
    "drift as long as the spec asks for": (snapshot(FULL, read=DRIFTED), {"TidemillDriftDetected"}),
    "the version that drifted was replaced": (
        snapshot(
            FULL,
            plan.plan(snapshot(FULL, read=DRIFTED)).status,
            read=report(window(2, drift=True), window(1, drift=True), digest=OLD, performance=performance(0.1)),
            served=served(since=ago(30)),
        ),
        set(),
    ),
    "one drifted window": (snapshot(FULL, read=report(window(2), window(1, drift=True))), set()),
    "one drifted window, then a quiet one": (snapshot(FULL, read=report(window(2, drift=True), window(1))), set()),
    "one drifted window, then too few rows": (
        snapshot(FULL, read=report(window(2, drift=True), window(1, judged=False))),
        set(),
    ),
    "predictions drift, features do not": (
        snapshot(FULL, read=report(*drifting_predictions())),
        {"TidemillDriftDetected"},
    ),
    "one wrong label": (
        snapshot(FULL, read=report(window(1), performance=performance(0.0, labels=1, degraded=True))),
        set(),
    ),
    "many wrong labels": (
        snapshot(FULL, read=report(window(1), performance=performance(0.5, labels=500, degraded=True))),
        {"TidemillPerformanceDegraded"},
    ),
    "broken data": (
        snapshot(FULL, read=report(window(1, quality_problems=("age: missing_ratio 0.31 > 0.05",)))),
        {"TidemillDataQualityDegraded"},
    ),
    "too many features without usable values": (
        snapshot(FULL, read=report(window(1, comparable=False, tested=3, without_score=("tenure",)))),
        {"TidemillDriftNotJudged"},
    ),
    "no label for what is due": (
        snapshot(FULL, read=report(window(1), performance=performance(None, labels=0, ratio=0.0))),
        {"TidemillLabelsNotArriving"},
    ),
    "there has never been a prediction": (snapshot(FULL, read=report(last=None)), {"TidemillDataNotArriving"}),
    "predictions have ended": (snapshot(FULL, read=report(window(90), last=5400)), {"TidemillDataNotArriving"}),
    "the pod of the monitor is gone": (snapshot(FULL, pod_ready=False), {"TidemillMonitorNotReady"}),
    "the monitor does not answer": (snapshot(FULL, error="it refused the connection"), {"TidemillMonitorNotReady"}),
    "the deployment does not exist": (snapshot(FULL, served=None), {"TidemillMonitorNotReady"}),
    "nothing is served yet": (snapshot(FULL, served=served(version=None, digest=None)), set()),
    "suspended while it drifts": (snapshot({**FULL, "suspend": True}, read=DRIFTED), set()),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_situation_fires_what_its_conditions_say(name: str, tmp_path: Path) -> None:
    found, firing = SITUATIONS[name]
    labels = {"kind": "ModelMonitor", "namespace": "team", "name": "churn"}
    expected = [at(7200, RULES[a.name], labels if a.name in firing else None) for a in alerts.MONITOR]
    samples = [(one, shown(0, 7200)) for one in conditions_of(found)]
    promtool.check(tmp_path, [RULES[a.name] for a in alerts.MONITOR], [case(samples, expected)])


def test_a_monitor_of_which_nobody_reports_anything_fires(tmp_path: Path) -> None:
    """The operator is away, or is not scraped."""
    rules = [RULES[a.name] for a in alerts.MONITOR]
    labels = {"kind": "ModelMonitor", "namespace": "team", "name": "churn"}
    rule = RULES["TidemillMonitorUnobserved"]
    gone = 900 + BRIDGED + 2 * promtool.STEP
    others = [at(gone, r, None) for r in rules if r is not rule]
    found = [(one, shown(0, 600)) for one in conditions_of(SITUATIONS["all is well"][0])]
    stopped = [at(600, rule, None), at(600 + 900, rule, None), at(600 + gone, rule, labels)]
    cases = [case([], [at(870, rule, None), at(900, rule, labels), *others]), case(found, stopped)]
    promtool.check(tmp_path, rules, cases)


def test_no_leader_fires_whether_replicas_wait_or_are_away(tmp_path: Path) -> None:
    rule = RULES["TidemillNoLeader"]

    def replica(pod: str, value: str, namespace: str = "tidemill-system") -> tuple[str, str]:
        labels = {"name": alerts.LEASE_NAME, "namespace": namespace, "pod": pod}
        return series(LEADER_SERIES, labels), shown(0, 900, value)

    away, waiting = {"name": alerts.LEASE_NAME}, {"namespace": "tidemill-system"}
    cases = [
        case([], [at(270, rule, None), at(300, rule, away)]),
        case([replica("one", "0"), replica("two", "0")], [at(270, rule, None), at(300, rule, waiting)]),
        case([replica("one", "0"), replica("two", "1")], [at(600, rule, None)]),
        case([replica("one", "0"), replica("two", "1", "other")], [at(600, rule, waiting)]),
        case([replica("one", "1")], [at(600, rule, None), at(900 + 600 + promtool.STEP, rule, away)]),
    ]
    promtool.check(tmp_path, [rule], cases)


def test_dropped_records_fire_while_they_are_dropped(tmp_path: Path) -> None:
    rule = RULES["TidemillPredictionRecordsDropped"]
    labels = {"namespace": "team", "deployment": "churn", "version": "churn-2"}
    dropped = series(metrics.RECORDS_DROPPED.name, labels)
    cases = [
        case([(dropped, "0+1x60")], [at(300, rule, None), at(1200, rule, {})]),
        case([(dropped, "7x60")], [at(1200, rule, None)]),
        case([(dropped, "0+1x40 40x60")], [at(1200, rule, {}), at(1200 + 420, rule, None)]),
    ]
    promtool.check(tmp_path, [rule], cases)
