"""A run is tried once: whatever is deleted, and whoever looks next, no Job and no run is made a second time."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tests.support import builders_training as make
from tests.support.invariants import DEFAULT_STATUS
from tests.unit.training.test_loop import quickstart
from tests.unit.training.world import World

from tidemill.core.conditions import format_time
from tidemill.core.plan import Key

Obj = dict[str, Any]
PIPELINE = Key("TrainingPipeline", make.NAMESPACE, "churn")


def started(world: World) -> Key:
    """The run of a new pipeline, without its Job."""
    world.reconcile(PIPELINE)
    return Key("TrainingRun", make.NAMESPACE, world.names("TrainingRun")[0])


def assert_deleted(world: World, run: Key) -> None:
    """The run failed because its Job is gone."""
    assert world.run(run.name)["failure"]["reason"] == "JobDeleted"
    assert world.names("Job") == []


@pytest.mark.parametrize("is_restarted", [False, True], ids=["one process", "another leader"])
def test_a_job_that_is_deleted_before_anything_was_written_of_it(is_restarted: bool) -> None:
    world = quickstart()
    run = started(world)
    world.reconcile(run)
    world.remove("Job", run.name)
    if is_restarted:
        world.restart()
    world.reconcile(run)
    world.settle()

    assert_deleted(world, run)


def test_the_leader_that_finds_a_run_without_job_makes_it() -> None:
    """A crash between the two writes."""
    world = quickstart()
    run = started(world)
    world.restart()
    world.reconcile(run)

    assert world.names("Job") == [run.name]


def test_a_run_of_this_process_costs_no_look_into_history(monkeypatch: pytest.MonkeyPatch) -> None:
    world = quickstart()
    asked: list[str] = []

    async def changed_since(*what: str) -> bool:
        asked.append(what[1])
        return False

    monkeypatch.setattr(world.client, "changed_since", changed_since)
    world.train()
    assert asked == []


@pytest.mark.parametrize("has_job_been_seen", [True, False])
def test_the_pipelines_status_tells_what_history_has_forgotten(has_job_been_seen: bool) -> None:
    world = quickstart()
    run = started(world)
    if has_job_been_seen:
        world.reconcile(run)
        world.kubelet_starts(run.name)
    world.advance(minutes=1)
    world.reconcile(PIPELINE)
    assert ("activeRun" in world.pipeline()) is has_job_been_seen
    assert world.run(run.name) == DEFAULT_STATUS["TrainingRun"]
    world.remove("Job", run.name)
    world.compacted = 10_000
    world.restart()
    world.reconcile(run)
    world.settle()

    if has_job_been_seen:
        assert_deleted(world, run)
    else:
        assert world.names("Job") == [run.name], "it was never made, whatever time has passed"


def test_a_job_that_lost_our_label_ends_the_run_and_says_so() -> None:
    world = quickstart()
    run = started(world)
    world.reconcile(run)
    world.reconcile(run)
    job = world.change("Job", run.name, lambda o: o["metadata"].update(labels={}))
    world.cache.remove("Job", make.NAMESPACE, run.name, job["metadata"]["uid"])  # as a watch with a selector says
    world.reconcile(run)

    assert world.run(run.name)["failure"]["reason"] == "JobNotOwned"
    assert "app.kubernetes.io/managed-by=tidemill" in world.run(run.name)["failure"]["message"]


def test_a_job_that_only_the_cache_lacks_is_no_deleted_one() -> None:
    world = quickstart()
    run = started(world)
    world.reconcile(run)
    world.reconcile(run)
    job = world.get("Job", run.name)
    world.cache.remove("Job", make.NAMESPACE, run.name, job["metadata"]["uid"])
    world.reconcile(run)

    assert world.run(run.name) == DEFAULT_STATUS["TrainingRun"]


def test_a_run_that_is_deleted_at_once_is_not_made_again() -> None:
    world = quickstart()
    run = started(world)
    world.remove("TrainingRun", run.name)
    world.settle()
    assert world.names("TrainingRun") == []
    assert world.condition("TrainingPipeline", "churn", "Stalled") == ("True", "RunDeleted")
    world.restart()
    world.settle()
    assert world.names("TrainingRun") == [], "by now the status knows"


def test_a_pipeline_made_again_shows_its_run_although_a_version_of_a_run_of_that_name_is_left() -> None:
    world = quickstart()
    world.train()
    version = copy.deepcopy(world.get("ModelVersion", "churn-1"))
    world.remove("TrainingPipeline", "churn")
    world.advance(minutes=1)
    version["metadata"]["ownerReferences"] = [{"kind": "ModelDeployment", "name": "d", "uid": "d", "apiVersion": "x"}]
    world.put(version)
    again = make.Pipeline().created(world.clock.time).obj()
    world.put({**again, "metadata": {**again["metadata"], "uid": "made-again"}})
    world.settle()
    world.advance(seconds=20)
    world.settle()

    (run,) = world.names("TrainingRun")
    assert version["spec"]["lineage"]["run"] == run
    assert world.pipeline()["activeRun"] == run


@pytest.mark.parametrize("how", ["drained", "removed at once"])
def test_the_first_start_is_kept_when_its_pod_is_gone(how: str) -> None:
    world = quickstart()
    run = started(world)
    world.reconcile(run)
    world.advance(seconds=5)
    first = format_time(world.clock.time)
    world.kubelet_starts(run.name)
    world.reconcile(run)
    pod = next(o for o in world.objects.values() if o["kind"] == "Pod")
    name = pod["metadata"]["name"]
    if how == "drained":
        terminating = {"deletionTimestamp": format_time(world.clock.time)}
        world.change("Pod", name, lambda o: o["metadata"].update(terminating))
        world.reconcile(run)
        assert world.run(run.name)["runningSince"] == first, "written while somebody still knows"
        world.restart()
    world.remove("Pod", name)
    world.advance(minutes=30)
    world.reconcile(run)
    assert world.condition("TrainingRun", run.name, "Succeeded") == ("Unknown", "Pending"), "not failed: it had begun"
    world.kubelet_finishes(run.name, make.result())
    world.reconcile(run)

    assert world.run(run.name)["runningSince"] == first
    assert world.condition("TrainingRun", run.name, "Succeeded") == ("True", "Succeeded")


def test_another_try_is_reported() -> None:
    world = quickstart()
    run = started(world)
    world.reconcile(run)
    world.kubelet_starts(run.name)
    pod = next(o for o in world.objects.values() if o["kind"] == "Pod")
    ended = {**make.terminated(1), "startedAt": format_time(make.NOW)}
    world.put({**pod, "status": make.pod(world.get("Job", run.name), terminated=ended)["status"]})
    world.advance(minutes=1)
    world.reconcile(run)

    ready = world.run(run.name)["conditions"][0]
    assert (ready["reason"], ready["message"]) == (
        "Running",
        "attempt 1 ended with exit code 1; the Job starts another pod",
    )


def test_a_claim_that_is_missing_is_made_while_the_pod_waits_for_it() -> None:
    """It was refused (quota) when the Job was made: a refused child holds up no other, and is tried again."""
    world = quickstart()
    run = started(world)
    world.reconcile(run)
    world.remove("PersistentVolumeClaim", "tidemill-artifacts")
    world.advance(seconds=10)
    world.reconcile(run)
    assert world.names("PersistentVolumeClaim") == [], "nothing says yet that it is missing"
    pod = make.pod(world.get("Job", run.name))
    text = 'persistentvolumeclaim "tidemill-artifacts" not found'
    scheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": text}
    world.put({**pod, "status": {"phase": "Pending", "conditions": [scheduled]}})
    world.reconcile(run)

    assert world.names("PersistentVolumeClaim") == ["tidemill-artifacts"]


def asked_run(pipeline: make.Pipeline, monitor: make.Monitor, uid: str = "a", monitor_uid: str = "m") -> str:
    """Name of the run that a monitor's request starts."""
    one, other = pipeline.obj(), copy.deepcopy(monitor.obj())
    one["metadata"]["uid"], other["metadata"]["uid"] = uid, monitor_uid
    world = World(one, make.ConfigMap().obj())
    world.train(name=None)
    world.put(other)
    world.put(make.ConfigMap(train_py="better").obj())
    world.advance(seconds=1)
    world.settle()
    return world.names("TrainingRun")[-1]


def test_runs_that_different_monitors_or_pipelines_requested_have_different_names() -> None:
    def pipeline(name: str = "churn") -> make.Pipeline:
        return make.Pipeline(name).triggers(monitors={})

    def monitor(target: str = "churn") -> make.Monitor:
        return make.Monitor("watch").asks("r-1", target=target)

    base = asked_run(pipeline(), monitor())
    assert asked_run(pipeline(), monitor()) == base, "a second attempt meets the first one's run"
    others = [
        asked_run(pipeline(), monitor(), monitor_uid="made anew"),
        asked_run(pipeline(), monitor(), uid="made anew"),
        asked_run(pipeline("other"), monitor("other"), uid="other"),
    ]
    assert len({base, *others}) == 4
    assert len({name.rpartition("-r")[2] for name in (base, *others)}) == 4
