"""When external inputs are looked at, and what was seen.

A probe is a short Job. Its result goes into status first; the Job is deleted in a later pass, so that no result is lost
between the two. Where it cannot be read, the revision before stays and nothing is trained because of it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import ValidationError

from tidemill.api.v1alpha1.training_pipeline import DataChange, DataState
from tidemill.core.podfailure import LOOK_SECONDS
from tidemill.core.text import clean
from tidemill.training.pipeline.policy import monitor_requests
from tidemill.training.pipeline.policy.context import Context
from tidemill.training.pipeline.policy.data_changes import seen_to_change, settled_at
from tidemill.training.pipeline.policy.inputs import revision
from tidemill.training.pipeline.snapshot import (
    PROBE_DEADLINE_SECONDS,
    PipelineSnapshot,
    ProbeJob,
    is_kept_rows,
    probed_by,
)
from tidemill_contracts.training import REVISION_LIMIT, ProbeResult, is_revision

ERROR_LIMIT = 1024


@dataclass(frozen=True, slots=True)
class ProbeActions:
    """What to do about probes now."""

    start: int | None
    """Number of the probe to create."""
    unread: ProbeJob | None
    done: tuple[ProbeJob, ...]
    """Probes that were read, or that nobody needs any more."""
    next: datetime | None
    """When to look again."""


def probe_actions(ctx: Context) -> ProbeActions:
    """Which probe to start, to read and to remove."""
    snapshot = ctx.snapshot
    last = snapshot.pipeline.status.last_probe_time
    done = tuple(p for p in snapshot.probes if last and p.created <= last)
    open_ = tuple(p for p in snapshot.probes if p not in done)
    is_stalled = ctx.problem is not None and ctx.problem.stalled
    if not snapshot.probed_sources or snapshot.pipeline.spec.suspend or is_stalled:
        return ProbeActions(None, None, snapshot.probes, None)
    if open_:
        unread = open_[0] if open_[0].finished else None
        patience = open_[0].created + timedelta(seconds=PROBE_DEADLINE_SECONDS + 60)
        if open_[0].is_silent:
            patience = min(patience, snapshot.now + timedelta(seconds=LOOK_SECONDS))
        return ProbeActions(None, unread, done, patience)
    due = _due(ctx)
    if due > snapshot.now:
        return ProbeActions(None, None, done, due)
    return ProbeActions(int(last.timestamp()) if last else 0, None, done, None)


def _due(ctx: Context) -> datetime:
    snapshot = ctx.snapshot
    change, last = snapshot.pipeline.spec.triggers.data_change or DataChange(), snapshot.pipeline.status.last_probe_time
    if last is None or monitor_requests.is_look_due(ctx):
        return snapshot.now
    if any(is_kept_rows(s) and _is_unknown(snapshot, s.name) for s in snapshot.probed_sources):
        return snapshot.now
    due = last + timedelta(seconds=change.poll_seconds * (1 + _jitter(snapshot)))
    names = {source.name for source in snapshot.probed_sources}
    unsettled = [n for n in seen_to_change(ctx, ctx.inputs) if n in names] if ctx.inputs else []
    return min([due, *(at for n in unsettled if (at := settled_at(ctx, n)))])


def _is_unknown(snapshot: PipelineSnapshot, name: str) -> bool:
    """Whether nobody has looked at an input yet."""
    state = next((d for d in snapshot.pipeline.status.data if d.name == name), DataState(name=name))
    return state.revision is None and state.error is None


def _jitter(snapshot: PipelineSnapshot) -> float:
    """0 to 0.1, always the same for one pipeline: polls of many pipelines spread, polls of one keep their pace."""
    return hashlib.sha256(snapshot.object["metadata"]["uid"].encode()).digest()[0] / 2560


def problem(ctx: Context) -> str | None:
    """Why the probe that is on its way does not start."""
    last = ctx.snapshot.pipeline.status.last_probe_time
    return next((p.problem for p in ctx.snapshot.probes if p.problem and not (last and p.created <= last)), None)


def data_states(ctx: Context, unread: ProbeJob | None) -> list[DataState]:
    """What is known of every input that can change; empty where neither dataChange nor a monitor needs it."""
    snapshot = ctx.snapshot
    names = [source.name for source in snapshot.watched_sources]
    result = read(unread, names) if unread else None
    return [_state(snapshot, name, result) for name in names]


def _state(snapshot: PipelineSnapshot, name: str, result: ProbeResult | None) -> DataState:
    before = next((d for d in snapshot.pipeline.status.data if d.name == name), DataState(name=name))
    source = next(s for s in snapshot.pipeline.spec.data if s.name == name)
    if probed_by(source) == "operator":
        seen, error = revision(snapshot, source), None
    elif result is None or (is_kept_rows(source) and snapshot.rows_of(source) is None):
        return before
    else:
        seen, error = _reported(result, name)
        if is_kept_rows(source) and seen is None and error is None:  # else it would be asked again at once
            error = "the probe reported nothing of this input"
    if seen is None:
        return DataState(name=name, revision=before.revision, since=before.since, error=error and error[:ERROR_LIMIT])
    since = before.since if before.revision == seen else snapshot.now
    return DataState(name=name, revision=seen, since=since)


def _reported(result: ProbeResult, name: str) -> tuple[str | None, str | None]:
    """Revision and error of one input. Its pod belongs to the namespace: what it says may be anything."""
    revision, error = result.revisions.get(name), result.errors.get(name)
    if revision is not None and not is_revision(revision):
        revision, error = None, f"the probe reported a revision that is not 1 to {REVISION_LIMIT} printable characters"
    return revision, clean(error) if error else None


def read(probe: ProbeJob, names: list[str]) -> ProbeResult:
    """A finished probe's result; one that left none counts as an error of every input in `names`."""
    try:
        return ProbeResult.from_json(probe.message or "")
    except ValidationError:
        text = f"probe {probe.name} left no result: {(probe.message or 'no termination message')[:300]}"
        return ProbeResult(errors=dict.fromkeys(names, text))
