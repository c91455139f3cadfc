"""Which numbers a model takes, by asking it.

scikit-learn refuses infinity, what float32 does not hold where it computes in that, what is not positive for Box-Cox,
what lies outside of a spline; a graph answers all of them. What the estimator itself refuses is recorded in the
signature as each column's range, so that servers refuse the same with every form. Far away from the data, where even
the estimator's probabilities are no numbers or a graph's sums overflow, the range ends where both forms still answer.
"""

import contextlib
import math
import struct
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from tidemill_contracts.artifact import PROBABILITIES, SCORE, Signature
from tidemill_runtime.frameworks.onnx import graphs
from tidemill_runtime.model.datatypes import datatype
from tidemill_runtime.trainer.model.inspection import Model

SINGLE = math.nextafter((2.0 - 2.0**-24) * 2.0**127, 0.0)
"""The largest number that FP32 holds, rounded."""
_FAR = 1e10  # what limits numbers below this is found to the last bit, beyond it in steps
_STEPS = (
    *(1.7976931348623157e308, 1e307, 1e305, 1e300, 1e200, 1e150, 1e100),
    *(SINGLE, 1e38, 1e37, 1e36, 1e35, 1e33, 1e30, 1e25, 1e20, 1e18, 1e15, 1e12, _FAR),
)
_DIRECTIONS = 32  # rows for one size
_SAMPLE = 16  # columns that stand for all where there are more than twice as many
_SMALLEST = 2.0**-126  # the smallest that FP32 holds with all its digits
_MOST_CALLS = 2000  # of the estimator for limits found bit by bit; the rest is left to the comparison of the forms


@dataclass(frozen=True)
class Range:
    """What a column takes, both ends included."""

    low: float = -math.inf
    high: float = math.inf

    def within(self, other: "Range") -> "Range":
        """Return what both take."""
        return Range(max(self.low, other.low), min(self.high, other.high))


def noted(signature: Signature, model: Model, rows: pd.DataFrame) -> Signature:
    """Return the signature with the ranges that the estimator takes; it answers `rows`."""
    return _written(signature, _Asking(model, rows, _refuses_missing(signature)).ranges())


def narrowed(signature: Signature, content: bytes, model: Model, rows: pd.DataFrame) -> Signature:
    """Return the signature with ranges in which a graph, too, answers as the estimator does."""
    given = graphs.session(content).get_inputs()
    ranges = {c.name: _range(c.minimum, c.maximum) for c in signature.inputs if (c.minimum, c.maximum) != (None, None)}
    if not ranges:
        return signature
    largest = max(max(-one.low, one.high) for one in ranges.values())
    if any(node.type == "tensor(float)" for node in given):
        largest = min(largest, SINGLE)
        ranges = {
            name: replace(one, low=max(one.low, _SMALLEST)) if one.low > 0 else one for name, one in ranges.items()
        }

    def agrees(frame: pd.DataFrame) -> bool:
        try:
            with _quiet():
                return graphs.compared(model, frame, content).passed
        except Exception:  # converters and ONNX Runtime raise anything
            return False

    row = _complete(rows)
    limit = next((step for step in _STEPS if step <= largest and agrees(_spread(row, ranges, step))), largest)
    far = Range(-limit, limit)
    return _written(signature, {name: one.within(far) for name, one in ranges.items()})


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep warnings of absurd numbers to ourselves: answers are judged by what they are."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def _written(signature: Signature, ranges: dict[str, Range]) -> Signature:
    def limits(name: str) -> dict[str, float]:
        one = ranges.get(name, Range())
        ends = {"minimum": one.low, "maximum": one.high}
        return {end: value for end, value in ends.items() if math.isfinite(value)}

    inputs = tuple(column.model_copy(update=limits(column.name)) for column in signature.inputs)
    return signature.model_copy(update={"inputs": inputs})


def _range(low: float | None, high: float | None) -> Range:
    return Range(-math.inf if low is None else low, math.inf if high is None else high)


def _refuses_missing(signature: Signature) -> frozenset[str]:
    return frozenset(column.name for column in signature.inputs if column.nullable is False)


def _complete(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row with numbers as floats, and what is missing among them replaced by the column's middle."""
    row = rows.head(1).reset_index(drop=True)
    numbers = [name for name in row if datatype(row[name].dtype) in ("FP64", "INT64")]
    row = row.astype(dict.fromkeys(numbers, np.float64))
    return row.fillna({name: float(rows[name].median()) for name in numbers if rows[name].notna().any()})


def _spread(row: pd.DataFrame, ranges: dict[str, Range], size: float) -> pd.DataFrame:
    """Return rows in which columns are as far from zero as their ranges and `size` let them, in many directions."""
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (_DIRECTIONS, len(ranges)))
    signs[0], signs[1] = 1.0, -1.0
    values = {
        name: np.clip(signs[:, place] * size, one.low, one.high) for place, (name, one) in enumerate(ranges.items())
    }
    return row.loc[[0] * _DIRECTIONS].reset_index(drop=True).assign(**values)


@dataclass
class _Asking:
    """One estimator, asked about one row with other numbers in it."""

    model: Model
    rows: pd.DataFrame
    complete: frozenset[str]  # columns in which it refuses missing values, and so infinity

    def __post_init__(self) -> None:
        self.row = _complete(self.rows)
        self.calls = 0

    def ranges(self) -> dict[str, Range]:
        """Return the range of every column that has one."""
        if self.model.refusal(self.row) is not None:
            return {}
        numbers = [name for name in self.model.columns if datatype(self.rows[name].dtype) in ("FP64", "INT64")]
        open_ones = [name for name in numbers if name not in self.complete]
        taken = set(open_ones) - set(self._refusing_infinity(open_ones))
        found = {name: Range() for name in numbers if name not in taken}
        for sign in (1.0, -1.0):
            for name in self._refusing(list(found), sign * _FAR):
                limit = self._limit(name, sign * _FAR)
                if limit is not None:
                    end = {"high": limit} if sign > 0 else {"low": limit}
                    found[name] = replace(found[name], **end)
        limit = next((step for step in _STEPS if self._answers(_spread(self.row, found, step))), None)
        far = Range() if limit is None else Range(-limit, limit)
        return {name: one.within(far) for name, one in found.items()}

    def _refusing_infinity(self, names: list[str]) -> list[str]:
        """Return the columns that do not take infinity: of very many, mostly all, which a few of them show."""
        sample = names[:: max(1, len(names) // _SAMPLE)]
        if len(names) > 2 * _SAMPLE and all(self._refusal([name], math.inf) is not None for name in sample):
            return names
        return self._refusing(names, math.inf)

    def _limit(self, name: str, refused: float) -> float | None:
        """Return the last number that a column takes on the way to one that it refuses, None where it has no such end.

        Values of the data beyond the end say that what is refused is no matter of size.
        """
        taken = float(self.row[name].iloc[0])
        error = self._refusal([name], refused)
        is_size = error is not None and self.model.framework.refused_categories(error) is None and not math.isnan(taken)
        if not is_size or self.calls > _MOST_CALLS:
            return None
        taken, refused = _bisected(taken, refused, lambda value: self._refusal([name], value) is None)
        values = self.rows[name].dropna()
        beyond = values > taken if refused > taken else values < taken
        return None if bool(beyond.any()) else taken

    def _refusing(self, names: list[str], value: float) -> list[str]:
        """Return the columns that do not take a number, asked in halves."""
        if not names or self._refusal(names, value) is None:
            return []
        if len(names) == 1:
            return names
        half = len(names) // 2
        return self._refusing(names[:half], value) + self._refusing(names[half:], value)

    def _refusal(self, names: Iterable[str], value: float) -> Exception | None:
        self.calls += 1
        return self.model.refusal(self.row.assign(**dict.fromkeys(names, value)))

    def _answers(self, frame: pd.DataFrame) -> bool:
        """Return whether the estimator answers rows with numbers, where numbers are what makes an answer."""
        if self.model.refusal(frame) is not None:
            return False
        try:
            with _quiet():
                outputs = self.model.outputs(frame)
                judged = [v for name, v in outputs.items() if name.startswith(PROBABILITIES) or name == SCORE]
                if not judged and (scores := self.model.scores(frame)) is not None:  # what its labels are made of
                    judged = [scores]
        except Exception:  # an estimator may be anybody's code
            return False
        return not any(bool(np.isnan(values).any()) for values in judged)


def _bisected(taken: float, refused: float, takes: Callable[[float], bool]) -> tuple[float, float]:
    """Return neighbouring floats between two, the first of which is taken."""
    low, high = _place(taken), _place(refused)
    while abs(high - low) > 1:
        middle = (low + high) // 2
        if takes(_float(middle)):
            low = middle
        else:
            high = middle
    return _float(low), _float(high)


def _place(value: float) -> int:
    """Return a float's place among all floats, so that neighbours differ by one."""
    bits: int = struct.unpack("<q", struct.pack("<d", value))[0]
    return bits if bits >= 0 else -(bits & 0x7FFFFFFFFFFFFFFF)


def _float(place: int) -> float:
    magnitude: float = struct.unpack("<d", struct.pack("<q", abs(place)))[0]
    return math.copysign(magnitude, place)
