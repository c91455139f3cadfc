"""Requests of monitors: which are open, and which of them wait because a run would make the same model again.

A run on the data, code and spec of an earlier one trains the model that there was. It would use up the day's runs and
those of the monitor, and nothing would be better. So a request waits until one of them changes
(docs/decisions/0242). Where only a probe can tell, it is asked first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tidemill.training import constants
from tidemill.training.pipeline.policy import champion as champions
from tidemill.training.pipeline.policy import data_changes
from tidemill.training.pipeline.policy.context import Context
from tidemill.training.pipeline.snapshot import MonitorRequest
from tidemill.training.pipeline.state import Inputs
from tidemill.training.records import RunRecord


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a request is not served. Without a reason, that is not known yet, and nothing is to be told."""

    reason: str | None
    message: str


def open_requests(ctx: Context) -> list[MonitorRequest]:
    """Requests that nothing has served or answered, one a monitor."""
    if ctx.snapshot.pipeline.spec.triggers.monitors is None:
        return []
    return [r for r in _unserved(ctx) if not _is_answered(ctx, r)]


def handled(ctx: Context) -> dict[str, str]:
    """By monitor, the request that needs no run any more: served by one of its own, or answered by another."""
    answered = {r.monitor: r.id for r in _unserved(ctx) if _is_answered(ctx, r)}
    return {**ctx.history.handled_monitors, **answered}


def _unserved(ctx: Context) -> list[MonitorRequest]:
    known = ctx.history.handled_monitors
    return [r for r in ctx.snapshot.requests if known.get(r.monitor) != r.id]


def _is_answered(ctx: Context, request: MonitorRequest) -> bool:
    """Whether a run that started later was judged, or another version came into force later."""
    if request.time is None:
        return False
    last = ctx.history.newest
    if last is not None and _is_judged(last) and last.created > request.time:
        return True
    champion = champions.champion(ctx.snapshot, ctx.history)
    return champion is not None and champion.name != request.version and champion.created > request.time


def _is_judged(run: RunRecord) -> bool:
    return run.outcome == "True" or (run.finished and run.reason == constants.REJECTED)


def why_waiting(ctx: Context, inputs: Inputs) -> Waiting | None:
    """Why the open requests wait; None where there is none, or where a run can give another model than the last."""
    requests = open_requests(ctx)
    if not requests or _has_failed(ctx):
        return None
    same = _same(ctx, inputs)
    if same is None:
        changed = data_changes.seen_to_change(ctx, inputs)
        is_settled = all(data_changes.settled_at(ctx, name) is None for name in changed)
        return None if is_settled else Waiting(None, f"input {changed[0]} has a new revision that may still change")
    who = f"ModelMonitor {requests[0].monitor} requested a retrain (request {requests[0].id})"
    if is_look_due(ctx):
        return Waiting(None, f"{who}; whether the data has changed is being looked up")
    names = {source.name for source in ctx.snapshot.probed_sources}
    broken = [d for d in ctx.snapshot.pipeline.status.data if d.name in names and d.error]
    if broken:
        text = f"{who}, which waits: whether input {broken[0].name} has changed is not known: {broken[0].error}"
        return Waiting(constants.PROBE_FAILED, text)
    text = f"data, code and spec are those of run {same} and would give the same model; a change of one starts the run"
    return Waiting(constants.DATA_UNCHANGED, f"{who}, which waits: {text}")


def is_look_due(ctx: Context) -> bool:
    """Whether a probe has to look because of a request: none has since it was made."""
    if not ctx.snapshot.probed_sources:
        return False
    looked = ctx.snapshot.pipeline.status.last_probe_time
    times = [r.time for r in open_requests(ctx) if r.time is not None]
    return bool(times) and (looked is None or looked < max(times))


def _has_failed(ctx: Context) -> bool:
    """Whether the last run came to no verdict, or has not yet."""
    last = ctx.history.newest
    return last is not None and not _is_judged(last)


def _same(ctx: Context, inputs: Inputs) -> str | None:
    """Name of a judged run on what there is now; None where there was none.

    The last one is known from the pipeline's status, too, when its TrainingRun was deleted.
    """
    known, wanted = data_changes.known_revisions(ctx, inputs), (inputs.spec_digest, inputs.code.digest)
    observed = ctx.history.observed
    tried: list[tuple[str, tuple[str | None, str | None], Mapping[str, str]]] = [
        (r.name, (r.spec_digest, r.code), r.data) for r in ctx.snapshot.runs if _is_judged(r)
    ]
    if observed is not None:
        tried.append((ctx.history.last_run or "", (observed.spec, observed.code), observed.data))
    for name, made_from, data in reversed(tried):
        if made_from == wanted and all(data.get(source, revision) == revision for source, revision in known.items()):
            return name
    return None
