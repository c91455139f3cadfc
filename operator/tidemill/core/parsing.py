"""From a stored object to its type, where a refusal is a verdict on the object and not a bug of the operator.

Why: the API server's schema cannot say everything that the types say, and an object may have been stored under another
schema. Such an object is not read differently by trying again, so the error must not reach the engine as a bug that is
retried. Fields that the types do not know are ignored: the CRDs are of the next version before the operator is, and the
API server has refused misspelt ones. Nothing here looks at what an object means.
"""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from tidemill.errors import Stalled

INVALID_SPEC = "InvalidSpec"
"""Reason of an object that cannot be read; its message names the fields."""
FIELDS_NAMED = 5

M = TypeVar("M", bound=BaseModel)


def parsed(model: type[M], obj: Any) -> M:
    """`obj` as a `model`. Raises Stalled with reason InvalidSpec, naming each field that was refused, and why."""
    try:
        return model.model_validate(obj, extra="ignore")
    except ValidationError as error:
        raise Stalled(INVALID_SPEC, sentence(error)) from error


def sentence(error: ValidationError) -> str:
    """`spec.data[0].uri: why; …`: the first five fields, and how many more there are."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    parts = [f"{_path(e['loc'])}: {e['msg'].removeprefix('Value error, ')}" for e in found[:FIELDS_NAMED]]
    more = len(found) - FIELDS_NAMED
    return "; ".join([*parts, *([f"and {more} more"] if more > 0 else [])])


def _path(loc: tuple[int | str, ...]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return text.removeprefix(".") or "the object"
