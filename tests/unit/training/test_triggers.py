"""Which trigger asks for a run, and which of several comes first: one table."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import builders_training as build
from tests.unit.training import make
from tests.unit.training.make import context, failed, inputs, request, run, trained, version, when

from tidemill.training.pipeline.policy import data_changes, triggers
from tidemill.training.pipeline.policy.context import Context
from tidemill.training.pipeline.snapshot import MapContent
from tidemill.training.pipeline.state import Verdict

Obj = dict[str, Any]
HOURLY: Obj = {"triggers": {"schedule": {"cron": "0 * * * *", "timeZone": "UTC"}}}
DUE: Obj = {"schedule": "0 * * * * UTC", "nextScheduleTime": when()}
LAKE: Obj = {"data": [{"name": "a", "uri": "s3://lake/a"}, {"name": "b", "uri": "s3://lake/b"}]}
POLLED: Obj = {**LAKE, "triggers": {"dataChange": {"pollSeconds": 60, "settleSeconds": 30}}}


def seen(name: str, revision: str, *, since: float = 100) -> Obj:
    return {"name": name, "revision": revision, "since": when(seconds=since)}


def data(
    revision: str = "new", *, since: float = 100, looked: float = 60, other: str | None = None, **more: Any
) -> Context:
    """Input a was trained on as `old` and is `revision` since then; the last probe looked so long ago."""
    states = [seen("a", revision, since=since)] + ([seen("b", other, since=since)] if other else [])
    known = make.observed(POLLED, data={"a": "old", "b": "old"})
    status = trained(POLLED, observed=known, data=states, lastProbeTime=when(seconds=looked))
    return context(POLLED, status)


def tried(found: Context, **status: Any) -> Context:
    """The same, where these very inputs were tried before."""
    spec, keys = found.snapshot.object["spec"], [inputs(found).key]
    fields = {f: getattr(found.snapshot, f) for f in ("runs", "versions", "requests", "code")}
    return context(spec, {**found.snapshot.object.get("status", {}), "runKeys": keys, **status}, **fields)


CODE = {"triggers": {"codeChange": {}}}
OLD_CODE = trained(observed={**make.observed(), "code": "older"})
NEVER = context()
RUN_LIMITS = {"run": {"backoffLimit": 3}}
WRITTEN: Obj = context({"resources": {"limits": {"memory": "1Gi"}}}).snapshot.pipeline.spec.to_json()
MEMORY, NO_LIMITS = WRITTEN["resources"], WRITTEN["run"]
SAME: Obj = {"spec_digest": make.observed()["spec"], "code": make.CODE.digest}
LISTENS: Obj = {"triggers": {"monitors": {}}}


def heard(id_: str) -> Obj:
    """A trained pipeline that has handled a request of the monitor."""
    return trained(lastHandledMonitorRequests={"watch": id_})


def environment(last: Any, **spec: Any) -> Context:
    """The last run failed; spec has `spec` now."""
    now = context({"resources": {"limits": {"memory": "1Gi"}}, **spec})
    status = trained(observed=make.observed(now.snapshot.object["spec"]))
    key = {"key": inputs(now).key, "spec_digest": inputs(now).spec_digest, "code": make.CODE.digest}
    return context(now.snapshot.object["spec"], status, runs=(make.replace(last, **key),))


TABLE: dict[str, tuple[Context, list[str]]] = {
    "nothing was ever trained": (NEVER, ["NeverTrained"]),
    "these inputs were tried": (tried(NEVER), []),
    "nothing is trained while suspended": (context({"suspend": True}), []),
    "nothing without code": (context(code=None), []),
    "all is as it was": (context(status=trained()), []),
    "a version of a predecessor, and no run of its own": (context(versions=(version(),)), ["NeverTrained"]),
    "ran, and its versions are gone but counted": (context(status=trained(versions=1)), []),
    "ran, and never had a version": (context(status=trained(versions=0)), ["NeverTrained"]),
    "requested by hand": (context(status=trained(), request_="a"), ["ManualRequested"]),
    "requested and served": (context(status=trained(lastHandledRunRequest="a"), request_="a"), []),
    "requested again, with another value": (
        context(status=trained(lastHandledRunRequest="b"), request_="a"),
        ["ManualRequested"],
    ),
    "an empty request is none": (context(status=trained(), request_=""), []),
    "a tick is due": (context(HOURLY, trained(HOURLY, **DUE)), ["ScheduleDue"]),
    "a tick is due although it was tried": (tried(context(HOURLY, trained(HOURLY, **DUE))), ["ScheduleDue"]),
    "a tick of another schedule": (context(HOURLY, trained(HOURLY, **{**DUE, "schedule": "1 * * * * UTC"})), []),
    "a monitor asks": (context(LISTENS, OLD_CODE, requests=(request(),)), ["MonitorRequested"]),
    "a monitor asks, and all is as it was": (context(LISTENS, trained(), requests=(request(),)), []),
    "a monitor asks and nobody listens": (context(status=trained(), requests=(request(),)), []),
    "a monitor was heard": (
        context(
            {"triggers": {"monitors": {}}}, trained(lastHandledMonitorRequests={"watch": "r1"}), requests=(request(),)
        ),
        [],
    ),
    "a monitor asks again": (
        context(LISTENS, {**OLD_CODE, "lastHandledMonitorRequests": {"watch": "r0"}}, requests=(request(),)),
        ["MonitorRequested"],
    ),
    "the second of two monitors asks": (
        context(
            LISTENS,
            {**OLD_CODE, **heard("r1"), "observed": OLD_CODE["observed"]},
            requests=(request(), request("other", "r1")),
        ),
        ["MonitorRequested"],
    ),
    "spec changed": (context({"seed": 2}, trained()), ["SpecChanged"]),
    "spec changed to what was tried": (tried(context({"seed": 2}, trained())), []),
    "limits changed after a success": (environment(run(), **RUN_LIMITS), []),
    "limits changed after a failure": (environment(failed(), **RUN_LIMITS), ["SpecChanged"]),
    "limits changed after a failure of which nothing is known": (
        environment(run(outcome="False", failure={}), **RUN_LIMITS),
        [],
    ),
    "resources taken away after a failure": (
        environment(failed(environment={"queueName": "gone", "resources": MEMORY})),
        ["SpecChanged"],
    ),
    "nothing changed after a failure": (
        environment(failed(environment={"resources": MEMORY, "limits": NO_LIMITS})),
        [],
    ),
    "code changed": (context(CODE, OLD_CODE), ["CodeChanged"]),
    "code changed and nobody listens": (context(status=OLD_CODE), []),
    "code changed to what was tried": (tried(context(CODE, OLD_CODE)), []),
    "code changed while the last run started": (
        context(
            status=OLD_CODE,
            runs=(failed(reason="CodeChanged", code="older", spec_digest=OLD_CODE["observed"]["spec"]),),
        ),
        ["CodeChanged"],
    ),
    "new data": (data(), ["DataChanged"]),
    "new data that was tried": (tried(data()), []),
    "the same data": (data("old"), []),
    "new data of one second too little": (data(since=29), []),
    "new data, just settled, seen again just then": (data(since=30, looked=0), ["DataChanged"]),
    "new data, settled, but not seen again since": (data(since=100, looked=71), []),
    "new data, settled, and seen again at that moment": (data(since=100, looked=70), ["DataChanged"]),
    "one of two inputs has not settled": (data(since=29, other="new"), []),
    "the store was away": (
        context(
            status=trained(),
            runs=(
                failed(
                    "Infrastructure",
                    "StoreAway",
                    minutes=100,
                    **{"spec_digest": make.observed()["spec"], "code": make.CODE.digest},
                ),
            ),
        ),
        ["RetryDue"],
    ),
    "the volume was full, and a person took the Job away": (
        context(status=trained(), runs=(failed("Infrastructure", "JobDeleted", minutes=100, **SAME),)),
        [],
    ),
}


@pytest.mark.parametrize("case", TABLE)
def test_what_asks_for_a_run(case: str) -> None:
    found, wanted = TABLE[case]
    assert [v.type for v in triggers.verdicts(found)] == wanted


ALL: Obj = {
    **LAKE,
    "seed": 2,
    "triggers": {"codeChange": {}, "monitors": {}, **HOURLY["triggers"], **POLLED["triggers"]},
}


def test_the_order_of_all_triggers_is_the_one_that_is_documented() -> None:
    """What somebody requested first; the retry last, because any other run serves it, too."""
    known = {**make.observed(POLLED, data={"a": "old", "b": "old"}), "code": "older"}
    status = trained(observed=known, versions=0, data=[seen("a", "new")], lastProbeTime=when(seconds=60), **DUE)
    lost = failed("Infrastructure", "StoreAway", minutes=200, code="older", data={"a": "old", "b": "old"})
    lost = make.replace(lost, spec_digest=known["spec"])
    found = context(ALL, status, request_="now", requests=(request(),), runs=(lost,))
    assert [v.type for v in triggers.verdicts(found)] == [
        "ManualRequested",
        "ScheduleDue",
        "MonitorRequested",
        "NeverTrained",
        "SpecChanged",
        "CodeChanged",
        "DataChanged",
        "RetryDue",
    ]


def verdict(found: Context) -> Verdict:
    (one,) = triggers.verdicts(found)
    return one


def test_what_a_verdict_says() -> None:
    first = verdict(NEVER)
    assert (first.message, first.before, first.after, first.suffix) == ("this pipeline has never run", None, None, None)
    gone = verdict(context(status=trained(versions=0)))
    assert gone.message == "no version of this pipeline exists"
    again = context(
        status=trained(versions=0), runs=(failed(spec_digest=make.observed()["spec"], code=make.CODE.digest),)
    )
    assert verdict(again).message.endswith("its inputs changed after run churn-a")
    assert (verdict(again).before, verdict(again).after) == ("key-churn-a", inputs(again).key)
    changed = context({"seed": 2}, trained())
    assert (verdict(changed).before, verdict(changed).after) == (make.observed()["spec"], inputs(changed).spec_digest)
    asked = verdict(context(status=trained(), request_="x" * 2000))
    assert (asked.after, asked.suffix and asked.suffix[0]) == ("x" * 1024, "m")
    assert asked.message.endswith("=" + "x" * 200)
    other = verdict(context(status=trained(lastRun="churn-b"), request_="x" * 2000))
    assert other.suffix != asked.suffix
    tick = verdict(context(HOURLY, trained(HOURLY, **DUE)))
    assert (tick.after, tick.message) == (when(), f"{when()} of 0 * * * * UTC")
    assert tick.suffix == str(int(make.NOW.timestamp()) // 60)
    heard = context(LISTENS, OLD_CODE, requests=(request(message="m" * 2000),))
    asked = verdict(heard)
    assert (asked.monitor, asked.id, asked.after, len(asked.message)) == ("watch", "r1", "Drift", 1024)
    assert verdict(data()).message == "input a has a new revision"
    assert (verdict(data()).before, verdict(data()).after) == ("old", "new")
    assert verdict(data(other="new")).message == "input a has a new revision (and 1 more)"
    code = verdict(context(CODE, OLD_CODE))
    assert (code.message, code.before, code.after) == ("the code changed", "older", make.CODE.digest)
    limits = verdict(environment(failed(environment={"resources": {"limits": {"memory": "1Gi"}}}), queueName="q"))
    assert limits.message.startswith("spec.run, spec.queueName") or "spec.queueName" in limits.message
    assert (limits.before, limits.after, limits.suffix) == ("churn-a", "generation 1", "g1")


def test_when_new_data_will_have_settled() -> None:
    assert data_changes.settled_at(data(since=10, looked=0), "a") == make.ago(seconds=-20)
    assert data_changes.settled_at(data(since=30, looked=0), "a") is None
    assert data_changes.changed_inputs(data(other="new"), inputs(data(other="new"))) == ["a", "b"]
    assert data_changes.changed_inputs(data("old"), inputs(data("old"))) == []
    assert build.NOW == make.NOW


@pytest.mark.parametrize(
    ("known", "since", "wanted"),
    [("old", 1000, []), ("new", 29, []), ("new", 30, ["DataChanged"])],
)
def test_a_changed_key_of_a_config_map_settles_from_the_look_that_saw_it(
    known: str, since: float, wanted: list[str]
) -> None:
    spec: Obj = {
        "data": [{"name": "m", "uri": "configmap://rows/d.csv"}],
        "triggers": {"dataChange": {"settleSeconds": 30}},
    }
    status = trained(observed=make.observed(spec, data={"m": "old"}), data=[seen("m", known, since=since)])
    found = context(spec, status, maps={"rows": MapContent({"d.csv": "new"})})
    assert [v.type for v in triggers.verdicts(found)] == wanted
    if known == "old":
        assert data_changes.settled_at(found, "m") == make.ago(seconds=-30)
