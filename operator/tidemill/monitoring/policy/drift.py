"""DriftDetected: how many windows drifted, which columns did and what changed in them, how often the alarm came.

The monitor says which columns of a window drifted, at a level that keeps spec.drift.falseAlarmsPerMonth. Here windows
are added up, and what drifted is named also where it is too little for an alarm.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from tidemill.api.v1alpha1.monitor_baseline import BaselineStatus
from tidemill.api.v1alpha1.monitor_drift import MAX_ALARMS, Drift, DriftVerdict
from tidemill.core import conditions
from tidemill.core.conditions import Condition
from tidemill.monitoring.snapshot import Snapshot, moment
from tidemill.monitoring.state import DRIFT, Evaluation
from tidemill_contracts.baselines import BaselineReport
from tidemill_contracts.counts import counted
from tidemill_contracts.monitoring import ColumnScore, WindowReport
from tidemill_contracts.rounding import exact, rounded

MONTH = timedelta(days=30)
FIRST_OBSERVED = timedelta(days=28)
"""So long alarms are counted before a number a month is told."""

_SHOWN = 5
_WORTH_TELLING = 0.005
"""A share that is not above it is told as 0 %."""
_BLIND = frozenset({"MonitorUnreachable", "DatabaseTooNew"})
"""Reasons of Unknown that are about the monitor: drift that was there before it is no new alarm after it."""


def drifted_windows(snapshot: Snapshot) -> int:
    """How many of the newest windows drifted: in a row, or among the last spec.drift.outOf.

    Windows that say nothing about drift neither count nor interrupt.
    """
    spec = snapshot.spec.drift
    if spec is not None and spec.out_of is not None:
        return sum(window.drift for window in snapshot.comparable[-spec.out_of :])
    count = 0
    for window in reversed(snapshot.comparable):
        if not window.drift:
            break
        count += 1
    return count


def windows_of_alarm(spec: Drift) -> int:
    """How many windows an alarm rests on."""
    return max(spec.consecutive_windows, spec.out_of or 0)


def condition(spec: Drift, windows: Sequence[WindowReport], drifted: int) -> Condition:
    """The condition of at least one window that says something about drift, newest last."""
    last = windows[-1]
    shown = f"the last window ({counted(last.rows, 'row')})"
    if drifted == 0:
        if not last.drifted:
            return Condition(DRIFT, "False", "NoDrift", f"{shown} shows no drift{compared_with(last)}")
        text = (
            f"{counted(last.drifted, 'feature')} drifted in {shown}, which is a share of "
            f"{rounded(last.drifted_share or 0, 2, spec.drifted_share)} "
            f"and below driftedShare ({exact(spec.drifted_share)}){compared_with(last)}: {describe(last)}"
        )
        return Condition(DRIFT, "False", "DriftBelowShare", text)
    needed = counted(spec.consecutive_windows, "window")
    text = (
        f"{drifted} of {needed} in a row drifted"
        if spec.out_of is None
        else f"{drifted} of the last {counted(spec.out_of, 'window')} drifted, {spec.consecutive_windows} needed"
    )
    text += f"{compared_with(last)}: {describe(last)}"
    if drifted >= spec.consecutive_windows:
        return Condition(DRIFT, "True", "DriftSustained", text)
    return Condition(DRIFT, "False", "DriftNotSustained", text)


def compared_with(window: WindowReport) -> str:
    """What a window was compared with, as an ending of half a sentence; empty where only training was asked for."""
    found = window.baseline
    if found is None:
        return ""
    if found.start is None or found.end is None:
        return ", compared with the training data"
    span = f"{moment(found.start):%Y-%m-%dT%H:%MZ} to {moment(found.end):%Y-%m-%dT%H:%MZ}"
    return f", compared with {counted(found.rows, 'row')} of {counted(found.windows, 'window')}, {span}"


def worst_first(window: WindowReport) -> list[ColumnScore]:
    """The features that drifted: those that matter most to the model first, then the furthest beyond their thresholds.

    Importance is told, and so compared, in percent: below that it is chance.
    """
    drifted = [feature for feature in window.features if feature.drifted]
    return sorted(drifted, key=lambda f: (-round(f.importance or 0, 2), -(f.score or 0) / (f.threshold or 1)))


def describe(window: WindowReport) -> str:
    """Which columns drifted, by how much and how, worst first."""
    drifted = worst_first(window)
    parts = [f"{f.name} ({_beyond(f)})" for f in drifted[:_SHOWN]]
    if window.drifted > len(parts):
        parts.append(f"{window.drifted - len(parts)} more")
    outputs = (("predictions", window.prediction), ("probability of the predicted class", window.probability))
    parts += [f"{name} ({_beyond(found)})" for name, found in outputs if found is not None and found.drifted]
    return ", ".join(parts) or f"share of drifted features in the last window {window.drifted_share or 0:.3g}"


def _beyond(column: ColumnScore) -> str:
    figures = f"{column.test} {rounded(column.score or 0, 3, column.threshold)}"
    if column.threshold is not None:
        figures += f", limit {exact(column.threshold)}"
    if column.importance is not None:
        figures = f"importance {_percent(column.importance)}, {figures}"
    what = change(column)
    return f"{figures}: {what}" if what else figures


def change(column: ColumnScore) -> str:
    """What changed in a column that drifted, as far as counters tell: `mean 14.1 → 22.5`, `'B' 12 % → 48 %`."""
    if column.category is not None:
        return f"'{column.category}' {_percent(column.reference_share)} → {_percent(column.share)}"
    parts = []
    if column.mean is not None and column.reference_mean is not None:
        before, now = rounded(column.reference_mean, 3, column.mean), rounded(column.mean, 3, column.reference_mean)
        parts.append(f"mean {before} → {_bound(column)}{now}")
    beyond = ((column.below_ratio, "below training's minimum"), (column.above_ratio, "above training's maximum"))
    parts += [f"{_percent(ratio)} {where}" for ratio, where in beyond if _is_worth_telling(ratio)]
    return "; ".join(parts)


def _percent(ratio: float | None) -> str:
    return f"{100 * (ratio or 0):.0f} %"


def _bound(column: ColumnScore) -> str:
    """Values beyond the range of training count as its outermost bin, so the true mean lies further out.

    Where they are beyond both ends, it may lie on either side.
    """
    below, above = _is_worth_telling(column.below_ratio), _is_worth_telling(column.above_ratio)
    if below == above:
        return "about " if above else ""
    return "at least " if above else "at most "


def _is_worth_telling(ratio: float | None) -> bool:
    return ratio is not None and ratio > _WORTH_TELLING


def verdict(snapshot: Snapshot, evaluated: Evaluation) -> DriftVerdict | None:
    """What the alarm can show, and when it came; None where drift is not watched."""
    if snapshot.spec.drift is None:
        return None
    old = snapshot.status.verdicts.drift if snapshot.status.verdicts else None
    alarms = [time for time in (old.alarms if old else []) if snapshot.now - time < MONTH]
    if _became_true(snapshot, evaluated):
        alarms.append(snapshot.now)
    shift = snapshot.judged[-1].smallest_shift if snapshot.judged else None
    since = old.since if old and old.since else snapshot.now
    return DriftVerdict(
        smallest_shift=None if shift is None else round(shift, 2),
        baseline=baseline(snapshot, old.baseline if old else None),
        since=since.replace(microsecond=0),
        alarms=[time.replace(microsecond=0) for time in alarms[-MAX_ALARMS:]],
    )


def baseline(snapshot: Snapshot, old: BaselineStatus | None) -> BaselineStatus | None:
    """What the last judged window was compared with, and since when; None while no version is served."""
    if snapshot.served is None or snapshot.served.version is None:
        return None
    version, wanted = snapshot.served.version, snapshot.spec.baseline
    if not snapshot.judged and old is not None and old.version == version:
        return old  # a monitor that is away, or starts again, has compared with nothing else meanwhile
    found = snapshot.judged[-1].baseline if snapshot.judged else None
    kind = found.type if found is not None else "Training"
    previous = None if old is None else old.previous_version if old.version == version else old.version
    same = old is not None and (old.version, old.type) == (version, kind)
    is_other = found is not None and found.start is not None and found.end is not None
    return BaselineStatus(
        type=kind,
        version=version,
        previous_version=previous,
        since=old.since if old is not None and same else snapshot.now.replace(microsecond=0),
        rows=found.rows if found is not None and is_other else None,
        start=moment(found.start) if found is not None and found.start is not None else None,
        end=moment(found.end) if found is not None and found.end is not None else None,
        message=_why_training(snapshot, found) if wanted is not None and wanted.type != kind else None,
    )


def _why_training(snapshot: Snapshot, found: BaselineReport | None) -> str:
    if found is None:
        return "no window has been judged yet"
    version = snapshot.served.version if snapshot.served else None
    return (
        f"version {version} has {counted(found.rows, 'row')} in the windows that spec.baseline names, and "
        f"{snapshot.spec.window.min_rows} (spec.window.minRows) are needed: its training data is the baseline"
    )


def observed_per_month(snapshot: Snapshot, found: DriftVerdict | None) -> float | None:
    """Alarms in 30 days; None before they were counted for four weeks."""
    if found is None or found.since is None or snapshot.now - found.since < FIRST_OBSERVED:
        return None
    counted_for = min(MONTH, snapshot.now - found.since)
    return round(len(found.alarms) * (MONTH / counted_for), 2)


def _became_true(snapshot: Snapshot, evaluated: Evaluation) -> bool:
    if not evaluated.is_true(DRIFT):
        return False
    before = next((c for c in conditions.of(snapshot.object) if c["type"] == DRIFT), None)
    return before is None or (before["status"] != "True" and before["reason"] not in _BLIND)
