"""How groups of rows are treated: their rates, and how far they are from those of the privileged group. Pure.

Rates of a version are added up over windows; groups are compared by the score test of two rates. How often a limit is
called exceeded wrongly is stated: the level of one look is divided by the comparisons that have a limit (Bonferroni),
and a month has as many looks as windows, whatever they share (docs/monitoring-statistics.md).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

from tidemill_contracts.fairness import (
    OF_LABELS,
    RATIO,
    FairnessConfig,
    FairnessLimit,
    FairnessMetric,
    GapReport,
    GroupColumnConfig,
    GroupReport,
)
from tidemill_contracts.reference import CategoricalProfile
from tidemill_runtime.monitor import detector, performance, two_rates
from tidemill_runtime.monitor.class_names import ClassNames
from tidemill_runtime.monitor.groups import ANSWER
from tidemill_runtime.monitor.performance import Outputs, Sums
from tidemill_runtime.monitor.segments import MISSING, OTHER
from tidemill_runtime.monitor.two_rates import Rate

METRICS: Final[tuple[FairnessMetric, ...]] = (RATIO, "SelectionRateDifference", *OF_LABELS)
LARGEST_LEVEL: Final = 0.05
"""Of one look, whatever the length of a window."""
NOT_CLASSES: Final = "fairness is computed for models that predict classes"
Sized = Mapping[tuple[str, str], "Rates"]  # (column, group)


_NONE: Final = Rate(0, 0)


@dataclass(frozen=True)
class Rates:
    """Rows of one group."""

    selected: Rate = _NONE
    false_positive: Rate = _NONE
    false_negative: Rate = _NONE

    def of(self, metric: FairnessMetric) -> Rate:
        """Return the rate that a metric compares."""
        if metric == "FalsePositiveRateDifference":
            return self.false_positive
        return self.false_negative if metric == "FalseNegativeRateDifference" else self.selected


def positive(config: FairnessConfig, of: Outputs) -> str | None:
    """Return the predicted class that counts as selected; None where it is not known."""
    if not isinstance(of.profile, CategoricalProfile):
        return None
    if config.positive is None:
        return performance.joined({}, of.profile, of.classes).positive
    return ClassNames((*of.classes, *of.profile.categories)).find(config.positive)


def rates(answers: Sums, labels: Sums, of: Outputs, selected: str) -> Rates:
    """Return the rates of a group from its sums; `answers` and `labels` are of the windows that each is computed on."""
    assert of.profile is not None  # noqa: S101  the caller knows the class
    predicted = {name.removeprefix(ANSWER): rows for name, rows in answers.items() if name.startswith(ANSWER)}
    cells = performance.joined(labels, of.profile, of.classes).cells
    of_negative = {prediction: 0.0 for _, prediction in cells} | {selected: 0.0}
    of_positive = dict(of_negative)
    for (label, prediction), rows in cells.items():
        into = of_positive if label == selected else of_negative
        into[prediction] += rows
    positives = sum(of_positive.values())
    return Rates(
        Rate(predicted.get(selected, 0.0), sum(predicted.values())),
        Rate(of_negative[selected], sum(of_negative.values())),
        Rate(positives - of_positive[selected], positives),
    )


def is_enough(config: FairnessConfig, sizes: Sized, *, labels: bool) -> bool:
    """Return whether each known group has as many rows as its rates need."""
    wanted = [metric for metric in METRICS if (metric in OF_LABELS) == labels]
    named = [rate.of(metric).rows for key, rate in sizes.items() if is_compared(key[1]) for metric in wanted]
    known = {(column.column, column.privileged) for column in config.groups} <= sizes.keys()
    return known and bool(named) and min(named) >= config.min_rows


def reports(config: FairnessConfig, sizes: Sized, seconds: int) -> tuple[tuple[GroupReport, ...], float | None]:
    """Return the groups with their rates and gaps, and the level of one comparison; `seconds` of a window."""
    judged = sum(
        _is_judged(config, sizes[key].of(limit.metric), sizes[base].of(limit.metric))
        for key, base in _pairs(config, sizes)
        for limit in config.limits
    )
    look = min(config.false_alarms_per_month * seconds / detector.MONTH, LARGEST_LEVEL)
    level = look / judged if judged else None
    bases = dict(_pairs(config, sizes))
    limits = {limit.metric: limit for limit in config.limits}
    order = {column.column: number for number, column in enumerate(config.groups)}
    found = []
    for key in sorted(sizes, key=lambda key: (order[key[0]], key[1] in (OTHER, MISSING), key[1])):
        base = bases.get(key)
        gaps = [_gap(config, m, limits.get(m), sizes[key], sizes[base], level) for m in METRICS] if base else []
        found.append(_group(key, sizes[key], _privileged(config, key), tuple(gap for gap in gaps if gap is not None)))
    return tuple(found), level


def _group(key: tuple[str, str], of: Rates, is_privileged: bool, gaps: tuple[GapReport, ...]) -> GroupReport:
    return GroupReport(
        column=key[0],
        group=key[1],
        privileged=is_privileged,
        rows=int(of.selected.rows),
        selection_rate=of.selected.value,
        negatives=int(of.false_positive.rows),
        false_positive_rate=of.false_positive.value,
        positives=int(of.false_negative.rows),
        false_negative_rate=of.false_negative.value,
        gaps=gaps,
    )


def is_compared(group: str) -> bool:
    """Return whether a group is one, not what is left over."""
    return group not in (OTHER, MISSING)


def _privileged(config: FairnessConfig, key: tuple[str, str]) -> bool:
    return any((column.column, column.privileged) == key for column in config.groups)


def _pairs(config: FairnessConfig, sizes: Sized) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    """Return each group that is compared, with the privileged one of its column where that has rows."""
    columns: dict[str, GroupColumnConfig] = {column.column: column for column in config.groups}
    found = []
    for key in sizes:
        base = (key[0], columns[key[0]].privileged)
        if base in sizes and key != base and is_compared(key[1]):
            found.append((key, base))
    return found


def _is_judged(config: FairnessConfig, one: Rate, other: Rate) -> bool:
    return min(one.rows, other.rows) >= config.min_rows


def _gap(
    config: FairnessConfig,
    metric: FairnessMetric,
    limit: FairnessLimit | None,
    group: Rates,
    base: Rates,
    level: float | None,
) -> GapReport | None:
    """Return one group compared with the privileged one; None where one of them has no rows for it."""
    one, other = group.of(metric), base.of(metric)
    first, second = one.value, other.value
    if first is None or second is None:
        return None
    value = (first / second if second else None) if metric == RATIO else first - second
    interval = two_rates.ratio_interval(one, other) if metric == RATIO else two_rates.difference_interval(one, other)
    judged = limit is not None and level is not None and _is_judged(config, one, other)
    return GapReport(
        metric=metric,
        value=value,
        low=interval[0] if interval else None,
        high=interval[1] if interval else None,
        rows=int(one.rows),
        privileged_rows=int(other.rows),
        judged=judged,
        exceeded=bool(judged and limit is not None and level is not None and _is_beyond(limit, one, other, level)),
    )


def _is_beyond(limit: FairnessLimit, one: Rate, other: Rate, level: float) -> bool:
    """Whether a limit is excluded at a level; a difference has a limit on either side, each with half of it."""
    if limit.min is not None:
        return two_rates.ratio_score(one, other, limit.min) < NormalDist().inv_cdf(level)
    if limit.max is None or not 0 < limit.max < 1:
        return False
    edge = -NormalDist().inv_cdf(level / 2)
    above = two_rates.difference_score(one, other, limit.max) > edge
    return above or two_rates.difference_score(one, other, -limit.max) < -edge
