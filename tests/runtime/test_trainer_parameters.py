"""Strings become what the annotations ask for, or the message names the parameter and the type."""

from typing import Any, Literal, Optional

import pytest

from tidemill_runtime.trainer.errors import RunError
from tidemill_runtime.trainer.usercode import parameters


def train(
    data: Any,
    target: Any,
    *,
    depth: int = 3,
    rate: float = 0.1,
    shuffle: bool = True,
    loss: Literal["log", "hinge", 2] = "log",
    limit: Optional[int] = 5,  # noqa: UP045  the older spelling must work as well
    either: int | str = 1,
    plain="text",  # type: ignore[no-untyped-def]
    guessed=7,  # type: ignore[no-untyped-def]
    seed: int = 0,
) -> None:
    """Everything that a parameter can be."""


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("depth", "8", 8),
        ("depth", "-1", -1),
        ("rate", "1e-3", 0.001),
        ("rate", "2", 2.0),
        ("shuffle", "false", False),
        ("shuffle", "True", True),
        ("loss", "hinge", "hinge"),
        ("loss", "2", 2),
        ("limit", "none", None),
        ("limit", "9", 9),
        ("either", "4", 4),
        ("either", "many", "many"),
        ("plain", "8", "8"),
        ("guessed", "8", 8),
    ],
)
def test_a_string_takes_the_annotated_type(name: str, text: str, value: object) -> None:
    found = parameters.bind(train, {name: text}, seed=42)
    assert found == {name: value, "seed": 42}
    assert type(found[name]) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "reason", "says"),
    [
        ("depth", "deep", "InvalidParameter", "parameters.depth: 'deep' is not int"),
        ("depth", "8.5", "InvalidParameter", "parameters.depth: '8.5' is not int"),
        ("rate", "fast", "InvalidParameter", "parameters.rate: 'fast' is not float"),
        ("shuffle", "maybe", "InvalidParameter", "parameters.shuffle: 'maybe' is not bool (true or false)"),
        ("loss", "square", "InvalidParameter", "parameters.loss: 'square' is not one of log, hinge, 2"),
        ("limit", "x", "InvalidParameter", "parameters.limit: 'x' is not int"),
        ("dept", "8", "UnknownParameter", "parameters.dept: train takes no 'dept'; it takes depth, rate, shuffle"),
        ("seed", "8", "UnknownParameter", "the seed is spec.seed"),
        ("data", "8", "UnknownParameter", "train takes no 'data'"),
    ],
)
def test_a_bad_value_names_parameter_and_type(name: str, text: str, reason: str, says: str) -> None:
    with pytest.raises(RunError) as caught:
        parameters.bind(train, {name: text}, seed=0)
    assert caught.value.reason == reason
    assert says in str(caught.value)


def test_a_parameter_without_default_must_be_given() -> None:
    def needs(data: Any, target: Any, *, rate: float) -> None: ...

    with pytest.raises(RunError, match=r"parameters\.rate: train needs it and it has no default"):
        parameters.bind(needs, {}, seed=0)


def test_an_unsupported_annotation_is_named() -> None:
    def lists(data: Any, target: Any, *, layers: list[int] = []) -> None: ...  # noqa: B006

    with pytest.raises(RunError, match=r"parameters\.layers: train annotates it list\[int\]; supported are int"):
        parameters.bind(lists, {"layers": "1,2"}, seed=0)


def test_a_function_that_takes_anything_gets_text_and_no_seed() -> None:
    def anything(data: Any, target: Any, **more: Any) -> None: ...

    assert parameters.bind(anything, {"depth": "3"}, seed=9) == {"depth": "3"}
