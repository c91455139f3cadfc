"""Records of versions at each edge: when they are read and written, how long a Job has, what is believed."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.support import builders_training as build
from tests.unit.training.make import NOW, ago, run, version, when
from tests.unit.training.make import snapshot as pipeline

from tidemill.config import OperatorConfig
from tidemill.core import hashing
from tidemill.core.conditions import format_time
from tidemill.core.podfailure import LOOK_SECONDS
from tidemill.training import constants, store_records
from tidemill.training.pipeline.policy import recording
from tidemill.training.pipeline.snapshot import PipelineSnapshot, store_folder
from tidemill.training.recording import policy as version_records
from tidemill.training.recording.policy import RecordActions, record_actions
from tidemill.training.recording.snapshot import RecordsJob, RecordsState
from tidemill_contracts.records import LINE, MOST_RECORDS, TEXT_LIMIT

Obj = dict[str, Any]
KEY = "k" * 32
RAN = {"lastRun": "churn-a"}
"""A pipeline that has run reads nothing any more."""
WAITS = "the artifact store is searched for records of earlier versions"


def snapshot(
    records: RecordsState | None = None,
    *,
    known: Obj | None = None,
    status: Obj | None = None,
    spec: Obj | None = None,
    keys: tuple[str, ...] = (KEY,),
    **fields: Any,
) -> PipelineSnapshot:
    """`known`: status.records. A pipeline that has never run, unless `status` says so."""
    said = {**(status or {}), **({"records": known} if known else {})}
    found: PipelineSnapshot = pipeline(spec, said, records=records or RecordsState(), **fields)
    return replace(found, config=OperatorConfig(record_keys=keys))


def decide(*args: Any, **fields: Any) -> RecordActions:
    return record_actions(recording.keeper(snapshot(*args, **fields)))


def job(mode: str = "read", *, seconds: float = 30, finished: bool = False, **changes: Any) -> RecordsJob:
    """A Job that was made so many seconds ago."""
    made = RecordsJob(f"records-{mode}", f"uid-{mode}", ago(seconds=seconds), mode, "", finished, None)
    return replace(made, **changes)


def ended(mode: str, result: Obj | str, *texts: str, **changes: Any) -> RecordsJob:
    log = "\n".join(["another line", *(LINE + text for text in texts)])
    message = result if isinstance(result, str) else json.dumps(result)
    return job(mode, finished=True, message=message, log=log if mode == "read" else "", **changes)


FOLDER = store_folder(pipeline())


def stored(number: int = 1, *, registered: Obj | None = None, name: str = "churn", **spec: Any) -> Obj:
    """A registered ModelVersion of the pipeline, as the API server has it."""
    letter = "123456789abcdef"[number % 15]
    body = {
        "pipeline": name,
        "number": number,
        "digest": build.digest(letter),
        "modelDigest": build.digest("e"),
        "uri": f"{FOLDER}/{number}/{letter * 64}",
        "formats": ["skops"],
        "task": "classification",
        "lineage": {
            "run": f"run-{number}", "trigger": "CodeChanged", "key": build.digest("a"), "data": {},
            "code": build.digest("c"), "image": "trainer:1",
        },
        **spec,
    }  # fmt: skip
    fact = {"digest": body["digest"], "time": when(days=1), "gates": "Passed", **(registered or {})}
    meta = {"name": f"{name}-{number}", "namespace": build.NAMESPACE, "annotations": {}}
    return {"metadata": meta, "spec": body, "status": {"registered": fact}}


def text(found: Obj, key: str = KEY) -> str:
    said = store_records.statement(found)
    assert said is not None
    return store_records.text(said, found["spec"], key)


# ---- whether anything is done ----


def test_without_a_key_or_a_store_nothing_is_read_or_written_and_old_jobs_go() -> None:
    old, before = job(), {"read": {"time": when(days=1)}}
    for found in (
        decide(RecordsState(jobs=(old,)), known=before, keys=()),
        decide(RecordsState(jobs=(old,), usable=False), known=before),
    ):
        assert (found.done, found.start, found.hold, found.restore) == ((old,), None, None, ())
        assert found.status is not None and found.status.read is not None


@pytest.mark.parametrize(
    ("changes", "is_wanted"),
    [
        ({}, True),
        ({"spec": {"artifacts": {"restore": "Never"}}}, False),
        ({"known": {"read": {"time": when(minutes=5)}}}, False),
        ({"known": {"read": {"time": when(minutes=5), "error": "away"}}}, True),
        ({"known": {"written": {"time": when(minutes=5)}}}, True),
        ({"status": RAN}, False),
        ({"status": {"observed": {"spec": "s"}}}, False),
        ({"runs": (run(),)}, False),
        ({"versions": (version(),)}, True),
    ],
)
def test_the_store_is_read_once_before_the_first_run(changes: Obj, is_wanted: bool) -> None:
    assert recording.is_read_wanted(snapshot(**changes)) is is_wanted


def test_no_run_starts_while_a_restored_version_is_not_registered_yet() -> None:
    read = {"read": {"time": when(minutes=1), "restored": 2}}
    found = decide(RecordsState(unsettled=("churn-1", "churn-2"), wanted="w"), known=read)
    assert found.hold is not None and found.start is None
    assert found.hold.message == "versions found in the artifact store are registered: churn-1, churn-2"


def test_a_job_of_the_other_mode_is_not_taken_for_ones_own() -> None:
    """A pipeline that was made again while its predecessor's Job still wrote: its result is no list of versions."""
    writes = ended("write", {"written": 1})
    assert decide(RecordsState(jobs=(writes,))).start == "read"
    reads = ended("read", {"read": 0})
    assert decide(RecordsState(jobs=(reads,), wanted="w"), status=RAN).start == "write"


@pytest.mark.parametrize("mode", ["read", "write"])
def test_a_job_goes_when_its_result_is_in_status(mode: str) -> None:
    other = "write" if mode == "read" else "read"
    part, other_part = {"read": "read", "write": "written"}[mode], {"read": "read", "write": "written"}[other]
    made = job(mode, seconds=60)
    state = RecordsState(jobs=(made,))
    assert decide(state, known={part: {"time": when(seconds=60)}}, status=RAN).done == (made,)
    assert decide(state, known={part: {"time": when(seconds=61)}}, status=RAN).done == ()
    assert decide(state, known={other_part: {"time": when(seconds=1)}}, status=RAN).done == ()


# ---- reading ----


def test_a_job_that_searches_is_waited_for_and_holds_the_first_run() -> None:
    first = decide()
    assert (first.start, first.number, first.status) == ("read", 0, None)
    assert first.hold is not None and (first.hold.message, first.hold.reason) == (WAITS, constants.RUN_PENDING)
    goes = decide(RecordsState(jobs=(job(),)))
    assert (goes.start, goes.next) == (None, ago(seconds=30) + timedelta(seconds=360))
    assert goes.hold is not None and goes.hold.message == WAITS
    stuck = decide(RecordsState(jobs=(job(problem="quota"),)))
    assert stuck.hold is not None and stuck.hold.reason == constants.RUN_CANNOT_START
    assert stuck.hold.message == f"{WAITS}, and the pod for that cannot start: quota"


@pytest.mark.parametrize("mode", ["read", "write"])
@pytest.mark.parametrize(("seconds", "left"), [(0, LOOK_SECONDS), (355, 5)])
def test_a_pod_that_is_silent_is_looked_at_soon(mode: str, seconds: float, left: float) -> None:
    silent = RecordsState(jobs=(job(mode, seconds=seconds, is_silent=True),), wanted="w")
    found = decide(silent, status=RAN if mode == "write" else None)
    assert found.next == NOW + timedelta(seconds=left)


def test_what_status_says_of_records_stays_while_a_job_reads_or_writes() -> None:
    wrote, read = {"written": {"time": when(days=2), "digest": "old"}}, {"read": {"time": when(days=3)}}
    for found in (
        decide(known=wrote),
        decide(RecordsState(jobs=(job(),)), known=wrote),
        decide(RecordsState(wanted="new"), status=RAN, known=wrote),
        decide(RecordsState(jobs=(job("write"),), wanted="new"), status=RAN, known={**wrote, **read}),
        decide(RecordsState(wanted="old"), status=RAN, known=wrote),
    ):
        assert found.status is not None and found.status.written is not None
        assert found.status.written.digest == "old"
    kept = decide(RecordsState(), status=RAN, known=read).status
    assert kept is not None and kept.read is not None


def test_a_claim_that_does_not_exist_has_no_records() -> None:
    found = decide(RecordsState(store_exists=False))
    assert (found.hold, found.start) == (None, None)
    assert found.status is not None and found.status.read is not None
    assert (found.status.read.time, found.status.read.error) == (NOW, None)


@pytest.mark.parametrize(("seconds", "start"), [(59, None), (60, "read")])
def test_a_store_that_was_away_is_read_again_after_a_minute(seconds: float, start: str | None) -> None:
    found = decide(known={"read": {"time": when(seconds=seconds), "error": "away"}})
    assert found.start == start
    assert found.hold is not None
    if start is None:
        assert found.next == ago(seconds=seconds) + timedelta(minutes=1)
        assert ": away; set spec.artifacts.restore to Never" in found.hold.message
    else:
        assert found.number == int(ago(seconds=seconds).timestamp()), "its Job has another name"


@pytest.mark.parametrize(
    ("result", "says"),
    [
        ({"read": 0, "error": "AccessDenied: \x1b[2J"}, "AccessDenied: "),
        ({"read": 0, "error": "x" * 5000}, "x" * 1024),
        ("", "Job records-read left no result: no termination message"),
        ("y" * 5000, "Job records-read left no result: " + "y" * 300),
        ({"read": 1}, "the log of its Job holds 0 of 1 record"),
    ],
)
def test_a_search_that_failed_is_told_and_repeated(result: Obj | str, says: str) -> None:
    found = decide(RecordsState(jobs=(ended("read", result),)))
    assert found.status is not None and found.status.read is not None and found.status.read.error is not None
    assert found.status.read.error.startswith(says) and "\x1b" not in found.status.read.error
    assert len(found.status.read.error) <= 1024
    assert (found.next, found.status.read.time) == (NOW + timedelta(minutes=1), NOW)
    assert found.hold is not None and says in found.hold.message


def restored(*texts: str, **fields: Any) -> tuple[list[str], int, RecordActions]:
    """Names of the versions that are registered again, how many records were refused, and all that is done."""
    found = decide(RecordsState(jobs=(ended("read", {"read": len(texts)}, *texts),)), **fields)
    assert found.status is not None and found.status.read is not None
    assert found.status.read.error is None and found.status.read.restored == len(found.restore)
    return [r.statement.version for r in found.restore], found.status.read.refused, found


def test_what_was_found_is_registered_by_number_and_holds_runs_until_then() -> None:
    names, refused, found = restored(text(stored(2)), text(stored(1)))
    assert (names, refused) == (["churn-1", "churn-2"], 0)
    assert found.hold is not None
    nothing = restored()
    assert nothing[:2] == ([], 0) and nothing[2].hold is None
    here = restored(text(stored(1)), text(stored(2)), versions=(version(2),))
    assert here[0] == ["churn-1"], "what is here already is not made again"


def test_only_records_of_this_pipeline_in_this_namespace_and_its_folder_are_believed() -> None:
    elsewhere = stored(1)
    elsewhere["metadata"]["namespace"] = "team-b"
    renamed = stored(1)
    renamed["metadata"]["name"] = "churn-7"
    others = [
        elsewhere,
        renamed,
        stored(1, name="fraud"),
        stored(1, uri="pvc://store/1"),
        stored(1, uri=f"{FOLDER}x/1"),
    ]
    names, refused, _ = restored(*(text(other) for other in others), text(stored(3), "o" * 32), "{", text(stored(2)))
    assert (names, refused) == (["churn-2"], len(others) + 2)


def test_of_two_records_of_one_number_the_one_registered_later_counts() -> None:
    old = stored(1, registered={"time": when(days=2)})
    new = stored(1, digest=build.digest("7"), registered={"time": when(days=1), "digest": build.digest("7")})
    for texts in ((text(old), text(new)), (text(new), text(old))):
        _, _, found = restored(*texts)
        assert [r.spec.digest for r in found.restore] == [build.digest("7")]
    twin = stored(1, digest=build.digest("8"), registered={"time": when(days=1), "digest": build.digest("8")})
    _, _, found = restored(text(new), text(twin))
    assert [r.spec.digest for r in found.restore] == [build.digest("7")], "the first of two of one moment"


def test_a_log_with_more_lines_than_a_pod_may_write_costs_no_more_work() -> None:
    most = 2 * MOST_RECORDS  # those that are named, and as many others
    names, refused, _ = restored(*["{"] * most, text(stored(1)))
    assert (names, refused) == ([], most)
    names, refused, _ = restored(*["{"] * (most - 1), text(stored(1)))
    assert (names, refused) == (["churn-1"], most - 1)


# ---- what is written ----


def test_what_is_recorded_of_a_version_is_what_its_status_cannot_find_out_anew() -> None:
    one, two = stored(1), stored(2)
    assert version_records.digest_of([]) is None
    before = version_records.digest_of([one, two])
    assert before == version_records.digest_of([two, one])
    assert before != version_records.digest_of([one])
    twin = {**one, "metadata": {**one["metadata"], "name": "churn-9"}}  # of one content, restored from one moment
    assert version_records.digest_of([one, twin]) == version_records.digest_of([twin, one])
    for field in ("decision", "takenBack", "lifted"):
        changed = {**two, "status": {**two["status"], field: {"a": 1}}}
        assert version_records.digest_of([one, changed]) != before
    assert version_records.digest_of([one, {**two, "status": {**two["status"], "conditions": []}}]) == before


def test_only_registered_versions_in_the_pipelines_folder_are_recorded() -> None:
    assert version_records.is_recordable(stored(), FOLDER)
    assert not version_records.is_recordable(stored(), f"{FOLDER}/1/x")
    assert not version_records.is_recordable(stored(uri=f"{FOLDER}x/1"), FOLDER)
    assert not version_records.is_recordable({**stored(), "status": {}}, FOLDER)
    assert not version_records.is_recordable({**stored(), "status": None}, FOLDER)


def written(*versions: Obj) -> list[str]:
    return [
        record.uri for record in version_records.written(recording.keeper(snapshot(RecordsState(versions=versions))))
    ]


def padded(number: int, characters: int) -> Obj:
    """A version whose record has so many characters."""
    found = stored(number, parameters={"p": ""})
    missing = characters - len(text(found))
    found["spec"]["parameters"]["p"] = "x" * missing
    assert len(text(found)) == characters
    return found


def test_the_newest_are_written_first_and_what_no_pod_would_read_is_passed_over() -> None:
    one, two, three = stored(1), stored(2), stored(3)
    assert written(one, three, two) == [v["spec"]["uri"] for v in (three, two, one)]
    lost = {**two, "status": {}}
    assert written(one, three, lost) == [v["spec"]["uri"] for v in (three, one)]
    assert written(padded(1, TEXT_LIMIT), padded(2, TEXT_LIMIT + 1)) == [padded(1, TEXT_LIMIT)["spec"]["uri"]]


def test_records_are_signed_with_the_first_key() -> None:
    """The others are those of before: an operator that has only the new one must believe what is written now."""
    given = snapshot(RecordsState(versions=(stored(),)), keys=(KEY, "o" * 32))
    (record,) = version_records.written(recording.keeper(given))
    assert store_records.read(record.text, (KEY,)) is not None
    assert store_records.read(record.text, ("o" * 32,)) is None


def test_one_job_writes_as_much_as_fits_into_its_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    assert version_records.WRITTEN_LIMIT == 700_000
    found = [padded(n, 5000) for n in range(1, 5)]
    for limit, fit in ((15_000, 3), (14_999, 2), (20_000, 4)):
        monkeypatch.setattr(version_records, "WRITTEN_LIMIT", limit)
        assert written(*found) == [v["spec"]["uri"] for v in reversed(found)][:fit]


def test_no_more_records_are_written_than_one_pod_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version_records, "MOST_RECORDS", 2)
    assert len(written(*(stored(n) for n in range(1, 5)))) == 2


# ---- when it is written ----


def test_a_result_of_writing_is_told_and_its_digest_kept() -> None:
    state = RecordsState(jobs=(ended("write", {"written": 1}, digest="new"),), wanted="new")
    found = decide(state, status=RAN, known={"written": {"time": when(hours=1), "digest": "old"}})
    assert found.status is not None and found.status.written is not None
    assert (found.status.written.digest, found.status.written.error) == ("new", None)
    assert (found.status.written.time, found.start) == (NOW, None)
    for known, digest in (({"written": {"time": when(hours=1), "digest": "old"}}, "old"), (None, None)):
        failed = RecordsState(jobs=(ended("write", {"error": "full\x1b" + "x" * 5000}, digest="new"),), wanted="new")
        told = decide(failed, status=RAN, known=known).status
        assert told is not None and told.written is not None and told.written.error is not None
        assert (told.written.digest, len(told.written.error)) == (digest, 1024), "the store still has the old ones"
        assert "\x1b" not in told.written.error
    lost = decide(RecordsState(jobs=(ended("write", ""),), wanted="new"), status=RAN).status
    assert lost is not None and lost.written is not None
    assert lost.written.error == "Job records-write left no result: no termination message"


@pytest.mark.parametrize(
    ("seconds", "error", "start"),
    [(4, None, None), (5, None, "write"), (599, "full", None), (600, "full", "write")],
)
def test_two_jobs_that_write_have_a_pause_between_them(seconds: float, error: str | None, start: str | None) -> None:
    last = {"time": when(seconds=seconds), "digest": "old", **({"error": error} if error else {})}
    found = decide(RecordsState(wanted="new"), status=RAN, known={"written": last})
    assert found.start == start
    if start:
        assert found.number == int(ago(seconds=seconds).timestamp())
    else:
        assert found.next == ago(seconds=seconds) + (timedelta(minutes=10) if error else timedelta(seconds=5))


def test_what_the_store_says_already_is_not_written_again() -> None:
    known = {"written": {"time": when(hours=1), "digest": "same"}}
    assert decide(RecordsState(wanted="same"), status=RAN, known=known).start is None
    assert decide(RecordsState(wanted=None), status=RAN).start is None
    goes = decide(RecordsState(jobs=(job("write"),), wanted="new"), status=RAN, known=known)
    assert (goes.start, goes.next) == (None, ago(seconds=30) + timedelta(seconds=360))


def share_of(uid: str) -> int:
    return int(hashing.short(uid.encode(), 8), 16) % 600


def first(*registered: Obj, late: int = 300) -> tuple[str | None, datetime | None, int]:
    """What a pipeline does that was never recorded, `late` seconds after its own moment of every ten minutes."""
    versions = tuple(stored(n + 1, registered=fact) for n, fact in enumerate(registered))
    given = snapshot(RecordsState(wanted="new", versions=versions), status=RAN)
    wanted = (int(NOW.timestamp()) - late) % 600
    uid = next(f"u{n}" for n in range(100_000) if share_of(f"u{n}") == wanted)
    given.object["metadata"]["uid"] = uid
    found = record_actions(recording.keeper(given))
    return found.start, found.next, found.number


def test_a_new_version_is_recorded_at_once_and_those_of_an_upgrade_within_ten_minutes() -> None:
    old, fresh = {"time": when(minutes=10)}, {"time": when(minutes=9, seconds=59)}
    assert first(fresh) == ("write", None, 0)
    assert first(old) == (None, NOW + timedelta(seconds=300), 0)
    assert first(old, fresh) == ("write", None, 0), "the newest counts"
    assert first({"time": when(days=9), "restored": format_time(NOW)}) == ("write", None, 0)
    assert first(old, late=29) == ("write", None, 0)
    assert first(old, late=30) == (None, NOW + timedelta(seconds=570), 0)
    assert first(old, late=0) == ("write", None, 0)
    assert first(old, late=599) == (None, NOW + timedelta(seconds=1), 0)
    assert first() == ("write", None, 0)
