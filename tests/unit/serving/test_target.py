"""Which version is wanted."""

import pytest
from tests.unit.serving.make import snapshot, stable, version, workload

from tidemill.serving.policy import target
from tidemill.serving.state import State
from tidemill_contracts.storage import URI_LIMIT

PIPELINE = {"model": {"pipeline": "churn"}}
NUMBER = {"model": {"pipeline": "churn", "number": 2}}
NAME = {"model": {"version": "churn-2"}}
PENDING = {"approved": False, "note": "waits for a decision"}

CASES = {
    "newest approved by number, not by name": (
        PIPELINE,
        {"versions": tuple(version(n) for n in (9, 10, 2))},
        None,
        ("churn-10", ""),
    ),
    "not approved ones are passed over": (
        PIPELINE,
        {"versions": (version(1), version(2, **PENDING))},
        None,
        ("churn-1", ""),
    ),
    "none approved": (
        PIPELINE,
        {"versions": (version(2, **PENDING),)},
        None,
        (None, "WaitingForApproval"),
    ),
    "no version": (PIPELINE, {}, None, (None, "WaitingForVersion")),
    "no pipeline": (PIPELINE, {"pipeline_exists": False}, None, (None, "PipelineNotFound")),
    "no pipeline, and an import that waits for approval": (
        PIPELINE,
        {"pipeline_exists": False, "versions": (version(1, **PENDING),)},
        None,
        (None, "WaitingForApproval"),
    ),
    "pinned number of imports only": (
        NUMBER,
        {"pipeline_exists": False, "versions": (version(1),)},
        None,
        (None, "VersionNotFound"),
    ),
    "no pipeline any more, versions stay": (
        PIPELINE,
        {"pipeline_exists": False, "versions": (version(1),)},
        None,
        ("churn-1", ""),
    ),
    "pinned number": (NUMBER, {"versions": tuple(version(n) for n in (1, 2, 3))}, None, ("churn-2", "")),
    "pinned number that an object made by hand has, too": (
        NUMBER,
        {"versions": (version(2, name="by-hand", digest="sha256:" + "f" * 64, **PENDING), version(2))},
        None,
        ("churn-2", ""),
    ),
    "pinned number is missing": (NUMBER, {"versions": (version(1),)}, None, (None, "VersionNotFound")),
    "pinned number without pipeline": (NUMBER, {"pipeline_exists": False}, None, (None, "PipelineNotFound")),
    "pinned number not approved": (
        NUMBER,
        {"versions": (version(2, **PENDING),)},
        None,
        (None, "VersionNotApproved"),
    ),
    "pinned name": (NAME, {"versions": (version(2),)}, None, ("churn-2", "")),
    "pinned name is missing": (NAME, {}, None, (None, "VersionNotFound")),
    "the record of the served version is gone: keep it": (
        PIPELINE,
        {"versions": (version(1),), "workloads": (workload(2, version=version(2, recorded=False, approved=False)),)},
        2,
        ("churn-2", ""),
    ),
    "every record is gone: keep what is served": (
        PIPELINE,
        {"workloads": (workload(2, version=version(2, recorded=False, approved=False)),)},
        2,
        ("churn-2", ""),
    ),
    "approval of the served version withdrawn: back to the newest approved": (
        PIPELINE,
        {"versions": (version(1), version(2, **PENDING)), "workloads": (workload(2),)},
        2,
        ("churn-1", ""),
    ),
    "another pipeline's served version is left, even for a smaller number": (
        PIPELINE,
        {"versions": (version(1),), "others": (version(2),), "workloads": (workload(2),)},
        2,
        ("churn-1", ""),
    ),
    "another pipeline's served version is not what is requested": (
        PIPELINE,
        {"others": (version(2),), "workloads": (workload(2),)},
        2,
        (None, "WaitingForVersion"),
    ),
    "a pinned name is not looked for outside spec.model": (
        NAME,
        {"others": (version(2),), "workloads": (workload(2),)},
        2,
        (None, "VersionNotFound"),
    ),
    "no form that the asked runtime reads": (
        {**PIPELINE, "server": {"runtime": "ONNX"}},
        {"versions": (version(1, formats=("skops",)),)},
        None,
        (None, "FormatNotServable"),
    ),
    "a program cannot be served": (
        PIPELINE,
        {"versions": (version(1, formats=("program",)),)},
        None,
        (None, "FormatNotServable"),
    ),
    "a uri that no server reads": (
        PIPELINE,
        {"versions": (version(1, uri="ftp://host/x"),)},
        None,
        (None, "FormatNotServable"),
    ),
    "a uri out of the claim": (
        PIPELINE,
        {"versions": (version(1, uri="pvc://claim/../other"),)},
        None,
        (None, "FormatNotServable"),
    ),
    "a uri of data": (
        PIPELINE,
        {"versions": (version(1, uri="http://host/x"),)},
        None,
        (None, "FormatNotServable"),
    ),
    "a pickle that nobody allowed": (
        PIPELINE,
        {"versions": (version(1, formats=("joblib",)),)},
        None,
        (None, "PickleNotAllowed"),
    ),
    "code that nobody allowed": (
        PIPELINE,
        {"versions": (version(1, formats=("skops-code",)),)},
        None,
        (None, "CodeNotAllowed"),
    ),
    "code that the author allows": (
        {**PIPELINE, "server": {"allowCode": True}},
        {"versions": (version(1, formats=("skops-code",)),)},
        None,
        ("churn-1", ""),
    ),
    "code that the ONNX form does without": (
        PIPELINE,
        {"versions": (version(1, formats=("skops-code", "onnx"), onnx="verified"),)},
        None,
        ("churn-1", ""),
    ),
    "a pickle that the author allows": (
        {**PIPELINE, "server": {"allowPickle": True}},
        {"versions": (version(1, formats=("joblib",)),)},
        None,
        ("churn-1", ""),
    ),
    "a pickle beside a form that needs no leave": (
        PIPELINE,
        {"versions": (version(1, formats=("joblib", "onnx")),)},
        None,
        ("churn-1", ""),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_choose(name: str) -> None:
    spec, fields, serving, (want, reason) = CASES[name]
    status = {"stable": stable(serving)} if serving else {}
    found = snapshot(spec, status, **fields)
    got = target.choose(found, State.of(found.status))
    assert (got.version.name if got.version else None) == want
    assert got.reason == reason
    assert bool(got.message) == bool(reason)
    assert got.stalled == (reason in ("FormatNotServable", "PickleNotAllowed", "CodeNotAllowed"))


def test_sentences_name_field_and_values() -> None:
    missing = snapshot(NAME)
    assert "spec.model.version" in target.choose(missing, State()).message
    onnx = snapshot({**PIPELINE, "server": {"runtime": "ONNX"}}, versions=(version(1, formats=("skops",)),))
    assert target.choose(onnx, State()).message == "churn-1 has skops, but spec.server.runtime ONNX needs onnx"


def test_the_newest_of_many_is_wanted_although_an_older_one_is_newer_than_the_first() -> None:
    found = snapshot(PIPELINE, {"stable": stable(2)}, versions=tuple(version(n) for n in (1, 2, 3)))
    got = target.choose(found, State.of(found.status)).version
    assert got is not None
    assert got.name == "churn-3"


def test_who_waits_for_approval_is_told_of_the_newest() -> None:
    waiting = version(3, approved=False)
    found = snapshot(PIPELINE, versions=(version(2, **PENDING), waiting))
    assert target.choose(found, State()).message.endswith("churn-3: no decision yet")
    noted = snapshot(PIPELINE, versions=(version(3, **PENDING),))
    assert target.choose(noted, State()).message.endswith("churn-3: waits for a decision")


@pytest.mark.parametrize(("length", "is_readable"), [(URI_LIMIT, True), (URI_LIMIT + 1, False)])
def test_a_uri_has_a_longest(length: int, is_readable: bool) -> None:
    uri = "pvc://models/"
    found = snapshot(PIPELINE, versions=(version(1, uri=uri + "x" * (length - len(uri))),))
    got = target.choose(found, State())
    assert (got.version is not None) is is_readable
    assert (got.reason, f"longer than {URI_LIMIT} characters" in got.message) == (
        ("", False) if is_readable else ("FormatNotServable", True)
    )


def test_a_version_that_was_made_anew_under_the_served_number_is_the_newest() -> None:
    """The record of what is served is gone, and the number has another content now."""
    gone = version(2, digest="sha256:" + "f" * 64, recorded=False, approved=False)
    served = stable(2).model_copy(update={"digest": gone.digest})
    found = snapshot(PIPELINE, {"stable": served}, versions=(version(2),), workloads=(workload(2, version=gone),))
    got = target.choose(found, State.of(found.status)).version
    assert got is not None
    assert got.digest == version(2).digest


@pytest.mark.parametrize(
    ("runtime", "needs"),
    [
        ("ONNX", "onnx"),
        ("Native", "skops, skops-code or joblib"),
        ("Auto", "onnx, skops, skops-code or joblib"),
    ],
)
def test_a_version_without_a_form_is_told_with_all_that_a_server_could_read(runtime: str, needs: str) -> None:
    found = snapshot({**PIPELINE, "server": {"runtime": runtime}}, versions=(version(1, formats=()),))
    assert target.choose(found, State.of(found.status)).message == (
        f"churn-1 has no form, but spec.server.runtime {runtime} needs {needs}"
    )


@pytest.mark.parametrize(("says", "end"), [("", "yet"), ("data not found", "yet; it says data not found")])
def test_who_waits_for_a_first_version_is_told_what_the_pipeline_says(says: str, end: str) -> None:
    found = snapshot(PIPELINE, pipeline_says=says)
    assert target.choose(found, State.of(found.status)).message == (
        f"TrainingPipeline churn has no model version {end}"
    )
