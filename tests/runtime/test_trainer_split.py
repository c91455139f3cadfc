"""Sides of `evaluation.split`: no row and no group changes sides when data grows, and what cannot work is said."""

import string
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tidemill_contracts.artifact import Lineage
from tidemill_contracts.holdout import Holdout, HoldoutSplit
from tidemill_runtime.datasets import tables
from tidemill_runtime.datasets.errors import DataError
from tidemill_runtime.trainer.run import champion_overlap, holdout_checks, holdout_sides, time_cut, value_hashes

HASH = HoldoutSplit(type="Hash")
GROUP = HoldoutSplit(type="Group", column="customer")
TIME = HoldoutSplit(type="Time", column="day", keep_column=True)
COLUMN = HoldoutSplit(type="Column", column="side")
FIXED = [
    "f43cab4199b656bd",
    "c4ed64decd183113",
    "c1774adbbb77d408",
    "0000000000000000",
    "f04dbbe25e2ba039",
]
"""Computed by hand from the definition: BLAKE2b of text, splitmix64 of numbers, zero where a value is missing."""


def table(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "customer": random.integers(0, max(rows // 5, 2), rows),
            "x": random.normal(size=rows).round(6),
            "plan": random.choice(["ä", "b"], rows),
            "day": [f"2026-{1 + n % 12:02d}-{1 + n % 28:02d}" for n in range(rows)],
            "side": ["test" if n % 4 == 0 else "train" for n in range(rows)],
            "y": random.choice([0, 0, 0, 1], rows),
        }
    )


def sides(
    data: pd.DataFrame, split: HoldoutSplit, ratio: float = 0.25, seed: int = 0, target: str | None = "y"
) -> NDArray[np.bool_]:
    return holdout_sides.divide(data, target, split, ratio, seed).mask


def refused(data: pd.DataFrame, split: HoldoutSplit, **more: Any) -> tuple[str, str]:
    with pytest.raises(DataError) as error:
        sides(data, split, **more)
    return error.value.reason, str(error.value)


def as_read(data: pd.DataFrame) -> pd.DataFrame:
    """The same as the trainer has it after reading: a column with one text is text for all rows."""
    return pd.DataFrame({name: tables.normal(data[name]) for name in data.columns})


# Values that turn the type of a whole column: whole numbers, fractions, text, text that is a number, and none.
ANY = st.one_of(
    st.integers(-5, 90), st.floats(-1e6, 1e6), st.text(string.ascii_letters, max_size=3), st.none(),
    st.integers(-5, 90).map(str), st.booleans(),
)  # fmt: skip
NEW_ROWS = st.lists(st.tuples(ANY, ANY, ANY), min_size=1, max_size=20)


def grown(old: pd.DataFrame, new: list[tuple[Any, ...]], places: list[int]) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """The table with rows inserted at any place, as it is read then, and where the old rows are."""
    more = pd.DataFrame(
        {
            "customer": [row[0] for row in new],
            "x": [row[1] for row in new],
            "plan": [row[2] for row in new],
            "day": "2027-01-01",
            "side": "train",
            "y": 0,
        },
        dtype=object,
    )
    order = np.argsort(np.concatenate([np.arange(len(old)), np.resize(places, len(new))]), kind="stable")
    both = pd.concat([old.astype(object), more], ignore_index=True).iloc[order].reset_index(drop=True)
    return as_read(both), np.flatnonzero(order < len(old))


@settings(max_examples=60)
@given(new=NEW_ROWS, places=st.lists(st.integers(0, 400), min_size=1, max_size=20), seed=st.integers(0, 2**32 - 1))
@pytest.mark.parametrize("split", [HASH, GROUP], ids=["Hash", "Group"])
def test_no_row_changes_sides_when_rows_are_added(
    split: HoldoutSplit, new: list[tuple[Any, ...]], places: list[int], seed: int
) -> None:
    old = table()
    data, old_places = grown(old, new, places)
    assert (sides(data, split, seed=seed)[old_places] == sides(old, split, seed=seed)).all()


@settings(max_examples=60)
@given(new=NEW_ROWS, seed=st.integers(0, 2**32 - 1), ratio=st.floats(0.1, 0.8))
def test_a_group_is_never_on_both_sides(new: list[tuple[Any, ...]], seed: int, ratio: float) -> None:
    data, _ = grown(table(), new, [0])
    mask = sides(data, GROUP, ratio, seed)
    known = data["customer"].notna()
    assert (pd.Series(mask[known]).groupby(data["customer"][known].to_numpy()).nunique() == 1).all()


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), small=st.floats(0.1, 0.45), large=st.floats(0.45, 0.8))
@pytest.mark.parametrize("split", [HASH, GROUP], ids=["Hash", "Group"])
def test_a_larger_share_only_adds_rows(split: HoldoutSplit, seed: int, small: float, large: float) -> None:
    data = table()
    assert not (sides(data, split, small, seed) & ~sides(data, split, large, seed)).any()


def test_a_fixed_hash() -> None:
    """Numbers of another release would move rows of all pipelines."""
    values = pd.Series(["customer-1", "customer-2", "7", None, "ä"])
    assert [f"{value:016x}" for value in value_hashes.of_column(values)] == FIXED
    assert value_hashes.of_column(pd.Series([7, 8]))[0] == value_hashes.of_column(values)[2]
    assert value_hashes.of_column(pd.Series([7.0, np.nan]))[0] == value_hashes.of_column(values)[2]
    assert value_hashes.of_column(pd.Series([True, False]))[0] == value_hashes.of_column(pd.Series(["True"]))[0]
    assert value_hashes.of_column(pd.Series([-0.0]))[0] == value_hashes.of_column(pd.Series(["0"]))[0]
    assert value_hashes.of_column(pd.Series(["nan", "1_0", "inf"])).tolist() != [0, 0, 0]


def test_ids_of_many_digits_are_told_apart() -> None:
    """As numbers they would all be one: those of a card's chip have 20 digits, of which the first ones are alike."""
    ids = pd.Series([f"8949{number:016d}" for number in range(400)])
    assert len(set(value_hashes.of_column(ids).tolist())) == 400
    data = table().assign(customer=ids)
    found = holdout_sides.divide(data, "y", GROUP, 0.25, 7)
    assert 0.15 < found.mask.mean() < 0.35
    same = pd.Series([f"+00{ids[0]}", ids[0], f"-{ids[0]}"])
    first, second, third = value_hashes.of_column(same).tolist()
    assert first == second != third
    whole = pd.Series(range(2**60, 2**60 + 400))  # float64 holds every 256th
    assert len(set(value_hashes.of_column(whole).tolist())) == 400
    assert (value_hashes.of_column(whole) == value_hashes.of_column(whole.astype(str))).all()
    small = pd.Series([1, 2**53, 2**53 + 1, -(2**53) - 1])
    assert (value_hashes.of_column(small) == value_hashes.of_column(small.astype(str))).all()
    assert value_hashes.of_column(small)[0] == value_hashes.of_column(pd.Series([1.0]))[0]
    largest = pd.Series([2**64 - 1], dtype="uint64")
    assert (value_hashes.of_column(largest) == value_hashes.of_column(largest.astype(str))).all()


def test_content_counts_and_neither_the_label_nor_the_order_of_columns() -> None:
    data = table()
    relabelled = data.assign(y=1 - data["y"])
    assert (sides(relabelled, HASH) == sides(data, HASH)).all()
    assert (sides(data[data.columns[::-1]], HASH) == sides(data, HASH)).all()
    assert (sides(data.assign(empty=np.nan), HASH) == sides(data, HASH)).all()
    assert (sides(data.assign(x=data["x"] + 1), HASH) != sides(data, HASH)).any()
    equal = pd.concat([data, data], ignore_index=True)
    mask = sides(equal, HASH)
    assert (mask[:400] == mask[400:]).all()


@pytest.mark.parametrize("split", [HASH, GROUP], ids=["Hash", "Group"])
def test_the_share_is_about_the_wanted_one_and_depends_on_the_seed(split: HoldoutSplit) -> None:
    data = table(20_000)
    mask = sides(data, split, 0.2)
    assert 0.18 < mask.mean() < 0.22
    assert (sides(data, split, 0.2, seed=1) != mask).mean() > 0.2


def test_rows_without_a_group_are_divided_one_by_one_and_counted() -> None:
    data = as_read(table().assign(customer=[None if n % 2 else n // 4 for n in range(400)]))
    found = holdout_sides.divide(data, "y", GROUP, 0.25, 0)
    alone = data["customer"].isna()
    assert 0.1 < found.mask[alone].mean() < 0.4
    assert found.warnings == (
        "evaluation.split (type Group, column 'customer'): 200 rows have no value and are each a group of their own",
    )
    assert found.report is not None
    assert sum(found.report.groups.values()) == data["customer"].nunique()


class TestTime:
    """The newest rows are held out, and a time is not divided."""

    @staticmethod
    def cut(times: list[Any], ratio: float = 0.25) -> tuple[list[bool], str]:
        found = time_cut.cut(tables.normal(pd.Series(times, name="day")), ratio, "field")
        return found.mask.tolist(), found.first

    @settings(max_examples=100)
    @given(times=st.lists(st.integers(0, 12), min_size=2, max_size=60).filter(lambda t: len(set(t)) > 1),
           ratio=st.floats(0.01, 0.99))  # fmt: skip
    def test_newest_rows_ties_together_both_sides_filled(self, times: list[int], ratio: float) -> None:
        mask, first = self.cut(times, ratio)
        assert mask == [time >= int(first) for time in times]
        assert 0 < sum(mask) < len(times)
        shares = [sum(t >= c for t in times) / len(times) for c in sorted(set(times))[1:]]
        assert abs(sum(mask) / len(times) - ratio) == pytest.approx(min(abs(share - ratio) for share in shares))

    @settings(max_examples=100)
    @given(
        times=st.lists(st.integers(0, 12), min_size=2, max_size=40).filter(lambda t: len(set(t)) > 1),
        newer=st.lists(st.integers(12, 30), max_size=40),
        ratio=st.floats(0.05, 0.9),
    )
    def test_newer_rows_never_move_the_cut_back(self, times: list[int], newer: list[int], ratio: float) -> None:
        assert int(self.cut(times + newer, ratio)[1]) >= int(self.cut(times, ratio)[1])

    def test_text_in_any_form_of_iso_8601_and_any_zone(self) -> None:
        times = ["2026-01-01", "2026-01-02T01:00:00+02:00", "2026-01-01 22:30", "20260103", "2026-01-01T23:30Z"]
        mask, first = self.cut(times, 0.2)
        assert mask == [False, False, False, True, False]
        assert first == "2026-01-03T00:00:00+00:00"
        assert self.cut(times, 0.4) == ([False, False, False, True, True], "2026-01-01T23:30:00+00:00")

    def test_dates_of_parquet_and_numbers(self) -> None:
        assert self.cut(list(pd.date_range("2026-01-01", periods=4)))[1] == "2026-01-04T00:00:00+00:00"
        assert self.cut([1.5, 2.5, 3.5, 4.5])[1] == "4.5"
        assert self.cut([2**53, 2**53 + 1])[1] == str(2**53 + 1)

    @pytest.mark.parametrize(
        ("times", "said"),
        [
            (["2026-01-01", None, None, "2026-01-02"], "2 rows of 4 without a time; every row needs one"),
            (["2026-01-01", "01/02/2026", "soon"], "2 rows of 3 with a value that is no time: '01/02/2026', 'soon'"),
            ([1.0, float("inf"), 2.0], "1 row of 3 with a value that is no time: 'inf'"),
            ([True, False], "2 rows of 2 with a value that is no time: 'True', 'False'"),
        ],
        ids=["missing", "not ISO", "infinite", "booleans"],
    )
    def test_what_is_no_time(self, times: list[Any], said: str) -> None:
        with pytest.raises(DataError, match="field: ") as error:
            self.cut(times)
        assert error.value.reason == "InvalidSplitColumn"
        assert said in str(error.value)


def test_a_column_says_it() -> None:
    data = table()
    assert (sides(data, COLUMN) == (data["side"] == "test")).all()
    assert holdout_sides.divide(data, "y", COLUMN, 0.01, 0).warnings == ()  # the share is the column's own


class TestRefused:
    """Every failure names the field, its value and numbers."""

    def test_no_such_column(self) -> None:
        reason, text = refused(table().rename(columns={"customer": "customers"}), GROUP)
        assert reason == "MissingSplitColumn"
        assert "evaluation.split (type Group, column 'customer'): there is no column 'customer'" in text
        assert "did you mean 'customers'?" in text

    def test_values_that_are_neither_train_nor_test(self) -> None:
        data = table()
        data.loc[:2, "side"], data.loc[3, "side"], data.loc[4:5, "side"] = "valid", "Train", None
        reason, text = refused(data, COLUMN)
        assert reason == "InvalidSplitColumn"
        assert "6 rows of 400 with another value than 'train' or 'test': 'valid' (3 rows), no value (2 rows)" in text
        assert "'Train' (1 row)" in text

    def test_numbers_are_no_sides(self) -> None:
        assert "400 rows of 400 with another value" in refused(table().assign(side=1), COLUMN)[1]

    def test_one_group(self) -> None:
        reason, text = refused(table().assign(customer=7), GROUP)
        assert (reason, "all 400 rows are of one group; at least 2 groups are needed" in text) == ("OneSided", True)

    def test_no_group_at_all(self) -> None:
        assert "no value in any of 400 rows" in refused(table().assign(customer=np.nan), GROUP)[1]

    def test_groups_that_are_all_on_one_side(self) -> None:
        data = table().assign(customer=["a" if n % 2 else "b" for n in range(400)])
        seed = next(s for s in range(99) if len(set(value_hashes.below(
            value_hashes.of_column(data["customer"]), s, 0.25).tolist())) == 1)  # fmt: skip
        reason, text = refused(data, GROUP, seed=seed)
        assert reason == "OneSided"
        assert "all 400 rows are on the training side; more groups, another holdoutRatio or another seed" in text

    def test_one_time(self) -> None:
        reason, text = refused(table().assign(day="2026-01-01"), TIME)
        assert reason == "OneSided"
        assert "all 400 rows have the same time 2026-01-01T00:00:00+00:00, so none is newer" in text

    def test_one_value_of_the_column(self) -> None:
        reason, text = refused(table().assign(side="train"), COLUMN)
        assert reason == "OneSided"
        assert "all 400 rows are on the training side; the column must have both values, train and test" in text

    def test_too_few_rows(self) -> None:
        assert refused(table(3), HASH) == (
            "TooFewRows",
            "evaluation.split (type Hash): 3 rows cannot be divided: at least 2 are needed on each side",
        )
        data = table(40).assign(side=["test"] + ["train"] * 39)
        assert "1 of 40 rows is on the holdout side; at least 2 are needed" in refused(data, COLUMN)[1]

    @pytest.mark.parametrize(("side", "named"), [("test", "holdout"), ("train", "training")])
    def test_one_class_on_a_side(self, side: str, named: str) -> None:
        data = table()
        data.loc[data["side"] == side, "y"] = 0
        reason, text = refused(data, COLUMN)
        assert reason == "OneClass"
        assert f"rows of the {named} side are of class '0' of 'y'; of all rows " in text
        assert f"{int((data['y'] == 1).sum())} are of '1'" in text

    def test_a_target_that_is_a_number_has_no_classes(self) -> None:
        assert sides(table(), HASH, target="x").any()


def test_a_share_far_from_the_wanted_one_is_said() -> None:
    data = table().assign(customer=[0 if n < 300 else n for n in range(400)])
    seed = next(s for s in range(99) if value_hashes.below(np.asarray(value_hashes.of_column(pd.Series([0]))), s, 0.1))
    (text,) = holdout_sides.divide(data, "y", GROUP, 0.1, seed).warnings
    assert text.startswith("evaluation.split (type Group, column 'customer'): 3")
    assert text.endswith("%), holdoutRatio is 0.1")


class TestFewRows:
    """A holdout with fewer than 20 positives says so, whatever divided the rows."""

    def test_few_positives(self) -> None:
        assert holdout_checks.few_rows({"1": 7, "0": 93}, 100, "1") == (
            "the holdout has fewer than 20 positives: 7 of 100 rows are of class '1', "
            "so a rate among them is known to about ±0.37"
        )

    def test_enough(self) -> None:
        assert holdout_checks.few_rows({"no": 20, "yes": 20}, 40, "yes") is None
        assert holdout_checks.few_rows({}, 40, None) is None

    def test_none_and_other_classes(self) -> None:
        text = holdout_checks.few_rows({"c": 0, "b": 19, "a": 30}, 49, None)
        assert text is not None
        assert "fewer than 20 rows of a class: 0 of 49 rows are of class 'c', 19 of 49 rows are of class 'b'" in text

    def test_few_negatives(self) -> None:
        text = holdout_checks.few_rows({"0": 1, "1": 20}, 21, "1") or ""
        assert text.startswith("the holdout has fewer than 20 rows of a class: 1 of 21 rows is of class '0', ")


def lineage(holdout: Holdout | None, seed: int = 0, data: dict[str, str] | None = None) -> Lineage:
    known = {"table": "r1"} if data is None else data
    return Lineage(data=known, code="c", image="i", seed=seed, holdout=holdout)


BY_GROUP = Holdout(type="Group", column="customer", ratio=0.2)
BY_HASH = Holdout(type="Hash", ratio=0.2, columns="sha256:a")
BY_TIME = Holdout(type="Time", column="day", ratio=0.2, cut="2026-05-01T00:00:00+00:00")
BY_COLUMN = Holdout(type="Column", column="side", rows="sha256:a")
DEFAULT = Holdout(type="Stratified", ratio=0.2, columns="sha256:a")


def changed(holdout: Holdout, **fields: Any) -> Holdout:
    return holdout.model_copy(update=fields)


@pytest.mark.parametrize(
    ("now", "before", "seed", "said"),
    [
        (BY_GROUP, BY_GROUP, 0, None),
        (BY_GROUP, changed(BY_GROUP, ratio=0.3), 0, None),  # what is held out now was held out then
        (BY_GROUP, changed(BY_GROUP, ratio=0.1), 0, "its run held out 0.1 of the rows, this one 0.2"),
        (BY_GROUP, BY_GROUP, 1, "its run had seed 1, this one has 0"),
        (BY_GROUP, changed(BY_GROUP, column="shop"), 0, "rows by column 'shop', this one by 'customer'"),
        (BY_GROUP, BY_HASH, 0, "divided rows by split Hash, this one by split Group of column 'customer'"),
        (BY_GROUP, DEFAULT, 0, "divided rows by the default split, this one by split Group"),
        (BY_GROUP, None, 0, "its run divided rows without evaluation.split, this one by split Group"),
        (BY_HASH, BY_HASH, 0, None),
        (BY_HASH, changed(BY_HASH, columns="sha256:b"), 0, "the data had other columns then"),
        (BY_TIME, BY_TIME, 3, None),  # no seed decides
        (BY_TIME, changed(BY_TIME, cut="2026-04-01T00:00:00+00:00"), 0, None),
        (
            BY_TIME,
            changed(BY_TIME, cut="2026-06-01T00:00:00+00:00"),
            0,
            "its run held out rows from 2026-06-01T00:00:00+00:00 on only, this one from 2026-05-01T00:00:00+00:00 on",
        ),
        (BY_TIME, changed(BY_TIME, cut="17"), 0, "cannot be compared"),
        (changed(BY_TIME, cut="17"), changed(BY_TIME, cut="16.5"), 0, None),
        (BY_COLUMN, BY_COLUMN, 0, None),  # the very same test rows
        (BY_COLUMN, changed(BY_COLUMN, rows="sha256:b"), 0, "the rows marked as test are not those of its run"),
        (DEFAULT, DEFAULT, 0, None),
        (DEFAULT, DEFAULT, 1, "its run had seed 1, this one has 0"),
        (DEFAULT, None, 0, None),  # an older trainer: one way to divide rows
        (DEFAULT, None, 1, "its run had seed 1, this one has 0"),
    ],
)
def test_what_a_champion_may_have_learned(now: Holdout, before: Holdout | None, seed: int, said: str | None) -> None:
    found = champion_overlap.overlap(now, 0, lineage(before, seed))
    assert found is None if said is None else said in (found or "")


@pytest.mark.parametrize("now", [DEFAULT, BY_GROUP, BY_COLUMN])
def test_of_an_imported_file_nothing_is_known(now: Holdout) -> None:
    assert champion_overlap.overlap(now, 0, lineage(None, data={})) == (
        "nothing is known of the rows that it was trained on"
    )
