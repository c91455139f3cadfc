"""The base of every contract document: immutable, strict for whoever writes it, forgiving for whoever reads it.

The two sides are not always of one version: a pipeline pins its trainer's image, servers of the version before run on
while the operator is new, and the other way round after a downgrade. So
- a reader ignores fields that it does not know (`from_json`), at every level;
- a writer that constructs a document from a field that does not exist gets an error;
- a field that was added later is optional, and `to_json` leaves out what has its default: a reader from before never
  meets it unless it is used, and the same settings give the same text in every version;
- the default of a field never changes, because it is not sent: a reader from before would still take the old one.
"""

from typing import Self

from pydantic import BaseModel, ConfigDict


class Document(BaseModel):
    """A JSON document that crosses a process border."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="null", protected_namespaces=())

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
