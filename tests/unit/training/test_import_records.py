"""Records of imported versions without a pipeline: the import keeps them, and finds them when it is made again."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from tests.support import builders_training as make
from tests.unit.training.make import snapshot
from tests.unit.training.test_imports import NAME, change, message, source, status
from tests.unit.training.test_rollback_marks import mark
from tests.unit.training.test_version_records import KEY, OTHER_KEY, config, ends, finds, job, recorded
from tests.unit.training.world import World

from tidemill.config import OperatorConfig
from tidemill.core.plan import Key
from tidemill.kube.cache import Cache
from tidemill.training import constants
from tidemill.training.pipeline.snapshot import store_folder

Obj = dict[str, Any]
STORE = {"uri": "s3://production", "secretRef": {"name": "writer"}}
AGAIN = {"tidemill.io/retry": "now"}
FOLDER = f"s3://production/{make.NAMESPACE}/imports/{NAME}"


def namespace(*more: Obj, imported: make.Import | None = None, uid: str | None = None, key: str = KEY) -> World:
    """An import without a pipeline, and an operator with a key."""
    obj = (imported or make.Import()).spec(artifacts=STORE).created(make.NOW).obj()
    if uid:
        obj["metadata"]["uid"] = uid
    world = World(obj, *more, config=OperatorConfig(record_keys=(key,)))
    world.settle()
    return world


def copied(world: World, job_name: str = f"{NAME}-1-1", letter: str = "d") -> None:
    """The pod of an attempt ends."""
    world.settle()
    world.advance(seconds=5)
    name = job_name.removesuffix("-1").rpartition("-")[0]
    uri = f"s3://production/{make.NAMESPACE}/imports/{name}/{letter * 64}"
    world.kubelet_finishes(job_name, make.imported(letter, uri=uri))
    world.settle()


def annotated(world: World, name: str, key: str) -> None:
    """A person decides on a version."""
    digest = world.get("ModelVersion", name)["spec"]["digest"]
    world.change("ModelVersion", name, lambda o: o["metadata"].setdefault("annotations", {}).update({key: digest}))
    world.settle()


def kept(world: World) -> list[str]:
    """What the store holds in the end."""
    if job(world, "write"):  # begun before the last change
        ends(world, "write", {"written": 1})
    texts, there = recorded(world)
    return [there, *texts]


def rolled_back_and_rejected() -> tuple[World, list[str]]:
    """Two versions, the first one rejected and the second one rolled back, and what the store holds."""
    world = namespace()
    finds(world, [])
    copied(world)
    world.advance(seconds=6)
    world.settle()
    ends(world, "write", {"written": 1})
    change(world, source=source("e"))
    copied(world, f"{NAME}-2-1", "e")
    assert world.names("ModelVersion") == ["churn-1", "churn-2"]
    annotated(world, "churn-1", constants.REJECT)
    mark(world, "churn-2")
    world.settle()
    return world, kept(world)


def test_an_import_that_is_made_again_finds_number_decision_and_rollbacks() -> None:
    before, lines = rolled_back_and_rejected()
    world = namespace(imported=make.Import().spec(source=source("e")), uid="made-again")
    assert world.names("ModelVersion") == []
    assert [n for n in world.names("Job") if n == f"{NAME}-1-1"] == [], "nothing is imported before the store was read"
    finds(world, lines)
    for name in ("churn-1", "churn-2"):
        was, now = before.get("ModelVersion", name), world.get("ModelVersion", name)
        assert now["spec"] == was["spec"]
        for field in ("decision", "takenBack"):
            assert now["status"].get(field) == was["status"].get(field)
        assert now["status"]["registered"]["restored"]
        assert now["metadata"]["ownerReferences"][0]["uid"] == "made-again"
    assert world.condition("ModelVersion", "churn-1", "Approved")[0] == "False"
    assert world.condition("ModelVersion", "churn-2", "TakenBack") == ("True", "AnalysisFailed")

    copied(world, letter="e")
    assert (status(world)["version"], status(world)["number"]) == ("churn-2", 2)
    assert world.names("ModelVersion") == ["churn-1", "churn-2"]
    assert status(world)["records"]["read"]["restored"] == 2


def test_records_lie_in_the_folder_of_the_import_and_its_jobs_have_its_credentials_and_pod_settings() -> None:
    world = namespace(imported=make.Import().spec(pod={"serviceAccountName": "writer"}))
    reads = job(world, "read")
    assert reads is not None
    finds(world, [])
    copied(world)
    world.advance(seconds=6)
    world.settle()
    writes = job(world, "write")
    assert writes is not None
    for made in (reads, writes):
        assert (config(made).store, config(made).secret) == (FOLDER, "writer")
        assert made["metadata"]["labels"]["tidemill.io/import"] == NAME
        assert made["spec"]["template"]["spec"]["serviceAccountName"] == "writer"
    assert [r.uri for r in config(writes).write] == [f"{FOLDER}/imported/1-{'d' * 12}"]
    ends(world, "write", {"written": 1})
    world.advance(hours=1)
    world.settle()
    assert not [n for n in world.names("Job") if "records" in n], "nothing is written again"


def test_a_version_with_a_name_of_its_own_comes_back_with_its_decision() -> None:
    wanted = {"as": {"name": "notebook"}, "approval": "Manual"}
    before = namespace(imported=make.Import().spec(**wanted))
    finds(before, [])
    copied(before)
    annotated(before, "notebook", constants.APPROVE)
    lines = kept(before)
    world = namespace(imported=make.Import().spec(**wanted), uid="made-again")
    finds(world, lines)
    copied(world)
    assert world.names("ModelVersion") == ["notebook"]
    assert world.get("ModelVersion", "notebook")["status"]["registered"]["restored"]
    assert world.condition("ModelVersion", "notebook", "Approved") == ("True", "ApprovedByHand")
    assert world.condition("ModelImport", NAME) == ("True", "Imported")


def test_a_number_that_was_given_is_given_to_no_other_content() -> None:
    """Also where the record is of a key that was lost, and where the version was deleted before."""
    _, lines = rolled_back_and_rejected()
    world = namespace(uid="made-again", key=OTHER_KEY)
    finds(world, lines)
    assert world.names("ModelVersion") == []
    assert [e.reason for e in world.events] == ["RecordsRefused"]
    copied(world)
    assert status(world)["version"] == "churn-3"


def test_only_records_of_versions_of_this_import_are_believed() -> None:
    _, lines = rolled_back_and_rejected()
    other = make.Import("other").spec(artifacts=STORE).created(make.NOW).obj()
    world = World(other, config=OperatorConfig(record_keys=(KEY,)))
    world.settle()
    finds(world, lines)
    assert world.names("ModelVersion") == []
    assert world.get("ModelImport", "other")["status"]["records"]["read"]["refused"] == 3


def test_with_a_pipeline_the_import_writes_its_records_and_the_pipeline_alone_reads() -> None:
    pipeline = make.Pipeline().created(make.NOW).obj()
    world = namespace(pipeline, make.ConfigMap().obj())
    found = [o for o in world.objects.values() if o["kind"] == "Job" and "records" in o["metadata"]["name"]]
    assert not [o for o in found if o["metadata"]["ownerReferences"][0]["kind"] == "ModelImport"]


def test_a_pipeline_that_is_applied_after_the_import_does_not_keep_its_records_from_being_written() -> None:
    """Its search goes on when the pipeline comes: it is not needed any more, and is no Job that is waited for."""
    world = namespace()
    pipeline = make.Pipeline().created(make.NOW).obj()
    pipeline["spec"]["artifacts"] = {**STORE, "restore": "Never"}
    world.put(pipeline)
    world.put(make.ConfigMap().obj())
    copied(world)
    assert world.names("ModelVersion") == ["churn-1"]
    own = world.get("ModelImport", NAME)["metadata"]["uid"]

    writes = job(world, "write")
    assert writes is not None
    assert writes["metadata"]["ownerReferences"][0]["uid"] == own
    world.advance(seconds=2)
    world.kubelet_finishes(writes["metadata"]["name"], json.dumps({"written": 1}))
    world.settle()
    assert status(world)["records"]["written"]["versions"] == 1


def test_another_import_takes_no_number_before_the_first_has_looked() -> None:
    other = make.Import("other").spec(artifacts=STORE).created(make.NOW).obj()
    world = namespace(other)
    reads = next(n for n in world.names("Job") if n.startswith("other-records"))
    world.logs[f"{reads}-1"] = ""
    world.kubelet_finishes(reads, json.dumps({"read": 0}))
    copied(world, "other-1-1")
    assert not world.names("ModelVersion")
    assert "look for their earlier versions first" in message(world, name="other")


def test_a_store_that_does_not_answer_is_told_and_nothing_is_imported_before_it_does() -> None:
    world = namespace()
    ends(world, "read", {"error": "Unavailable: no route"})
    assert "Unavailable: no route" in message(world)
    assert "restore" not in message(world), "an import has no such field"
    assert f"{NAME}-1-1" not in world.names("Job")
    assert world.condition("ModelImport", NAME, "VersionsRecorded") == ("False", "RecordsNotRead")
    assert message(world, type_="VersionsRecorded").startswith("nothing is imported before")
    world.put(make.Pipeline().created(world.clock.time).obj())
    world.settle()
    assert world.condition("ModelImport", NAME, "VersionsRecorded") == ("", ""), "the pipeline looks from now on"


def test_a_failed_write_is_a_condition_of_the_import_and_is_tried_again() -> None:
    world = namespace()
    finds(world, [])
    copied(world)
    world.advance(seconds=6)
    world.settle()
    ends(world, "write", {"error": "StorageFull: no space"})
    assert world.condition("ModelImport", NAME, "VersionsRecorded") == ("False", "RecordsNotWritten")
    assert "StorageFull: no space" in message(world, type_="VersionsRecorded")
    assert world.condition("ModelImport", NAME) == ("True", "Imported"), "the version is there nevertheless"
    world.advance(minutes=10)
    world.settle()
    ends(world, "write", {"written": 1})
    assert world.condition("ModelImport", NAME, "VersionsRecorded") == ("", "")


def test_refused_records_are_said_to_be_not_of_the_import() -> None:
    _, lines = rolled_back_and_rejected()
    world = namespace(uid="made-again", key=OTHER_KEY)
    finds(world, lines)
    assert world.condition("ModelImport", NAME, "VersionsRecorded") == ("True", "RecordsRefused")
    assert "signed that for this namespace and import" in message(world, type_="VersionsRecorded")


class Counting(Cache):
    """Counts the versions and imports that a pass is given."""

    seen = 0

    def list(self, kind: str, *args: Any, **kwargs: Any) -> list[Obj]:
        return self._counted(kind, super().list(kind, *args, **kwargs))

    def naming(self, kind: str, *args: Any, **kwargs: Any) -> list[Obj]:
        return self._counted(kind, super().naming(kind, *args, **kwargs))

    def _counted(self, kind: str, found: list[Obj]) -> list[Obj]:
        self.seen += len(found) if kind in ("ModelVersion", "ModelImport") else 0
        return found


def crowded(wanted: make.Import) -> tuple[World, Counting]:
    """The namespace of an import, with 40 versions of its pipeline and 40 imports into it that are not its own."""
    world = namespace(imported=wanted)
    finds(world, [])
    copied(world)
    world.advance(seconds=6)
    world.settle()
    if job(world, "write"):
        ends(world, "write", {"written": 1})
    for number in range(101, 141):
        other = make.Import(f"other-{number}").spec(artifacts=STORE).created(make.NOW)
        world.put(other.status(sourceDigest=make.DIGEST, version=f"churn-{number}", number=number).obj())
        version = copy.deepcopy(world.get("ModelVersion", world.names("ModelVersion")[0]))
        version["metadata"].update(name=f"churn-{number}", uid=f"uid-{number}")
        version["spec"].update(number=number, pipeline="churn", digest=make.digest("a"))
        version["spec"]["source"]["import"] = f"other-{number}"
        version["status"]["registered"]["digest"] = make.digest("a")
        world.put(version)
    world.settle()
    world.cache.__class__ = Counting
    assert isinstance(world.cache, Counting)
    return world, world.cache


@pytest.mark.parametrize("as_", [{"pipeline": "churn"}, {"name": "notebook"}])
def test_a_pass_over_an_import_that_is_over_looks_at_its_own_versions_alone(as_: Obj) -> None:
    """Of many imports each one is looked at again and again: all versions and imports each time would be a square."""
    world, counting = crowded(make.Import().spec(**{"as": as_}))
    plan = world.plan(Key("ModelImport", make.NAMESPACE, NAME))
    assert plan.apply == () and plan.delete == ()
    assert counting.seen <= 3


def test_an_import_that_failed_for_good_looks_at_no_version_and_knows_the_next_number_again() -> None:
    world, counting = crowded(make.Import())
    change(world, source=source("e"))
    world.settle()
    world.advance(seconds=5)
    why = make.failed("DataInvalid", "DigestMismatch", "another digest")
    world.kubelet_finishes(f"{NAME}-2-1", why, 1)
    world.settle()
    assert world.condition("ModelImport", NAME) == ("False", "ImportFailed")
    counting.seen = 0
    world.plan(Key("ModelImport", make.NAMESPACE, NAME))
    assert counting.seen <= 3
    world.change("ModelImport", NAME, lambda o: o["metadata"].setdefault("annotations", {}).update(AGAIN))
    world.settle()
    world.advance(seconds=5)
    uri = f"{FOLDER}/{'e' * 64}"
    world.kubelet_finishes(f"{NAME}-2-2", make.imported("e", uri=uri))
    world.settle()
    assert status(world)["version"] == "churn-141"


def test_a_rollback_of_an_old_version_is_recorded_although_the_import_is_over() -> None:
    world, _ = crowded(make.Import())
    mark(world, "churn-1")
    world.advance(seconds=6)
    world.settle()
    assert "takenBack" in kept(world)[-1]


@pytest.mark.parametrize("keys", [(), (KEY,)])
def test_an_import_whose_store_cannot_be_read_is_stalled_and_looks_for_nothing(keys: tuple[str, ...]) -> None:
    obj = make.Import().spec(artifacts={"uri": "pvc://a/../b"}).created(make.NOW).obj()
    world = World(obj, config=OperatorConfig(record_keys=keys))
    world.settle()
    assert world.condition("ModelImport", NAME) == ("False", "InvalidArtifacts")
    assert not world.names("Job")


@pytest.mark.parametrize(("name", "folder"), [("churn", "churn"), ("imports", "imports_")])
def test_a_pipeline_shares_no_folder_with_imports(name: str, folder: str) -> None:
    found = snapshot()
    found.object["metadata"]["name"] = name
    assert store_folder(found) == f"pvc://tidemill-artifacts/{folder}"
