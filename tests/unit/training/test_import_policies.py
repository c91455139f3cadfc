"""Where an import stands, from its Job and pods; why it failed; when it is tried again; what it is registered as."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import pytest
from tests.support import builders_training as build
from tests.unit.core.causes import QUOTA_TEXT
from tests.unit.training.make import NOW, ago, version

from tidemill.api.v1alpha1.model_import import ModelImport
from tidemill.api.v1alpha1.training_run import RunFailure
from tidemill.config import OperatorConfig
from tidemill.core.conditions import format_time
from tidemill.core.podfailure import LOOK_SECONDS, PodFailure
from tidemill.training import job_failure, report_validation
from tidemill.training.imports.policy import attempts, checks
from tidemill.training.imports.policy.progress import Progress, expected, progress
from tidemill.training.imports.policy.registration import registration
from tidemill.training.imports.snapshot import ImportSnapshot
from tidemill.training.numbering import Registration
from tidemill.training.records import VersionRecord
from tidemill_contracts.training import TrainingResult

Obj = dict[str, Any]
NAME = "from-staging"
LOOK = NOW + timedelta(seconds=LOOK_SECONDS)
QUOTA = PodFailure("FailedCreate", QUOTA_TEXT)
CREATING: Obj = {"waiting": {"reason": "ContainerCreating"}}
NO_PULL: Obj = {"waiting": {"reason": "ErrImagePull", "message": "denied"}}
AWAY = RunFailure(category="Infrastructure", reason="StorageUnavailable", message="no answer")


def job(*, seconds: float = 0, outcome: str = "", reason: str = "", message: str = "") -> Obj:
    """The Job of the first attempt, made so many seconds ago."""
    meta = {"name": f"{NAME}-1-1", "namespace": build.NAMESPACE, "uid": "uid-job"}
    container = {"name": "train", "image": "trainer:1", "resources": {"limits": {"memory": "1Gi"}}}
    return {
        "metadata": {**meta, "creationTimestamp": format_time(ago(seconds=seconds))},
        "spec": {"template": {"metadata": {}, "spec": {"containers": [container]}}},
        "status": {"conditions": build.job_condition(outcome, reason, message)} if outcome else {},
    }


def pod(number: int = 1, *, seconds: float = 0, status: Obj | None = None, **state: Any) -> Obj:
    """A pod of that Job, made so many seconds ago."""
    found = build.pod(job(), number, **state)
    found["metadata"]["creationTimestamp"] = format_time(ago(seconds=seconds))
    found["status"].update(status or {})
    return found


def ended(message: Obj | str = "", code: int = 1, **more: Any) -> Obj:
    return {"terminated": build.terminated(code, message, **more)}


def snapshot(
    found: Obj | None = None, *pods: Obj, given: build.Import | None = None, tried: Obj | None = None, **fields: Any
) -> ImportSnapshot:
    """An import at that Job; `tried`: status.attempts of its first generation."""
    builder = given or build.Import()
    if tried is not None:
        builder.status(attempts={"generation": 1, "failed": 1, "lastTime": format_time(ago(minutes=1)), **tried})
    obj = builder.obj()
    return ImportSnapshot(
        object=obj,
        now=NOW,
        model_import=ModelImport.model_validate(obj),
        config=OperatorConfig(),
        jobs=(found,) if found is not None else (),
        pods=pods,
        **fields,
    )


def failure(found: ImportSnapshot) -> RunFailure:
    """Why it failed."""
    answer = progress(found)
    assert answer.phase == "Failed" and answer.failure is not None
    return answer.failure


# ---- a pod that does not start ----


@pytest.mark.parametrize("with_pod", [True, False], ids=["from the pod's creation on", "from the Job's, without a pod"])
def test_an_attempt_has_ten_minutes_to_start(with_pod: bool) -> None:
    def at(seconds: float) -> ImportSnapshot:
        made = job(seconds=seconds + 5 * with_pod)
        return snapshot(made, *([pod(seconds=seconds, **CREATING)] if with_pod else []))

    assert progress(at(599)) == Progress("Pending", "the pod is starting", until=NOW + timedelta(seconds=1))
    found = failure(at(600))
    assert (found.category, found.reason) == ("Infrastructure", "NotStarted" if with_pod else "NoPod")
    assert "within 600 seconds: look at `kubectl describe " in found.message
    assert f"job {NAME}-1-1`" in found.message or with_pod


def test_a_cause_is_told_while_it_lasts_and_ends_the_attempt_in_the_end() -> None:
    starts = progress(snapshot(job(), pod(seconds=20, **NO_PULL)))
    assert (starts.phase, starts.until) == ("CannotStart", NOW + timedelta(seconds=580))
    assert starts.message.startswith("the pod cannot start: ImagePull: image trainer:1: it cannot be pulled")
    found = failure(snapshot(job(), pod(seconds=600, **NO_PULL)))
    assert (found.category, found.reason) == ("ImagePull", "ImagePull")
    assert found.message.startswith("the pod did not start within 600 seconds: image trainer:1: it cannot be pulled")


def test_what_waiting_cannot_help_ends_the_attempt_at_once() -> None:
    found = failure(snapshot(job(), pod(waiting={"reason": "InvalidImageName", "message": "TRAINER:1"})))
    assert (found.category, found.reason) == ("ImagePull", "ImagePull")
    assert found.message.startswith("image trainer:1: the name is not valid"), "it was not waited for"


def test_events_say_why_nothing_runs_and_are_looked_at_again() -> None:
    found = progress(snapshot(job(seconds=20), event=QUOTA, is_silent=True))
    assert found == Progress("CannotStart", f"the pod cannot start: FailedCreate: {QUOTA_TEXT}", until=LOOK)
    assert progress(snapshot(job(seconds=20), is_silent=True)) == Progress("Pending", "the pod is starting", until=LOOK)
    late = progress(snapshot(job(seconds=595), event=QUOTA, is_silent=True))
    assert late.until == NOW + timedelta(seconds=5), "the deadline comes first"
    gone = failure(snapshot(job(seconds=600), event=QUOTA, is_silent=True))
    assert (gone.category, gone.reason) == ("Infrastructure", "FailedCreate")
    assert QUOTA_TEXT in gone.message


def test_what_the_pod_says_of_itself_comes_before_events() -> None:
    found = progress(snapshot(job(), pod(seconds=20, **NO_PULL), event=QUOTA))
    assert "it cannot be pulled" in found.message


# ---- a pod that has started ----


def test_a_pod_that_runs_copies() -> None:
    running = pod(seconds=900, running={"startedAt": format_time(ago(seconds=800))})
    assert progress(snapshot(job(seconds=900), running)) == Progress("Running", "the model is being copied")
    well = pod(seconds=900, **ended(build.imported(), 0))
    assert progress(snapshot(job(), well, event=QUOTA)).message == "the model is being copied", "its Job will say so"


def test_a_pod_that_ended_is_followed_by_another_one_which_may_find_no_room() -> None:
    text = "a pod ended with exit code 1; the Job starts another one"
    gone = pod(seconds=900, **ended())
    assert progress(snapshot(job(), gone)) == Progress("Running", text)
    assert progress(snapshot(job(), gone, is_silent=True)) == Progress("Running", text, until=LOOK)
    found = progress(snapshot(job(), gone, is_silent=True, event=QUOTA))
    assert found == Progress("CannotStart", f"{text}, which cannot start: FailedCreate: {QUOTA_TEXT}", until=LOOK)
    fresh = progress(snapshot(job(seconds=900), gone, pod(2, seconds=20, **CREATING)))
    assert (fresh.phase, fresh.until) == ("Pending", NOW + timedelta(seconds=580)), "the newest pod counts"


# ---- a Job that failed ----


def broken(*pods: Obj, reason: str = "BackoffLimitExceeded", message: str = "", **fields: Any) -> RunFailure:
    return failure(snapshot(job(outcome="Failed", reason=reason, message=message), *pods, **fields))


def test_an_attempt_that_takes_too_long_is_told_whatever_its_pod_said() -> None:
    found = broken(pod(**ended(build.failed("UserError", "Unservable", "x"))), reason="DeadlineExceeded", log="line")
    assert (found.category, found.reason, found.log) == ("Deadline", "DeadlineExceeded", "line")
    assert found.message == "the import took longer than 3600 seconds"


def test_the_pods_own_word_counts_even_where_memory_ran_out_as_well() -> None:
    own = build.failed("DataInvalid", "DigestMismatch", "other content")
    found = broken(pod(**ended(own, reason="OOMKilled")))
    assert (found.category, found.reason, found.message) == ("DataInvalid", "DigestMismatch", "other content")


def test_a_pod_that_was_stopped_names_the_cause_that_the_cluster_knows() -> None:
    stopped = ended(build.failed("Infrastructure", job_failure.TERMINATED, "stopped"), 143)
    assert broken(pod(**stopped)).reason == "Terminated", "no cause is known"
    evicted = broken(pod(**stopped, status={"reason": "Evicted", "message": "disk pressure"}))
    assert (evicted.category, evicted.reason) == ("Infrastructure", "Evicted")
    assert "disk pressure" in evicted.message


def test_a_pod_without_a_word_is_judged_by_its_end() -> None:
    killed = broken(pod(**ended(code=137, reason="OOMKilled")))
    assert (killed.category, killed.reason) == ("OutOfMemory", "OOMKilled")
    assert "limit (1Gi)" in killed.message
    assert broken(pod(**ended(code=139))).reason == "Crashed"
    unexplained = broken(message="the Job has reached its limit")
    assert (unexplained.category, unexplained.reason) == ("Infrastructure", "BackoffLimitExceeded")
    assert unexplained.message == f"Job {NAME}-1-1 failed: the Job has reached its limit"


# ---- a Job that completed ----


def complete(*pods: Obj, **fields: Any) -> Progress:
    return progress(snapshot(job(outcome="Complete"), *pods, **fields))


def test_a_result_that_is_gone_with_its_pod_is_an_attempt_that_failed() -> None:
    for pods in ((), (pod(**ended("  ", 0)),)):
        found = complete(*pods, log="last line")
        assert found.failure is not None
        assert (found.failure.category, found.failure.reason) == ("Infrastructure", "ResultLost")
        assert (NAME in found.failure.message, found.failure.log) == (True, "last line")


def test_a_report_of_failure_from_a_pod_that_ended_well_imports_nothing() -> None:
    told = {**build.failed("DataInvalid", "Incomplete", "a file is missing"), "digest": build.DIGEST}
    found = complete(pod(**ended(told, 0)))
    assert found.result is None and found.failure is not None
    assert found.failure.reason == "ResultRefused"


def test_of_a_file_the_model_must_be_what_the_digest_names() -> None:
    file = build.Import().spec(source={"uri": "s3://models/churn.onnx", "digest": build.digest("e")})
    assert complete(pod(**ended(build.imported(), 0)), given=file).phase == "Complete"
    other = complete(pod(**ended(build.imported(model_digest=build.digest("f")), 0)), given=file)
    assert other.failure is not None
    assert f"model_digest: {build.digest('f')}; expected {build.digest('e')}" in other.failure.message


def test_a_version_may_bring_code_and_a_model_that_a_program_wrote() -> None:
    """It was a run's own in the namespace where it was trained; the deployment decides whether its code may run."""
    wanted = expected(snapshot())
    assert (wanted.is_import, wanted.allows_code, wanted.allows_programs) == (True, True, True)
    assert (wanted.allows_pickles, wanted.has_champion) == (False, False)


# ---- when it is tried again ----


def with_share(value: int) -> ImportSnapshot:
    """An import whose uid has the first byte `value` in its hash."""
    found = snapshot()
    uid = next(text for text in map(str, count()) if hashlib.sha256(text.encode()).digest()[0] == value)
    found.object["metadata"]["uid"] = uid
    return found


def next_time(found: ImportSnapshot, failed: int, why: RunFailure = AWAY, ended_at: datetime = NOW) -> datetime | None:
    obj = {"generation": 1, "failed": failed, "lastTime": format_time(ago(hours=1))}
    status = {**found.object.get("status", {}), **({"attempts": obj} if failed else {})}
    again = replace(found, model_import=ModelImport.model_validate({**found.object, "status": status}))
    counted = attempts.after(again, why, ended_at)
    assert (counted.failed, counted.generation, counted.last_time) == (failed + 1, 1, ended_at)
    return counted.next_time


def test_pauses_grow_to_an_hour_and_differ_by_a_fifth_between_imports() -> None:
    """Else all imports ask a store that is back at the same second."""
    first, last = with_share(0), with_share(255)
    minutes = [1, 2, 4, 8, 16, 32, 60, 60]
    assert [next_time(first, n) for n in range(8)] == [NOW + timedelta(minutes=m) for m in minutes]
    assert [next_time(last, n) for n in range(8)] == [NOW + timedelta(minutes=m) * 1.2 for m in minutes]
    assert next_time(first, 100_000) == NOW + timedelta(hours=1)
    assert next_time(first, 0, ended_at=NOW + timedelta(microseconds=7)) == NOW + timedelta(minutes=1), "whole seconds"


@pytest.mark.parametrize(
    ("category", "reason"),
    [("DataInvalid", "DigestMismatch"), ("Deadline", "DeadlineExceeded"), ("Infrastructure", "JobDeleted")],
)
def test_what_only_a_person_can_mend_is_not_tried_again(category: Any, reason: str) -> None:
    why = RunFailure(category=category, reason=reason, message="m")
    assert next_time(with_share(0), 0, why) is None


def test_a_request_to_try_again_is_served_once_and_does_not_wait() -> None:
    later = {"nextTime": format_time(NOW + timedelta(minutes=1))}

    def wants() -> build.Import:
        return build.Import().annotated("tidemill.io/retry", "now")

    waits = snapshot(tried=later)
    assert progress(waits) == Progress("Later", until=NOW + timedelta(minutes=1))
    assert progress(snapshot(tried={"nextTime": format_time(NOW)})).phase == "Create"
    assert progress(snapshot(tried={})).phase == "Over"
    for tried in (later, {}):
        asked = snapshot(given=wants(), tried=tried)
        assert attempts.requested(asked) == "now"
        assert attempts.waits_until(asked) is None
        assert progress(asked) == Progress("Create", "the pod is starting")
    served = snapshot(given=wants().status(lastHandledRetry="now"), tried=later)
    assert attempts.requested(served) is None
    assert progress(served).phase == "Later"
    assert attempts.handled(served) == "now"
    removed = snapshot(given=build.Import().status(lastHandledRetry="now"), tried=later)
    assert attempts.handled(removed) is None, "the same value set later is a new request"
    assert progress(snapshot()).phase == "Create"


# ---- names and numbers ----


def own(number: int = 1, *, name: str = "fraud", **changes: Any) -> VersionRecord:
    """A version of the import of that name, registered before by one of the same name."""
    fields = {"source_digest": build.DIGEST, "digest": build.DIGEST, "imported_by": (NAME, 1), **changes}
    return version(number, name=name, **fields)


def named(*versions: VersionRecord, **fields: Any) -> ImportSnapshot:
    fields = {"names_taken": frozenset(v.name for v in versions), **fields}
    return snapshot(given=build.Import().named("fraud"), versions=versions, **fields)


def test_a_store_that_is_none_is_named() -> None:
    given = build.Import().spec(artifacts={"uri": "s3://bucket/a/../b"})
    found = checks.problem(snapshot(given=given))
    assert found is not None
    assert (found.reason, found.message.partition(": ")[0]) == ("InvalidArtifacts", "spec.artifacts.uri")


def test_a_name_of_its_own_is_free_unless_somebody_has_it() -> None:
    assert checks.problem(named()) is None
    assert checks.problem(named(own())) is None, "it was imported before"
    made = {"metadata": {"name": "fraud"}}
    other = {"metadata": {"name": "other"}}
    taken = frozenset({"fraud", "other"})
    assert checks.problem(named(names_taken=taken, unregistered=(other, made))) is None, "made in a pass that was cut"

    problems = {
        "exists already": named(names_taken=taken, unregistered=(other,)),
        f"content with digest {build.digest('a')}": named(own(source_digest=build.digest("a"))),
        "the name of a TrainingPipeline": named(pipeline=build.Pipeline("fraud").obj()),
        "the name of a pipeline with versions": named(version(1, name="fraud-1")),
    }
    as_pipeline = own(name="fraud-1")  # an import of this name that was as.pipeline, and is gone
    for says, found in (*problems.items(), ("the name of a pipeline with versions", named(as_pipeline))):
        problem = checks.problem(found)
        assert problem is not None, says
        assert problem.reason == "NameTaken"
        assert says in problem.message


def test_a_version_is_an_imports_own_by_its_name_alone() -> None:
    assert checks.is_own(snapshot(), own())
    assert not checks.is_own(snapshot(), own(imported_by=("other", 1)))
    assert not checks.is_own(snapshot(), version(1)), "it was trained here"


def test_a_name_of_its_own_is_the_only_version_of_that_name() -> None:
    assert registration(named(), build.DIGEST) == Registration("fraud", 1, exists=False)
    before = own(2, minutes=60 * 24 * 2)
    assert registration(named(before), build.DIGEST) == Registration("fraud", 2, exists=True)
    later = version(3, name="fraud-3")
    assert registration(named(before, later), build.DIGEST).name == "fraud", "a pipeline of that name came later"


def test_what_this_generation_registered_is_found_again_and_nothing_else() -> None:
    """The pass may have been cut between the version and the status; the import was made a day ago."""
    day = 60 * 24
    mine = own(2, name="churn-2", minutes=day)
    newer = version(3, digest=build.digest("a"))
    assert registration(snapshot(versions=(mine, newer)), build.DIGEST) == Registration("churn-2", 2, exists=True)
    for other in (
        replace(mine, created=ago(minutes=day, seconds=1)),
        replace(mine, imported_by=(NAME, 2)),
        replace(mine, imported_by=("other", 1)),
        replace(mine, digest=build.digest("b")),
    ):
        found = registration(snapshot(versions=(other, newer)), build.DIGEST)
        assert found == Registration("churn-4", 4, exists=False)


def test_a_refused_report_of_an_import_does_not_speak_of_a_run() -> None:
    allowed = report_validation.Expected(store="s3://models", is_import=True)
    for more in ({"data": {"x": "1"}}, {"champion_metrics": {"f1": 1.0}}, {"champion_overlap": "x"}):
        result = TrainingResult.model_validate({**build.imported(), "uri": f"s3://models/{'d' * 64}", **more})
        why = report_validation.refusal(allowed, result)
        assert why is not None and "this import" in why and "this run" not in why


@pytest.mark.parametrize("where", ["the pod cannot mount it", "the folder is not on it"])
def test_a_claim_of_another_namespace_is_explained(where: str) -> None:
    """The URI of a version on staging's claim means this namespace's claim here."""
    given = build.Import().spec(source={"uri": "pvc://staging/churn", "digest": build.digest("d")})
    if where == "the folder is not on it":
        report = build.failed("DataInvalid", "NotFound", "pvc://staging/churn: no such folder")
        found = progress(snapshot(job(outcome="Failed"), pod(**ended(report, 42)), given=given))
        text = found.failure.message if found.failure else ""
        assert text.startswith("pvc://staging/churn: no such folder; ")
    else:
        missing = PodFailure("FailedScheduling", 'persistentvolumeclaim "staging" not found')
        text = progress(replace(snapshot(job(), pod(), given=given), event=missing)).message
    assert f"staging is the claim of this namespace ({build.NAMESPACE})" in text
    assert "a bucket (s3://, gs:// or az://)" in text


def test_a_bucket_is_no_claim() -> None:
    report = build.failed("DataInvalid", "NotFound", "nothing there")
    found = progress(snapshot(job(outcome="Failed"), pod(**ended(report, 42))))
    assert found.failure is not None and "claim" not in found.failure.message
