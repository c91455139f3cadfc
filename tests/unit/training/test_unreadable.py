"""Stored objects that the types refuse: Stalled with the field's name, never retried as a bug."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from tests.support import builders_training as make
from tests.support.invariants import check_status
from tests.unit.training.test_loop import quickstart
from tests.unit.training.world import World

from tidemill.core import parsing
from tidemill.core.plan import Key
from tidemill.engine import status as statuses
from tidemill.errors import Stalled

Obj = dict[str, Any]


def trained() -> World:
    """A pipeline with a version, and a second run under way."""
    world = quickstart(make.Pipeline().triggers(codeChange={}))
    world.train("d")
    world.advance(minutes=1)
    world.put(make.ConfigMap(train_py="2").obj())
    world.settle()
    return world


@pytest.mark.parametrize("kind", ["TrainingPipeline", "TrainingRun", "ModelVersion"])
def test_a_field_of_the_next_versions_crds_is_ignored(kind: str) -> None:
    """CRDs are applied before the operator is replaced, and defaults of new fields are stored in every object."""
    world = trained()
    name = world.names(kind)[-1]
    world.writes.clear()
    world.change(kind, name, lambda o: o["spec"].update(ofALaterVersion={"enabled": True}))
    world.settle()
    assert [w for w in world.writes if w.verb != "status"] == []
    assert world.condition(kind, name)[1] != "InvalidSpec"


@pytest.mark.parametrize(
    ("kind", "change", "field"),
    [
        ("TrainingPipeline", lambda o: o["spec"].update(seed="seven"), "spec.seed: "),
        ("TrainingPipeline", lambda o: o["spec"]["data"][0].update(uri=7), "spec.data[0].uri: "),
        ("TrainingPipeline", lambda o: o["spec"].update(approval="Maybe"), "'Automatic' or 'Manual'"),
        ("TrainingPipeline", lambda o: o.update(spec={}), "spec.data: Field required; "),
        ("TrainingPipeline", lambda o: o.update(status={"versions": "many"}), "status.versions: "),
        ("TrainingRun", lambda o: o["spec"].update(seed="seven"), "spec.seed: "),
        ("TrainingRun", lambda o: o["spec"]["store"].pop("uri"), "spec.store.uri: Field required"),
        ("ModelVersion", lambda o: o["spec"].update(digest="md5:1"), "spec.digest: "),
        ("ModelVersion", lambda o: o["spec"].update(approval="Maybe"), "'Automatic' or 'Manual'"),
    ],
)
def test_an_object_that_cannot_be_read_stalls_and_names_the_field(
    kind: str, change: Callable[[Obj], None], field: str
) -> None:
    world = trained()
    name = world.names(kind)[-1]
    obj = world.change(kind, name, change)
    world.writes.clear()
    with pytest.raises(Stalled) as caught:
        world.reconcile(Key(kind, make.NAMESPACE, name))

    assert caught.value.reason == "InvalidSpec"
    assert field in caught.value.message
    assert "pydantic" not in caught.value.message
    assert world.writes == []
    check_status({**obj, "status": statuses.stalled(obj, caught.value, world.clock.time)})


def test_a_mended_pipeline_goes_on() -> None:
    world = trained()
    world.train("f")
    world.change("TrainingPipeline", "churn", lambda o: o["spec"].update(seed="seven"))
    key = Key("TrainingPipeline", make.NAMESPACE, "churn")
    with pytest.raises(Stalled) as caught:
        world.reconcile(key)
    verdict = caught.value
    world.change("TrainingPipeline", "churn", lambda o: o.update(status=statuses.stalled(o, verdict, world.clock.time)))
    world.advance(minutes=1)
    world.change("TrainingPipeline", "churn", lambda o: o["spec"].update(seed=7))
    world.train("e")

    assert world.condition("TrainingPipeline", "churn") == ("True", "Trained")
    assert len(world.names("TrainingRun")) == 3


def test_a_run_that_a_newer_operator_can_read_gets_its_job() -> None:
    world = quickstart()
    world.reconcile(Key("TrainingPipeline", make.NAMESPACE, "churn"))
    run = world.names("TrainingRun")[0]
    verdict = Stalled("InvalidSpec", "spec.seed: Input should be a valid integer")
    world.change("TrainingRun", run, lambda o: o.update(status=statuses.stalled(o, verdict, make.NOW)))
    world.restart()
    world.train("d")

    assert world.condition("TrainingRun", run, "Succeeded") == ("True", "Succeeded")


class Sample(BaseModel):
    """A type with a few fields."""

    numbers: list[int]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({}, "numbers: Field required"),
        ({"numbers": ["a"]}, "numbers[0]: Input should be a valid integer"),
        ("text", "the object: Input should be"),
        ({"numbers": ["a"] * 7}, "; and 2 more"),
    ],
    ids=["missing", "in a list", "no object", "many"],
)
def test_the_sentence_names_the_place_of_each_error(value: object, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Sample.model_validate(value)
    assert words in parsing.sentence(caught.value)
