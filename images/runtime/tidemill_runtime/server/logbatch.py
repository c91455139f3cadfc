"""Prediction records as the JSON that the monitor takes: written a slice at a time, and all at once.

Nothing here sends, waits or validates: what this process itself made is right. NaN, the missing number, becomes null.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from tidemill_runtime.server.answer import Answer
from tidemill_runtime.server.frame import Array, Column, Frame

MAX_BATCH_ROWS = 2000
MAX_BATCH_VALUES = 100_000  # keeps a batch of a wide model far below the monitor's limit for one body

Record = tuple[str, Frame, Answer, float, float]  # request id, rows, answers, when, seconds
Slice = dict[str, Any]  # some records as the fields of a PredictionBatch
_EMPTY: Slice = {"ids": [], "times": [], "columns": {}, "predictions": [], "latencies": []}


class BatchWriter:
    """A PredictionBatch that grows slice by slice, so that no step takes longer than its slice does."""

    def __init__(self, head: Mapping[str, Any]) -> None:
        self._head = orjson.dumps(head)
        self._fields: dict[str, list[bytes]] = {}
        self._columns: dict[str, list[bytes]] = {}

    def add(self, part: Slice) -> None:
        """Append records."""
        for name, values in part.items():
            if name == "columns":
                for column, items in values.items():
                    self._columns.setdefault(column, []).append(orjson.dumps(items)[1:-1])
            else:
                self._fields.setdefault(name, []).append(orjson.dumps(values)[1:-1])

    def body(self) -> bytes:
        """Return the batch as JSON."""
        if not self._fields:
            return self._head[:-1] + b"," + orjson.dumps(_EMPTY)[1:]
        fields = [self._head[1:-1], *_lists(self._fields)]
        return b"{%b}" % b",".join([*fields, b'"columns":{%b}' % b",".join(_lists(self._columns))])


def _lists(parts: Mapping[str, Sequence[bytes]]) -> list[bytes]:
    return [b"%b:[%b]" % (orjson.dumps(name), b",".join(items)) for name, items in parts.items()]


def slice_of(records: Sequence[Record]) -> Slice:
    """Return records, at least one, as the fields of a batch."""
    ids: list[str] = []
    times: list[float] = []
    for request_id, frame, _, at, _ in records:
        ids += _row_ids(request_id, frame.rows)
        times += [at] * frame.rows
    fields = _fields([record[1] for record in records], [record[2] for record in records])
    return {"ids": ids, "times": times, "latencies": [seconds for *_, seconds in records], **fields}


def rows_document(head: dict[str, Any], ids: list[str], at: float, frame: Frame, answer: Answer) -> dict[str, Any]:
    """Return a PredictionBatch of one answer whose rows have ids of their own, and no latency: nobody waited."""
    return {**head, "ids": ids, "times": [at] * len(ids), **_fields([frame], [answer])}


def _row_ids(request_id: str, rows: int) -> list[str]:
    """Return one prediction id per row: the request's own for one row, else `<request id>/<row>`."""
    return [request_id] if rows == 1 else [f"{request_id}/{row}" for row in range(rows)]


def _fields(frames: Sequence[Frame], answers: Sequence[Answer]) -> Slice:
    fields: Slice = {"columns": _columns(frames), "predictions": _predictions(answers)}
    scores = _scores(answers)
    return fields if scores is None else {**fields, "scores": scores}


def _predictions(answers: Sequence[Answer]) -> list[Any]:
    if answers[0].prediction.ndim == 1:
        together: list[Any] = np.concatenate([answer.prediction for answer in answers]).tolist()
        return together
    return [label for answer in answers for label in answer.labels()]


def _scores(answers: Sequence[Answer]) -> list[float] | None:
    """Return the probability of the predicted class, the largest of each row; None for a model without."""
    probabilities = [a.probabilities for a in answers if a.probabilities is not None and a.prediction.ndim == 1]
    if not probabilities:
        return None
    scores: list[float] = np.concatenate(probabilities).max(axis=1).tolist()
    return scores


def _columns(frames: Sequence[Frame]) -> dict[str, list[Any]]:
    columns = frames[0].schema.columns
    matrices = [frame.matrix for frame in frames if frame.matrix is not None]
    if len(matrices) == len(frames):
        together = np.concatenate(matrices)
        return {column.name: _logged(together[:, i], column) for i, column in enumerate(columns)}
    return {
        column.name: _logged(np.concatenate([frame.column(i) for frame in frames]), column)
        for i, column in enumerate(columns)
    }


def _logged(values: Array, column: Column) -> list[Any]:
    """Return values as the reference profile counts them: booleans as such (they arrive as 1.0); NaN becomes null."""
    items: list[Any] = values.tolist()
    if column.kind != "boolean":
        return items
    return [bool(value) if value == value else None for value in items]
