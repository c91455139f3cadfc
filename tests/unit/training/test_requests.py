"""Requests by hand: each new value is one run, whatever was requested before and whatever crashes in between."""

from __future__ import annotations

import pytest
from tests.support import builders_training as make
from tests.unit.training.test_loop import quickstart, trigger
from tests.unit.training.world import World

from tidemill.core.plan import Key

PIPELINE = Key("TrainingPipeline", make.NAMESPACE, "churn")


def request(world: World, value: str) -> None:
    """Somebody sets the annotation, a minute later."""
    world.advance(minutes=1)
    asked = {"tidemill.io/run-requested-at": value}
    world.change("TrainingPipeline", "churn", lambda o: o["metadata"].update(annotations=asked))


@pytest.mark.slow  # many examples
@pytest.mark.parametrize(
    "values",
    ["ab", "aba", "abab", "abcabc", "abba"],
    ids=["two values", "back again", "to and fro", "three in turn", "set twice"],
)
@pytest.mark.parametrize("is_restarted", [False, True], ids=["one process", "restarts"])
def test_every_changed_value_is_one_run_of_the_same_inputs(values: str, is_restarted: bool) -> None:
    world = quickstart()
    world.train()
    wanted = 1
    for before, value in zip(" " + values, values, strict=False):
        request(world, value)
        if is_restarted:
            world.restart()
        world.settle()
        if value != before:
            wanted += 1
            run = world.train("d")
            assert trigger(world, run)["to"] == value
        assert len(world.names("TrainingRun")) == wanted
        assert world.pipeline()["lastHandledRunRequest"] == value
    keys = {world.get("TrainingRun", name)["spec"]["key"] for name in world.names("TrainingRun")}
    assert len(keys) == 1
    assert world.condition("TrainingPipeline", "churn") == ("True", "Trained")


@pytest.mark.parametrize("previous", ["succeeded", "failed", "deleted"])
def test_a_second_attempt_before_the_run_is_seen_names_the_same_run(previous: str) -> None:
    world = quickstart()
    world.settle()
    first = world.names("TrainingRun")[0]
    world.advance(seconds=5)
    report = make.failed("UserError", "Boom", "x") if previous == "failed" else make.result("d")
    world.kubelet_finishes(first, report, 1 if previous == "failed" else 0)
    world.settle()
    if previous == "deleted":
        world.remove("TrainingRun", first)
        world.settle()
    request(world, "a")
    world.crash_before_status = True
    one = world.reconcile(PIPELINE)
    run = world.names("TrainingRun")[-1]
    hidden = world.get("TrainingRun", run)
    world.cache.remove("TrainingRun", make.NAMESPACE, run, hidden["metadata"]["uid"])  # the watch is behind
    two = world.reconcile(PIPELINE)

    assert one is not None
    assert two is not None
    assert [m["metadata"]["name"] for m in one.apply] == [m["metadata"]["name"] for m in two.apply] == [run]
    world.restart()
    world.crash_before_status = False
    world.train("d", run)
    assert world.names("TrainingRun").count(run) == 1
    assert len(world.names("TrainingRun")) == (1 if previous == "deleted" else 2)
    assert world.pipeline()["lastHandledRunRequest"] == "a"


@pytest.mark.parametrize("failed_before", [False, True], ids=["all is well", "a failure is shown"])
def test_a_pipeline_that_started_a_run_is_not_looked_at_again_at_once(failed_before: bool) -> None:
    world = quickstart()
    world.settle()
    first = world.names("TrainingRun")[0]
    report = make.failed("UserError", "Boom", "x") if failed_before else make.result("d")
    world.kubelet_finishes(first, report, int(failed_before))
    world.settle()
    request(world, "a")
    plan = world.reconcile(PIPELINE)

    assert plan is not None
    assert len(plan.apply) == 1
    assert plan.requeue_after == (1.0 if failed_before else 20.0)


def test_a_value_that_comes_back_does_not_starve_other_triggers() -> None:
    world = quickstart(make.Pipeline().triggers(codeChange={}))
    world.train()
    for value in "aba":
        request(world, value)
        world.train("d")
    world.advance(minutes=1)
    world.put(make.ConfigMap(train_py="2").obj())
    run = world.train("f")

    assert trigger(world, run)["type"] == "CodeChanged"


def test_a_value_that_was_removed_is_a_new_request_when_it_is_set_again() -> None:
    """Tools that set and remove annotations, and people who repeat a command, mean it each time."""
    world = quickstart()
    world.train()
    for _ in range(2):
        request(world, "now")
        world.settle()
        world.train("d")
        world.advance(minutes=1)
        world.change("TrainingPipeline", "churn", lambda o: o["metadata"].update(annotations={}))
        world.settle()
        assert "lastHandledRunRequest" not in world.pipeline()
    assert len(world.names("TrainingRun")) == 3
