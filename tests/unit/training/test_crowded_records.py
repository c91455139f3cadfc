"""A store that holds more records than are looked at, none of which versions exist, or records of no version."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support import builders_training as make
from tests.unit.training.test_import_records import copied
from tests.unit.training.test_import_records import namespace as imports_alone
from tests.unit.training.test_imports import NAME, message
from tests.unit.training.test_version_records import (
    OTHER_KEY,
    ends,
    finds,
    imports,
    job,
    namespace,
    next_version,
    recorded,
    train_two,
)
from tests.unit.training.world import World

from tidemill.training import store_records
from tidemill_contracts.records import CLAIM, LINE

Obj = dict[str, Any]


def reads(world: World, texts: list[str], *, claims: tuple[str, ...] = (), **result: Any) -> None:
    """The pod that has read the store ends."""
    lines = [*(LINE + text for text in texts), *(CLAIM + text for text in claims)]
    ends(world, "read", {"read": len(lines), **result}, lines)


def anew(*keys: str) -> World:
    world = namespace(*keys, uid="made-again")
    world.settle()
    return world


def both() -> tuple[list[str], str]:
    return recorded(train_two())


def test_the_record_of_all_versions_says_where_theirs_lie_newest_first() -> None:
    texts, there = both()
    uris = {json.loads(text)["spec"]["number"]: json.loads(text)["spec"]["uri"] for text in texts}
    folders = json.loads(there)["series"]["folders"]
    assert [f"s3://models/team/{make.NAMESPACE}/churn/{folder}" for folder in folders] == [uris[2], uris[1]]


def test_with_it_any_number_of_others_keeps_nothing_back_and_is_told() -> None:
    texts, there = both()
    world = anew()
    reads(world, [there, *texts, *["{}"] * 200], more=54)
    assert world.names("ModelVersion") == ["churn-1", "churn-2"]
    assert world.condition("TrainingPipeline", "churn", "VersionsRecorded") == ("True", "RecordsRefused")
    text = message(world, "TrainingPipeline", "churn", "VersionsRecorded")
    assert "200 records were not believed" in text and "54 further records were not looked at" in text
    assert next_version(world) == "churn-3"


@pytest.mark.parametrize("unsigned", [[], ['{"series": {"folders": ["a"]}, "signature": "x"}'], None])
def test_without_one_that_is_signed_more_records_than_are_looked_at_hold_all_runs(unsigned: list[str] | None) -> None:
    texts, there = both()
    found = [there] if unsigned is None else unsigned
    world = anew(OTHER_KEY) if unsigned is None else anew()
    reads(world, [*found, *["{}"] * 198, *texts], more=54)
    assert world.names("TrainingRun") == world.names("ModelVersion") == []
    assert world.condition("TrainingPipeline", "churn", "VersionsRecorded") == ("False", "RecordsNotRead")
    text = message(world, "TrainingPipeline", "churn", "VersionsRecorded")
    assert "TooManyRecords: at least 54 records more than the 200" in text and "versions.json" in text
    world.advance(minutes=2)
    world.settle()
    reads(world, [there, *texts] if unsigned is not None else [])
    assert len(world.names("TrainingRun")) == 1, "it goes on by itself when somebody has tidied up"


def test_one_that_does_not_say_where_they_lie_is_no_protection() -> None:
    """As an operator from before has written it."""
    texts, there = both()
    said = store_records.read_series(there, ["k" * 32])
    assert said is not None
    old = store_records.series_text(said.model_copy(update={"folders": ()}), "k" * 32)
    world = anew()
    reads(world, [old, *texts], more=1)
    assert world.names("ModelVersion") == []
    assert "does not say where they lie" in message(world, "TrainingPipeline", "churn", "VersionsRecorded")
    world = anew()
    reads(world, [old, *texts])
    assert world.names("ModelVersion") == ["churn-1", "churn-2"]


def test_an_import_gets_no_number_while_its_pipeline_cannot_tell_which_were_given() -> None:
    world = anew()
    reads(world, ["{}"] * 200, more=54)
    imports(world)
    for _ in range(3):
        world.advance(minutes=30)
        world.settle()
        if job(world, "read"):
            reads(world, ["{}"] * 200, more=54)
    assert world.names("ModelVersion") == []
    world.advance(minutes=2)
    world.settle()
    texts, there = both()
    reads(world, [there, *texts])
    world.advance(seconds=30)
    world.settle()
    assert world.names("ModelVersion") == ["churn-1", "churn-2", "churn-3"]


def test_an_import_without_a_pipeline_is_held_as_well() -> None:
    world = imports_alone()
    reads(world, ["{}"] * 200, more=54)
    assert world.condition("ModelImport", NAME, "VersionsRecorded") == ("False", "RecordsNotRead")
    assert "not signed for this import" in message(world, type_="VersionsRecorded")
    assert world.names("Job") == world.names("ModelVersion") == [], "nothing is copied"


def test_versions_that_no_record_of_all_lists_come_back_and_are_told() -> None:
    texts, _ = both()
    world = anew()
    reads(world, texts)
    assert world.names("ModelVersion") == ["churn-1", "churn-2"]
    assert world.condition("TrainingPipeline", "churn", "VersionsRecorded") == ("True", "VersionsNotListed")
    text = message(world, "TrainingPipeline", "churn", "VersionsRecorded")
    assert "versions.json" in text and "2 versions were registered again" in text and "deleted" in text
    assert world.pipeline()["records"]["read"]["unlisted"] == 2
    assert [e.reason for e in world.events if e.reason == "VersionsNotListed"] == ["VersionsNotListed"]


@pytest.mark.parametrize("texts", [[], ["{}"]])
def test_nothing_is_said_of_a_list_where_nothing_came_back(texts: list[str]) -> None:
    world = anew()
    reads(world, texts)
    assert world.condition("TrainingPipeline", "churn", "VersionsRecorded")[1] != "VersionsNotListed"
    assert len(world.names("TrainingRun")) == 1


def test_an_import_says_that_of_its_own() -> None:
    before = imports_alone()
    finds(before, [])
    copied(before)
    texts, _ = recorded(before)
    world = imports_alone(uid="made-again")
    reads(world, texts)
    assert world.names("ModelVersion") == ["churn-1"]
    assert world.condition("ModelImport", NAME, "VersionsRecorded") == ("True", "VersionsNotListed")


def test_a_record_of_no_complete_version_is_counted_named_and_its_number_not_given_again() -> None:
    texts, there = both()
    claim = next(text for text in texts if json.loads(text)["spec"]["number"] == 2)
    claim = claim.replace('"number":2', '"number":7')
    world = anew()
    reads(world, [there, *texts], claims=(claim, "{"), unreadable=2, examples=["x/record.json", "y/record.json"])
    assert world.names("ModelVersion") == ["churn-1", "churn-2"]
    read = world.pipeline()["records"]["read"]
    assert (read["refused"], read["unreadable"], read["numbers"]) == (2, ["x/record.json", "y/record.json"], 7)
    assert "no complete version lies beside it" in message(world, "TrainingPipeline", "churn", "VersionsRecorded")
    assert next_version(world) == "churn-8"


def test_a_log_without_all_claims_is_no_answer() -> None:
    world = anew()
    ends(world, "read", {"read": 2, "unreadable": 1}, [f"{CLAIM}{{}}"])
    assert world.names("TrainingRun") == []
