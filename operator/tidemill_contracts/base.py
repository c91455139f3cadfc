"""The base of every contract document: immutable, strict for whoever writes it, forgiving for whoever reads it.

The two sides are not always of one version: a pipeline pins its trainer's image, servers of the version before run on
while the operator is new, and the other way round after a downgrade. So
- a reader ignores fields that it does not know (`from_json`), at every level;
- a writer that constructs a document from a field that does not exist gets an error;
- a field that was added later is optional, and `to_json` leaves out what has its default: a reader from before never
  meets it unless it is used, and the same settings give the same text in every version;
- the default of a field never changes, because it is not sent: a reader from before would still take the old one.

Anybody may have sent a document, so a collection fails at its first wrong item: an error takes 650 bytes, an item two.
"""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema

_COLLECTIONS = frozenset({"list", "tuple", "set", "frozenset", "dict"})


def _fail_fast(schema: Any) -> None:
    """Mark all collections in a schema of pydantic's, which is made of dictionaries and lists."""
    if isinstance(schema, dict):
        kind = schema.get("type")  # of a model's fields: a schema, where one has this name
        if isinstance(kind, str) and kind in _COLLECTIONS:
            schema["fail_fast"] = True
        schema = list(schema.values())
    if isinstance(schema, list | tuple):
        for part in schema:
            _fail_fast(part)


class Document(BaseModel):
    """A JSON document that crosses a process border."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="null", protected_namespaces=())

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler, /) -> CoreSchema:
        """Return pydantic's schema, with collections that fail at their first wrong item."""
        schema = handler(source)
        _fail_fast(schema)
        return schema

    @classmethod
    def from_json(cls, text: str | bytes, *, strict: bool = False) -> Self:
        """Read a document that came from another process; fields that this version does not know are ignored.

        `strict`: no value is taken for one of another type, as "no" for false or true for 1.

        Raises:
            pydantic.ValidationError: no JSON, a field that must be there is not, or a value that is not allowed.
        """
        return cls.model_validate_json(text, strict=strict or None, extra="ignore")

    def to_json(self) -> str:
        """Return compact JSON without the fields that are None or have their default."""
        return self.model_dump_json(exclude_none=True, exclude_defaults=True)
