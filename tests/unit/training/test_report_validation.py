"""A report is written by code that may lie: what the spec does not allow fails the run, and no version comes of it."""

import json
from typing import Any

import pytest
from tests.support import builders_training as make
from tests.unit.training.test_loop import quickstart

from tidemill.api.base import API_VERSION
from tidemill.api.v1alpha1.training_run import TrainingRun
from tidemill.core.plan import ObjectRef
from tidemill.engine import apply
from tidemill.engine import status as statuses
from tidemill.errors import ApiError, Stalled
from tidemill.training import report_validation
from tidemill_contracts.artifact import ColumnSpec, Signature
from tidemill_contracts.formats import FORMATS
from tidemill_contracts.training import Failure, TrainingResult

STORE = make.STORE
D = "d" * 64
COLUMN = {"name": "a", "datatype": "FP64"}

FUNCTIONS = [name for name in FORMATS if name not in ("joblib", "program")]
"""Formats that a function may register without a pickle."""

LIES: dict[str, tuple[dict[str, Any], str]] = {
    "a pickle": (
        {"formats": ["joblib"]},
        f"formats: joblib; expected some of {', '.join(FUNCTIONS)}, each once; joblib needs spec.allowPickle",
    ),
    "a pickle beside others": ({"formats": ["skops", "joblib"]}, "formats: skops, joblib"),
    "a form of programs": ({"formats": ["program"]}, "formats: program"),
    "an unknown form": ({"formats": ["pmml"]}, "formats: pmml"),
    "no form": ({"formats": []}, "formats: none"),
    "a form twice": ({"formats": ["skops", "skops"]}, "formats: skops, skops"),
    "another bucket": ({"uri": f"s3://elsewhere/churn/{D}"}, f"expected {STORE}/{D} (the store and the digest)"),
    "another scheme": ({"uri": f"s3://tidemill-artifacts/churn/{D}"}, "uri: "),
    "a file": ({"uri": f"file:///mnt/pvc/tidemill-artifacts/churn/{D}"}, "uri: "),
    "another claim": ({"uri": f"pvc://tidemill-artifacts-evil/churn/{D}"}, "uri: "),
    "a folder with the store's name in front": ({"uri": f"{STORE}-evil/{D}"}, "uri: "),
    "out of the store": ({"uri": f"{STORE}/../other/{D}"}, "uri: "),
    "in and out": ({"uri": f"{STORE}/x/../{D}"}, "uri: "),
    "escaped": ({"uri": f"{STORE}/%2e%2e/other/{D}"}, "uri: "),
    "deeper": ({"uri": f"{STORE}/mine/{D}"}, "uri: "),
    "a line after it": ({"uri": f"{STORE}/{D}\n"}, "uri: "),
    "another version's folder": ({"uri": f"{STORE}/{'a' * 64}"}, "uri: "),
    "the store itself": ({"uri": STORE}, "uri: "),
    "no uri": ({"uri": None}, "uri: "),
    "no digest": ({"digest": None}, "digest: "),
    "a short digest": ({"digest": "sha256:dd"}, "digest: 'sha256:dd' is not a digest"),
    "a digest with a path": ({"digest": f"sha256:../{'d' * 61}"}, "digest: "),
    "no digest of the model": ({"model_digest": None}, "model_digest: "),
    "no digest of the signature": ({"signature_digest": "md5:1"}, "signature_digest: 'md5:1' is not a digest"),
    "not a number": (
        {"metrics": {"accuracy": float("nan")}},
        "metrics.accuracy: nan; expected a finite number or null",
    ),
    "infinite": ({"metrics": {"accuracy": float("-inf")}}, "metrics.accuracy: -inf"),
    "too large for a number": ('"metrics": {"accuracy": 1e999}', "metrics.accuracy: inf"),
    "a metric without a name": ({"metrics": {"": 1.0}}, "metrics: '' is not a name of 1 to 256 printable characters"),
    "a metric's name with a line end": ({"metrics": {"a\nReady=True": 1.0}}, "metrics: 'a\\nReady=True'"),
    "a metric's name without end": ({"metrics": {"a" * 257: 1.0}}, "metrics: "),
    "a champion where there is none": (
        {"champion_metrics": {"accuracy": 0.0}},
        "champion_metrics: this run has no champion",
    ),
    "fewer than no rows": ({"rows": {"train": -1}}, "rows.train: expected a count from 0 to 2^53"),
    "more rows than JSON can say": ({"rows": {"train": 10**30}}, "rows.train: "),
    "more classes than are counted": (
        {"holdout_classes": {f"c{i}": 0 for i in range(11)}},
        "holdout_classes: 11 classes; expected at most 10",
    ),
    "a class without a name": ({"holdout_classes": {"": 1}}, "holdout_classes: '' is not a name of 1 to 256"),
    "fewer than no rows of a class": ({"holdout_classes": {"yes": -1}}, "holdout_classes: expected counts from 0"),
    "more rows of classes than were held out": (
        {"rows": {"train": 9, "holdout": 3}, "holdout_classes": {"no": 2, "yes": 2}},
        "holdout_classes: expected counts from 0 that are together at most 3 (rows.holdout)",
    ),
    "more rows of a class than JSON can say": ({"holdout_classes": {"yes": 10**30}}, "holdout_classes: expected "),
    "other rows": ({"rows": {"all": 1}}, "rows: 'all'; expected train or holdout"),
    "data of another run": ({"data": {"other": "x"}}, "data: 'other'; expected inputs of this run: customers"),
    "a revision without end": ({"data": {"customers": "x" * 513}}, "data.customers: "),
    "an empty revision": ({"data": {"customers": ""}}, "data.customers: "),
    "a revision of two lines": ({"data": {"customers": "a\nb"}}, "data.customers: "),
    "a duration that is none": ({"seconds": {"train": float("nan")}}, "seconds.train: nan; expected a duration"),
    "a duration before the start": ({"seconds": {"train": -1.0}}, "seconds.train: -1.0"),
    "a version that is none": ({"frameworks": {"numpy": "\x1b[2J"}}, "frameworks.numpy: "),
    "outputs without end": (
        {"signature": {"inputs": [COLUMN], "outputs": [COLUMN] * 101}},
        "signature.outputs: 101 columns; expected at most 100",
    ),
    "a check beyond JSON": ({"onnx_check": 2**80}, "onnx_check: 1208925819614629174706176; expected a number from 0"),
    "a check before the first": ({"onnx_check": -1}, "onnx_check: -1"),
    "a column without a name": (
        {"signature": {"inputs": [{**COLUMN, "name": ""}], "outputs": []}},
        "signature.inputs: ''",
    ),
    "a column's name without end": (
        {"signature": {"inputs": [], "outputs": [{**COLUMN, "name": "a" * 257}]}},
        "is not a name of 1 to 256 characters",
    ),
    "a data type that is none": (
        {"signature": {"inputs": [{**COLUMN, "datatype": "evil"}], "outputs": []}},
        "signature.inputs: datatype 'evil'; expected one of BOOL, INT8, ",
    ),
    "a shape beyond JSON": (
        {"signature": {"inputs": [{**COLUMN, "shape": [2**63]}], "outputs": []}},
        "signature.inputs: a shape has a size beyond 2^53",
    ),
}


WRONG: dict[str, Any] = {
    "schema_version": 2,
    "outcome": "Weird",
    "failure": "x",
    "digest": 5,
    "model_digest": 5,
    "uri": 5,
    "formats": "skops",
    "task": "evil",
    "metrics": {"accuracy": True},
    "champion_metrics": {"accuracy": "0.9"},
    "champion_note": 5,
    "champion_overlap": 5,
    "holdout": "Group",
    "rows": {"train": 1.5},
    "holdout_classes": {"yes": 1.5},
    "data": {"customers": 5},
    "kept_rows": {"customers": 5},
    "signature": {"inputs": "x"},
    "signature_digest": 5,
    "frameworks": {"numpy": 2},
    "seconds": {"train": "1"},
    "onnx": True,
    "onnx_check": True,
    "batching": "no",
    "lineage": {"data": {}, "code": "", "image": ""},
    "warnings": [5],
    "failure.category": "Evil",
    "failure.reason": 5,
    "failure.message": 5,
    "signature.inputs": {},
    "signature.outputs": [5],
    "signature.frame": "no",
    "signature.inputs.0.name": 5,
    "signature.inputs.0.datatype": None,
    "signature.inputs.0.shape": [True],
    "signature.inputs.0.categories": "x",
    "signature.inputs.0.nullable": "no",
    "signature.inputs.0.closed": 1,
    "signature.inputs.0.minimum": "0",
    "signature.inputs.0.maximum": True,
    "signature.inputs.0.used": "no",
}
"""A value of the wrong type for every field of a report."""


def test_every_field_of_a_report_is_held() -> None:
    fields = {
        *TrainingResult.model_fields,
        *(f"failure.{name}" for name in Failure.model_fields),
        *(f"signature.{name}" for name in Signature.model_fields),
        *(f"signature.inputs.0.{name}" for name in ColumnSpec.model_fields),
    }
    assert set(WRONG) == fields, "a field without a value that is refused"


@pytest.mark.slow  # many examples
@pytest.mark.parametrize("field", WRONG)
def test_a_value_of_another_type_is_refused_by_its_field(field: str) -> None:
    reported: dict[str, Any] = make.result(
        failure={"category": "UserError", "reason": "R", "message": "m"},
        signature={"inputs": [dict(COLUMN)], "outputs": [], "frame": True},
    )
    place: Any = reported
    *parents, last = field.split(".")
    for parent in parents:
        place = place[int(parent) if parent.isdigit() else parent]
    place[last] = WRONG[field]
    status = _ended(json.dumps(reported))
    assert (status["failure"]["category"], status["failure"]["reason"]) == ("UserError", "ResultRefused")
    assert status["failure"]["message"].startswith(f"the pod's report was refused: {field}")


@pytest.mark.parametrize("message", ["no JSON", "[]", "null", "{" * 400, "\N{GRINNING FACE}" * 900, '{"metrics": {}}'])
def test_what_is_no_report_is_refused_and_not_lost(message: str) -> None:
    failure = _ended(message)["failure"]
    assert (failure["category"], failure["reason"]) == ("UserError", "ResultRefused")
    assert failure["message"].startswith("the pod's report was refused: ")


def _ended(message: str) -> dict[str, Any]:
    """The status of a run whose Job has completed with this message."""
    world = quickstart()
    world.settle()
    run = world.names("TrainingRun")[0]
    world.kubelet_finishes(run, message)
    world.settle()
    assert world.condition("TrainingPipeline", "churn", "Reconciling")[0] != "True"
    return world.run(run)


def test_a_record_that_the_api_server_refuses_ends_the_run_and_the_pipeline_goes_on() -> None:
    """Whatever the checks do not know of yet: no run may hang on it."""
    world = quickstart()
    world.settle()
    run = world.names("TrainingRun")[0]
    version = ObjectRef(API_VERSION, "ModelVersion", make.NAMESPACE, "churn-1")
    verdict = apply._verdict(version, ApiError(422, "Invalid", "spec.x: Invalid value: 5: must be 6\u202e"))
    assert isinstance(verdict, Stalled)  # which the engine shows:
    stalled = statuses.stalled(world.get("TrainingRun", run), verdict, make.NOW)
    world.change("TrainingRun", run, lambda o: o.update(status=stalled))
    world.kubelet_finishes(run, make.result())
    world.settle()
    assert world.condition("TrainingRun", run, "Succeeded") == ("False", "Failed")
    failure = world.run(run)["failure"]
    assert (failure["category"], failure["reason"]) == ("UserError", "ResultRefused")
    assert "spec.x: Invalid value: 5: must be 6" in failure["message"]
    assert world.names("ModelVersion") == []
    assert "activeRun" not in world.pipeline()


@pytest.mark.slow  # many examples
@pytest.mark.parametrize("name", LIES)
def test_what_the_spec_does_not_allow_fails_the_run(name: str) -> None:
    lie, expected = LIES[name]
    message = json.dumps({**make.result(), **(lie if isinstance(lie, dict) else {})})
    if isinstance(lie, str):
        message = message[:-1] + f", {lie}}}"
    world = quickstart()
    world.settle()
    run = world.names("TrainingRun")[0]
    world.advance(seconds=5)
    world.kubelet_finishes(run, message)
    world.settle()

    status = world.run(run)
    assert world.condition("TrainingRun", run, "Succeeded") == ("False", "Failed")
    assert (status["failure"]["category"], status["failure"]["reason"]) == ("UserError", "ResultRefused")
    assert status["failure"]["message"].startswith("the pod's report was refused: ")
    assert expected in status["failure"]["message"]
    assert "result" not in status
    assert world.names("ModelVersion") == []
    assert [(e.type, e.reason) for e in world.events if e.reason == "ResultRefused"] == [("Warning", "ResultRefused")]


def _spec(**fields: Any) -> Any:
    world = quickstart()
    world.settle()
    obj = world.get("TrainingRun", world.names("TrainingRun")[0])
    return TrainingRun.model_validate({**obj, "spec": {**obj["spec"], **fields}}).spec


def _report(**fields: Any) -> TrainingResult:
    return TrainingResult.model_validate(make.result(**fields))


@pytest.mark.parametrize(
    ("spec", "report"),
    [
        ({}, {}),
        ({}, {"metrics": {"accuracy": None, "précision @ 10 (macro)": -1.5e300}, "data": {}, "rows": {}}),
        ({"allowPickle": True}, {"formats": ["joblib", "onnx"]}),
        ({"code": {"command": ["sh"], "digest": make.digest("c")}}, {"formats": ["program"]}),
        ({"store": {"uri": "s3://bucket/a/team/churn"}}, {"uri": f"s3://bucket/a/team/churn/{D}"}),
        ({"store": {"uri": "s3://bucket/a/team/churn/"}}, {"uri": f"s3://bucket/a/team/churn/{D}"}),
    ],
)
def test_what_a_trainer_says_is_believed(spec: dict[str, Any], report: dict[str, Any]) -> None:
    assert report_validation.refusal(report_validation.of_run(_spec(**spec)), _report(**report)) is None


def test_the_held_out_rows_of_each_class_are_in_the_status_of_the_run() -> None:
    world = quickstart()
    run = world.train(holdout_classes={"yes": 8, "no": 92})
    assert world.run(run)["result"]["holdoutClasses"] == {"yes": 8, "no": 92}


def test_a_failure_is_believed_as_far_as_it_is_one() -> None:
    world = quickstart()
    world.settle()
    run = world.names("TrainingRun")[0]
    reported = {**make.failed("DataInvalid", "MissingTarget", "no column\x1b[2J 'y'"), "data": {"customers": "r1"}}
    world.kubelet_finishes(run, reported, exit_code=42)
    world.settle()
    failure = world.run(run)["failure"]
    assert (failure["category"], failure["reason"]) == ("DataInvalid", "MissingTarget")
    assert failure["message"] == "no column\N{REPLACEMENT CHARACTER}[2J 'y'"
    assert world.run(run)["result"]["data"] == {"customers": "r1"}


@pytest.mark.parametrize(
    "lie",
    [
        {"failure": {"category": "UserError", "reason": "no word\nat all", "message": "x"}},
        {"rows": {"train": 10**30}},
        {"seconds": {"train": float("inf")}},
        {"data": {"other": "r"}},
    ],
)
def test_a_failed_runs_report_is_held_against_the_spec_as_well(lie: dict[str, Any]) -> None:
    world = quickstart()
    world.settle()
    run = world.names("TrainingRun")[0]
    world.kubelet_finishes(run, {**make.failed("UserError", "CodeFailed", "boom"), **lie}, exit_code=42)
    world.settle()
    status = world.run(run)
    assert status["failure"]["reason"] == "ResultRefused"
    assert "result" not in status
