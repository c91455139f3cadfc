"""What today's clients would notice of a new version: how two signatures differ, and what does not count."""

from typing import Any

import pytest

from tidemill_contracts.artifact import ColumnSpec, Signature
from tidemill_contracts.signatures import MOST_NAMED, brief, compare, digest

TENURE, AGE = ColumnSpec(name="tenure", datatype="FP64"), ColumnSpec(name="age", datatype="INT64")
PLAN = ColumnSpec(name="plan", datatype="BYTES")
LABEL = ColumnSpec(name="label", datatype="BYTES")
CHANCES = ColumnSpec(name="probabilities", datatype="FP64", shape=(-1, 2))


def takes(*inputs: ColumnSpec, gives: tuple[ColumnSpec, ...] = (LABEL, CHANCES)) -> Signature:
    return Signature(inputs=inputs, outputs=gives)


def of(column: ColumnSpec, **changes: Any) -> ColumnSpec:
    return column.model_copy(update=changes)


NOW = takes(TENURE, AGE, PLAN)
ID = ColumnSpec(name="id", datatype="BYTES", used=False)

CASES = {
    "removed": (takes(TENURE, AGE), ("'plan' is not taken any more",)),
    "several removed": (takes(TENURE), ("'age' and 'plan' are not taken any more",)),
    "added": (takes(TENURE, AGE, PLAN, of(PLAN, name="city")), ("'city' is required",)),
    "renamed": (
        takes(of(TENURE, name="tenure_months"), AGE, PLAN),
        (
            "'tenure' is not taken any more and 'tenure_months' is required (this looks like one column with a new "
            "name)",
        ),
    ),
    "one gone and one new of another type is no new name": (
        takes(of(PLAN, name="city"), AGE, PLAN),
        ("'tenure' is not taken any more", "'city' is required"),
    ),
    "one gone and one new elsewhere is no new name": (
        takes(AGE, PLAN, of(TENURE, name="income")),
        ("'tenure' is not taken any more", "'income' is required"),
    ),
    "text instead of numbers": (
        takes(of(TENURE, datatype="BYTES"), AGE, PLAN),
        ("'tenure' takes text instead of numbers",),
    ),
    "numbers instead of truth values": (
        takes(of(TENURE, datatype="BOOL"), AGE, PLAN),
        ("'tenure' takes true or false instead of numbers",),
    ),
    "of another shape": (
        takes(of(TENURE, shape=(-1, 3)), AGE, PLAN),
        ("'tenure' takes numbers of shape [3] instead of numbers",),
    ),
    "in another order": (takes(AGE, TENURE, PLAN), ("the columns have another order, from 'age' on",)),
    "known and used from now on": (takes(TENURE, AGE, PLAN, of(ID, used=None)), ("'id' is required",)),
}
SAME = {
    "the same": NOW,
    "any number is a number": takes(of(TENURE, datatype="INT32"), of(AGE, datatype="FP64"), PLAN),
    "categories and ranges": takes(of(TENURE, minimum=0.0), AGE, of(PLAN, categories=("a",), closed=True)),
    "a column that is accepted and not used": takes(TENURE, ID, AGE, PLAN),
    "a column that is not used any more and still accepted": takes(TENURE, AGE, of(PLAN, used=False)),
    "a further class": takes(TENURE, AGE, PLAN, gives=(LABEL, of(CHANCES, shape=(-1, 3)))),
    "a further output": takes(TENURE, AGE, PLAN, gives=(LABEL, CHANCES, of(CHANCES, name="score"))),
}


@pytest.mark.parametrize("case", CASES)
def test_a_difference_is_named(case: str) -> None:
    after, sentences = CASES[case]
    found = compare(NOW, after)
    assert found and (found.inputs, found.outputs) == (sentences, ())
    assert digest(after) != digest(NOW)


@pytest.mark.parametrize("case", SAME)
def test_what_no_client_notices_is_no_difference(case: str) -> None:
    assert not compare(NOW, SAME[case])


def test_equal_digests_mean_no_difference() -> None:
    for after in SAME.values():
        assert digest(after) != digest(NOW) or not compare(NOW, after)
    same = ("the same", "any number is a number", "categories and ranges", "a column that is accepted and not used")
    assert {digest(SAME[case]) for case in same} == {digest(NOW)}
    assert digest(SAME["a further class"]) == digest(NOW)


def test_an_unused_column_may_go_without_a_word() -> None:
    assert not compare(takes(TENURE, ID), takes(TENURE))


@pytest.mark.parametrize(
    ("gives", "sentence"),
    [
        ((LABEL,), "output 'probabilities' is missing"),
        ((of(LABEL, datatype="INT64"), CHANCES), "output 'label' has numbers instead of text"),
        ((), "outputs 'label' and 'probabilities' are missing"),
    ],
)
def test_an_answer_of_another_type_is_a_difference(gives: tuple[ColumnSpec, ...], sentence: str) -> None:
    after = takes(TENURE, AGE, PLAN, gives=gives)
    assert compare(NOW, after).outputs == (sentence,)
    assert digest(after) != digest(NOW)


def test_a_signature_from_before_the_mark_uses_all_its_columns() -> None:
    old = Signature.from_json(NOW.to_json())
    assert not compare(old, NOW)
    assert compare(old, takes(TENURE, AGE, PLAN, of(ID, used=None))).inputs == ("'id' is required",)


def test_of_many_columns_a_few_are_named() -> None:
    many = [of(TENURE, name=f"c{n}") for n in range(2000)]
    (removed,) = compare(takes(*many), takes()).inputs
    assert removed.endswith(f"and {2000 - MOST_NAMED} more are not taken any more") and len(removed) < 200
    retyped = compare(takes(*many), takes(*(of(c, datatype="BYTES") for c in many))).inputs
    assert len(retyped) == MOST_NAMED + 1
    assert retyped[-1] == f"{2000 - MOST_NAMED} more changed in the same way"
    gone = compare(takes(gives=tuple(many)), takes(gives=tuple(of(c, datatype="BYTES") for c in many)))
    assert len(gone.outputs) <= MOST_NAMED + 1


def test_names_are_short_and_printable() -> None:
    (sentence,) = compare(takes(), takes(of(TENURE, name="\u202e" + "x" * 500))).inputs
    assert "\u202e" not in sentence and len(sentence) < 120


def test_a_name_that_is_there_twice_ends_nothing() -> None:
    assert not compare(takes(TENURE, TENURE, AGE), takes(TENURE, AGE))


def test_what_is_compared_is_all_that_a_record_keeps() -> None:
    long = takes(of(PLAN, categories=("a", "b"), closed=True, nullable=False), ID, of(AGE, minimum=0.0))
    assert brief(long) == takes(PLAN, ID, AGE)
    assert digest(brief(long)) == digest(long)


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        (takes(ID, TENURE, AGE, PLAN), takes(TENURE, ID, AGE, PLAN), ("rows of 4 values, from 'tenure' on",)),
        (takes(TENURE, AGE, PLAN), takes(TENURE, of(AGE, used=False), PLAN), ()),
        (takes(TENURE, AGE, PLAN), takes(TENURE, PLAN, of(AGE, used=False)), ("rows of 3 values, from 'plan' on",)),
        (takes(ID, TENURE, AGE), takes(of(ID, name="key"), TENURE, AGE), ()),
        (takes(ID, TENURE, AGE), takes(TENURE, AGE), ()),
        (takes(TENURE, AGE), takes(ID, TENURE, AGE), ()),
        (takes(ID, TENURE, AGE), takes(TENURE, AGE, ID), ("rows of 3 values, from 'tenure' on",)),
    ],
    ids=[
        "an unused column elsewhere",
        "not used any more, in its place",
        "not used any more, elsewhere",
        "another unused column in its place",
        "no unused column any more: such rows are refused",
        "an unused column more",
        "an unused column at the end",
    ],
)
def test_rows_without_names_are_not_taken_for_others(
    before: Signature, after: Signature, says: tuple[str, ...]
) -> None:
    """A server takes rows of the used columns and of all that the model knows, and cannot see what they mean."""
    assert compare(before, after).inputs == tuple(f"the columns have another order in {text}" for text in says)
