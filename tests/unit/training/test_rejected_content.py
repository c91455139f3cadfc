"""A rejection is of content: under another number it is not approved by its gates, whatever came in between."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support import builders_training as make
from tests.unit.training.test_import_records import copied
from tests.unit.training.test_import_records import namespace as imports_alone
from tests.unit.training.test_imports import NAME, change, message, source
from tests.unit.training.test_version_records import BUCKET, ends, finds, job, made_again, namespace, recorded
from tests.unit.training.world import World

from tidemill.core.plan import Key
from tidemill.training import constants, rejections

Obj = dict[str, Any]
KEEP_ONE: Obj = {"artifacts": BUCKET, "history": {"versions": 1, "runs": 2}}


def annotate(world: World, name: str, **said: str | None) -> None:
    """Somebody sets annotations on a version, or removes those that are None."""

    def write(version: Obj) -> None:
        found = version["metadata"].setdefault("annotations", {})
        for key, value in said.items():
            found.pop(f"tidemill.io/{key}", None)
            if value is not None:
                found[f"tidemill.io/{key}"] = value

    world.change("ModelVersion", name, write)
    world.settle()


def reject(world: World, name: str, letter: str = "a") -> None:
    annotate(world, name, reject=make.digest(letter))


def again(world: World, letter: str, **changes: Any) -> str:
    """New code is trained and gives this content; returns the newest version."""
    world.advance(minutes=1)
    world.put(make.ConfigMap(train_py=f"{letter}-{len(world.writes)}").obj())
    world.train(letter, **changes)
    world.advance(seconds=30)
    world.settle()
    return str(world.pipeline()["latestVersion"])


def began(**spec: Any) -> World:
    """A pipeline whose first version has the content a and was rejected, and whose second one, b, is approved."""
    pipeline = make.Pipeline().spec(**(spec or {"artifacts": BUCKET})).triggers(codeChange={})
    world = World(pipeline.obj(), make.ConfigMap().obj())
    world.settle()
    world.train("a")
    reject(world, "churn-1")
    assert again(world, "b") == "churn-2"
    return world


def test_content_that_was_rejected_is_not_approved_by_its_gates_under_another_number() -> None:
    world = began()
    assert again(world, "a") == "churn-3"
    assert world.condition("ModelVersion", "churn-3", "Approved") == ("False", "VersionRejected")
    text = message(world, "ModelVersion", "churn-3", "Approved")
    assert "version churn-1" in text and f"{constants.APPROVE}={make.digest('a')}/" in text
    decision = world.get("ModelVersion", "churn-3")["status"]["decision"]
    assert (decision["approved"], decision["version"]) == (False, "churn-1")
    assert world.pipeline()["champion"]["version"] == "churn-2"
    assert "churn-3" in message(world, "TrainingPipeline", "churn")
    assert "churn-1" in message(world, "TrainingPipeline", "churn")
    run = world.get("ModelVersion", "churn-3")["spec"]["lineage"]["run"]
    assert "version churn-1 with this content was rejected" in message(world, "TrainingRun", run)


def test_it_is_no_champion_for_a_moment_either() -> None:
    """Before the version's own pass has written its status, a run of other inputs may start."""
    world = began()
    world.advance(minutes=1)
    world.put(make.ConfigMap(train_py="3").obj())
    world.settle()
    (run,) = [r for r in world.names("TrainingRun") if world.condition("TrainingRun", r, "Succeeded")[0] == "Unknown"]
    world.advance(seconds=5)
    world.kubelet_finishes(run, make.result("a", run=world.get("TrainingRun", run)))
    world.reconcile(Key("TrainingRun", make.NAMESPACE, run))
    assert "churn-3" in world.names("ModelVersion")
    world.advance(minutes=1)
    world.reconcile(Key("TrainingPipeline", make.NAMESPACE, "churn"))
    assert world.pipeline()["champion"]["version"] == "churn-2"


def test_who_approves_it_under_the_new_number_has_approved_the_content() -> None:
    world = began()
    again(world, "a")
    world.advance(minutes=1)
    annotate(world, "churn-3", approve=make.digest("a"))
    assert world.condition("ModelVersion", "churn-3", "Approved") == ("True", "ApprovedByHand")
    assert world.condition("ModelVersion", "churn-1", "Approved") == ("False", "RejectedByHand"), "its own decision"
    world.settle()
    assert world.condition("ModelVersion", "churn-3", "Approved") == ("True", "ApprovedByHand")
    again(world, "b")
    assert again(world, "a") == "churn-5"
    assert world.condition("ModelVersion", "churn-5", "Approved") == ("True", "NotJudged")
    assert world.pipeline().get("rejected") in (None, [])


def test_a_rejection_that_is_taken_back_where_it_was_made_does_not_count_any_more() -> None:
    world = began()
    again(world, "a")
    world.advance(minutes=1)
    annotate(world, "churn-1", reject=None, approve=f"{make.digest('a')}/after-all")
    assert world.condition("ModelVersion", "churn-1", "Approved") == ("True", "ApprovedByHand")
    assert world.condition("ModelVersion", "churn-3", "Approved") == ("True", "NotJudged")


def test_taking_the_annotation_away_takes_nothing_back() -> None:
    world = began()
    annotate(world, "churn-1", reject=None)
    assert again(world, "a") == "churn-3"
    assert world.condition("ModelVersion", "churn-3", "Approved") == ("False", "VersionRejected")


def test_a_rejection_of_the_older_number_is_one_of_the_content_in_service() -> None:
    """Somebody finds the content bad, and looks at the number under which it came first."""
    world = World(make.Pipeline().triggers(codeChange={}).obj(), make.ConfigMap().obj())
    world.settle()
    world.train("a")
    again(world, "b")
    assert again(world, "a") == "churn-3"
    world.advance(minutes=1)
    annotate(world, "churn-3", approve=make.digest("a"))
    world.advance(minutes=1)
    reject(world, "churn-1")
    assert world.condition("ModelVersion", "churn-3", "Approved") == ("False", "VersionRejected")
    written = len(world.writes)
    world.settle()
    assert len(world.writes) == written, "the approval that is still there does not come back by itself"
    world.advance(minutes=1)
    annotate(world, "churn-3", approve=f"{make.digest('a')}/once-more")
    assert world.condition("ModelVersion", "churn-3", "Approved") == ("True", "ApprovedByHand")


def test_two_rejections_of_one_content_leave_each_other_alone() -> None:
    world = began()
    again(world, "a")
    reject(world, "churn-3")
    assert world.condition("ModelVersion", "churn-3", "Approved") == ("False", "RejectedByHand")
    assert world.condition("ModelVersion", "churn-1", "Approved") == ("False", "RejectedByHand")


def test_a_version_that_waits_for_a_person_says_that_its_content_was_rejected() -> None:
    world = began(approval="Manual")
    assert again(world, "a") == "churn-3"
    assert world.condition("ModelVersion", "churn-3", "Approved") == ("False", "VersionRejected")


def test_what_an_earlier_release_has_approved_stays_approved() -> None:
    """Nothing goes out of service by an upgrade alone: the decision is younger than the rejection."""
    world = began()
    again(world, "a")

    def as_before(version: Obj) -> None:
        status = version["status"]
        made = status["registered"]["time"]
        status["decision"] = {"approved": True, "by": "gates", "time": made, "digest": version["spec"]["digest"]}

    world.change("ModelVersion", "churn-3", as_before)
    world.settle()
    assert world.condition("ModelVersion", "churn-3", "Approved")[0] == "True"


def test_pruning_forgets_no_rejection() -> None:
    """Whoever may write the pipeline may let it keep one version only."""
    world = began(**KEEP_ONE)
    again(world, "c")
    assert "churn-1" not in world.names("ModelVersion")
    (kept,) = world.pipeline()["rejected"]
    assert (kept["digest"], kept["version"]) == (make.digest("a"), "churn-1")
    assert again(world, "a") == "churn-4"
    assert world.condition("ModelVersion", "churn-4", "Approved") == ("False", "VersionRejected")
    assert "churn-1" in message(world, "ModelVersion", "churn-4", "Approved")
    world.advance(minutes=1)
    annotate(world, "churn-4", approve=make.digest("a"))
    assert world.condition("ModelVersion", "churn-4", "Approved") == ("True", "ApprovedByHand")
    assert world.pipeline().get("rejected") in (None, [])


def test_a_version_is_not_pruned_before_its_rejection_is_recorded() -> None:
    world = began(artifacts=BUCKET)
    world.change("TrainingPipeline", "churn", lambda o: o["status"].pop("rejected"))
    world.change("TrainingPipeline", "churn", lambda o: o["spec"].update(history={"versions": 1}))
    world.advance(minutes=5)
    plan = world.plan(Key("TrainingPipeline", make.NAMESPACE, "churn"))
    assert [ref.name for ref in plan.delete if ref.kind == "ModelVersion"] == []
    assert plan.status is not None and [r["version"] for r in plan.status["rejected"]] == ["churn-1"]


def test_what_is_remembered_is_bounded() -> None:
    said = [
        rejections.Said(make.digest("a")[:-3] + f"{n:03}", f"churn-{n}", approved=False, time=make.NOW)
        for n in range(300)
    ]
    assert len(rejections.standing(said)) == rejections.MOST


def test_a_namespace_that_is_built_again_knows_what_was_rejected_also_of_versions_that_are_gone() -> None:
    before = namespace(pipeline=make.Pipeline().spec(**KEEP_ONE).triggers(codeChange={}))
    before.settle()
    finds(before, [])
    before.train("a")
    reject(before, "churn-1")
    again(before, "b")
    again(before, "c")
    assert before.names("ModelVersion") == ["churn-3"]
    if job(before, "write"):
        ends(before, "write", {"written": 1})
    texts, there = recorded(before)
    assert [r["version"] for r in json.loads(there)["series"]["rejected"]] == ["churn-1"]
    world = made_again([there, *texts])
    assert world.names("ModelVersion") == ["churn-3"]
    assert [r["version"] for r in world.pipeline()["rejected"]] == ["churn-1"]
    assert again(world, "a") == "churn-4"
    assert world.condition("ModelVersion", "churn-4", "Approved") == ("False", "VersionRejected")


def test_a_record_of_a_rejected_version_that_is_not_listed_any_more_still_says_so() -> None:
    """An operator from before recorded which versions exist, and not what was rejected."""
    before = namespace(pipeline=make.Pipeline().spec(artifacts=BUCKET).triggers(codeChange={}))
    before.settle()
    finds(before, [])
    before.train("a")
    reject(before, "churn-1")
    again(before, "b")
    if job(before, "write"):
        ends(before, "write", {"written": 1})
    texts, _ = recorded(before)
    before.remove("ModelVersion", "churn-1")
    before.change("TrainingPipeline", "churn", lambda o: o["status"].pop("rejected"))
    before.settle()
    before.advance(minutes=2)
    before.settle()
    _, there = recorded(before)
    assert len(json.loads(there)["series"]["versions"]) == 1
    world = made_again([there, *texts])
    assert world.names("ModelVersion") == ["churn-2"]
    assert again(world, "a") == "churn-3"
    assert world.condition("ModelVersion", "churn-3", "Approved") == ("False", "VersionRejected")


@pytest.mark.parametrize("approval", ["Automatic", "Manual"])
def test_an_import_of_rejected_content_is_not_approved(approval: str) -> None:
    world = imports_alone(imported=make.Import().spec(approval=approval))
    finds(world, [])
    copied(world)
    reject(world, "churn-1", "d")
    change(world, source=source("e"))
    copied(world, f"{NAME}-2-1", "e")
    annotate(world, "churn-2", approve=make.digest("e"))
    change(world, source=source("d"))
    copied(world, f"{NAME}-3-1", "d")
    assert world.names("ModelVersion") == ["churn-1", "churn-2", "churn-3"]
    assert world.condition("ModelVersion", "churn-3", "Approved") == ("False", "VersionRejected")
    assert world.condition("ModelImport", NAME) == ("True", "VersionRejected")
    assert "churn-1" in message(world)


def test_a_rejection_of_a_trained_version_counts_for_an_import_into_the_pipeline() -> None:
    world = began(**KEEP_ONE)
    again(world, "c")
    world.put(make.Import().spec(source=source("a")).created(world.clock.time).obj())
    world.settle()
    world.advance(seconds=5)
    world.kubelet_finishes(f"{NAME}-1-1", make.imported("a"))
    world.advance(minutes=1)
    world.settle()
    assert world.condition("ModelVersion", "churn-4", "Approved") == ("False", "VersionRejected")
    assert world.condition("ModelImport", NAME) == ("True", "VersionRejected")


def test_another_series_is_not_concerned() -> None:
    world = began()
    other = make.Import("elsewhere").spec(source=source("a"), **{"as": {"pipeline": "other"}})
    world.put(other.created(world.clock.time).obj())
    world.settle()
    world.advance(seconds=5)
    uri = f"pvc://tidemill-artifacts/imports/elsewhere/{'a' * 64}"
    world.kubelet_finishes("elsewhere-1-1", make.imported("a", uri=uri))
    world.settle()
    assert world.condition("ModelVersion", "other-1", "Approved") == ("True", "Imported")
