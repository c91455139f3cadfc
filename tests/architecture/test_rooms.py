"""docs/architecture.md claims what a check holds: its picture is drawn from the contracts that name every room."""

from __future__ import annotations

from pathlib import Path

import pytest
from hack.generate import rooms

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = rooms.contracts(ROOT)


def test_both_planes_and_what_has_rooms_of_its_own_have_a_contract() -> None:
    packages = [one.package for one in CONTRACTS]
    assert packages[:2] == ["tidemill", "tidemill_runtime"]
    assert {"tidemill_runtime.server", "tidemill_runtime.trainer"} <= set(packages)


@pytest.mark.parametrize("one", CONTRACTS, ids=[one.package for one in CONTRACTS])
def test_rooms_of_the_picture_are_the_folders_and_modules(one: rooms.Layers) -> None:
    folder = ROOT / rooms.SOURCES[one.package.split(".")[0]] / one.package.replace(".", "/")
    there = {path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert {room for row in one.rows for room in row} == there - {"__init__"}


def test_the_picture_names_every_room_with_what_it_is_for() -> None:
    picture = (ROOT / rooms.PICTURE).read_text()
    for one in CONTRACTS:
        for room in (room for row in one.rows for room in row):
            assert f">{room}</text>" in picture
            assert rooms.purpose(ROOT, f"{one.package}.{room}"), f"{one.package}.{room} does not say what it is for"


def test_the_page_shows_the_picture() -> None:
    assert f"]({rooms.PICTURE.name})" in (ROOT / "docs" / "architecture.md").read_text()
