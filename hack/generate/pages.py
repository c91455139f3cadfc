"""The field tables of docs/kinds/*.md: generated between two markers, everything outside them is written by people.

A section that several kinds share has a page of its own, and is one row in theirs.
"""

from __future__ import annotations

from typing import Any

from hack.generate.crd import object_schema
from hack.generate.schema import Schema, default_text, structural
from tidemill.api.base import Kind, Resource
from tidemill.api.v1alpha1.pod_settings import PodSettings

BEGIN = "<!-- fields: begin; written by `make generate`, edits are lost -->"
END = "<!-- fields: end -->"


_HEAD = "| field | type | default | meaning |\n| --- | --- | --- | --- |\n"


def file_name(info: Kind) -> str:
    """Return the page's file name, for example training-pipeline.md."""
    words = "".join(f"-{c.lower()}" if c.isupper() else c for c in info.kind)
    return f"{words.lstrip('-')}.md"


def render(resource: type[Resource], present: str | None) -> str:
    """Return the page: `present` with its table renewed, or a new page. Raises ValueError when a marker is missing."""
    table = _tables(resource)
    if present is None:
        return f"# {resource.INFO.kind}\n\n{resource.INFO.description}\n\n{BEGIN}\n{table}{END}\n"
    return _renewed(file_name(resource.INFO), present, table)


def _renewed(page: str, present: str, table: str) -> str:
    if BEGIN not in present or END not in present:
        raise ValueError(f"docs/kinds/{page}: the markers `{BEGIN}` and `{END}` are missing")
    before, rest = present.split(BEGIN, 1)
    return f"{before}{BEGIN}\n{table}{END}{rest.split(END, 1)[1]}"


SHARED = {"pod-settings.md": ("pod", structural(PodSettings, defaults=True))}
"""Pages of shared sections: the field's name, and its schema."""


def shared(page: str, present: str) -> str:
    """Return the page of a shared section with its table renewed. Raises ValueError when a marker is missing."""
    field, schema = SHARED[page]
    return _renewed(page, present, f"\n{_HEAD}{''.join(_rows(schema, field))}\n")


def _shared_page(schema: Schema) -> str | None:
    """The page of a section, known by its fields: what stands at the place of use does not change them."""
    same = (page for page, (_, shared) in SHARED.items() if shared["properties"] == schema.get("properties"))
    return next(same, None)


def _tables(resource: type[Resource]) -> str:
    properties = object_schema(resource)["properties"]
    parts = []
    for name in ("spec", "status"):
        rows = _rows(properties[name], name)
        parts.append(f"## Fields of {name}\n\n{_HEAD}" + "".join(rows))
        messages = _messages(properties[name])
        if messages:
            parts.append(f"Rules of {name}:\n\n" + "".join(f"- {message}\n" for message in messages))
    return "\n".join(["", *parts]) + "\n"


def _rows(schema: Schema, path: str) -> list[str]:
    rows = []
    required = set(schema.get("required", []))
    for name, child in schema.get("properties", {}).items():
        field = f"{path}.{name}"
        default = "**required**" if name in required else _default(child)
        page = _shared_page(child)
        if page is not None:
            rows.append(f"| `{field}` | {_type(child)} | {default} | {_meaning(child)} [Its fields]({page}). |\n")
            continue
        rows.append(f"| `{field}` | {_type(child)} | {default} | {_meaning(child)} |\n")
        rows.extend(_rows(child, field))
        for key, mark in (("items", "[]"), ("additionalProperties", ".*")):
            if key in child:
                rows.extend(_rows(child[key], f"{field}{mark}"))
    return rows


def _type(schema: Schema) -> str:
    if schema.get("x-kubernetes-int-or-string"):
        return "quantity"
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if "additionalProperties" in schema:
        return f"map of {_type(schema['additionalProperties'])}"
    if schema.get("format") == "date-time":
        return "time"
    return str(schema["type"])


def _default(schema: Schema) -> str:
    default: Any = schema.get("default")
    if default is None or isinstance(default, dict):
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _meaning(schema: Schema) -> str:
    text: str = schema["description"]
    if isinstance(schema.get("default"), str | int | float | bool):
        text = text.removesuffix(f" {default_text(schema['default'])}")  # has a column of its own
    if "enum" in schema:
        missing = [str(value) for value in schema["enum"] if str(value) not in text]
        if missing:
            text += f" One of {', '.join(str(value) for value in schema['enum'])}."
    limits = _limits(schema)
    text += f" ({limits})" if limits else ""
    text += "".join(f" Rule: {message}." for message in [*_messages(schema), *_messages(schema.get("items", {}))])
    return text.replace("|", "\\|")


def _messages(schema: Schema) -> list[str]:
    return [r["message"] for r in schema.get("x-kubernetes-validations", []) if "message" in r]


def _limits(schema: Schema) -> str:
    """Return the bounds of a list, a map or a text; those of a number stand in its description."""
    words = []
    for key, noun in (("maxItems", "items"), ("maxProperties", "entries"), ("maxLength", "characters")):
        if key in schema and f"at most {schema[key]}" not in schema.get("description", ""):
            words.append(f"at most {schema[key]} {noun}")
    return ", ".join(words)
