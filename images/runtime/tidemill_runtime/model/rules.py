"""What is a question and what is an answer: one rule for every form of a model, before it is asked and after.

What the native form refuses is recorded in the signature at training (missing values, unknown categories, numbers out
of a range) and refused here whatever serves: a graph answers anything. An answer whose probability is not a number is
none. Runs with every prediction, so the usual row is looked at once, in tenths of a microsecond.
"""

import math
from collections.abc import Sequence

import numpy as np

from tidemill_contracts.artifact import DISTANCES, PROBABILITIES, SCORE
from tidemill_runtime.model.errors import BadRequestError
from tidemill_runtime.model.frame import Array, Column, Frame, Schema, quoted, shown
from tidemill_runtime.model.prediction import Prediction

_SMALL = 64  # values that Python adds up sooner than numpy has looked at its arguments
_SQUARED = 1e150  # of what is larger, the square is beyond float64
_WHOLE = float(2**64)  # beyond every whole number that a column can hold
_sum = np.add.reduce


def total(values: Array) -> float:
    """Return the sum of a matrix or a column, which is finite only if every value is."""
    if values.size <= _SMALL:
        numbers = values.tolist()
        return sum(numbers) if values.ndim == 1 else sum(map(sum, numbers))
    return float(_sum(values, None))


class Rules:
    """The rules of one signature; safe from several threads at once.

    `outputs` are names and datatypes, the prediction first.
    """

    def __init__(self, schema: Schema, outputs: Sequence[tuple[str, str]]) -> None:
        self._schema = schema
        self._booleans = [(i, c) for i, c in enumerate(schema.columns) if c.kind == "boolean"]
        self._ranges = [(i, c) for i, c in enumerate(schema.columns) if c.is_bounded]
        smallest = min((min(-c.minimum, c.maximum) for _, c in self._ranges), default=0.0)
        self._near = min(smallest, _SQUARED) if not self._booleans else 0.0
        """Numbers up to here, of either sign, are in every column's range; not above zero where there is no such."""
        self._square = self._near**2
        others = [name for name, _ in outputs[1:] if name != PROBABILITIES]
        self._others = [
            (i, name)
            for i, name in enumerate(others)
            if name in (SCORE, DISTANCES) or name.startswith(f"{PROBABILITIES}_")
        ]

    def check(self, frame: Frame) -> None:
        """Refuse rows that the native form refuses, as far as the signature knows.

        Raises:
            BadRequestError: names row, column and what it takes.
        """
        matrix = frame.matrix
        if matrix is not None and self._near > 0 and frame.row is None:
            values = matrix.ravel()
            if values.dot(values) <= self._square:  # not true with a missing value
                frame.is_complete = True
                return
        frame.check_missing()
        frame.check_categories()
        for index, column in self._ranges:
            _check_range(frame, index, column)
        for index, column in self._booleans:
            _check_boolean(frame, index, column)

    def confirm(self, frame: Frame, answer: Prediction) -> Prediction:
        """Return an answer that is one.

        Raises:
            BadRequestError: a probability, a score or a distance is no number; names the first row.
        """
        probabilities = answer.probabilities
        if probabilities is not None and not math.isfinite(total(probabilities)):
            _refuse(frame, PROBABILITIES, ~np.isfinite(probabilities))
        for index, name in self._others:
            values = answer.others[index]
            if not math.isfinite(total(values)):  # distances and scores may be infinite, or too large to add up
                _refuse(frame, name, np.isnan(values) if name in (SCORE, DISTANCES) else ~np.isfinite(values))
        return answer


def _check_range(frame: Frame, index: int, column: Column) -> None:
    low, high = column.minimum, column.maximum
    if frame.row is not None:
        value = frame.row[index]
        if not low <= value <= high:
            raise _out_of_range(0, column, value)
        return
    values = frame.column(index)
    if values.dtype.kind in "iub" and low <= -_WHOLE and high >= _WHOLE:
        return
    bad = (values < low) | (values > high)  # a missing value is neither
    if bad.any():
        row = int(bad.argmax())
        raise _out_of_range(row, column, values[row].item())


def _check_boolean(frame: Frame, index: int, column: Column) -> None:
    if frame.row is not None:
        value = frame.row[index]
        if value not in (0, 1):
            raise _no_boolean(0, column, value)
        return
    values = frame.column(index)
    bad = (values != 0) & (values != 1) & (values == values)  # a missing value differs from itself
    if bad.any():
        row = int(bad.argmax())
        raise _no_boolean(row, column, values[row].item())


def _no_boolean(row: int, column: Column, value: object) -> BadRequestError:
    return BadRequestError(f"inputs: row {row}: column {column.name!r} takes true or false, got {shown(value)}")


def _out_of_range(row: int, column: Column, value: object) -> BadRequestError:
    """Return the error for a number; a limit whose neighbour has a shorter name is said by that: above 0."""
    low, high = column.minimum, column.maximum
    below, beyond = math.nextafter(low, -math.inf), math.nextafter(high, math.inf)
    least = f"above {below:g}" if len(repr(below)) < len(repr(low)) else f"from {low:.8g}"
    most = f"below {beyond:g}" if len(repr(beyond)) < len(repr(high)) else f"up to {high:.8g}"
    limits = [text for text, limit in ((least, low), (most, high)) if math.isfinite(limit)]
    return BadRequestError(
        f"inputs: row {row}: column {column.name!r} takes numbers {' and '.join(limits)}, got {shown(value)}"
    )


def _kind(one: Frame) -> str:
    numbers = (value for value in one.only_row() if isinstance(value, float))
    return "infinite values" if any(map(math.isinf, numbers)) else "these values"


def _refuse(frame: Frame, name: str, bad: Array) -> None:
    """Raise the error for the first row without an answer, if there is one."""
    rows = bad if bad.ndim == 1 else bad.any(axis=1)
    if not rows.any():
        return
    row = int(rows.argmax())
    one = frame.part(row, row + 1)
    missing = one.missing_columns()
    values = f"missing values in {quoted(missing)}" if missing else _kind(one)
    where = f"row {row}: " if frame.rows > 1 else ""
    raise BadRequestError(f"inputs: {where}the model gives no {name} for {values}")
