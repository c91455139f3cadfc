"""False alarms beside the stated number, and how long a known shift takes to raise one."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from hack.bench.alarms import columns, windows
from hack.bench.table import Row
from tidemill_contracts.drift_tests import AUTO
from tidemill_contracts.monitoring import ColumnConfig, DriftConfig, MonitorConfig, TestConfig
from tidemill_runtime.monitor.stattests.false_alarms import MONTH_SECONDS

TRAINING_ROWS, WINDOW_ROWS = 5_000, 300
STATED: Final = 2.0
"""False alarms a month: many, so that some are seen in a few months."""
WINDOWS_A_MONTH: Final = 120
ALARMS: Final = ((1, 1), (2, 3))  # N of M windows
SHIFTS: Final = (0.15, 0.25, 0.5, 1.0)
FEATURES, PATIENCE = 30, 48


@dataclass(frozen=True)
class Size:
    """How much is simulated."""

    months: int
    runs: int


def monitor(drift: DriftConfig, seconds: int, **changes: object) -> MonitorConfig:
    """Return a configuration of windows of this length."""
    found = MonitorConfig(namespace="b", monitor="b", deployment="b", window_seconds=seconds, min_rows=1, drift=drift)
    return found.model_copy(update=changes)


def false_alarms(size: Size) -> list[Row]:
    """Return alarms a month on rows drawn as those of training, beside the stated number.

    Any column may make a window drift, and thresholds are so low that significance alone stands between a column and
    an alarm. A month of monitors: each has a training sample of its own.
    """
    found: list[Row] = []
    for needed, out_of in ALARMS:
        drift = DriftConfig(
            features=TestConfig(test="PSI", threshold=1e-9),
            drifted_share=1e-9,
            false_alarms_per_month=STATED,
            consecutive_windows=needed,
            out_of=out_of,
        )
        config = monitor(drift, MONTH_SECONDS // WINDOWS_A_MONTH)
        count, by_kind = 0, dict.fromkeys(columns.KINDS, 0)
        for month in range(size.months):
            random = np.random.default_rng((needed, month))
            layout = windows.layout_of(columns.table(random, TRAINING_ROWS))
            drifted = []
            for number in range(WINDOWS_A_MONTH):
                verdict = windows.judged(config, layout, columns.table(random, WINDOW_ROWS), number)
                drifted.append(verdict.drift)
                for feature in verdict.features:
                    by_kind[feature.name] += feature.drifted
            count += len(windows.alarms(drifted, needed, out_of))
        seen, slack = count / size.months, 3 * math.sqrt(STATED / size.months)
        what = f"false alarms a month, {needed} of {out_of} windows, ten kinds of columns"
        goal = f"at most the stated, and {slack:.2g} for {size.months} months of chance"
        found.append(Row(what, seen, "", STATED, "stated", goal, seen <= STATED + slack))
        if (needed, out_of) == ALARMS[0]:
            found += [
                Row(f"windows a month in which one drifted: {k}", n / size.months, "") for k, n in by_kind.items()
            ]
    return found


def delays(size: Size) -> list[Row]:
    """Return after how many windows a shift of one decisive feature of thirty raises the alarm, with the defaults."""
    found = []
    drift = DriftConfig(features=TestConfig(test=AUTO))
    config = monitor(drift, 3_600, columns={"n0": ColumnConfig(decisive=True)})
    smallest = None
    for shift in SHIFTS:
        waited = []
        for run in range(size.runs):
            random = np.random.default_rng((round(shift * 100), run))
            layout = windows.layout_of(columns.features(random, TRAINING_ROWS, FEATURES))
            drifted: list[bool] = []
            while len(drifted) < PATIENCE and not windows.alarms(drifted, 2, 2):
                rows = columns.features(random, WINDOW_ROWS, FEATURES, shift)
                verdict = windows.judged(config, layout, rows, len(drifted))
                drifted.append(verdict.drift)
                smallest = verdict.smallest_shift
            waited.append(len(drifted))
        sees = smallest is not None and shift >= smallest
        goal, met = ("", None) if not sees else ("at most 3 windows on average", float(np.mean(waited)) <= 3)
        what = f"windows until an alarm, a feature moved by {shift:g} deviations, {WINDOW_ROWS} rows"
        found.append(Row(what, float(np.mean(waited)), "", 2.0, "that an alarm needs", goal, met))
    text = f"smallest shift that status states for {WINDOW_ROWS} rows and {FEATURES} features"
    return [*found, Row(text, smallest or math.nan, "deviations")]
