"""Kubernetes quantities as numbers."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tidemill_contracts import quantities


@pytest.mark.parametrize(
    ("quantity", "want"),
    [
        (2, "2"), ("2", "2"), ("500m", "0.5"), ("1500m", "1.5"), ("1.5", "1.5"), (".5", "0.5"), ("1.", "1"),
        ("2k", "2000"), ("2G", "2e9"), ("1Ki", "1024"), ("1.5Mi", "1572864"), ("1E", "1e18"),
        ("1Ei", "1152921504606846976"), ("15e-1", "1.5"), ("15E2", "1500"), ("+3", "3"), ("-1", "-1"),
        ("250000u", "0.25"), ("7n", "7e-9"), (0.5, "0.5"),
    ],
)  # fmt: skip
def test_quantities(quantity: str | int | float, want: str) -> None:
    assert quantities.number(quantity) == Decimal(want)


@pytest.mark.parametrize(
    "text", ["", ".", "1.2.3", "abc", "1x", "1mi", "1K", "1 k", "1_000", "inf", "NaN", "1e99999999", "٣"]
)
def test_no_quantity(text: str) -> None:
    assert quantities.number(text) is None


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("1", 1),
        ("2Gi", 2 << 30),
        ("", None),
        ("0", None),
        ("01", None),
        ("-1", None),
        ("1.5Gi", None),
        ("8 GB", None),
        ("1k", None),
    ],
)
def test_sizes(text: str, want: int | None) -> None:
    assert quantities.size(text) == want
