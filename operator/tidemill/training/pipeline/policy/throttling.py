"""May the run start now? Limits between the wish for a run and its start.

Requests by hand wait for the active run and for nothing else. Three runs in a row that failed or were refused slow down
what would repeat itself by machine, new data and monitors: one hour, then twice as long each time, at most a day
(docs/decisions/0072).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from tidemill.training import constants
from tidemill.training.pipeline.policy import retry
from tidemill.training.pipeline.policy.context import Context
from tidemill.training.pipeline.policy.history import DAY, UNTRIED
from tidemill.training.pipeline.policy.retry import Retry
from tidemill.training.pipeline.state import Verdict
from tidemill_contracts.counts import counted

SLOW_AFTER_FAILURES = 3
SLOWED = ("DataChanged", "MonitorRequested")
FIRST_PAUSE = timedelta(hours=1)
LONGEST_PAUSE = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a run does not start now."""

    message: str
    until: datetime | None
    """None: until the active run has ended."""
    reason: str = constants.RUN_PENDING
    """What Ready says meanwhile, where no version is in force."""


def hold(ctx: Context, verdict: Verdict) -> Hold | None:
    """The longest-lasting reason not to start, None when the run may start."""
    active = ctx.history.active
    if active is not None:
        return Hold(f"run {active.name} is in progress", None)
    if verdict.type == "ManualRequested":
        return None
    limits = (_interval(ctx), _per_day(ctx), _pause(ctx, verdict), _retry(ctx, verdict), _settling(ctx, verdict))
    found = [h for h in limits if h]
    pending = [h for h in found if h.until is not None and h.until > ctx.snapshot.now]
    return max(pending, key=lambda h: h.until or ctx.snapshot.now, default=None)


def pause_until(ctx: Context) -> datetime | None:
    """Until when new data and monitors start nothing; None when they may."""
    failures = ctx.history.failures
    if failures < SLOW_AFTER_FAILURES or ctx.history.last_start is None:
        return None
    doublings = min(failures - SLOW_AFTER_FAILURES, 10)
    until = ctx.history.last_start + min(FIRST_PAUSE * 2**doublings, LONGEST_PAUSE)
    return until if until > ctx.snapshot.now else None


def retry_at(ctx: Context, found: Retry) -> datetime:
    """When the next try starts: limits hold it as they hold every other run."""
    limits = (_interval(ctx), _per_day(ctx))
    return max([found.at, *(h.until for h in limits if h is not None and h.until is not None)])


def _interval(ctx: Context) -> Hold | None:
    seconds = ctx.snapshot.pipeline.spec.triggers.min_interval_seconds
    last = ctx.history.last_start
    if not seconds or last is None:
        return None
    return Hold(f"spec.triggers.minIntervalSeconds is {seconds}", last + timedelta(seconds=seconds))


def _per_day(ctx: Context) -> Hold | None:
    most = ctx.snapshot.pipeline.spec.triggers.max_runs_per_day
    starts = [s for s in ctx.history.starts if s > ctx.snapshot.now - DAY]
    if most is None or len(starts) < most:
        return None
    return Hold(f"spec.triggers.maxRunsPerDay is {most}", starts[-most] + DAY)


def _settling(ctx: Context, verdict: Verdict) -> Hold | None:
    """`kubectl apply -k` writes one object after the other: one run for all of them, and not on half of them."""
    changed, seconds = ctx.snapshot.maps_changed, ctx.snapshot.config.config_map_settle_seconds
    if changed is None or verdict.type not in UNTRIED:
        return None
    until = changed + timedelta(seconds=seconds)
    return Hold("a ConfigMap of code or data has just changed, and others may follow", until)


def _retry(ctx: Context, verdict: Verdict) -> Hold | None:
    found = retry.retry(ctx) if verdict.type == retry.TRIGGER else None
    return Hold("the infrastructure failed the last run, and the retry waits", found.at) if found else None


def _pause(ctx: Context, verdict: Verdict) -> Hold | None:
    until = pause_until(ctx) if verdict.type in SLOWED else None
    if until is None:
        return None
    return Hold(f"the last {counted(ctx.history.failures, 'run')} failed or were rejected", until)
