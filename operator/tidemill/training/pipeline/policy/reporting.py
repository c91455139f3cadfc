"""When the pipeline's status is written: what saves writes without hiding anything (docs/decisions/0070)."""

from __future__ import annotations

from datetime import timedelta

from tidemill.core import conditions
from tidemill.training.pipeline.policy.context import Situation

QUIET = timedelta(seconds=20)
"""How long a run may be on its way before the pipeline's status says so."""


def is_recorded(now: Situation) -> bool:
    """Whether status knows how the newest run ended, and of the one that was deleted: both are in memory only."""
    newest = now.history.newest
    told = newest is None or newest.name == now.snapshot.pipeline.status.last_run
    return told and now.snapshot.vanished is None


def is_due(now: Situation) -> bool:
    """Whether status should change now: not while a fresh run is only on its way and nothing wrong is shown.

    Never before the run's Job was seen (or the run says what hinders it): `status.activeRun` proves that there was one,
    to whoever finds the run without (docs/decisions/0094). Nor between the run's version and its verdict, which follows
    at once.
    """
    active = now.history.active
    if active is None:
        return True
    if any(v.run == active.name and v.created >= active.created for v in now.snapshot.versions):
        return False
    if now.snapshot.pipeline.status.active_run == active.name:
        return True
    if active.untold and not active.has_job:
        return False
    return shows_trouble(now) or now.snapshot.now >= active.created + QUIET


def shows_trouble(now: Situation) -> bool:
    """Whether status says that something is wrong, which a started run makes untrue."""
    shown = conditions.of(now.snapshot.object)
    return any(c.get("status") == "False" for c in shown if c.get("type") == conditions.READY)
