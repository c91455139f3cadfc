"""What is said of performance without labels: a condition of its own, as it rests on an assumption that may be wrong.

`PerformanceDegraded` follows labels alone. An estimate leads to no rollback, and to a training run only where spec
names that cause.
"""

from __future__ import annotations

from tidemill.api.v1alpha1.monitor_performance import EstimatedPerformance, Performance
from tidemill.core.conditions import Condition
from tidemill.monitoring.snapshot import Snapshot, moment
from tidemill.monitoring.state import ESTIMATE
from tidemill_contracts import model_metrics
from tidemill_contracts.calibration import MAX_UNSUPPORTED, MIN_ROWS
from tidemill_contracts.counts import counted
from tidemill_contracts.monitoring import EstimateReport
from tidemill_contracts.rounding import exact, rounded

ASSUMPTION = "assumes p(y|x) as in the holdout"
_DIGITS = 4


def of(snapshot: Snapshot) -> EstimateReport | None:
    """The estimate of the version in service; None where there is none, or spec asks for none."""
    wanted = snapshot.spec.performance
    report = snapshot.version_report
    if wanted is None or wanted.estimate is None or report is None or report.performance is None:
        return None
    return report.performance.estimate


def conditions(snapshot: Snapshot) -> list[Condition]:
    """The condition; nothing where spec asks for no estimate."""
    wanted = snapshot.spec.performance
    if wanted is None or wanted.estimate is None:
        return []
    found = of(snapshot)
    if found is None:
        text = f"no window with at least {counted(snapshot.spec.window.min_rows, 'row')} (minRows) has ended yet"
        return [Condition(ESTIMATE, "Unknown", "NoJudgedWindow", text)]
    if found.value is None:
        text = (
            f"{wanted.metric} cannot be estimated from the rows of the last window: the reference profile of the "
            "version has no calibration table for it, or none of the rows lies in it"
        )
        return [Condition(ESTIMATE, "Unknown", "EstimateNotPossible", text)]
    if not found.trusted:
        text = (
            f"{found.unsupported_ratio:.0%} of the rows have answers of which the holdout had fewer than {MIN_ROWS}; "
            f"more than {MAX_UNSUPPORTED:.0%} is too many to trust the estimate"
        )
        return [Condition(ESTIMATE, "Unknown", "EstimateNotTrusted", text)]
    return [_judged(wanted, found, found.value)]


def _judged(wanted: Performance, found: EstimateReport, value: float) -> Condition:
    low, high = (value, value) if found.low is None or found.high is None else (found.low, found.high)
    lower_is_better = model_metrics.BY_NAME[wanted.metric].better == "lower"
    limit = wanted.max if lower_is_better else wanted.min
    shown = [rounded(figure, _DIGITS, limit) for figure in (value, low, high)]
    text = (
        f"{wanted.metric} without labels is estimated as {shown[0]} (95 %: {shown[1]} to {shown[2]}) on "
        f"{counted(found.rows, 'row')}; {ASSUMPTION}"
    )
    if limit is None:
        return Condition(ESTIMATE, "False", "WithinLimits", text)
    name = "max" if lower_is_better else "min"
    if found.exceeded and (value > limit if lower_is_better else value < limit):
        return Condition(ESTIMATE, "True", "LimitsExceeded", f"{text}; {name} {exact(limit)}")
    if high <= limit if lower_is_better else low >= limit:
        return Condition(ESTIMATE, "False", "WithinLimits", text)
    return Condition(ESTIMATE, "False", "LimitNotExcluded", f"{text}; {name} {exact(limit)} is not excluded")


def status(snapshot: Snapshot) -> EstimatedPerformance | None:
    """The figures beside the realised value."""
    found = of(snapshot)
    report = snapshot.version_report
    if found is None or found.value is None:
        return None
    there = report.performance.estimated if report is not None and report.performance is not None else None
    return EstimatedPerformance(
        value=round(found.value, 3),
        low=None if found.low is None else round(found.low, 3),
        high=None if found.high is None else round(found.high, 3),
        rows=found.rows,
        start=moment(found.start),
        end=moment(found.end),
        trusted=found.trusted,
        unsupported_ratio=round(found.unsupported_ratio, 3),
        value_at_labels=None if there is None else round(there, 3),
        assumption=ASSUMPTION,
    )
