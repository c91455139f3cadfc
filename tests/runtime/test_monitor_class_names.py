"""Which class a label names, however it is spelt."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill_runtime.monitor.class_names import ClassNames

BINARY, YES, TRUE, LETTERS = ("0", "1"), ("no", "yes"), ("False", "True"), ("A", "a", "b")


@pytest.mark.parametrize(
    ("classes", "label", "expected"),
    [
        (BINARY, 1, "1"), (BINARY, 1.0, "1"), (BINARY, "1", "1"), (BINARY, "1.0", "1"), (BINARY, " 1 ", "1"),
        (BINARY, "1e0", "1"), (BINARY, "-0.0", "0"), (BINARY, True, "1"), (BINARY, "true", "1"), (BINARY, "TRUE", "1"),
        (BINARY, "yes", "1"), (BINARY, "Y", "1"), (BINARY, "no", "0"), (BINARY, False, "0"), (BINARY, "f", "0"),
        (BINARY, "ja", None), (BINARY, 2, None), (BINARY, "", None), (BINARY, None, None), (BINARY, float("nan"), None),
        (BINARY, "1_0", None), (BINARY, "9" * 5_000, None), (BINARY, 2**70, None), (BINARY, "inf", None),
        (YES, 1, "yes"), (YES, "True", "yes"), (YES, "NO", "no"), (YES, 0.0, "no"), (YES, 0.5, None),
        (TRUE, "true", "True"), (TRUE, 1, "True"), (TRUE, "0", "False"), (TRUE, False, "False"),
        (LETTERS, "A", "A"), (LETTERS, "a", "a"), (LETTERS, " a", None), (LETTERS, "B", "b"),
        (("1", "1.0"), 1, "1"), (("1", "1.0"), "1.0", "1.0"), (("1", "1.0"), "1.00", None),
        (("0", "1", "2"), "true", None), (("0", "1", "2"), "2.0", "2"),
        (("-1", "1"), "true", None), (("0", "yes"), "1", "yes"), (("yes", "true"), "1", None),
        (("1", "yes", "no"), "true", None), (("0.5", "1.5"), 0.5, "0.5"), (("0.5", "1.5"), "0.50", "0.5"),
        (("Paris ", "Berlin"), "paris", "Paris "), (("Paris ", "Berlin"), "Paris ", "Paris "),
        (("9007199254740992", "9007199254740993"), 2**53 + 1, "9007199254740993"),
        (("9007199254740992",), "9007199254740993", None),
        ((), "x", None),
    ],
)  # fmt: skip
def test_a_label_names_the_class_that_it_can_only_mean(classes: tuple[str, ...], label: Any, expected: Any) -> None:
    assert ClassNames(classes).find(label) == expected


@given(st.lists(st.text(max_size=6), unique=True, max_size=6), st.text(max_size=8))
def test_a_class_always_names_itself_and_no_label_names_two(names: list[str], label: str) -> None:
    classes = ClassNames(names)
    assert [classes.find(name) for name in names] == names
    assert classes.find(label) is None or classes.find(label) in names
    assert classes.find(label) == ClassNames(reversed(names)).find(label)
