"""Inputs, probes and the writing of status at each edge: what is refused, what is looked at, and when."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from tests.unit.training import make
from tests.unit.training.make import NOW, ago, context, probe, run, snapshot, trained, version, when

from tidemill.core.podfailure import LOOK_SECONDS
from tidemill.training import constants
from tidemill.training.pipeline.policy import context as contexts
from tidemill.training.pipeline.policy import inputs, probes, reporting, throttling
from tidemill.training.pipeline.policy.retry import Retry
from tidemill.training.pipeline.snapshot import PROBE_DEADLINE_SECONDS, CodeContent, MapContent
from tidemill.training.pipeline.state import Problem

Obj = dict[str, Any]
POLLED: Obj = {
    "data": [{"name": "a", "uri": "s3://lake/a"}, {"name": "m", "uri": "configmap://rows/d.csv"}],
    "triggers": {"dataChange": {"pollSeconds": 600, "settleSeconds": 30}},
}
MAPS = {"rows": MapContent({"d.csv": "rev-m"})}


def found(spec: Obj | None = None, status: Obj | None = None, **fields: Any) -> Problem | None:
    """The first problem of such a pipeline."""
    answer = inputs.inputs(snapshot(spec, status, **fields))
    return answer if isinstance(answer, Problem) else None


# ---- inputs ----


def test_a_spec_may_be_as_large_as_the_record_of_a_run_can_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    assert inputs.MAX_SPEC_BYTES == 600_000
    spec = {"parameters": {"p": "x" * 3000}, "pod": {"labels": {"team": "y" * 60}}}
    monkeypatch.setattr(inputs, "MAX_SPEC_BYTES", 0)
    problem = found(spec)
    assert problem is not None and problem.stalled
    assert problem.message.partition("largest: ")[2].startswith("spec.parameters 3008, spec.pod 82, spec.code 62)")
    total = int(problem.message.partition(" take ")[2].partition(" ")[0])
    for most, is_too_large in ((total, False), (total - 1, True)):
        monkeypatch.setattr(inputs, "MAX_SPEC_BYTES", most)
        assert (found(spec) is not None) is is_too_large


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("builtin://iris/rows", "is not a bundled data set; allowed are builtin://"),
        ("configmap://rows/a/d.csv", "must name one key, as configmap://name/key"),
        ("configmap://rows", "must name one key, as configmap://name/key"),
    ],
)
def test_data_that_has_no_meaning_needs_a_person(uri: str, says: str) -> None:
    problem = found({"data": [{"name": "a", "uri": uri}]})
    assert problem is not None
    assert (problem.reason, problem.stalled) == (constants.INVALID_DATA, True)
    assert problem.message.startswith(f"spec.data[name=a].uri: {uri!r} {says}")


def test_every_problem_of_spec_needs_a_person_and_what_is_missing_is_waited_for() -> None:
    cron, never = {"cron": "0 0 * * *", "timeZone": "UTC"}, "59 23 31 2 *"
    stalled: dict[str, Obj] = {
        "spec.triggers.schedule.cron: ": {"triggers": {"schedule": {**cron, "cron": "61 0 * * *"}}},
        f"spec.triggers.schedule.cron '{never}' never": {"triggers": {"schedule": {**cron, "cron": never}}},
        "spec.triggers.schedule.timeZone: ": {"triggers": {"schedule": {**cron, "timeZone": "Europe/Atlantis"}}},
        "spec.artifacts.uri: ": {"artifacts": {"uri": "pvc://a/../b"}},
    }
    for begins, spec in stalled.items():
        problem = found(spec)
        assert problem is not None and problem.stalled and problem.message.startswith(begins), begins
    waits: list[tuple[Problem | None, str]] = [
        (found(code=None), "spec.code.configMap: ConfigMap churn-code does not exist in namespace team-a"),
        (found(POLLED), "spec.data[name=m].uri: ConfigMap rows does not exist in namespace team-a"),
        (found(POLLED, maps={"rows": MapContent({})}), "spec.data[name=m].uri: ConfigMap rows has no key d.csv; keys"),
    ]
    for problem, begins in waits:
        assert problem is not None and not problem.stalled and problem.message.startswith(begins), begins
    assert waits[2][0] is not None and waits[2][0].message.endswith("keys there: none")


@pytest.mark.parametrize(
    ("entrypoint", "files", "says"),
    [
        ("train:train", {"train.py"}, None),
        ("pkg.train:train", {"fit.py"}, None),
        ("train:train", None, None),
        ("train:train", {"b.py", "a.py", "notes.md"}, "has no key train.py; modules there: a, b"),
        ("train:train", {"notes.md"}, "has no key train.py; modules there: none"),
    ],
)
def test_an_entrypoint_is_held_against_the_files_that_are_known(
    entrypoint: str, files: set[str] | None, says: str | None
) -> None:
    """A dotted module, and all of them where the files are not known, can only be found by the pod."""
    code = CodeContent("code-1", None if files is None else frozenset(files))
    problem = found({"code": {"configMap": {"name": "c"}, "entrypoint": entrypoint}}, code=code)
    if says is None:
        assert problem is None
    else:
        assert problem is not None and problem.stalled and problem.message.endswith(says)


def test_revisions_are_those_of_inputs_that_somebody_looks_at() -> None:
    """A revision in status may be that of another source of the same name: the spec has changed since."""
    seen = [{"name": "b", "revision": "rb"}, {"name": "a", "revision": "ra"}]
    polled = snapshot(POLLED, {"data": seen}, maps=MAPS)
    assert [inputs.revision(polled, s) for s in polled.pipeline.spec.data] == ["ra", "rev-m"]
    nobody = snapshot({**POLLED, "triggers": {}}, {"data": seen}, maps=MAPS)
    assert [inputs.revision(nobody, s) for s in nobody.pipeline.spec.data] == [None, "rev-m"]
    bundled = snapshot({**POLLED, "data": [{"name": "a", "uri": "builtin://iris"}]}, {"data": seen})
    assert [inputs.revision(bundled, s) for s in bundled.pipeline.spec.data] == [None]
    gone = snapshot(POLLED, {"data": seen})
    assert inputs.revision(gone, gone.pipeline.spec.data[1]) is None


# ---- probes ----


def polled(status: Obj | None = None, *, uid_byte: int | None = None, **fields: Any) -> Any:
    given = snapshot(POLLED, status, **{"maps": MAPS, **fields})
    if uid_byte is not None:
        wanted = (text for text in map(str, count()) if hashlib.sha256(text.encode()).digest()[0] == uid_byte)
        given.object["metadata"]["uid"] = next(wanted)
    return contexts.context(given)


def test_a_probe_that_is_silent_is_looked_at_soon_and_never_later_than_one_that_is_not() -> None:
    silent = replace(probe(1, minutes=0, finished=False), is_silent=True)
    loud = probe(2, minutes=0, finished=False)
    soon = NOW + timedelta(seconds=LOOK_SECONDS)
    late = NOW + timedelta(seconds=PROBE_DEADLINE_SECONDS + 60)
    assert probes.probe_actions(polled(probes=(silent, loud))).next == soon
    assert probes.probe_actions(polled(probes=(loud, silent))).next == late, "the first is looked at"
    old = replace(silent, created=ago(seconds=PROBE_DEADLINE_SECONDS + 55))
    assert probes.probe_actions(polled(probes=(old,))).next == NOW + timedelta(seconds=5)


def test_polls_of_one_pipeline_keep_their_pace_and_are_due_at_their_moment() -> None:
    due = probes.probe_actions(polled({"lastProbeTime": when(seconds=600)}, uid_byte=0))
    assert (due.start, due.next) == (int(ago(seconds=600).timestamp()), None)
    last = probes.probe_actions(polled({"lastProbeTime": when(seconds=600)}, uid_byte=255))
    assert (last.start, last.next) == (None, ago(seconds=600) + timedelta(seconds=600 * (1 + 255 / 2560)))


def test_a_poll_is_not_brought_forward_by_what_the_operator_sees_itself() -> None:
    observed = make.observed(POLLED, data={"m": "old"})
    changed = trained(
        observed=observed,
        data=[{"name": "m", "revision": "rev-m", "since": when(seconds=10)}],
        lastProbeTime=when(seconds=10),
    )
    assert probes.probe_actions(polled(changed, uid_byte=0)).next == NOW + timedelta(seconds=590)


def test_a_poll_goes_on_while_something_else_is_missing() -> None:
    waits = probes.probe_actions(polled({"lastProbeTime": when(seconds=10)}, uid_byte=0, code=None))
    assert waits.next == NOW + timedelta(seconds=590)
    stalled = polled({"lastProbeTime": when(seconds=10)}, code=CodeContent("c", frozenset()))
    assert probes.probe_actions(stalled).next is None


def test_the_problem_of_a_probe_is_told_until_it_was_read() -> None:
    stuck = replace(probe(1, minutes=5), problem="quota")
    fine = probe(2, minutes=1)
    assert probes.problem(polled(probes=(fine, stuck))) == "quota"
    assert probes.problem(polled({"lastProbeTime": when(minutes=6)}, probes=(stuck,))) == "quota"
    assert probes.problem(polled({"lastProbeTime": when(minutes=5)}, probes=(stuck,))) is None
    assert probes.problem(polled({"lastProbeTime": when(minutes=4)}, probes=(stuck,))) is None
    assert probes.problem(polled(probes=(fine,))) is None


def test_what_a_probe_says_is_bounded_and_clean() -> None:
    """Its pod belongs to the namespace: what it says may be anything."""
    before = [{"name": "m", "revision": "x"}, {"name": "a", "revision": "r1", "since": when(minutes=9)}]
    given = polled({"data": before})

    def told(report: Any) -> Any:
        message = report if isinstance(report, str) else json.dumps(report)
        state, other = probes.data_states(given, probe(message=message))
        assert (state.name, other.name, other.revision) == ("a", "m", "rev-m")
        return state

    long = told({"errors": {"a": "x" * 5000}})
    assert (long.revision, long.since, len(long.error)) == ("r1", ago(minutes=9), 1024)
    assert "\x1b" not in told({"errors": {"a": "away\x1b[2J"}}).error
    odd = told({"revisions": {"a": "r2\n"}, "errors": {"a": "away"}})
    assert odd.revision == "r1"
    assert odd.error == "the probe reported a revision that is not 1 to 512 printable characters"
    quiet = told({})
    assert (quiet.revision, quiet.error) == ("r1", None), "it was not asked for"
    assert told("").error == "probe churn-probe-1 left no result: no termination message"
    assert told("y" * 5000).error == "probe churn-probe-1 left no result: " + "y" * 300


# ---- limits ----


@pytest.mark.parametrize(
    ("triggers", "minutes"),
    [({}, 0), ({"minIntervalSeconds": 300}, 4), ({"maxRunsPerDay": 1}, 1439), ({"minIntervalSeconds": 30}, 0)],
)
def test_a_retry_is_shown_for_when_it_really_starts(triggers: Obj, minutes: float) -> None:
    status = {"lastRun": "churn-a", "lastRunTime": when(minutes=1), "recentRunTimes": [when(minutes=1)]}
    given = context({"triggers": triggers}, status)
    assert throttling.retry_at(given, Retry(run(), 1, NOW)) == NOW + timedelta(minutes=minutes)


# ---- when status is written ----


def is_due(active: Any = None, status: Obj | None = None, **fields: Any) -> bool:
    runs = () if active is None else (active,)
    return reporting.is_due(context(status=status, runs=runs, **fields))


def going(seconds: float = 1, **changes: Any) -> Any:
    """A run that goes on and was created so many seconds ago."""
    return run("run-9", minutes=seconds / 60, outcome="Unknown", **changes)


def test_a_fresh_run_costs_the_pipeline_no_write_until_it_has_been_on_its_way_for_a_while() -> None:
    assert is_due() and is_due(run())
    assert not is_due(going(19))
    assert is_due(going(20))
    assert is_due(going(), {"activeRun": "run-9"})
    assert not is_due(going(), {"activeRun": "run-8"})
    assert not is_due(going(), versions=(version(9, minutes=0), version(1)), status={"activeRun": "run-9"})


def test_what_hinders_a_run_or_was_wrong_before_it_is_written_at_once() -> None:
    assert is_due(going(reason=constants.CANNOT_START))
    assert is_due(going(blocked="ReconcileError: quota"))
    assert not is_due(going(reason="Pending"))

    def shown(ready: str, *more: Obj) -> Obj:
        conditions = [*more, {"type": "Ready", "status": ready}, {"type": "Other", "status": "False"}]
        full = {"reason": "R", "message": "m", "lastTransitionTime": when(), "observedGeneration": 1}
        return {"conditions": [{**full, **c} for c in conditions]}

    assert is_due(going(), shown("False"))
    assert not is_due(going(), shown("True"))


def test_a_run_whose_job_was_never_seen_is_not_told_to_have_had_one() -> None:
    assert not is_due(going(60, unreported=True, has_job=False))
    assert is_due(going(60, unreported=False, has_job=False))
    assert is_due(going(60, unreported=True, has_job=True))


@pytest.mark.parametrize(
    ("status", "fields", "is_recorded"),
    [
        ({}, {}, True),
        ({"lastRun": "churn-a"}, {"runs": (run(),)}, True),
        ({"lastRun": "churn-b"}, {"runs": (run(),)}, False),
        ({"lastRun": "churn-a"}, {"runs": (run(),), "vanished": run("gone")}, False),
        ({}, {"vanished": run("gone")}, False),
    ],
)
def test_status_knows_how_the_newest_run_ended(status: Obj, fields: Obj, is_recorded: bool) -> None:
    assert reporting.is_recorded(context(status=status, **fields)) is is_recorded
