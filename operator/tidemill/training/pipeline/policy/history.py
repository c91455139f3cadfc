"""What has been tried so far: status as it was last written, and the newest run folded into it.

Why: a run is created before the pipeline's status says so. Whoever crashes in between, or saves that write, must come
to the same answer afterwards, so everything that a started run changes is derived from the run itself. At most the
newest run can be missing from status, because the next one only starts when it has ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from tidemill.core import conditions, labels
from tidemill.core.request_annotations import still_handled
from tidemill.training.pipeline.snapshot import PipelineSnapshot
from tidemill.training.records import RunRecord

KEYS_KEPT = 50
STARTS_KEPT = 200
DAY = timedelta(hours=24)
UNTRIED = ("NeverTrained", "SpecChanged", "CodeChanged", "DataChanged")
"""Triggers that start a run for a key that no run has tried."""


@dataclass(frozen=True, slots=True)
class Observed:
    """Revisions that the last started run used."""

    spec: str | None
    code: str | None
    image: str | None
    data: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class History:
    """Everything about the past that a decision needs."""

    observed: Observed | None
    """None: no run has ever started."""
    newest: RunRecord | None
    """The newest run that still exists."""
    active: RunRecord | None
    last_run: str | None
    last_start: datetime | None
    starts: tuple[datetime, ...]
    """Starts that were not requested by hand, oldest first; only kept for maxRunsPerDay."""
    keys: tuple[str, ...]
    tried: frozenset[str]
    failures: int
    last_success: datetime | None
    last_schedule: datetime | None
    handled_request: str | None
    handled_monitors: Mapping[str, str]

    def is_mended(self, failed: RunRecord) -> bool:
        """Whether a later run has succeeded, also one that was deleted since."""
        return self.last_success is not None and self.last_success > (failed.completed or failed.created)


def history(snapshot: PipelineSnapshot) -> History:
    """Status and runs as one."""
    status = snapshot.pipeline.status
    newest = _newest(snapshot)
    last = snapshot.vanished or newest  # what vanished was started while nothing else went on
    active = next((r for r in reversed(snapshot.runs) if not r.finished), None)
    unfolded = last is not None and not _is_folded(snapshot, last)
    keys = tuple(status.run_keys)
    starts = tuple(status.recent_run_times)
    if last is not None:
        keys = _with_key(keys, last)
    if last is not None and unfolded and last.trigger_type != "ManualRequested":
        starts = (*(s for s in starts if s > last.created - DAY), last.created)[-STARTS_KEPT:]
    failures, last_success, last_run = _outcome(snapshot)
    return History(
        observed=_observed(snapshot, last),
        newest=newest,
        active=active,
        last_run=last_run,
        last_start=last.created if last and unfolded else status.last_run_time,
        starts=starts if snapshot.pipeline.spec.triggers.max_runs_per_day else (),
        keys=keys,
        tried=frozenset({*keys, *(tried_key(r) for r in snapshot.runs)}),
        failures=failures,
        last_success=last_success,
        last_schedule=_last_schedule(snapshot, last),
        handled_request=_handled_request(snapshot, last),
        handled_monitors=_handled_monitors(snapshot, last),
    )


def tried_key(run: RunRecord) -> str:
    """What it was decided on while it goes on; afterwards what it has read, which may have changed before its start."""
    return run.trained_key if run.finished and run.trained_key else run.key


def _with_key(keys: tuple[str, ...], last: RunRecord) -> tuple[str, ...]:
    """The keys with that of the last run. What it was decided on and has not read was not tried, and may be yet.

    Only runs whose key had not been tried before take it out again: others found it there.
    """
    key = tried_key(last)
    if key != last.key and last.trigger_type in UNTRIED:
        keys = tuple(k for k in keys if k != last.key)
    return keys if key in keys else (*keys, key)[-KEYS_KEPT:]


def _newest(snapshot: PipelineSnapshot) -> RunRecord | None:
    """The newest run; of two of the same second the one that status does not know yet."""
    return max(snapshot.runs, key=lambda r: (r.created, not _is_folded(snapshot, r), r.name), default=None)


def _is_folded(snapshot: PipelineSnapshot, run: RunRecord) -> bool:
    status = snapshot.pipeline.status
    older = status.last_run_time is not None and run.created < status.last_run_time
    return older or run.name in (status.active_run, status.last_run)


def _observed(snapshot: PipelineSnapshot, newest: RunRecord | None) -> Observed | None:
    before = snapshot.pipeline.status.observed
    known = dict(before.data) if before else {}
    probed = {d.name: d.revision for d in snapshot.pipeline.status.data if d.revision}
    if newest is None:
        if before is None:
            return None
        return Observed(before.spec, before.code, before.image, {**probed, **known})
    # An input whose revision the run could not tell keeps the one before; without one, what a probe sees first.
    return Observed(newest.spec_digest, newest.code, newest.image, {**probed, **known, **newest.data})


def _outcome(snapshot: PipelineSnapshot) -> tuple[int, datetime | None, str | None]:
    """Failures in a row, the last success, and the last run that ended; the newest run counts once."""
    status = snapshot.pipeline.status
    ended = next((r for r in reversed(snapshot.runs) if r.finished), None)
    if ended is None or ended.name == status.last_run:
        return status.consecutive_failures, status.last_successful_time, status.last_run
    if ended.outcome == "True":
        return 0, ended.completed or ended.created, ended.name
    if status.last_run_time is not None and ended.created < status.last_run_time:  # counted before; a later one is gone
        return status.consecutive_failures, status.last_successful_time, ended.name
    return status.consecutive_failures + 1, status.last_successful_time, ended.name


def _last_schedule(snapshot: PipelineSnapshot, newest: RunRecord | None) -> datetime | None:
    before = snapshot.pipeline.status.last_schedule_time
    if newest is None or newest.trigger_type != "ScheduleDue" or not newest.trigger.get("to"):
        return before
    tick = conditions.parse_time(str(newest.trigger["to"]))
    return max(before, tick) if before else tick


def _handled_request(snapshot: PipelineSnapshot, newest: RunRecord | None) -> str | None:
    annotations = snapshot.object["metadata"].get("annotations") or {}
    last = snapshot.pipeline.status.last_handled_run_request
    before = still_handled(annotations, labels.RUN_REQUESTED_AT, last)
    if newest is None or newest.trigger_type != "ManualRequested" or _is_folded(snapshot, newest):
        return before
    return str(newest.trigger.get("to") or "") or before


def _handled_monitors(snapshot: PipelineSnapshot, newest: RunRecord | None) -> dict[str, str]:
    handled = dict(snapshot.pipeline.status.last_handled_monitor_requests)
    if newest is not None and newest.trigger_type == "MonitorRequested" and not _is_folded(snapshot, newest):
        monitor, id_ = newest.trigger.get("monitor"), newest.trigger.get("id")
        if monitor and id_:
            handled[str(monitor)] = str(id_)
    return handled
