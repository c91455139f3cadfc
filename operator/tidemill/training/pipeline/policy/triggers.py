"""Should a run start? One small function a trigger, in the order of `CHAIN`.

What somebody requested comes first: such a run also trains what changed meanwhile, so one run serves both. The same
key is never trained twice by NeverTrained, SpecChanged, CodeChanged and DataChanged; requests by hand and ticks count
as requested (docs/decisions/0004). Those of monitors wait for something to have changed since the last run. A retry
comes last: any other run serves it, too.
"""

from __future__ import annotations

from collections.abc import Callable

from tidemill.core import conditions, hashing, labels
from tidemill.training.pipeline.policy import monitor_requests, retry
from tidemill.training.pipeline.policy.context import Context
from tidemill.training.pipeline.policy.data_changes import changed_inputs, settled_at
from tidemill.training.pipeline.policy.schedule import schedule_state
from tidemill.training.pipeline.state import Inputs, Verdict
from tidemill.training.records import ENVIRONMENT, RunRecord

TEXT_LIMIT = 1024
OVERTAKEN = "CodeChanged"
"""Failure reason of a run whose code changed between the decision and the start of its pod."""


Policy = Callable[[Context, Inputs], Verdict | None]


def manual_requested(ctx: Context, inputs: Inputs) -> Verdict | None:
    """The annotation tidemill.io/run-requested-at has another value than the one that was served last.

    A value may come back (a, b, a), and then is a request again. The last run that ended sets the names of these runs
    apart; it stays the same from the decision until the new run has ended, so a second attempt after a crash meets the
    first.
    """
    del inputs
    annotations = ctx.snapshot.object["metadata"].get("annotations") or {}
    value = str(annotations.get(labels.RUN_REQUESTED_AT) or "")[:TEXT_LIMIT]
    if not value or value == ctx.history.handled_request:
        return None
    message = f"annotation {labels.RUN_REQUESTED_AT}={value[:200]}"
    suffix = f"m{hashing.short([ctx.history.last_run, value], 6)}"
    return Verdict("ManualRequested", message, after=value, suffix=suffix)


def schedule_due(ctx: Context, inputs: Inputs) -> Verdict | None:
    """A scheduled time has come."""
    del inputs
    table = schedule_state(ctx)
    if table is None or table.due is None:
        return None
    wanted = ctx.snapshot.pipeline.spec.triggers.schedule
    zone = f"{wanted.cron} {wanted.time_zone}" if wanted else ""
    when = conditions.format_time(table.due)
    return Verdict("ScheduleDue", f"{when} of {zone}", after=when, suffix=str(int(table.due.timestamp()) // 60))


def monitor_requested(ctx: Context, inputs: Inputs) -> Verdict | None:
    """A ModelMonitor requested a retrain, and it can give another model than the last run."""
    request = next(iter(monitor_requests.open_requests(ctx)), None)
    if request is None or monitor_requests.why_waiting(ctx, inputs) is not None:
        return None
    message = f"ModelMonitor {request.monitor}: {request.message}"[:TEXT_LIMIT]
    uid = ctx.snapshot.object["metadata"]["uid"]
    suffix = f"r{hashing.short([uid, request.uid, request.monitor, request.id], 10)}"
    return Verdict(
        "MonitorRequested", message, after=request.cause, id=request.id, monitor=request.monitor, suffix=suffix
    )


def never_trained(ctx: Context, inputs: Inputs) -> Verdict | None:
    """No version exists, and these inputs were not tried: the first run, and each change until one succeeds."""
    if ctx.trained or inputs.key in ctx.history.tried:
        return None
    if ctx.history.observed is None:
        return Verdict("NeverTrained", "this pipeline has never run")
    if ctx.history.newest is None:
        return Verdict("NeverTrained", "no version of this pipeline exists")
    text = f"no version of this pipeline exists, and its inputs changed after run {ctx.history.newest.name}"
    return Verdict("NeverTrained", text, ctx.history.newest.key, inputs.key)


def spec_changed(ctx: Context, inputs: Inputs) -> Verdict | None:
    """A part of spec that decides the outcome changed, or one that decides whether the last, failed run could work."""
    observed = ctx.history.observed
    if observed is None:
        return None
    if observed.spec != inputs.spec_digest and inputs.key not in ctx.history.tried:
        return Verdict("SpecChanged", "spec changed since the last run", observed.spec, inputs.spec_digest)
    return _environment_changed(ctx, inputs)


def _environment_changed(ctx: Context, inputs: Inputs) -> Verdict | None:
    last = ctx.history.newest
    if last is None or last.key != inputs.key or last.outcome != "False" or not last.failure:
        return None
    changed = _changed_environment(ctx, last)
    if not changed:
        return None
    fields = ", ".join("spec.run" if f == "limits" else f"spec.{f}" for f in changed)
    message = f"{fields} changed after run {last.name} failed with {last.failure.get('reason')}"
    generation = ctx.snapshot.object["metadata"].get("generation", 0)
    return Verdict("SpecChanged", message, last.name, f"generation {generation}", suffix=f"g{generation}")


def _changed_environment(ctx: Context, last: RunRecord) -> list[str]:
    spec = ctx.snapshot.pipeline.spec.to_json()
    spec["limits"] = spec.get("run")
    return [f for f in ENVIRONMENT if (spec.get(f) or None) != (last.environment.get(f) or None)]


def code_changed(ctx: Context, inputs: Inputs) -> Verdict | None:
    """The code's content changed."""
    observed, last = ctx.history.observed, ctx.history.newest
    if observed is None or observed.code == inputs.code.digest or inputs.key in ctx.history.tried:
        return None
    overtaken = last is not None and last.failure.get("reason") == OVERTAKEN
    if ctx.snapshot.pipeline.spec.triggers.code_change is None and not overtaken:
        return None
    message = "the code changed" if not overtaken else f"the code changed while run {last.name if last else ''} started"
    return Verdict("CodeChanged", message, observed.code, inputs.code.digest)


def data_changed(ctx: Context, inputs: Inputs) -> Verdict | None:
    """An input has a new revision that has stayed the same for settleSeconds."""
    changed = changed_inputs(ctx, inputs)
    if not changed or inputs.key in ctx.history.tried:
        return None
    if any(settled_at(ctx, name) is not None for name in changed):
        return None
    name = changed[0]
    others = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
    before = ctx.history.observed.data.get(name) if ctx.history.observed else None
    return Verdict("DataChanged", f"input {name} has a new revision{others}", before, inputs.data[name])


def retry_due(ctx: Context, inputs: Inputs) -> Verdict | None:
    """The infrastructure failed the last run; when it is due, `throttling` says."""
    del inputs
    found = retry.retry(ctx)
    if found is None:
        return None
    message = f"retry {found.number} after run {found.last.name} failed with {found.last.failure.get('reason')}"
    suffix = f"t{hashing.short([found.last.uid, found.last.name], 8)}"
    return Verdict("RetryDue", message, before=found.last.name, after=str(found.number), suffix=suffix)


CHAIN: tuple[Policy, ...] = (
    manual_requested,
    schedule_due,
    monitor_requested,
    never_trained,
    spec_changed,
    code_changed,
    data_changed,
    retry_due,
)


def verdicts(ctx: Context) -> list[Verdict]:
    """Every trigger that calls for a run now, most important first; none while suspended or when inputs are missing."""
    if ctx.inputs is None or ctx.snapshot.pipeline.spec.suspend:
        return []
    found = (policy(ctx, ctx.inputs) for policy in CHAIN)
    return [v for v in found if v is not None]
