"""Counters and gauges that several processes write and one page shows: an anonymous mapping made before any fork.

Each process has a row of its own, so every cell has one writer and nothing is locked; a float64 that is
aligned is written whole. A process that takes over a row goes on counting where the last one stopped:
counters never go back, gauges start anew. This module knows no metric names.
"""

import mmap
from typing import TypeAlias

CELL_BYTES = 8

# Gauges: reset when a process takes a row over.
HEARTBEAT = 0  # seconds of CLOCK_MONOTONIC, which is one clock for all processes; 0: never
PHASE = 1  # index into state.PHASES
IN_FLIGHT = 2
GAUGES = 3
# Counters: kept.
BATCHES = 3
BATCHED_ROWS = 4
RECORDS_SENT = 5
RECORDS_DROPPED = 6
TRACES_DROPPED = 7
ACCESS_LINES_DROPPED = 8
FIRST_FREE = 9  # the columns of whoever makes the counters begin here

Cells: TypeAlias = "memoryview[float]"


class SharedCounters:
    """Rows of float64 cells, all zero at first, shared with every process forked later."""

    def __init__(self, rows: int, columns: int) -> None:
        self.rows = rows
        self.columns = columns
        self._cells = memoryview(mmap.mmap(-1, rows * columns * CELL_BYTES)).cast("d")

    def row(self, index: int) -> Cells:
        """Return a row that can be written through: `row[column] += 1` costs about 60 ns."""
        return self._cells[index * self.columns : (index + 1) * self.columns]

    def total(self, column: int) -> float:
        """Return the sum of a column over all rows."""
        return float(sum(self._cells[column :: self.columns]))

    def values(self, column: int) -> list[float]:
        """Return a column, one value a row."""
        return [float(value) for value in self._cells[column :: self.columns]]

    def reset_gauges(self, index: int) -> None:
        """Make a row ready for the process that takes it over; nobody else may be writing it."""
        row = self.row(index)
        for column in range(GAUGES):
            row[column] = 0.0
