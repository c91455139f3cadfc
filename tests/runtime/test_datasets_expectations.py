"""Data that breaks what is expected of it is reported with column, count and first row."""

import numpy as np
import pandas as pd
import pytest

from tidemill_contracts.training import ColumnExpectation, Expectations
from tidemill_runtime.datasets import expectations
from tidemill_runtime.datasets.errors import DataError

TABLE = pd.DataFrame(
    {
        "tenure": [1.0, -2.0, np.nan, -4.0, np.inf],
        "größe": ["klein", "č", None, "klein", "riesig"],
        "active": [True, False, True, True, False],
        "code": [1, 2, 2, 1, 3],
        "mixed": ["1", "2", "drei", "4", None],
    }
)


def findings(*columns: ColumnExpectation, min_rows: int | None = None) -> str:
    with pytest.raises(DataError) as caught:
        expectations.check("customers", TABLE, Expectations(min_rows=min_rows, columns=columns))
    assert caught.value.reason == "ExpectationFailed"
    return str(caught.value).removeprefix("input 'customers': ")


@pytest.mark.parametrize(
    ("column", "says"),
    [
        (ColumnExpectation(name="tenure", min=0), "column 'tenure': 2 values below min 0, first at row 2"),
        (ColumnExpectation(name="tenure", max=0.5), "column 'tenure': 2 values above max 0.5, first at row 1"),
        (ColumnExpectation(name="tenure", type="Number"), "column 'tenure': 1 value infinite, at row 5"),
        (
            ColumnExpectation(name="tenure", max_missing_ratio=0.1),
            "column 'tenure': 1 of 5 values is missing (0.2), expected at most 0.1",
        ),
        (
            ColumnExpectation(name="mixed", type="Number"),
            "column 'mixed': 1 value not a number, at row 3, found 'drei'",
        ),
        (
            ColumnExpectation(name="größe", allowed=("klein", "groß")),
            "column 'größe': 2 values not allowed, first at row 2; found 'riesig', 'č', allowed klein, groß",
        ),
        (
            ColumnExpectation(name="code", allowed=("1", "2")),
            "column 'code': 1 value not allowed, at row 5; found '3', allowed 1, 2",
        ),
        (ColumnExpectation(name="code", type="Text"), "column 'code': 5 values not text, first at row 1, found 1"),
        (
            ColumnExpectation(name="code", type="Boolean"),
            "column 'code': 3 values not a boolean, first at row 2, found 2",
        ),
        (
            ColumnExpectation(name="active", type="Number"),
            "column 'active': 5 values not a number, first at row 1, found True",
        ),
        (
            ColumnExpectation(name="tenur"),
            "there is no column 'tenur'; there are tenure, größe, active, code, mixed; did you mean 'tenure'?",
        ),
    ],
)
def test_a_broken_expectation_is_said_exactly(column: ColumnExpectation, says: str) -> None:
    assert findings(column) == says


def test_everything_is_reported_at_once() -> None:
    text = findings(ColumnExpectation(name="tenure", min=0), ColumnExpectation(name="nope"), min_rows=1000)
    assert text.split("; ")[:2] == [
        "5 rows, expected at least 1000",
        "column 'tenure': 2 values below min 0, first at row 2",
    ]
    assert "there is no column 'nope'" in text


def test_a_table_as_expected_passes() -> None:
    columns = (
        ColumnExpectation(name="tenure", min=-4, max_missing_ratio=0.2),
        ColumnExpectation(name="größe", type="Category", allowed=("klein", "č", "riesig")),
        ColumnExpectation(name="active", type="Boolean", allowed=("True", "False")),
        ColumnExpectation(name="mixed", type="Text"),
    )
    expectations.check("customers", TABLE, Expectations(min_rows=5, columns=columns))
    expectations.check("customers", TABLE, None)


def test_a_target_in_two_inputs_is_ambiguous() -> None:
    with pytest.raises(DataError, match="column 'code' is in several inputs: a, b") as caught:
        expectations.find_target("code", {"a": TABLE, "b": TABLE})
    assert caught.value.reason == "AmbiguousTarget"


def test_long_lists_of_columns_are_cut() -> None:
    wide = pd.DataFrame({f"c{i}": [1] for i in range(40)})
    assert expectations.absent("churned", wide).endswith("c18, c19 and 20 more")
