"""What a run may not remove from the store: above all what is deployed."""

from __future__ import annotations

import pytest
from tests.support import builders_training as make
from tests.unit.training.test_loop import quickstart


@pytest.mark.parametrize("role", ["stable", "candidate", "previous"])
@pytest.mark.parametrize("model", [{"pipeline": "churn"}, {"version": "churn-1"}], ids=["by pipeline", "by version"])
def test_a_deployed_model_stays_in_the_store_after_its_version_was_deleted(role: str, model: dict[str, str]) -> None:
    world = quickstart(make.Pipeline().triggers(codeChange={}))
    world.train("a")
    world.advance(minutes=1)
    world.put(make.ConfigMap(train_py="2").obj())
    world.train("b")
    used = {role: {"version": "churn-1", "digest": make.digest("a")}}
    world.put(make.Deployment("web").spec(model=model).status(**used).obj())
    world.remove("ModelVersion", "churn-1")
    world.advance(minutes=1)
    world.put(make.ConfigMap(train_py="3").obj())
    world.settle()

    run = world.get("TrainingRun", world.names("TrainingRun")[-1])
    assert world.names("ModelVersion") == ["churn-2"]
    assert run["spec"]["keep"] == [make.digest("a"), make.digest("b")]


@pytest.mark.parametrize(
    "status",
    [{}, {"stable": None}, {"stable": {"version": "churn-1"}}, {"stable": {}, "candidate": None, "previous": {}}],
    ids=["new", "null", "no digest", "empty"],
)
def test_a_deployment_that_serves_nothing_yet_keeps_nothing(status: dict[str, object]) -> None:
    world = quickstart(make.Pipeline().triggers(codeChange={}))
    world.train("a")
    world.put(make.Deployment("web").spec(model={"pipeline": "churn"}).status(**status).obj())
    world.remove("ModelVersion", "churn-1")
    world.advance(minutes=1)
    world.put(make.ConfigMap(train_py="2").obj())
    world.settle()

    assert world.get("TrainingRun", world.names("TrainingRun")[-1])["spec"]["keep"] == []
