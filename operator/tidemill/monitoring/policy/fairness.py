"""What is said of groups of rows: a condition of its own, which leads to no action."""

from __future__ import annotations

from collections.abc import Iterator

from tidemill.api.v1alpha1.monitor_fairness import Fairness, FairnessLimit, FairnessVerdict, Gap, Group
from tidemill.core.conditions import Condition
from tidemill.monitoring.snapshot import Snapshot, moment
from tidemill.monitoring.state import FAIRNESS
from tidemill_contracts.counts import counted
from tidemill_contracts.fairness import RATIO, FairnessReport, GapReport, GroupReport
from tidemill_contracts.rounding import rounded

_SHOWN = 3
_WORDS = {
    "SelectionRateRatio": "selection rate ratio",
    "SelectionRateDifference": "selection rate difference",
    "FalsePositiveRateDifference": "false positive rate difference",
    "FalseNegativeRateDifference": "false negative rate difference",
}
_Judged = tuple[GroupReport, GapReport, str]


def conditions(snapshot: Snapshot) -> list[Condition]:
    """The condition; nothing where spec asks for no fairness."""
    wanted = snapshot.spec.fairness
    return [] if wanted is None else [_condition(snapshot, wanted)]


def _condition(snapshot: Snapshot, wanted: Fairness) -> Condition:
    unlogged = [] if snapshot.served is None else _unlogged(wanted, snapshot.served.logged_columns)
    if unlogged:
        text = (
            f"not in spec.logging.columns of ModelDeployment {snapshot.spec.deployment}, so that its servers do not "
            f"send it: {', '.join(unlogged)}"
        )
        return Condition(FAIRNESS, "Unknown", "ColumnNotLogged", text)
    found = _report(snapshot)
    if found is not None and found.positive is None:
        text = (
            "the model predicts no classes, or spec.fairness.positive is not one of them; it is required for more "
            "than two"
        )
        return Condition(FAIRNESS, "Unknown", "PositiveClassNotKnown", text)
    judged = list(_judged(wanted, found)) if found is not None else []
    if not judged:
        rows = counted(wanted.min_rows, "row")
        text = f"no group and its privileged group have {rows} (minRows) for a comparison that has a limit"
        return Condition(FAIRNESS, "Unknown", "NotEnoughRows", text)
    beyond = [_text(wanted, one) for one in judged if one[2] == "Exceeded"]
    if beyond:
        more = f"; {len(beyond) - _SHOWN} more" if len(beyond) > _SHOWN else ""
        return Condition(FAIRNESS, "True", "LimitsExceeded", "; ".join(beyond[:_SHOWN]) + more)
    open_ones = [_text(wanted, one) for one in judged if one[2] != "WithinLimit"]
    if open_ones:
        more = f"; {len(open_ones) - _SHOWN} more" if len(open_ones) > _SHOWN else ""
        text = f"a limit is neither kept nor exceeded for sure: {'; '.join(open_ones[:_SHOWN])}{more}"
        return Condition(FAIRNESS, "False", "LimitNotExcluded", text)
    text = f"{counted(len(judged), 'comparison')} of groups within the limits"
    return Condition(FAIRNESS, "False", "WithinLimits", text + _missing(wanted, found))


def _unlogged(wanted: Fairness, logged: frozenset[str]) -> list[str]:
    return [group.column for group in wanted.groups if group.column not in logged]


def _missing(wanted: Fairness, found: FairnessReport | None) -> str:
    """What has a limit and is not judged: a group that is too small is no healthy one."""
    limited = {limit.metric for limit in wanted.limits}
    small = [
        f"{group.column}={group.group}"
        for group in (found.groups if found else ())
        for judged in [{gap.metric for gap in group.gaps if gap.judged}]
        if not group.privileged and not group.group.startswith("(") and not limited <= judged
    ]
    more = f" and {len(small) - _SHOWN} more" if len(small) > _SHOWN else ""
    return f"; fewer than minRows rows for a limit: {', '.join(small[:_SHOWN])}{more}" if small else ""


def _judged(wanted: Fairness, found: FairnessReport) -> Iterator[_Judged]:
    for group in found.groups:
        for gap in group.gaps:
            verdict = _verdict(wanted, gap)
            if verdict != "NotJudged":
                yield group, gap, verdict


def _verdict(wanted: Fairness, gap: GapReport) -> str:
    """What a comparison says; the monitor says what is proven, spec what the limit is."""
    limit = _limit(wanted, gap)
    if limit is None or not gap.judged or min(gap.rows, gap.privileged_rows) < wanted.min_rows:
        return "NotJudged"
    if gap.exceeded:
        return "Exceeded"
    if gap.low is None or gap.high is None:
        return "LimitNotExcluded"
    if gap.metric == RATIO:
        return "WithinLimit" if limit.min is not None and gap.low >= limit.min else "LimitNotExcluded"
    return (
        "WithinLimit"
        if limit.max is not None and -limit.max <= gap.low <= gap.high <= limit.max
        else "LimitNotExcluded"
    )


def _limit(wanted: Fairness, gap: GapReport) -> FairnessLimit | None:
    return next((limit for limit in wanted.limits if limit.metric == gap.metric), None)


def _text(wanted: Fairness, one: _Judged) -> str:
    group, gap, _ = one
    limit = _limit(wanted, gap)
    ends = [] if limit is None else [limit.min, limit.max, None if limit.max is None else -limit.max]

    def shown(figure: float) -> str:
        return rounded(figure, 3, *ends)

    value = "not defined" if gap.value is None else shown(gap.value)
    between = "" if gap.low is None or gap.high is None else f" (95 %: {shown(gap.low)} to {shown(gap.high)})"
    rows = f"{counted(gap.rows, 'row')} against {gap.privileged_rows}"
    return f"{group.column}={group.group}: {_WORDS[gap.metric]} {value}{between} on {rows}"


def _report(snapshot: Snapshot) -> FairnessReport | None:
    report = snapshot.version_report
    return report.fairness if report is not None else None


def status(snapshot: Snapshot) -> FairnessVerdict | None:
    """The rates of all groups, with what was compared."""
    wanted, found = snapshot.spec.fairness, _report(snapshot)
    if wanted is None or found is None:
        return None
    return FairnessVerdict(
        positive=found.positive,
        groups=[_group(wanted, group) for group in found.groups] or None,
        start=None if found.start is None else moment(found.start),
        end=None if found.end is None else moment(found.end),
        labels_start=None if found.labels_start is None else moment(found.labels_start),
        labels_end=None if found.labels_end is None else moment(found.labels_end),
    )


def _group(wanted: Fairness, found: GroupReport) -> Group:
    return Group(
        column=found.column,
        group=found.group,
        privileged=found.privileged,
        rows=found.rows,
        selection_rate=_round(found.selection_rate),
        negatives=found.negatives,
        false_positive_rate=_round(found.false_positive_rate),
        positives=found.positives,
        false_negative_rate=_round(found.false_negative_rate),
        gaps=[_gap(wanted, gap) for gap in found.gaps] or None,
    )


def _gap(wanted: Fairness, found: GapReport) -> Gap:
    return Gap.model_validate(
        {
            "metric": found.metric,
            "value": _round(found.value),
            "low": _round(found.low),
            "high": _round(found.high),
            "verdict": _verdict(wanted, found),
        }
    )


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
