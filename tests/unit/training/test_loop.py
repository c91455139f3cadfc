"""The pipeline's life as a story: what starts a run, what comes of it, and how many writes it costs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.support import builders_training as make
from tests.support.invariants import DEFAULT_STATUS
from tests.unit.training.world import World

from tidemill.core.conditions import format_time

Obj = dict[str, Any]


def quickstart(pipeline: make.Pipeline | None = None, *more: Obj) -> World:
    """A pipeline and its code, not yet looked at."""
    return World((pipeline or make.Pipeline()).obj(), make.ConfigMap().obj(), *more)


def trigger(world: World, run: str) -> Obj:
    """Why a run started."""
    found: Obj = world.get("TrainingRun", run)["spec"]["trigger"]
    return found


def test_a_new_pipeline_trains_judges_registers_and_crowns_its_first_version() -> None:
    world = quickstart(make.Pipeline().gates({"metric": "roc_auc", "min": 0.9}))
    run = world.train()

    assert trigger(world, run)["type"] == "NeverTrained"
    assert world.condition("TrainingRun", run, "Succeeded") == ("True", "Succeeded")
    assert world.run(run)["version"] == "churn-1"
    version = world.get("ModelVersion", "churn-1")
    assert version["spec"]["number"] == 1
    assert version["spec"]["lineage"]["code"] == world.get("TrainingRun", run)["spec"]["code"]["digest"]
    assert world.condition("ModelVersion", "churn-1", "Approved") == ("True", "GatesPassed")
    assert world.pipeline()["champion"]["version"] == "churn-1"
    assert world.condition("TrainingPipeline", "churn") == ("True", "Trained")


def test_a_quick_run_costs_six_writes_and_the_claim() -> None:
    world = quickstart()
    world.train()

    assert sorted(world.written()) == [
        "apply Job",
        "apply ModelVersion",
        "apply PersistentVolumeClaim",
        "apply TrainingRun",
        "status ModelVersion",
        "status TrainingPipeline",
        "status TrainingRun",
    ]


def test_a_long_run_costs_one_more_write_the_pipelines_and_ends_with_the_right_times() -> None:
    world = quickstart()
    world.settle()
    run = world.names("TrainingRun")[0]
    world.written()
    world.advance(seconds=3)
    world.kubelet_starts(run)
    started = format_time(world.clock.time)
    world.settle()
    assert world.written() == [], "the run's default conditions say that it goes on"
    assert world.condition("TrainingRun", run, "Reconciling") == ("True", "Running")

    world.advance(seconds=17)
    world.settle()
    assert world.written() == ["status TrainingPipeline"]
    assert world.condition("TrainingPipeline", "churn", "Reconciling") == ("True", "RunInProgress")
    assert world.pipeline()["activeRun"] == run

    world.advance(hours=1)
    world.kubelet_finishes(run, make.result(), started=started)
    world.settle()
    assert sorted(world.written()) == [
        "apply ModelVersion",
        "status ModelVersion",
        "status TrainingPipeline",
        "status TrainingRun",
    ]
    status = world.run(run)
    assert status["startTime"] == format_time(make.NOW)
    assert status["runningSince"] == started
    assert status["completionTime"] == format_time(world.clock.time)


def test_default_conditions_have_held_since_the_creation() -> None:
    world = quickstart()
    made = world.get("TrainingPipeline", "churn")["metadata"]["creationTimestamp"]
    world.settle()
    world.advance(seconds=30)
    world.settle()
    run = world.names("TrainingRun")[0]

    for kind, name in (("TrainingPipeline", "churn"), ("TrainingRun", run)):
        found = {c["type"]: c["lastTransitionTime"] for c in world.get(kind, name)["status"]["conditions"]}
        made = world.get(kind, name)["metadata"]["creationTimestamp"]
        assert found["Ready"] == made, "it was Unknown by default and is now"
        assert set(found.values()) <= {made, format_time(world.clock.time)}
    world.kubelet_finishes(run, make.result())
    world.settle()
    ready = world.get("TrainingRun", run)["status"]["conditions"][0]
    assert (ready["status"], ready["lastTransitionTime"]) == ("True", format_time(world.clock.time))


def test_an_idle_pipeline_costs_nothing() -> None:
    world = quickstart()
    world.train()
    world.written()
    for _ in range(5):
        world.advance(minutes=10)
        world.settle()

    assert world.written() == []


def test_a_run_that_is_slow_to_start_is_shown_after_twenty_seconds() -> None:
    world = quickstart()
    world.settle()
    assert world.pipeline() == DEFAULT_STATUS["TrainingPipeline"]
    world.advance(seconds=20)
    world.settle()

    run = world.names("TrainingRun")[0]
    assert world.condition("TrainingRun", run, "Reconciling") == ("True", "Pending")
    assert world.condition("TrainingPipeline", "churn", "Reconciling") == ("True", "RunInProgress")


def test_changed_code_trains_again_and_the_pipeline_stays_ready_meanwhile() -> None:
    world = quickstart(make.Pipeline().triggers(codeChange={}))
    world.train()
    world.put(make.ConfigMap(train_py="better").obj())
    world.settle()

    run = world.names("TrainingRun")[-1]
    assert trigger(world, run)["type"] == "CodeChanged"
    assert trigger(world, run)["from"] != trigger(world, run)["to"]
    world.kubelet_starts(run)
    world.advance(seconds=20)
    world.settle()
    assert world.condition("TrainingPipeline", "churn") == ("True", "RunInProgress")
    world.train("f", run)
    assert world.pipeline()["champion"]["version"] == "churn-2"
    assert world.get("ModelVersion", "churn-2")["spec"]["lineage"]["parent"] == "churn-1"


def test_changed_code_without_the_trigger_starts_nothing() -> None:
    world = quickstart()
    world.train()
    world.put(make.ConfigMap(train_py="better").obj())
    world.settle()

    assert len(world.names("TrainingRun")) == 1


def test_a_relabelled_code_config_map_starts_nothing() -> None:
    world = quickstart(make.Pipeline().triggers(codeChange={}))
    world.train()
    world.change("ConfigMap", "churn-code", lambda o: o["metadata"].update(labels={"team": "b"}))
    world.settle()

    assert len(world.names("TrainingRun")) == 1


def test_code_that_goes_back_to_what_was_trained_is_not_trained_again() -> None:
    world = quickstart(make.Pipeline().triggers(codeChange={}))
    world.train()
    world.put(make.ConfigMap(train_py="better").obj())
    world.train("f")
    world.put(make.ConfigMap().obj())
    world.settle()

    assert len(world.names("TrainingRun")) == 2


def test_a_changed_spec_trains_and_is_reconciling_until_its_verdict() -> None:
    world = quickstart()
    world.train()
    world.change("TrainingPipeline", "churn", lambda o: o["spec"].update(parameters={"depth": "3"}))
    world.settle()
    run = world.names("TrainingRun")[-1]
    world.kubelet_starts(run)
    world.advance(seconds=20)
    world.settle()

    assert trigger(world, run)["type"] == "SpecChanged"
    assert world.condition("TrainingPipeline", "churn") == ("Unknown", "RunInProgress")
    world.train("f", run)
    assert world.condition("TrainingPipeline", "churn") == ("True", "Trained")


@pytest.mark.parametrize("field", ["history", "run", "approval", "resources", "triggers"])
def test_a_changed_spec_that_cannot_change_the_outcome_starts_nothing(field: str) -> None:
    values: Obj = {
        "history": {"runs": 3},
        "run": {"backoffLimit": 0},
        "approval": "Manual",
        "resources": {"requests": {"cpu": "2"}},
        "triggers": {"minIntervalSeconds": 60},
    }
    world = quickstart()
    world.train()
    world.change("TrainingPipeline", "churn", lambda o: o["spec"].update({field: values[field]}))
    world.settle()

    assert len(world.names("TrainingRun")) == 1
    assert world.pipeline()["observedGeneration"] == 2


def test_more_memory_after_an_out_of_memory_failure_is_tried_at_once() -> None:
    world = quickstart()
    world.settle()
    first = world.names("TrainingRun")[0]
    job = world.get("Job", first)
    world.put(make.pod(job, terminated=make.terminated(137, reason="OOMKilled")))
    world.ends(first, "Failed", "BackoffLimitExceeded")
    world.settle()
    assert world.run(first)["failure"]["category"] == "OutOfMemory"
    world.change("TrainingPipeline", "churn", lambda o: o["spec"].update(resources={"limits": {"memory": "4Gi"}}))
    world.advance(seconds=1)
    world.settle()

    second = world.names("TrainingRun")[-1]
    assert second != first
    assert trigger(world, second)["type"] == "SpecChanged"
    assert "spec.resources" in trigger(world, second)["message"]


def test_a_failed_first_run_is_stalled_until_its_code_is_mended_even_without_the_code_trigger() -> None:
    world = quickstart()
    world.settle()
    run = world.names("TrainingRun")[0]
    world.kubelet_finishes(run, make.failed("UserError", "SyntaxError", "train.py line 1"), 42)
    world.settle()
    assert world.condition("TrainingPipeline", "churn", "Stalled") == ("True", "RunFailed")
    assert world.run(run)["failure"]["reason"] == "SyntaxError"
    assert [e.reason for e in world.events] == ["RunFailed"]

    world.put(make.ConfigMap(train_py="mended").obj())
    world.advance(seconds=1)
    second = world.train()
    assert second != run
    assert trigger(world, second)["type"] == "NeverTrained"
    assert world.condition("TrainingPipeline", "churn") == ("True", "Trained")


def test_a_failed_run_is_not_repeated_by_itself() -> None:
    world = quickstart(make.Pipeline().triggers(codeChange={}))
    world.settle()
    world.kubelet_finishes(world.names("TrainingRun")[0], make.failed("UserError", "Raised", "no"), 42)
    for _ in range(4):
        world.settle()
        world.advance(hours=7)

    assert len(world.names("TrainingRun")) == 1


def test_a_refused_candidate_leaves_the_champion_and_says_why() -> None:
    gates = ({"metric": "roc_auc", "min": 0.9},)
    world = quickstart(make.Pipeline().gates(*gates).triggers(codeChange={}))
    world.train()
    world.put(make.ConfigMap(train_py="worse").obj())
    run = world.train("f", None, metrics={"roc_auc": 0.5})

    assert world.condition("TrainingRun", run, "Succeeded") == ("False", "Rejected")
    assert world.names("ModelVersion") == ["churn-1"]
    assert world.condition("TrainingPipeline", "churn") == ("True", "RunRejected")
    assert world.pipeline()["champion"]["version"] == "churn-1"
    assert world.run(run)["gates"][0]["message"] == "0.5 is below min 0.9"


def test_a_refused_first_candidate_stalls_the_pipeline() -> None:
    world = quickstart(make.Pipeline().gates({"metric": "business_value", "min": 1}))
    run = world.train()

    assert world.condition("TrainingPipeline", "churn", "Stalled") == ("True", "RunRejected")
    assert world.run(run)["gates"][0]["reason"] == "MetricMissing"
    assert "accuracy, roc_auc" in world.run(run)["gates"][0]["message"]


def test_loosened_gates_train_again() -> None:
    world = quickstart(make.Pipeline().gates({"metric": "roc_auc", "min": 0.99}))
    world.train()
    world.change("TrainingPipeline", "churn", lambda o: o["spec"].update(evaluation={"gates": []}))
    world.train()

    assert world.condition("TrainingPipeline", "churn") == ("True", "Trained")


def test_a_request_by_hand_is_served_once_and_remembered() -> None:
    world = quickstart()
    world.train()
    world.change(
        "TrainingPipeline", "churn", lambda o: o["metadata"].update(annotations={"tidemill.io/run-requested-at": "now"})
    )
    world.advance(seconds=1)
    run = world.train("f")

    assert trigger(world, run)["type"] == "ManualRequested"
    assert trigger(world, run)["to"] == "now"
    assert world.pipeline()["lastHandledRunRequest"] == "now"
    assert len(world.names("TrainingRun")) == 2


def test_a_repeated_run_with_the_same_content_names_the_version_that_exists() -> None:
    world = quickstart()
    world.train()
    world.change(
        "TrainingPipeline", "churn", lambda o: o["metadata"].update(annotations={"tidemill.io/run-requested-at": "now"})
    )
    world.advance(seconds=1)
    run = world.train("d")

    assert world.condition("TrainingRun", run, "Succeeded") == ("True", "Unchanged")
    assert world.run(run)["version"] == "churn-1"
    assert world.names("ModelVersion") == ["churn-1"]


def test_a_monitor_asks_and_the_run_names_it() -> None:
    world = quickstart(make.Pipeline().triggers(monitors={}))
    world.train()
    world.put(make.Monitor("watch").asks("r-1").obj())
    world.put(make.ConfigMap(train_py="better").obj())
    world.advance(seconds=1)
    run = world.train("f")
    world.settle()

    found = trigger(world, run)
    assert (found["type"], found["monitor"], found["id"]) == ("MonitorRequested", "watch", "r-1")
    assert world.pipeline()["lastHandledMonitorRequests"] == {"watch": "r-1"}
    assert len(world.names("TrainingRun")) == 2


def test_a_monitor_is_not_heard_without_the_trigger_or_for_another_pipeline() -> None:
    world = quickstart()
    world.train()
    world.put(make.Monitor("watch").asks("r-1").obj())
    world.settle()
    other = quickstart(make.Pipeline().triggers(monitors={}))
    other.train()
    other.put(make.Monitor("watch").asks("r-1", target="else").obj())
    other.settle()

    assert len(world.names("TrainingRun")) == len(other.names("TrainingRun")) == 1


def scheduled(**more: Any) -> World:
    """A trained pipeline that runs at the full hour; it is 12:00."""
    world = quickstart(make.Pipeline().triggers(schedule={"cron": "0 * * * *", **more}))
    world.train()
    return world


def test_a_scheduled_time_starts_a_run_of_that_time() -> None:
    world = scheduled()
    assert world.pipeline()["nextScheduleTime"] == "2026-11-23T13:00:00Z"
    world.advance(hours=1)
    run = world.train("f")

    assert trigger(world, run)["to"] == "2026-11-23T13:00:00Z"
    job = world.get("Job", run)
    assert job["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"] == "2026-11-23T13:00:00Z"
    assert run.endswith(str(int((make.NOW + timedelta(hours=1)).timestamp()) // 60))
    assert world.pipeline()["lastScheduleTime"] == "2026-11-23T13:00:00Z"
    assert world.pipeline()["nextScheduleTime"] == "2026-11-23T14:00:00Z"


def test_of_many_missed_times_only_the_newest_is_made_up_for() -> None:
    world = scheduled()
    world.restart()
    world.advance(hours=26, minutes=30)
    run = world.train("f")
    world.settle()

    assert trigger(world, run)["to"] == "2026-11-24T14:00:00Z"
    assert len(world.names("TrainingRun")) == 2


def test_a_time_missed_by_more_than_the_deadline_is_reported_and_not_made_up_for() -> None:
    world = scheduled(startingDeadlineSeconds=600)
    world.advance(hours=1, minutes=30)
    world.settle()

    assert len(world.names("TrainingRun")) == 1
    assert [e.reason for e in world.events] == ["MissedSchedule"]
    assert world.pipeline()["nextScheduleTime"] == "2026-11-23T14:00:00Z"


def test_suspended_for_a_day_then_resumed_runs_at_most_once_and_later() -> None:
    world = scheduled()
    world.change("TrainingPipeline", "churn", lambda o: o["spec"].update(suspend=True))
    world.settle()
    assert world.condition("TrainingPipeline", "churn") == ("True", "Suspended")
    world.advance(days=1)
    world.settle()
    world.change("TrainingPipeline", "churn", lambda o: o["spec"].update(suspend=False))
    world.settle()

    assert len(world.names("TrainingRun")) == 1
    assert world.pipeline()["nextScheduleTime"] == "2026-11-24T13:00:00Z"


def test_an_edited_schedule_does_not_fire_the_past() -> None:
    world = scheduled()
    world.advance(minutes=30)
    world.change("TrainingPipeline", "churn", lambda o: o["spec"]["triggers"].update(schedule={"cron": "15 * * * *"}))
    world.settle()

    assert len(world.names("TrainingRun")) == 1
    assert world.pipeline()["nextScheduleTime"] == "2026-11-23T13:15:00Z"


def test_data_in_a_config_map_trains_once_it_has_settled() -> None:
    pipeline = make.Pipeline().data("configmap://rows/d.csv").triggers(dataChange={"settleSeconds": 30})
    world = quickstart(pipeline, make.ConfigMap("rows", d_csv="1").obj())
    revision = {"a": digest_of("1")}
    world.train("d", None, data=revision)
    world.put(make.ConfigMap("rows", d_csv="2").obj())
    world.settle()
    assert len(world.names("TrainingRun")) == 1
    world.advance(seconds=20)
    world.put(make.ConfigMap("rows", d_csv="3").obj())
    world.settle()
    world.advance(seconds=20)
    world.settle()
    assert len(world.names("TrainingRun")) == 1
    world.advance(seconds=10)
    world.settle()

    run = world.names("TrainingRun")[-1]
    assert trigger(world, run)["type"] == "DataChanged"
    assert trigger(world, run)["from"] == digest_of("1")
    assert trigger(world, run)["to"] == digest_of("3")


def digest_of(text: str) -> str:
    """The revision of a ConfigMap key."""
    from tidemill_contracts.revisions import value_revision

    return value_revision(text.encode())


def test_the_echo_of_an_own_write_is_not_needed_to_go_on() -> None:
    """The engine does not wake a reconciler for what it wrote itself, so the next look is requested."""
    from tidemill.core.plan import Key

    world = World(make.Pipeline().obj())
    key = Key("TrainingPipeline", make.NAMESPACE, "churn")
    world.reconcile(key)
    assert world.condition("TrainingPipeline", "churn") == ("False", "CodeNotFound")
    world.put(make.ConfigMap().obj())
    world.reconcile(key)
    assert world.requeue[key] == 1  # what status says is not true any more
    run = Key("TrainingRun", make.NAMESPACE, world.names("TrainingRun")[0])
    world.reconcile(run)
    assert world.requeue[run] == 1  # to have seen the Job
    world.reconcile(key)
    assert world.condition("TrainingPipeline", "churn") == ("Unknown", "RunInProgress")
    world.reconcile(run)
    world.remove("Job", run.name)
    world.reconcile(run)
    assert world.run(run.name)["failure"]["reason"] == "JobDeleted"


def test_no_status_of_a_changed_spec_is_ready_before_its_run_has_ended() -> None:
    world = quickstart()
    world.train("a")
    world.change("TrainingPipeline", "churn", lambda o: o["spec"].update(parameters={"C": "0.5"}))
    seen = []
    for seconds in (0, 1, 5, 14, 5, 60):
        world.advance(seconds=seconds)
        world.settle()
        obj = world.get("TrainingPipeline", "churn")
        if obj["status"]["observedGeneration"] == obj["metadata"]["generation"]:
            seen.append(world.condition("TrainingPipeline", "churn"))
    assert seen and all(status != "True" for status, _ in seen)
    world.train("b")
    assert world.condition("TrainingPipeline", "churn") == ("True", "Trained")
