"""What the operator has noted on a version: people may write its annotations, and are not believed."""

from __future__ import annotations

import json
from typing import Any

from tests.support import builders_training as make
from tests.unit.training.test_version_records import KEY, made_again, recorded, train_two
from tests.unit.training.world import World

from tidemill.core.plan import Key
from tidemill.training import constants, records, registered, store_records
from tidemill.training.pipeline.policy.context import context

Obj = dict[str, Any]
FORGED = make.digest("f")


def forge(world: World, name: str, value: str | None) -> None:
    """Somebody writes the annotation tidemill.io/spec, or takes it away."""

    def write(version: Obj) -> None:
        found = version["metadata"].setdefault("annotations", {})
        found.pop(constants.SPEC, None)
        if value is not None:
            found[constants.SPEC] = value

    world.change("ModelVersion", name, write)


def note(world: World, name: str = "churn-1") -> str | None:
    found = world.get("ModelVersion", name)["metadata"].get("annotations") or {}
    value: str | None = found.get(constants.SPEC)
    return value


def test_the_digest_of_what_was_trained_is_in_status_and_the_annotation_is_set_back() -> None:
    world = train_two()
    wanted = note(world)
    assert wanted and world.get("ModelVersion", "churn-1")["status"]["registered"]["training"] == wanted
    for value in (FORGED, "no digest", None):
        forge(world, "churn-1", value)
        seen = records.version_records(world.cache, make.NAMESPACE, "churn")[0]
        assert seen.spec_digest == wanted, "also before it was set back"
        world.settle()
        assert note(world) == wanted


def test_what_is_signed_is_what_the_operator_has_written() -> None:
    world = train_two()
    wanted = note(world)
    forge(world, "churn-1", FORGED)
    said = store_records.statement(world.get("ModelVersion", "churn-1"))
    assert said is not None and said["training"] == wanted
    world.settle()
    texts, there = recorded(world)
    assert FORGED not in "".join(texts)
    again = made_again([there, *texts])
    assert again.get("ModelVersion", "churn-1")["status"]["registered"]["training"] == wanted


def test_a_forged_annotation_says_of_no_spec_that_it_was_trained() -> None:
    world = train_two()
    world.change("TrainingPipeline", "churn", lambda o: o["spec"].update(parameters={"depth": "9"}))
    snapshot = world._gather(Key("TrainingPipeline", make.NAMESPACE, "churn"))
    inputs = context(snapshot).inputs
    assert inputs is not None
    forge(world, "churn-1", inputs.spec_digest)
    assert all(
        v.spec_digest != inputs.spec_digest for v in records.version_records(world.cache, make.NAMESPACE, "churn")
    )


def test_a_record_without_the_field_is_restored_with_what_it_says() -> None:
    """An operator from before kept the digest in the statement alone."""
    world = train_two()
    texts, there = recorded(world)
    document = json.loads(texts[0])
    said = document["statement"]
    wanted = said["training"]
    del said["registered"]["training"]
    old = store_records.text(said, document["spec"], KEY)
    again = made_again([there, old])
    (name,) = again.names("ModelVersion")
    assert again.get("ModelVersion", name)["status"]["registered"]["training"] == wanted
    assert note(again, name) == wanted


def test_of_a_version_of_an_earlier_release_the_run_counts_before_the_annotation() -> None:
    world = train_two()
    wanted = note(world)
    world.change("ModelVersion", "churn-1", lambda o: o["status"]["registered"].pop("training"))
    forge(world, "churn-1", FORGED)
    world.settle()
    assert world.get("ModelVersion", "churn-1")["status"]["registered"]["training"] == wanted
    assert note(world) == wanted


def test_an_annotation_that_is_no_digest_is_none() -> None:
    world = train_two()
    version = world.get("ModelVersion", "churn-1")
    version["status"]["registered"].pop("training")
    version["metadata"]["annotations"][constants.SPEC] = "x" * 10_000
    assert registered.training_of(version, None) is None


def test_an_import_has_none_whatever_is_written_on_it() -> None:
    world = World(make.Import().created(make.NOW).obj())
    world.settle()
    world.advance(seconds=5)
    world.kubelet_finishes("from-staging-1-1", make.imported())
    world.settle()
    forge(world, "churn-1", FORGED)
    world.settle()
    assert "training" not in world.get("ModelVersion", "churn-1")["status"]["registered"]
    assert records.version_records(world.cache, make.NAMESPACE, "churn")[0].spec_digest is None
