"""History, champion, limits, retries, timetable, probes, registration, approval: what is decided at which edge."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.support import builders_training as build
from tests.unit.training import make
from tests.unit.training.make import (
    NOW,
    ago,
    context,
    deployment,
    failed,
    probe,
    run,
    snapshot,
    trained,
    version,
    when,
)

from tidemill.api.v1alpha1.model_version import ModelVersion, Registered
from tidemill.api.v1alpha1.training_run import TrainingRun
from tidemill.config import OperatorConfig
from tidemill.training import constants, retry_pauses
from tidemill.training.pipeline.policy import champion, probes, retention, retry, schedule, throttling
from tidemill.training.pipeline.policy.context import Context
from tidemill.training.pipeline.policy.history import KEYS_KEPT, STARTS_KEPT, history
from tidemill.training.pipeline.snapshot import PROBE_DEADLINE_SECONDS
from tidemill.training.pipeline.state import Verdict
from tidemill.training.run.policy.registration import registration
from tidemill.training.run.snapshot import RunSnapshot
from tidemill.training.version.policy.approval import approval
from tidemill.training.version.policy.registration import Registration
from tidemill.training.version.snapshot import VersionSnapshot

Obj = dict[str, Any]

# -- history ----------------------------------------------------------------------------------------------------------


def past(spec: Obj | None = None, status: Obj | None = None, **fields: Any) -> Any:
    return history(snapshot(spec, status, **fields))


def test_fifty_keys_are_kept_and_the_oldest_goes() -> None:
    known = [f"k{n}" for n in range(KEYS_KEPT)]
    found = past(status={"runKeys": known}, runs=(run(key="new"),))
    assert KEYS_KEPT == 50
    assert found.keys == (*known[1:], "new")
    assert found.tried == {*known[1:], "new"}
    assert past(status={"runKeys": known}, runs=(run(key="k7"),)).keys == tuple(known)
    assert past(status={"runKeys": ["a"]}).keys == ("a",)


def test_a_run_that_vanished_counts_as_tried() -> None:
    found = past(runs=(run("old", minutes=90),), vanished=run("gone", minutes=1, spec_digest="gone"))
    assert set(found.keys) == {"key-gone"}
    assert found.observed.spec == "gone"
    assert found.last_start == ago(minutes=1)


LIMITED = {"triggers": {"maxRunsPerDay": 3}}


def test_two_hundred_starts_of_a_day_are_kept() -> None:
    known = [when(minutes=m) for m in range(STARTS_KEPT + 5, 5, -1)]
    found = past(LIMITED, {"recentRunTimes": known}, runs=(run(minutes=1),))
    assert STARTS_KEPT == 200
    assert len(found.starts) == STARTS_KEPT
    assert found.starts[-1] == ago(minutes=1)
    assert found.starts[0] == ago(minutes=STARTS_KEPT + 4)


@pytest.mark.parametrize(
    ("newest", "status", "starts"),
    [
        (
            run(minutes=1),
            {"recentRunTimes": [when(hours=24, minutes=1), when(hours=2)]},
            [ago(hours=2), ago(minutes=1)],
        ),
        (run(minutes=1), {"recentRunTimes": [when(hours=24, seconds=59)]}, [ago(hours=24, seconds=59), ago(minutes=1)]),
        (run(minutes=1, trigger={"type": "ManualRequested"}), {"recentRunTimes": [when(hours=2)]}, [ago(hours=2)]),
        (run(minutes=1), {"recentRunTimes": [when(hours=2)], "lastRun": "churn-a"}, [ago(hours=2)]),
        (run(minutes=1), {"recentRunTimes": [when(hours=2)], "activeRun": "churn-a"}, [ago(hours=2)]),
        (run(minutes=9), {"recentRunTimes": [when(hours=2)], "lastRunTime": when(minutes=1)}, [ago(hours=2)]),
        (run(minutes=9), {"lastRunTime": when(minutes=9)}, [ago(minutes=9)]),
    ],
)
def test_a_start_counts_once_and_for_a_day(newest: Any, status: Obj, starts: list[datetime]) -> None:
    assert list(past(LIMITED, status, runs=(newest,)).starts) == starts
    assert past(None, status, runs=(newest,)).starts == ()


def test_the_newest_run_is_the_one_that_status_does_not_know() -> None:
    both = (run("b", minutes=5), run("a", minutes=5))
    assert past(status={"lastRun": "b"}, runs=both).newest.name == "a"
    assert past(status={"lastRun": "a"}, runs=both).newest.name == "b"
    assert past(runs=both).newest.name == "b"
    assert past(runs=(run("z", minutes=9), run("a", minutes=5))).newest.name == "a"
    assert past().newest is None


def test_the_active_run_is_the_newest_that_goes_on() -> None:
    runs = (run("a", minutes=9, outcome="Unknown"), run("b", minutes=5, outcome="Unknown"), run("c", minutes=2))
    assert past(runs=runs).active.name == "b"
    assert past(runs=(run("c"),)).active is None


@pytest.mark.parametrize(
    ("runs", "status", "failures", "success", "last"),
    [
        ((), {"consecutiveFailures": 2, "lastRun": "x"}, 2, None, "x"),
        ((failed(name="a"),), {"consecutiveFailures": 2, "lastRun": "a"}, 2, None, "a"),
        ((failed(name="a"),), {"consecutiveFailures": 2, "lastRun": "x"}, 3, None, "a"),
        ((run("a", minutes=60),), {"consecutiveFailures": 2}, 0, ago(minutes=59), "a"),
        ((run("a", minutes=60, completed=None),), {"consecutiveFailures": 2}, 0, ago(minutes=60), "a"),
        ((run("a"), run("b", minutes=1, outcome="Unknown")), {"consecutiveFailures": 2}, 0, ago(minutes=59), "a"),
        ((run("a"), failed(name="b", minutes=1)), {"consecutiveFailures": 0}, 1, None, "b"),
    ],
)
def test_outcomes_count_once(runs: Any, status: Obj, failures: int, success: datetime | None, last: str) -> None:
    found = past(status=status, runs=runs)
    assert (found.failures, found.last_success, found.last_run) == (failures, success, last)


def test_what_was_observed_comes_from_the_newest_run_over_status_over_probes() -> None:
    data = {"name": "a", "revision": "probed"}, {"name": "b", "revision": "probed"}, {"name": "c", "revision": "probed"}
    status = {
        "observed": {"spec": "s", "code": "c", "image": "i", "data": {"b": "status", "c": "status"}},
        "data": [*data],
    }
    found = past(status=status, runs=(run(data={"c": "run"}),)).observed
    assert (found.spec, found.code, found.image) == ("spec-1", "code-1", "image-1")
    assert dict(found.data) == {"a": "probed", "b": "status", "c": "run"}
    found = past(status=status).observed
    assert (found.spec, dict(found.data)) == ("s", {"a": "probed", "b": "status", "c": "status"})
    assert past(status={"data": data}).observed is None


def asked(kind: str, **trigger: Any) -> Any:
    return run(trigger={"type": kind, **trigger})


def test_requests_and_ticks_are_remembered_from_the_run_that_served_them() -> None:
    tick = asked("ScheduleDue", to=when(minutes=5))
    assert past(runs=(tick,)).last_schedule == ago(minutes=5)
    assert past(status={"lastScheduleTime": when(minutes=1)}, runs=(tick,)).last_schedule == ago(minutes=1)
    assert past(status={"lastScheduleTime": when(minutes=9)}, runs=(tick,)).last_schedule == ago(minutes=5)
    assert past(status={"lastScheduleTime": when(minutes=9)}, runs=(asked("ScheduleDue"),)).last_schedule == ago(
        minutes=9
    )
    assert past(status={"lastScheduleTime": when(minutes=9)}, runs=(run(),)).last_schedule == ago(minutes=9)

    by_hand = {"lastHandledRunRequest": "old"}
    assert past(status=by_hand, runs=(asked("ManualRequested", to="new"),)).handled_request == "new"
    known = {**by_hand, "lastRun": "churn-a"}
    for status, ran in ((by_hand, {}), (by_hand, None), (known, {"to": "new"})):
        last = asked("ManualRequested", **ran) if ran is not None else asked("CodeChanged", to="new")
        assert past(status=status, runs=(last,), request_="old").handled_request == "old"
        assert past(status=status, runs=(last,)).handled_request is None, "the annotation was removed"

    heard = {"lastHandledMonitorRequests": {"m": "1", "o": "1"}}
    monitor = asked("MonitorRequested", monitor="m", id="2")
    assert past(status=heard, runs=(monitor,)).handled_monitors == {"m": "2", "o": "1"}
    assert past(status={**heard, "lastRun": "churn-a"}, runs=(monitor,)).handled_monitors == {"m": "1", "o": "1"}
    for other in (asked("MonitorRequested", monitor="m"), asked("MonitorRequested", id="2"), run()):
        assert past(status=heard, runs=(other,)).handled_monitors == {"m": "1", "o": "1"}


def test_the_last_start_is_that_of_the_run_that_status_does_not_know_yet() -> None:
    assert past(status={"lastRunTime": when(minutes=90)}, runs=(run(minutes=60),)).last_start == ago(minutes=60)
    known = {"lastRunTime": when(minutes=60), "lastRun": "churn-a"}
    assert past(status=known, runs=(run(minutes=60),)).last_start == ago(minutes=60)
    assert past(status={"lastRunTime": when(minutes=30)}, runs=(run(minutes=60),)).last_start == ago(minutes=30)


# -- champion and what is kept ----------------------------------------------------------------------------------------


def versions(*numbers: int, **changes: Any) -> tuple[Any, ...]:
    return tuple(version(n, **changes) for n in numbers)


def crowned(*found: Any, **fields: Any) -> str | None:
    given = snapshot(versions=found, **fields)
    best = champion.champion(given, history(given))
    return best.name if best else None


def test_the_champion_is_the_newest_that_is_approved_and_was_not_rolled_back() -> None:
    one, two, three = versions(1, 2, 3)
    assert crowned(one, two, three) == "churn-3"
    assert crowned(one, two, replace(three, approved=False)) == "churn-2"
    assert crowned(one, two, replace(three, approved=None)) == "churn-2"
    assert crowned(one, two, replace(three, rolled_back="by web")) == "churn-2"
    bad = [replace(v, rolled_back="by web") for v in (one, two)]
    assert crowned(*bad) == "churn-2", "where all were rolled back, the newest of them"
    assert crowned(replace(one, approved=False)) is None
    assert crowned() is None


@pytest.mark.parametrize(
    ("created", "name", "best"),
    [(60, "run-2", "churn-1"), (50, "run-2", "churn-1"), (49, "run-2", "churn-2"), (60, "run-9", "churn-2")],
)
def test_the_version_of_a_run_that_goes_on_does_not_count(created: float, name: str, best: str) -> None:
    assert crowned(*versions(1, 2), runs=(run(name, minutes=created, outcome="Unknown"),)) == best


def test_what_is_reported_is_the_newest_that_was_rolled_back_above_the_champion_or_itself() -> None:
    one, two, three, four = versions(1, 2, 3, 4)
    given = snapshot(
        versions=(replace(one, rolled_back="x"), two, replace(three, rolled_back="x"), replace(four, rolled_back="x"))
    )
    assert champion.rolled_back(given, two) == given.versions[3]
    assert champion.rolled_back(given, given.versions[3]) == given.versions[3]
    assert champion.rolled_back(given, version(5)) is None
    unapproved = snapshot(versions=(two, replace(three, rolled_back="x", approved=False)))
    assert champion.rolled_back(unapproved, two) is None
    assert champion.rolled_back(snapshot(versions=(two, three)), two) is None


def test_the_newest_waits_for_a_person_while_nobody_has_decided() -> None:
    one, two = versions(1, 2)
    assert champion.undecided(snapshot(versions=(one, replace(two, approved=None)))) is not None
    assert champion.undecided(snapshot(versions=(replace(one, approved=None), two))) is None
    assert champion.undecided(snapshot(versions=(one, replace(two, approved=False)))) is None
    assert champion.undecided(snapshot()) is None


def needed(*found: Any, **fields: Any) -> set[str]:
    given = snapshot(versions=found, **fields)
    return set(retention.needed_versions(given, history(given)))


def test_what_is_needed_champion_newest_used_pinned_and_compared_with() -> None:
    all_ = versions(1, 2, 3, 4, 5)
    newest = (*all_[:3], replace(all_[3], approved=False), replace(all_[4], approved=False))
    assert needed(*newest) == {"churn-3", "churn-5"}
    assert needed(*newest, deployments=(deployment(needed=frozenset({"churn-1"})),)) == {
        "churn-1",
        "churn-3",
        "churn-5",
    }
    assert needed(*newest, deployments=(deployment(pinned=("churn", 2)),)) == {"churn-2", "churn-3", "churn-5"}
    assert needed(*newest, deployments=(deployment(pinned=("other", 2)),)) == {"churn-3", "churn-5"}
    judging = run("x", outcome="Unknown", champion="churn-1")
    assert needed(*newest, runs=(judging,)) == {"churn-1", "churn-3", "churn-5"}
    assert needed(*newest, runs=(run("x", champion="churn-1"),)) == {"churn-3", "churn-5"}


@pytest.mark.parametrize(
    ("kept", "gone"), [(5, []), (4, ["churn-1"]), (3, ["churn-1", "churn-2"]), (1, ["churn-1", "churn-2"])]
)
def test_surplus_versions_are_the_oldest_that_nobody_needs(kept: int, gone: list[str]) -> None:
    """The newest is kept even where it is refused, and the champion even where it is old."""
    found = (*versions(1, 2, 3), version(4, approved=None), version(5, approved=False))
    given = snapshot(
        {"history": {"versions": kept}}, versions=found, deployments=(deployment(needed=frozenset({"churn-4"})),)
    )
    assert [v.name for v in retention.surplus_versions(given, history(given))] == gone
    kept_names = {v.name for v in found} - set(gone)
    digests = {v.digest for v in found if v.name in kept_names}
    assert retention.kept_digests(given, history(given)) == tuple(sorted(digests))


def test_deployed_content_stays_in_the_store_although_its_version_is_gone() -> None:
    given = snapshot(versions=versions(1), deployments=(deployment(digests=frozenset({"sha256:old"})),))
    assert retention.kept_digests(given, history(given)) == tuple(sorted({version(1).digest, "sha256:old"}))


@pytest.mark.parametrize(("kept", "gone"), [(4, []), (3, ["a"]), (2, ["a", "b"]), (1, ["a", "b", "c"])])
def test_surplus_runs_are_the_oldest_that_ended_and_never_the_newest(kept: int, gone: list[str]) -> None:
    runs = tuple(run(name, minutes=minutes) for name, minutes in (("a", 9), ("b", 8), ("c", 7), ("d", 6)))
    given = snapshot({"history": {"runs": kept}}, runs=runs)
    assert [r.name for r in retention.surplus_runs(given, history(given))] == gone
    going_on = snapshot({"history": {"runs": kept}}, runs=(*runs, run("e", minutes=1, outcome="Unknown")))
    assert [r.name for r in retention.surplus_runs(going_on, history(going_on))] == gone


# -- limits and retries -----------------------------------------------------------------------------------------------

BY_HAND, CODE, DATA = (Verdict(kind, "…") for kind in ("ManualRequested", "CodeChanged", "DataChanged"))  # type: ignore[arg-type]
MONITOR, RETRY = (Verdict(kind, "…") for kind in ("MonitorRequested", "RetryDue"))  # type: ignore[arg-type]


def started(minutes: float, **more: Any) -> Obj:
    return {"lastRun": "churn-a", "lastRunTime": when(minutes=minutes), **more}


def until(given: Context, verdict: Verdict) -> datetime | str | None:
    found = throttling.hold(given, verdict)
    return None if found is None else found.until or found.message


def spaced(seconds: int, minutes: float) -> Context:
    return context({"triggers": {"minIntervalSeconds": seconds}}, started(minutes))


def daily(most: int, *minutes: float) -> Context:
    times = [when(minutes=m) for m in minutes]
    return context({"triggers": {"maxRunsPerDay": most}}, started(1, recentRunTimes=times))


def after_failures(failures: int, minutes: float = 1) -> Context:
    return context(status=started(minutes, consecutiveFailures=failures))


HOLDS: dict[str, tuple[Context, Verdict, datetime | str | None]] = {
    "nothing in its way": (context(), CODE, None),
    "another run goes on": (context(runs=(run(outcome="Unknown"),)), CODE, "run churn-a is in progress"),
    "another run goes on, by hand": (context(runs=(run(outcome="Unknown"),)), BY_HAND, "run churn-a is in progress"),
    "too soon": (spaced(300, 4), CODE, ago(minutes=-1)),
    "too soon, by hand": (spaced(300, 4), BY_HAND, None),
    "just then": (spaced(300, 5), CODE, None),
    "no interval": (spaced(0, 0), CODE, None),
    "an interval and never started": (context({"triggers": {"minIntervalSeconds": 300}}), CODE, None),
    "as many as a day has": (daily(2, 600, 60), CODE, ago(minutes=600 - 1440)),
    "one less": (daily(3, 600, 60), CODE, None),
    "more than a day has": (daily(2, 700, 600, 60), CODE, ago(minutes=600 - 1440)),
    "the first was a day ago": (daily(2, 1440, 60), CODE, None),
    "the first was nearly a day ago": (daily(2, 1439, 60), CODE, ago(minutes=-1)),
    "two failures": (after_failures(2), DATA, None),
    "three failures": (after_failures(3), DATA, ago(minutes=1 - 60)),
    "three failures, a monitor": (after_failures(3), MONITOR, ago(minutes=1 - 60)),
    "three failures, new code": (after_failures(3), CODE, None),
    "three failures, an hour ago": (after_failures(3, 60), DATA, None),
    "four failures": (after_failures(4), DATA, ago(minutes=1 - 120)),
    "seven failures": (after_failures(7), DATA, ago(minutes=1 - 960)),
    "eight failures": (after_failures(8), DATA, ago(minutes=1 - 1440)),
    "a hundred failures": (after_failures(100), DATA, ago(minutes=1 - 1440)),
    "failures and no start": (context(status={"consecutiveFailures": 9}), DATA, None),
    "the longest counts": (
        context(
            {"triggers": {"minIntervalSeconds": 120, "maxRunsPerDay": 1}},
            started(1, consecutiveFailures=3, recentRunTimes=[when(minutes=1)]),
        ),
        DATA,
        ago(minutes=1 - 1440),
    ),
}


@pytest.mark.parametrize("case", HOLDS)
def test_what_holds_a_run_back_and_until_when(case: str) -> None:
    given, verdict, wanted = HOLDS[case]
    assert until(given, verdict) == wanted


def test_a_pause_is_over_at_its_end() -> None:
    assert throttling.pause_until(after_failures(3, 60)) is None
    assert throttling.pause_until(after_failures(3, 59)) == ago(minutes=-1)


def lost(number: int = 0, *, minutes: float = 10, took: float = 0, **changes: Any) -> Any:
    """A run that the infrastructure failed, the number-th try, which took so many minutes and ended so long ago."""
    trigger = {"type": "RetryDue", "to": str(number)} if number else {"type": "CodeChanged"}
    made = failed(
        "Infrastructure", "StoreAway", minutes=minutes + took, trigger=trigger, completed=ago(minutes=minutes)
    )
    return replace(made, **changes)


def pause(last: Any) -> float | None:
    """Seconds from the run's end until the next try, without what is added at random."""
    found = retry.retry(context(runs=(last,)))
    if found is None:
        return None
    share = 1 + retry_pauses.SPREAD * retry_pauses.share(retry.pause_key(last))
    return round((found.at - (last.completed or last.created)).total_seconds() / share, 3)


@pytest.mark.parametrize(
    ("last", "seconds"),
    [
        (lost(), 60),
        (lost(1), 120),
        (lost(5), 1920),
        (lost(6), 3600),
        (lost(60), 3600),
        (lost(took=30), 1800),
        (lost(took=3000), 86400),
        (lost(completed=None), 60),
        (lost(trigger={"type": "RetryDue", "to": "x"}), 60),
        (lost(trigger={"type": "RetryDue"}), 60),
        (lost(trigger={"type": "ManualRequested", "to": "7"}), 60),
        (failed("UserError"), None),
        (failed("Infrastructure", "JobDeleted"), None),
        (failed("Infrastructure", "JobNotOwned"), None),
        (run(), None),
        (run(outcome="Unknown"), None),
    ],
)
def test_what_the_infrastructure_failed_is_tried_later_and_later(last: Any, seconds: float | None) -> None:
    assert pause(last) == seconds


def test_a_retry_is_spread_by_a_fifth_and_waits_for_the_run_that_goes_on() -> None:
    shares = {retry_pauses.share(retry.pause_key(lost(uid=f"u{n}"))) for n in range(500)}
    assert min(shares) == 0 or min(shares) < 0.02
    assert 0.98 < max(shares) <= 1
    assert retry_pauses.SPREAD == 0.2
    both = (replace(lost(), created=ago(minutes=90)), run("b", minutes=95, outcome="Unknown"))
    assert retry.retry(context(runs=both)) is None
    assert retry.retry(context()) is None
    found = retry.retry(context(runs=(lost(3),)))
    assert found is not None and found.number == 4
    assert until(context(runs=(lost(minutes=0.5),)), RETRY) is not None
    assert until(context(runs=(lost(minutes=5),)), RETRY) is None
    assert until(context(runs=(lost(minutes=0.5),)), CODE) is None


# -- the schedule -----------------------------------------------------------------------------------------------------

HOURLY: Obj = {"triggers": {"schedule": {"cron": "0 * * * *", "timeZone": "UTC"}}}
LATE: Obj = {"triggers": {"schedule": {"cron": "0 * * * *", "timeZone": "UTC", "startingDeadlineSeconds": 600}}}
TEXT = "0 * * * * UTC"
NEXT = NOW + timedelta(hours=1)


def ticks(spec: Obj | None, status: Obj) -> tuple[Any, Any, Any] | None:
    found = schedule.schedule_state(context(spec, status))
    assert found is None or found.text == TEXT
    return None if found is None else (found.due, found.missed, found.next)


@pytest.mark.parametrize(
    ("spec", "status", "wanted"),
    [
        (None, {}, None),
        ({**HOURLY, "suspend": True}, {}, None),
        ({"triggers": {"schedule": {"cron": "61 * * * *", "timeZone": "UTC"}}}, {}, None),
        (HOURLY, {}, (None, None, NEXT)),
        (HOURLY, {"schedule": "1 * * * * UTC", "nextScheduleTime": when(minutes=1)}, (None, None, NEXT)),
        (HOURLY, {"schedule": TEXT}, (None, None, NEXT)),
        (HOURLY, {"schedule": TEXT, "nextScheduleTime": when(hours=-1)}, (None, None, NEXT)),
        (HOURLY, {"schedule": TEXT, "nextScheduleTime": when()}, (NOW, None, NOW)),
        (HOURLY, {"schedule": TEXT, "nextScheduleTime": when(hours=3)}, (NOW, None, ago(hours=3))),
        (HOURLY, {"schedule": TEXT, "nextScheduleTime": when(), "lastScheduleTime": when()}, (None, None, NEXT)),
        (HOURLY, {"schedule": TEXT, "nextScheduleTime": when(), "lastScheduleTime": when(hours=1)}, (NOW, None, NOW)),
    ],
)
def test_when_the_schedule_fires(spec: Obj | None, status: Obj, wanted: Any) -> None:
    assert ticks(spec, status) == wanted


@pytest.mark.parametrize(("minutes", "is_due"), [(9, True), (10, False)])
def test_a_tick_that_is_too_old_is_missed(minutes: float, is_due: bool) -> None:
    given = snapshot(LATE, {"schedule": TEXT, "nextScheduleTime": when()})
    later = replace(given, now=NOW + timedelta(minutes=minutes))
    found = schedule.schedule_state(make.contexts.context(later))
    assert found is not None
    assert (found.due, found.missed) == ((NOW, None) if is_due else (None, NOW))
    assert found.next == (NOW if is_due else NEXT)


# -- probes -----------------------------------------------------------------------------------------------------------

POLLED: Obj = {
    "data": [
        {"name": "a", "uri": "s3://lake/a"},
        {"name": "m", "uri": "configmap://rows/d.csv"},
        {"name": "i", "uri": "builtin://iris"},
    ],
    "triggers": {"dataChange": {"pollSeconds": 600, "settleSeconds": 30}},
}


def polled(status: Obj | None = None, *, spec: Obj | None = None, **fields: Any) -> Context:
    from tidemill.training.pipeline.snapshot import MapContent

    fields.setdefault("maps", {"rows": MapContent({"d.csv": "rev-m"})})
    return context({**POLLED, **(spec or {})}, status, **fields)


def test_a_probe_is_started_read_and_removed() -> None:
    first = probes.probe_actions(polled())
    assert (first.start, first.unread, first.done, first.next) == (0, None, (), None)
    waits = probes.probe_actions(polled(probes=(probe(minutes=1, finished=False),)))
    assert (waits.start, waits.unread, waits.done) == (None, None, ())
    assert waits.next == ago(minutes=1) + timedelta(seconds=PROBE_DEADLINE_SECONDS + 60)
    ended = probe(minutes=1)
    assert probes.probe_actions(polled(probes=(ended,))).unread == ended
    read = probes.probe_actions(polled({"lastProbeTime": when(minutes=1)}, probes=(ended,)))
    assert (read.unread, read.done) == (None, (ended,))
    newer = probes.probe_actions(polled({"lastProbeTime": when(minutes=2)}, probes=(ended,)))
    assert (newer.unread, newer.done) == (ended, ())


def test_when_the_next_probe_is_due() -> None:
    jitter = probes._jitter(polled().snapshot)
    assert 0 <= jitter <= 0.1
    soon = probes.probe_actions(polled({"lastProbeTime": when(seconds=600)}))
    assert soon.start is None and soon.next == ago(seconds=600) + timedelta(seconds=600 * (1 + jitter))
    due = probes.probe_actions(polled({"lastProbeTime": when(seconds=661)}))
    assert due.start == int(ago(seconds=661).timestamp())
    known = make.observed(POLLED, data={"a": "old"})
    fresh = {"name": "a", "revision": "new", "since": when(seconds=10)}
    unsettled = trained(observed=known, data=[fresh], lastProbeTime=when(seconds=10))
    assert probes.probe_actions(polled(unsettled)).next == ago(seconds=10 - 30), "as soon as it has settled"


@pytest.mark.parametrize(
    ("spec", "fields"),
    [({"suspend": True}, {}), ({"triggers": {}}, {}), ({"data": [{"name": "i", "uri": "builtin://iris"}]}, {})],
)
def test_nobody_is_probed_where_nobody_listens_and_old_probes_go(spec: Obj, fields: Obj) -> None:
    old = probe()
    found = probes.probe_actions(polled(spec=spec, probes=(old,), **fields))
    assert (found.start, found.unread, found.done, found.next) == (None, None, (old,), None)


def test_what_probes_tell_of_inputs() -> None:
    before = {"name": "a", "revision": "r1", "since": when(minutes=9)}
    given = polled({"data": [before]})

    def states(message: str | None) -> list[tuple[str, str | None, datetime | None, bool]]:
        unread = probe(message=message) if message is not None else None
        return [(s.name, s.revision, s.since, s.error is not None) for s in probes.data_states(given, unread)]

    m = ("m", "rev-m", NOW, False)
    assert states(None) == [("a", "r1", ago(minutes=9), False), m]
    assert states('{"revisions":{"a":"r1"}}') == [("a", "r1", ago(minutes=9), False), m]
    assert states('{"revisions":{"a":"r2"}}') == [("a", "r2", NOW, False), m]
    assert states('{"errors":{"a":"away"}}') == [("a", "r1", ago(minutes=9), True), m]
    assert states("no json") == [("a", "r1", ago(minutes=9), True), m]
    assert probes.data_states(context(), None) == []


# -- registration -----------------------------------------------------------------------------------------------------


def registered(digest: str, *found: Any, name: str = "run-x", **fields: Any) -> tuple[str, int, bool, bool]:
    obj = {
        "apiVersion": "tidemill.io/v1alpha1",
        "kind": "TrainingRun",
        "metadata": {"name": name, "namespace": "team-a", "uid": "u", "generation": 1},
        "spec": {
            "pipeline": "churn",
            "key": build.digest("a"),
            "trigger": {"type": "NeverTrained", "message": "…", "time": when()},
            "data": [{"name": "a", "uri": "builtin://iris"}],
            "code": {"digest": build.digest("c"), "entrypoint": "train:train", "configMap": {"name": "c"}},
            "image": "trainer:1",
            "store": {"uri": "pvc://store/churn"},
        },
    }
    given = RunSnapshot(
        object=obj, now=NOW, run=TrainingRun.model_validate(obj), config=OperatorConfig(), job=None, job_seen=None,
        versions=tuple(found), **fields,
    )  # fmt: skip
    made = registration(given, digest)
    return made.name, made.number, made.exists, made.same_content


def test_a_version_is_registered_once_and_equal_content_only_where_it_is_newest_or_served() -> None:
    one, two, three = versions(1, 2, 3)
    new = build.digest("f")
    assert registered(new) == ("churn-1", 1, False, False)
    assert registered(new, one, two) == ("churn-3", 3, False, False)
    assert registered(new, one, numbers_used=7) == ("churn-8", 8, False, False)
    assert registered(two.digest, one, two, name="run-2") == ("churn-2", 2, True, False), "a crash after registering"
    assert registered(new, one, two, name="run-2") == ("churn-3", 3, False, False)
    assert registered(two.digest, one, two) == ("churn-2", 2, True, True), "the newest"
    assert registered(one.digest, one, two) == ("churn-3", 3, False, False), "equal to any old one is another version"
    assert registered(one.digest, one, two, stable=frozenset({"churn-1"})) == ("churn-1", 1, True, True), "served"
    again = replace(three, digest=one.digest)
    assert registered(one.digest, one, two, again, stable=frozenset({"churn-1"})) == ("churn-3", 3, True, True)


# -- approval ---------------------------------------------------------------------------------------------------------

RIGHT, WRONG = build.digest("d"), build.digest("e")
GATES: Obj = {"approved": True, "by": "gates", "time": when(hours=1), "digest": RIGHT}


def decided(
    annotations: Obj | None = None, *, before: Obj | None = None, automatic: bool = False, gates: str = "Passed"
) -> Any:
    obj = {
        "apiVersion": "tidemill.io/v1alpha1",
        "kind": "ModelVersion",
        "metadata": {"name": "churn-1", "namespace": "team-a", "uid": "u", "annotations": annotations or {}},
        "spec": {
            "pipeline": "churn",
            "number": 1,
            "digest": RIGHT,
            "modelDigest": RIGHT,
            "uri": "pvc://store/1",
            "formats": ["skops"],
            "task": "classification",
            "approval": "Automatic" if automatic else "Manual",
            "lineage": {"run": "r", "trigger": "NeverTrained", "key": RIGHT, "data": {}, "code": RIGHT, "image": "t:1"},
        },
        "status": {"decision": before} if before else {},
    }
    registered = Registered.model_validate({"digest": RIGHT, "time": when(hours=2), "gates": gates})
    snapshot = VersionSnapshot(object=obj, now=NOW, version=ModelVersion.model_validate(obj))
    return approval(snapshot, Registration(registered))


def test_who_decides_on_a_version() -> None:
    assert decided().decision is None
    gates = decided(automatic=True).decision
    assert (gates.approved, gates.by, gates.time, gates.digest) == (True, "gates", NOW, RIGHT)
    assert decided(before=GATES, automatic=True).decision.time == ago(hours=1)
    assert decided(automatic=True, gates="NotJudged").decision.by == "approval: Automatic"
    assert decided(automatic=True, gates="Unknown").decision.by == "approval: Automatic"
    unjudged = decided(before=GATES, automatic=True, gates="NotJudged").decision
    assert (unjudged.by, unjudged.time) == ("approval: Automatic", ago(hours=1)), "an earlier release said gates"
    assert decided(before=GATES, automatic=True, gates="Unknown").decision.by == "gates", "what it said is kept"
    yes = decided({constants.APPROVE: RIGHT}).decision
    assert (yes.approved, yes.by, yes.digest, yes.comment) == (True, f"annotation {constants.APPROVE}", RIGHT, None)
    no = decided({constants.REJECT: RIGHT}, before=GATES, automatic=True).decision
    assert (no.approved, no.time) == (False, NOW)
    both = decided({constants.REJECT: RIGHT, constants.APPROVE: RIGHT}).decision
    assert both.approved is False, "the rejection counts"


def test_a_decision_on_another_digest_is_none_and_is_reported() -> None:
    found = decided({constants.APPROVE: WRONG})
    assert found.decision is None
    assert found.mismatch == f"annotation {constants.APPROVE} names {WRONG[:80]}, but this version is {RIGHT}"
    assert decided({constants.APPROVE: WRONG, constants.REJECT: WRONG}).mismatch.startswith(
        f"annotation {constants.REJECT} "
    )
    assert decided({constants.APPROVE: RIGHT}).mismatch is None
    assert decided({constants.APPROVE: "", constants.REJECT: ""}).mismatch is None
    mixed = decided({constants.APPROVE: WRONG, constants.REJECT: RIGHT})
    assert mixed.decision.approved is False and mixed.mismatch is not None


def test_a_decision_keeps_its_time_until_something_about_it_changes() -> None:
    before: Obj = {"approved": True, "by": f"annotation {constants.APPROVE}", "time": when(hours=1), "digest": RIGHT}
    assert decided({constants.APPROVE: RIGHT}, before=before).decision.time == ago(hours=1)
    assert decided({}, before=before).decision.time == ago(hours=1), "taking the annotation away changes nothing"
    commented = decided({constants.APPROVE: RIGHT, constants.DECISION_COMMENT: "x" * 2000}, before=before).decision
    assert (commented.time, commented.comment) == (NOW, "x" * 1024)
    same = decided(
        {constants.APPROVE: RIGHT, constants.DECISION_COMMENT: "y"}, before={**before, "comment": "y"}
    ).decision
    assert same.time == ago(hours=1)
    assert decided({constants.REJECT: RIGHT}, before=before).decision.time == NOW
