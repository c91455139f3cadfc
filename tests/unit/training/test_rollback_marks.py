"""Versions that a deployment rolled back: no champions any more, until a person lifts the mark."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import builders_training as make
from tests.unit.training.test_loop import quickstart
from tests.unit.training.world import World

from tidemill.core.conditions import format_time

Obj = dict[str, Any]


def two_versions() -> World:
    """A pipeline with two approved versions."""
    world = quickstart(make.Pipeline().triggers(codeChange={}))
    world.train("a")
    world.advance(minutes=1)
    world.put(make.ConfigMap(train_py="2").obj())
    world.train("b")
    world.advance(minutes=1)
    return world


def mark(world: World, version: str = "churn-2", by: str = "web", **changes: Any) -> None:
    """What the serving slice writes when a deployment takes a version back."""

    def write(obj: Obj) -> None:
        entry = {
            "digest": obj["spec"]["digest"],
            "reason": "AnalysisFailed",
            "message": "LatencyP99Milliseconds 80 is above 50",
            "time": format_time(world.clock.time),
            **changes,
        }
        obj["status"].setdefault("takenBack", {})[by] = entry

    world.change("ModelVersion", version, write)
    world.settle()


def marks(world: World, version: str = "churn-2") -> list[str]:
    return sorted(world.get("ModelVersion", version)["status"].get("takenBack", {}))


def annotate(world: World, **values: str) -> None:
    def write(obj: Obj) -> None:
        obj["metadata"].setdefault("annotations", {}).update(
            {f"tidemill.io/{k.replace('_', '-')}": v for k, v in values.items()}
        )

    world.advance(seconds=1)
    world.change("ModelVersion", "churn-2", write)
    world.settle()


def test_the_next_candidate_is_judged_against_the_champion_before() -> None:
    world = two_versions()
    assert world.pipeline()["champion"]["version"] == "churn-2"
    mark(world)

    assert world.pipeline()["champion"]["version"] == "churn-1"
    assert world.condition("TrainingPipeline", "churn") == ("True", "Trained")
    assert "churn-2 was rolled back by ModelDeployment web" in str(world.pipeline()["conditions"])
    world.put(make.ConfigMap(train_py="3").obj())
    world.settle()
    run = world.get("TrainingRun", world.names("TrainingRun")[-1])
    assert run["spec"]["champion"]["version"] == "churn-1"


def test_the_mark_stays_when_its_deployment_goes_and_says_where_and_why() -> None:
    world = two_versions()
    world.put(make.Deployment("web").uses(stable="churn-1").obj())
    mark(world)
    world.remove("ModelDeployment", "web")
    world.settle()

    status = world.get("ModelVersion", "churn-2")["status"]
    assert marks(world) == ["web"]
    (condition,) = [c for c in status["conditions"] if c["type"] == "TakenBack"]
    assert (condition["status"], condition["reason"]) == ("True", "AnalysisFailed")
    assert "ModelDeployment web" in condition["message"] and "LatencyP99" in condition["message"]
    assert world.condition("ModelVersion", "churn-2", "Approved")[0] == "True"
    assert world.pipeline()["champion"]["version"] == "churn-1"


def test_where_all_were_rolled_back_the_newest_is_champion() -> None:
    world = two_versions()
    mark(world, "churn-1")
    mark(world, "churn-2")

    assert world.pipeline()["champion"]["version"] == "churn-2"
    assert "churn-2 is the champion; churn-2 was rolled back by ModelDeployment web" in str(
        world.pipeline()["conditions"]
    )


def test_the_champion_before_is_kept_and_the_marked_one_may_go() -> None:
    world = quickstart(make.Pipeline().triggers(codeChange={}).spec(history={"versions": 1}))
    world.train("a")
    world.put(make.Deployment("web").uses(stable="churn-1", candidate="churn-2").obj())
    world.advance(minutes=1)
    world.put(make.ConfigMap(train_py="2").obj())
    world.train("b")
    mark(world)
    world.remove("ModelDeployment", "web")
    world.settle()
    world.advance(minutes=1)
    world.put(make.ConfigMap(train_py="3").obj())
    world.train("c")

    assert world.pipeline()["champion"]["version"] == "churn-3"
    assert "churn-2" not in world.names("ModelVersion")


def test_a_mark_of_other_content_says_nothing() -> None:
    world = two_versions()
    mark(world, digest=make.digest("f"))

    assert world.pipeline()["champion"]["version"] == "churn-2"
    assert marks(world) == []


LIFTS: dict[str, dict[str, str]] = {
    "retry": {"retry": "once more"},
    "an approval by hand": {"approve": make.digest("b")},
}


@pytest.mark.parametrize("how", LIFTS)
def test_a_person_lifts_all_marks(how: str) -> None:
    world = two_versions()
    mark(world, by="web")
    mark(world, by="shop")
    annotate(world, **LIFTS[how])

    status = world.get("ModelVersion", "churn-2")["status"]
    assert marks(world) == []
    assert f"tidemill.io/{next(iter(LIFTS[how]))}" in status["lifted"]["by"]
    assert world.condition("ModelVersion", "churn-2", "TakenBack") == ("", "")
    assert world.pipeline()["champion"]["version"] == "churn-2"


def test_a_lift_counts_once_and_not_for_later_marks() -> None:
    world = two_versions()
    annotate(world, approve=make.digest("b"), retry="x")
    world.advance(minutes=1)
    mark(world)

    assert marks(world) == ["web"]
    assert world.pipeline()["champion"]["version"] == "churn-1"
    annotate(world, decision_comment="the limit was too strict")  # decided anew, on the same digest
    assert marks(world) == []


def test_of_long_values_the_end_counts_too_and_the_status_stays_small() -> None:
    world = two_versions()
    for value in ("x" * 1000 + "1", "x" * 1000 + "2"):
        world.advance(minutes=1)
        mark(world)
        annotate(world, retry=value)
        status = world.get("ModelVersion", "churn-2")["status"]
        assert marks(world) == []
        assert len(status["lastHandledRetry"]) <= 512 and len(status["lifted"]["by"]) <= 600


def test_a_mark_that_comes_late_does_not_undo_a_later_lift() -> None:
    world = two_versions()
    early = format_time(world.clock.time)
    annotate(world, approve=make.digest("b"))
    annotate(world, retry="x")
    lifted = world.get("ModelVersion", "churn-2")["status"]["lifted"]
    mark(world, time=early)  # by an operator that had not seen the lift
    assert marks(world) == [] and world.get("ModelVersion", "churn-2")["status"]["lifted"] == lifted


def test_without_marks_nothing_more_is_written_of_a_version() -> None:
    world = two_versions()
    annotate(world, approve=make.digest("b"))

    assert {"takenBack", "lifted", "lastHandledRetry"} & set(world.get("ModelVersion", "churn-2")["status"]) == set()
