"""What is believed of a report about groups: names are the data's, so bounded, and figures are figures."""

from __future__ import annotations

import math
from collections.abc import Callable

from tidemill_contracts.fairness import GROUP_LENGTH, MAX_GROUPS, FairnessReport, GapReport, GroupReport

_GAPS = 4
LARGEST_COUNT = 2**53


def problem(found: FairnessReport, latest: float) -> str | None:
    """What no monitor could have found; None where there is no such thing. `latest`: the end of the newest window."""
    if len(found.groups) > MAX_GROUPS:
        return f"fairness.groups has more than {MAX_GROUPS} entries"
    for name, start, end in (
        ("start", found.start, found.end),
        ("labels_start", found.labels_start, found.labels_end),
    ):
        if (start is None) != (end is None):
            return f"fairness.{name} is no beginning of a time range"
        if start is not None and end is not None and not 0 <= start < end <= latest:
            return f"fairness.{name} is no beginning of a time range, or is in the future"
    return next((text for group in found.groups if (text := _group(group)) is not None), None)


def cleaned(found: FairnessReport, shown: Callable[[str], str]) -> FairnessReport:
    """The report with names as one line of bounded length each; `shown` makes that of a text."""
    groups = tuple(
        group.model_copy(update={"column": shown(group.column), "group": shown(group.group)[:GROUP_LENGTH]})
        for group in found.groups
    )
    positive = None if found.positive is None else shown(found.positive)
    return found.model_copy(update={"groups": groups, "positive": positive, "note": ""})


def _group(found: GroupReport) -> str | None:
    counts = (found.rows, found.negatives, found.positives)
    if not all(0 <= count <= LARGEST_COUNT for count in counts):
        return "fairness.groups has a number of rows that is not a count"
    rates = (found.selection_rate, found.false_positive_rate, found.false_negative_rate)
    if not all(rate is None or 0 <= rate <= 1 for rate in rates):
        return "fairness.groups has a rate that is not a share"
    if len(found.gaps) > _GAPS:
        return f"fairness.groups.gaps has more than {_GAPS} entries"
    return next((text for gap in found.gaps if (text := _gap(gap)) is not None), None)


def _gap(found: GapReport) -> str | None:
    if not all(0 <= count <= LARGEST_COUNT for count in (found.rows, found.privileged_rows)):
        return "fairness.groups.gaps has a number of rows that is not a count"
    figures = (found.value, found.low, found.high)
    if not all(figure is None or math.isfinite(figure) for figure in figures):
        return "fairness.groups.gaps has a figure that is not a finite number"
    if (found.low is None) != (found.high is None) or (found.low or 0.0) > (found.high or 0.0):
        return "fairness.groups.gaps: low and high are no interval"
    if found.exceeded and not found.judged:
        return "fairness.groups.gaps: exceeded without being judged"
    return None
