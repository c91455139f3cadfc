"""From pydantic's JSON schema to the structural OpenAPI v3 schema that a CRD takes.

Why: the API server refuses `$ref`, `title`, `const`, `additionalProperties: false` and null types, and a default
inside a list item makes GitOps tools see a difference for ever. This module holds the translation, nothing of kinds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]

# Keys that keep their meaning from JSON schema to OpenAPI v3.0 as Kubernetes reads it, in the order they are written.
_PLAIN = (
    "description",
    "type",
    "format",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "enum",
    "required",
)
_SCALARS = (str, int, float, bool)


class SchemaError(Exception):
    """A type has a JSON schema that no structural schema can express; the message names the path."""


def structural(model: type[BaseModel], *, defaults: bool) -> Schema:
    """Return the structural schema of a model with every reference inlined.

    Without `defaults` the API server adds nothing: for status, whose fields appear only when the operator writes them.

    Raises SchemaError for what Kubernetes cannot express (unions of types, recursion) and for a field without a
    description.
    """
    raw = model.model_json_schema(by_alias=True, mode="validation")
    return _Translator(raw.get("$defs", {}), defaults).translate(raw, model.__name__, in_items=False)


class _Translator:
    """Walks one document; holds its definitions and the references on the way down."""

    def __init__(self, definitions: Mapping[str, Schema], defaults: bool) -> None:
        self.definitions = definitions
        self.defaults = defaults
        self.open: list[str] = []

    def translate(self, raw: Schema, path: str, *, in_items: bool) -> Schema:
        """Return the structural form of `raw`; `in_items`: somewhere inside a list item or a map value."""
        raw = _without_null(raw)
        name = raw["$ref"].rsplit("/", 1)[-1] if "$ref" in raw else None
        if name is not None:
            if name in self.open:
                raise SchemaError(f"{path}: {name} contains itself, which a structural schema cannot express")
            self.open.append(name)
            raw = _merge(self.definitions[name], {k: v for k, v in raw.items() if k != "$ref"})
        try:
            return self._node(raw, path, in_items=in_items)
        finally:
            if name is not None:
                self.open.pop()

    def _node(self, raw: Schema, path: str, *, in_items: bool) -> Schema:
        if "anyOf" in raw and not raw.get("x-kubernetes-int-or-string"):
            raise SchemaError(f"{path}: a union of types; only an optional type is possible")
        out: Schema = {key: raw[key] for key in _PLAIN if key in raw}
        if "description" in out:
            out["description"] = " ".join(out["description"].split())
        if "const" in raw:
            out["enum"] = [raw["const"]]
        if raw.get("type") == "integer":
            out["format"] = "int64"
        for key, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
            if key in raw:
                out[bound], out[key] = raw[key], True
        if raw.get("x-kubernetes-int-or-string"):
            out["anyOf"] = raw["anyOf"]
        if "properties" in raw:
            out["properties"] = self._properties(raw["properties"], path, in_items=in_items)
        if "items" in raw:
            out["items"] = self.translate(raw["items"], f"{path}[]", in_items=True)
        if isinstance(raw.get("additionalProperties"), dict):
            out["additionalProperties"] = self.translate(raw["additionalProperties"], f"{path}{{}}", in_items=True)
        out.update({key: value for key, value in raw.items() if key.startswith("x-kubernetes-")})
        if self.defaults and "description" in out:
            out["description"] += bounds_text(out)
        if self.defaults and in_items:
            _describe_absence(out, raw.get("default"))
        elif self.defaults:
            _set_default(out, raw.get("default"))
        return out

    def _properties(self, properties: Mapping[str, Schema], path: str, *, in_items: bool) -> Schema:
        out = {}
        for name, raw in properties.items():
            out[name] = self.translate(raw, f"{path}.{name}", in_items=in_items)
            if not out[name].get("description"):
                raise SchemaError(f"{path}.{name}: has no description")
        return out


def _without_null(raw: Schema) -> Schema:
    """Collapse `anyOf: [X, null]` to X: a field that may be absent is not a field that may be null."""
    branches = raw.get("anyOf")
    if not branches or {"type": "null"} not in branches:
        return raw
    rest = [branch for branch in branches if branch != {"type": "null"}]
    outer = {key: value for key, value in raw.items() if key != "anyOf"}
    if len(rest) != 1:
        return {**outer, "anyOf": rest}
    return _merge(rest[0], outer)


def _merge(inner: Schema, outer: Schema) -> Schema:
    """Lay what is said at the place of use over the type's own schema; CEL rules of both hold."""
    merged = {**inner, **outer}
    both = [*inner.get("x-kubernetes-validations", []), *outer.get("x-kubernetes-validations", [])]
    if both:
        merged["x-kubernetes-validations"] = both
    return merged


def _set_default(out: Schema, default: Any) -> None:
    """Keep scalar defaults and those of objects made of them; an absent list or map is as good as an empty one."""
    if isinstance(default, _SCALARS):
        out["default"] = default
        out["description"] += f" {default_text(default)}"
    elif isinstance(default, dict):
        # In full, not `{}`: the API server holds a default against the CEL rules before it fills in nested defaults.
        nested = {name: child["default"] for name, child in out.get("properties", {}).items() if "default" in child}
        if nested:
            out["default"] = nested


def _describe_absence(out: Schema, default: Any) -> None:
    """Inside list items and maps, say what absence means; the types fill it in on reading.

    A schema default there would add fields that nobody wrote, and server-side apply would report a difference for ever.
    """
    if isinstance(default, _SCALARS) and "description" in out:
        out["description"] += f" {default_text(default)}"


def bounds_text(schema: Schema) -> str:
    """Return the sentence, after a space, that shows a field's bounds in `kubectl explain`; empty without bounds."""
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None and not (schema.get("exclusiveMinimum") or schema.get("exclusiveMaximum")):
        return f" Must be between {low} and {high}."
    words = []
    if low is not None:
        words.append(f"greater than {low}" if schema.get("exclusiveMinimum") else f"at least {low}")
    if high is not None:
        words.append(f"less than {high}" if schema.get("exclusiveMaximum") else f"at most {high}")
    return f" Must be {' and '.join(words)}." if words else ""


def default_text(default: str | float | bool) -> str:
    """Return the sentence that shows a default in `kubectl explain`, which knows no other way to show it."""
    return f"Defaults to {_literal(default)}."


def _literal(value: str | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
