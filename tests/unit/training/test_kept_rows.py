"""Rows that a deployment keeps as an input of a pipeline: where they are, when there are enough, what a run is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support import builders_training as make
from tests.unit.training.world import World

from tidemill.api.v1alpha1.training_pipeline import TrainingPipeline
from tidemill.core.plan import Key
from tidemill.kube.cache import Cache
from tidemill.training import reconcilers
from tidemill.training.pipeline import observe
from tidemill.training.pipeline.policy.inputs import outcome_digest
from tidemill_contracts.training import CONFIG_ENV, PROBE_ENV, ProbeConfig, TrainerConfig

Obj = dict[str, Any]
PAYLOADS = {"purpose": "training", "uri": "s3://lake/log", "secretRef": {"name": "lake"}}
FOLDER = "s3://lake/log/team-a/churn"
CLIENT = "0123456789abcdef"


def rev(number: int, letter: str = "a") -> str:
    """A revision up to this file."""
    return f"{make.digest(letter)};aaaaaaaa-{number}"


def deployment(**payloads: Any) -> Obj:
    return make.Deployment("churn").spec(logging={"payloads": {**PAYLOADS, **payloads}}).obj()


def watching(**status: Any) -> Obj:
    return make.Monitor("churn-watch").spec(deployment="churn").status(**status).obj()


def pipeline(**feedback: Any) -> make.Pipeline:
    source: Obj = {"name": "fresh", "uri": "feedback://churn"}
    return make.Pipeline().spec(data=[{**source, "feedback": feedback} if feedback else source], target="label")


def world(*objects: Obj, of: make.Pipeline | None = None) -> World:
    found = World((of or pipeline()).obj(), make.ConfigMap().obj(), *objects)
    found.settle()
    return found


def keeping(**feedback: Any) -> World:
    """A pipeline on rows that are kept."""
    return world(deployment(), watching(), of=pipeline(**feedback))


def probe(found: World) -> str | None:
    return next((n for n in found.names("Job") if "-probe-" in n), None)


def asked(found: World) -> Any:
    """What the probe that goes on is told of the rows."""
    name = probe(found)
    assert name is not None
    (container,) = found.get("Job", name)["spec"]["template"]["spec"]["containers"]
    text = next(e["value"] for e in container["env"] if e["name"] == PROBE_ENV)
    return ProbeConfig.from_json(text).data[0].rows


def answer(found: World, revision: str | None, error: str | None = None) -> None:
    name = probe(found)
    assert name is not None
    said = {"revisions": {"fresh": revision} if revision else {}, "errors": {"fresh": error} if error else {}}
    found.advance(seconds=2)
    found.put(make.pod(found.get("Job", name), terminated=make.terminated(0, json.dumps(said))))
    found.ends(name, "Complete", "CompletionsReached")
    found.settle()


def message(found: World) -> str:
    conditions = found.pipeline()["conditions"]
    return next(str(c["message"]) for c in conditions if c["type"] == "Ready")


def trained(found: World, revision: str, letter: str = "d") -> str:
    return found.train(letter, data={"fresh": revision})


@pytest.mark.parametrize(
    ("objects", "told"),
    [
        ((), "ModelDeployment churn does not exist in namespace team-a"),
        ((make.Deployment("churn").obj(),), "ModelDeployment churn keeps no rows: set spec.logging.payloads there"),
        (
            (deployment(columns=[]), watching()),
            "ModelDeployment churn keeps no inputs: spec.logging.payloads.columns is empty there",
        ),
        (
            (deployment(),),
            "ModelDeployment churn keeps no rows, as no ModelMonitor watches it: create one with spec.deployment churn",
        ),
        (
            (deployment(), make.Monitor("other").spec(deployment="fraud").obj()),
            "ModelDeployment churn keeps no rows, as no ModelMonitor watches it: create one with spec.deployment churn",
        ),
        ((deployment(uri="lake"), watching()), "its spec.logging.payloads: "),
    ],
)
def test_where_no_rows_are_kept_the_pipeline_waits_and_says_what_to_do(objects: tuple[Obj, ...], told: str) -> None:
    found = world(*objects)
    assert found.condition("TrainingPipeline", "churn") == ("False", "DataNotFound")
    assert found.condition("TrainingPipeline", "churn", "Reconciling") == ("True", "DataNotFound")
    assert message(found).startswith("spec.data[name=fresh].uri: ")
    assert told in message(found)
    assert not found.names("Job"), "nobody looks where nothing can be"


def test_a_pipeline_goes_on_when_rows_are_kept() -> None:
    found = world()
    for obj in (deployment(), watching()):
        found.put(obj)
    found.settle()
    assert found.condition("TrainingPipeline", "churn") == ("False", "TooFewLabels")
    answer(found, rev(3))
    assert found.names("TrainingRun")


def test_the_first_run_waits_for_labels_and_says_how_many_are_missing() -> None:
    found = keeping(minNewRows=50)
    assert "is being looked up" in message(found)
    assert asked(found).min_new_rows == 50
    few = "feedback://churn has 3 rows with a label; spec.data[name=fresh].feedback.minNewRows is 50"
    answer(found, None, f"TooFewLabels: {few}")
    assert found.condition("TrainingPipeline", "churn") == ("False", "TooFewLabels")
    assert message(found).startswith(f"spec.data[name=fresh].uri: {few}; a row counts when its label has come")
    assert found.condition("TrainingPipeline", "churn", "SourcesReadable") == ("", ""), "they could be read"
    assert not found.names("TrainingRun")
    assert probe(found) is None
    found.advance(seconds=340)
    found.settle()
    answer(found, rev(9))
    (run,) = found.names("TrainingRun")
    assert found.get("TrainingRun", run)["spec"]["trigger"]["type"] == "NeverTrained"


def test_rows_that_cannot_be_read_are_another_condition() -> None:
    found = keeping()
    answer(found, None, "AccessDenied: cannot list s3://lake/log")
    assert found.condition("TrainingPipeline", "churn") == ("False", "ProbeFailed")
    assert "AccessDenied" in message(found)
    assert found.condition("TrainingPipeline", "churn", "SourcesReadable") == ("False", "ProbeFailed")


def test_a_run_is_told_where_the_rows_are_and_up_to_where_it_takes_them() -> None:
    found = keeping(maxRows=5000, suspectedClients="LeaveOut")
    found.put(watching(suspectedClients=[CLIENT, "no hash"]))
    answer(found, rev(3))
    (run,) = found.names("TrainingRun")
    (source,) = found.get("TrainingRun", run)["spec"]["data"]
    assert source["revision"] == rev(3)
    assert source["rows"] == {"uri": FOLDER, "secretRef": {"name": "lake"}, "suspectedClients": [CLIENT]}
    pod = found.get("Job", run)["spec"]["template"]["spec"]
    config = TrainerConfig.from_json(next(e["value"] for e in pod["containers"][0]["env"] if e["name"] == CONFIG_ENV))
    rows = config.data[0].rows
    assert rows is not None
    assert (rows.uri, rows.secret, rows.max_rows, rows.leave_out, rows.suspected) == (
        FOLDER,
        "lake",
        5000,
        True,
        (CLIENT,),
    )
    assert rows.known is None, "of a probe only: a run takes its own revision"
    (secret,) = [v["secret"] for v in pod["volumes"] if "secret" in v]
    assert secret["secretName"] == "lake"
    assert "AWS_ACCESS_KEY_ID" in [item["key"] for item in secret["items"]]


def test_a_claim_of_kept_rows_is_mounted_read_only_and_attached_as_its_writer_needs_it() -> None:
    found = world(deployment(uri="pvc://lake/log", secretRef=None), watching())
    for job in (probe(found), None):
        if job is None:
            answer(found, rev(3))
            (job,) = found.names("TrainingRun")
        pod = found.get("Job", job)["spec"]["template"]["spec"]
        (volume,) = [v for v in pod["volumes"] if (v.get("persistentVolumeClaim") or {}).get("claimName") == "lake"]
        assert "readOnly" not in volume["persistentVolumeClaim"]
        (mount,) = [m for m in pod["containers"][0]["volumeMounts"] if m["name"] == volume["name"]]
        assert (mount["mountPath"], mount["readOnly"]) == ("/mnt/pvc/lake", True)


def test_new_rows_start_a_run_at_once_and_the_probe_is_told_what_the_last_run_took() -> None:
    found = world(
        deployment(), watching(), of=pipeline().triggers(dataChange={"pollSeconds": 60, "settleSeconds": 600})
    )
    answer(found, rev(3))
    trained(found, rev(3))
    found.advance(seconds=70)
    found.settle()
    assert asked(found).known == rev(3)
    answer(found, rev(3))
    assert len(found.names("TrainingRun")) == 1
    found.advance(seconds=70)
    found.settle()
    answer(found, rev(8))
    assert len(found.names("TrainingRun")) == 2, "a file that is written never changes: nothing has to settle"
    run = found.get("TrainingRun", found.names("TrainingRun")[-1])["spec"]
    assert run["trigger"]["type"] == "DataChanged"
    assert run["data"][0]["revision"] == rev(8)


def test_without_that_trigger_new_rows_start_no_run_and_the_next_one_takes_them() -> None:
    found = keeping()
    answer(found, rev(3))
    trained(found, rev(3))
    found.advance(seconds=340)
    found.settle()
    answer(found, rev(8))
    assert len(found.names("TrainingRun")) == 1
    found.change("TrainingPipeline", "churn", lambda o: o["spec"].update(parameters={"depth": "3"}))
    found.settle()
    run = found.get("TrainingRun", found.names("TrainingRun")[-1])["spec"]
    assert (run["trigger"]["type"], run["data"][0]["revision"]) == ("SpecChanged", rev(8))


def test_a_request_of_a_monitor_waits_for_new_rows() -> None:
    found = world(deployment(), watching(), of=pipeline().triggers(monitors={}))
    answer(found, rev(3))
    trained(found, rev(3))
    found.advance(seconds=30)
    found.put(make.Monitor("churn-watch").spec(deployment="churn").asks("r1", time=found.clock.now()).obj())
    found.settle()
    answer(found, rev(3))
    assert found.condition("TrainingPipeline", "churn", "RetrainHeld") == ("True", "DataUnchanged")
    found.advance(seconds=340)
    found.settle()
    answer(found, rev(8))
    run = found.get("TrainingRun", found.names("TrainingRun")[-1])["spec"]
    assert (run["trigger"]["type"], run["data"][0]["revision"]) == ("MonitorRequested", rev(8))


def test_how_many_rows_are_waited_for_decides_no_outcome_and_which_are_left_out_does() -> None:
    def digest(**feedback: Any) -> str:
        return outcome_digest(TrainingPipeline.model_validate(pipeline(**feedback).obj()).spec)

    assert digest(minNewRows=5) == digest()
    assert digest(suspectedClients="LeaveOut") != digest()
    assert digest(maxRows=7) != digest()


def test_a_version_says_what_it_was_trained_on() -> None:
    found = keeping()
    answer(found, rev(3))
    taken = {"rows": 500, "first": 1764489600.5, "last": 1764576000.9, "versions": {"churn-1": 400, "others": 100}}
    found.train("d", data={"fresh": rev(3)}, kept_rows={"fresh": {**taken, "suspected": 2, "left_out": 1}})
    lineage = found.get("ModelVersion", "churn-1")["spec"]["lineage"]
    assert lineage["keptRows"]["fresh"] == {
        "rows": 500,
        "first": "2025-11-30T08:00:00Z",
        "last": "2025-12-01T08:00:00Z",
        "versions": {"churn-1": 400, "others": 100},
        "suspected": 2,
        "leftOut": 1,
    }


@pytest.mark.parametrize(
    "taken",
    [
        {"other": {"rows": 1, "first": 1.0, "last": 1.0, "versions": {"a": 1}}},
        {"fresh": {"rows": -1, "first": 1.0, "last": 1.0, "versions": {"a": -1}}},
        {"fresh": {"rows": 1, "first": 2.0, "last": 1.0, "versions": {"a": 1}}},
        {"fresh": {"rows": 1, "first": 1.0, "last": 1e300, "versions": {"a": 1}}},
        {"fresh": {"rows": 2, "first": 1.0, "last": 1.0, "versions": {"a": 1}}},
        {"fresh": {"rows": 1, "first": 1.0, "last": 1.0, "versions": {"a\n": 1}}},
        {"fresh": {"rows": 12, "first": 1.0, "last": 1.0, "versions": {f"v{i}": 1 for i in range(12)}}},
        {"fresh": {"rows": 1, "first": 1.0, "last": 1.0, "versions": {"a": 1}, "suspected": 2}},
    ],
)
def test_a_report_that_cannot_be_true_of_the_rows_is_refused(taken: Obj) -> None:
    found = keeping()
    answer(found, rev(3))
    found.train("d", data={"fresh": rev(3)}, kept_rows=taken)
    assert not found.names("ModelVersion")
    (run,) = found.names("TrainingRun")
    assert "kept_rows" in found.get("TrainingRun", run)["status"]["failure"]["message"]


def test_versions_of_other_data_say_nothing_of_rows() -> None:
    found = World(make.Pipeline().obj(), make.ConfigMap().obj())
    found.train()
    assert "keptRows" not in found.get("ModelVersion", "churn-1")["spec"]["lineage"]
    (source,) = found.get("TrainingRun", found.names("TrainingRun")[0])["spec"]["data"]
    assert "rows" not in source


def test_columns_of_kept_rows_count_into_what_a_run_can_hold() -> None:
    columns = [f"{n:04}" + "c" * 250 for n in range(500)]
    sources = [{"name": f"a{n}", "uri": "feedback://churn"} for n in range(6)]
    found = world(deployment(columns=columns), watching(), of=make.Pipeline().spec(data=sources, target="label"))
    assert found.condition("TrainingPipeline", "churn") == ("False", "SpecTooLarge")


def test_who_reads_the_rows_is_woken_by_the_deployment_and_its_monitor() -> None:
    cache = Cache()
    for obj in (pipeline().obj(), make.Pipeline("another").obj()):
        cache.put(obj)
    wanted = [Key("TrainingPipeline", "team-a", "churn")]
    assert list(reconcilers.deployment_to_pipelines(deployment(), cache)) == wanted
    assert list(reconcilers.monitor_to_pipelines(watching(), cache)) == wanted
    assert list(reconcilers.deployment_to_pipelines(make.Deployment("fraud").obj(), cache)) == []


def test_a_deployment_that_is_being_deleted_keeps_rows_no_more() -> None:
    assert observe.rows_place("team-a", "churn", None, [watching()]).rows is None


def test_clients_that_any_monitor_suspects_are_named_once() -> None:
    place = observe.rows_place(
        "team-a", "churn", deployment(), [watching(suspectedClients=[CLIENT]), watching(suspectedClients=[CLIENT])]
    )
    assert place.rows is not None and place.rows.suspected_clients == [CLIENT]
