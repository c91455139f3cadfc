"""The parts of the page on one version's windows, each with text, pictures and tables; and how figures are written."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from tidemill_contracts.counts import counted
from tidemill_contracts.monitoring import WindowReport
from tidemill_runtime.monitor.page import charts
from tidemill_runtime.monitor.page.charts import Line, figure
from tidemill_runtime.monitor.page.content import Distribution, PageContent
from tidemill_runtime.monitor.page.markup import Markup, element, joined, table

_MOST_PROBLEMS: Final = 100
_Numbers = Iterator[int]


def summary(content: PageContent, numbers: _Numbers) -> Markup:
    """What the page is of, and what the newest judged window says."""
    del numbers
    facts: list[tuple[str, str]] = [
        ("Model", f"{content.namespace}/{content.deployment}"),
        ("Monitor", content.monitor),
        ("Made", moment(content.now)),
    ]
    if content.version is None:
        note = element("p", "No predictions of this version are recorded.")
        return joined(_facts(facts), note)
    facts += [("Version", f"{content.version} ({content.digest})"), ("Predictions", f"{content.rows:,}")]
    shown = content.shown
    if shown is not None:
        state = "judged" if shown.judged and shown.closed else "not judged: not closed, or too few rows"
        facts.append(("Window", f"{span(shown)}, {counted(shown.rows, 'row')}, {state}"))
        facts.append(("Drifted features", f"{drifted(content)}, share {number(shown.drifted_share)}"))
        facts.append(("Quality problems", str(len(shown.quality_problems))))
        facts.append(
            ("Latency", f"median {seconds(shown.latency_p50_seconds)}, p99 {seconds(shown.latency_p99_seconds)}")
        )
        if shown.smallest_shift is not None:
            text = f"{shown.smallest_shift:.3g} standard deviations of a normal column"
            facts.append(("Smallest shift that so many rows show", text))
    found = content.performance
    if found is not None:
        facts.append(
            (found.metric, f"{interval(found.value, found.low, found.high)}, {counted(found.labels, 'label')}")
        )
    return _facts(facts)


def quality(content: PageContent, numbers: _Numbers) -> Markup:
    """Values that are missing, of another type, unseen or out of range."""
    del numbers
    problems = content.shown.quality_problems if content.shown else ()
    if not problems:
        return element("p", "The values of the window are within the limits.")
    more = len(problems) - _MOST_PROBLEMS
    listed = element("ul", *(element("li", text) for text in problems[:_MOST_PROBLEMS]))
    return joined(listed, element("p", f"{more} more are in the JSON.") if more > 0 else Markup())


def over_time(content: PageContent, numbers: _Numbers) -> Markup:
    """Drift of the newest windows."""
    windows = content.windows
    if not windows:
        return element("p", "There is no window yet.")
    rows: list[list[object]] = [
        [
            span(window),
            f"{window.rows:,}",
            "yes" if window.drift else "no" if window.judged and window.comparable else "not judged",
            number(window.drifted_share),
            number(window.prediction.score if window.prediction else None),
            number(window.probability.score if window.probability else None),
            str(len(window.quality_problems)),
            str(window.errors),
        ]
        for window in windows
    ]
    head = ["Window", "Rows", "Drift", "Drifted share", "Prediction score", "Probability score", "Problems", "Errors"]
    shares = [window.drifted_share for window in windows]
    drawn = charts.lines([Line("share", shares)], [], _ends(windows))
    return figure(
        next(numbers),
        "Share of drifted features by window",
        f"{counted(len(windows), 'window')}, from {_low_to_high(shares)}.",
        drawn,
        "Share of the judged features that drifted. A window that was not judged is a gap.",
        table("Windows, oldest first", head, rows),
    )


def realised(content: PageContent, numbers: _Numbers) -> Markup:
    """The watched metric by labels and without."""
    found = content.performance
    if found is None:
        return element("p", "spec.performance of the monitor is not set.")
    limits = [(name, v) for name, v in (("min", content.limits.min), ("max", content.limits.max)) if v is not None]
    values = [point.value for point in content.points]
    guesses = [point.estimated for point in content.points]
    series = [
        Line("from labels", values, [p.low for p in content.points], [p.high for p in content.points]),
        Line("estimated", guesses, dashed=True),
    ]
    rows: list[list[object]] = [
        [
            f"{moment(p.start)} to {moment(p.end)}",
            str(p.labels),
            interval(p.value, p.low, p.high),
            "yes" if p.due else "no",
            interval(p.estimated, p.estimated_low, p.estimated_high),
        ]
        for p in content.points
    ]
    text = f"From labels {_low_to_high(values)}; estimated {_low_to_high(guesses)}."
    head = ["Window", "Labels", "From labels (95 % interval)", "Labels due", "Estimated (95 % interval)"]
    drawn = charts.lines(series, limits, _ends(content.points))
    picture = figure(
        next(numbers),
        f"{found.metric} by window",
        text,
        drawn,
        "Full line with dots: from labels, with 95 % intervals. Dashed line with rings: estimated without labels, "
        "which assumes that labels depend on the answers as on the holdout. Dotted: limits.",
        table(f"{found.metric} by window", head, rows),
    )
    newest = f"Newest labels: {interval(found.value, found.low, found.high)} on {counted(found.labels, 'label')}."
    return joined(element("p", newest, f" {found.note}." if found.note else ""), picture)


def segments(content: PageContent, numbers: _Numbers) -> Markup:
    """The watched metric by segment."""
    del numbers
    found = content.performance
    if found is None or not found.segments:
        return element("p", "No segments: spec.performance.segments is not set, or no labels are due.")
    rows: list[list[object]] = [
        [f"{one.column}: {one.segment}", str(one.labels), interval(one.value, one.low, one.high)]
        for one in found.segments
    ]
    return table(f"{found.metric} by segment", ["Segment", "Labels", f"{found.metric} (95 % interval)"], rows)


def one_distribution(one: Distribution, numbers: _Numbers, windows: Sequence[WindowReport]) -> Markup:
    """Return one column beside what it is compared with, and its score over time."""
    of = one.verdict
    state = "drifted" if of.drifted else "not drifted" if of.score is not None else "without a score"
    facts = [f"{state}", f"{of.test or 'no test'} {number(of.score)} (threshold {number(of.threshold)})"]
    if of.importance is not None:
        facts.append(f"importance {100 * of.importance:.3g} %")
    facts.append(f"missing {percent(of.missing_ratio)} (reference {percent(one.reference_missing_ratio)})")
    for name, ratio in (
        ("mistyped", of.mistyped_ratio),
        ("unseen", of.unseen_ratio),
        ("out of range", of.out_of_range_ratio),
    ):
        if ratio:
            facts.append(f"{name} {percent(ratio)}")
    if of.note:
        facts.append(of.note)
    rows: list[list[object]] = [[b.label, percent(b.reference), percent(b.current)] for b in one.bins]
    picture = figure(
        next(numbers),
        f"Distribution of {one.name}",
        _moved(one),
        charts.bars(one.bins),
        f"Outlined: reference ({counted(one.reference_rows, 'value')}). Filled: window ({counted(one.rows, 'value')}).",
        table(f"Distribution of {one.name}", ["Bin", "Reference", "Window"], rows),
    )
    drawn = Markup()
    if sum(score is not None for score in one.scores) > 1 and len(one.scores) == len(windows):
        limits = [] if of.threshold is None else [("threshold", of.threshold)]
        scores: list[list[object]] = [[span(w), number(s)] for w, s in zip(windows, one.scores, strict=True)]
        drawn = figure(
            next(numbers),
            f"Score of {one.name} by window",
            f"{of.test or 'Score'} {_low_to_high(one.scores)}.",
            charts.lines([Line("score", one.scores)], limits, _ends(windows)),
            "Drift score; a window without a score is a gap.",
            table(f"Score of {one.name}", ["Window", "Score"], scores),
        )
    return joined(element("h3", f"{one.kind}: {one.name}"), element("p", "; ".join(facts)), picture, drawn)


def _moved(one: Distribution) -> str:
    """Say in words what the picture shows: the bins that differ most."""
    if not one.rows:
        return "The window has no values of this column."
    worst = sorted(one.bins, key=lambda b: -abs(b.current - b.reference))[:3]
    parts = [f"{b.label}: reference {percent(b.reference)}, window {percent(b.current)}" for b in worst]
    return f"The bins that differ most: {'; '.join(parts)}."


def _facts(facts: Sequence[tuple[str, str]]) -> Markup:
    return element("dl", *(joined(element("dt", name), element("dd", text)) for name, text in facts))


def _ends(windows: Sequence[Any]) -> tuple[str, str]:
    return (moment(windows[0].start), moment(windows[-1].end)) if windows else ("", "")


def _low_to_high(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{min(known):.4g} to {max(known):.4g}" if known else "no values"


def drifted(content: PageContent) -> int:
    """Return how many features drifted."""
    return sum(one.verdict.drifted for one in content.distributions if one.kind == "feature")


def moment(at: float) -> str:
    """Return seconds since the epoch as a time in UTC."""
    try:
        return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
    except (OverflowError, ValueError, OSError):
        return "unknown time"


def span(window: WindowReport) -> str:
    """Return the time of a window."""
    return f"{moment(window.start)} to {moment(window.end)}"


def number(value: float | None) -> str:
    """Return a number with four digits, or a dash."""
    return "–" if value is None else f"{value:.4g}"


def percent(value: float) -> str:
    """Return a share in percent."""
    return f"{100 * value:.3g} %"


def share(value: float | None) -> str:
    """Return a share in percent; a dash where there is none."""
    return "–" if value is None else percent(value)


def seconds(value: float | None) -> str:
    """Return a duration, or a dash."""
    return "–" if value is None else f"{1000 * value:.3g} ms"


def interval(value: float | None, low: float | None, high: float | None) -> str:
    """Return a value with its interval, as far as they are known."""
    return number(value) if low is None or high is None else f"{number(value)} ({number(low)} to {number(high)})"
