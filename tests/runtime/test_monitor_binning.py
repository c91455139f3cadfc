"""Counting values on reference bins: exact, additive, and total for every kind of odd value."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill_contracts.monitoring import ColumnConfig, ColumnType
from tidemill_contracts.reference import CategoricalProfile, NumericProfile, ReferenceProfile, category_text
from tidemill_runtime.monitor.binning import ColumnBins, Layout

AGE = NumericProfile(
    name="age", edges=(10.0, 20.0), counts=(5, 5, 5), missing=0, minimum=0.0, maximum=30.0, mean=15.0, std=8.0
)
PLAN = CategoricalProfile(name="plan", categories=("a", "b", "ü"), counts=(5, 5, 5, 0), missing=0)
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)


@pytest.mark.parametrize(
    ("values", "bins", "missing", "mistyped", "below", "above"),
    [
        pytest.param([0, 9.99, 10, 19.9, 20, 30], [2, 2, 2], 0, 0, 0, 0, id="an edge belongs to the bin above it"),
        pytest.param([None, math.nan], [0, 0, 0], 2, 0, 0, 0, id="null and NaN are missing"),
        pytest.param([math.inf, -math.inf], [1, 0, 1], 0, 0, 1, 1, id="infinities are out of range"),
        pytest.param(
            ["15", "x", "", 15], [0, 1, 0], 0, 3, 0, 0, id="texts are mistyped, even those that look like numbers"
        ),
        pytest.param([True, False], [2, 0, 0], 0, 0, 0, 0, id="booleans are 1 and 0"),
        pytest.param([10**400, -(10**400), 1], [2, 0, 1], 0, 0, 1, 1, id="integers beyond floating point"),
        pytest.param([-1, 31], [1, 0, 1], 0, 0, 1, 1, id="out of range, and in the open bins"),
        pytest.param([30.000001, -1e-7], [1, 0, 1], 0, 0, 0, 0, id="within 32-bit rounding of the range"),
        pytest.param([], [0, 0, 0], 0, 0, 0, 0, id="no values"),
    ],
)
def test_numbers(values: list[float], bins: list[int], missing: int, mistyped: int, below: int, above: int) -> None:
    assert ColumnBins(AGE).count(values).tolist() == [*bins, missing, mistyped, below, above]


@pytest.mark.parametrize(
    ("values", "bins", "missing"),
    [
        pytest.param(["a", "b", "a", "ü"], [2, 1, 1, 0], 0, id="texts"),
        pytest.param(["z", "", "A"], [0, 0, 0, 3], 0, id="unseen"),
        pytest.param([None, math.nan, "a"], [1, 0, 0, 0], 2, id="null and NaN are missing"),
        pytest.param([1, True, 1.5], [0, 0, 0, 3], 0, id="other types are unseen"),
    ],
)
def test_categories(values: list[str], bins: list[int], missing: int) -> None:
    assert ColumnBins(PLAN).count(values).tolist() == [*bins, missing, 0, 0, 0]


@pytest.mark.parametrize("categories", [("0", "1"), ("0.0", "1.0")])
def test_classes_are_counted_alike_as_integers_floats_and_texts(categories: tuple[str, str]) -> None:
    column = ColumnBins(CategoricalProfile(name="y", categories=categories, counts=(1, 1, 0), missing=0))
    for values in ([0, 1, 1], [0.0, 1.0, 1.0], ["0", "1", "1"], [0, 1.0, "1"]):
        assert column.count(values).tolist()[:3] == [1, 2, 0]


def test_true_and_one_are_different_categories() -> None:
    column = ColumnBins(CategoricalProfile(name="y", categories=("True", "1"), counts=(1, 1, 0), missing=0))
    assert column.count([True, 1, 1.0]).tolist()[:3] == [1, 2, 0]
    assert (category_text(True), category_text(1), category_text(2.5), category_text("1.0")) == (
        "True",
        "1",
        "2.5",
        "1.0",
    )


@pytest.mark.parametrize("profile", [AGE, PLAN], ids=lambda p: p.kind)
@given(values=st.lists(VALUES))
def test_every_value_is_counted_once(profile: NumericProfile | CategoricalProfile, values: list[float]) -> None:
    column = ColumnBins(profile)
    counts = column.count(values)
    assert counts[: column.bins + 2].sum() == len(values)


@pytest.mark.parametrize("profile", [AGE, PLAN], ids=lambda p: p.kind)
@given(values=st.lists(VALUES), cut=st.integers(0, 20))
def test_parts_add_up_to_the_whole(profile: NumericProfile | CategoricalProfile, values: list[float], cut: int) -> None:
    column = ColumnBins(profile)
    assert np.array_equal(column.count(values), column.count(values[:cut]) + column.count(values[cut:]))


@given(
    st.lists(st.floats(allow_nan=False), max_size=50),
    st.lists(st.floats(-100, 100), min_size=1, max_size=9, unique=True).map(sorted),
)
def test_bins_are_those_that_the_contract_describes(values: list[float], edges: list[float]) -> None:
    profile = NumericProfile(name="x", edges=tuple(edges), counts=(1,) * (len(edges) + 1), missing=0)
    expected = [0] * (len(edges) + 1)
    for value in values:
        expected[sum(edge <= value for edge in edges)] += 1  # bin i holds edge[i-1] <= x < edge[i]
    assert ColumnBins(profile).count(values).tolist() == [*expected, 0, 0, 0, 0]


def test_a_layout_counts_absent_columns_as_missing_and_ignores_unknown_ones() -> None:
    layout = Layout(ReferenceProfile(rows=15, features=(AGE, PLAN), prediction=PLAN))
    counts = layout.count({"age": [15, 25], "renamed": ["a", "b"]}, ["a", "z"])
    assert layout.column("feature:age", counts).tolist() == [0, 1, 1, 0, 0, 0, 0]
    assert layout.column("feature:plan", counts).tolist() == [0, 0, 0, 0, 2, 0, 0, 0]
    assert layout.column("prediction", counts).tolist() == [1, 0, 0, 1, 0, 0, 0, 0]


def test_a_stored_vector_comes_back_as_it_was() -> None:
    layout = Layout(ReferenceProfile(rows=15, features=(AGE, PLAN), prediction=PLAN))
    counts = layout.count({"age": [15, None, "x"], "plan": ["a", "q", None]}, ["a", "z", None])
    rows = [(*slot, int(count)) for slot, count in zip(layout.slots, counts, strict=True)]
    assert np.array_equal(layout.vector([*rows, ("feature:gone", 0, 7)]), counts)


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        (AGE.model_copy(update={"counts": (1, 2)}), "'age': counts must have one entry more than edges"),
        (AGE.model_copy(update={"edges": (20.0, 10.0)}), "'age': edges must be finite and strictly increasing"),
        (AGE.model_copy(update={"edges": (1.0, math.inf)}), "'age': edges must be finite and strictly increasing"),
        (AGE.model_copy(update={"missing": -1}), "'age': counts and missing must not be negative"),
        (PLAN.model_copy(update={"counts": (1, 2, 3)}), "'plan': counts must have one entry a category"),
        (PLAN.model_copy(update={"categories": ("a", "a", "b")}), "'plan': categories must be unique"),
    ],
)
def test_a_profile_that_contradicts_itself_is_refused(profile: NumericProfile, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ColumnBins(profile)


def test_two_features_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="names must be unique"):
        Layout(ReferenceProfile(rows=15, features=(AGE, AGE)))


SHOP = NumericProfile(
    name="shop",
    edges=(1.5,),
    counts=(5, 5),
    missing=0,
    minimum=1.0,
    maximum=2.0,
    distinct=2,
    role="Code",
    as_categories=CategoricalProfile(name="shop", categories=("1", "2"), counts=(5, 5, 0), missing=0, distinct=2),
)
SESSION = CategoricalProfile(
    name="session", categories=("a",), counts=(1, 14), missing=0, distinct=15, role="Identifier"
)


def counted(feature: NumericProfile | CategoricalProfile, stated: ColumnType | None = None) -> tuple[list[str], str]:
    """Under which names a feature is counted, and what is noted about it."""
    columns = {feature.name: ColumnConfig(type=stated)} if stated else {}
    layout = Layout(ReferenceProfile(rows=15, features=(feature,)), columns)
    return list(layout.columns), ",".join(note.finding for note in layout.findings())


@pytest.mark.parametrize(
    ("feature", "stated", "keys", "noted"),
    [
        (SHOP, None, ["category:shop"], "Code"),
        (SHOP, "Category", ["category:shop"], ""),
        (SHOP, "Number", ["feature:shop"], ""),
        (SHOP, "Ignore", [], ""),
        (AGE, None, ["feature:age"], ""),
        (AGE, "Category", ["feature:age"], "NoCategories"),
        (PLAN, None, ["feature:plan"], ""),
        (PLAN, "Category", ["feature:plan"], ""),
        (PLAN, "Number", ["feature:plan"], "NoNumbers"),
        (SESSION, None, ["feature:session"], "Identifier"),
        (SESSION, "Category", ["feature:session"], ""),
    ],
)
def test_a_column_is_counted_as_stated_else_as_it_appears(
    feature: NumericProfile | CategoricalProfile, stated: ColumnType | None, keys: list[str], noted: str
) -> None:
    assert counted(feature, stated) == (keys, noted)


def test_codes_are_counted_as_categories_whatever_type_they_came_in() -> None:
    layout = Layout(ReferenceProfile(rows=10, features=(SHOP,)))
    for values in ([1, 2, 99, None], [1.0, 2.0, 99.0, math.nan], ["1", "2", "99", None]):
        counts = layout.count({"shop": values}, [0, 0, 0, 0])
        assert layout.column("category:shop", counts).tolist() == [1, 1, 1, 1, 0, 0, 0]


def test_counts_of_other_bins_of_a_column_are_not_taken_for_its_own() -> None:
    """A monitor of before, or one with another type for the column, counted the same feature in other bins."""
    features = (SHOP,)
    as_codes = Layout(ReferenceProfile(rows=10, features=features))
    as_numbers = Layout(ReferenceProfile(rows=10, features=features), {"shop": ColumnConfig(type="Number")})
    rows = [("feature:shop", 1, 7), ("category:shop", 0, 3)]
    assert as_codes.vector(rows).sum() == 3
    assert as_numbers.vector(rows).sum() == 7


def test_a_statement_about_a_column_that_is_no_feature_is_noted() -> None:
    layout = Layout(ReferenceProfile(rows=15, features=(AGE,)), {"agee": ColumnConfig(type="Ignore")})
    assert [(n.name, n.finding) for n in layout.findings()] == [("agee", "Unknown")]


def test_categories_of_another_column_are_refused() -> None:
    assert SHOP.as_categories is not None
    other = SHOP.model_copy(update={"as_categories": SHOP.as_categories.model_copy(update={"name": "x"})})
    with pytest.raises(ValueError, match="'shop': as_categories has the name 'x'"):
        Layout(ReferenceProfile(rows=10, features=(other,)))
