"""What one Prometheus alert is: the rows are in `alerts` and `burn_rates`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["page", "ticket"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert. It follows `condition`, or `expression` where no condition can say it."""

    name: str
    severity: Severity
    """page: users are served badly, or no alert can fire any more. ticket: everything else."""
    hold: int = 0
    """Seconds for which the condition must have the status before the alert fires."""
    summary: str
    """Half a sentence; the object is named before it."""
    meaning: str
    """One or two sentences: the description of the alert, and the beginning of its runbook."""
    todo: tuple[str, ...]
    """What to do, in order."""
    command: str
    """The command to begin with; NAME is the name of the object."""
    kinds: tuple[str, ...] = ("ModelMonitor",)
    condition: str = ""
    status: Literal["True", "False", "Unknown"] = "True"
    """The status that is alarming. Unknown is with `reasons` only: where nothing else says that it cannot be judged."""
    reasons: tuple[str, ...] = ()
    """Reasons with which it is alarming; empty: any."""
    other_reasons: tuple[str, ...] = ()
    """Reasons with which it is not."""
    expression: str = ""
    """PromQL of an alert without a condition; $kind, $namespace, $name, $deployment stand for those of the monitor."""
