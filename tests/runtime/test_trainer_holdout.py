"""The holdout depends on the content and the seed alone, and stays put when data grows."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill_runtime.datasets.errors import DataError
from tidemill_runtime.trainer.run import holdout_split


def table(rows: int, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {"x": random.normal(size=rows), "name": random.choice(["ä", "b"], rows), "y": random.choice([0, 0, 0, 1], rows)}
    )


def test_classes_keep_their_shares() -> None:
    data = table(1000)
    mask = holdout_split.holdout(data, "y", 0.2, seed=0)
    assert abs(mask.sum() - 200) <= 1
    for value in (0, 1):
        assert abs(mask[data["y"] == value].mean() - 0.2) < 0.005


def test_the_same_rows_whatever_their_order() -> None:
    data = table(500)
    shuffled = data.sample(frac=1, random_state=1)
    held_out = set(data["x"][holdout_split.holdout(data, "y", 0.2, seed=3)])
    assert set(shuffled["x"][holdout_split.holdout(shuffled, "y", 0.2, seed=3)]) == held_out


def test_another_seed_holds_other_rows_out() -> None:
    data = table(500)
    assert (holdout_split.holdout(data, "y", 0.2, seed=0) != holdout_split.holdout(data, "y", 0.2, seed=1)).sum() > 100


def test_new_rows_leave_almost_all_old_ones_where_they_were() -> None:
    old = table(1000)
    grown = pd.concat([old, table(200, seed=9)], ignore_index=True)
    moved = holdout_split.holdout(old, "y", 0.2, seed=0) != holdout_split.holdout(grown, "y", 0.2, seed=0)[:1000]
    assert moved.mean() < 0.03


def test_a_class_of_one_row_makes_it_one_group() -> None:
    data = table(100)
    data.loc[0, "y"] = 7
    assert holdout_split.holdout(data, "y", 0.2, seed=0).sum() == 20


def test_numbers_are_not_classes() -> None:
    data = table(100)
    assert holdout_split.holdout(data, "x", 0.25, seed=0).sum() == 25


@settings(max_examples=30)
@given(rows=st.integers(2, 60), ratio=st.floats(0.01, 0.9), seed=st.integers(0, 2**32))
def test_both_sides_always_have_a_row(rows: int, ratio: float, seed: int) -> None:
    mask = holdout_split.holdout(table(rows), "y", ratio, seed)
    assert 1 <= mask.sum() < rows


def test_one_row_cannot_be_split() -> None:
    with pytest.raises(DataError, match="1 row cannot be split"):
        holdout_split.holdout(table(1), "y", 0.2, seed=0)
