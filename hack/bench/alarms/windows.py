"""Windows of a monitor without its database: rows are counted and judged by the product's own functions."""

import numpy as np
import pandas as pd
import pyarrow as pa

from tidemill_contracts.monitoring import MonitorConfig, WindowReport
from tidemill_contracts.reference import ReferenceProfile
from tidemill_runtime.monitor import latency, scoring
from tidemill_runtime.monitor.binning import Counts, Layout
from tidemill_runtime.monitor.queries import StoredWindow, WindowCounts
from tidemill_runtime.monitor.tables import count_table
from tidemill_runtime.trainer.package import reference_profile


def layout_of(training: pd.DataFrame) -> Layout:
    """Return the bins of a version that was trained on these rows."""
    features = reference_profile.features(training)
    return Layout(ReferenceProfile(schema_version=2, rows=len(training), features=features))


def judged(config: MonitorConfig, layout: Layout, rows: pd.DataFrame, number: int) -> WindowReport:
    """Return the verdict on the `number`-th window."""
    batch = pa.RecordBatch.from_pandas(rows, preserve_index=False)
    return report(config, layout, len(rows), count_table(layout, batch, {}), number)


def report(config: MonitorConfig, layout: Layout, rows: int, counts: Counts, number: int = 0) -> WindowReport:
    """Return the verdict on a window with these counters."""
    seconds = config.window_seconds
    window = StoredWindow(number, number * seconds, seconds, rows, 0, 0, 1)
    nothing = np.zeros(latency.BINS, dtype=np.int64)
    return scoring.window_report(config, layout, window, WindowCounts(counts, nothing), float("inf"))


def alarms(drifted: list[bool], needed: int, out_of: int) -> list[int]:
    """Return the windows in which an alarm began: at least `needed` of the last `out_of` drifted, and before not."""
    state = [sum(drifted[max(0, i + 1 - out_of) : i + 1]) >= needed for i in range(len(drifted))]
    return [i for i, is_on in enumerate(state) if is_on and not (i and state[i - 1])]
