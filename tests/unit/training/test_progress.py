"""Where a run stands, from its Job and pods; and the failure that its pods' words amount to."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.support import builders_training as build
from tests.unit.training.make import NOW, ago

from tidemill.api.v1alpha1.training_run import TrainingRun
from tidemill.config import OperatorConfig
from tidemill.core.conditions import format_time
from tidemill.training.run.policy import failure
from tidemill.training.run.policy.progress import Progress, progress
from tidemill.training.run.snapshot import JobSeen, RunSnapshot

Obj = dict[str, Any]
GOING = {"metadata": {"deletionTimestamp": "2026-03-01T12:00:00Z"}}


def job(*, suspended: bool = False, outcome: str = "", containers: list[Obj] | None = None, **metadata: Any) -> Obj:
    meta = {"name": "churn-a", "namespace": "team", "uid": "uid-job", "creationTimestamp": format_time(ago(minutes=9))}
    template = {"metadata": {}, "spec": {"containers": containers or [{"name": "train", "image": "trainer:1"}]}}
    status = {"conditions": build.job_condition(outcome)} if outcome else {}
    if suspended:
        status = {"conditions": build.job_condition("Suspended")}
    return {"metadata": {**meta, **metadata}, "spec": {"template": template, "suspend": suspended}, "status": status}


def snapshot(found: Obj | None, *pods: Obj, status: Obj | None = None, **fields: Any) -> RunSnapshot:
    obj = {
        "apiVersion": "tidemill.io/v1alpha1",
        "kind": "TrainingRun",
        "metadata": {"name": "churn-a", "namespace": "team", "uid": "u"},
        "spec": {
            "pipeline": "churn",
            "key": "sha256:" + "1" * 64,
            "trigger": {"type": "CodeChanged", "message": "m", "time": format_time(ago(minutes=9))},
            "data": [{"name": "a", "uri": "builtin://iris"}],
            "code": {"digest": build.digest("c"), "entrypoint": "train:train", "configMap": {"name": "c"}},
            "image": "trainer:1",
            "store": {"uri": "pvc://store/churn"},
        },
        "status": status or {},
    }
    return RunSnapshot(
        object=obj,
        now=NOW,
        run=TrainingRun.model_validate(obj),
        config=OperatorConfig(),
        job=found,
        job_seen=fields.pop("job_seen", None),
        pods=pods,
        **fields,
    )


def pod(number: int = 1, **state: Any) -> Obj:
    return build.pod(job(), number, **state)


def ended(code: int, seconds_ago: float, **more: Any) -> Obj:
    finished = {"finishedAt": format_time(ago(seconds=seconds_ago)), "startedAt": format_time(ago(seconds=60))}
    return {"terminated": {**build.terminated(code), **finished, **more}}


def test_a_job_that_goes_is_waited_for() -> None:
    assert progress(snapshot(job(**GOING["metadata"]))) == Progress("Terminating")


def test_a_job_that_waits_in_a_queue_is_reported() -> None:
    assert progress(snapshot(job(suspended=True))) == Progress("Queued", "the Job waits in its queue", report=True)


@pytest.mark.parametrize(
    ("code", "seconds_ago", "phase", "until"),
    [
        (0, 60, "Terminating", None),
        (1, 1, "Terminating", NOW + timedelta(seconds=4)),
        (1, 4, "Terminating", NOW + timedelta(seconds=1)),
        (1, 5, "Running", None),
        (1, 60, "Running", None),
    ],
)
def test_a_pod_that_ended_is_given_five_seconds_before_another_try_is_told(
    code: int, seconds_ago: float, phase: str, until: Any
) -> None:
    found = progress(snapshot(job(), pod(**ended(code, seconds_ago))))
    assert (found.phase, found.until) == (phase, until)
    if phase == "Running":
        assert found.message == "attempt 1 ended with exit code 1; the Job starts another pod"
        assert found.report
        assert found.running_since == ago(seconds=60)


def test_a_run_has_run_since_its_first_pod_started_or_since_status_says() -> None:
    first = pod(1, **ended(1, 30))
    second = pod(2, running={"startedAt": format_time(ago(seconds=10))})
    fresh = pod(3)
    assert progress(snapshot(job(), first, second, fresh)).running_since is None, "the newest has not started"
    assert progress(snapshot(job(), first, second)).running_since == ago(seconds=60)
    known = {"runningSince": format_time(ago(seconds=99))}
    assert progress(snapshot(job(), first, second, status=known)).running_since == ago(seconds=99)
    seen = JobSeen(since=ago(minutes=5), started=ago(seconds=70))
    assert progress(snapshot(job(), second, job_seen=seen)).running_since == ago(seconds=70)


def test_of_several_reports_that_of_the_newest_pod_counts() -> None:
    old = pod(1, terminated=build.terminated(0, build.result("a")))
    new = pod(2, terminated=build.terminated(0, build.result("b")))
    found = progress(snapshot(job(outcome="Complete"), new, old))
    assert found.phase == "Complete"
    assert found.result is not None
    assert found.result.digest == build.digest("b")


def test_a_program_that_ended_well_and_reported_a_failure_has_failed() -> None:
    told = pod(1, terminated=build.terminated(0, build.failed("DataInvalid", "MissingTarget", "columns: a")))
    found = progress(snapshot(job(outcome="Complete"), told))
    assert found.phase == "Failed"
    assert found.failure is not None
    assert (found.failure.category, found.failure.reason) == ("DataInvalid", "MissingTarget")


@pytest.mark.parametrize(
    ("condition", "is_refused"),
    [
        ({"status": "True", "reason": "Rejected", "message": "ModelVersion churn-1 was refused"}, True),
        ({"status": "True", "reason": "Rejected", "message": "Job churn-a was refused"}, False),
        ({"status": "True", "reason": "NotOwned", "message": "ModelVersion churn-1 exists"}, False),
        ({"status": "False", "reason": "Rejected", "message": "ModelVersion churn-1 was refused"}, False),
    ],
)
def test_only_a_record_that_the_api_server_refused_ends_the_run(condition: Obj, is_refused: bool) -> None:
    stalled = {"type": "Stalled", "lastTransitionTime": format_time(NOW), **condition}
    given = snapshot(job(**GOING["metadata"]))
    given.object["status"] = {"conditions": [stalled]}
    assert progress(given).phase == ("Failed" if is_refused else "Terminating")


@pytest.mark.parametrize(("code", "told"), [(129, "signal 1"), (139, "signal 11")])
def test_a_container_that_was_killed_names_its_signal(code: int, told: str) -> None:
    found = failure.classify(snapshot(job(outcome="Failed"), pod(terminated=build.terminated(code))))
    assert found.reason == "Crashed"
    assert told in found.message


def test_the_trainers_own_word_counts_even_where_memory_ran_out_as_well() -> None:
    own = build.failed("UserError", "CodeFailed", "train.py, line 3")
    found = failure.classify(snapshot(job(outcome="Failed"), pod(terminated=build.terminated(137, own, "OOMKilled"))))
    assert found.reason == "CodeFailed"


def test_the_limit_that_is_told_is_the_trainers() -> None:
    limits = [{"name": "train", "image": "t"}, {"name": "proxy", "image": "p"}]
    for container, memory in zip(limits, ("1Gi", "9Gi"), strict=True):
        container["resources"] = {"limits": {"memory": memory}}  # type: ignore[assignment]
    killed = pod(terminated=build.terminated(137, reason="OOMKilled"))
    found = failure.classify(snapshot(job(outcome="Failed", containers=limits), killed))
    assert "limit (1Gi)" in found.message
