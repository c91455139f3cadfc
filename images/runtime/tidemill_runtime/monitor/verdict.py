"""What the operator reads of a report: all that decisions and status need, in at most 64 KiB.

Scores of columns that no decision needs are left out, long lists have their worst entries and say how many there are,
and names are cut where they are too long. People read the page, which has everything.
"""

from collections.abc import Sequence
from typing import Any, Final, TypeVar

from tidemill_contracts.fairness import FairnessReport
from tidemill_contracts.gaming import GamingReport
from tidemill_contracts.monitoring import (
    ColumnScore,
    MonitorReport,
    PerformanceReport,
    VersionReport,
    WindowReport,
)

MAX_BYTES: Final = 64 << 10
_LEVELS: Final = ((20, 253), (20, 96), (10, 48), (5, 24), (1, 16))
"""Entries of a list and characters of a name, tried in this order: the first that fits. A status shows 20 and 253."""
_RATES: Final = ("selection_rate", "false_positive_rate", "false_negative_rate")
_CLIENTS: Final = 5
_T = TypeVar("_T")


def brief(report: MonitorReport) -> str:
    """Return the report as JSON of at most MAX_BYTES, of one version: the one that was heard of last if it has more."""
    versions = report.versions
    newest = sorted(versions, key=lambda version: version.last_record_at or 0.0)[-1:]
    text = ""
    for entries, characters in _LEVELS:
        kept = tuple(_version(version, entries, characters) for version in newest)
        text = report.model_copy(update={"versions": kept, "gaming": _gaming(report)}).to_json()
        if len(text.encode()) <= MAX_BYTES:
            break
    return text


def _gaming(report: MonitorReport) -> GamingReport | None:
    """Return what is known of clients, with those alone that a condition names."""
    found = report.gaming
    return found and found.model_copy(update={"clients": tuple(c for c in found.clients if c.findings)[:_CLIENTS]})


def _version(version: VersionReport, entries: int, characters: int) -> VersionReport:
    judged = [place for place, window in enumerate(version.windows) if window.closed and window.judged]
    windows = tuple(
        _window(window, entries, characters) if judged and place == judged[-1] else _bare(window)
        for place, window in enumerate(version.windows)
    )
    notes = [note.model_copy(update={"name": note.name[:characters]}) for note in version.column_notes]
    found = None if version.performance is None else _performance(version.performance, characters)
    groups = None if version.fairness is None else _fairness(version.fairness, characters)
    update = {"windows": windows, "performance": found, "fairness": groups}
    return version.model_copy(update=update | {"column_notes": tuple(_first(notes, 2 * entries))})


def _bare(window: WindowReport) -> WindowReport:
    """Return a window without its columns."""
    nothing: dict[str, Any] = {"features": (), "quality_problems": (), "without_score": ()}
    return window.model_copy(update=nothing | {"prediction": None, "probability": None})


def _window(window: WindowReport, entries: int, characters: int) -> WindowReport:
    drifted = sorted((feature for feature in window.features if feature.drifted), key=_worst_first)
    names = sorted((feature.name for feature in window.features), key=len, reverse=True)
    problems = [_cut_problem(text, names, characters) for text in _first(window.quality_problems, entries)]
    return window.model_copy(
        update={
            "features": tuple(_column(column, characters) for column in _first(drifted, entries)),
            "features_drifted": len(drifted),
            "prediction": window.prediction and _column(window.prediction, characters),
            "probability": window.probability and _column(window.probability, characters),
            "quality_problems": tuple(problems),
            "problems_found": len(window.quality_problems),
            "without_score": tuple(name[:characters] for name in _first(window.without_score, entries)),
            "features_without_score": len(window.without_score),
        }
    )


def _worst_first(column: ColumnScore) -> tuple[float, float]:
    """Order columns as the operator names them: by importance in percent, then by how far beyond the threshold."""
    return -round(column.importance or 0, 2), -(column.score or 0) / (column.threshold or 1)


def _column(column: ColumnScore, characters: int) -> ColumnScore:
    category = None if column.category is None else column.category[:characters]
    return column.model_copy(update={"name": column.name[:characters], "category": category, "note": ""})


def _cut_problem(text: str, names: Sequence[str], characters: int) -> str:
    """Return a problem with the name before it cut. `names`: longest first, as one may begin with another."""
    name = next((name for name in names if text.startswith(f"{name}: ")), "")
    return name[:characters] + text[len(name) :]


def _performance(found: PerformanceReport, characters: int) -> PerformanceReport:
    segments = tuple(
        segment.model_copy(update={"column": segment.column[:characters], "segment": segment.segment[:characters]})
        for segment in found.segments
    )
    estimate = found.estimate and found.estimate.model_copy(update={"note": ""})
    return found.model_copy(update={"segments": segments, "note": "", "estimate": estimate})


def _fairness(found: FairnessReport, characters: int) -> FairnessReport:
    groups = [
        group.model_copy(
            update={
                "column": group.column[:characters],
                "group": group.group[:characters],
                **{name: _short(getattr(group, name)) for name in _RATES},
                "gaps": tuple(
                    gap.model_copy(update={name: _short(getattr(gap, name)) for name in ("value", "low", "high")})
                    for gap in group.gaps
                ),
            }
        )
        for group in found.groups
    ]
    return found.model_copy(update={"groups": tuple(groups), "note": ""})


def _short(value: float | None) -> float | None:
    """Status shows three decimals; a ratio of rates near 0 can be large."""
    return None if value is None else round(value, 6)


def _first(found: Sequence[_T], entries: int) -> Sequence[_T]:
    return found[:entries]
