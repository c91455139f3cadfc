"""`evaluation.split` from spec to status: what decides a run, what the trainer is told, and what is said afterwards."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import builders_training as make
from tests.unit.training.test_builders import config_of
from tests.unit.training.test_imports import run as import_runs
from tests.unit.training.test_imports import world as importing
from tests.unit.training.test_loop import quickstart, trigger
from tests.unit.training.world import World

from tidemill.api.v1alpha1.training_pipeline import TrainingPipelineSpec
from tidemill.api.v1alpha1.training_template import Split
from tidemill.training.pipeline.policy.inputs import outcome_digest
from tidemill_contracts.holdout import OVERLAP_LIMIT, HoldoutSplit
from tidemill_contracts.training import TrainerConfig

Obj = dict[str, Any]

GROUP = {"type": "Group", "column": "customer"}
REPORT = {"type": "Group", "groups": {"train": 80, "holdout": 20}}
BETTER = {"metric": "accuracy", "againstChampion": {"minDelta": 0.01}}
LEARNED = "churn-1 may have been trained on rows that are held out here: its run had seed 1, this one has 2"


def pipeline(*gates: Obj, **evaluation: Any) -> make.Pipeline:
    return make.Pipeline().spec(evaluation={"split": GROUP, "gates": list(gates), **evaluation})


def message(world: World, kind: str, name: str, type_: str) -> str:
    return next(str(c["message"]) for c in world.get(kind, name)["status"]["conditions"] if c["type"] == type_)


def second_run(*gates: Obj, **report: Any) -> tuple[World, str]:
    """A second run, of another seed, judged against the first one's version."""
    world = quickstart(pipeline(*gates))
    world.train(holdout=REPORT)
    world.change("TrainingPipeline", "churn", lambda o: o["spec"].update(seed=2))
    world.settle()
    run = world.train("f", world.names("TrainingRun")[-1], holdout=REPORT, **report)
    return world, run


@pytest.mark.parametrize(
    ("split", "told"),
    [
        ({"type": "Hash"}, HoldoutSplit(type="Hash")),
        (GROUP, HoldoutSplit(type="Group", column="customer")),
        ({**GROUP, "keepColumn": True}, HoldoutSplit(type="Group", column="customer", keep_column=True)),
        ({"type": "Time", "column": "day"}, HoldoutSplit(type="Time", column="day", keep_column=True)),
        ({"type": "Time", "column": "day", "keepColumn": False}, HoldoutSplit(type="Time", column="day")),
        ({"type": "Column", "column": "side"}, HoldoutSplit(type="Column", column="side")),
    ],
)
def test_the_trainer_is_told_the_split(split: Obj, told: HoldoutSplit) -> None:
    world = quickstart(make.Pipeline().spec(evaluation={"split": split, "holdoutRatio": 0.3}))
    world.settle()
    (run,) = world.names("TrainingRun")
    spec = world.get("TrainingRun", run)["spec"]
    config = config_of(world.get("Job", run))
    assert spec["split"] == split
    assert (config.split, config.holdout_ratio) == (told, 0.3)


def test_without_a_split_runs_are_told_what_they_were_told_before() -> None:
    world = quickstart()
    world.settle()
    (run,) = world.names("TrainingRun")
    assert "split" not in world.get("TrainingRun", run)["spec"]
    environment = world.get("Job", run)["spec"]["template"]["spec"]["containers"][0]["env"]
    text = next(e["value"] for e in environment if e["name"] == "TIDEMILL_TRAINER_CONFIG")
    assert "split" not in text
    assert TrainerConfig.from_json(text).split is None


def test_a_changed_split_is_a_changed_input_and_trains_again() -> None:
    world = quickstart()
    world.train()
    digests = [outcome_digest(TrainingPipelineSpec.model_validate(world.get("TrainingPipeline", "churn")["spec"]))]
    for split in (GROUP, {**GROUP, "column": "shop"}, {"type": "Hash"}):
        evaluation = {"evaluation": {"split": split}}
        world.change("TrainingPipeline", "churn", lambda o, new=evaluation: o["spec"].update(new))
        world.settle()
        spec = TrainingPipelineSpec.model_validate(world.get("TrainingPipeline", "churn")["spec"])
        digests.append(outcome_digest(spec))
        run = world.names("TrainingRun")[-1]
        assert trigger(world, run)["type"] == "SpecChanged"
        world.train(str(len(digests)), run, holdout={"type": split["type"]})
        assert world.condition("TrainingRun", run, "Succeeded")[0] == "True"
    assert len(set(digests)) == 4


def test_the_spec_of_a_split_digests_as_before_without_one() -> None:
    spec = make.Pipeline().obj()["spec"]
    none = TrainingPipelineSpec.model_validate({**spec, "evaluation": {}})
    assert outcome_digest(TrainingPipelineSpec.model_validate(spec)) == outcome_digest(none)


def test_how_rows_were_divided_is_in_the_run_and_its_version() -> None:
    world = quickstart(make.Pipeline().spec(evaluation={"split": {"type": "Time", "column": "day"}}))
    run = world.train(holdout={"type": "Time", "cut": "2026-05-01T00:00:00+00:00"})
    assert world.run(run)["result"]["holdout"] == {"type": "Time", "cut": "2026-05-01T00:00:00+00:00", "groups": {}}
    assert world.get("ModelVersion", "churn-1")["spec"]["lineage"]["split"] == {
        "type": "Time",
        "column": "day",
        "ratio": 0.2,
        "cut": "2026-05-01T00:00:00+00:00",
    }


def test_without_a_split_runs_and_versions_say_nothing_new() -> None:
    world = quickstart()
    run = world.train()
    assert not {"holdout", "championOverlap"} & set(world.run(run)["result"])
    assert not {"split", "parentOverlap"} & set(world.get("ModelVersion", "churn-1")["spec"]["lineage"])


def test_an_image_that_does_not_know_the_split_has_held_out_other_rows() -> None:
    world = quickstart(pipeline())
    run = world.train()
    assert world.run(run)["failure"]["reason"] == "ResultRefused"
    assert world.run(run)["failure"]["message"] == (
        "the pod's report was refused: holdout: not there; expected Group: the trainer in this image does not know "
        "spec.evaluation.split; use a newer image"
    )


@pytest.mark.parametrize(
    ("report", "says"),
    [
        ({"holdout": {"type": "Hash"}}, "holdout.type: Hash; expected Group"),
        ({"holdout": {**REPORT, "cut": "x" * 65}}, "holdout.cut: expected a time of 1 to 64 printable characters"),
        ({"holdout": {**REPORT, "cut": "a\nb"}}, "holdout.cut: "),
        ({"holdout": {**REPORT, "groups": {"all": 1}}}, "holdout.groups: 'all'; expected train or holdout"),
        ({"holdout": {**REPORT, "groups": {"train": -1}}}, "holdout.groups.train: expected a count"),
        ({"holdout": REPORT, "champion_overlap": "x"}, "champion_overlap: this run has no champion"),
    ],
)
def test_what_a_report_may_not_say_of_the_split(report: Obj, says: str) -> None:
    world = quickstart(pipeline())
    run = world.train(**report)
    assert says in world.run(run)["failure"]["message"]


def test_a_sentence_without_end_is_refused() -> None:
    world, run = second_run(champion_overlap="x" * (OVERLAP_LIMIT + 1))
    assert f"champion_overlap: expected at most {OVERLAP_LIMIT} characters" in world.run(run)["failure"]["message"]


def test_a_report_of_a_split_that_nobody_asked_for_is_refused() -> None:
    world = quickstart()
    run = world.train(holdout={"type": "Hash"})
    assert "holdout.type: Hash; expected none: the spec has no split" in world.run(run)["failure"]["message"]


class TestChampionThatMayHaveLearned:
    """The gates decide all the same, and every sentence says what the champion had."""

    def test_a_candidate_that_wins_all_the_same(self) -> None:
        world, run = second_run(
            BETTER, metrics={"accuracy": 0.95}, champion_metrics={"accuracy": 0.9}, champion_overlap=LEARNED
        )
        assert world.run(run)["result"]["championOverlap"] == LEARNED
        assert message(world, "TrainingRun", run, "Succeeded") == f"registered version churn-2; {LEARNED}"
        (verdict,) = world.run(run)["gates"]
        assert verdict["passed"] is True
        assert verdict["message"].endswith(f"({LEARNED})")
        version = world.get("ModelVersion", "churn-2")
        assert version["spec"]["lineage"]["parentOverlap"] == LEARNED
        assert message(world, "ModelVersion", "churn-2", "Approved") == f"approved: it passed its gates; {LEARNED}"

    def test_a_candidate_that_loses(self) -> None:
        world, run = second_run(
            BETTER, metrics={"accuracy": 0.9}, champion_metrics={"accuracy": 0.99}, champion_overlap=LEARNED
        )
        assert world.condition("TrainingRun", run, "Succeeded") == ("False", "Rejected")
        assert LEARNED in message(world, "TrainingRun", run, "Succeeded")
        assert LEARNED in message(world, "TrainingPipeline", "churn", "Ready")

    def test_nobody_compared(self) -> None:
        world, run = second_run(
            {"metric": "accuracy", "min": 0.5}, champion_metrics={"accuracy": 0.9}, champion_overlap=LEARNED
        )
        assert world.run(run)["result"]["championOverlap"] == LEARNED
        assert message(world, "TrainingRun", run, "Succeeded") == "registered version churn-2"


def test_an_imported_version_says_how_its_rows_were_divided() -> None:
    found = importing()
    lineage = {"data": {"customers": "r"}, "code": "c", "image": "i", "holdout": {"type": "Group", "ratio": 0.2,
               "column": "customer"}}  # fmt: skip
    import_runs(found, make.imported(lineage=lineage))
    kept = found.get("ModelVersion", "churn-1")["spec"]["lineage"]["split"]
    assert kept == {"type": "Group", "column": "customer", "ratio": 0.2}


@pytest.mark.parametrize(
    ("holdout", "says"),
    [
        ({"type": "Group", "ratio": 7.0}, "lineage.holdout.ratio: 7.0; expected a number between 0 and 1"),
        ({"type": "Group", "column": "x" * 257}, "lineage.holdout.column: expected a name"),
        ({"type": "Time", "cut": ""}, "lineage.holdout.cut: expected a time"),
    ],
)
def test_an_imports_record_of_its_rows_is_held(holdout: Obj, says: str) -> None:
    found = importing()
    import_runs(found, make.imported(lineage={"data": {}, "code": "c", "image": "i", "holdout": holdout}))
    assert says in found.get("ModelImport", "from-staging")["status"]["failure"]["message"]


def test_which_types_keep_their_column() -> None:
    kept = {type_: Split(type=type_, column="c").keeps_column for type_ in ("Group", "Time", "Column")}
    assert kept == {"Group": False, "Time": True, "Column": False}
