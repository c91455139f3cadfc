"""The last value that counts and the first that does not, where runs, versions, probes and reports are judged."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from tests.support import builders_training as build
from tests.unit.training.make import ago, context, failed, probe, run, snapshot, version

from tidemill.api.v1alpha1.training_run import RunChampion
from tidemill.api.v1alpha1.training_template import DataSource, Gate
from tidemill.training import report_validation, retry_pauses
from tidemill.training.pipeline.policy import inputs, probes, reporting, retention, retry
from tidemill.training.pipeline.policy.history import history
from tidemill.training.pipeline.snapshot import MapContent
from tidemill.training.run.policy import gates
from tidemill_contracts.training import TrainingResult

Obj = dict[str, Any]
MOST = 2**53


@pytest.mark.parametrize(
    ("success", "completed", "is_mended"),
    [
        (ago(minutes=10), ago(minutes=11), True),
        (ago(minutes=10), ago(minutes=10), False),
        (ago(minutes=15), ago(minutes=10), False),
        (ago(minutes=15), None, True),
        (ago(minutes=25), None, False),
        (None, ago(minutes=10), False),
    ],
)
def test_a_failure_is_mended_by_a_success_after_its_end(
    success: datetime | None, completed: datetime | None, is_mended: bool
) -> None:
    found = replace(history(snapshot()), last_success=success)
    assert found.is_mended(failed(minutes=20, completed=completed)) is is_mended


def test_as_long_as_there_is_room_no_version_goes() -> None:
    versions = tuple(version(n, approved=False) for n in (1, 2, 3))
    given = snapshot({"history": {"versions": 9}}, versions=versions)
    assert retention.surplus_versions(given, history(given)) == ()


def test_of_a_spec_that_is_too_large_the_three_largest_parts_are_named() -> None:
    sizes = {"a": 10, "b": 300_000, "c": 100_000, "d": 200_000}
    data = [{"name": name, "uri": "pvc://data/" + "x" * size} for name, size in sizes.items()]
    given = snapshot()
    sources = [DataSource.model_construct(**source) for source in data]
    large = given.pipeline.model_copy(update={"spec": given.pipeline.spec.model_copy(update={"data": sources})})
    problem = inputs.inputs(replace(given, pipeline=large))
    assert isinstance(problem, inputs.Problem)
    assert problem.reason == "SpecTooLarge"
    named = problem.message.partition("largest: ")[2].partition(")")[0]
    assert [part.split()[0] for part in named.split(", ")] == [f"spec.data[name={n}]" for n in ("b", "d", "c")]


def test_a_key_that_is_missing_is_waited_for() -> None:
    spec = {"data": [{"name": "a", "uri": "configmap://table/a.csv"}]}
    given = snapshot(spec, maps={"table": MapContent({"b.csv": "1"})})
    problem = inputs.inputs(given)
    assert isinstance(problem, inputs.Problem)
    assert (problem.reason, problem.stalled) == ("DataNotFound", False)
    assert problem.message.endswith("has no key a.csv; keys there: b.csv")


def test_of_two_probes_the_first_is_read() -> None:
    spec = {"data": [{"name": "a", "uri": "pvc://data/a.csv"}], "triggers": {"dataChange": {"pollSeconds": 600}}}
    first, second = probe(1, minutes=2), probe(2, minutes=1, finished=False)
    found = probes.probe_actions(context(spec, probes=(first, second)))
    assert found.unread == first
    waits = probes.probe_actions(context(spec, probes=(replace(first, finished=False), probe(2, minutes=1))))
    assert waits.unread is None
    assert waits.next == found.next


def test_tries_of_many_runs_spread_over_all_of_their_time() -> None:
    shares = [retry_pauses.share(retry.pause_key(run(f"churn-{n}"))) for n in range(3000)]
    assert (min(shares), max(shares)) == (0, 1)


@pytest.mark.parametrize(("minutes", "is_due"), [(51, False), (50, False), (49, True)])
def test_between_a_version_and_its_verdict_status_waits(minutes: float, is_due: bool) -> None:
    """A version of before the run was made by another of that name."""
    active = run("run-1", minutes=50, outcome="Unknown")
    given = context(status={"activeRun": "run-1"}, runs=(active,), versions=(version(1, minutes=100 - minutes),))
    assert reporting.is_due(given) is is_due


def report(**fields: Any) -> TrainingResult:
    return TrainingResult.model_validate({**build.result(), **fields})


def refused(**fields: Any) -> list[str]:
    checks = (report_validation._rows, report_validation._classes, report_validation._durations)
    checks = (*checks, report_validation._check, report_validation._frameworks)  # type: ignore[assignment]
    return [text for check in checks for text in check(None, report(**fields))]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "is_refused"),
    [
        ({"rows": {"train": 0, "holdout": MOST}}, False),
        ({"rows": {"train": MOST + 1}}, True),
        ({"rows": {}, "holdout_classes": {"yes": MOST, "no": 0}}, False),
        ({"rows": {}, "holdout_classes": {"yes": MOST, "no": 1}}, True),
        ({"rows": {"holdout": 4}, "holdout_classes": {"yes": 1, "no": 3}}, False),
        ({"rows": {"holdout": 4}, "holdout_classes": {"yes": 2, "no": 3}}, True),
        ({"holdout_classes": {str(i): 0 for i in range(10)}}, False),
        ({"holdout_classes": {str(i): 0 for i in range(11)}}, True),
        ({"holdout_classes": {"a\nb": 1}}, True),
        ({"holdout_classes": {"no": -1}}, True),
        ({"seconds": {"train": 0.0, "load": float(MOST)}}, False),
        ({"seconds": {"train": -0.1}}, True),
        ({"seconds": {"train": float(MOST) * 2}}, True),
        ({"seconds": {"a\nb": 1.0}}, True),
        ({"onnx_check": 0}, False),
        ({"onnx_check": MOST}, False),
        ({"onnx_check": -1}, True),
        ({"onnx_check": MOST + 1}, True),
        ({"frameworks": {"a\nb": "1.0"}}, True),
        ({"frameworks": {"skops": "1.0"}}, False),
    ],
)
def test_numbers_of_a_report_have_bounds_and_names_are_names(fields: Obj, is_refused: bool) -> None:
    assert bool(refused(**fields)) is is_refused


CHAMPION = RunChampion(
    version="churn-1", metrics={"rmse": 2.0, "accuracy": 0.5}, uri="pvc://s/1", digest="sha256:" + "1" * 64
)


@pytest.mark.parametrize(("metric", "value", "threshold"), [("rmse", 1.5, 1.9), ("accuracy", 0.7, 0.6)])
def test_the_threshold_lies_on_the_better_side_of_the_champion(metric: str, value: float, threshold: float) -> None:
    gate = Gate.model_validate({"metric": metric, "againstChampion": {"minDelta": 0.1}})
    scores = gates.scores(report(metrics={metric: value}), CHAMPION)
    (verdict,) = gates.verdicts([gate], scores)
    assert verdict.passed
    assert verdict.threshold == pytest.approx(threshold)
    assert verdict.message.endswith("(recorded metrics of the champion were used)")


def test_rescored_metrics_of_the_champion_need_no_note() -> None:
    assert gates.scores(report(champion_metrics={"rmse": 3.0}), CHAMPION).champion_note is None


def signature(**changes: Any) -> list[str]:
    column = {"name": "a", "datatype": "FP64", **changes}
    count = column.pop("count", 1)
    told = report(signature={"inputs": [column] * count, "outputs": [], "frame": True})
    return list(report_validation._signature(None, told))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "is_refused"),
    [
        ({"count": 2000}, False),
        ({"count": 2001}, True),
        ({"name": "a" * 256}, False),
        ({"name": "a" * 257}, True),
        ({"name": ""}, True),
        ({"shape": [-1, MOST]}, False),
        ({"shape": [-1, MOST + 1]}, True),
        ({"shape": [-MOST - 1]}, True),
    ],
)
def test_a_signature_has_bounds(changes: Obj, is_refused: bool) -> None:
    assert bool(signature(**changes)) is is_refused
