"""A run that the infrastructure failed is tried again by itself; one that somebody must mend is not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.support import builders_training as make
from tests.support.invariants import kstatus
from tests.unit.training.test_loop import quickstart, trigger
from tests.unit.training.world import World

from tidemill.core import conditions
from tidemill_contracts.failures import FINAL

Obj = dict[str, Any]
AWAY = ("Infrastructure", "StorageUnavailable", "s3://lake cannot be reached")


def fail(world: World, failure: tuple[str, str, str] = AWAY, *, after: float = 5) -> str:
    """The newest run fails; returns its name."""
    world.settle()
    run = world.names("TrainingRun")[-1]
    world.advance(seconds=after)
    world.kubelet_finishes(run, make.failed(*failure), 1 if failure[0] == "Infrastructure" else 42)
    world.settle()
    return run


def pause(world: World) -> timedelta:
    """How long it takes until the operator, looking when it said it would, starts the next run."""
    before, runs = world.clock.time, len(world.names("TrainingRun"))
    while len(world.names("TrainingRun")) == runs:
        (wait,) = [w for key, w in world.requeue.items() if key.kind == "TrainingPipeline"]
        assert wait is not None, "it does not look again by itself"
        world.advance(seconds=wait)
        world.settle()
    return world.clock.time - before


def test_a_store_that_was_away_needs_nobody_afterwards() -> None:
    world = quickstart()
    failed = fail(world)

    assert world.condition("TrainingPipeline", "churn") == ("False", "RunFailed")
    assert world.condition("TrainingPipeline", "churn", "Reconciling") == ("True", "RunFailed")
    assert kstatus(world.get("TrainingPipeline", "churn")) == "InProgress"
    assert world.pipeline()["pendingTrigger"]["type"] == "RetryDue"
    world.advance(seconds=59)
    world.settle()
    assert world.names("TrainingRun") == [failed]
    world.advance(seconds=14)
    run = world.train()
    assert run != failed
    assert (trigger(world, run)["type"], trigger(world, run)["from"], trigger(world, run)["to"]) == (
        "RetryDue",
        failed,
        "1",
    )
    assert world.condition("TrainingPipeline", "churn") == ("True", "Trained")
    assert world.pipeline()["consecutiveFailures"] == 0


@pytest.mark.slow
def test_tries_come_later_and_later_and_never_end_also_after_restarts() -> None:
    world = quickstart()
    fail(world)
    pauses = []
    for _ in range(10):
        world.restart()
        pauses.append(pause(world))
        fail(world)
    wanted = [timedelta(minutes=m) for m in (1, 2, 4, 8, 16, 32, 60, 60, 60, 60)]
    for found, least in zip(pauses, wanted, strict=True):
        assert least <= found <= least * 1.2 + timedelta(seconds=1)
    assert [trigger(world, r).get("to") for r in world.names("TrainingRun")][-1] == "10"


def test_a_long_run_that_fails_is_not_tried_for_most_of_the_time() -> None:
    world = quickstart()
    fail(world, after=5 * 3600)
    assert pause(world) >= timedelta(hours=5)


def test_a_pipeline_that_was_in_force_is_tried_again_too() -> None:
    world = quickstart(make.Pipeline().triggers(codeChange={}))
    world.train("a")
    world.advance(minutes=1)
    world.put(make.ConfigMap(train_py="2").obj())
    fail(world)
    assert world.condition("TrainingPipeline", "churn", "Stalled") == ("", "")
    world.advance(seconds=75)
    run = world.train("b")
    assert trigger(world, run)["type"] == "RetryDue"
    assert world.pipeline()["champion"]["version"] == "churn-2"


def test_a_failure_that_a_later_run_has_mended_is_not_tried_again_when_that_run_is_deleted() -> None:
    world = quickstart()
    failed = fail(world)
    world.advance(seconds=75)
    world.remove("TrainingRun", world.train())
    world.settle()
    world.advance(days=1)
    world.settle()
    assert world.names("TrainingRun") == [failed]
    assert world.condition("TrainingPipeline", "churn") == ("True", "Trained")
    assert (world.pipeline()["consecutiveFailures"], world.pipeline()["lastRun"]) == (0, failed)


def test_a_failure_is_not_counted_again_when_a_later_one_is_deleted() -> None:
    world = quickstart()
    first = fail(world)
    pause(world)
    world.remove("TrainingRun", fail(world))
    world.settle()
    assert (world.pipeline()["consecutiveFailures"], world.pipeline()["lastRun"]) == (2, first)
    assert trigger(world, world.names("TrainingRun")[-1])["from"] == first, "the failure that is left is tried again"


OTHERS = {
    "user": ("UserError", "SyntaxError", "line 3"),
    "data": ("DataInvalid", "MissingTarget", "no such column"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_somebody_must_mend_is_not_tried_again(name: str) -> None:
    world = quickstart()
    fail(world, OTHERS[name])
    world.advance(days=2)
    world.settle()
    assert len(world.names("TrainingRun")) == 1
    assert world.condition("TrainingPipeline", "churn", "Stalled") == ("True", "RunFailed")


def test_a_job_that_somebody_deleted_is_not_made_again() -> None:
    world = quickstart()
    world.settle()
    run = world.names("TrainingRun")[0]
    world.kubelet_starts(run)
    world.settle()
    world.remove("Job", run)
    world.settle()
    world.advance(days=2)
    world.settle()
    assert world.names("TrainingRun") == [run]
    assert world.condition("TrainingPipeline", "churn", "Stalled") == ("True", "RunFailed")
    assert "JobDeleted" in FINAL


def test_whatever_starts_meanwhile_serves_the_retry() -> None:
    world = quickstart(make.Pipeline().triggers(codeChange={}))
    fail(world)
    world.put(make.ConfigMap(train_py="2").obj())
    world.advance(seconds=5)
    run = world.train()
    assert trigger(world, run)["type"] in ("CodeChanged", "NeverTrained")
    world.advance(hours=3)
    world.settle()
    assert world.names("TrainingRun")[-1] == run


@pytest.mark.parametrize("limit", [{"minIntervalSeconds": 1800}, {"maxRunsPerDay": 1}])
def test_limits_hold_retries_too(limit: dict[str, int]) -> None:
    world = quickstart(make.Pipeline().triggers(**limit))
    fail(world)
    world.advance(minutes=20)
    world.settle()
    assert len(world.names("TrainingRun")) == 1
    world.advance(hours=24)
    world.settle()
    assert len(world.names("TrainingRun")) == 2


def test_what_is_held_for_longer_does_not_hold_the_retry() -> None:
    world = quickstart(make.Pipeline().triggers(monitors={}))
    fail(world)
    for _ in range(2):
        pause(world)
        fail(world)
    world.put(make.Monitor("watch").spec(deployment="web").asks("r1").obj())
    world.settle()
    assert world.pipeline()["pendingTrigger"]["type"] == "MonitorRequested"  # for an hour, after three failures
    assert pause(world) <= timedelta(minutes=5)
    assert trigger(world, world.names("TrainingRun")[-1])["type"] == "RetryDue"


@pytest.mark.parametrize("limit", [{}, {"minIntervalSeconds": 1800}, {"maxRunsPerDay": 1}])
def test_the_status_says_when_the_next_try_really_comes(limit: dict[str, int]) -> None:
    world = quickstart(make.Pipeline().triggers(**limit))
    fail(world)
    for step in (0, 600):  # also when its own time is over and a limit still holds it
        world.advance(seconds=step if limit else 0)
        world.settle()
        (ready,) = [c for c in world.pipeline()["conditions"] if c["type"] == "Ready"]
        said = ready["message"].rpartition("retry 1 starts at ")[2]
        assert said[:19] == world.pipeline()["pendingTrigger"]["notBefore"][:19]  # to the second
    while len(world.names("TrainingRun")) == 1:
        pause(world)
    assert conditions.format_time(world.clock.time) >= said


def test_a_suspended_pipeline_waits() -> None:
    world = quickstart()
    fail(world)
    world.change("TrainingPipeline", "churn", lambda o: o["spec"].update(suspend=True))
    world.advance(hours=3)
    world.settle()
    assert len(world.names("TrainingRun")) == 1
    world.change("TrainingPipeline", "churn", lambda o: o["spec"].update(suspend=False))
    world.settle()
    assert len(world.names("TrainingRun")) == 2


def test_one_key_may_need_retries_twice() -> None:
    world = quickstart()
    fail(world)
    world.advance(seconds=75)
    world.train("a")
    world.advance(hours=1)
    ask = {"tidemill.io/run-requested-at": "now"}
    world.change("TrainingPipeline", "churn", lambda o: o["metadata"].update(annotations=ask))
    fail(world)
    world.advance(seconds=75)
    world.train("a")
    assert [trigger(world, r)["type"] for r in world.names("TrainingRun")].count("RetryDue") == 2
    assert world.condition("TrainingPipeline", "churn") == ("True", "Trained")
