"""What the report of the version in service means: one condition for each thing that is watched.

Unknown is not healthy: a condition is Unknown until there is something to judge, and silence is a state of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from tidemill.api.v1alpha1.monitor_performance import Performance
from tidemill.core import conditions
from tidemill.core.conditions import Condition, parse_time
from tidemill.monitoring.policy import alerts_delivered, drift, estimate, fairness, gaming, payloads, retention
from tidemill.monitoring.snapshot import SILENCE_SECONDS, Snapshot, moment
from tidemill.monitoring.state import (
    ALERTS_DELIVERED,
    COLUMNS_NOTED,
    DATA_ARRIVING,
    DRIFT,
    ESTIMATE,
    FAIRNESS,
    GAMING,
    LABELS_ARRIVING,
    PERFORMANCE,
    PROFILE_TOO_OLD,
    QUALITY,
    Evaluation,
)
from tidemill_contracts import model_metrics, reference
from tidemill_contracts.counts import counted, does
from tidemill_contracts.monitoring import (
    FINDINGS,
    MAX_SHARE_UNRECOGNIZED,
    MAX_SHARE_WITHOUT_SCORE,
    ColumnFinding,
    PerformanceReport,
    WindowReport,
)
from tidemill_contracts.rounding import exact, percent, rounded

UNREACHABLE_SECONDS = 60
"""For so long conditions stay as they were when the monitor does not answer: a restart changes none."""

_SHOWN = 5
_DIGITS = 4


def evaluate(snapshot: Snapshot) -> Evaluation:
    """The evaluation; the one of before while the monitor is away for a moment."""
    if snapshot.spec.suspend:
        return all_unknown(snapshot, "Suspended", "spec.suspend is true: nothing is judged")
    if snapshot.served is None or snapshot.served.version is None:
        return all_unknown(
            snapshot, "NothingServed", f"ModelDeployment {snapshot.spec.deployment} serves no version yet"
        )
    if snapshot.reading.report is None:
        why = snapshot.reading.error or "the monitor's report has not been read yet"
        nothing = all_unknown(snapshot, "MonitorUnreachable", why)
        return _kept(snapshot, nothing) or nothing
    if snapshot.reading.report.newer_database is not None:
        return all_unknown(
            snapshot, "DatabaseTooNew", "a newer monitor wrote the database; nothing is counted or judged"
        )
    kept = payloads.written(snapshot)
    found = [_data_arriving(snapshot), *_profile(snapshot), *_columns(snapshot), *([kept] if kept else [])]
    drifted = drift.drifted_windows(snapshot)
    if snapshot.spec.drift is not None:
        found.append(_drift(snapshot, drifted))
    if snapshot.spec.judges_quality:
        found.append(_quality(snapshot))
    if snapshot.spec.performance is not None:
        small = retention.too_small(snapshot)
        found += retention.without_blame([_performance(snapshot), _labels_arriving(snapshot)], small)
        found += [small] if small is not None else []
        found += estimate.conditions(snapshot)
    found += fairness.conditions(snapshot)
    found += gaming.conditions(snapshot)
    told = alerts_delivered.delivered(snapshot)
    found += [told] if told is not None else []
    return Evaluation(tuple(found), drifted)


def _watched(snapshot: Snapshot) -> list[str]:
    spec = snapshot.spec
    drift = [DRIFT] if spec.drift else []
    quality = [QUALITY] if spec.judges_quality else []
    performance = [PERFORMANCE, LABELS_ARRIVING] if spec.performance else []
    performance += [ESTIMATE] if spec.performance and spec.performance.estimate is not None else []
    groups = [FAIRNESS] if spec.fairness else []
    suspects = [GAMING] if spec.gaming is not None else []
    told = [ALERTS_DELIVERED] if spec.notify is not None else []
    return [DATA_ARRIVING, *drift, *quality, *performance, *groups, *suspects, *told]


def all_unknown(snapshot: Snapshot, reason: str, message: str) -> Evaluation:
    """Everything that is watched is Unknown, for one reason."""
    return Evaluation(tuple(Condition(kind, "Unknown", reason, message) for kind in _watched(snapshot)))


def _kept(snapshot: Snapshot, nothing: Evaluation) -> Evaluation | None:
    """The evaluation of the last reading, when that is not long ago and about the same version.

    What was not watched then, before an upgrade or a change of spec, is as in `nothing`.
    """
    status = snapshot.status
    last, served = snapshot.reading.time or status.last_evaluation_time, snapshot.served
    if last is None or served is None or status.version != served.version:
        return None
    if snapshot.now - last > timedelta(seconds=UNREACHABLE_SECONDS):
        return None
    before = {c["type"]: Condition.from_json(c) for c in conditions.of(snapshot.object)}
    kept = tuple(before.get(c.type, c) for c in nothing.conditions)
    return Evaluation(kept, status.drifted_windows) if DATA_ARRIVING in before else None


def silence_limit(snapshot: Snapshot) -> timedelta:
    """How long no prediction may arrive before the condition says so."""
    return timedelta(seconds=max(2 * snapshot.spec.window.seconds, SILENCE_SECONDS))


def _data_arriving(snapshot: Snapshot) -> Condition:
    report, limit = snapshot.version_report, silence_limit(snapshot)
    newest = moment(report.last_record_at) if report and report.last_record_at else None
    if newest is not None and snapshot.now - newest <= limit:
        return Condition(DATA_ARRIVING, "True", "PredictionsArrive", "predictions of the served version arrive")
    since = newest or _watched_since(snapshot)
    text = f"no prediction arrived for {_seconds(limit)}"
    if newest is None and snapshot.now - since <= limit:
        return Condition(DATA_ARRIVING, "Unknown", "NoDataYet", "no prediction of the served version has arrived yet")
    last = f"; the last one at {newest:%Y-%m-%dT%H:%MZ}" if newest else ""
    return Condition(DATA_ARRIVING, "False", "NoTraffic", text + last)


def _profile(snapshot: Snapshot) -> list[Condition]:
    """Present only while spec asks for what the reference profile of the version in service is too old for."""
    spec, report, served = snapshot.spec, snapshot.version_report, snapshot.served
    sections: dict[reference.Ability, object] = {
        "drift of features": spec.drift,
        "drift of features without that of rounding to FP32": spec.drift,
        "types of columns": any(c.type == "Category" for c in spec.columns) or None,
        "drift of predictions": spec.drift and spec.drift.predictions,
        "data quality": spec.quality or spec.drift,
        "performance": spec.performance,
        "estimated performance": spec.performance and spec.performance.estimate,
    }
    version = report.profile_version if report else reference.CURRENT
    lacking = reference.lacking(version, (ability for ability, section in sections.items() if section is not None))
    if not lacking or served is None:
        return []
    text = (
        f"the reference profile of {served.version} has version {version}, which is too old for: {', '.join(lacking)}"
    )
    return [Condition(PROFILE_TOO_OLD, "True", "NotJudged", f"{text}. Train a new version to get a newer profile.")]


def _columns(snapshot: Snapshot) -> list[Condition]:
    """Present only while columns are judged otherwise than their values or spec let expect."""
    report = snapshot.version_report
    noted: dict[ColumnFinding, list[str]] = {}
    for note in report.column_notes if report else ():
        noted.setdefault(note.finding, []).append(note.name)
    if not noted:
        return []
    stated = noted.keys() & {"Unknown", "NoCategories", "NoNumbers", "NoSegments"}
    reason = "StatementNotApplied" if stated else "TypesAssumed"
    text = "; ".join(f"{FINDINGS[finding]}: {_names(noted[finding])}" for finding in FINDINGS if finding in noted)
    return [Condition(COLUMNS_NOTED, "True", reason, f"{text}. spec.columns states the type of a column.")]


def _names(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _watched_since(snapshot: Snapshot) -> datetime:
    """Since when predictions of this version could have arrived."""
    found = [parse_time(snapshot.object["metadata"]["creationTimestamp"])]
    if snapshot.served is not None and snapshot.served.since is not None:
        found.append(snapshot.served.since)
    if snapshot.reading.report is not None:
        found.append(moment(snapshot.reading.report.started_at))
    return max(found)


def _drift(snapshot: Snapshot, drifted: int) -> Condition:
    spec = snapshot.spec.drift
    assert spec is not None  # noqa: S101  the caller checked
    if not snapshot.judged:
        return Condition(DRIFT, "Unknown", "NoJudgedWindow", _no_window(snapshot))
    if not snapshot.judged[-1].comparable:
        return Condition(DRIFT, "Unknown", "FeaturesWithoutScore", _without_score(snapshot.judged[-1]))
    return drift.condition(spec, snapshot.comparable, drifted)


def _without_score(window: WindowReport) -> str:
    named = ", ".join(window.without_score[:_SHOWN])
    left = window.unscored - len(window.without_score[:_SHOWN])
    more = f", {left} more" if left > 0 else ""
    which = f"{window.unscored} of {counted(window.tested, 'feature')}"
    return f"drift cannot be judged by {which}, more than {MAX_SHARE_WITHOUT_SCORE:.0%}: {named}{more}"


def _quality(snapshot: Snapshot) -> Condition:
    windows = snapshot.judged
    if not windows:
        return Condition(QUALITY, "Unknown", "NoJudgedWindow", _no_window(snapshot))
    problems = windows[-1].quality_problems
    if not problems:
        return Condition(QUALITY, "False", "WithinLimits", f"{_last(windows)} is within the limits")
    left = windows[-1].problems - len(problems[:_SHOWN])
    more = f"; {left} more" if left > 0 else ""
    return Condition(QUALITY, "True", "LimitsExceeded", "; ".join(problems[:_SHOWN]) + more)


def _performance(snapshot: Snapshot) -> Condition:
    spec = snapshot.spec.performance
    assert spec is not None  # noqa: S101  the caller checked
    found = snapshot.version_report.performance if snapshot.version_report else None
    if found is not None and _are_foreign(found):
        return Condition(PERFORMANCE, "Unknown", "LabelsNotRecognized", _foreign(found))
    if found is None or found.labels < spec.min_labels:
        labels = found.labels if found else 0
        text = f"{does(labels, 'label', 'has', 'have')} arrived, {spec.min_labels} needed (minLabels)"
        return Condition(PERFORMANCE, "Unknown", "NotEnoughLabels", text)
    if not found.due:
        text = (
            f"fewer than {counted(spec.min_labels, 'label')} (minLabels) of predictions older than labelDelaySeconds "
            f"have arrived; early labels are a biased sample and are not judged"
        )
        return Condition(PERFORMANCE, "Unknown", "LabelsNotDue", text)
    if found.value is None:
        metric = model_metrics.BY_NAME[spec.metric]
        needs = f" and needs {metric.needs}" if metric.needs else ""
        text = (
            f"{spec.metric} cannot be computed from {counted(found.labels, 'label')}: "
            f"it is a metric of {metric.task}{needs}; the monitor's report says more"
        )
        return Condition(PERFORMANCE, "Unknown", "MetricNotDefined", text)
    ratio = found.labels_ratio
    if spec.min_labels_ratio is not None and ratio is not None and ratio < spec.min_labels_ratio:
        needed = spec.min_labels_ratio
        text = (
            f"{percent(ratio, needed)} of the predictions that are older than labelDelaySeconds have a label, "
            f"{percent(needed, needed)} needed (minLabelsRatio)"
        )
        return Condition(PERFORMANCE, "Unknown", "LabelsRatioTooLow", text)
    return _judged(spec, found, found.value)


def _judged(spec: Performance, found: PerformanceReport, value: float) -> Condition:
    """True only for a proven breach; a limit that the interval does not exclude is neither kept nor exceeded."""
    figures = [found.low, value, found.high] if found.low is not None and found.high is not None else [value]
    shown = [rounded(figure, _DIGITS, spec.min, spec.max) for figure in figures]
    known = f"{shown[1]} (95 %: {shown[0]} to {shown[2]})" if len(shown) > 1 else shown[0]
    text = f"{spec.metric} is {known} on {counted(found.labels, 'label')}"
    if found.unrecognized:
        text += f" without {found.unrecognized} that name no class of the model, or are no number"
    given = (("min", spec.min), ("max", spec.max))
    limit = " and ".join(f"{name} {exact(value)}" for name, value in given if value is not None)
    if is_proven(found):
        return Condition(PERFORMANCE, "True", "LimitsExceeded", f"{text}; {limit}")
    # without an interval, which monitors of older releases and labels that they joined do not have, by the value alone
    low, high = (value, value) if found.low is None or found.high is None else (found.low, found.high)
    if (spec.min is None or low >= spec.min) and (spec.max is None or high <= spec.max):
        return Condition(PERFORMANCE, "False", "WithinLimits", text)
    more = found.labels_needed
    needed = f": about {more} more like these would decide" if more else ""
    return Condition(PERFORMANCE, "False", "LimitNotExcluded", f"{text}; {limit} is not excluded{needed}")


def is_proven(found: PerformanceReport) -> bool:
    """Whether labels prove that a limit is exceeded. A monitor of an older release proves nothing."""
    return found.degraded and found.breach_start is not None and found.breach_end is not None


def _labels_arriving(snapshot: Snapshot) -> Condition:
    found = snapshot.version_report.performance if snapshot.version_report else None
    if found is None or found.labels_ratio is None:
        text = "no prediction is older than labelDelaySeconds yet"
        return Condition(LABELS_ARRIVING, "Unknown", "NoLabelDue", text)
    if _are_foreign(found):
        return Condition(LABELS_ARRIVING, "False", "LabelsNotRecognized", _foreign(found))
    if found.labels_ratio == 0:
        return Condition(
            LABELS_ARRIVING, "False", "NoLabels", "no prediction that is older than labelDelaySeconds has a label"
        )
    text = f"{found.labels_ratio:.0%} of the predictions that are older than labelDelaySeconds have a label"
    late = found.label_delays
    if late is not None and late.p50 is not None and late.p99 is not None:
        text += f"; half of the labels come within {_long(late.p50)}, 99 % within {_long(late.p99)}"
    return Condition(LABELS_ARRIVING, "True", "LabelsArrive", text)


def _long(seconds: float) -> str:
    """A delay in the largest unit of which it has two: it is known to 9 % only."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{rounded(seconds / size, 2)} {unit}"
    return f"{rounded(seconds, 2)} s"


def _are_foreign(found: PerformanceReport) -> bool:
    """Whether so many labels say nothing about the model that the others may not stand for all."""
    return found.unrecognized > MAX_SHARE_UNRECOGNIZED * (found.labels + found.unrecognized)


def _foreign(found: PerformanceReport) -> str:
    which = f"{found.unrecognized} of {counted(found.labels + found.unrecognized, 'label')}"
    examples = f", for example {', '.join(map(repr, found.examples))}" if found.examples else ""
    return f"{which} name no class of the model, or are no number{examples}: they count neither as right nor as wrong"


def _last(windows: Sequence[WindowReport]) -> str:
    return f"the last window ({counted(windows[-1].rows, 'row')})"


def _no_window(snapshot: Snapshot) -> str:
    window = snapshot.spec.window
    return (
        f"no window of {window.seconds} s with at least {counted(window.min_rows, 'row')} (minRows) "
        "of the served version has ended yet"
    )


def _seconds(span: timedelta) -> str:
    return f"{span.total_seconds():.0f} s"
