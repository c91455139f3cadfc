"""Whether rows reach the store, as a condition; absent where the deployment keeps none."""

from __future__ import annotations

from tidemill.core.conditions import Condition
from tidemill.core.text import clean
from tidemill.monitoring.snapshot import Snapshot
from tidemill.monitoring.state import PAYLOADS
from tidemill_contracts.counts import does


def written(snapshot: Snapshot) -> Condition | None:
    """The condition; None where no rows are kept, or nothing is known of it yet."""
    kept = snapshot.served.payloads if snapshot.served is not None else None
    report = snapshot.reading.report.payloads if snapshot.reading.report is not None else None
    if kept is None or report is None:
        return None
    lost = f"; {does(report.discarded, 'row', 'was', 'were')} discarded for lack of room" if report.discarded else ""
    if report.error:
        text = f"rows wait, because {kept.uri} does not take them: {clean(report.error)[:400]}{lost}"
        return Condition(PAYLOADS, "False", "StoreFailed", text)
    return Condition(PAYLOADS, "True", "RowsWritten", f"rows are written to {kept.uri} when their labels are due{lost}")
