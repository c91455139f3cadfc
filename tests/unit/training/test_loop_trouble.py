"""What goes wrong in a pipeline's life: missing pieces, bad input, crashes, deletions, and pods that never start."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import builders_training as make
from tests.unit.training.test_loop import quickstart, trigger
from tests.unit.training.world import World

from tidemill.config import OperatorConfig
from tidemill.engine import status as statuses
from tidemill.errors import Stalled

Obj = dict[str, Any]


def ready_message(world: World, name: str = "churn") -> str:
    """The message of Ready."""
    found = world.pipeline(name)["conditions"]
    return str(next(c["message"] for c in found if c["type"] == "Ready"))


# -- missing pieces and bad input -----------------------------------------------------------------------------------


def test_missing_code_is_waited_for_and_then_works() -> None:
    world = World(make.Pipeline().obj())
    world.settle()
    assert world.condition("TrainingPipeline", "churn", "Reconciling") == ("True", "CodeNotFound")
    assert "churn-code" in ready_message(world)
    assert world.names("TrainingRun") == []

    world.put(make.ConfigMap().obj())
    world.train()
    assert world.condition("TrainingPipeline", "churn") == ("True", "Trained")


def test_missing_data_and_a_missing_key_are_waited_for() -> None:
    world = quickstart(make.Pipeline().data("configmap://rows/d.csv"))
    world.settle()
    assert world.condition("TrainingPipeline", "churn", "Reconciling") == ("True", "DataNotFound")
    world.put(make.ConfigMap("rows", other_csv="1").obj())
    world.settle()
    assert "has no key d.csv; keys there: other.csv" in ready_message(world)
    world.put(make.ConfigMap("rows", d_csv="1").obj())
    world.train()
    assert world.condition("TrainingPipeline", "churn") == ("True", "Trained")


def test_an_entrypoint_in_no_file_names_the_modules_that_exist() -> None:
    world = World(make.Pipeline().obj(), make.ConfigMap(fit_py="x", readme_md="y").obj())
    world.settle()

    assert world.condition("TrainingPipeline", "churn", "Stalled") == ("True", "InvalidEntrypoint")
    assert "no key train.py; modules there: fit" in ready_message(world)
    world.put(make.ConfigMap().obj())
    world.settle()
    assert len(world.names("TrainingRun")) == 1


@pytest.mark.parametrize(
    ("pipeline", "reason", "words"),
    [
        (make.Pipeline().triggers(schedule={"cron": "61 * * * *"}), "InvalidSchedule", ("cron", "0 to 59")),
        (make.Pipeline().triggers(schedule={"cron": "59 23 31 2 *"}), "InvalidSchedule", ("never fires",)),
        (
            make.Pipeline().triggers(schedule={"cron": "@daily", "timeZone": "Europe/Atlantis"}),
            "InvalidSchedule",
            ("timeZone", "Europe/Berlin"),
        ),
        (make.Pipeline().data("builtin://titanic"), "InvalidData", ("spec.data[name=a].uri", "builtin://iris")),
        (make.Pipeline().data("configmap://rows"), "InvalidData", ("configmap://name/key",)),
        (make.Pipeline().data("pvc://lake/../x"), "InvalidData", ("'..'",)),
        (make.Pipeline().spec(artifacts={"uri": "pvc://a/../b"}), "InvalidArtifacts", ("spec.artifacts.uri",)),
    ],
    ids=["cron out of range", "cron never fires", "zone", "builtin", "no key", "path", "store"],
)
def test_what_the_schema_cannot_catch_stalls_and_names_field_and_values(
    pipeline: make.Pipeline, reason: str, words: tuple[str, ...]
) -> None:
    world = quickstart(pipeline)
    world.settle()

    assert world.condition("TrainingPipeline", "churn", "Stalled") == ("True", reason)
    assert world.names("TrainingRun") == []
    for word in words:
        assert word in ready_message(world)


def test_a_job_that_the_api_server_refuses_fails_the_run() -> None:
    world = quickstart()
    world.settle()
    run = world.names("TrainingRun")[0]
    world.remove("Job", run)
    world.restart()

    def refuse(obj: Obj) -> None:
        verdict = Stalled("Rejected", "requests > limits")
        obj["status"] = statuses.stalled(obj, verdict, make.NOW)  # what the engine writes

    world.change("TrainingRun", run, refuse)
    world.settle()

    assert world.run(run)["failure"]["category"] == "UserError"
    assert "requests > limits" in world.run(run)["failure"]["message"]


# -- crashes --------------------------------------------------------------------------------------------------------


def test_a_crash_before_every_status_write_doubles_no_run_and_no_version() -> None:
    world = quickstart(make.Pipeline().triggers(codeChange={}))
    world.crash_before_status = True
    for _ in range(3):
        world.settle()
        world.restart()
    run = world.names("TrainingRun")[0]
    world.kubelet_finishes(run, make.result())
    for _ in range(3):
        world.settle()
        world.restart()
    assert world.names("TrainingRun") == [run]
    assert world.names("Job") == [run]
    assert world.names("ModelVersion") == ["churn-1"]

    world.crash_before_status = False
    world.settle()
    assert world.names("TrainingRun") == [run]
    assert world.run(run)["version"] == "churn-1"
    assert world.pipeline()["champion"]["version"] == "churn-1"


@pytest.mark.parametrize("ask", ["hand", "monitor", "schedule"])
def test_a_crash_right_after_a_run_was_requested_serves_the_request_once(ask: str) -> None:
    triggers: Obj = {"hand": {}, "monitor": {"monitors": {}}, "schedule": {"schedule": {"cron": "0 * * * *"}}}[ask]
    world = quickstart(make.Pipeline().triggers(**triggers))
    world.train()
    if ask == "hand":
        request = {"tidemill.io/run-requested-at": "now"}
        world.change("TrainingPipeline", "churn", lambda o: o["metadata"].update(annotations=request))
    elif ask == "monitor":
        world.put(make.Monitor("watch").asks("r-1").obj())
        world.put(make.ConfigMap(train_py="better").obj())
    world.advance(hours=1 if ask == "schedule" else 0, seconds=1)
    world.crash_before_status = True
    world.settle()
    world.restart()
    world.settle()
    world.kubelet_finishes(world.names("TrainingRun")[-1], make.result("f"))
    world.settle()
    world.restart()
    world.crash_before_status = False
    world.settle()
    world.settle()

    assert len(world.names("TrainingRun")) == 2
    assert world.names("ModelVersion") == ["churn-1", "churn-2"]


# -- deletions ------------------------------------------------------------------------------------------------------


def test_a_job_deleted_in_mid_flight_fails_the_run_and_is_not_made_again() -> None:
    world = quickstart()
    world.settle()
    run = world.names("TrainingRun")[0]
    world.kubelet_starts(run)
    world.settle()
    world.remove("Job", run)
    world.restart()
    world.settle()

    failure = world.run(run)["failure"]
    assert (failure["category"], failure["reason"]) == ("Infrastructure", "JobDeleted")
    assert world.names("Job") == []


def test_the_job_of_a_finished_run_may_vanish() -> None:
    world = quickstart()
    run = world.train()
    world.remove("Job", run)
    world.written()
    world.restart()
    world.settle()

    assert world.written() == []
    assert world.condition("TrainingRun", run, "Succeeded") == ("True", "Succeeded")


def test_a_run_deleted_in_mid_flight_is_not_made_again_until_somebody_asks() -> None:
    world = quickstart()
    world.settle()
    run = world.names("TrainingRun")[0]
    world.kubelet_starts(run)
    world.settle()
    world.remove("TrainingRun", run)
    world.settle()
    assert world.names("TrainingRun") == []
    assert world.condition("TrainingPipeline", "churn", "Stalled") == ("True", "RunDeleted")

    request = {"tidemill.io/run-requested-at": "again"}
    world.change("TrainingPipeline", "churn", lambda o: o["metadata"].update(annotations=request))
    world.train()
    assert world.condition("TrainingPipeline", "churn") == ("True", "Trained")


def test_a_deleted_pipeline_takes_its_runs_and_versions_along() -> None:
    world = quickstart()
    world.train()
    world.remove("TrainingPipeline", "churn")
    world.settle()

    assert world.names("TrainingRun") == world.names("ModelVersion") == world.names("Job") == []
    assert world.names("PersistentVolumeClaim") == ["tidemill-artifacts"]


def test_a_deleted_champion_makes_the_next_older_approved_version_champion_and_its_number_is_not_reused() -> None:
    world = quickstart(make.Pipeline().triggers(codeChange={}))
    world.train()
    world.put(make.ConfigMap(train_py="2").obj())
    world.train("f")
    world.remove("ModelVersion", "churn-2")
    world.settle()
    assert world.pipeline()["champion"]["version"] == "churn-1"
    world.put(make.ConfigMap(train_py="3").obj())
    world.advance(seconds=1)
    world.train("c")

    assert world.names("ModelVersion") == ["churn-1", "churn-3"]


# -- pods that do not start -----------------------------------------------------------------------------------------


def pending(world: World, **state: Any) -> str:
    """A run whose pod waits; returns the run's name."""
    world.settle()
    run = world.names("TrainingRun")[0]
    world.put(make.pod(world.get("Job", run), **state))
    world.settle()
    return run


def test_an_image_that_does_not_exist_is_shown_at_once_and_fails_at_the_pending_deadline() -> None:
    world = quickstart(make.Pipeline().spec(image="nowhere.invalid/x:1", run={"pendingDeadlineSeconds": 60}))
    run = pending(world, waiting={"reason": "ErrImagePull", "message": "x"})
    assert world.condition("TrainingRun", run, "Reconciling") == ("True", "CannotStart")
    before = world.written()
    assert before.count("status TrainingRun") == 1
    world.put(make.pod(world.get("Job", run), waiting={"reason": "ImagePullBackOff", "message": "y"}))
    world.settle()
    assert world.written() == []  # the kubelet's two words for one cause are one
    world.advance(seconds=61)
    world.settle()

    failure = world.run(run)["failure"]
    assert failure["category"] == "ImagePull"
    assert "nowhere.invalid/x:1" in failure["message"]
    assert "pendingDeadlineSeconds (60)" in failure["message"]
    assert world.names("Job") == []


def test_an_image_name_that_can_never_work_fails_at_once() -> None:
    world = quickstart(make.Pipeline().spec(image="Not A Name"))
    run = pending(world, waiting={"reason": "InvalidImageName", "message": "x"})

    assert world.run(run)["failure"]["category"] == "ImagePull"


def test_a_pod_that_no_node_takes_is_unschedulable() -> None:
    world = quickstart(make.Pipeline().spec(run={"pendingDeadlineSeconds": 60}))
    world.settle()
    run = world.names("TrainingRun")[0]
    pod = make.pod(world.get("Job", run))
    pod["status"]["conditions"] = [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes: insufficient cpu"}
    ]
    world.put(pod)
    world.settle()
    world.advance(seconds=62)
    world.settle()

    assert world.run(run)["failure"]["category"] == "Unschedulable"
    assert "insufficient cpu" in world.run(run)["failure"]["message"]


def test_a_job_without_a_pod_and_a_pod_without_a_cause_say_where_to_look() -> None:
    for has_pod, words in ((False, "describe job"), (True, "ConfigMap churn-code")):
        world = quickstart(make.Pipeline().spec(run={"pendingDeadlineSeconds": 30}))
        world.settle()
        run = world.names("TrainingRun")[0]
        if has_pod:
            world.put(make.pod(world.get("Job", run)))
        world.advance(seconds=32)
        world.settle()
        assert words in world.run(run)["failure"]["message"]


def test_time_in_a_queue_does_not_count_as_pending() -> None:
    world = quickstart(make.Pipeline().spec(queueName="team-a", run={"pendingDeadlineSeconds": 30}))
    world.settle()
    run = world.names("TrainingRun")[0]
    job = world.change("Job", run, lambda o: o["spec"].update(suspend=True))
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
    world.advance(hours=3)
    world.settle()

    assert world.condition("TrainingRun", run, "Reconciling") == ("True", "Queued")


# -- limits ---------------------------------------------------------------------------------------------------------


def test_a_change_during_a_run_is_kept_as_the_one_pending_trigger() -> None:
    world = quickstart(make.Pipeline().triggers(codeChange={}))
    world.settle()
    run = world.names("TrainingRun")[0]
    world.kubelet_starts(run)
    world.put(make.ConfigMap(train_py="2").obj())
    world.settle()
    world.put(make.ConfigMap(train_py="3").obj())
    world.advance(seconds=20)
    world.settle()
    assert world.pipeline()["pendingTrigger"]["type"] == "NeverTrained"
    assert world.names("TrainingRun") == [run]
    world.advance(seconds=3)
    world.train("d", run)

    assert len(world.names("TrainingRun")) == 2
    assert trigger(world, world.names("TrainingRun")[-1])["type"] == "CodeChanged"


def test_the_shortest_interval_holds_everything_but_requests_by_hand() -> None:
    world = quickstart(make.Pipeline().triggers(codeChange={}, minIntervalSeconds=3600))
    world.train()
    world.put(make.ConfigMap(train_py="2").obj())
    world.settle()
    assert world.pipeline()["pendingTrigger"] == {
        "type": "CodeChanged",
        "message": "the code changed",
        "notBefore": "2026-11-23T13:00:00Z",
    }
    request = {"tidemill.io/run-requested-at": "now"}
    world.change("TrainingPipeline", "churn", lambda o: o["metadata"].update(annotations=request))
    world.settle()
    assert trigger(world, world.names("TrainingRun")[-1])["type"] == "ManualRequested"
    world.train("f")
    assert "pendingTrigger" not in world.pipeline()  # the run by hand has trained the new code too


def test_most_runs_per_day_are_counted_over_24_hours() -> None:
    world = quickstart(make.Pipeline().triggers(codeChange={}, maxRunsPerDay=2))
    world.train()
    world.advance(hours=1)
    world.put(make.ConfigMap(train_py="2").obj())
    world.train("f")
    world.put(make.ConfigMap(train_py="3").obj())
    world.settle()
    assert len(world.names("TrainingRun")) == 2
    assert world.pipeline()["pendingTrigger"]["notBefore"] == "2026-11-24T12:00:00Z"
    world.advance(hours=23)
    world.settle()
    assert len(world.names("TrainingRun")) == 3


def test_three_refusals_in_a_row_slow_monitors_down_and_say_so() -> None:
    world = quickstart(make.Pipeline().gates({"metric": "roc_auc", "min": 0.9}).triggers(monitors={}))
    world.train()
    monitor = make.Monitor("watch")
    for number in range(3):
        world.advance(minutes=1)
        world.put(monitor.asks(f"r-{number}", time=world.clock.now()).obj())
        world.put(make.ConfigMap(train_py=f"attempt {number}").obj())
        world.train("f", None, metrics={"roc_auc": 0.1})
    assert len(world.names("TrainingRun")) == 4
    assert world.pipeline()["consecutiveFailures"] == 3
    assert world.condition("TrainingPipeline", "churn", "TriggersSlowed") == ("True", "RepeatedFailures")
    world.put(monitor.asks("r-9", time=world.clock.now()).obj())
    world.put(make.ConfigMap(train_py="another attempt").obj())
    world.settle()
    assert len(world.names("TrainingRun")) == 4
    world.advance(hours=1)
    run = world.train("c")

    assert trigger(world, run)["id"] == "r-9"
    assert world.condition("TrainingPipeline", "churn", "TriggersSlowed") == ("", "")


# -- names, retention, approval -------------------------------------------------------------------------------------


def test_a_63_character_name_fits_everywhere_and_two_of_them_share_nothing() -> None:
    one, two = "a" + "b" * 61 + "c", "a" + "b" * 61 + "d"
    world = World(make.Pipeline(one).obj(), make.Pipeline(two).obj(), make.ConfigMap().obj())
    world.settle()
    runs = world.names("TrainingRun")
    assert len(runs) == len(set(runs)) == 2
    for number, run in enumerate(runs):
        world.kubelet_finishes(run, make.result("df"[number], run=world.get("TrainingRun", run)))
    world.settle()

    names = [*runs, *world.names("Job"), *world.names("ModelVersion")]
    assert all(len(n) <= 63 for n in names)
    assert len(world.names("ModelVersion")) == 2
    for obj in world.objects.values():
        assert all(len(v) <= 63 for v in (obj["metadata"].get("labels") or {}).values())


def history_of(world: World, count: int) -> None:
    """Train some more versions, a minute apart."""
    start = len(world.names("TrainingRun")) + int(world.pipeline()["versions"])
    for number in range(start, start + count):
        world.advance(minutes=1)
        world.put(make.ConfigMap(train_py=f"version {number}").obj())
        world.train("0123456789abcdef"[number % 16])


def test_retention_removes_the_oldest_runs_and_versions_but_nothing_that_is_in_use() -> None:
    world = quickstart(make.Pipeline().spec(history={"runs": 2, "versions": 2}).triggers(codeChange={}))
    world.train()
    world.put(make.Deployment("churn").uses(stable="churn-1").obj())
    history_of(world, 4)
    assert len(world.names("TrainingRun")) == 2
    assert world.names("ModelVersion") == ["churn-1", "churn-5"]
    run = world.get("TrainingRun", world.names("TrainingRun")[-1])
    assert world.get("ModelVersion", "churn-1")["spec"]["digest"] in run["spec"]["keep"]

    world.put(make.Deployment("churn").uses(stable="churn-5").obj())
    history_of(world, 1)
    assert "churn-1" not in world.names("ModelVersion")


def test_a_previous_a_candidate_and_a_pinned_version_are_in_use() -> None:
    world = quickstart(make.Pipeline().spec(history={"versions": 1}).triggers(codeChange={}))
    world.train()
    world.put(make.Deployment("one").uses(previous="churn-1").obj())
    history_of(world, 1)
    world.put(make.Deployment("two").uses(candidate="churn-2").obj())
    history_of(world, 1)
    world.put(make.Deployment("three").spec(model={"pipeline": "churn", "number": 3}).obj())
    world.put(make.ConfigMap(train_py="last").obj())
    world.train("c")

    assert world.names("ModelVersion") == ["churn-1", "churn-2", "churn-3", "churn-4"]


def decide(world: World, version: str, **annotations: str) -> None:
    """Annotate a version as a person would."""
    found = {f"tidemill.io/{key}": value for key, value in annotations.items()}
    world.change("ModelVersion", version, lambda o: o["metadata"].setdefault("annotations", {}).update(found))
    world.settle()


@pytest.mark.slow
@pytest.mark.parametrize(
    "end",
    [
        pytest.param("", id="a digest"),
        pytest.param("\r", id="a digest and a carriage return"),
        pytest.param("\u202e", id="a digest and a change of direction"),
        pytest.param("x" * 2000, id="a text too long for a message"),
    ],
)
def test_another_digest_is_warned_of_once(end: str) -> None:
    """The message of Approved has it in another form where the annotation cannot stand in a message as it is."""
    world = quickstart(make.Pipeline().spec(approval="Manual"))
    world.train()
    decide(world, "churn-1", approve=make.digest("9") + end)
    for _ in range(3):
        world.settle()
        world.advance(minutes=5)
    assert [e.reason for e in world.events] == ["DigestMismatch"]
    assert world.condition("ModelVersion", "churn-1", "Approved") == ("Unknown", "DigestMismatch")


def test_manual_approval_waits_for_the_digest_and_remembers_the_decision() -> None:
    world = quickstart(make.Pipeline().spec(approval="Manual"))
    world.train()
    assert world.condition("ModelVersion", "churn-1", "Approved") == ("Unknown", "AwaitingApproval")
    assert world.condition("TrainingPipeline", "churn", "Reconciling") == ("True", "AwaitingApproval")
    assert world.condition("TrainingPipeline", "churn", "ApprovalPending") == ("True", "AwaitingApproval")

    decide(world, "churn-1", approve=make.digest("9"))
    assert world.condition("ModelVersion", "churn-1", "Approved") == ("Unknown", "DigestMismatch")
    assert [e.reason for e in world.events] == ["DigestMismatch"]

    decide(world, "churn-1", approve=make.digest("d"))
    assert world.condition("ModelVersion", "churn-1", "Approved") == ("True", "ApprovedByHand")
    assert world.pipeline()["champion"]["version"] == "churn-1"
    assert world.condition("TrainingPipeline", "churn") == ("True", "Trained")

    world.change("ModelVersion", "churn-1", lambda o: o["metadata"].update(annotations={}))
    world.settle()
    decision = world.get("ModelVersion", "churn-1")["status"]["decision"]
    assert (decision["approved"], decision["digest"]) == (True, make.digest("d"))


def test_a_rejection_stays_when_its_annotation_is_taken_away_although_an_approval_is_still_there() -> None:
    world = quickstart(make.Pipeline().spec(approval="Manual"))
    world.train("a")
    digest = world.get("ModelVersion", "churn-1")["spec"]["digest"]

    def annotate(**values: str | None) -> tuple[str, str]:
        def write(obj: Obj) -> None:
            found = obj["metadata"].setdefault("annotations", {})
            for name, value in values.items():
                found.pop(f"tidemill.io/{name}", None)
                if value is not None:
                    found[f"tidemill.io/{name}"] = value

        world.advance(seconds=1)
        world.change("ModelVersion", "churn-1", write)
        world.settle()
        return world.condition("ModelVersion", "churn-1", "Approved")

    assert annotate(approve=digest) == ("True", "ApprovedByHand")
    assert annotate(reject=digest) == ("False", "RejectedByHand")
    assert annotate(reject=None) == ("False", "RejectedByHand"), "taking an annotation away changes nothing"
    assert annotate(approve=None) == ("False", "RejectedByHand")
    assert annotate(approve=digest) == ("True", "ApprovedByHand"), "an approval that is set anew counts"
    for word in ("1764519000", "1764519001"):  # the command of docs/what-to-do.md, each time that it is needed
        assert annotate(reject=digest) == ("False", "RejectedByHand")
        assert annotate(reject=None, approve=f"{digest}/{word}") == ("True", "ApprovedByHand")
    assert annotate(reject=digest) == annotate(approve=f"{digest}/while-it-is-rejected") == ("False", "RejectedByHand")
    assert annotate(reject=None) == ("False", "RejectedByHand")
    assert annotate(approve=f"{digest}/after-it") == ("True", "ApprovedByHand")
    assert annotate(approve=None) == ("True", "ApprovedByHand")


def test_a_word_behind_the_digest_is_part_of_the_decision_and_bounded() -> None:
    world = quickstart(make.Pipeline().spec(approval="Manual"))
    world.train("a")
    digest = world.get("ModelVersion", "churn-1")["spec"]["digest"]

    def approve(value: str) -> Obj:
        world.advance(seconds=5)
        said = {"tidemill.io/approve": value}
        world.change("ModelVersion", "churn-1", lambda o: o["metadata"].setdefault("annotations", {}).update(said))
        world.settle()
        found: Obj = world.get("ModelVersion", "churn-1")["status"].get("decision") or {}
        return found

    assert approve(f"{make.digest('e')}/{digest}") == {}, "the digest stands first"
    assert world.condition("ModelVersion", "churn-1", "Approved") == ("Unknown", "DigestMismatch")
    plain = approve(digest)
    assert "word" not in plain
    again = approve(f"{digest}/again")
    assert again["word"] == "again" and again["time"] > plain["time"], "another approval, which lifts rollbacks"
    assert approve(f"{digest}/again") == again
    assert len(approve(f"{digest}/{'x' * 100_000}")["word"]) == 71


def test_a_rejected_version_never_becomes_champion() -> None:
    world = quickstart(make.Pipeline().triggers(codeChange={}))
    world.train()
    history_of(world, 1)
    decide(
        world,
        "churn-2",
        **{"reject": world.get("ModelVersion", "churn-2")["spec"]["digest"], "decision-comment": "biased"},
    )

    assert world.condition("ModelVersion", "churn-2", "Approved") == ("False", "RejectedByHand")
    assert world.get("ModelVersion", "churn-2")["status"]["decision"]["comment"] == "biased"
    assert world.pipeline()["champion"]["version"] == "churn-1"


def test_a_served_version_is_owned_by_its_deployments_too() -> None:
    world = quickstart()
    world.train()
    world.put(make.Deployment("churn").uses(stable="churn-1").obj())
    world.settle()
    version = world.get("ModelVersion", "churn-1")
    assert version["status"]["deployments"] == ["churn"]
    assert [(o["kind"], o["controller"]) for o in version["metadata"]["ownerReferences"]] == [
        ("TrainingPipeline", True),
        ("ModelDeployment", False),
    ]

    world.put(make.Deployment("churn").uses(stable="churn-9").obj())
    world.settle()
    version = world.get("ModelVersion", "churn-1")
    assert version["status"]["deployments"] == []
    assert [o["kind"] for o in version["metadata"]["ownerReferences"]] == ["TrainingPipeline"]


def test_a_pipeline_made_again_takes_over_what_its_predecessor_left_and_trains_once() -> None:
    world = quickstart()
    world.train()
    world.put(make.Deployment("churn").uses(stable="churn-1").obj())
    world.settle()
    world.remove("TrainingPipeline", "churn")
    assert world.names("ModelVersion") == ["churn-1"]  # it is served
    assert world.names("TrainingRun") == []

    again = make.Pipeline().obj()
    again["metadata"]["uid"] = "another"
    world.put(again)
    world.advance(seconds=1)
    run = world.train("f")
    assert trigger(world, run)["type"] == "NeverTrained"
    assert world.get("TrainingRun", run)["spec"]["keep"] == [make.digest("d")]
    assert world.get("TrainingRun", run)["spec"]["champion"]["version"] == "churn-1"
    assert world.names("ModelVersion") == ["churn-1", "churn-2"]
    owners = world.get("ModelVersion", "churn-1")["metadata"]["ownerReferences"]
    assert (owners[0]["kind"], owners[0]["uid"]) == ("TrainingPipeline", "another")


def test_a_version_of_a_person_never_gets_an_owner() -> None:
    world = quickstart()
    world.train()
    version = world.get("ModelVersion", "churn-1")
    meta = {"name": "mine", "namespace": make.NAMESPACE, "uid": "mine"}
    world.put({**version, "metadata": meta, "status": {"observedGeneration": -1}})
    world.put(make.Deployment("churn").uses(stable="mine").obj())
    world.settle()

    assert "ownerReferences" not in world.get("ModelVersion", "mine")["metadata"]
    assert world.get("ModelVersion", "mine")["status"]["deployments"] == ["churn"]


# -- probes ---------------------------------------------------------------------------------------------------------


def probe_name(world: World) -> str | None:
    """The probe Job that exists now."""
    return next((n for n in world.names("Job") if "-probe-" in n), None)


def answer(world: World, revision: str | None, error: str | None = None) -> None:
    """Let the probe end with what it found."""
    import json

    name = probe_name(world)
    assert name is not None
    found = {"revisions": {"a": revision} if revision else {}, "errors": {"a": error} if error else {}}
    world.advance(seconds=2)
    world.put(make.pod(world.get("Job", name), terminated=make.terminated(0, json.dumps(found))))
    world.ends(name, "Complete", "CompletionsReached")
    world.settle()


def lake() -> World:
    """A trained pipeline on a bucket that is polled every 60 s and settles for 30 s."""
    pipeline = make.Pipeline().data("s3://lake/rows").triggers(dataChange={"pollSeconds": 60, "settleSeconds": 30})
    world = quickstart(pipeline)
    world.train("d", None, data={"a": "one"})
    return world


def test_a_bucket_is_probed_and_new_data_trains_after_a_second_look() -> None:
    world = lake()
    answer(world, "one")
    assert probe_name(world) is None  # deleted after reading
    world.advance(seconds=70)
    world.settle()
    answer(world, "two")
    assert world.pipeline()["data"][0]["revision"] == "two"
    assert len(world.names("TrainingRun")) == 1
    world.advance(seconds=30)
    world.settle()
    answer(world, "two")

    run = world.names("TrainingRun")[-1]
    assert (trigger(world, run)["from"], trigger(world, run)["to"]) == ("one", "two")
    assert trigger(world, run)["type"] == "DataChanged"


def test_a_bucket_that_cannot_be_read_is_a_condition_and_trains_nothing() -> None:
    world = lake()
    answer(world, None, "403 AccessDenied")

    assert world.condition("TrainingPipeline", "churn", "SourcesReadable") == ("False", "ProbeFailed")
    assert world.condition("TrainingPipeline", "churn") == ("True", "Trained")
    assert len(world.names("TrainingRun")) == 1


@pytest.mark.parametrize(
    ("reported", "error"),
    [
        ({"revisions": {"a": "r" * 513}}, "the probe reported a revision that is not 1 to 512 printable characters"),
        ({"revisions": {"a": "two\nlines"}}, "the probe reported a revision"),
        ({"errors": {"a": "gone\x1b[2J" + "e" * 3000}}, "gone\N{REPLACEMENT CHARACTER}[2Jeee"),
        ({"revisions": {"b": "of another input"}}, None),
    ],
)
def test_a_probes_report_is_believed_as_far_as_it_can_be_one(reported: Obj, error: str | None) -> None:
    """Whoever may exec into a pod of the namespace can write it."""
    world = quickstart(make.Pipeline().data("s3://bucket/x").triggers(dataChange={}))
    world.train()
    probe = next(n for n in world.names("Job") if "-probe-" in n)
    world.kubelet_finishes(probe, reported)
    world.settle()
    (state,) = world.pipeline()["data"]
    assert (state.get("error") or "").startswith(error or "")
    assert len(state.get("error") or "") <= 1024
    assert "revision" not in state or state["revision"] == make.digest("a")
    assert world.names("TrainingRun") == world.names("TrainingRun")[:1]


def test_a_restart_between_probe_and_reading_probes_once() -> None:
    world = lake()
    name = probe_name(world)
    world.restart()
    world.settle()
    assert [n for n in world.names("Job") if "-probe-" in n] == [name]


def test_an_idle_polled_pipeline_writes_three_times_a_poll() -> None:
    world = lake()
    answer(world, "one")
    world.written()
    world.advance(seconds=70)
    world.settle()
    answer(world, "one")

    assert sorted(world.written()) == ["apply Job", "delete Job", "status TrainingPipeline"]


# -- the namespace's store ------------------------------------------------------------------------------------------


def test_the_default_claim_is_made_once_and_belongs_to_nobody() -> None:
    config = OperatorConfig(artifact_claim_size="5Gi", artifact_claim_storage_class="fast")
    world = World(make.Pipeline("one").obj(), make.Pipeline("two").obj(), make.ConfigMap().obj(), config=config)
    world.settle()

    claim = world.get("PersistentVolumeClaim", "tidemill-artifacts")
    assert "ownerReferences" not in claim["metadata"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "5Gi"
    assert claim["spec"]["storageClassName"] == "fast"
    assert world.written().count("apply PersistentVolumeClaim") == 1


def test_a_pipeline_with_its_own_store_makes_no_claim() -> None:
    world = quickstart(make.Pipeline().spec(artifacts={"uri": "s3://models/team", "secretRef": {"name": "lake"}}))
    world.settle()

    assert world.names("PersistentVolumeClaim") == []
    run = world.get("TrainingRun", world.names("TrainingRun")[0])
    own = make.STORE.rpartition("/")[2]
    assert run["spec"]["store"] == {"uri": f"s3://models/team/team-a/churn/{own}", "secretRef": {"name": "lake"}}


def test_pipelines_of_one_name_in_several_clusters_or_on_one_file_system_have_folders_of_their_own() -> None:
    """Each run deletes what its folder has and its pipeline does not keep."""
    folders = set()
    for artifacts in ({}, {"uri": "s3://models"}):
        for uid in ("staging", "production"):
            obj = make.Pipeline().spec(artifacts=artifacts).obj()
            world = World({**obj, "metadata": {**obj["metadata"], "uid": uid}}, make.ConfigMap().obj())
            world.settle()
            folders.add(world.get("TrainingRun", world.names("TrainingRun")[0])["spec"]["store"]["uri"])
    assert len(folders) == 4
