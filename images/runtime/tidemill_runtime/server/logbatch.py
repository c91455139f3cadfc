"""Prediction records as the JSON that the monitor takes: written a slice at a time, and all at once.

A single row is taken apart when it is answered, while everything about it is in the processor's cache: ten thousand
rows later that takes three times as long. Nothing here sends, waits or validates: what this process itself made is
right. NaN, the missing number, becomes null.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from tidemill_runtime.server.answer import Answer
from tidemill_runtime.server.frame import Column, Frame, Schema

MAX_BATCH_ROWS = 2000
MAX_BATCH_VALUES = 100_000  # keeps a batch of a wide model far below the monitor's limit for one body

# Request id, when, seconds, rows, and what was predicted from what: for one row its values, label and score (None
# without probabilities), for several frame and answer.
Row = tuple[tuple[Any, ...], Any, float | None]
Record = tuple[str, float, float, int, Row | tuple[Frame, Answer]]
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


def record_of(request_id: str, frame: Frame, answer: Answer, at: float, seconds: float) -> Record:
    """Return what is kept of an answered request; single rows take about a microsecond."""
    if frame.rows != 1:
        return request_id, at, seconds, frame.rows, (frame, answer)
    if frame.arrays is not None:
        values = tuple([array.item() for array in frame.arrays])
    else:
        assert frame.matrix is not None  # noqa: S101  one of the two is always there
        values = tuple(frame.matrix[0].tolist())
    if answer.prediction.ndim != 1:
        return request_id, at, seconds, 1, (values, None, None)
    score = None if answer.probabilities is None else max(answer.probabilities[0].tolist())
    return request_id, at, seconds, 1, (values, answer.prediction.item(), score)


def slice_of(records: Sequence[Record], schema: Schema) -> Slice:
    """Return records, at least one, as the fields of a batch; either all have one row or none has."""
    fields = _rows(records, schema) if records[0][3] == 1 else _frames(records)
    return {**fields, "latencies": [record[2] for record in records]}


def _rows(records: Sequence[Record], schema: Schema) -> Slice:
    values, labels, scores = zip(*[record[4] for record in records], strict=True)
    columns = zip(schema.columns, zip(*values, strict=True), strict=True)
    fields: Slice = {
        "ids": [record[0] for record in records],
        "times": [record[1] for record in records],
        "columns": {column.name: _logged(list(items), column) for column, items in columns},
        "predictions": labels,
    }
    return fields if scores[0] is None else {**fields, "scores": scores}


def _frames(records: Sequence[Record]) -> Slice:
    ids: list[str] = []
    times: list[float] = []
    for request_id, at, _, rows, _ in records:
        ids += [f"{request_id}/{row}" for row in range(rows)]
        times += [at] * rows
    frames, answers = zip(*[record[4] for record in records], strict=True)
    return {"ids": ids, "times": times, **_fields(frames, answers)}


def rows_document(head: dict[str, Any], ids: list[str], at: float, frame: Frame, answer: Answer) -> dict[str, Any]:
    """Return a PredictionBatch of one answer whose rows have ids of their own, and no latency: nobody waited."""
    return {**head, "ids": ids, "times": [at] * len(ids), **_fields([frame], [answer])}


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
        return {column.name: _logged(together[:, i].tolist(), column) for i, column in enumerate(columns)}
    return {
        column.name: _logged(np.concatenate([frame.column(i) for frame in frames]).tolist(), column)
        for i, column in enumerate(columns)
    }


def _logged(values: list[Any], column: Column) -> list[Any]:
    """Return values as the reference profile counts them: booleans as such (they arrive as 1.0); NaN becomes null."""
    if column.kind != "boolean":
        return values
    return [bool(value) if value == value else None for value in values]
