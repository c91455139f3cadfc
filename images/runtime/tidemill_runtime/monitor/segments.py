"""Segments of rows: by the values of the columns that spec names, at most 50 in all, fixed by the reference profile.

A category of a column is a segment, the most frequent ones first; all others share one. Numbers have four ranges at
most, of about equal numbers of training rows. Rows without a value are a segment of their own. Nothing here counts.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tidemill_contracts.inference import Value
from tidemill_contracts.monitoring import MAX_SEGMENTS
from tidemill_contracts.reference import CategoricalProfile, NumericProfile, Profile, category_text
from tidemill_runtime.monitor.values import as_floats, category_codes, is_missing

RANGES: Final = 4
OTHER: Final = "(other)"
MISSING: Final = "(missing)"
Name = tuple[str, ...]  # column, segment
Places = NDArray[np.int64]


class Segments:
    """The segments of one version."""

    def __init__(self, profiles: Mapping[str, Profile], columns: Sequence[str]) -> None:
        """`profiles`: of the features; `columns`: to split by, `unknown` has those that are no feature."""
        self.unknown = tuple(name for name in dict.fromkeys(columns) if name not in profiles)
        known = {name: profiles[name] for name in dict.fromkeys(columns) if name in profiles}
        each = MAX_SEGMENTS // max(len(known), 1)
        self._columns = [_Column(profile, each) for profile in known.values()]
        self.names: list[Name] = [(c.name, text) for c in self._columns for text in c.segments]
        self.most = max((len(c.segments) for c in self._columns), default=0)
        """Segments of the column that has the most."""
        self._offsets = np.cumsum([0, *(len(c.segments) for c in self._columns)])

    def of(self, columns: Mapping[str, Sequence[Value]], rows: int) -> Places:
        """Return int64[rows, columns], places in `names`; a column that was not sent is missing in every row."""
        found = np.empty((rows, len(self._columns)), dtype=np.int64)
        for number, column in enumerate(self._columns):
            found[:, number] = self._offsets[number] + column.places(columns.get(column.name) or [None] * rows)
        return found


class _Column:
    """The segments by one column."""

    def __init__(self, profile: Profile, most: int) -> None:
        """`most`: segments, at least 5."""
        self.name = profile.name
        if isinstance(profile, CategoricalProfile):
            pairs = zip(profile.counts, profile.categories, strict=False)
            kept = [text for _, text in sorted(pairs, key=lambda pair: -pair[0])[: most - 2]]
            self.segments = (*kept, OTHER, MISSING)
            self._codes: Mapping[str, int] | None = category_codes(kept)
        else:
            self._edges = np.array(_ranges(profile), dtype=np.float64)
            self.segments = (*_texts(self._edges.tolist()), MISSING)
            self._codes = None

    def places(self, values: Sequence[Value]) -> Places:
        """Return the place of each value in `segments`."""
        last = len(self.segments) - 1
        if self._codes is not None:
            texts = (None if is_missing(value) else category_text(value) for value in values)  # type: ignore[arg-type]
            return np.array([last if text is None else self._codes.get(text, last - 1) for text in texts], np.int64)
        numbers, _ = as_floats(values)
        return np.where(np.isnan(numbers), last, self._edges.searchsorted(numbers, side="right"))


def _ranges(profile: NumericProfile) -> list[float]:
    """Return the edges of the profile that are nearest to its quartiles."""
    below = np.cumsum(profile.counts)[:-1] / max(profile.present, 1)
    wanted = np.arange(1, RANGES) / RANGES
    places = sorted({int(np.abs(below - share).argmin()) for share in wanted}) if len(below) else []
    return [profile.edges[place] for place in places]


def _texts(edges: list[float]) -> list[str]:
    if not edges:
        return ["any number"]
    inner = [f"{low:.6g} to {high:.6g}" for low, high in pairwise(edges)]
    return [f"below {edges[0]:.6g}", *inner, f"{edges[-1]:.6g} or more"]
