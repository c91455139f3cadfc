"""The columns that a model knows: those that it uses, and those that it was fitted beside and does not look at.

Requests must have the first and may have the second, whose values are not read. Only decoders, and models that take a
matrix of all columns, need to know more than a `Schema`, which holds the used ones.
"""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tidemill_contracts.artifact import Signature, kind_of

Array = NDArray[Any]
T = TypeVar("T")


class KnownColumns:
    """All input columns of a signature, in the model's order.

    `ignores_others`: columns that the model does not know are not read either; else they are refused. `logged`: columns
    that a request may have for the prediction log alone; those that the model uses are in the log anyway.
    """

    def __init__(self, signature: Signature, *, ignores_others: bool, logged: Iterable[str] = ()) -> None:
        self.names = tuple(column.name for column in signature.inputs)
        self.width = len(self.names)
        self.unused = tuple(column.name for column in signature.inputs if not column.is_used)
        self.has_text = any(kind_of(column.datatype) == "text" for column in signature.inputs)
        self._used = [place for place, column in enumerate(signature.inputs) if column.is_used]
        used = {column.name for column in signature.used_inputs}
        self.logged = tuple(name for name in dict.fromkeys(logged) if name not in used)
        self._not_read = frozenset(self.unused) | frozenset(self.logged)
        self._ignores_others = ignores_others

    def refused(self, others: Iterable[str]) -> list[str]:
        """Return those of some columns, none of which the model uses, that a request may not have; sorted."""
        return [] if self._ignores_others else sorted(set(others) - self._not_read)

    def is_not_read(self, name: str) -> bool:
        """Return whether a column that the model does not use may be in a request."""
        return self._ignores_others or name in self._not_read

    def of_used(self, values: Sequence[T]) -> list[T]:
        """Return of one value for each known column those of the used ones."""
        return [values[place] for place in self._used]

    def narrowed(self, matrix: Array) -> Array:
        """Return the used columns of a matrix [rows, known columns]."""
        used: Array = matrix[:, self._used]
        return used

    def widened(self, matrix: Array) -> Array:
        """Return a matrix [rows, known columns] of one of the used columns; the others are zero, or empty text."""
        known: Array = np.full((len(matrix), self.width), "" if matrix.dtype == object else 0, dtype=matrix.dtype)
        known[:, self._used] = matrix
        return known
