"""The counters of one column of one window, taken apart."""

from dataclasses import dataclass

from tidemill_runtime.monitor.binning import ColumnBins, Counts


@dataclass(frozen=True)
class ColumnTally:
    """One column of one window."""

    rows: int
    bins: Counts  # of values that are present
    missing: int
    mistyped: int
    below: int
    above: int

    @classmethod
    def of(cls, column: ColumnBins, counts: Counts) -> "ColumnTally":
        """Take a column's counters apart."""
        bins = counts[: column.bins]
        missing, mistyped, below, above = (int(n) for n in counts[column.bins :])
        return cls(int(bins.sum()) + missing + mistyped, bins, missing, mistyped, below, above)
