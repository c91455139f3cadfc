"""The parts of the page on what spec asks for beside drift: estimates, fairness, clients, objectives."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from tidemill_contracts.counts import counted
from tidemill_contracts.fairness import GapReport, GroupReport
from tidemill_contracts.gaming import GamingFinding
from tidemill_runtime.monitor.page.content import PageContent
from tidemill_runtime.monitor.page.markup import Markup, element, joined, table
from tidemill_runtime.monitor.page.sections import interval, moment, number, percent, share

_MOST_ROWS: Final = 100
_OBJECTIVES: Final = (("availability", "Availability"), ("latency", "Response time"))
_Numbers = Iterator[int]


def estimates(content: PageContent, numbers: _Numbers) -> Markup:
    """The watched metric without labels, and of all rows from the labels of a sample."""
    del numbers
    found = content.performance
    parts: list[Markup] = []
    guess = found.estimate if found is not None else None
    if guess is not None:
        state = "trusted" if guess.trusted else "not trusted: too many rows are of kinds that the holdout hardly had"
        limit = "; it is beyond a limit by more than its error" if guess.exceeded else ""
        text = f"Estimated without labels: {interval(guess.value, guess.low, guess.high)} for "
        text += f"{counted(guess.rows, 'row')} from {moment(guess.start)} to {moment(guess.end)}, {state}{limit}. "
        text += f"Rows of such kinds: {percent(guess.unsupported_ratio)}."
        parts.append(element("p", text, f" {guess.note}." if guess.note else ""))
        parts.append(element("p", "It assumes that labels depend on the answers as they did on the holdout."))
    if found is not None and found.estimated is not None:
        text = f"For the rows of the value from labels ({number(found.value)}) the estimate is "
        parts.append(element("p", f"{text}{number(found.estimated)}. Far apart, the assumption does not hold."))
    powered = found.powered if found is not None else None
    if powered is not None:
        text = f"Of all {counted(powered.rows, 'row')}, from the labels of a random sample of {powered.labels:,} and "
        text += f"all answers (prediction-powered): {interval(powered.value, powered.low, powered.high)}."
        parts.append(element("p", text))
    if not parts:
        return element(
            "p", "No estimate: spec.performance.estimate and labels: RandomSample are not set, or not possible."
        )
    return joined(*parts)


def fairness(content: PageContent, numbers: _Numbers) -> Markup:
    """The rates of groups, and their comparisons with the privileged one."""
    del numbers
    found = content.fairness
    if found is None:
        return element("p", "Groups are not compared: spec.fairness is not set.")
    note = element("p", f"{found.note}.") if found.note else Markup()
    if not found.groups:
        return joined(element("p", "No group has rows yet."), note)
    rates: list[list[object]] = [
        [
            _group(one) + (" (privileged)" if one.privileged else ""),
            f"{one.rows:,}",
            share(one.selection_rate),
            f"{one.negatives:,}",
            share(one.false_positive_rate),
            f"{one.positives:,}",
            share(one.false_negative_rate),
        ]
        for one in found.groups
    ]
    gaps: list[list[object]] = [
        [
            f"{_group(one)}: {gap.metric}",
            interval(gap.value, gap.low, gap.high),
            f"{gap.rows:,}",
            f"{gap.privileged_rows:,}",
            _state(gap),
        ]
        for one in found.groups
        for gap in one.gaps
    ]
    text = (
        f"Selected: the class {found.positive}." if found.positive is not None else "The selected class is not known."
    )
    if found.start is not None and found.end is not None:
        text += f" Selection rates from {moment(found.start)} to {moment(found.end)}."
    if found.labels_start is not None and found.labels_end is not None:
        text += f" Error rates from {moment(found.labels_start)} to {moment(found.labels_end)}."
    heads = ["Group", "Rows", "Selection rate", "Negatives", "False positive rate"]
    heads += ["Positives", "False negative rate"]
    compared = ["Comparison", "Value (95 % interval)", "Rows", "Rows of the privileged group", "Limit"]
    return joined(
        element("p", text),
        note,
        table("Rates by group", heads, rates),
        table("Groups compared with the privileged one", compared, gaps) if gaps else Markup(),
    )


def _group(one: GroupReport) -> str:
    return f"{one.column}: {one.group}"


def _state(gap: GapReport) -> str:
    if gap.exceeded:
        return "exceeded"
    return "not excluded to be kept" if gap.judged else "not judged: no limit, or too few rows"


def clients(content: PageContent, numbers: _Numbers) -> Markup:
    """Each client's figures, by its hash, and what is suspected of it on which evidence."""
    del numbers
    found = content.gaming
    if found is None:
        return element("p", "Clients are not looked at: spec.gaming is not set.")
    if not found.clients or found.period_start is None:
        return element("p", "No client with a key is known yet.")
    heads = ["Client", "Suspected of", "Rows", "Most a minute", "Near-duplicates", "One column changed"]
    heads += ["Near the boundary", "Labels", "Of all labels", "For others"]
    rows: list[list[object]] = [
        [
            one.client,
            ", ".join(finding.kind for finding in one.findings) or "nothing",
            *(f"{one.rows:,}", f"{one.most_per_minute:,}"),
            *map(share, (one.near_duplicate_share, one.probing_share, one.boundary_share)),
            f"{one.labels:,}",
            *map(share, (one.label_share, one.foreign_label_share)),
        ]
        for one in found.clients
    ]
    evidence: list[list[object]] = [
        [f"{one.client}: {finding.kind}", *_evidence(finding)] for one in found.clients for finding in one.findings
    ]
    text = f"{len(rows)} of {counted(found.known, 'client')} since {moment(found.period_start)}, of all versions: "
    note = "suspected ones first, then the busiest. Probing and answers near the boundary are figures, not alarms."
    parts = [element("p", text + note), table("Clients by keyed hash", heads, rows)]
    if evidence:
        columns = ["Finding", "Value", "Limit", "Of", "Expected", "Began", "Found"]
        parts.append(table("Evidence", columns, evidence[:_MOST_ROWS]))
    return joined(*parts)


def _evidence(finding: GamingFinding) -> list[object]:
    is_rate = finding.kind == "PredictionRate"
    what = "seconds" if is_rate else "rows" if finding.kind == "NearDuplicates" else "labels"
    value, limit = (
        (number(finding.value), number(finding.limit))
        if is_rate
        else (
            percent(finding.value),
            percent(finding.limit),
        )
    )
    expected = share(finding.expected)
    return [value, limit, f"{finding.of:,} {what}", expected, moment(finding.began), moment(finding.found)]


def objectives(content: PageContent, numbers: _Numbers) -> Markup:
    """The service level objectives, where the command was given the deployment."""
    del numbers
    if content.objectives is None:
        return element(
            "p",
            "Objectives are judged on the router's figures, which this monitor does not have. They are in ",
            element("code", f"kubectl get md {content.deployment} -o jsonpath='{{.status.slo}}'"),
            ".",
        )
    status = content.objectives.status
    rows: list[list[object]] = []
    for key, heading in _OBJECTIVES:
        one = status.get(key)
        if isinstance(one, Mapping):
            figures = [one.get(name) for name in ("objective", "requests", "bad", "budgetLeft")]
            rows.append([heading, *map(_figure, figures), _burn_rates(one.get("burnRates"))])
    heads = ["Objective", "Good requests wanted", "Requests", "Bad ones", "Budget left", "Burn rate by window"]
    since = f"Requests since {_figure(status.get('since'))}, read at {_figure(status.get('time'))}."
    note = element("p", f"{since} With a burn rate of 1 the budget lasts for exactly its window.")
    name = f"Objectives of {content.objectives.deployment}"
    return joined(note, table(name, heads, rows) if rows else element("p", "status.slo has no objective."))


def _burn_rates(rates: Any) -> str:
    found = [one for one in rates if isinstance(one, Mapping)] if isinstance(rates, list) else []
    return ", ".join(f"{one.get('window')}: {_figure(one.get('rate'))}" for one in found[:10]) or "–"


def _figure(value: Any) -> str:
    if isinstance(value, float) and not isinstance(value, bool):
        return number(value)
    return "–" if value is None or isinstance(value, dict | list) else str(value)
