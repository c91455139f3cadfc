"""Which runtime serves and why: the rule that servers follow too, and what status says of stable and candidate."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.serving.make import CANARY, candidate, snapshot, stable, version, workload

from tidemill.api.v1alpha1.model_deployment import ModelDeploymentStatus
from tidemill.serving import observe, plan
from tidemill.serving.builders import server
from tidemill.serving.snapshot import Version, runtime_of
from tidemill_contracts.runtimes import BATCH_DEPENDENT, PARITY_CHECK, VERIFIED, Choice, choose

BOTH = ("skops", "onnx")
REPEATS = "its ONNX form gives the same answers as its native form"
DIFFER = "1 of 200 labels differ"


@pytest.mark.parametrize(
    ("asked", "formats", "facts", "want"),
    [
        ("Auto", BOTH, {"parity": True}, Choice(("onnx", "skops"), REPEATS)),
        ("Auto", BOTH, {"parity": False, "note": DIFFER}, Choice(("skops",), f"no verified ONNX form: {DIFFER}")),
        ("Auto", BOTH, {"parity": None}, Choice(("skops",), "the version has no verified ONNX form")),
        ("Auto", ("skops",), {"parity": False, "note": DIFFER}, Choice(("skops",), f"no verified ONNX form: {DIFFER}")),
        ("Auto", ("onnx",), {"parity": None}, Choice(("onnx",), "the version has no native form")),
        ("Auto", ("joblib", "onnx"), {"parity": None}, Choice(("onnx",), "the version has no native form")),
        (
            "Auto",
            ("joblib", "onnx"),
            {"parity": True, "allow_pickle": True},
            Choice(("onnx", "joblib"), REPEATS),
        ),
        ("Auto", ("joblib",), {"parity": None}, Choice((), "the version has no verified ONNX form")),
        ("Auto", ("program",), {"parity": None}, Choice((), "the version has no verified ONNX form")),
        ("ONNX", BOTH, {"parity": False}, Choice(("onnx",), "spec.server.runtime is ONNX")),
        ("ONNX", ("skops",), {"parity": False, "note": DIFFER}, Choice((), f"no verified ONNX form: {DIFFER}")),
        ("Native", BOTH, {"parity": True}, Choice(("skops",), "spec.server.runtime is Native")),
        ("Native", ("onnx",), {"parity": None}, Choice((), "the version has no native form")),
    ],
)
def test_the_rule(asked: Any, formats: tuple[str, ...], facts: dict[str, Any], want: Choice) -> None:
    assert choose(asked, formats, **facts) == want


def test_the_runtime_is_that_of_the_first_form() -> None:
    assert [Choice(f, "").runtime for f in (("onnx", "skops"), ("skops",), ("joblib",), ())] == [
        "ONNX", "Native", "Native", None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("found", "want"),
    [
        (version(1, onnx=VERIFIED), "ONNX"),
        (version(1), "ONNX"),  # an older record, or one made elsewhere, that says nothing of its ONNX form
        (version(1, formats=("skops",), onnx=DIFFER), "Native"),
        (version(1, onnx=DIFFER), "Native"),
        (version(1, formats=("onnx",), onnx="as the program wrote it"), "ONNX"),
        (version(1, formats=("joblib",), onnx="not converted from format joblib"), "Native"),
        (version(1, formats=("program",)), None),
    ],
)
def test_a_record_is_read_as_the_server_reads_the_manifest(found: Version, want: str | None) -> None:
    assert runtime_of("Auto", found, allow_pickle=True).runtime == want


def test_status_says_what_serves_stable_and_candidate_and_why() -> None:
    one, two = version(1, onnx=VERIFIED, onnx_check=PARITY_CHECK), version(2, formats=("skops",), onnx=DIFFER)
    workloads = (replace(workload(1), version=one), replace(workload(2), version=two))
    record = {"stable": stable(1), "candidate": candidate(2, 0, step_started=5)}
    found = snapshot({"rollout": CANARY}, record, versions=(one, two), workloads=workloads)

    status = ModelDeploymentStatus.model_validate(plan.plan(found).status)

    assert status.stable is not None and status.candidate is not None
    assert (status.stable.runtime, status.stable.runtime_reason) == ("ONNX", REPEATS)
    assert (status.candidate.runtime, status.candidate.runtime_reason) == (
        "Native",
        f"no verified ONNX form: {DIFFER}",
    )


def test_status_says_that_requests_are_answered_alone_and_why() -> None:
    for batching, want in ((True, None), (False, BATCH_DEPENDENT)):
        known = version(1, formats=("skops",), batching=batching)
        status = plan.plan(snapshot({}, {"stable": stable(1)}, versions=(known,))).status
        assert status is not None
        assert status["stable"].get("batchingReason") == want


@pytest.mark.parametrize("batching", [True, False])
@pytest.mark.parametrize("check", [1, 2])
def test_a_deployment_remembers_check_and_batching(check: int, batching: bool) -> None:
    one = version(1, onnx=VERIFIED, onnx_check=check, batching=batching)
    found = observe.workload(server.deployment(snapshot(), one), [], [])
    assert found is not None
    assert (found.version.onnx_check, found.version.batching) == (check, batching)


@pytest.mark.parametrize(
    ("spec", "want"),
    [({}, (1, True)), ({"onnxCheck": 2, "batching": True}, (2, True)), ({"batching": False}, (1, False))],
)
def test_a_record_without_the_fields_is_one_from_before(spec: dict[str, Any], want: tuple[int, bool]) -> None:
    record = {"number": 1, "digest": "sha256:0", "uri": "pvc://a/b", "formats": ["skops"], **spec}
    found = observe.version({"metadata": {"name": "a-1"}, "spec": record})
    assert (found.onnx_check, found.batching) == want


def test_status_keeps_what_it_said_of_a_version_that_is_gone() -> None:
    known = stable(1).model_copy(update={"runtime": "Native", "runtime_reason": "spec.server.runtime is Native"})
    status = plan.plan(snapshot({}, {"stable": known})).status
    assert status is not None
    assert (status["stable"]["runtime"], status["stable"]["runtimeReason"]) == (known.runtime, known.runtime_reason)


@pytest.mark.parametrize("note", ["", VERIFIED, DIFFER])
def test_a_deployment_remembers_the_forms_of_a_version_whose_record_is_gone(note: str) -> None:
    one = version(1, onnx=note)
    found = observe.workload(server.deployment(snapshot(), one), [], [])
    assert found is not None
    assert (found.version.formats, found.version.onnx, found.version.recorded) == (one.formats, note, False)
