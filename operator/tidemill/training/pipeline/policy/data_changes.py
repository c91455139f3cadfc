"""Which inputs have changed since the last run, and when what changed has settled."""

from __future__ import annotations

from datetime import datetime, timedelta

from tidemill.training.pipeline.policy.context import Context
from tidemill.training.pipeline.snapshot import is_kept_rows, probed_by
from tidemill.training.pipeline.state import Inputs


def changed_inputs(ctx: Context, inputs: Inputs) -> list[str]:
    """Names of inputs whose known revision differs from the last run's; none without the trigger dataChange."""
    if ctx.snapshot.pipeline.spec.triggers.data_change is None:
        return []
    return _differing(ctx, {name: revision for name, revision in inputs.data.items() if revision is not None})


def seen_to_change(ctx: Context, inputs: Inputs) -> list[str]:
    """The same for a request of a monitor: also of what was only probed because of that request."""
    return _differing(ctx, known_revisions(ctx, inputs))


def known_revisions(ctx: Context, inputs: Inputs) -> dict[str, str]:
    """Newest revisions by input, of all that can change and were seen."""
    probed = {d.name: d.revision for d in ctx.snapshot.pipeline.status.data if d.revision is not None}
    known = {name: revision for name, revision in inputs.data.items() if revision is not None}
    return {**known, **{s.name: probed[s.name] for s in ctx.snapshot.probed_sources if s.name in probed}}


def _differing(ctx: Context, known: dict[str, str]) -> list[str]:
    observed = ctx.history.observed
    if observed is None:
        return []
    return [name for name, revision in known.items() if observed.data.get(name, revision) != revision]


def settled_at(ctx: Context, name: str) -> datetime | None:
    """When the newest revision of an input will have settled; None when it has.

    What a probe saw must be seen again by a probe that late: time alone does not tell that an upload has ended.
    """
    spec, status = ctx.snapshot.pipeline.spec, ctx.snapshot.pipeline.status
    if is_kept_rows(next(s for s in spec.data if s.name == name)):
        return None  # a file is written whole and never changes: nothing settles, and on a busy day nothing would
    wait = timedelta(seconds=spec.triggers.data_change.settle_seconds if spec.triggers.data_change else 0)
    source = next(s for s in spec.data if s.name == name)
    state = next((d for d in status.data if d.name == name), None)
    is_probed = probed_by(source) == "probe"
    revision = ctx.inputs.data.get(name) if ctx.inputs and not is_probed else state.revision if state else None
    since = state.since if state and state.since and state.revision == revision else ctx.snapshot.now
    looked = ctx.snapshot.now
    if is_probed:
        looked = status.last_probe_time or since
    return since + wait if looked < since + wait else None
