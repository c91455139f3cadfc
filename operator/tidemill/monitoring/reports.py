"""A monitor's answer → what of it is believed: strictly validated, and only what a decision needs.

The answer comes from a pod. So it is measured before it is parsed (a small text can make a large tree), what no
decision needs is dropped before it is validated, every number must be finite and every text short, it must be about
this monitor and the version in service, and no error quotes it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from tidemill.monitoring import fairness_reports
from tidemill_contracts.base import Document
from tidemill_contracts.baselines import BaselineReport
from tidemill_contracts.fairness import FairnessReport, GapReport, GroupReport
from tidemill_contracts.monitoring import (
    MAX_SEGMENTS,
    NOTED_COLUMNS,
    ColumnNote,
    ColumnScore,
    EstimateReport,
    LabelDelays,
    MonitorReport,
    PerformanceReport,
    PoweredReport,
    RetentionReport,
    SegmentReport,
    VersionReport,
    WindowReport,
)

MAX_WINDOWS = 24
MAX_COLUMNS = 2_500
"""Columns of one window."""
MAX_NAME = 253
MAX_CATEGORY = 64
MAX_CONTAINERS = MAX_WINDOWS * MAX_COLUMNS
MAX_VALUES = 10 * MAX_CONTAINERS
LARGEST_COUNT = 2**53
MAX_BYTES = 1e5
"""Bytes of one stored prediction."""
_SHORT_TEXTS = re.compile(rb'(?:[^"]++|"[^"\\]{0,2048}+(?:\\.[^"\\]{0,2048}+){0,512}+")*+', re.DOTALL)
"""Of an answer whose strings are all short, the whole: no text of a report has more than a column's name and a number.
Possessive throughout, so that no byte is looked at twice."""
AHEAD_SECONDS = 3600.0
"""How far the monitor's clock may be ahead of ours."""
OPEN_SECONDS = 32 * 86_400.0
"""How far ahead an open window may end: more than the longest window has."""
_NUMBER = r"[0-9.e+-]{1,24}"
_PROBLEM = re.compile(
    rf"(.+): ((?:missing|unseen|out_of_range)_ratio {_NUMBER}(?: and mistyped_ratio {_NUMBER})? > {_NUMBER}"
    rf"(?: \(training {_NUMBER} \+ maxMissingIncrease {_NUMBER}\))?"
    rf"|no value in [0-9]{{1,16}} rows? \(missing in training: {_NUMBER}\))",
    re.DOTALL,
)
MAX_EXAMPLES = 3
MAX_EXAMPLE = 20


class ReportError(ValueError):
    """An answer that is not believed. The message names a field of the contract and nothing of the answer."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What the report must be about."""

    monitor: str
    digest: str
    metric: str | None
    """The performance metric of the spec; None: none is watched."""
    now: datetime


def read(body: bytes | bytearray, expected: Expected) -> MonitorReport:
    """The report with the expected version alone; features only of the newest judged window. Raises ReportError."""
    report = _parsed(body, expected.digest)
    if report.monitor != expected.monitor:
        raise ReportError("monitor names another monitor")
    latest = expected.now.timestamp() + AHEAD_SECONDS
    _times(latest, now=report.now, started_at=report.started_at)
    _counts(newer_database=report.newer_database)
    kept = report.retention
    if kept is not None:
        _counts(rows=kept.rows, labels_unmatched=kept.labels_unmatched, storage_bytes=kept.storage_bytes)
        _check({"prediction_bytes": kept.prediction_bytes}, lambda value: 1 <= value <= MAX_BYTES, "is not a size")
    found = [v for v in report.versions if v.digest == expected.digest]
    if len(found) > 1:
        raise ReportError("versions contains a digest twice")
    return report.model_copy(update={"versions": tuple(_version(v, expected, latest) for v in found)})


def _parsed(body: bytes | bytearray, digest: str) -> MonitorReport:
    if body.count(b"{") + body.count(b"[") > MAX_CONTAINERS or body.count(b",") > MAX_VALUES:
        raise ReportError(f"it has more than {MAX_WINDOWS} windows of {MAX_COLUMNS} columns")
    short = _SHORT_TEXTS.match(body)
    if short is None or short.end() < len(body):
        raise ReportError("it contains a text that is too long or not terminated")
    try:
        tree = from_json(body, cache_strings="keys")
    except ValueError:
        raise ReportError("the document: json_invalid") from None
    for version in _objects(tree, "versions"):
        _drop_unneeded(_objects(version, "windows"), keeps_newest=version.get("digest") == digest)
    try:
        return MonitorReport.model_validate(tree, extra="ignore")
    except ValidationError as error:
        raise ReportError(_where(error)) from None


def _objects(tree: Any, field: str) -> list[dict[str, Any]]:
    """What a document that is not validated yet has in a list."""
    found = tree.get(field) if isinstance(tree, dict) else None
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _drop_unneeded(windows: list[dict[str, Any]], *, keeps_newest: bool) -> None:
    """Takes the columns out of all windows but the newest judged one: as objects they take ten times their bytes."""
    judged = [w for w in windows if w.get("closed") is True and w.get("judged") is True]
    for window in windows:
        if not (keeps_newest and judged and window is judged[-1]):
            for field in ("features", "prediction", "probability", "quality_problems", "without_score"):
                window.pop(field, None)


def _where(error: ValidationError) -> str:
    """The place and kind of the first mistake, by words of the contract: a key may be anything that a pod made up."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    documents: tuple[type[Document], ...] = (MonitorReport, RetentionReport, VersionReport, WindowReport)
    documents += (
        ColumnNote,
        ColumnScore,
        PerformanceReport,
        EstimateReport,
        SegmentReport,
        PoweredReport,
        LabelDelays,
        BaselineReport,
        FairnessReport,
        GroupReport,
        GapReport,
    )
    known = {name for document in documents for name in document.model_fields}
    place = [str(part) for part in first["loc"] if isinstance(part, int) or part in known]
    return f"{'.'.join(place) or 'the document'}: {first['type']}"


def _version(version: VersionReport, expected: Expected, latest: float) -> VersionReport:
    _counts(rows=version.rows, dropped=version.dropped, discarded=version.discarded)
    _counts(profile_version=version.profile_version)
    _times(latest, last_record_at=version.last_record_at, labels_start=version.labels_start)
    _times(latest + OPEN_SECONDS, labels_end=version.labels_end)
    if len(version.windows) > MAX_WINDOWS:
        raise ReportError(f"windows has more than {MAX_WINDOWS} entries")
    newest = max((i for i, w in enumerate(version.windows) if w.closed and w.judged), default=None)
    windows = tuple(_window(w, latest, is_newest=i == newest) for i, w in enumerate(version.windows))
    performance = _performance(version.performance, expected.metric, latest)
    fairness = version.fairness
    if fairness is not None:
        if (why := fairness_reports.problem(fairness, latest + AHEAD_SECONDS)) is not None:
            raise ReportError(why)
        fairness = fairness_reports.cleaned(fairness, _shown)
    if len(version.column_notes) > NOTED_COLUMNS:
        raise ReportError(f"column_notes has more than {NOTED_COLUMNS} entries")
    notes = tuple(ColumnNote(name=_shown(note.name), finding=note.finding) for note in version.column_notes)
    judged = {"windows": windows, "performance": performance, "fairness": fairness}
    return version.model_copy(update=judged | {"column_notes": notes})


def _window(window: WindowReport, latest: float, *, is_newest: bool) -> WindowReport:
    span = AHEAD_SECONDS if window.closed else OPEN_SECONDS
    _times(latest + span, start=window.start, end=window.end)
    _counts(rows=window.rows, errors=window.errors, tested=window.tested)
    _finite(
        drifted_share=window.drifted_share,
        level=window.level,
        smallest_shift=window.smallest_shift,
        latency_p50_seconds=window.latency_p50_seconds,
        latency_p99_seconds=window.latency_p99_seconds,
    )
    if (base := window.baseline) is not None:
        _counts(rows=base.rows, windows=base.windows)
        _times(latest, start=base.start, end=base.end)
        if (base.start is None) != (base.end is None) or (base.type == "Training") != (base.start is None):
            raise ReportError("baseline.start and baseline.end are no time range of its type")
    _counts(
        features_drifted=window.features_drifted,
        problems_found=window.problems_found,
        features_without_score=window.features_without_score,
    )
    if max(len(window.features), window.unscored, window.problems / 3, window.drifted) > MAX_COLUMNS:
        raise ReportError(f"features has more than {MAX_COLUMNS} entries")
    if not is_newest:
        dropped = {"features": (), "quality_problems": (), "without_score": ()} | dict.fromkeys(_outputs(window))
        return window.model_copy(update=dropped)
    drifted = tuple(_column(c) for c in window.features if c.drifted)
    outputs = {name: found and _column(found) for name, found in _outputs(window).items()}
    problems = tuple(_problem(text) for text in window.quality_problems)
    without = tuple(_shown(name) for name in window.without_score)
    kept = {"features": drifted, "quality_problems": problems, "without_score": without}
    return window.model_copy(update=kept | outputs)


def _outputs(window: WindowReport) -> dict[str, ColumnScore | None]:
    return {"prediction": window.prediction, "probability": window.probability}


def _problem(text: str) -> str:
    found = _PROBLEM.fullmatch(text)
    if found is None:
        raise ReportError("quality_problems has an entry that is not of the form 'column: ratio value > limit'")
    return f"{_shown(found[1])}: {found[2]}"


def _shown(name: str) -> str:
    """A column's name as one line of bounded length: it is the data's, and data may have any."""
    return "".join(c if c.isprintable() else "?" for c in name[:MAX_NAME])


def _column(column: ColumnScore) -> ColumnScore:
    _finite(
        score=column.score,
        threshold=column.threshold,
        missing_ratio=column.missing_ratio,
        mistyped_ratio=column.mistyped_ratio,
        unseen_ratio=column.unseen_ratio,
        out_of_range_ratio=column.out_of_range_ratio,
        p_value=column.p_value,
        reference_mean=column.reference_mean,
        mean=column.mean,
        below_ratio=column.below_ratio,
        above_ratio=column.above_ratio,
        reference_share=column.reference_share,
        share=column.share,
    )
    _check({"importance": column.importance}, lambda value: 0 <= value <= 1, "is not a share")
    category = None if column.category is None else _shown(column.category)[:MAX_CATEGORY]
    return column.model_copy(update={"name": _shown(column.name), "category": category, "note": ""})


def _performance(found: PerformanceReport | None, metric: str | None, latest: float) -> PerformanceReport | None:
    if found is None or metric is None:
        return None
    if found.metric != metric:
        raise ReportError("performance.metric is not spec.performance.metric")
    _counts(labels=found.labels, labels_needed=found.labels_needed, unrecognized=found.unrecognized)
    _finite(value=found.value, labels_ratio=found.labels_ratio, low=found.low, high=found.high)
    if (found.low is None) != (found.high is None) or (found.low or 0.0) > (found.high or 0.0):
        raise ReportError("performance.low and performance.high are no interval")
    _times(latest, breach_start=found.breach_start, exceeded_since=found.exceeded_since)
    _times(latest + AHEAD_SECONDS, breach_end=found.breach_end)
    start, end = found.breach_start, found.breach_end
    if (start is None) != (end is None) or (start is not None and end is not None and start >= end):
        raise ReportError("performance.breach_start and performance.breach_end are no time range")
    _finite(estimated=found.estimated)
    if found.label_delays is not None:
        late = found.label_delays
        _counts(labels=late.labels)
        _check({"p50": late.p50, "p90": late.p90, "p99": late.p99}, lambda value: 0 <= value <= 1e10, "is no delay")
    if (all_rows := found.powered) is not None:
        _counts(rows=all_rows.rows, labels=all_rows.labels)
        _finite(value=all_rows.value, low=all_rows.low, high=all_rows.high)
        if all_rows.low > all_rows.high or all_rows.labels > all_rows.rows:
            raise ReportError("performance.powered: low and high are no interval, or there are more labels than rows")
    estimate = None if found.estimate is None else _estimate(found.estimate, latest)
    examples = tuple(_shown(text[:MAX_EXAMPLE]) for text in found.examples[:MAX_EXAMPLES])
    return found.model_copy(update={"note": "", "examples": examples, "estimate": estimate} | _segments(found))


def _segments(found: PerformanceReport) -> dict[str, tuple[SegmentReport, ...]]:
    if len(found.segments) > MAX_SEGMENTS:
        raise ReportError(f"performance.segments has more than {MAX_SEGMENTS} entries")
    return {"segments": tuple(map(_segment, found.segments))}


def _segment(found: SegmentReport) -> SegmentReport:
    _counts(labels=found.labels)
    _finite(value=found.value, low=found.low, high=found.high)
    if (found.low is None) != (found.high is None) or (found.low or 0.0) > (found.high or 0.0):
        raise ReportError("performance.segments.low and performance.segments.high are no interval")
    segment = _shown(found.segment)[:MAX_CATEGORY]
    return found.model_copy(update={"column": _shown(found.column), "segment": segment})


def _estimate(found: EstimateReport, latest: float) -> EstimateReport:
    _times(latest, start=found.start)
    _times(latest + AHEAD_SECONDS, end=found.end)
    _counts(rows=found.rows)
    _finite(value=found.value, low=found.low, high=found.high)
    _check({"estimate.unsupported_ratio": found.unsupported_ratio}, lambda value: 0 <= value <= 1, "is not a share")
    if (found.low is None) != (found.high is None) or (found.low or 0.0) > (found.high or 0.0):
        raise ReportError("performance.estimate.low and performance.estimate.high are no interval")
    if found.start >= found.end:
        raise ReportError("performance.estimate.start and performance.estimate.end are no time range")
    if found.exceeded and not (found.trusted and found.value is not None):
        raise ReportError("performance.estimate.exceeded without a trusted value")
    return found.model_copy(update={"note": ""})


def _times(latest: float, **values: float | None) -> None:
    _check(values, lambda value: 0 <= value <= latest, "is not a time, or is in the future")


def _counts(**values: int | None) -> None:
    _check(values, lambda value: 0 <= value <= LARGEST_COUNT, "is not a count")


def _finite(**values: float | None) -> None:
    _check(values, math.isfinite, "is not a finite number")


def _check(values: Mapping[str, float | None], is_right: Callable[[float], bool], what: str) -> None:
    for name, value in values.items():
        if value is not None and not is_right(value):
            raise ReportError(f"{name} {what}")
