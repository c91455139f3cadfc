"""The status of a ModelMonitor: last scores, conditions, requests, and whether the watch itself works.

Ready speaks of the watch, not of the model: a model that drifts is watched well. Written at most once a minute unless
something that people or machines act on has changed, because every write is an event for GitOps tools.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from tidemill.api.v1alpha1.model_monitor import (
    ActionStatus,
    Verdicts,
    WindowStatus,
)
from tidemill.api.v1alpha1.monitor_drift import DriftVerdict, FeatureScore
from tidemill.api.v1alpha1.monitor_fairness import FairnessVerdict
from tidemill.api.v1alpha1.monitor_performance import (
    LabelDelayStatus,
    PerformanceStatus,
    PerformanceVerdict,
    PredictionPowered,
    SegmentPerformance,
)
from tidemill.core import pod_settings
from tidemill.core.conditions import READY, Condition, merge, of, trio
from tidemill.monitoring.policy import drift, estimate, fairness, gaming, holds
from tidemill.monitoring.readiness import NotWatching, not_watching
from tidemill.monitoring.snapshot import PROMETHEUS_RULE, SERVICE_MONITOR, Served, Snapshot, child, moment
from tidemill.monitoring.state import Evaluation
from tidemill_contracts.monitoring import ColumnScore, LabelDelays, PoweredReport, SegmentReport, WindowReport

PROMETHEUS_READY = "PrometheusReady"
MAX_FEATURES = 20
WRITE_SECONDS = 60
QUIET_WRITE_SECONDS = 600
"""How old the time of the last reading may get when nothing else is new."""

REASONS = frozenset(
    {
        "Watching", "Suspended", "DeploymentNotFound", "DeploymentNotServing", "DeploymentAlreadyMonitored",
        "MonitorNotReady", "MonitorUnreachable", "NothingServed", "PredictionsArrive", "NoDataYet", "NoTraffic",
        "NoJudgedWindow", "NoDrift", "DriftBelowShare", "DriftNotSustained", "DriftSustained",
        "WithinLimits", "LimitsExceeded",
        "FeaturesWithoutScore", "LabelsNotRecognized", "LabelsNotDue", "LimitNotExcluded", "LabelsRatioTooLow",
        "NotEnoughLabels", "MetricNotDefined", "NoLabelDue", "NoLabels",
        "LabelsArrive", "ObjectsApplied", "KindsMissing", "InvalidSpec",
        "ChildTerminating", "DatabaseTooNew", "NotJudged", "TypesAssumed",
        "EstimateNotPossible", "EstimateNotTrusted", "ColumnNotLogged", "PositiveClassNotKnown", "NotEnoughRows",
        "ClientsNotKnown", "NobodySuspected", "ClientsSuspected",
        "StatementNotApplied", "RetentionTooSmall", "StorageTooSmall", "WindowsTooShort", "RowsWritten", "StoreFailed",
        "MessagesTaken", "MessagesNotTaken", "NothingSent",
        "DisabledInNamespace", "DryRun", "NotAllowed", "RetrainWaits", "SameFinding", "LabelsNotAuthenticated",
        "PipelineNotFound", "NoEarlierVersion", "DeploymentSuspended",
    }
)  # fmt: skip
"""Every reason that this slice sets."""


def build(
    snapshot: Snapshot,
    evaluated: Evaluation,
    actions: Sequence[ActionStatus],
    pods: Condition | None = None,
    *,
    up_to_date: bool = True,
) -> dict[str, Any]:
    """The whole status; the old one when only numbers moved and it is younger than a minute.

    `pods`: what the staged update says of them. `up_to_date`: whether the live children are of the wanted manifests.
    """
    found = _fresh(snapshot, evaluated, actions, pods, not_watching(snapshot, up_to_date=up_to_date))
    old = snapshot.object.get("status") or {}
    if _is_same_report(old, found) and not _is_due(snapshot, old, found):
        return dict(old)
    return found


def _fresh(
    snapshot: Snapshot,
    evaluated: Evaluation,
    actions: Sequence[ActionStatus],
    pods: Condition | None,
    problem: NotWatching | None,
) -> dict[str, Any]:
    report = snapshot.version_report
    judged = snapshot.judged
    served = snapshot.served
    verdict = drift.verdict(snapshot, evaluated)
    found: dict[str, Any] = {
        "observedGeneration": snapshot.generation,
        "version": served.version if served else None,
        "rows": judged[-1].rows if judged else 0,
        "window": _window(judged[-1]).to_json() if judged else None,
        "driftedWindows": evaluated.drifted_windows,
        "verdicts": _verdicts_of(verdict, _performance_verdict(snapshot), fairness.status(snapshot)),
        "observedAlarmsPerMonth": drift.observed_per_month(snapshot, verdict),
        "performance": _performance(snapshot),
        "actions": [a.to_json() for a in actions] or None,
        "findings": [f.to_json() for f in holds.remember(snapshot, evaluated)] or None,
        "suspectedClients": gaming.remembered(snapshot) or None,
        "unsettledSince": _text(problem.since) if problem and snapshot.holder is None else None,
        "conditions": _conditions(snapshot, evaluated, pods, problem),
    }
    if report is not None and report.last_record_at is not None:
        found["lastRecordTime"] = _minute(moment(report.last_record_at))
    if snapshot.reading.time is not None:
        found["lastEvaluationTime"] = _text(snapshot.reading.time)
    elif snapshot.status.last_evaluation_time is not None:
        found["lastEvaluationTime"] = _text(snapshot.status.last_evaluation_time)
    return {name: value for name, value in found.items() if value is not None}


def _is_same_report(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether nothing changed that anybody acts on."""
    keys = ("observedGeneration", "version", "actions")
    if any(old.get(k) != new.get(k) for k in keys):
        return False
    return _verdicts(old) == _verdicts(new)


def _verdicts(status: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """What is written at once: types, statuses and reasons, and in full why the watch itself does not work."""
    found = status.get("conditions") or ()
    blocked = [c["message"] for c in found if c["type"] == READY and c["status"] == "False"]
    return sorted((c["type"], c["status"], c["reason"], *(blocked if c["type"] == READY else ())) for c in found)


def _is_due(snapshot: Snapshot, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether numbers may be written now."""
    last = snapshot.status.last_evaluation_time
    if last is None:
        return True
    age = snapshot.now - last
    clock = ("lastEvaluationTime",)
    if {k: v for k, v in old.items() if k not in clock} == {k: v for k, v in new.items() if k not in clock}:
        return age >= timedelta(seconds=QUIET_WRITE_SECONDS)
    return age >= timedelta(seconds=WRITE_SECONDS)


def _window(window: WindowReport) -> WindowStatus:
    return WindowStatus(
        start=moment(window.start),
        end=moment(window.end),
        rows=window.rows,
        drifted_share=_round(window.drifted_share),
        drifted_features=[_feature(f) for f in drift.worst_first(window)[:MAX_FEATURES]],
        prediction_score=_round(window.prediction.score) if window.prediction else None,
        probability_score=_round(window.probability.score) if window.probability else None,
        quality_problems=[p[:256] for p in window.quality_problems[:MAX_FEATURES]],
        features_without_score=list(window.without_score[:MAX_FEATURES]),
    )


def _feature(column: ColumnScore) -> FeatureScore:
    return FeatureScore(
        name=column.name,
        test=column.test or "",
        score=_round(column.score) or 0.0,
        threshold=_round(column.threshold) or 0.0,
        importance=_round(column.importance),
        change=drift.change(column)[:512] or None,
    )


def _performance(snapshot: Snapshot) -> dict[str, Any] | None:
    report = snapshot.version_report
    found = report.performance if report else None
    if found is None:
        return None
    kept = snapshot.reading.report.retention if snapshot.reading.report else None
    performance = PerformanceStatus(
        metric=found.metric,
        value=_round(found.value),
        labels=found.labels,
        unrecognized_labels=found.unrecognized or None,
        labels_ratio=_round(found.labels_ratio),
        label_delay=_label_delay(found.label_delays),
        discarded=report.discarded or None if report else None,
        labels_unmatched=kept.labels_unmatched or None if kept else None,
    )
    return performance.to_json()


def _label_delay(found: LabelDelays | None) -> LabelDelayStatus | None:
    if found is None or found.p50 is None or found.p90 is None or found.p99 is None:
        return None
    return LabelDelayStatus(p50_seconds=round(found.p50), p90_seconds=round(found.p90), p99_seconds=round(found.p99))


def _verdicts_of(
    of_drift: DriftVerdict | None, performance: PerformanceVerdict | None, of_groups: FairnessVerdict | None
) -> dict[str, Any] | None:
    found = Verdicts(drift=of_drift, performance=performance, fairness=of_groups)
    return None if found == Verdicts() else found.to_json()


def _performance_verdict(snapshot: Snapshot) -> PerformanceVerdict | None:
    report = snapshot.version_report
    found = report.performance if report else None
    if found is None:
        return None
    return PerformanceVerdict(
        value=_round(found.value),
        low=_round(found.low),
        high=_round(found.high),
        labels_needed=found.labels_needed,
        asymptotic=found.asymptotic,
        exceeded_since=moment(found.exceeded_since) if found.exceeded_since is not None else None,
        segments=[_segment(segment) for segment in found.segments] or None,
        prediction_powered=_powered(found.powered) if snapshot.spec.performance else None,
        estimated=estimate.status(snapshot),
    )


def _powered(found: PoweredReport | None) -> PredictionPowered | None:
    if found is None:
        return None
    value, low, high = (round(figure, 3) for figure in (found.value, found.low, found.high))
    return PredictionPowered(value=value, low=low, high=high, rows=found.rows, labels=found.labels)


def _segment(found: SegmentReport) -> SegmentPerformance:
    return SegmentPerformance(
        column=found.column,
        segment=found.segment,
        value=_round(found.value),
        low=_round(found.low),
        high=_round(found.high),
        labels=found.labels,
    )


def _conditions(
    snapshot: Snapshot, evaluated: Evaluation, pods: Condition | None, problem: NotWatching | None
) -> list[dict[str, Any]]:
    found = [*_summary(snapshot, problem), *evaluated.conditions, *([pods] if pods is not None else [])]
    prometheus = prometheus_ready(snapshot)
    if prometheus is not None:
        found.append(prometheus)
    found += pod_settings.conditions({"spec.pod": snapshot.spec.pod})
    return merge(of(snapshot.object), found, snapshot.generation, snapshot.now)


def _summary(snapshot: Snapshot, problem: NotWatching | None) -> list[Condition]:
    deployment, served = snapshot.spec.deployment, snapshot.served
    if snapshot.holder is not None:
        why = (
            "DeploymentAlreadyMonitored",
            f"ModelDeployment {deployment} already has a monitor, ModelMonitor {snapshot.holder}; only one is allowed",
        )
        return trio(ready=False, reason=why[0], message=why[1], stalled=why)
    if snapshot.spec.suspend:
        return trio(
            ready=True, reason="Suspended", message="spec.suspend is true: predictions are counted but not judged"
        )
    failure = "" if snapshot.pod_ready or snapshot.pod_failure is None else f"; its own pod: {snapshot.pod_failure}"
    if served is None:
        text = f"ModelDeployment {deployment} does not exist yet (spec.deployment){failure}"
        return _waiting("DeploymentNotFound", text)
    if served.version is None:
        says = f"; it says {served.says}" if served.says else ""
        return _waiting("DeploymentNotServing", f"ModelDeployment {deployment} serves no version yet{says}{failure}")
    if problem is not None:
        return problem.conditions()
    newer = snapshot.reading.report.newer_database if snapshot.reading.report else None
    if newer is not None:
        text = (
            f"the database on claim {child(snapshot.name)} has schema {newer}, which was written by a newer monitor"
            f" than {snapshot.settings.image}: it is not changed, and nothing is counted. Use the newer image again, or"
            " delete the claim and the pod to start with an empty database"
        )
        why = ("DatabaseTooNew", text)
        return trio(ready=False, reason=why[0], message=why[1], stalled=why)
    text = f"version {served.version} of ModelDeployment {deployment} is monitored{_vain(snapshot, served)}"
    return trio(ready=True, reason="Watching", message=text)


def _vain(snapshot: Snapshot, served: Served) -> str:
    """That spec asks for retrains which nobody would start, beginning with `; `: known before anything drifts."""
    wanted = snapshot.spec.actions
    nobody = holds.retrains_nobody(served) if wanted is not None and wanted.retrain is not None else None
    return f"; spec.actions.retrain will start no run: {nobody.message}" if nobody is not None else ""


def _waiting(reason: str, message: str) -> list[Condition]:
    return trio(ready=False, reason=reason, message=message, reconciling=(reason, message))


def prometheus_ready(snapshot: Snapshot) -> Condition | None:
    """Whether the objects that spec.prometheus asks for are there; None when it asks for none."""
    if snapshot.spec.prometheus is None:
        return None
    missing = [k for k in (SERVICE_MONITOR, PROMETHEUS_RULE) if k not in snapshot.prometheus_kinds]
    if missing:
        kinds = " and ".join(missing)
        text = f"the cluster does not know {kinds} (monitoring.coreos.com/v1): is the Prometheus operator installed?"
        return Condition(PROMETHEUS_READY, "False", "KindsMissing", text)
    return Condition(PROMETHEUS_READY, "True", "ObjectsApplied", "ServiceMonitors and PrometheusRule are applied")


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _minute(when: datetime) -> str:
    return _text(when.replace(second=0))


def _text(when: datetime) -> str:
    return when.replace(microsecond=0).isoformat().replace("+00:00", "Z")
