"""The base of every contract document: strict, immutable, forward compatible in one direction.

Readers refuse unknown fields, so that a typo in a hand-written document is an error; operator and
images are released together, so both sides always know the same fields.
"""

from pydantic import BaseModel, ConfigDict


class Document(BaseModel):
    """A JSON document that crosses a process border."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="null", protected_namespaces=())

    def to_json(self) -> str:
        """Return compact JSON without fields that are None."""
        return self.model_dump_json(exclude_none=True)
