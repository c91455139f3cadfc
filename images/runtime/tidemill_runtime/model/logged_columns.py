"""Values of logged columns: what the prediction log gets beside the rows of a request, and the model never."""

from typing import Any, Final

from tidemill_runtime.model.errors import BadRequestError
from tidemill_runtime.model.frame import BOOLEANS, NUMBERS, TEXTS, shown

_SCALARS: Final = NUMBERS | BOOLEANS | TEXTS


def scalars(values: list[Any], name: str, where: str) -> list[Any]:
    """Return the values of a logged column.

    Raises:
        BadRequestError: one is a list or an object; the message names row and column.
    """
    if set(map(type, values)) <= _SCALARS:
        return values
    row = next(i for i, value in enumerate(values) if type(value) not in _SCALARS)
    takes = "a number, a string, true, false or null"
    raise BadRequestError(f"{where}: row {row}: column {name!r} takes {takes}, got {shown(values[row])}")
