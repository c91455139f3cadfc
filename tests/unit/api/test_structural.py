"""The translation from pydantic's JSON schema to a structural schema, one feature a row."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from hack.generate.schema import SchemaError, structural
from pydantic import ConfigDict, Field

from tidemill.api.base import Model, Quantity, Time, list_map, rule, rules


class Inner(Model):
    """What an inner
    object is."""

    model_config = ConfigDict(json_schema_extra=rules(rule("self.a > 0", "a must be positive")))

    a: Annotated[int, Field(description="A.")] = 1
    b: Annotated[str | None, Field(description="B.")] = None


def field(annotation: Any, default: Any = ..., *, defaults: bool = True) -> dict[str, Any]:
    """Return the structural schema of one field of that type."""
    model = type(
        "Holder", (Model,), {"__annotations__": {"f": annotation}} | ({} if default is ... else {"f": default})
    )
    return structural(model, defaults=defaults)["properties"]["f"]  # type: ignore[no-any-return]


ROWS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "text": (
        Annotated[str, Field(description="D.", min_length=1, max_length=3, pattern="^a")],
        ...,
        {"description": "D.", "type": "string", "pattern": "^a", "minLength": 1, "maxLength": 3},
    ),
    "optional is absent, never null": (
        Annotated[str | None, Field(description="D.", max_length=3)],
        None,
        {"description": "D.", "type": "string", "maxLength": 3},
    ),
    "whole numbers have 64 bits": (
        Annotated[int, Field(description="D.", ge=1)],
        ...,
        {"description": "D. Must be at least 1.", "type": "integer", "format": "int64", "minimum": 1},
    ),
    "exclusive bounds": (
        Annotated[float, Field(description="D.", gt=0, lt=1)],
        ...,
        {
            "description": "D. Must be greater than 0 and less than 1.",
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "exclusiveMinimum": True,
            "exclusiveMaximum": True,
        },
    ),
    "bounds are shown, then the default": (
        Annotated[int, Field(description="D.", ge=1, le=9)],
        5,
        {
            "description": "D. Must be between 1 and 9. Defaults to 5.",
            "type": "integer",
            "format": "int64",
            "minimum": 1,
            "maximum": 9,
            "default": 5,
        },
    ),
    "a default is shown": (
        Annotated[bool, Field(description="D.")],
        False,
        {"description": "D. Defaults to false.", "type": "boolean", "default": False},
    ),
    "choices": (
        Annotated[Literal["A", "B"] | None, Field(description="D.")],
        None,
        {"description": "D.", "type": "string", "enum": ["A", "B"]},
    ),
    "one choice": (
        Annotated[Literal["A"], Field(description="D.")],
        ...,
        {"description": "D.", "type": "string", "enum": ["A"]},
    ),
    "time": (
        Annotated[Time, Field(description="D.")],
        ...,
        {"description": "D.", "type": "string", "format": "date-time"},
    ),
    "map": (
        Annotated[dict[str, str], Field(description="D.", max_length=2)],
        {},
        {"description": "D.", "type": "object", "maxProperties": 2, "additionalProperties": {"type": "string"}},
    ),
    "list of texts without a default": (
        Annotated[list[str], Field(description="D.", max_length=2)],
        [],
        {"description": "D.", "type": "array", "maxItems": 2, "items": {"type": "string"}},
    ),
}


@pytest.mark.parametrize("case", ROWS)
def test_a_field(case: str) -> None:
    annotation, default, want = ROWS[case]

    assert field(annotation, default) == want


def test_an_object_is_inlined_with_its_rules_and_its_default_in_full() -> None:
    more = rules(rule("has(self.b)", "b must be set"))

    got = field(Annotated[Inner, Field(description="Outer.", json_schema_extra=more)], Inner())

    assert got["description"] == "Outer."
    assert got["default"] == {"a": 1}
    assert [r["message"] for r in got["x-kubernetes-validations"]] == ["a must be positive", "b must be set"]
    assert got["properties"]["a"]["default"] == 1


def test_list_items_have_no_defaults_but_say_them() -> None:
    got = field(Annotated[list[Inner], Field(description="D.", json_schema_extra=list_map("b"))])

    assert (got["x-kubernetes-list-type"], got["x-kubernetes-list-map-keys"]) == ("map", ["b"])
    assert got["items"]["description"] == "What an inner object is."
    assert got["items"]["properties"]["a"] == {
        "description": "A. Defaults to 1.",
        "type": "integer",
        "format": "int64",
    }


def test_without_defaults_nothing_is_added_or_said() -> None:
    got = field(Annotated[Inner, Field(description="D.")], Inner(), defaults=False)

    assert "default" not in got
    assert got["properties"]["a"]["description"] == "A."


def test_a_quantity_is_a_number_or_a_text() -> None:
    got = field(Annotated[Quantity, Field(description="D.")], "1Gi")

    assert got["x-kubernetes-int-or-string"] is True
    assert got["anyOf"] == [{"type": "integer"}, {"type": "string"}]
    assert "type" not in got


class Looped(Model):
    """A loop."""

    again: Annotated[Looped | None, Field(description="D.")] = None


REFUSED: dict[str, tuple[Any, str]] = {
    "union": (Annotated[int | str, Field(description="D.")], "Holder.f: a union of types"),
    "silent field": (Annotated[int, Field()], "Holder.f: has no description"),
    "recursion": (Annotated[Looped, Field(description="D.")], "Looped contains itself"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_structural_schema_can_say_is_refused_by_path(case: str) -> None:
    annotation, message = REFUSED[case]

    with pytest.raises(SchemaError, match=message):
        field(annotation)
