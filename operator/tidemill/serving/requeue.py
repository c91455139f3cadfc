"""When to look again, in seconds. A settled deployment is not looked at by the clock: only a change can matter."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from tidemill.api.v1alpha1.model_deployment import CandidateStatus
from tidemill.core.conditions import parse_time
from tidemill.core.podfailure import LOOK_SECONDS
from tidemill.serving import readiness, runtime_status
from tidemill.serving.policy import signature, strategies
from tidemill.serving.snapshot import Snapshot
from tidemill.serving.state import State

SCALE_DOWN_DELAY_SECONDS = 30.0
"""How long the pods of a version that gets no more requests stay, so that a rollback is quick."""

IN_FORCE_SECONDS = 0.5
"""How often the router pods are asked whether they follow the newest routes, until they do."""

UNREACHABLE_SECONDS = 2.0
"""How often the router pods are asked for an address of the stable version once the status says that none knows one."""

VISIBLE_SECONDS = 0.5
"""How often the router pods are asked whether they know a ready candidate's address."""

HEALTH_SECONDS = 15.0
"""How often a candidate that gets requests is looked at without any other reason."""

ASK_SECONDS = 60.0
"""How often pods are asked what only they know of their model, until one of them has reported it."""


def requeue_after(snapshot: Snapshot, state: State, routes_version: str) -> float | None:
    """Seconds until the next look; None when only a change can make a difference."""
    due: list[float] = []
    live = snapshot.router
    serving = {(r.version, r.digest) for r in (state.stable, state.candidate) if r is not None}
    if any(w.version.key not in serving for w in snapshot.workloads):
        age = (snapshot.now - live.routes_since).total_seconds() if live.routes_since else 0.0
        due.append(max(SCALE_DOWN_DELAY_SECONDS - age, 2.0))
    if (
        live.ready
        and state.stable is not None
        and (not readiness.is_routed(snapshot, state, routes_version) or readiness.is_unreachable(snapshot, state))
    ):
        is_known = readiness.was_available(snapshot).reason == readiness.UNREACHABLE
        due.append(UNREACHABLE_SECONDS if is_known else IN_FORCE_SECONDS)
    if any(runtime_status.is_unreported(snapshot, record) for record in (state.stable, state.candidate)):
        due.append(ASK_SECONDS)
    if any(w.is_silent for w in (*snapshot.workloads, live.workload) if w is not None):
        due.append(LOOK_SECONDS)
    if state.candidate is not None:
        due += _candidate(snapshot, state, state.candidate)
    return min(due) if due else None


def deadline(snapshot: Snapshot, status: Mapping[str, Any]) -> float | None:
    """Seconds until what the status calls unsettled is overdue; None when nothing is, or it is so already."""
    since = status.get("unsettledSince")
    if since is None:
        return None
    left = parse_time(since) + timedelta(seconds=snapshot.spec.rollout.progress_deadline_seconds) - snapshot.now
    return left.total_seconds() + 0.1 if left.total_seconds() > 0 else None


def _candidate(snapshot: Snapshot, state: State, candidate: CandidateStatus) -> list[float]:
    if signature.current(snapshot, state) is not None:
        return [ASK_SECONDS]
    if candidate.step < 0:
        if readiness.is_ready(snapshot, state, candidate):
            pause = (strategies.begins_at(snapshot, candidate) - snapshot.now).total_seconds()
            return [max(pause, VISIBLE_SECONDS)]
        deadline = candidate.started_at + timedelta(seconds=snapshot.spec.rollout.progress_deadline_seconds)
        left = (deadline - snapshot.now).total_seconds()
        return [left + 0.1] if left > 0 else []
    due = [HEALTH_SECONDS]
    ends = strategies.end(snapshot, candidate)
    if ends is not None and ends > snapshot.now:
        due.append((ends - snapshot.now).total_seconds())
    wanted = strategies.analysis(snapshot)
    if wanted is not None:
        last = candidate.last_analysis
        since = last.time if last else candidate.step_started_at or snapshot.now
        left = (since + timedelta(seconds=wanted.interval_seconds) - snapshot.now).total_seconds()
        due.append(left if left > 0 else 1.0)
    return due
