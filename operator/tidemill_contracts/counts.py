"""Numbers of things in sentences: one pod, two pods. No sentence of either plane puts a plural together by hand."""

from __future__ import annotations


def counted(number: float, one: str, many: str = "") -> str:
    """`1 row`, `2 rows`, `0 rows`; `many` is the plural where it is not `one` with an s."""
    return f"{number:.0f} {one if number == 1 else many or one + 's'}"


def does(number: float, one: str, singular: str, plural: str, many: str = "") -> str:
    """`1 value reaches`, `40 values reach`: a number of things with what they do."""
    return f"{counted(number, one, many)} {singular if number == 1 else plural}"


def are(part: int, whole: int, one: str, which: str = "") -> str:
    """`1 of 2 pods is`, `0 of 2 pods are`, `0 of 1 pod of churn-1 is`; `which` says of what. What they are follows."""
    return f"{part} of {counted(whole, one)}{which and ' ' + which} {'is' if 1 in (part, whole) else 'are'}"
