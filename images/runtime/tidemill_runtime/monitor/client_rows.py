"""What the rows of one batch say about each client: how many, how alike, and how near to the decision boundary.

Two rows are near-duplicates when every number lies in the same cell of a grid of a twentieth of training's standard
deviation, and every text is the same. Pure work on values, done outside the writer's thread.
"""

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tidemill_contracts.inference import PredictionBatch, Value
from tidemill_contracts.reference import NumericProfile, Profile, ReferenceProfile, category_text
from tidemill_runtime.monitor.values import as_floats, is_missing

BOUNDARY: Final = 0.55
"""A model of two classes that gives its answer at most this probability could nearly as well have given the other."""
KEPT_ROWS: Final = 128
"""Rows of one client that are remembered: those that came most often."""
_CELLS: Final = 20  # of a standard deviation
_MISSING: Final = -(2**62)
_LARGEST: Final = 2.0**60
_ODD: Final = 0x9E3779B97F4A7C15
Codes = NDArray[np.int64]


class ClientRows(NamedTuple):
    """What one client adds."""

    rows: int
    minutes: Mapping[int, int]  # rows by minute since the epoch
    digests: Mapping[int, int]  # how often each row came, by the digest of its cells
    followed: int  # rows with another of this client before them
    probing: int  # those of them that differ from it in one column
    scored: int  # rows with a probability, where there are two classes
    boundary: int


def count(batch: PredictionBatch, times: Sequence[float], profile: ReferenceProfile) -> dict[str, ClientRows]:
    """Return what each client adds, by its hash; rows whose client is not known add nothing."""
    if batch.clients is None:
        return {}
    places: dict[str, list[int]] = {}
    for place, client in enumerate(batch.clients):
        if client is not None:
            places.setdefault(client, []).append(place)
    if not places:
        return {}
    codes = cells(batch.columns, len(batch.ids), profile.features)
    digests = digest(codes)
    scores = as_floats(batch.scores)[0] if batch.scores is not None and len(profile.classes) == 2 else None
    return {client: _rows(np.array(rows), times, codes, digests, scores) for client, rows in places.items()}


def _rows(
    rows: NDArray[np.int64], times: Sequence[float], codes: Codes, digests: Codes, scores: NDArray[np.float64] | None
) -> ClientRows:
    changed = np.count_nonzero(codes[rows[1:]] != codes[rows[:-1]], axis=1)
    own = scores[rows] if scores is not None else np.empty(0)
    return ClientRows(
        rows=len(rows),
        minutes=Counter(int(times[row] // 60) for row in rows),
        digests=Counter(digests[rows].tolist()),
        followed=len(rows) - 1,
        probing=int(np.count_nonzero(changed == 1)),
        scored=int(np.count_nonzero(~np.isnan(own))),
        boundary=int(np.count_nonzero(own <= BOUNDARY)),
    )


def cells(columns: Mapping[str, Sequence[Value]], rows: int, features: Sequence[Profile]) -> Codes:
    """Return int64[rows, features], the cell of each value; a column that was not sent is missing in every row."""
    found = np.full((rows, len(features)), _MISSING, dtype=np.int64)
    for number, feature in enumerate(features):
        values = columns.get(feature.name)
        if values is not None:
            found[:, number] = _numbers(values, feature) if isinstance(feature, NumericProfile) else _texts(values)
    return found


def _numbers(values: Sequence[Value], feature: NumericProfile) -> Codes:
    numbers = as_floats(values)[0]
    width = (feature.std or 1.0) / _CELLS
    with np.errstate(over="ignore", invalid="ignore"):
        places = np.clip(np.floor(numbers / width), -_LARGEST, _LARGEST)
    return np.where(np.isnan(places), _MISSING, np.nan_to_num(places)).astype(np.int64)


def _texts(values: Sequence[Value]) -> list[int]:
    texts = [None if is_missing(value) else category_text(value) for value in values]  # type: ignore[arg-type]
    codes = {text: _MISSING if text is None else zlib.crc32(text.encode("utf-8", "replace")) for text in set(texts)}
    return [codes[text] for text in texts]


def digest(codes: Codes) -> Codes:
    """Return int64[rows] that are the same for the same cells, and else only by chance."""
    found = np.zeros(len(codes), dtype=np.uint64)
    for column in codes.T:
        found = found ^ column.view(np.uint64) if column.flags.c_contiguous else found ^ column.astype(np.uint64)
        found = found * np.uint64(_ODD)
        found ^= found >> np.uint64(29)
    return found.view(np.int64)


def near_duplicates(known: Mapping[int, int], digests: Mapping[int, int]) -> tuple[int, dict[int, int]]:
    """Return how many rows came before, at least, and the rows that are remembered from now on.

    `known`: what was remembered. A Misra–Gries summary (merged as Agarwal et al. 2012 do): a row that is in it did come
    before, and one that made up more than 1 / KEPT_ROWS of all rows is in it. So the count is never too high.
    """
    again = sum(number if row in known else number - 1 for row, number in digests.items())
    together = Counter(known)
    together.update(digests)
    if len(together) <= KEPT_ROWS:
        return again, dict(together)
    cut = sorted(together.values(), reverse=True)[KEPT_ROWS]
    return again, {row: number - cut for row, number in together.items() if number > cut}
