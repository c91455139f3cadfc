"""Records of versions in the artifact store: an empty namespace finds its versions again, and believes nobody else."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from tests.support import builders_training as make
from tests.unit.training.test_killed import Cluster, KilledError
from tests.unit.training.test_rollback_marks import mark
from tests.unit.training.world import World

from tidemill.config import OperatorConfig
from tidemill.training import job_status, store_records
from tidemill_contracts.records import LINE, RECORDS_ENV, RecordsConfig

Obj = dict[str, Any]

KEY, OTHER_KEY = "k" * 32, "o" * 32
BUCKET = {"uri": "s3://models/team", "secretRef": {"name": "lake"}}


def namespace(*keys: str, pipeline: make.Pipeline | None = None, uid: str | None = None) -> World:
    """A pipeline with a bucket and an operator with these keys."""
    obj = (pipeline or make.Pipeline().spec(artifacts=BUCKET).triggers(codeChange={})).obj()
    if uid:
        obj["metadata"]["uid"] = uid
    return World(obj, make.ConfigMap().obj(), config=OperatorConfig(record_keys=keys or (KEY,)))


def job(world: World, mode: str) -> Obj | None:
    """The Job that reads or writes now, or the one that did last."""
    found = [o for o in world.objects.values() if o["kind"] == "Job"]
    return next((o for o in reversed(found) if o["metadata"]["labels"].get("tidemill.io/records") == mode), None)


def config(job: Obj) -> RecordsConfig:
    """What the pod is handed."""
    environment = job["spec"]["template"]["spec"]["containers"][0]["env"]
    return RecordsConfig.from_json(next(e["value"] for e in environment if e["name"] == RECORDS_ENV))


def ends(world: World, mode: str, result: Obj, lines: list[str] | None = None) -> None:
    """The pod of the Job ends."""
    found = job(world, mode)
    assert found is not None
    name = found["metadata"]["name"]
    world.logs[f"{name}-1"] = "".join(f"{line}\n" for line in ['{"message": "other lines"}', *(lines or [])])
    world.advance(seconds=2)
    world.kubelet_finishes(name, json.dumps(result))
    world.settle()


def imports(world: World) -> None:
    """The import of a version of staging is applied, and its Job ends well."""
    world.put(make.Import().created(world.clock.time).obj())
    world.settle()
    world.kubelet_finishes("from-staging-1-1", make.imported())
    world.settle()


def finds(world: World, texts: list[str]) -> None:
    """The store holds these records."""
    ends(world, "read", {"read": len(texts)}, [LINE + text for text in texts])


def stored(world: World) -> list[str]:
    """The records that the operator has written, once it is settled."""
    world.advance(seconds=6)
    world.settle()
    found = job(world, "write")
    assert found is not None
    texts = [record.text for record in config(found).write]
    ends(world, "write", {"written": len(texts)})
    return texts


def recorded(world: World) -> tuple[list[str], str]:
    """The records that the operator has written, and that of all versions."""
    world.advance(seconds=6)
    world.settle()
    found = job(world, "write")
    assert found is not None
    wrote = config(found)
    ends(world, "write", {"written": len(wrote.write)})
    assert wrote.series is not None
    return [record.text for record in wrote.write], wrote.series


def train_two(pipeline: make.Pipeline | None = None) -> World:
    """A namespace with two versions; what was written of the first one is in the store."""
    world = namespace(pipeline=pipeline)
    world.settle()
    finds(world, [])
    world.train("a")
    world.advance(minutes=1)
    world.put(make.ConfigMap(train_py="2").obj())
    world.train("b")
    world.settle()
    if job(world, "write"):
        ends(world, "write", {"written": 1})
    return world


def two_versions() -> tuple[World, list[str]]:
    """A namespace with two versions, the second one rolled back, and its records."""
    world = train_two()
    mark(world)
    return world, stored(world)


def made_again(texts: list[str], pipeline: make.Pipeline | None = None, *keys: str) -> World:
    """The pipeline in an empty namespace, whose store has these records."""
    world = namespace(*keys, pipeline=pipeline, uid="made-again")
    world.settle()
    finds(world, texts)
    return world


def next_version(world: World) -> str:
    """Name of the version that new content becomes."""
    world.put(make.ConfigMap(train_py="new").obj())
    world.train("e")
    world.settle()
    return str(world.pipeline()["latestVersion"])


def test_an_empty_namespace_finds_versions_numbers_decisions_and_rollbacks() -> None:
    before, texts = two_versions()
    world = namespace(uid="made-again")
    world.settle()
    assert world.names("TrainingRun") == [], "nothing is trained before the store was read"
    finds(world, texts)

    for name in ("churn-1", "churn-2"):
        was, now = before.get("ModelVersion", name), world.get("ModelVersion", name)
        assert now["spec"] == was["spec"]
        for field in ("decision", "takenBack"):
            assert now["status"].get(field) == was["status"].get(field)
        registered = dict(now["status"]["registered"])
        assert registered.pop("restored")
        assert registered == was["status"]["registered"]
        assert now["metadata"]["ownerReferences"][0]["uid"] == "made-again"
    assert world.condition("ModelVersion", "churn-1", "Approved")[0] == "True"
    assert world.condition("ModelVersion", "churn-2", "TakenBack") == ("True", "AnalysisFailed")
    assert {**world.pipeline()["records"]["read"], "time": ""} == {
        "time": "",
        "restored": 2,
        "refused": 0,
        "numbers": 2,
        "unlisted": 2,
    }
    (run,) = world.names("TrainingRun")
    assert world.get("TrainingRun", run)["spec"]["champion"]["version"] == "churn-1"
    world.advance(seconds=25)
    world.settle()
    assert world.pipeline()["activeRun"] == run, "although it has the name of the one that made a version here"
    assert world.pipeline()["champion"]["version"] == "churn-1"

    world.train("b")
    assert world.condition("TrainingRun", run, "Succeeded")[0] == "True"
    assert world.names("ModelVersion") == ["churn-1", "churn-2"], "the content that was rolled back is no new version"
    assert world.pipeline()["champion"]["version"] == "churn-1"
    world.put(make.ConfigMap(train_py="3").obj())
    world.train("c")
    assert world.names("ModelVersion")[-1] == "churn-3"


def test_a_run_that_makes_what_was_restored_changes_nothing() -> None:
    """Its inputs give it the name of the run that made the version, and the same second may see both."""
    before = namespace()
    before.settle()
    finds(before, [])
    before.train("a")
    texts = stored(before)
    world = namespace(uid="made-again")
    world.settle()
    finds(world, texts)
    (run,) = world.names("TrainingRun")
    assert world.get("ModelVersion", "churn-1")["spec"]["lineage"]["run"] == run
    world.advance(seconds=25)
    world.settle()
    assert world.pipeline()["activeRun"] == run
    assert world.pipeline()["champion"]["version"] == "churn-1"
    world.train("a")
    assert world.condition("TrainingRun", run, "Succeeded") == ("True", "Unchanged")
    assert world.names("ModelVersion") == ["churn-1"]


def test_a_run_that_goes_back_to_older_content_that_was_restored_makes_a_new_version() -> None:
    """In Git the code went back to that of version 1 while there was no namespace: deployments must follow."""
    before = namespace()
    before.settle()
    finds(before, [])
    before.train("a")
    before.advance(minutes=1)
    before.put(make.ConfigMap(train_py="2").obj())
    before.train("b")
    before.settle()
    if job(before, "write"):
        ends(before, "write", {"written": 1})
    texts = stored(before)
    world = namespace(uid="made-again")
    world.settle()
    finds(world, texts)
    assert world.names("ModelVersion") == ["churn-1", "churn-2"]
    (run,) = world.names("TrainingRun")
    assert world.get("ModelVersion", "churn-1")["spec"]["lineage"]["run"] == run, "the same inputs"
    world.train("a")
    assert world.condition("TrainingRun", run, "Succeeded") == ("True", "Succeeded")
    assert world.names("ModelVersion") == ["churn-1", "churn-2", "churn-3"]
    assert world.get("ModelVersion", "churn-3")["spec"]["digest"] == make.digest("a")


def test_the_jobs_that_read_and_write_have_what_a_run_has_and_are_removed() -> None:
    world = namespace()
    world.settle()
    reader = job(world, "read")
    assert reader is not None
    assert config(reader) == RecordsConfig(store="s3://models/team/team-a/churn", secret="lake")
    pod = reader["spec"]["template"]["spec"]
    assert "lake" in json.dumps(pod["volumes"])
    assert pod["containers"][0]["command"][-1] == "records"
    finds(world, [])
    world.train("a")
    assert job(world, "read") is None
    texts = stored(world)
    assert len(texts) == 1 and job(world, "write") is None
    world.advance(minutes=30)
    world.settle()
    assert job(world, "write") is None, "the store says what it should"
    run = world.get("TrainingRun", world.names("TrainingRun")[0])
    assert run["spec"]["store"]["uri"].startswith("s3://models/team/team-a/churn/")


def test_a_rollback_after_the_record_was_written_is_recorded_too() -> None:
    world = namespace()
    world.settle()
    finds(world, [])
    world.train("a")
    (first,) = stored(world)
    mark(world, "churn-1")
    (second,) = stored(world)
    assert "takenBack" not in json.loads(first)["statement"] or json.loads(first)["statement"]["takenBack"] == {}
    assert list(json.loads(second)["statement"]["takenBack"]) == ["web"]


def changed(text: str, **parts: Any) -> str:
    """A record in which somebody with the store's credentials has changed something."""
    document = json.loads(text)
    for path, value in parts.items():
        node = document
        *parents, last = path.split("__")
        for part in parents:
            node = node[part]
        node[last] = value
    return json.dumps(document)


DECISION = {"approved": True, "by": "gates", "time": "2026-11-20T00:00:00Z", "digest": make.digest("b")}
FORGERIES = {
    "another number": {"spec__number": 9},
    "another model": {"spec__digest": make.digest("7")},
    "another place": {"spec__uri": f"s3://models/team/team-a/churn/{'7' * 64}"},
    "approved": {
        "statement__decision": {
            "approved": True,
            "by": "gates",
            "time": "2026-11-20T00:00:00Z",
            "digest": make.digest("a"),
        }
    },
    "no rollback": {"statement__takenBack": {}},
    "another namespace": {"statement__namespace": "team-b"},
    "no signature": {"signature": None},
    "a signature that is no text": {"signature": 7},
    "an odd signature": {"signature": "hmac-sha256:é"},
    "no statement": {"statement": ["x"]},
    "not a number": {"statement__registered": float("nan")},
    "no spec": {"spec": None},
}


@pytest.mark.parametrize("changes", FORGERIES.values(), ids=FORGERIES)
def test_no_word_of_a_record_can_be_changed(changes: Obj) -> None:
    _, texts = two_versions()
    second = next(t for t in texts if json.loads(t)["spec"]["number"] == 2)
    world = namespace(uid="made-again")
    world.settle()
    finds(world, [changed(second, **changes)])

    assert world.names("ModelVersion") == []
    assert world.pipeline()["records"]["read"]["refused"] == 1
    assert "RecordsRefused" in [e.reason for e in world.events]
    assert world.names("TrainingRun"), "what is not believed keeps nobody from training"


@pytest.mark.parametrize("line", ["", "{", "[]", "null", '"x"', "{}", "[" * 60_000, "x" * 100_000])
def test_what_is_no_record_is_refused(line: str) -> None:
    assert store_records.read(line, (KEY,)) is None


def test_records_of_another_pipeline_namespace_or_operator_are_not_believed() -> None:
    _, texts = two_versions()
    for world in (
        namespace(OTHER_KEY, uid="again"),
        namespace(pipeline=make.Pipeline("other").spec(artifacts=BUCKET), uid="again"),
        namespace(pipeline=make.Pipeline().spec(artifacts={**BUCKET, "uri": "s3://elsewhere"}), uid="again"),
    ):
        world.settle()
        finds(world, texts)
        assert world.names("ModelVersion") == []
    world = namespace(OTHER_KEY, KEY, uid="again")
    world.settle()
    finds(world, texts)
    assert world.names("ModelVersion") == ["churn-1", "churn-2"], "an earlier key is believed"


def test_versions_before_restore_never_do_not_come_back_after_it() -> None:
    """Never begins anew: with Auto again, the old version 2 would have been newer than the one that was served."""
    _, old = two_versions()
    world = namespace(pipeline=make.Pipeline().spec(artifacts={**BUCKET, "restore": "Never"}), uid="b")
    world.advance(days=1)
    world.train("c")
    (new,), there = recorded(world)
    again = made_again([there, *old, new])
    assert again.names("ModelVersion") == ["churn-1"]
    assert again.get("ModelVersion", "churn-1")["spec"]["digest"] == make.digest("c")
    assert next_version(again) == "churn-3", "the number of the old version 2 is not given again"


def test_the_newest_of_two_versions_with_one_number_is_restored() -> None:
    """In a store of an earlier release, which did not record which versions there are."""
    _, old = two_versions()
    world = namespace(pipeline=make.Pipeline().spec(artifacts={**BUCKET, "restore": "Never"}), uid="b")
    world.advance(days=1)
    world.train("c")
    (new,) = stored(world)
    again = namespace(uid="c")
    again.settle()
    finds(again, [*old, new])
    assert again.get("ModelVersion", "churn-1")["spec"]["digest"] == make.digest("c")
    assert again.pipeline()["records"]["read"]["restored"] == 2


KEEP_ONE = {"artifacts": BUCKET, "history": {"versions": 1}}


def test_a_version_that_was_pruned_does_not_come_back_with_its_pipeline() -> None:
    pipeline = make.Pipeline().spec(**KEEP_ONE).triggers(codeChange={})
    before = train_two(pipeline)
    assert before.names("ModelVersion") == ["churn-2"], "the first one is pruned, and its record lies in the store"
    texts, there = recorded(before)
    first = json.loads(there)["series"]
    assert (first["numbers"], len(first["versions"])) == (2, 1)
    _, all_records = two_versions()
    old = next(t for t in all_records if json.loads(t)["spec"]["number"] == 1)

    world = made_again([there, *texts, old], make.Pipeline().spec(artifacts=BUCKET).triggers(codeChange={}))
    assert world.names("ModelVersion") == ["churn-2"]
    assert world.pipeline()["records"]["read"]["refused"] == 0, "it is believed, and not wanted"
    assert next_version(world) == "churn-3"


def test_a_version_that_somebody_deleted_is_struck_off_and_its_number_stays_given() -> None:
    before = train_two()
    texts, there = recorded(before)
    before.remove("ModelVersion", "churn-2")
    before.advance(seconds=20)
    before.settle()
    assert job(before, "write") is None, "who deletes everything in a namespace means to rebuild it"
    assert made_again([there, *texts]).names("ModelVersion") == ["churn-1", "churn-2"]
    before.advance(seconds=30)
    before.settle()
    _, later = recorded(before)
    assert before.pipeline()["records"].get("missingSince") is None
    world = made_again([later, *texts])
    assert world.names("ModelVersion") == ["churn-1"]
    assert next_version(world) == "churn-3"


def test_a_version_whose_record_is_newer_than_that_of_all_is_restored() -> None:
    """The Job was killed between the two."""
    before = train_two()
    texts, _ = recorded(before)
    early = namespace()
    early.settle()
    finds(early, [])
    early.train("a")
    _, there = recorded(early)
    assert len(json.loads(there)["series"]["versions"]) == 1
    assert made_again([there, *texts]).names("ModelVersion") == ["churn-1", "churn-2"]


def test_the_record_of_all_versions_is_believed_only_where_it_was_signed_for() -> None:
    before = train_two()
    texts, there = recorded(before)
    for changes in ({"series__versions": []}, {"series__numbers": 70}, {"series__name": "other"}, {"signature": "x"}):
        world = made_again([changed(there, **changes), *texts])
        assert world.names("ModelVersion") == ["churn-1", "churn-2"]
        assert world.pipeline()["records"]["read"]["refused"] == 1
        assert world.pipeline()["versions"] == 2
    signed_as_version = changed(there, statement=json.loads(there)["series"])
    assert store_records.read(signed_as_version, (KEY,)) is None


def test_numbers_of_records_that_are_not_believed_are_not_given_again() -> None:
    """They may be ours, from before the key was lost; what is no number of a version reserves nothing."""
    _, texts = two_versions()
    odd = [changed(texts[0], spec__number=n) for n in (10**6, 2**70, -4, True, "9", None, 5.5)]
    foreign = changed(texts[0], spec__number=8, statement__namespace="team-b")
    world = made_again([*texts, *odd, foreign], None, OTHER_KEY)
    assert world.names("ModelVersion") == []
    read = world.pipeline()["records"]["read"]
    assert (read["refused"], read["numbers"]) == (10, 2)
    assert "the next number is above 2" in next(e.message for e in world.events if e.reason == "RecordsRefused")
    assert next_version(world) == "churn-3"


def test_an_imported_version_comes_back_with_its_number_and_rollbacks_and_is_not_imported_as_the_newest() -> None:
    """Git has both, the pipeline and the import; without a record the old import would be version 3, unmarked."""
    before = train_two()
    imports(before)
    assert before.names("ModelVersion")[-1] == "churn-3"
    if job(before, "write"):
        ends(before, "write", {"written": 3})
    mark(before, "churn-3")
    texts, there = recorded(before)
    found = [json.loads(text)["spec"] for text in texts]
    assert [spec["number"] for spec in found] == [3, 2, 1]

    world = made_again([there, *texts])
    was, now = before.get("ModelVersion", "churn-3"), world.get("ModelVersion", "churn-3")
    assert now["spec"] == was["spec"]
    assert now["metadata"]["labels"]["tidemill.io/import"] == "from-staging"
    assert world.condition("ModelVersion", "churn-3", "TakenBack") == ("True", "AnalysisFailed")
    world.advance(minutes=5)
    imports(world)
    assert world.get("ModelImport", "from-staging")["status"]["version"] == "churn-3"
    assert world.names("ModelVersion") == ["churn-1", "churn-2", "churn-3"]
    assert world.pipeline()["champion"]["version"] == "churn-2"


def test_the_record_of_an_imported_version_lies_with_its_pipeline() -> None:
    world = train_two()
    imports(world)
    if job(world, "write"):
        ends(world, "write", {"written": 2})
    world.advance(seconds=6)
    world.settle()
    found = job(world, "write")
    assert found is not None
    places = [record.uri for record in config(found).write]
    assert places[0] == f"s3://models/team/team-a/churn/imported/3-{'d' * 12}"
    assert [place.endswith(("a" * 64, "b" * 64)) for place in places] == [False, True, True]


def test_what_the_pod_could_not_read_is_counted_and_costs_nothing_else() -> None:
    texts, there = recorded(train_two())
    world = namespace(uid="made-again")
    world.settle()
    found = {"read": 3, "unreadable": 3, "examples": ["x/record.json", "y\n/record.json"]}
    ends(world, "read", found, [LINE + text for text in (there, *texts)])
    assert world.names("ModelVersion") == ["churn-1", "churn-2"]
    read = world.pipeline()["records"]["read"]
    assert (read["restored"], read["refused"]) == (2, 3)
    assert world.condition("TrainingPipeline", "churn", "VersionsRecorded") == ("True", "RecordsRefused")
    assert "3 records were not believed" in json.dumps(world.pipeline()["conditions"])
    assert "x/record.json" in json.dumps(world.pipeline()["conditions"])
    assert world.names("TrainingRun")
    assert "RecordsRefused" in [e.reason for e in world.events]


def test_a_store_that_cannot_be_read_keeps_runs_from_starting_and_says_so() -> None:
    world = namespace()
    world.settle()
    ends(world, "read", {"read": 0, "error": "AccessDenied: the store refused the credentials"})
    assert world.names("TrainingRun") == []
    assert world.condition("TrainingPipeline", "churn", "VersionsRecorded") == ("False", "RecordsNotRead")
    assert "AccessDenied" in json.dumps(world.pipeline()["conditions"])
    world.advance(seconds=61)
    world.settle()
    finds(world, [])
    assert world.condition("TrainingPipeline", "churn", "VersionsRecorded") == ("", "")
    assert len(world.names("TrainingRun")) == 1


def test_what_keeps_the_pod_that_searches_from_starting_is_named_on_the_pipeline() -> None:
    world = namespace()
    world.settle()
    found = job(world, "read")
    assert found is not None
    waiting = {"reason": "ErrImagePull", "message": "not found"}
    world.put(make.pod(found, waiting=waiting))
    world.settle()
    assert world.condition("TrainingPipeline", "churn") == ("Unknown", "RunCannotStart")
    assert "image tidemill.io/trainer:dev" in json.dumps(world.pipeline()["conditions"])


def test_a_log_without_all_records_is_no_answer() -> None:
    _, texts = two_versions()
    world = namespace(uid="made-again")
    world.settle()
    ends(world, "read", {"read": 2}, [LINE + texts[0]])
    assert world.names("ModelVersion") == world.names("TrainingRun") == []
    assert world.pipeline()["records"]["read"]["error"] == "the log of its Job holds 1 of 2 records"


def test_an_operator_that_is_killed_before_it_wrote_that_it_has_read_reads_the_same_again() -> None:
    _, texts = two_versions()
    world = namespace(uid="made-again")
    world.settle()
    world.crash_before_status = True
    found = job(world, "read")
    assert found is not None
    world.logs[f"{found['metadata']['name']}-1"] = "".join(f"{LINE}{text}\n" for text in texts)
    world.kubelet_finishes(found["metadata"]["name"], json.dumps({"read": 2}))
    world.settle()
    world.crash_before_status = False
    world.restart()
    world.settle()
    assert world.names("ModelVersion") == ["churn-1", "churn-2"]
    assert world.condition("ModelVersion", "churn-2", "TakenBack")[0] == "True"
    assert len(world.names("TrainingRun")) == 1


def rebuild(world: World, texts: list[str]) -> None:
    """From wherever the world stands to the first run of a pipeline whose store has these records."""
    world.settle()
    found = job(world, "read")
    if found is not None and job_status.job_outcome(found) is None:
        finds(world, texts)


REBUILD_WRITES = 8
"""The Job that reads, the pipeline's status, two versions, the pipeline's status, that of both versions, the run."""


@pytest.mark.parametrize("writes", range(1, REBUILD_WRITES + 1))
def test_a_leader_that_is_killed_after_a_write_of_a_rebuild_leaves_nothing_undone_or_doubled(writes: int) -> None:
    before = train_two()
    mark(before)
    texts, there = recorded(before)
    texts = [there, *texts]
    pipeline = make.Pipeline().spec(artifacts=BUCKET).triggers(codeChange={}).obj()
    pipeline["metadata"]["uid"] = "made-again"
    world = Cluster(pipeline, make.ConfigMap().obj(), config=OperatorConfig(record_keys=(KEY,)))
    world.kill_after = writes
    with pytest.raises(KilledError):
        rebuild(world, texts)
    world.kill_after = None
    world.restart()
    rebuild(world, texts)

    made = Counter(w.kind for w in world.writes if w.verb == "apply")
    assert (made["TrainingRun"], made["ModelVersion"]) == (1, 2)
    assert world.names("ModelVersion") == ["churn-1", "churn-2"]
    for name in world.names("ModelVersion"):
        assert world.get("ModelVersion", name)["status"].get("takenBack") == before.get("ModelVersion", name)[
            "status"
        ].get("takenBack")
    (run,) = world.names("TrainingRun")
    assert world.get("TrainingRun", run)["spec"]["champion"]["version"] == "churn-1"


def test_a_failed_write_is_shown_and_tried_again() -> None:
    world = namespace()
    world.settle()
    finds(world, [])
    world.train("a")
    world.advance(seconds=6)
    world.settle()
    ends(world, "write", {"error": "StorageFull: no space"})
    assert world.condition("TrainingPipeline", "churn", "VersionsRecorded") == ("False", "RecordsNotWritten")
    assert job(world, "write") is None
    world.advance(minutes=10)
    world.settle()
    ends(world, "write", {"written": 1})
    assert world.condition("TrainingPipeline", "churn", "VersionsRecorded") == ("", "")


def test_that_the_store_cannot_be_read_is_not_said_any_more_when_nobody_waits_for_it() -> None:
    world = namespace()
    world.settle()
    ends(world, "read", {"error": "Unavailable: no route"})
    assert world.condition("TrainingPipeline", "churn", "VersionsRecorded") == ("False", "RecordsNotRead")
    world.change("TrainingPipeline", "churn", lambda o: o["spec"]["artifacts"].update(restore="Never"))
    world.settle()
    assert len(world.names("TrainingRun")) == 1
    world.advance(seconds=21)
    world.settle()
    assert world.condition("TrainingPipeline", "churn", "VersionsRecorded") == ("", "")


def test_without_a_key_or_with_restore_never_the_first_run_starts_at_once() -> None:
    plain = World(make.Pipeline().obj(), make.ConfigMap().obj())
    plain.settle()
    never = namespace(pipeline=make.Pipeline().spec(artifacts={**BUCKET, "restore": "Never"}))
    never.settle()
    for world in (plain, never):
        assert len(world.names("TrainingRun")) == 1 and job(world, "read") is None
    plain.train()
    assert job(plain, "write") is None and "records" not in plain.pipeline()


def test_a_version_that_is_served_stays_and_what_went_with_its_pipeline_comes_back() -> None:
    """Deleting a pipeline leaves the versions that are served; the one that was rolled back is not among them."""
    world, texts = two_versions()
    served = world.put(make.Deployment("web").uses(stable="churn-1").obj())
    world.settle()
    world.remove("TrainingPipeline", "churn")
    assert world.names("ModelVersion") == ["churn-1"]
    uid = world.get("ModelVersion", "churn-1")["metadata"]["uid"]
    again = make.Pipeline().spec(artifacts=BUCKET).triggers(codeChange={}).created(world.clock.time).obj()
    world.put({**again, "metadata": {**again["metadata"], "uid": "made-again"}})
    world.settle()
    assert world.names("TrainingRun") == []
    finds(world, texts)

    assert world.get("ModelVersion", "churn-1")["metadata"]["uid"] == uid and served
    assert world.condition("ModelVersion", "churn-2", "TakenBack") == ("True", "AnalysisFailed")
    assert world.pipeline()["records"]["read"]["restored"] == 1
    world.train("b")
    assert sorted(world.names("ModelVersion")) == ["churn-1", "churn-2"]


def test_a_pipeline_that_is_made_after_an_import_of_its_name_finds_its_earlier_versions_too() -> None:
    """The imported version is there before the pipeline is, and is no history of it."""
    _, texts = two_versions()
    world = World(make.Import().created(make.NOW).obj(), config=OperatorConfig(record_keys=(KEY,)))
    world.settle()
    world.kubelet_finishes("from-staging-1-1", make.imported())
    world.settle()
    assert world.names("ModelVersion") == ["churn-1"]
    imported = world.get("ModelVersion", "churn-1")
    world.put(make.ConfigMap().obj())
    world.put(make.Pipeline().spec(artifacts=BUCKET).triggers(codeChange={}).created(world.clock.time).obj())
    world.settle()
    assert job(world, "read") and world.names("TrainingRun") == [], "nothing is trained before the store was read"
    finds(world, texts)

    assert world.names("ModelVersion") == ["churn-1", "churn-2"]
    now = world.get("ModelVersion", "churn-1")
    assert (now["metadata"]["uid"], now["spec"]) == (imported["metadata"]["uid"], imported["spec"])
    assert world.condition("ModelVersion", "churn-2", "TakenBack") == ("True", "AnalysisFailed")
    assert {**world.pipeline()["records"]["read"], "time": ""} == {
        "time": "",
        "restored": 1,
        "refused": 0,
        "numbers": 2,
        "unlisted": 1,
    }
    (run,) = world.names("TrainingRun")
    assert world.get("TrainingRun", run)["spec"]["champion"]["version"] == "churn-1", "the imported one"
    world.train("c")
    assert world.names("ModelVersion")[-1] == "churn-3"


def test_a_default_claim_that_does_not_exist_yet_holds_nothing() -> None:
    world = namespace(pipeline=make.Pipeline())
    world.settle()
    assert len(world.names("TrainingRun")) == 1 and job(world, "read") is None
    again = namespace(pipeline=make.Pipeline(), uid="made-again")
    again.put(world.get("PersistentVolumeClaim", "tidemill-artifacts"))
    again.settle()
    reader = job(again, "read")
    assert reader is not None and again.names("TrainingRun") == []
    assert claims(reader) == {"tidemill-artifacts": (False, True)}, "the volume is not attached read-only, its mount is"


def test_a_probe_of_data_in_the_claim_of_the_store_does_not_attach_its_volume_read_only() -> None:
    pipeline = make.Pipeline().data("pvc://tidemill-artifacts/rows", "pvc://lake/rows").triggers(dataChange={})
    world = World(pipeline.obj(), make.ConfigMap().obj())
    world.train()
    probe = world.get("Job", next(n for n in world.names("Job") if "-probe-" in n))
    assert claims(probe) == {"lake": (True, True), "tidemill-artifacts": (False, True)}


def claims(job: Obj) -> dict[str, tuple[bool, bool]]:
    """Whether each claim's volume is attached read-only, and whether the container mounts it so."""
    spec = job["spec"]["template"]["spec"]
    mounts = {m["name"]: m.get("readOnly", False) for m in spec["containers"][0]["volumeMounts"]}
    volumes = {v["name"]: v["persistentVolumeClaim"] for v in spec["volumes"] if "persistentVolumeClaim" in v}
    return {c["claimName"]: (c.get("readOnly", False), mounts[name]) for name, c in volumes.items()}


def test_a_record_on_an_object_of_another_spec_is_worth_nothing() -> None:
    _, texts = two_versions()
    record = store_records.read(texts[0], (KEY,))
    assert record is not None
    version = {
        "metadata": {
            "namespace": "team-a",
            "name": record.statement.version,
            "annotations": {"tidemill.io/record": record.annotation},
        },
        "spec": record.spec.to_json(),
    }
    assert store_records.carried(version, (KEY,)) == record.statement
    assert store_records.carried({**version, "spec": {**version["spec"], "approval": "Manual"}}, (KEY,)) is None
    assert store_records.carried({**version, "metadata": {**version["metadata"], "name": "churn-9"}}, (KEY,)) is None
    assert store_records.carried(version, (OTHER_KEY,)) is None


def test_what_an_earlier_release_has_recorded_is_not_recorded_anew_by_all_pipelines_at_once() -> None:
    """It did not record which versions there are."""
    started = []
    for number in range(8):
        world = namespace(uid=f"uid-{number}")
        world.settle()
        finds(world, [])
        world.train("a")
        stored(world)
        world.advance(days=1)
        world.change("TrainingPipeline", "churn", lambda o: o["status"]["records"]["written"].pop("versions"))
        earlier = {"digest": make.digest("0")}
        world.change("TrainingPipeline", "churn", lambda o, e=earlier: o["status"]["records"]["written"].update(e))
        for second in range(0, 630, 10):
            world.settle()
            if job(world, "write"):
                started.append(second)
                break
            world.advance(seconds=10)
    assert len(started) == 8 and len(set(started)) > 3


def test_pipelines_of_an_upgrade_are_recorded_within_ten_minutes_and_not_all_at_once() -> None:
    started = []
    for number in range(12):
        world = World(make.Pipeline().spec(artifacts=BUCKET).obj(), make.ConfigMap().obj())
        world.change("TrainingPipeline", "churn", lambda o, n=number: o["metadata"].update(uid=f"uid-{n}"))
        world.train("a")
        world.advance(days=1)
        world.config = OperatorConfig(record_keys=(KEY,))
        world.restart()
        for second in range(0, 630, 10):
            world.settle()
            if job(world, "write"):
                started.append(second)
                break
            world.advance(seconds=10)
    assert len(started) == 12 and len(set(started)) > 4
