"""When the pipeline's status is written: what saves writes without hiding anything (docs/decisions/0070)."""

from __future__ import annotations

from datetime import timedelta

from tidemill.core import conditions
from tidemill.training import constants
from tidemill.training.pipeline.policy.context import Context

QUIET = timedelta(seconds=20)
"""How long a run may be on its way before the pipeline's status says so."""


def is_recorded(ctx: Context) -> bool:
    """Whether status knows how the newest run ended, and of the one that was deleted: both are in memory only."""
    newest = ctx.history.newest
    reported = newest is None or newest.name == ctx.snapshot.pipeline.status.last_run
    return reported and ctx.snapshot.vanished is None


def is_due(ctx: Context) -> bool:
    """Whether status should change now: not while a fresh run is only on its way and nothing wrong is shown.

    Never before the run's Job was seen (or the run says what hinders it): `status.activeRun` proves that there was one,
    to whoever finds the run without (docs/decisions/0094). Nor between the run's version and its verdict, which follows
    at once.
    """
    active = ctx.history.active
    if active is None:
        return True
    if any(v.is_of(active) for v in ctx.snapshot.versions):
        return False
    if ctx.snapshot.pipeline.status.active_run == active.name:
        return True
    if active.unreported and not active.has_job:
        return False
    is_stuck = active.reason == constants.CANNOT_START or active.blocked is not None
    return is_stuck or shows_trouble(ctx) or ctx.snapshot.now >= active.created + QUIET


def shows_trouble(ctx: Context) -> bool:
    """Whether status says that something is wrong, which a started run makes untrue."""
    shown = conditions.of(ctx.snapshot.object)
    return any(c.get("status") == "False" for c in shown if c.get("type") == conditions.READY)
