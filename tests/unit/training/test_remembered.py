"""What a process remembers of runs and Jobs, and what it must not mix up: predecessors, leaders, clocks."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import Any

import pytest
from tests.support import builders_training as make
from tests.support.invariants import DEFAULT_STATUS
from tests.unit.training.test_loop import quickstart
from tests.unit.training.test_once import PIPELINE, started
from tests.unit.training.world import World

from tidemill.core import conditions
from tidemill.core.children import owner_reference
from tidemill.core.conditions import format_time
from tidemill.core.plan import Key, ObjectRef
from tidemill.training.run_expectations import RunExpectations

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
    world, own = quickstart(), RunExpectations()
    plan = world.reconcile(PIPELINE)
    assert plan is not None
    (name,) = world.names("TrainingRun")
    pipeline = world.get("TrainingPipeline", "churn")
    uid = pipeline["metadata"]["uid"]
    own.observed(world.get("TrainingRun", name))
    assert own.was_observed(uid, name)
    assert not own.was_observed("made again", name)
    own.begin(pipeline, plan)
    assert not own.was_observed(uid, name)


def test_a_plan_that_is_not_carried_out_is_not_remembered() -> None:
    """Another leader makes that very run and its Job, which somebody deletes."""
    world = quickstart()
    (manifest,) = world.plan(PIPELINE).apply
    assert (manifest,) == world.plan(PIPELINE).apply
    run = Key("TrainingRun", make.NAMESPACE, manifest["metadata"]["name"])
    owner = owner_reference(world.put(manifest))
    meta = {"name": run.name, "namespace": make.NAMESPACE, "ownerReferences": [owner]}
    world.put({"apiVersion": "batch/v1", "kind": "Job", "metadata": meta})
    world.remove("Job", run.name)
    world.settle()

    assert world.names("Job") == []
    assert world.run(run.name)["failure"]["reason"] == "JobDeleted"


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
    assert len(world.names("TrainingRun")) == 1, "the one that was requested"


def test_looks_at_a_run_without_anything_to_report_become_rare() -> None:
    world = quickstart()
    started(world)  # and nobody makes its Job
    waits = []
    for age in (0, 19, 20, 60, 120, 3600):
        world.clock.time = make.NOW + timedelta(seconds=age)
        world.reconcile(PIPELINE)
        waits.append(world.requeue[PIPELINE])
    assert waits == [20, 4.75, 5, 15, 30, 30]
    assert "activeRun" not in world.pipeline()


# -- a leader that finds a run --------------------------------------------------------------------------------------


def long_run(world: World) -> Key:
    """A run whose pod has been running for half an hour, of which nothing was written."""
    run = started(world)
    world.reconcile(run)
    world.reconcile(run)
    world.kubelet_starts(run.name)
    began = {"startTime": format_time(world.clock.time), "active": 1}
    world.change("Job", run.name, lambda o: o.update(status=began))
    world.advance(minutes=30)
    world.settle()
    assert "runningSince" not in world.run(run.name)
    return run


def drain(world: World) -> None:
    """The pod is gone, and another one not there yet."""
    pod = next(o for o in world.objects.values() if o["kind"] == "Pod")
    world.remove("Pod", pod["metadata"]["name"])


def test_a_new_leader_does_not_fail_a_long_run_whose_pod_is_just_being_replaced() -> None:
    world = quickstart()
    run = long_run(world)
    drain(world)
    world.change("Job", run.name, lambda o: o["status"].update(active=0, failed=1))
    world.restart()
    world.reconcile(run)
    assert world.condition("TrainingRun", run.name, "Succeeded")[0] == "Unknown"
    world.kubelet_starts(run.name)
    world.settle()

    assert world.names("Job") == [run.name]
    assert "failure" not in world.run(run.name)


def test_a_job_that_makes_no_pod_fails_after_the_deadline_of_whoever_looks() -> None:
    world = quickstart(make.Pipeline().spec(run={"pendingDeadlineSeconds": 60}))
    run = started(world)
    world.reconcile(run)
    world.advance(hours=1)
    world.restart()
    world.reconcile(run)
    assert "failure" not in world.run(run.name)
    world.advance(seconds=59)
    world.reconcile(run)
    assert "failure" not in world.run(run.name)
    world.advance(seconds=1)
    world.reconcile(run)

    assert world.run(run.name)["failure"]["reason"] == "NoPod"


def test_a_deleted_job_leaves_its_name_and_times() -> None:
    world = quickstart()
    run = long_run(world)
    world.remove("Job", run.name)
    world.reconcile(run)

    found = world.run(run.name)
    assert found["failure"]["reason"] == "JobDeleted"
    began = format_time(make.NOW)
    assert (found["job"], found["startTime"], found["runningSince"]) == (run.name, began, began)


@pytest.mark.parametrize("has_job", [True, False])
def test_a_finished_run_that_still_says_that_it_goes_on_is_mended_once(has_job: bool) -> None:
    """An older operator applied its status, which left the default conditions of a run."""
    world = quickstart()
    world.train()
    run = Key("TrainingRun", make.NAMESPACE, world.names("TrainingRun")[0])
    before = copy.deepcopy(world.run(run.name))
    left = conditions.get(DEFAULT_STATUS["TrainingRun"]["conditions"], "Reconciling")
    world.change("TrainingRun", run.name, lambda o: o["status"]["conditions"].append(left))
    if not has_job:
        world.remove("Job", run.name)
    world.restart()
    world.written()
    world.reconcile(run)
    world.reconcile(run)

    assert world.written() == ["status TrainingRun"]
    assert world.run(run.name) == before
    assert conditions.get(world.run(run.name)["conditions"], "Reconciling") is None
