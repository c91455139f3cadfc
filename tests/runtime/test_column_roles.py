"""What columns appear to be: quantities, codes or identifiers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from tidemill_contracts.reference import CategoricalProfile, NumericProfile, Role
from tidemill_runtime.trainer.package import column_roles, reference_profile

RANDOM = np.random.default_rng(17)


@pytest.mark.parametrize(
    ("name", "numbers", "role"),
    [
        ("shop_id", RANDOM.integers(1, 300, 2_000), "Code"),
        ("zipCode", RANDOM.integers(10_000, 99_999, 200).repeat(5), "Code"),
        ("ZIP5", RANDOM.integers(10_000, 99_999, 200).repeat(5), "Code"),
        ("customerID", RANDOM.permutation(2_000) + 1, "Identifier"),
        ("row", np.arange(500), "Identifier"),
        ("passenger_id", 10**9 + RANDOM.permutation(10**6)[:1_000], "Identifier"),
        ("income", RANDOM.permutation(10**6)[:1_000], "Value"),
        ("age", RANDOM.integers(18, 90, 2_000), "Value"),
        ("paid", RANDOM.integers(0, 2, 2_000), "Value"),
        ("grid", RANDOM.integers(0, 2_000, 2_000), "Value"),
        ("id", RANDOM.normal(size=2_000), "Value"),
        ("id", np.arange(99), "Code"),
        ("id", np.array([]), "Value"),
        ("id", np.array([np.nan, np.inf]), "Value"),
    ],
)
def test_numbers(name: str, numbers: NDArray[np.float64], role: Role) -> None:
    assert column_roles.of_numbers(name, numbers.astype(np.float64)) == role


def test_a_missing_value_hides_no_codes() -> None:
    assert column_roles.of_numbers("shop_id", np.array([1.0, np.nan, 2.0, 1.0])) == "Code"


def profiles(table: pd.DataFrame) -> dict[str, NumericProfile | CategoricalProfile]:
    """The profile of each column by its name."""
    return {p.name: p for p in reference_profile.features(table)}


def test_a_profile_says_what_a_column_appears_to_be_and_has_whole_numbers_as_categories() -> None:
    rows = 1_000
    found = profiles(
        pd.DataFrame(
            {
                "shop_id": RANDOM.integers(1, 40, rows),
                "age": RANDOM.integers(20, 60, rows),
                "rooms": np.where(RANDOM.uniform(size=rows) < 0.1, np.nan, RANDOM.integers(1, 5, rows)),
                "income": RANDOM.normal(size=rows),
                "session": [f"s{i}" for i in range(rows)],
                "plan": RANDOM.choice(["basic", "pro"], rows),
                "number": np.arange(rows),
            }
        )
    )
    assert {name: p.role for name, p in found.items() if p.role != "Value"} == {
        "shop_id": "Code",
        "session": "Identifier",
        "number": "Identifier",
    }
    views = {name: p.as_categories for name, p in found.items() if isinstance(p, NumericProfile)}
    assert {name for name, view in views.items() if view is not None} == {"shop_id", "age", "rooms"}
    rooms = views["rooms"]
    assert rooms is not None
    assert set(rooms.categories) == {"1", "2", "3", "4"}
    assert (rooms.missing, rooms.missing_share) == (found["rooms"].missing, found["rooms"].missing_share)
    assert {name: found[name].distinct for name in ("rooms", "plan", "session")} == {
        "rooms": 4,
        "plan": 2,
        "session": rows,
    }


def test_a_table_of_many_columns_of_whole_numbers_keeps_the_profile_small() -> None:
    table = pd.DataFrame({f"n{i}": [1, 2, 3] for i in range(600)} | {f"shop{i}_id": [1, 1, 2] for i in range(20)})
    found = profiles(table)
    views = [name for name, p in found.items() if isinstance(p, NumericProfile) and p.as_categories is not None]
    assert len(views) == reference_profile.SECOND_VIEWS + 20
    assert {f"shop{i}_id" for i in range(20)} <= set(views)
