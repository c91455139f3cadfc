"""What the cluster refuses a run is named on the run and on its pipeline, within 20 s, and gone when the cause is."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import builders_training as make
from tests.unit.core.causes import CONFIG_MAP, LIMIT_RANGE, LIMIT_RANGE_TEXT, QUOTA, QUOTA_TEXT, SANDBOX
from tests.unit.training.test_loop import quickstart
from tests.unit.training.world import World

from tidemill.core.podfailure import LOOK_SECONDS, SILENT_SECONDS

Obj = dict[str, Any]
UNSCHEDULABLE = {
    "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes: Insufficient memory",
}  # fmt: skip
GATED = {**UNSCHEDULABLE, "reason": "SchedulingGated", "message": "Scheduling is blocked"}
ON_A_NODE = {"type": "PodScheduled", "status": "True"}


def begun(world: World) -> str:
    """The run that has just begun, with a Job."""
    world.settle()
    return world.names("TrainingRun")[-1]


def put_pod(world: World, run: str, *conditions: Obj, **state: Any) -> str:
    pod = make.pod(world.get("Job", run), **state)
    pod["status"]["conditions"] = list(conditions)
    world.put(pod)
    return str(pod["metadata"]["name"])


def message(world: World, kind: str, name: str, type_: str = "Ready") -> str:
    found = world.get(kind, name)["status"]["conditions"]
    return str(next(c["message"] for c in found if c["type"] == type_))


def no_pod(world: World, run: str, note: str) -> None:
    world.says("Job", run, "FailedCreate", note)


def stuck(world: World, run: str, reason: str, note: str) -> None:
    world.says("Pod", put_pod(world, run, ON_A_NODE, waiting={"reason": "ContainerCreating"}), reason, note)


CAUSES: dict[str, tuple[Any, tuple[str, ...]]] = {
    "quota": (lambda w, r: no_pod(w, r, QUOTA), ("FailedCreate", QUOTA_TEXT)),
    "LimitRange": (lambda w, r: no_pod(w, r, LIMIT_RANGE), ("FailedCreate", LIMIT_RANGE_TEXT)),
    "a ConfigMap that is missing": (lambda w, r: stuck(w, r, "FailedMount", CONFIG_MAP), ("FailedMount", CONFIG_MAP)),
    "no network": (lambda w, r: stuck(w, r, "FailedCreatePodSandBox", SANDBOX), ("FailedCreatePodSandBox", SANDBOX)),
    "an image that cannot be pulled": (
        lambda w, r: put_pod(w, r, ON_A_NODE, waiting={"reason": "ErrImagePull", "message": "x"}),
        ("ImagePull", "trainer", "cannot be pulled"),
    ),
    "no node": (lambda w, r: put_pod(w, r, UNSCHEDULABLE), ("Unschedulable", "Insufficient memory")),
    "a gate": (lambda w, r: put_pod(w, r, GATED), ("SchedulingGated", "blocked")),
    "a container that cannot be made": (
        lambda w, r: put_pod(w, r, ON_A_NODE, waiting={"reason": "CreateContainerConfigError", "message": "no secret"}),
        ("CreateContainerConfigError", "no secret"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CAUSES)
def test_a_cause_is_on_the_run_and_on_its_pipeline(name: str) -> None:
    happens, words = CAUSES[name]
    world = quickstart()
    run = begun(world)
    world.advance(seconds=1)
    happens(world, run)
    world.advance(seconds=LOOK_SECONDS)
    world.settle()
    assert world.condition("TrainingRun", run, "Reconciling") == ("True", "CannotStart")
    assert world.condition("TrainingPipeline", "churn") == ("Unknown", "RunCannotStart")
    said = [message(world, "TrainingRun", run), message(world, "TrainingRun", run, "Succeeded")]
    for text in (*said, message(world, "TrainingPipeline", "churn")):
        assert all(word in text for word in words), text
    world.written()
    world.advance(seconds=LOOK_SECONDS)
    world.settle()
    assert world.written() == [], "the same cause is written once"


@pytest.mark.parametrize("name", CAUSES)
def test_when_the_cause_is_gone_the_run_goes_on(name: str) -> None:
    world = quickstart()
    run = begun(world)
    CAUSES[name][0](world, run)
    world.advance(seconds=LOOK_SECONDS)
    world.settle()
    world.kubelet_starts(run)
    world.settle()
    assert world.condition("TrainingRun", run) == ("Unknown", "Running")
    assert world.condition("TrainingPipeline", "churn") == ("Unknown", "RunInProgress")
    world.train()
    assert world.condition("TrainingPipeline", "churn") == ("True", "Trained")


def test_events_are_looked_at_again_and_again_and_never_of_what_just_began() -> None:
    world = quickstart()
    asked: list[str] = []
    events_about = world.client.events_about

    async def counted(namespace: str, uid: str) -> Any:
        asked.append(uid)
        return await events_about(namespace, uid)

    world.client.events_about = counted  # type: ignore[method-assign]
    run = begun(world)
    world.advance(seconds=SILENT_SECONDS - 1)
    world.settle()
    assert asked == []
    key = next(k for k in world.requeue if k.kind == "TrainingRun")
    assert (world.requeue[key] or 999) <= LOOK_SECONDS
    world.advance(seconds=1)
    world.settle()
    assert asked == [world.get("Job", run)["metadata"]["uid"]]
    world.kubelet_starts(run)
    world.advance(hours=1)
    world.settle()
    assert len(asked) == 1, "what runs is not asked about"


def test_a_pipeline_whose_spec_is_in_force_stays_ready_and_says_it_too() -> None:
    world = quickstart(make.Pipeline().triggers(codeChange={}))
    world.train()
    world.put(make.ConfigMap(train_py="better").obj())
    run = begun(world)
    no_pod(world, run, QUOTA)
    world.advance(seconds=LOOK_SECONDS)
    world.settle()
    assert world.condition("TrainingPipeline", "churn") == ("True", "RunCannotStart")
    assert QUOTA_TEXT in message(world, "TrainingPipeline", "churn")


def test_a_run_without_room_fails_at_its_deadline_with_the_cause_and_is_tried_again() -> None:
    world = quickstart(make.Pipeline().spec(run={"pendingDeadlineSeconds": 60}))
    run = begun(world)
    no_pod(world, run, QUOTA)
    world.advance(seconds=61)
    world.settle()
    failure = world.run(run)["failure"]
    assert (failure["category"], failure["reason"]) == ("Infrastructure", "FailedCreate")
    assert QUOTA_TEXT in failure["message"] and "pendingDeadlineSeconds (60)" in failure["message"]
    assert world.condition("TrainingPipeline", "churn", "Reconciling") == ("True", "RunFailed")
    world.advance(minutes=2)
    world.settle()
    again = world.names("TrainingRun")[-1]
    assert again != run
    world.train(name=again)
    assert world.condition("TrainingPipeline", "churn") == ("True", "Trained")


def test_why_an_attempt_ended_is_on_the_run_and_on_its_pipeline_before_the_last_one() -> None:
    """A Secret that is missing: the pod itself says so, since a volume would hold it back without a word."""
    world = quickstart()
    run = begun(world)
    text = "Secret lake does not exist or holds none of AWS_ACCESS_KEY_ID"
    report = make.failed("Infrastructure", "SecretNotFound", text)
    world.put(make.pod(world.get("Job", run), terminated=make.terminated(1, report)))
    world.advance(seconds=20)
    world.settle()
    for kind, name in (("TrainingRun", run), ("TrainingPipeline", "churn")):
        assert f"SecretNotFound: {text}" in message(world, kind, name)
    assert "attempt 1" in message(world, "TrainingRun", run)


def test_an_attempt_that_leaves_no_room_for_the_next_is_told() -> None:
    world = quickstart()
    run = begun(world)
    world.put(make.pod(world.get("Job", run), terminated=make.terminated(1)))
    no_pod(world, run, QUOTA)
    world.advance(seconds=20)
    world.settle()
    assert world.condition("TrainingRun", run) == ("Unknown", "CannotStart")
    assert "attempt 1 ended with exit code 1; the next pod cannot start: FailedCreate" in message(
        world, "TrainingRun", run
    )


def test_a_job_that_the_api_server_does_not_let_be_made_is_on_the_pipeline_too() -> None:
    """As with a quota of count/jobs.batch: the engine writes onto the run what it was answered."""
    world = quickstart()
    run = begun(world)
    world.remove("Job", run)
    text = "the API server refused: jobs.batch is forbidden: exceeded quota: team"

    def failing(obj: Obj) -> None:
        why = {"status": "False", "reason": "ReconcileError", "message": text}
        conditions = [{**c, **(why if c["type"] == "Ready" else {})} for c in obj["status"]["conditions"]]
        obj["status"] = {**obj["status"], "observedGeneration": 1, "conditions": conditions}

    world.change("TrainingRun", run, failing)
    pipeline = next(k for k in world.requeue if k.kind == "TrainingPipeline")
    world.reconcile(pipeline)
    assert world.condition("TrainingPipeline", "churn") == ("Unknown", "RunCannotStart")
    assert text in message(world, "TrainingPipeline", "churn")


PROBED = make.Pipeline().data("s3://lake/customers").triggers(dataChange={"pollSeconds": 60})


def test_a_check_of_inputs_that_cannot_start_is_on_the_pipeline() -> None:
    world = quickstart(PROBED)
    world.train()
    job = next(n for n in world.names("Job") if "-probe-" in n)
    world.says("Job", job, "FailedCreate", QUOTA)
    world.advance(seconds=LOOK_SECONDS)
    world.settle()
    assert world.condition("TrainingPipeline", "churn", "SourcesReadable") == ("False", "ProbeFailed")
    assert QUOTA_TEXT in message(world, "TrainingPipeline", "churn", "SourcesReadable")
    key = next(k for k in world.requeue if k.kind == "TrainingPipeline")
    assert (world.requeue[key] or 999) <= LOOK_SECONDS


@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_a_decision_by_annotation_names_the_annotation_and_no_person(decision: str) -> None:
    world = quickstart(make.Pipeline().spec(approval="Manual"))
    world.train()
    digest = world.get("ModelVersion", "churn-1")["spec"]["digest"]
    given = {f"tidemill.io/{decision}": digest, "tidemill.io/decision-comment": "approved by the board"}
    world.change("ModelVersion", "churn-1", lambda o: o["metadata"].setdefault("annotations", {}).update(given))
    world.settle()
    text = message(world, "ModelVersion", "churn-1", "Approved")
    verb = {"approve": "approved", "reject": "rejected"}[decision]
    assert text == (f'{verb}: annotation tidemill.io/{decision} names this digest; comment: "approved by the board"')
    assert world.get("ModelVersion", "churn-1")["status"]["decision"]["by"] == f"annotation tidemill.io/{decision}"
