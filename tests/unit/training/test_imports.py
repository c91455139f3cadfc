"""The life of an import as a story: copied, registered, numbered and approved; tried again; changed in Git; killed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.support import builders_training as make
from tests.unit.training.world import World

from tidemill.config import OperatorConfig
from tidemill.core.conditions import format_time
from tidemill.core.plan import Key
from tidemill.training import constants
from tidemill_contracts.importing import CONFIG_ENV, ImportConfig

Obj = dict[str, Any]
NAME = "from-staging"
JOB = f"{NAME}-1-1"
NOTHING: Obj = {"data": {}, "code": "", "image": ""}


def world(imported: make.Import | None = None, *more: Obj) -> World:
    """An import that nobody has looked at yet."""
    return World((imported or make.Import()).created(make.NOW).obj(), *more)


def run(found: World, report: Obj, *, job: str = JOB, exit_code: int = 0) -> None:
    """Let the present attempt end."""
    found.settle()
    found.advance(seconds=5)
    found.kubelet_finishes(job, report, exit_code)
    found.settle()


def status(found: World, name: str = NAME) -> Obj:
    result: Obj = found.get("ModelImport", name)["status"]
    return result


def change(found: World, **spec: Any) -> None:
    found.change("ModelImport", NAME, lambda o: o["spec"].update(spec))


def source(letter: str) -> Obj:
    return {"uri": "s3://models/staging/churn", "digest": make.digest(letter)}


def message(found: World, kind: str = "ModelImport", name: str = NAME, type_: str = "Ready") -> str:
    return next(str(c["message"]) for c in found.get(kind, name)["status"]["conditions"] if c["type"] == type_)


def config(job: Obj) -> ImportConfig:
    env = {e["name"]: e["value"] for e in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    return ImportConfig.from_json(env[CONFIG_ENV])


def test_a_version_of_staging_is_copied_registered_and_approved_as_what_it_is() -> None:
    found = world()
    run(found, make.imported())

    assert found.condition("ModelImport", NAME) == ("True", "Imported")
    assert {k: status(found)[k] for k in ("version", "number", "digest", "sourceDigest", "job")} == {
        "version": "churn-1",
        "number": 1,
        "digest": make.DIGEST,
        "sourceDigest": make.DIGEST,
        "job": JOB,
    }
    version = found.get("ModelVersion", "churn-1")
    assert version["spec"]["source"] == {
        "import": NAME,
        "generation": 1,
        "uri": "s3://models/staging/churn",
        "digest": make.DIGEST,
    }
    assert version["spec"]["uri"].startswith(f"pvc://tidemill-artifacts/imports/{NAME}/")
    assert version["spec"]["lineage"]["code"] == make.digest("c")
    assert "run" not in version["spec"]["lineage"]
    assert found.condition("ModelVersion", "churn-1", "Approved") == ("True", "Imported")
    said = message(found, "ModelVersion", "churn-1", "Approved")
    assert "imported from s3://models/staging/churn" in said
    assert "passed" not in said
    assert [e.reason for e in found.events] == ["Imported"]


def test_the_pod_is_given_what_it_copies_and_nothing_else() -> None:
    wanted = make.Import().spec(
        source={**source("d"), "secretRef": {"name": "staging-reader"}},
        artifacts={"uri": "s3://production", "secretRef": {"name": "production-writer"}},
    )
    found = world(wanted)
    found.settle()
    job = found.get("Job", JOB)
    assert config(job) == ImportConfig(
        namespace=make.NAMESPACE,
        name=NAME,
        pipeline="churn",
        uri="s3://models/staging/churn",
        digest=make.DIGEST,
        secret="staging-reader",
        store=f"s3://production/{make.NAMESPACE}/imports/{NAME}",
        store_secret="production-writer",
    )
    spec = job["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert sorted(v["secret"]["secretName"] for v in spec["volumes"] if "secret" in v) == [
        "production-writer",
        "staging-reader",
    ]
    assert not [v for v in spec["volumes"] if "persistentVolumeClaim" in v]
    assert not found.names("PersistentVolumeClaim"), "the default claim is not needed"


def test_the_claim_of_the_source_is_mounted_to_be_read() -> None:
    found = world(make.Import().spec(source={"uri": "pvc://uploads/model.onnx", "digest": make.DIGEST}))
    found.settle()
    spec = found.get("Job", JOB)["spec"]["template"]["spec"]
    mounted = [v["persistentVolumeClaim"] for v in spec["volumes"] if "persistentVolumeClaim" in v]
    claims = {claim["claimName"]: claim.get("readOnly", False) for claim in mounted}
    assert claims == {"uploads": True, "tidemill-artifacts": False}
    assert found.names("PersistentVolumeClaim") == ["tidemill-artifacts"]


def test_with_manual_approval_it_waits_like_a_trained_version() -> None:
    found = world(make.Import().spec(approval="Manual"))
    run(found, make.imported())
    assert found.condition("ModelImport", NAME) == ("True", "AwaitingApproval")
    assert found.condition("ModelImport", NAME, "ApprovalPending") == ("True", "AwaitingApproval")
    assert found.condition("ModelVersion", "churn-1", "Approved") == ("Unknown", "AwaitingApproval")

    approve = {constants.APPROVE: make.DIGEST}
    found.change("ModelVersion", "churn-1", lambda o: o["metadata"].update(annotations=approve))
    found.settle()
    assert found.condition("ModelImport", NAME) == ("True", "Imported")
    assert found.condition("ModelVersion", "churn-1", "Approved") == ("True", "ApprovedByHand")

    reject = {constants.REJECT: make.DIGEST}
    found.change("ModelVersion", "churn-1", lambda o: o["metadata"].update(annotations=reject))
    found.settle()
    assert found.condition("ModelImport", NAME) == ("True", "VersionRejected")


def test_another_digest_is_the_next_version_and_the_one_before_comes_back_as_a_new_number() -> None:
    found = world()
    run(found, make.imported("d"))
    change(found, source=source("a"))
    found.settle()
    assert found.condition("ModelImport", NAME, "Reconciling") == ("True", "Pending")
    assert status(found)["version"] == "churn-1", "what is registered is said until the next one is"
    run(found, make.imported("a"), job=f"{NAME}-2-1")
    assert status(found)["version"] == "churn-2"

    change(found, source=source("d"))
    run(found, make.imported("d"), job=f"{NAME}-3-1")
    assert (status(found)["version"], status(found)["number"]) == ("churn-3", 3)
    assert found.names("ModelVersion") == ["churn-1", "churn-2", "churn-3"]


def test_a_change_that_names_the_same_content_copies_nothing() -> None:
    found = world()
    run(found, make.imported())
    change(found, approval="Manual", source={**source("d"), "uri": "s3://moved/churn"})
    found.settle()
    assert found.names("Job") == [JOB]
    assert found.condition("ModelImport", NAME) == ("True", "Imported")
    assert status(found)["observedGeneration"] == 2


def test_numbers_continue_those_of_the_pipeline_which_goes_on_with_the_next() -> None:
    found = World(make.Pipeline().obj(), make.ConfigMap().obj())
    found.train("a")
    found.put(make.Import().created(make.NOW).obj())
    run(found, make.imported("d"))
    version = found.get("ModelVersion", "churn-2")
    assert [o["kind"] for o in version["metadata"]["ownerReferences"]] == ["TrainingPipeline"]
    assert found.pipeline()["champion"]["version"] == "churn-2"

    request = {"tidemill.io/run-requested-at": "now"}
    found.change("TrainingPipeline", "churn", lambda o: o["metadata"].update(annotations=request))
    found.train("b")
    assert found.names("ModelVersion") == ["churn-1", "churn-2", "churn-3"]


def test_content_that_is_the_newest_version_is_not_registered_again() -> None:
    found = World(make.Pipeline().obj(), make.ConfigMap().obj())
    found.train("d")
    found.put(make.Import().created(make.NOW).obj())
    run(found, make.imported("d"))
    assert found.names("ModelVersion") == ["churn-1"]
    assert status(found)["version"] == "churn-1"
    assert "already" in message(found)
    assert status(found)["uri"] == found.get("ModelVersion", "churn-1")["spec"]["uri"]


def test_a_number_is_not_given_twice_although_its_version_is_gone() -> None:
    found = world()
    run(found, make.imported("d"))
    found.remove("ModelVersion", "churn-1")
    found.settle()
    assert found.condition("ModelImport", NAME) == ("True", "Imported")
    assert "deleted since" in message(found)
    found.put(make.Import("other", "a").created(make.NOW).obj())
    run(found, make.imported("a", name="other"), job="other-1-1")
    assert status(found, "other")["version"] == "churn-2"


def test_the_number_of_an_imported_version_that_was_deleted_at_once_is_given_to_no_run() -> None:
    """The pipeline's status says nothing new while a run goes on: it may never have known of the version."""
    found = World(make.Pipeline().obj(), make.ConfigMap().obj())
    found.train("a")
    request = {"tidemill.io/run-requested-at": "now"}
    found.change("TrainingPipeline", "churn", lambda o: o["metadata"].update(annotations=request))
    found.settle()
    found.put(make.Import().created(make.NOW).obj())
    run(found, make.imported("d"))
    assert status(found)["version"] == "churn-2"
    found.remove("ModelVersion", "churn-2")
    found.change("TrainingPipeline", "churn", lambda o: o["status"].update(versions=1))
    found.train("b")
    assert found.names("ModelVersion") == ["churn-1", "churn-3"]


def test_a_version_of_a_name_of_its_own() -> None:
    found = world(make.Import().named("fraud"))
    run(found, make.imported())
    version = found.get("ModelVersion", "fraud")
    assert (version["spec"]["pipeline"], version["spec"]["number"]) == ("fraud", 1)
    assert [o["kind"] for o in version["metadata"]["ownerReferences"]] == ["ModelImport"]
    assert status(found)["version"] == "fraud"


@pytest.mark.parametrize(
    "other",
    [
        make.Pipeline("fraud").obj(),
        make.Import("other").named("fraud").obj(),
    ],
    ids=["a pipeline", "another import"],
)
def test_a_name_that_is_taken_stops_the_import_and_says_so_once(other: Obj) -> None:
    found = World(other, make.ConfigMap().obj())
    found.settle()
    if other["kind"] == "ModelImport":
        found.kubelet_finishes("other-1-1", make.imported(name="other"))
        found.settle()
    found.put(make.Import().named("fraud").created(make.NOW).obj())
    found.settle()
    found.settle()
    assert found.condition("ModelImport", NAME, "Stalled") == ("True", "NameTaken")
    assert JOB not in found.names("Job")
    assert [e.reason for e in found.events].count("NameTaken") == 1


def test_a_source_that_has_no_meaning_is_named() -> None:
    found = world(make.Import().spec(source={"uri": "az://a/../b", "digest": make.DIGEST}))
    found.settle()
    assert found.condition("ModelImport", NAME, "Stalled") == ("True", "InvalidSource")
    assert message(found).startswith("spec.source.uri: ")
    assert not found.names("Job")


def test_what_another_try_may_help_is_tried_again_later_and_later() -> None:
    found = world()
    away = make.failed("Infrastructure", "StorageUnavailable", "no answer")
    run(found, away, exit_code=1)
    assert found.condition("ModelImport", NAME) == ("False", "ImportFailed")
    assert found.condition("ModelImport", NAME, "Reconciling") == ("True", "ImportFailed")
    assert status(found)["failure"]["reason"] == "StorageUnavailable"
    waits = found.requeue[Key("ModelImport", make.NAMESPACE, NAME)]
    assert waits is not None
    assert 40 <= waits <= 80
    assert found.names("Job") == [JOB]

    found.advance(seconds=80)
    run(found, away, job=f"{NAME}-1-2", exit_code=1)
    assert status(found)["attempts"]["failed"] == 2
    found.advance(seconds=80)
    found.settle()
    assert len(found.names("Job")) == 2, "the second pause is longer"
    found.advance(seconds=80)
    run(found, make.imported(), job=f"{NAME}-1-3")
    assert found.condition("ModelImport", NAME) == ("True", "Imported")
    assert not {"attempts", "failure"} & status(found).keys()
    assert [e.reason for e in found.events] == ["ImportFailed", "ImportFailed", "Imported"]


def test_what_only_a_person_can_mend_waits_for_one() -> None:
    found = world()
    run(found, make.failed("DataInvalid", "DigestMismatch", "other content"), exit_code=42)
    assert found.condition("ModelImport", NAME, "Stalled") == ("True", "ImportFailed")
    assert message(found) == "DataInvalid, DigestMismatch: other content"
    found.advance(days=2)
    found.settle()
    assert found.names("Job") == [JOB]

    retry = {"tidemill.io/retry": "now"}
    found.change("ModelImport", NAME, lambda o: o["metadata"].update(annotations=retry))
    run(found, make.imported(), job=f"{NAME}-1-2")
    assert status(found)["lastHandledRetry"] == "now"
    assert found.condition("ModelImport", NAME) == ("True", "Imported")


def test_another_spec_is_tried_at_once_and_forgets_the_failure() -> None:
    found = world()
    run(found, make.failed("DataInvalid", "NotFound", "nothing there"), exit_code=42)
    change(found, source=source("a"))
    found.settle()
    assert f"{NAME}-2-1" in found.names("Job")
    assert not {"attempts", "failure"} & status(found).keys()


def test_a_job_whose_spec_has_changed_under_it_is_removed() -> None:
    found = world()
    found.settle()
    change(found, source=source("a"))
    found.settle()
    assert found.names("Job") == [f"{NAME}-2-1"]


def test_a_job_that_somebody_deleted_is_made_again() -> None:
    found = world()
    found.settle()
    found.remove("Job", JOB)
    run(found, make.imported())
    assert found.condition("ModelImport", NAME) == ("True", "Imported")


@pytest.mark.parametrize(
    ("report", "says"),
    [
        (make.imported("a"), "digest: "),
        (make.imported(uri="s3://elsewhere/x"), "uri: "),
        (make.imported(formats=["joblib"]), "formats: joblib"),
        (make.imported(lineage={"data": {}, "code": "x" * 300, "image": ""}), "lineage.code: "),
        (make.imported(lineage={"data": {}, "code": "", "image": "\x1b[2J"}), "lineage.image: "),
        (make.imported(lineage={**NOTHING, "frameworks": {"numpy": "\x1b[2J"}}), "lineage.frameworks.numpy: "),
        (make.imported(lineage={**NOTHING, "frameworks": {"\n": "1"}}), "lineage.frameworks: "),
        ("no JSON", "the termination message"),
    ],
    ids=[
        "other content",
        "another place",
        "a pickle",
        "a long lineage",
        "an image that is none",
        "a framework that is none",
        "a name that is none",
        "no report",
    ],
)
def test_a_report_of_what_was_not_asked_for_is_refused(report: Obj | str, says: str) -> None:
    found = world()
    found.settle()
    found.kubelet_finishes(JOB, report)
    found.settle()
    assert found.condition("ModelImport", NAME, "Stalled") == ("True", "ImportFailed")
    assert status(found)["failure"]["reason"] == "ResultRefused"
    assert says in status(found)["failure"]["message"]
    assert not found.names("ModelVersion")


def test_of_a_file_the_digest_is_that_of_the_model() -> None:
    file = {"uri": "pvc://uploads/model.onnx", "digest": make.digest("e")}
    found = world(make.Import().spec(source=file).named("fraud"))
    run(found, make.imported(formats=["onnx"], lineage={"data": {}, "code": "", "image": ""}, warnings=["no names"]))
    assert status(found)["digest"] == make.DIGEST
    assert status(found)["sourceDigest"] == make.digest("e")
    assert status(found)["warnings"] == ["no names"]


def test_a_leader_killed_between_the_version_and_the_status_comes_to_the_same_version() -> None:
    found = world()
    found.settle()
    found.kubelet_finishes(JOB, make.imported())
    found.crash_before_status = True
    found.reconcile(Key("ModelImport", make.NAMESPACE, NAME))
    assert found.names("ModelVersion") == ["churn-1"]
    found.crash_before_status = False
    found.restart()
    found.settle()
    assert found.names("ModelVersion") == ["churn-1"]
    assert status(found)["version"] == "churn-1"


def test_a_leader_killed_before_it_wrote_a_failure_counts_it_once() -> None:
    found = world()
    found.settle()
    found.kubelet_finishes(JOB, make.failed("Infrastructure", "StorageUnavailable", "no answer"), 1)
    found.crash_before_status = True
    found.reconcile(Key("ModelImport", make.NAMESPACE, NAME))
    found.crash_before_status = False
    found.restart()
    found.settle()
    assert status(found)["attempts"]["failed"] == 1
    assert found.names("Job") == [JOB]


def test_an_import_that_is_made_again_registers_again_and_does_not_take_its_namesakes_version_for_its_own() -> None:
    serves = make.Deployment("shop").uses(stable="churn-1").obj()
    found = world(None, serves)
    run(found, make.imported("d"))
    found.settle()
    found.remove("ModelImport", NAME)
    assert found.names("ModelVersion") == ["churn-1"], "a deployment serves it"
    found.put(make.Import("other", "a").created(make.NOW).obj())
    run(found, make.imported("a", name="other"), job="other-1-1")
    assert found.names("ModelVersion") == ["churn-1", "churn-2"]

    found.change("ModelDeployment", "shop", lambda o: o["status"].update(stable={"version": "churn-2"}))
    found.advance(hours=1)
    found.put(make.Import().created(found.clock.time).obj())
    run(found, make.imported("d"))
    assert status(found)["version"] == "churn-3"


def test_a_name_of_its_own_stays_with_its_content_when_the_import_is_made_again() -> None:
    serves = make.Deployment("shop").uses(stable="fraud").obj()
    found = world(make.Import(letter="d").named("fraud"), serves)
    run(found, make.imported("d"))
    found.settle()
    found.remove("ModelImport", NAME)
    assert found.names("ModelVersion") == ["fraud"], "a deployment serves it"
    found.advance(hours=1)
    found.put(make.Import(letter="a").named("fraud").created(found.clock.time).obj())
    found.settle()
    assert found.condition("ModelImport", NAME, "Stalled") == ("True", "NameTaken")
    assert make.digest("d") in message(found)
    assert JOB not in found.names("Job"), "nothing is copied"
    found.remove("ModelImport", NAME)
    found.put(make.Import(letter="d").named("fraud").created(found.clock.time).obj())
    run(found, make.imported("d"))
    assert found.condition("ModelImport", NAME, "Ready") == ("True", "Imported")
    assert status(found)["digest"] == make.digest("d")


def test_with_the_import_goes_a_version_that_nobody_serves() -> None:
    found = world()
    run(found, make.imported())
    found.remove("ModelImport", NAME)
    assert not found.names("ModelVersion")
    assert not found.names("Job")


def test_a_pod_that_cannot_start_is_named_and_given_up_after_ten_minutes() -> None:
    found = world()
    found.settle()
    waiting = {"reason": "CreateContainerConfigError", "message": 'secret "x" not found'}
    found.put(make.pod(found.get("Job", JOB), waiting=waiting))
    found.settle()
    assert found.condition("ModelImport", NAME, "Reconciling") == ("True", "CannotStart")
    assert 'secret "x" not found' in message(found)
    found.advance(minutes=11)
    found.settle()
    assert found.condition("ModelImport", NAME, "Stalled") == ("True", "ImportFailed")
    assert "did not start within 600 seconds" in message(found)
    assert JOB not in found.names("Job")


def test_it_costs_four_writes_of_its_own() -> None:
    found = world()
    found.settle()
    assert sorted(found.written()) == ["apply Job", "apply PersistentVolumeClaim", "status ModelImport"]
    found.kubelet_finishes(JOB, make.imported())
    found.settle()
    assert sorted(found.written()) == [
        "apply ModelVersion",
        "event ModelImport",
        "status ModelImport",
        "status ModelVersion",
    ]
    found.advance(hours=1)
    found.settle()
    assert found.written() == []


def test_times_are_those_of_the_cluster() -> None:
    found = world()
    run(found, make.failed("Infrastructure", "StorageFull", "full"), exit_code=1)
    assert status(found)["attempts"]["lastTime"] == format_time(found.clock.time)
    later = found.clock.time + timedelta(seconds=59)
    assert status(found)["attempts"]["nextTime"] > format_time(later)


def forged(found: World, name: str) -> None:
    """Somebody with rights on records makes a version that says that the import registered it."""
    spec = {**found.get("ModelVersion", "churn-1")["spec"], "uri": "s3://evil/model", "number": 2}
    meta = {"name": name, "namespace": make.NAMESPACE, "labels": {"tidemill.io/pipeline": "churn"}}
    body = {"apiVersion": "tidemill.io/v1alpha1", "kind": "ModelVersion", "metadata": meta, "spec": spec}
    found.put({**body, "spec": {**spec, "source": {**spec["source"], "generation": 2}}})


def test_a_version_by_hand_that_names_the_import_is_not_taken_for_its_own_and_gives_it_no_number() -> None:
    found = world()
    run(found, make.imported("d"))
    forged(found, "churn-2")
    change(found, source=source("a"))
    run(found, make.imported("a"), job=f"{NAME}-2-1")
    assert status(found)["version"] == "churn-3", "the name is taken, and nothing of it is believed"
    assert found.condition("ModelVersion", "churn-2", "Approved") == ("Unknown", "NotRegistered")
    assert found.condition("ModelVersion", "churn-3", "Approved") == ("True", "Imported")


def test_a_name_that_somebody_took_meanwhile_is_not_believed_either() -> None:
    found = world()
    run(found, make.imported("d"))
    found.put(make.Import("other").named("fraud").created(make.NOW).obj())
    found.settle()
    spec = {**found.get("ModelVersion", "churn-1")["spec"], "pipeline": "fraud", "uri": "s3://evil/model"}
    spec["source"] = {**spec["source"], "import": "other"}
    meta = {"name": "fraud", "namespace": make.NAMESPACE, "labels": {"tidemill.io/pipeline": "fraud"}}
    found.put({"apiVersion": "tidemill.io/v1alpha1", "kind": "ModelVersion", "metadata": meta, "spec": spec})
    found.kubelet_finishes("other-1-1", make.imported(name="other"))
    found.settle()
    assert found.condition("ModelImport", "other", "Stalled") == ("True", "NameTaken")
    assert found.condition("ModelVersion", "fraud", "Approved") == ("Unknown", "NotRegistered")


def test_it_takes_no_number_before_a_new_pipeline_has_looked_for_its_earlier_versions() -> None:
    config = OperatorConfig(record_keys=("k" * 32,))
    pipeline = make.Pipeline().created(make.NOW).obj()
    found = World(pipeline, make.ConfigMap().obj(), make.Import().created(make.NOW).obj(), config=config)
    found.settle()
    found.kubelet_finishes(JOB, make.imported())
    found.reconcile(Key("ModelImport", make.NAMESPACE, NAME))
    assert not found.names("ModelVersion")
    assert "looks for its earlier versions" in message(found)
    found.advance(minutes=11)
    found.reconcile(Key("ModelImport", make.NAMESPACE, NAME))
    assert found.names("ModelVersion") == ["churn-1"], "one that never looks is not waited for"
