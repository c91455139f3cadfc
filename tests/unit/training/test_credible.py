"""A report is written by code that may lie: what the spec does not allow fails the run, and no version comes of it."""

import json
from typing import Any

import pytest
from tests.support import builders_training as make
from tests.unit.training.test_loop import quickstart

from tidemill.api.v1alpha1.training_run import TrainingRun
from tidemill.training.run.policy import credible
from tidemill_contracts.training import TrainingResult

STORE = "pvc://tidemill-artifacts/churn"
D = "d" * 64
COLUMN = {"name": "a", "datatype": "FP64"}

LIES: dict[str, tuple[dict[str, Any], str]] = {
    "a pickle": (
        {"formats": ["joblib"]},
        "formats: joblib; expected some of skops, onnx, each once; joblib needs spec.allowPickle",
    ),
    "a pickle beside others": ({"formats": ["skops", "joblib"]}, "formats: skops, joblib"),
    "a form of programs": ({"formats": ["program"]}, "formats: program"),
    "an unknown form": ({"formats": ["pmml"]}, "formats: pmml"),
    "no form": ({"formats": []}, "formats: none"),
    "a form twice": ({"formats": ["skops", "skops"]}, "formats: skops, skops"),
    "another bucket": ({"uri": f"s3://elsewhere/churn/{D}"}, f"expected {STORE}/{D} (spec.store.uri and the digest)"),
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
    "not a number": (
        {"metrics": {"accuracy": float("nan")}},
        "metrics.accuracy: nan; expected a finite number or null",
    ),
    "infinite": ({"metrics": {"accuracy": float("-inf")}}, "metrics.accuracy: -inf"),
    "too large for a number": ('"metrics": {"accuracy": 1e999}', "metrics.accuracy: inf"),
    "a metric without a name": ({"metrics": {"": 1.0}}, "metrics: '' is no name of 1 to 256 printable characters"),
    "a metric's name with a line end": ({"metrics": {"a\nReady=True": 1.0}}, "metrics: 'a\\nReady=True'"),
    "a metric's name without end": ({"metrics": {"a" * 257: 1.0}}, "metrics: "),
    "a champion where there is none": (
        {"champion_metrics": {"accuracy": 0.0}},
        "champion_metrics: this run has no champion",
    ),
    "fewer than no rows": ({"rows": {"train": -1}}, "rows.train: expected a count from 0 to 2^53"),
    "more rows than JSON can say": ({"rows": {"train": 10**30}}, "rows.train: "),
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
    "a shape beyond JSON": (
        {"signature": {"inputs": [{**COLUMN, "shape": [2**63]}], "outputs": []}},
        "signature.inputs: a shape has a size beyond 2^53",
    ),
}


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
    assert status["failure"]["message"].startswith("the run's report is not believed: ")
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
    assert credible.refusal(_spec(**spec), _report(**report)) is None


def test_a_failure_is_believed_as_far_as_it_is_one() -> None:
    world = quickstart()
    world.settle()
    run = world.names("TrainingRun")[0]
    told = {**make.failed("DataInvalid", "MissingTarget", "no column\x1b[2J 'y'"), "data": {"customers": "r1"}}
    world.kubelet_finishes(run, told, exit_code=42)
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
