"""Rows on which two forms of a model are most likely to differ, made of known rows, the model and its signature.

Equal inputs give equal rows. Every kind of row has a share of the bound; where a kind has more candidates than its
share, they are taken evenly.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tidemill_runtime.model.frame import EXACT, Array, Frame, Schema

LIMIT = 20_000
CELLS = 20_000_000  # values of all rows: with more than 1,000 columns there are fewer rows
_SHARES = {
    "training": 0.25, "single": 0.1, "whole": 0.05, "neighbour": 0.2, "threshold": 0.2, "unseen": 0.05,
    "unseen whole": 0.05, "null": 0.04, "zero": 0.02, "range": 0.04,
}  # fmt: skip
_TEXTS = ("no such category", "", "nan", "None")
_NUMBERS = (10_000_019.0, -1.0, 2.0**24 + 1, 2.0**24 + 3, 2.0**31 + 1, 0.5)
_WIDE = (2**24 + 1, 2**31 + 1, 2**53 + 1)
_SINGLE = 2.0**24  # up to here single precision holds every whole number
_FAR = 3.0e38


@dataclass(frozen=True)
class Block:
    """Rows of one kind: one array [rows] for each column, and the column that was changed in each row, -1 for none."""

    kind: str
    columns: list[Array]
    changed: Array
    candidates: int  # of which these rows were taken

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.changed)

    def frame(self, schema: Schema, places: Array) -> Frame:
        """Return some rows as the server reads them from a request."""
        arrays = [column[places] for column in self.columns]
        if schema.is_numeric and all(array.dtype.kind == "f" for array in arrays):
            return Frame(schema, len(places), matrix=np.column_stack(arrays))
        if len(places) == 1 and schema.has_text and _is_plain(values := [array[0] for array in arrays]):
            return Frame(schema, 1, row=[v if isinstance(v, str) else v.item() for v in values])
        return Frame(schema, len(places), arrays=arrays)


def _is_plain(values: list[Any]) -> bool:
    """Return whether a row is of the form in which most requests of one row are kept: nothing missing or too large."""
    return all(isinstance(v, str) or (v is not None and v == v and abs(v) <= EXACT) for v in values)


def blocks(schema: Schema, known: list[Array], steps: Sequence[Array], limit: int = LIMIT) -> list[Block]:
    """Return the rows by kind.

    `known`: rows that the model was made for, one array [rows] per column; numbers are float64 or, where none is
    missing, integers, text is object. `steps`: what `thresholds` found.
    """
    maker = _Maker(schema, known, steps)
    makers: dict[str, Callable[[int], Block]] = {
        "training": maker.training, "null": maker.nulls, "threshold": maker.at_steps, "neighbour": maker.neighbours,
        "unseen": maker.unseen, "zero": maker.zeros, "range": maker.ends, "single": maker.singles,
        "whole": maker.wholes, "unseen whole": maker.unseen_whole,
    }  # fmt: skip
    limit = min(limit, CELLS // max(1, schema.width))
    made = [make(max(16, int(limit * _SHARES[kind]))) for kind, make in makers.items()]
    return [block for block in made if block.rows]


class _Maker:
    """Makes blocks; `share` is the most rows that one may have."""

    def __init__(self, schema: Schema, known: list[Array], steps: Sequence[Array]) -> None:
        self._schema = schema
        self._known = known
        self._rows = len(known[0])
        self._numbers = [i for i, column in enumerate(schema.columns) if column.kind == "number"]
        self._steps = steps
        self._sorted = {i: _distinct(known[i]) for i in self._numbers}
        closed = dict(schema.closed)
        refusing = set(schema.complete) | {i for i, values in closed.items() if None not in values}
        self._nullable = [i for i in range(schema.width) if i not in refusing]

    def _block(self, kind: str, rows: list[tuple[int, dict[int, Any]]], share: int, also: int = 0) -> Block:
        """Return a block of known rows, each with other values in some columns, taken evenly."""
        taken = [rows[i] for i in _evenly(len(rows), share)]
        columns = []
        for index, known in enumerate(self._known):
            values = [change.get(index, known[base]) for base, change in taken]
            columns.append(_array(values, known))
        changed = np.array([next(iter(change), -1) for _, change in taken], dtype=np.int64)
        return Block(kind, columns, changed, len(rows) + also)

    def training(self, share: int) -> Block:
        """Rows as they are."""
        places = _evenly(self._rows, share)
        return Block("training", [c[places] for c in self._known], np.full(len(places), -1), self._rows)

    def singles(self, share: int) -> Block:
        """Rows as a client sends them in single precision."""
        places = _evenly(self._rows, share)
        columns = [self._rounded(i, column[places]) for i, column in enumerate(self._known)]
        return Block("single", columns, np.full(len(places), -1), self._rows if self._numbers else 0)

    def _rounded(self, index: int, values: Array) -> Array:
        return values.astype(np.float32).astype(np.float64) if index in self._sorted else values

    def wholes(self, share: int) -> Block:
        """Rows as a client sends them in integers."""
        places = _evenly(self._rows, share)
        columns = [_whole(c[places]) if i in self._sorted else c[places] for i, c in enumerate(self._known)]
        return Block("whole", columns, np.full(len(places), -1), self._rows if self._numbers else 0)

    def nulls(self, share: int) -> Block:
        """Rows with nulls in the columns that take them: in all, in each, in some."""
        rows = [(base, dict.fromkeys(self._nullable)) for base in self._bases(4)] if self._nullable else []
        rows += [(base, {i: None}) for i in self._nullable for base in self._bases(4)]
        random = np.random.default_rng(0)
        for base in self._bases(share // 4) if self._nullable else ():
            flags = random.random(len(self._nullable)) < 0.5
            rows.append((base, {i: None for i, flag in zip(self._nullable, flags, strict=True) if flag}))
        return self._block("null", rows, share)

    def at_steps(self, share: int) -> Block:
        """Rows with values at and beside the steps of the model: one column of a row, or about half of them."""
        found = sum(len(self._steps[i]) for i in self._numbers)
        each = max(1, share // 2 // max(1, len([i for i in self._numbers if len(self._steps[i])])) // 9)
        pools = {i: _beside(self._steps[i][_evenly(len(self._steps[i]), each)]) for i in self._numbers}
        pools = {i: pool for i, pool in pools.items() if len(pool)}
        random = np.random.default_rng(1)
        rows: list[tuple[int, dict[int, Any]]] = []
        for i, pool in pools.items():
            bases = random.integers(0, self._rows, len(pool))
            rows += [(base, {i: value}) for base, value in zip(bases.tolist(), pool.tolist(), strict=True)]
        left = max(0, share - len(rows))  # none where there are many columns
        for base in random.integers(0, self._rows, min(left, len(rows))).tolist():
            flags = random.random(len(pools)) < 0.5
            rows.append(
                (base, {i: float(random.choice(p)) for (i, p), f in zip(pools.items(), flags, strict=True) if f})
            )
        taken = sum(len(self._steps[i][_evenly(len(self._steps[i]), each)]) for i in pools)
        return self._block("threshold", rows, share, also=9 * (found - taken))

    def neighbours(self, share: int) -> Block:
        """Rows beside known ones: a step of single or double precision away, or half way to the next known value."""
        moves: tuple[Callable[[int, float], float], ...] = (
            self._middle,
            lambda _, v: float(np.nextafter(np.float32(v), np.float32(np.inf))),
            lambda _, v: float(np.nextafter(np.float32(v), np.float32(-np.inf))),
            lambda _, v: float(np.nextafter(v, np.inf)),
            lambda _, v: float(np.nextafter(v, -np.inf)),
        )
        rows: list[tuple[int, dict[int, Any]]] = []
        for number, base in enumerate(self._bases(share // 2) if self._numbers else ()):
            values = {i: float(self._known[i][base]) for i in self._numbers}
            move, other = moves[number % 5], moves[number % 4]
            rows.append((base, {i: move(i, v) for i, v in values.items() if v == v}))
            one = self._numbers[number % len(self._numbers)]
            rows.append((base, {one: other(one, values[one])} if values[one] == values[one] else {}))
        return self._block("neighbour", rows, share)

    def _middle(self, index: int, value: float) -> float:
        values = self._sorted[index]
        place = int(np.searchsorted(values, value, side="right"))
        return value if place >= len(values) else float(value + (values[place] - value) / 2)

    def unseen(self, share: int) -> Block:
        """Rows with values that training did not see, and with every category that it did."""
        rows: list[tuple[int, dict[int, Any]]] = []
        for i, column in enumerate(self._schema.columns):
            if column.kind == "text":
                known = sorted(
                    {str(v) for v in self._known[i].tolist() if v is not None} | {*(column.categories or ())}
                )
                strange = [*_TEXTS, *(known[:1] and [known[0] + " ", known[0].swapcase()])]
                values: list[Any] = [*strange, *known]
            elif column.kind == "number":
                values = [*_NUMBERS, *self._beside_known(i)]
            else:
                continue
            rows += [(base, {i: value}) for value, base in zip(values, self._around(len(values)), strict=True)]
        return self._block("unseen", rows, share)

    def unseen_whole(self, share: int) -> Block:
        """The same for columns of whole numbers, sent as such: a float between them would round the largest."""
        rows: list[tuple[int, dict[int, Any]]] = []
        for i in (i for i in self._numbers if self._schema.columns[i].is_integer):
            values = [*_WIDE, *(int(v) for v in self._beside_known(i) if v.is_integer())]
            rows += [(base, {i: value}) for value, base in zip(values, self._around(len(values)), strict=True)]
        return self._block("unseen", rows, share)

    def _beside_known(self, index: int) -> list[float]:
        """Return numbers one, one half and one step of single precision beside known ones: to an encoder, others."""
        known = np.unique(np.concatenate([self._sorted[index], self._steps[index]]))
        large = known[np.abs(known) >= _SINGLE]
        some = np.concatenate([known[_evenly(len(known), 8)], large[_evenly(len(large), 32)]])
        return [float(v + step) for v in some for step in (-1.0, 1.0, 0.5)]

    def zeros(self, share: int) -> Block:
        """Rows with zeros: in all numbers, in each of them."""
        rows: list[tuple[int, dict[int, Any]]] = []
        for zero in (0.0, -0.0) if self._numbers else ():
            rows += [(base, dict.fromkeys(self._numbers, zero)) for base in self._bases(2)]
        rows += [(base, {i: 0.0}) for i in self._numbers for base in self._bases(2)]
        return self._block("zero", rows, share)

    def ends(self, share: int) -> Block:
        """Rows with ten times the least and the greatest known number: in all columns, in each of them."""
        both = [{i: 10 * self._sorted[i][end] for i in self._numbers if len(self._sorted[i])} for end in (0, -1)]
        rows: list[tuple[int, dict[int, Any]]] = [(base, dict(way)) for way in both for base in self._bases(4) if way]
        rows += [(base, {i: value}) for way in both for i, value in way.items() for base in self._bases(2)]
        return self._block("range", rows, share)

    def _bases(self, count: int) -> list[int]:
        return [int(i) for i in _evenly(self._rows, count)]

    def _around(self, count: int) -> list[int]:
        """Return `count` known rows, from the first again when there are fewer."""
        places = self._bases(count)
        return [places[i % len(places)] for i in range(count)]


def _evenly(count: int, most: int) -> Array:
    """Return at most `most` of `count` places, evenly."""
    if count <= most:
        return np.arange(count)
    return np.unique(np.linspace(0, count - 1, most).astype(np.int64))


def _distinct(values: Array) -> Array:
    numbers = values.astype(np.float64)
    return np.unique(numbers[np.isfinite(numbers)])


def _whole(values: Array) -> Array:
    """Return numbers as integers where none is missing or too large, else as they are."""
    if values.dtype.kind != "f" or not (np.abs(values) < EXACT).all():
        return values
    found: Array = np.rint(values).astype(np.int64)
    return found


def _beside(steps: Array) -> Array:
    """Return steps with the numbers beside them in single and in double precision, [9 × steps]."""
    single = steps.astype(np.float32)
    up, down = (np.nextafter(single, np.float32(end)).astype(np.float64) for end in (np.inf, -np.inf))
    middles = [(single.astype(np.float64) + other) / 2 for other in (up, down)]  # what rounds to one or the other
    middles += [np.nextafter(middles[0], np.inf)]
    near = [steps, np.nextafter(steps, np.inf), np.nextafter(steps, -np.inf), single.astype(np.float64), up, down]
    with np.errstate(all="ignore"):
        found: Array = np.stack([*near, *middles]).T.ravel()
    return found[np.abs(found) < _FAR]


def _array(values: list[Any], known: Array) -> Array:
    """Return values as the server would hold them: integers only where all are, null as NaN in numbers."""
    if known.dtype == object:
        return np.array(values, dtype=object)
    if known.dtype.kind in "iu" and all(isinstance(v, (int, np.integer)) or _is_whole(v) for v in values):
        return np.array([int(v) for v in values], dtype=np.int64)
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)


def _is_whole(value: Any) -> bool:
    return value is not None and float(value).is_integer() and (isinstance(value, int) or abs(value) < EXACT)
