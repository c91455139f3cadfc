"""Figures in sentences: a limit as it was written, a value so that it never reads like a limit that it is not at.

`0.8496 is below min 0.85` is told as that and not as `0.85 is below min 0.85`.
"""

from __future__ import annotations

from decimal import Decimal

_MOST_DIGITS = 17
"""So many significant digits tell any two floating-point numbers apart."""
_MOST_WHOLE = 10.0**_MOST_DIGITS


def exact(value: float) -> str:
    """Every digit of a number, as a person would write it: `0.85`, `3`, `1234567`, `1e-09`."""
    text = repr(float(value))
    return text.removesuffix(".0")


def rounded(value: float, digits: int, *limits: float | None) -> str:
    """A number with that many significant digits, and more where it would else be at, or beyond, another limit.

    All digits before the point are shown, so that no value below 1e17 has an exponent that its limit does not have.
    """
    for more in range(digits, _MOST_DIGITS):
        text = f"{value:.{more}g}"
        if "e+" in text and abs(value) < _MOST_WHOLE:
            text = f"{value:.0f}"
        if all(_side(float(text), limit) == _side(value, limit) for limit in limits if limit is not None):
            return text
    return exact(value)


def percent(ratio: float, *limits: float | None) -> str:
    """A share in whole percent, and with more digits where it would else be at, or beyond, another limit: `29.6%`."""
    share, bounds = _decimal(ratio), [_decimal(limit) for limit in limits if limit is not None]
    for digits in range(_MOST_DIGITS):
        text = f"{share:.{digits}%}"
        shown = Decimal(text[:-1]) / 100
        if all(shown.compare(bound) == share.compare(bound) for bound in bounds):
            return text
    return f"{share:%}"


def _decimal(value: float) -> Decimal:
    return Decimal(repr(float(value)))


def _side(value: float, limit: float) -> int:
    return (value > limit) - (value < limit)
