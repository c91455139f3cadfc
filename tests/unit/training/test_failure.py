"""Failures are sorted by who must act, from what trainer, pod and Job say."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import builders_training as make
from tests.unit.training.test_loop import quickstart

Obj = dict[str, Any]


USER = make.failed("UserError", "SyntaxError", "train.py, line 3: invalid syntax")
STOPPED = make.failed("Infrastructure", "Terminated", "the pod was stopped")
DISRUPTED = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "drain"}


@pytest.mark.parametrize(
    ("ended", "pod_status", "job_reason", "want"),
    [
        (make.terminated(42, USER), {}, "PodFailurePolicy", ("UserError", "SyntaxError", "line 3")),
        (
            make.terminated(42, make.failed("DataInvalid", "MissingTarget", "columns: a, b")),
            {},
            "PodFailurePolicy",
            ("DataInvalid", "MissingTarget", "columns: a, b"),
        ),
        (
            make.terminated(137, reason="OOMKilled"),
            {},
            "BackoffLimitExceeded",
            ("OutOfMemory", "OOMKilled", "limit (1Gi)"),
        ),
        (
            make.terminated(143, STOPPED),
            {},
            "DeadlineExceeded",
            ("Deadline", "DeadlineExceeded", "activeDeadlineSeconds (14400)"),
        ),
        (None, {}, "DeadlineExceeded", ("Deadline", "DeadlineExceeded", "was never seen running")),
        (
            make.terminated(143, STOPPED),
            {"reason": "Evicted", "message": "low on ephemeral-storage"},
            "BackoffLimitExceeded",
            ("Infrastructure", "Evicted", "ephemeral-storage"),
        ),
        (
            make.terminated(143, STOPPED),
            {"conditions": [DISRUPTED]},
            "BackoffLimitExceeded",
            ("Infrastructure", "Disrupted", "drain"),
        ),
        (make.terminated(143, STOPPED), {}, "BackoffLimitExceeded", ("Infrastructure", "Terminated", "stopped")),
        (make.terminated(137), {}, "BackoffLimitExceeded", ("Infrastructure", "Killed", "137")),
        (make.terminated(139), {}, "BackoffLimitExceeded", ("Infrastructure", "Crashed", "signal 11")),
        (make.terminated(42), {}, "PodFailurePolicy", ("UserError", "NoResult", "exit code 42")),
        (make.terminated(2, "usage: me"), {}, "BackoffLimitExceeded", ("UserError", "ExitCode", "usage: me")),
        (
            make.terminated(128, reason="StartError"),
            {},
            "BackoffLimitExceeded",
            ("UserError", "StartError", "exit code 128"),
        ),
        (None, {}, "BackoffLimitExceeded", ("Infrastructure", "BackoffLimitExceeded", "Job")),
    ],
    ids=[
        "the trainer's own word",
        "bad data",
        "out of memory",
        "deadline wins over stopped",
        "deadline before the pod ran",
        "evicted wins over stopped",
        "drained wins over stopped",
        "stopped by somebody",
        "killed",
        "segmentation fault",
        "final exit without a word",
        "a program's exit code",
        "command not found",
        "pods are gone",
    ],
)
def test_a_failed_job_is_classified(ended: Obj | None, pod_status: Obj, job_reason: str, want: tuple[str, ...]) -> None:
    world = quickstart()
    world.settle()
    run = world.names("TrainingRun")[0]
    if ended is not None:
        pod = make.pod(world.get("Job", run), terminated=ended)
        pod["status"].update(pod_status)
        world.put(pod)
        world.logs[pod["metadata"]["name"]] = "line one\nTraceback: boom\n"
    world.ends(run, "Failed", job_reason)
    world.settle()

    failure = world.run(run)["failure"]
    assert (failure["category"], failure["reason"]) == want[:2]
    assert want[2] in failure["message"]
    assert world.condition("TrainingRun", run, "Succeeded") == ("False", "Failed")
    if ended is not None:
        assert "Traceback: boom" in failure["log"]


AT_THE_DEADLINE: dict[str, tuple[Obj | None, Obj]] = {
    "the trainer was stopped": (make.terminated(143, STOPPED), {}),
    "the trainer had failed just before": (make.terminated(42, USER), {}),
    "a try had run out of memory": (make.terminated(137, reason="OOMKilled"), {}),
    "a try had crashed": (make.terminated(139), {}),
    "the pod was evicted": (make.terminated(143, STOPPED), {"reason": "Evicted", "message": "low on memory"}),
    "the pod was drained": (make.terminated(143, STOPPED), {"conditions": [DISRUPTED]}),
    "no pod is left": (None, {}),
}


@pytest.mark.parametrize("name", AT_THE_DEADLINE)
@pytest.mark.parametrize("seen", [False, True], ids=["never seen running", "seen running"])
def test_the_deadline_is_the_cause_whatever_the_pod_says(name: str, seen: bool) -> None:
    ended, pod_status = AT_THE_DEADLINE[name]
    world = quickstart()
    world.settle()
    run = world.names("TrainingRun")[0]
    if seen:
        world.kubelet_starts(run)
        world.settle()
    if ended is not None:
        pod = make.pod(world.get("Job", run), terminated=ended)
        pod["status"].update(pod_status)
        world.put(pod)
    world.ends(run, "Failed", "DeadlineExceeded")
    world.settle()

    failure = world.run(run)["failure"]
    assert (failure["category"], failure["reason"]) == ("Deadline", "DeadlineExceeded")
    assert "spec.run.activeDeadlineSeconds (14400)" in failure["message"]
    assert ("was never seen running" in failure["message"]) is (not seen and ended is None)


def test_a_completed_job_whose_result_is_lost_fails_instead_of_hanging() -> None:
    for message in ("", " \n"):
        world = quickstart()
        world.settle()
        run = world.names("TrainingRun")[0]
        world.put(make.pod(world.get("Job", run), terminated=make.terminated(0, message)))
        world.ends(run, "Complete", "CompletionsReached")
        world.settle()
        assert world.run(run)["failure"]["reason"] == "ResultLost"


def test_success_without_a_model_is_a_failure() -> None:
    world = quickstart()
    run = world.train("d", None, digest=None)
    assert world.run(run)["failure"]["reason"] == "ResultRefused"


def test_the_newest_try_counts() -> None:
    world = quickstart()
    world.settle()
    run = world.names("TrainingRun")[0]
    job = world.get("Job", run)
    world.put(make.pod(job, 1, terminated=make.terminated(1, make.failed("Infrastructure", "StorageUnavailable", "x"))))
    world.settle()
    assert "status TrainingRun" not in world.written()  # the Job may follow at once
    world.advance(seconds=20)
    world.settle()
    assert world.condition("TrainingRun", run, "Reconciling") == ("True", "Running")
    world.put(make.pod(job, 2, terminated=make.terminated(42, USER)))
    world.ends(run, "Failed", "PodFailurePolicy")
    world.settle()
    assert world.run(run)["failure"]["reason"] == "SyntaxError"


def test_what_a_failed_run_read_is_recorded_so_that_new_data_is_noticed() -> None:
    world = quickstart()
    world.settle()
    run = world.names("TrainingRun")[0]
    world.kubelet_finishes(run, {**USER, "data": {"customers": "rev-1"}, "rows": {"train": 3}}, 42)
    world.settle()

    assert world.run(run)["result"]["rows"] == {"train": 3}
    assert world.pipeline()["observed"]["data"] == {"customers": "rev-1"}


def test_texts_are_cut_to_what_a_status_holds() -> None:
    world = quickstart()
    world.settle()
    run = world.names("TrainingRun")[0]
    pod = make.pod(world.get("Job", run), terminated=make.terminated(42, make.failed("UserError", "Long", "x" * 9000)))
    world.put(pod)
    world.logs[pod["metadata"]["name"]] = "y" * 70000
    world.ends(run, "Failed", "PodFailurePolicy")
    world.settle()

    assert len(world.run(run)["failure"]["message"]) <= 4096
    assert len(world.run(run)["failure"]["log"]) <= 4096


def test_code_that_changed_while_the_pod_started_is_tried_again_by_itself() -> None:
    world = quickstart()  # no trigger codeChange
    world.train()
    request = {"tidemill.io/run-requested-at": "now"}
    world.change("TrainingPipeline", "churn", lambda o: o["metadata"].update(annotations=request))
    world.advance(seconds=1)
    world.settle()
    overtaken = world.names("TrainingRun")[-1]
    world.put(make.ConfigMap(train_py="newer").obj())
    world.advance(seconds=1)
    world.kubelet_finishes(overtaken, make.failed("UserError", "CodeChanged", "other digest"), 42)
    world.settle()

    run = world.get("TrainingRun", world.names("TrainingRun")[-1])
    assert run["metadata"]["name"] != overtaken
    assert run["spec"]["trigger"]["type"] == "CodeChanged"
    assert overtaken in run["spec"]["trigger"]["message"]
