"""What a process remembers of runs and Jobs, and what it must not mix up: predecessors, leaders, clocks."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import Any

import pytest
from tests.support import builders_training as make
from tests.unit.training.test_loop import quickstart
from tests.unit.training.test_once import PIPELINE, started
from tests.unit.training.world import World

from tidemill.core.conditions import format_time
from tidemill.core.plan import ObjectRef
from tidemill.core.podspec import owner_reference
from tidemill.training.ownruns import OwnRuns

Obj = dict[str, Any]


def made_again(world: World) -> Obj:
    """Replace the pipeline as `kubectl replace --force` does; returns the run that is still to be collected."""
    left = copy.deepcopy(world.get("TrainingRun", world.names("TrainingRun")[0]))
    world.remove("TrainingPipeline", "churn")
    world.put(left)
    again = make.Pipeline().created(world.clock.time).obj()
    world.put({**again, "metadata": {**again["metadata"], "uid": "made-again"}})
    return left


@pytest.mark.parametrize("is_terminating", [False, True], ids=["untouched", "terminating"])
def test_a_pipeline_made_again_trains_when_its_predecessors_run_is_collected_late(is_terminating: bool) -> None:
    world = quickstart()
    world.train()
    left = made_again(world)
    name = left["metadata"]["name"]
    if is_terminating:
        world.change("TrainingRun", name, lambda o: o["metadata"].update(deletionTimestamp=format_time(make.NOW)))
    world.reconcile(PIPELINE)  # wants a run of the very same name
    world.reconcile(PIPELINE)
    world.remove("TrainingRun", name)
    world.settle()

    assert world.get("TrainingRun", name)["metadata"]["ownerReferences"][0]["uid"] == "made-again"
    assert world.condition("TrainingPipeline", "churn", "Stalled") == ("", "")


def test_the_removal_of_a_predecessors_job_is_not_that_of_the_runs_own() -> None:
    world = quickstart()
    run = started(world)
    own = copy.deepcopy(world.get("TrainingRun", run.name))
    owner = owner_reference({**own, "metadata": {**own["metadata"], "uid": "predecessor"}})
    meta = {"name": run.name, "namespace": make.NAMESPACE, "ownerReferences": [owner]}
    world.put({"apiVersion": "batch/v1", "kind": "Job", "metadata": meta})
    world.remove("Job", run.name)
    world.restart()
    world.reconcile(run)

    assert world.names("Job") == [run.name]
    assert "failure" not in world.run(run.name)


@pytest.mark.parametrize("who", [PIPELINE.kind, "TrainingRun"])
def test_a_run_that_was_seen_and_is_gone_was_deleted_whatever_history_has_forgotten(who: str) -> None:
    world = quickstart()
    run = started(world)
    world.reconcile(PIPELINE if who == PIPELINE.kind else run)
    world.remove("TrainingRun", run.name)
    world.compacted = 10_000
    world.settle()

    assert world.names("TrainingRun") == []
    assert world.condition("TrainingPipeline", "churn", "Stalled") == ("True", "RunDeleted")


def test_a_run_that_is_planned_anew_has_not_been_seen() -> None:
    own = OwnRuns()
    owner = {"controller": True, "uid": "p"}
    own.saw({"metadata": {"name": "r", "ownerReferences": [owner]}})
    assert own.was_seen("p", "r")
    assert not own.was_seen("made again", "r")
    own.add("team-a", "r", "p")
    assert not own.was_seen("p", "r")


def test_a_clock_ahead_of_the_servers_costs_no_look_at_a_run_that_status_knows() -> None:
    world = quickstart()
    run = started(world)
    behind = format_time(world.clock.time - timedelta(seconds=2))
    world.change("TrainingRun", run.name, lambda o: o["metadata"].update(creationTimestamp=behind))
    world.train()
    assert world.pipeline()["lastRunTime"] == behind
    world.remove("TrainingRun", run.name)
    world.settle()
    asked = world.client.gets
    asked.clear()
    world.advance(minutes=1)
    world.reconcile(PIPELINE)

    assert ObjectRef("tidemill.io/v1alpha1", "TrainingRun", make.NAMESPACE, run.name) not in asked


def test_a_deleted_run_is_recorded_before_another_one_starts() -> None:
    world = quickstart()
    run = started(world)
    world.reconcile(run)
    key = world.get("TrainingRun", run.name)["spec"]["key"]
    world.remove("TrainingRun", run.name)
    world.change(
        "TrainingPipeline", "churn", lambda o: o["metadata"].update(annotations={"tidemill.io/run-requested-at": "now"})
    )
    world.reconcile(PIPELINE)
    assert world.names("TrainingRun") == []
    assert world.pipeline()["runKeys"] == [key]
    world.settle()
    assert len(world.names("TrainingRun")) == 1, "the one that was asked for"


def test_looks_for_news_of_a_run_that_has_none_become_rare() -> None:
    world = quickstart()
    started(world)  # and nobody makes its Job
    waits = []
    for age in (0, 19, 20, 60, 120, 3600):
        world.clock.time = make.NOW + timedelta(seconds=age)
        world.reconcile(PIPELINE)
        waits.append(world.requeue[PIPELINE])
    assert waits == [20, 4.75, 5, 15, 30, 30]
    assert "activeRun" not in world.pipeline()
