"""Random valid documents of a pydantic model, drawn from its JSON schema.

Why: the schema says what a field may hold, but not how fields depend on each other; `repairs` lays that over a drawn
object, by the name of its type. Nothing here knows CRDs: what the API server makes of a document is the test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import strategies as st
from pydantic import BaseModel

Json = dict[str, Any]
Drawn = st.SearchStrategy[Any]
Repair = Callable[[Json], Json]

_INT64 = 2**63
_TEXT = st.characters(codec="utf-8")
_LONGEST = 12  # characters or items: length limits have table tests of their own


def documents(model: type[BaseModel], fields: Mapping[str, Drawn], repairs: Mapping[str, Repair]) -> Drawn:
    """Return documents of `model`.

    `fields` replaces the strategy of a field by `Type.fieldName`; `repairs` maps a type's name to a function that makes
    a drawn object of it consistent.
    """
    raw = model.model_json_schema(by_alias=True)
    return _Drawer(raw.get("$defs", {}), fields, repairs).draw(raw)


class _Drawer:
    def __init__(self, definitions: Json, fields: Mapping[str, Drawn], repairs: Mapping[str, Repair]) -> None:
        self.definitions, self.fields, self.repairs = definitions, fields, repairs

    def draw(self, schema: Json) -> Drawn:
        if "$ref" in schema:
            schema = {
                **self.definitions[schema["$ref"].rsplit("/", 1)[-1]],
                **{k: schema[k] for k in schema.keys() - {"$ref"}},
            }
        if "anyOf" in schema:
            return self._any_of(schema)
        if "const" in schema:
            return st.just(schema["const"])
        if "enum" in schema:
            return st.sampled_from(schema["enum"])
        return {
            "string": self._string,
            "integer": self._integer,
            "number": self._number,
            "boolean": lambda _: st.booleans(),
            "array": self._array,
            "object": self._object,
        }[schema["type"]](schema)

    def _any_of(self, schema: Json) -> Drawn:
        """An optional field is drawn without null: absence is what `_object` draws."""
        if schema.get("x-kubernetes-int-or-string"):
            return st.one_of(st.integers(-_INT64, _INT64 - 1), st.from_regex(schema["pattern"], fullmatch=True))
        branch = next(b for b in schema["anyOf"] if b.get("type") != "null")
        return self.draw({**{k: v for k, v in schema.items() if k != "anyOf"}, **branch})

    def _string(self, schema: Json) -> Drawn:
        if schema.get("format") == "date-time":
            return st.datetimes().map(
                lambda t: t.strftime("%Y-%m-%dT%H:%M:%SZ") if t.year > 999 else "2026-01-01T00:00:00Z"
            )
        longest = schema.get("maxLength", _LONGEST)
        if "pattern" in schema:
            return st.from_regex(schema["pattern"], fullmatch=True).filter(lambda text: len(text) <= longest)
        return st.text(_TEXT, min_size=schema.get("minLength", 0), max_size=min(longest, _LONGEST))

    def _integer(self, schema: Json) -> Drawn:
        return st.integers(schema.get("minimum", -_INT64), schema.get("maximum", _INT64 - 1))

    def _number(self, schema: Json) -> Drawn:
        return st.floats(
            schema.get("minimum", schema.get("exclusiveMinimum")),
            schema.get("maximum", schema.get("exclusiveMaximum")),
            exclude_min="exclusiveMinimum" in schema,
            exclude_max="exclusiveMaximum" in schema,
            allow_nan=False,
            allow_infinity=False,
        )

    def _array(self, schema: Json) -> Drawn:
        keys = schema.get("x-kubernetes-list-map-keys")
        unique = {"unique_by": lambda item: tuple(item[k] for k in keys)} if keys else {}
        if schema.get("x-kubernetes-list-type") == "set":
            unique = {"unique": True}
        longest = min(schema.get("maxItems", 4), 4)
        return st.lists(self.draw(schema["items"]), min_size=schema.get("minItems", 0), max_size=longest, **unique)

    def _object(self, schema: Json) -> Drawn:
        if "properties" not in schema:
            values = schema.get("additionalProperties")
            if not isinstance(values, dict):
                return st.just({})
            return st.dictionaries(st.text(_TEXT, max_size=_LONGEST), self.draw(values), max_size=3)
        name, needed = schema["title"], set(schema.get("required", []))
        drawn = {
            field: self.fields[f"{name}.{field}"] if f"{name}.{field}" in self.fields else self.draw(child)
            for field, child in schema["properties"].items()
        }
        some = st.fixed_dictionaries(
            {f: s for f, s in drawn.items() if f in needed},
            optional={f: s for f, s in drawn.items() if f not in needed},
        )
        repair = self.repairs.get(name)
        return some.map(repair) if repair else some
