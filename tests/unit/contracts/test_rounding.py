"""Figures in sentences: a limit in full, and a value that reads on the side of its limit on which it is."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill_contracts.rounding import exact, percent, rounded

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
SHARES = st.floats(0, 1)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.85, "0.85"), (3.0, "3"), (0.0, "0"), (1234567.0, "1234567"), (0.12345678, "0.12345678"), (1e-9, "1e-09")],
)
def test_a_limit_is_told_in_full(value: float, text: str) -> None:
    assert exact(value) == text


@given(NUMBERS)
def test_a_limit_that_is_told_in_full_is_the_limit(value: float) -> None:
    assert float(exact(value)) == value


@pytest.mark.parametrize(
    ("value", "limits", "text"),
    [
        (0.123456, (), "0.1235"),
        (0.25, (0.8,), "0.25"),
        (0.84997, (0.85,), "0.84997"),
        (0.84997, (None,), "0.85"),
        (0.85, (0.85,), "0.85"),
        (0.849999, (0.85, 0.8499985), "0.849999"),
        (123456.7, (), "123457"),
        (1234567.2, (1234567.0,), "1234567.2"),
        (-0.5, (-0.50001,), "-0.5"),
        (2e20, (), "2e+20"),
        (math.nan, (0.8,), "nan"),
    ],
)
def test_a_value_has_four_digits_and_more_where_it_would_read_like_its_limit(
    value: float, limits: tuple[float | None, ...], text: str
) -> None:
    assert rounded(value, 4, *limits) == text


@given(NUMBERS, NUMBERS)
def test_a_rounded_value_is_on_its_side_of_a_limit(value: float, limit: float) -> None:
    shown = float(rounded(value, 3, limit))
    assert (shown > limit, shown < limit) == (value > limit, value < limit)


@pytest.mark.parametrize(
    ("ratio", "limits", "text"),
    [
        (0.5, (), "50%"),
        (0.296, (0.3,), "29.6%"),
        (0.296, (None,), "30%"),
        (0.3, (0.3,), "30%"),
        (0.29, (0.29,), "29%"),
        (0.287, (0.287,), "28.7%"),
        (0.99999, (1.0,), "99.999%"),
    ],
)
def test_a_share_is_in_whole_percent_where_that_is_enough(
    ratio: float, limits: tuple[float | None, ...], text: str
) -> None:
    assert percent(ratio, *limits) == text


@given(SHARES, SHARES)
def test_a_share_is_on_its_side_of_a_limit(ratio: float, limit: float) -> None:
    shown, bound = Decimal(percent(ratio, limit).removesuffix("%")) / 100, Decimal(repr(limit))
    assert shown.compare(bound) == Decimal(repr(ratio)).compare(bound)
