"""The server's Prometheus metrics: counted into cells of the shared counters, read at a scrape.

Counting a request costs a few writes into memory and no lock. Names and labels come from the contract; no
request id, path or feature value ever becomes a label. The page itself is made in `exposition`, which
is imported at the first scrape.
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

from tidemill_contracts.inference import ServedForm, ServerConfig
from tidemill_contracts.metrics import DURATION_BUCKETS
from tidemill_contracts.signatures import ServedSignature
from tidemill_runtime.server.telemetry import shared_counters
from tidemill_runtime.server.telemetry.shared_counters import SharedCounters

# Those that every server shows from the start, so that the first one counts as an increase; then the rest.
COMMON_STATUSES = (200, 400, 404, 405, 408, 413, 500, 503)
STATUSES = (*COMMON_STATUSES, 411, 414, 415, 429, 431, 501, 504)
FAILURES = ("invalid", "unavailable", "error")


@dataclass(frozen=True)
class Layout:
    """Which cell of a row counts what: rows, failures, then sum and buckets of the durations of each status."""

    edges: tuple[float, ...]  # upper bounds in seconds, without infinity

    @property
    def columns(self) -> int:
        """Cells in a row."""
        return self.durations(STATUSES[-1]) + self.width

    @property
    def width(self) -> int:
        """Cells for a status: the sum, one for each edge, one for what is above them."""
        return 2 + len(self.edges)

    @property
    def rows(self) -> int:
        """The cell that counts predicted rows."""
        return shared_counters.FIRST_FREE

    def failure(self, outcome: str) -> int:
        """The cell that counts the requests that ended so."""
        return shared_counters.FIRST_FREE + 1 + FAILURES.index(outcome)

    def durations(self, status: int) -> int:
        """The first cell of a status: the sum, in seconds."""
        return shared_counters.FIRST_FREE + 1 + len(FAILURES) + STATUSES.index(status) * self.width


def layout(config: ServerConfig) -> Layout:
    """Return the layout for a configuration: a bucket ends at the declared objective, so that it can be judged."""
    return Layout(
        tuple(sorted({*DURATION_BUCKETS, *((config.slo_seconds,) if config.slo_seconds is not None else ())}))
    )


def outcome_of(status: int) -> str:
    """Return how an answer with this status, which is not 200, is counted."""
    if status < 500:
        return "unavailable" if status == 429 else "invalid"
    return "unavailable" if status in (503, 504) else "error"


class Cell:
    """One counter of this process."""

    def __init__(self, cells: shared_counters.Cells, column: int) -> None:
        self._cells = cells
        self._column = column

    def inc(self, amount: float = 1) -> None:
        """Add to it."""
        self._cells[self._column] += amount


class Telemetry:
    """Counts what one process does, in its row of the shared counters."""

    def __init__(self, config: ServerConfig, shared: SharedCounters | None = None, row: int = 0) -> None:
        self.config = config
        self.layout = layout(config)
        self.counters = SharedCounters(1, self.layout.columns) if shared is None else shared
        self.cells = self.counters.row(row)
        self.platform: str | None = None  # of the model, once it is loaded
        self.form: ServedForm | None = None  # the same for the operator
        self.signature: ServedSignature | None = None  # what it takes and gives, for the operator
        self.worker_ids: Callable[[], list[int]] = list  # process ids besides this one
        self.worker_deaths: Callable[[], int] = int
        self.records_dropped = Cell(self.cells, shared_counters.RECORDS_DROPPED)
        self.records_sent = Cell(self.cells, shared_counters.RECORDS_SENT)
        self.traces_dropped = Cell(self.cells, shared_counters.TRACES_DROPPED)
        self.access_lines_dropped = Cell(self.cells, shared_counters.ACCESS_LINES_DROPPED)
        self._edges = self.layout.edges
        self._rows = self.layout.rows
        self._ok = self.layout.durations(200)

    def succeeded(self, rows: int, seconds: float) -> None:
        """Count an answered request."""
        cells, ok = self.cells, self._ok
        cells[self._rows] += rows
        cells[ok] += seconds
        cells[ok + 1 + bisect_left(self._edges, seconds)] += 1.0

    def failed(self, status: int, seconds: float) -> None:
        """Count a refused request: one, since how many rows it had may be unknown."""
        cells = self.cells
        cells[self.layout.failure(outcome_of(status))] += 1.0
        at = self.layout.durations(status if status in STATUSES else 400 if status < 500 else 500)
        cells[at] += seconds
        cells[at + 1 + bisect_left(self._edges, seconds)] += 1.0

    def batched(self, rows: int) -> None:
        """Count one call of the model that answered several requests, `rows` rows in all."""
        self.cells[shared_counters.BATCHES] += 1.0
        self.cells[shared_counters.BATCHED_ROWS] += rows
