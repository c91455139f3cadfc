"""Several ConfigMaps of one `kubectl apply -k` are one change, and what a run really read counts as trained."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import builders_training as make
from tests.unit.training.world import World

from tidemill.config import ConfigError, OperatorConfig
from tidemill.core.plan import Key
from tidemill.training import config_map_digests

Obj = dict[str, Any]
KEY = Key("TrainingPipeline", make.NAMESPACE, "churn")


def code(number: int) -> Obj:
    return make.ConfigMap(train_py=f"def train(data, target):\n    return {number}\n").obj()


def rows(number: int) -> Obj:
    return make.ConfigMap("rows", rows_csv=f"a,target\n{number},1\n").obj()


def revision(number: int) -> str:
    return config_map_digests.digests(rows(number)).revisions["rows.csv"]


def trained(settle_seconds: float = 0) -> World:
    """Code in one ConfigMap and data in another, as in the sample own-model; trained on the first of each."""
    watched = make.Pipeline().data("configmap://rows/rows.csv")
    watched.triggers(codeChange={}, dataChange={"pollSeconds": 60, "settleSeconds": 0})
    world = World(watched.obj(), code(1), rows(1), settle_seconds=settle_seconds)
    world.settle()
    world.train("a", data={"a": revision(1)})
    assert len(world.names("TrainingRun")) == 1
    return world


def ready(world: World) -> str:
    conditions = world.pipeline()["conditions"]
    return next(str(c["message"]) for c in conditions if c["type"] == "Ready")


def apply(world: World, number: int) -> None:
    """Both ConfigMaps, one after the other; the operator looks in between."""
    world.put(code(number))
    world.settle()
    world.advance(seconds=1)
    world.put(rows(number))
    world.settle()


def test_one_apply_of_code_and_data_is_one_run_and_the_way_back_none() -> None:
    world = trained(settle_seconds=3)
    apply(world, 2)
    assert len(world.names("TrainingRun")) == 1, "the second ConfigMap may be followed by a third"
    assert world.requeue[KEY] == 3
    world.advance(seconds=3)
    world.settle()
    (_, second) = world.names("TrainingRun")
    spec = world.get("TrainingRun", second)["spec"]
    assert spec["data"][0]["revision"] == revision(2)
    assert spec["code"]["digest"] == config_map_digests.digests(code(2)).code
    world.train("b", data={"a": revision(2)})

    apply(world, 1)
    world.advance(seconds=3)
    world.settle()
    assert len(world.names("TrainingRun")) == 2, "these inputs were trained"
    first = world.names("TrainingRun")[0]
    assert "version churn-2 is the champion; code, data and spec are as they were trained before " in ready(world)
    assert f"(run {first}, version churn-1), and are not trained again" in ready(world)
    apply(world, 2)
    world.advance(seconds=3)
    world.settle()
    assert len(world.names("TrainingRun")) == 2
    assert ready(world) == "version churn-2 is the champion"


def test_what_a_run_has_read_was_trained_and_what_it_was_decided_on_was_not() -> None:
    """The data changed after the decision: the trainer takes what it finds, with a warning."""
    world = trained()
    world.put(code(2))
    world.settle()
    world.put(rows(2))
    world.train("b", data={"a": revision(2)})
    assert len(world.names("TrainingRun")) == 2, "it has read the new rows"
    world.put(rows(3))
    world.settle()
    world.train("c", data={"a": revision(3)})
    assert len(world.names("TrainingRun")) == 3
    world.put(rows(2))
    world.settle()
    assert len(world.names("TrainingRun")) == 3, "the second run has read these"
    world.put(rows(1))
    world.settle()
    assert len(world.names("TrainingRun")) == 4, "the new code was never trained on the first rows"
    world.train("d", data={"a": revision(1)})
    assert world.pipeline()["latestVersion"] == "churn-4"


def test_a_request_by_hand_and_a_restart_wait_for_nothing() -> None:
    world = trained(settle_seconds=3)
    world.put(code(2))
    world.settle()
    world.restart()
    world.settle()
    assert len(world.names("TrainingRun")) == 2
    world.train("b", data={"a": revision(1)})
    world.put(code(3))
    world.change(
        "TrainingPipeline",
        "churn",
        lambda o: o["metadata"].setdefault("annotations", {}).update({"tidemill.io/run-requested-at": "now"}),
    )
    world.settle()
    assert len(world.names("TrainingRun")) == 3


@pytest.mark.parametrize("seconds", ["-1", "601", "nan"])
def test_the_setting_has_bounds(seconds: str) -> None:
    with pytest.raises(ConfigError, match="TIDEMILL_CONFIG_MAP_SETTLE_SECONDS must be between 0 and 600"):
        OperatorConfig.from_env({"TIDEMILL_CONFIG_MAP_SETTLE_SECONDS": seconds})
