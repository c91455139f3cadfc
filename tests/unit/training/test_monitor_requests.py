"""A retrain that a monitor requests waits while a run would make the model that there is."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import builders_training as build
from tests.unit.training import make
from tests.unit.training.make import ago, context, inputs, request, run, trained, version, when
from tests.unit.training.test_loop import quickstart, trigger

from tidemill.training.pipeline import plan as plans
from tidemill.training.pipeline.policy import monitor_requests, triggers
from tidemill.training.pipeline.policy.context import Context

Obj = dict[str, Any]
LISTENS: Obj = {"triggers": {"monitors": {}}}
LAKE: Obj = {"data": [{"name": "a", "uri": "s3://lake/a"}], **LISTENS}
ASKED = request(time=ago(minutes=10), version="churn-1")


def lake(revision: str | None, *, looked: float = 5, error: str | None = None, spec: Obj | None = None) -> Context:
    """A bucket in which the last run found `old`; a probe has looked so many minutes ago."""
    wanted = spec or LAKE
    state = {"name": "a", "revision": revision, "since": when(minutes=looked), "error": error}
    status = trained(
        wanted,
        observed=make.observed(wanted, data={"a": "old"}),
        data=[{k: v for k, v in state.items() if v is not None}],
        lastProbeTime=when(minutes=looked),
    )
    return context(wanted, status, requests=(ASKED,))


def types(found: Context) -> list[str]:
    return [v.type for v in triggers.verdicts(found)]


def reason(found: Context) -> str | None:
    waits = monitor_requests.why_waiting(found, inputs(found))
    return waits.reason if waits else "it does not wait"


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (lake("old"), "DataUnchanged"),
        (lake("new"), "it does not wait"),
        (lake("old", looked=20), None),
        (lake("new", looked=20), "it does not wait"),
        (lake("old", error="denied"), "ProbeFailed"),
        (lake(None, error="denied"), "ProbeFailed"),
        (context(LISTENS, trained(), requests=(ASKED,)), "DataUnchanged"),
        (context(LISTENS, trained(seed=1), requests=(request(),)), "DataUnchanged"),
        (context({**LISTENS, "seed": 2}, trained(), requests=(ASKED,)), "it does not wait"),
    ],
    ids=[
        "unchanged",
        "changed",
        "not looked at since the request",
        "already seen to have changed",
        "unchanged as far as could be read",
        "never read",
        "bundled data",
        "a request of an older release has no time",
        "another spec",
    ],
)
def test_what_a_request_waits_for(found: Context, wanted: str | None) -> None:
    assert reason(found) == wanted
    assert ("MonitorRequested" in types(found)) == (wanted == "it does not wait")


def test_new_data_settles_before_the_run_where_the_pipeline_says_so() -> None:
    spec = {**LAKE, "triggers": {"monitors": {}, "dataChange": {"settleSeconds": 600}}}
    assert types(lake("new", spec=spec)) == []
    assert reason(lake("new", spec=spec)) is None


def test_a_probe_looks_because_of_the_request_and_only_then() -> None:
    def probes(found: Context) -> bool:
        return any(o["kind"] == "Job" for o in plans.plan(found.snapshot).apply)

    assert probes(lake("old", looked=20)), "none has looked since the request"
    assert not probes(lake("old", looked=4)), "one has, less than five minutes ago"
    assert probes(lake("old", looked=6)), "and again and again"
    served = {**trained(LAKE), "lastHandledMonitorRequests": {"watch": "r1"}}
    assert not probes(context(LAKE, served, requests=(ASKED,)))
    assert not probes(context({**LAKE, "triggers": {}}, trained(LAKE), requests=(ASKED,)))


@pytest.mark.parametrize(
    ("fields", "answered"),
    [
        ({"runs": (run(minutes=5),)}, True),
        ({"runs": (run(minutes=5, outcome="False", reason="Rejected"),)}, True),
        ({"runs": (run(minutes=5, outcome="False", reason="Failed"),)}, False),
        ({"runs": (run(minutes=15),)}, False),
        ({"versions": (version(1), version(2, minutes=5))}, True),
        ({"versions": (version(1), version(2, minutes=15))}, False),
        ({"versions": (version(1, minutes=5),)}, False),
    ],
    ids=["a later run", "a later rejection", "a later failure", "an earlier run", "another version", "of before", "it"],
)
def test_a_later_run_or_another_version_answers_a_request(fields: Obj, answered: bool) -> None:
    found = context(LISTENS, trained(), requests=(ASKED,), **fields)
    assert monitor_requests.handled(found) == ({"watch": "r1"} if answered else {})
    assert (monitor_requests.open_requests(found) == []) is answered


def test_the_pipeline_waits_says_so_and_trains_once_when_the_code_changes() -> None:
    world = quickstart(build.Pipeline().triggers(monitors={}, maxRunsPerDay=2))
    world.train()
    for number in range(3):
        world.advance(minutes=5)
        world.put(build.Monitor("watch").asks(f"r-{number}", time=world.clock.now()).obj())
        world.settle()
    assert len(world.names("TrainingRun")) == 1
    assert world.condition("TrainingPipeline", "churn", "RetrainHeld") == ("True", "DataUnchanged")
    assert world.condition("TrainingPipeline", "churn") == ("True", "Trained")
    assert [e.reason for e in world.events].count("RetrainHeld") == 1
    assert len(world.pipeline().get("recentRunTimes") or []) <= 1, "the day's runs are still there"

    world.put(build.ConfigMap(train_py="better").obj())
    started = world.train("f")
    assert trigger(world, started)["id"] == "r-2"
    assert world.condition("TrainingPipeline", "churn", "RetrainHeld") == ("", "")
    assert len(world.names("TrainingRun")) == 2


def test_the_code_of_an_earlier_run_starts_nothing_either() -> None:
    world = quickstart(build.Pipeline().triggers(monitors={}, codeChange={}))
    world.train()
    world.put(build.ConfigMap(train_py="worse").obj())
    world.train("f")
    world.put(build.ConfigMap().obj())
    world.advance(minutes=5)
    world.put(build.Monitor("watch").asks("r-1", time=world.clock.now()).obj())
    world.settle()
    assert len(world.names("TrainingRun")) == 2
    assert world.condition("TrainingPipeline", "churn", "RetrainHeld") == ("True", "DataUnchanged")
