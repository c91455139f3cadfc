"""Prediction records as the JSON that the monitor takes: written a slice at a time, and all at once.

Answers to single rows are taken apart when they are given, while everything about them is in the processor's cache:
ten thousand rows later that takes three times as long, and the server answers a quarter fewer requests (decision 206).
They are kept as flat lists: of an object for each, the garbage collector would make pauses of milliseconds. A batch is
joined from the JSON of its slices, so that its size in bytes is known before it is too large. Nothing here sends, waits
or validates: what this process itself made is right. NaN, the missing number, becomes null.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson

from tidemill_contracts.inference import ServerConfig
from tidemill_runtime.model.frame import Column, Frame, Schema
from tidemill_runtime.model.prediction import Prediction

MAX_BATCH_BYTES = 4 * 1024 * 1024  # a quarter of what the monitor takes: with so much, nothing more is put into a batch
_MAX_ROWS, _MAX_VALUES = 2000, 100_000

Slice = dict[str, Any]  # some records as the fields of a PredictionBatch
Beside = dict[str, list[Any]] | None  # values of logged columns of one request
Written = tuple[dict[str, bytes], dict[str, bytes]]  # its lists, and those of its columns, as JSON without brackets
_EMPTY: Slice = {"ids": [], "times": [], "columns": {}, "predictions": [], "latencies": []}


def batch_rows(schema: Schema) -> int:
    """Return how many rows a batch has at most."""
    return max(1, min(_MAX_ROWS, _MAX_VALUES // max(1, schema.width)))


class VersionFiles(NamedTuple):
    """The files of a version by which a monitor knows it, as they are stored."""

    profile: bytes  # reference.json
    manifest: bytes  # manifest.json


def reference_document(config: ServerConfig, files: VersionFiles) -> bytes:
    """Return the body that introduces a version to the monitor, which can see that it is the version's own profile."""
    return orjson.dumps(
        {
            "deployment": config.deployment,
            "version": config.version,
            "digest": config.digest,
            "profile": orjson.loads(files.profile),  # which monitors of 0.1 read
            "profile_text": files.profile.decode(),
            "manifest": files.manifest.decode(),
        }
    )


class BatchWriter:
    """A PredictionBatch that grows slice by slice, so that no step takes longer than its slice does."""

    def __init__(self, head: Mapping[str, Any]) -> None:
        self.size = 0  # bytes, of the lists
        self._head = orjson.dumps(head)
        self._fields: dict[str, list[bytes]] = {}
        self._columns: dict[str, list[bytes]] = {}

    def add(self, part: Written) -> None:
        """Append records."""
        for lists, items in zip((self._fields, self._columns), part, strict=True):
            for name, values in items.items():
                if values:  # the latency of a request stands at its first row only
                    lists.setdefault(name, []).append(values)
                    self.size += len(values)

    def body(self) -> bytes:
        """Return the batch as JSON."""
        if not self._fields:
            return self._head[:-1] + b"," + orjson.dumps(_EMPTY)[1:]
        fields = [self._head[1:-1], *_lists(self._fields)]
        return b"{%b}" % b",".join([*fields, b'"columns":{%b}' % b",".join(_lists(self._columns))])


def _lists(parts: Mapping[str, Sequence[bytes]]) -> list[bytes]:
    return [b"%b:[%b]" % (orjson.dumps(name), b",".join(items)) for name, items in parts.items()]


class Singles:
    """Answers to requests for a single row each, one behind the other."""

    __slots__ = ("_beside", "_clients", "_labels", "_latencies", "_scores", "_values", "_width", "ids", "times")

    def __init__(self, width: int, *, has_clients: bool = False) -> None:
        """`has_clients`: whether it is noted who asked."""
        self._clients: list[str | None] | None = [] if has_clients else None
        self.ids: list[str] = []
        self.times: list[float] = []
        self._width = width
        self._latencies: list[float] = []
        self._values: list[Any] = []
        self._beside: list[Beside] = []
        self._labels: list[Any] = []
        self._scores: list[float] = []

    @property
    def rows(self) -> int:
        """Return how many there are."""
        return len(self.ids)

    @property
    def at(self) -> float:
        """Return when the first was answered."""
        return self.times[0]

    def add(
        self, request_id: str, frame: Frame, answer: Prediction, at: float, seconds: float, client: str | None = None
    ) -> None:
        """Note an answer; takes about a microsecond."""
        if self._clients is not None:
            self._clients.append(client)
        self.ids.append(request_id)
        self.times.append(at)
        self._latencies.append(seconds)
        self._values += frame.only_row()
        self._beside.append(frame.beside)
        if answer.prediction.ndim != 1:
            self._labels.append(None)
            return
        label = answer.prediction.item()
        self._labels.append(label)
        if answer.probabilities is not None:  # as `Prediction.scores`, at a third of the cost
            row, columns = answer.probabilities[0].tolist(), answer.class_columns
            column = columns.get(label) if columns is not None else None
            self._scores.append(max(row) if column is None else row[column])

    def forget(self, rows: int) -> None:
        """Drop the oldest."""
        for values in (self.ids, self.times, self._latencies, self._beside, self._labels, self._scores):
            del values[:rows]
        if self._clients is not None:
            del self._clients[:rows]
        del self._values[: rows * self._width]

    def fields(self, schema: Schema) -> Slice:
        """Return them as the fields of a batch."""
        columns = enumerate(schema.columns)
        fields: Slice = {
            "ids": self.ids,
            "times": self.times,
            "columns": {
                **{column.name: _logged(self._values[i :: self._width], column) for i, column in columns},
                **_logged_beside([(given, 1) for given in self._beside], schema),
            },
            "predictions": self._labels,
            "latencies": self._latencies,
        }
        if self._clients is not None:
            fields["clients"] = self._clients
        return {**fields, "scores": self._scores} if self._scores else fields


class Several:
    """The answer to a request for several rows, or to some of them: from the one numbered `first`."""

    __slots__ = ("answer", "at", "clients", "first", "frame", "id", "rows", "seconds")

    def __init__(
        self, request_id: str, frame: Frame, answer: Prediction, at: float, seconds: float, first: int = 0
    ) -> None:
        self.id = request_id
        self.first = first
        self.frame = frame
        self.answer = answer
        self.at = at
        self.seconds = seconds
        self.rows = frame.rows
        self.clients: list[str | None] | None = None  # who asked, for each row; None: not noted


Record = Singles | Several


def several(request_id: str, frame: Frame, answer: Prediction, at: float, seconds: float, rows: int) -> list[Several]:
    """Return the answer to a request as records of at most `rows` rows."""
    if frame.rows <= rows:  # nearly always: parts cost more than a record does
        return [Several(request_id, frame, answer, at, seconds)]
    pieces = [(start, min(start + rows, frame.rows)) for start in range(0, frame.rows, rows)]
    return [Several(request_id, frame.part(*piece), answer.part(*piece), at, seconds, piece[0]) for piece in pieces]


def slice_of(records: Sequence[Record], schema: Schema) -> Slice:
    """Return one record of single rows, or at least one of several, as the fields of a batch."""
    first = records[0]
    if isinstance(first, Singles):
        return first.fields(schema)
    return _frames([record for record in records if isinstance(record, Several)])


def written(records: Sequence[Record], schema: Schema) -> Written:
    """Return records as `slice_of` takes them as JSON, list by list; safe from any thread."""
    part = slice_of(records, schema)
    fields = {name: orjson.dumps(values)[1:-1] for name, values in part.items() if name != "columns"}
    return fields, {name: orjson.dumps(values)[1:-1] for name, values in part["columns"].items()}


def _frames(records: Sequence[Several]) -> Slice:
    ids: list[str] = []
    times: list[float] = []
    for record in records:
        ids += [f"{record.id}/{row}" for row in range(record.first, record.first + record.rows)]
        times += [record.at] * record.rows
    fields = _fields([record.frame for record in records], [record.answer for record in records])
    latencies = [record.seconds for record in records if not record.first]  # one a request
    if records[0].clients is not None:  # then all have them
        fields["clients"] = [client for record in records for client in record.clients or ()]
    return {"ids": ids, "times": times, **fields, "latencies": latencies}


def rows_document(head: dict[str, Any], ids: list[str], at: float, frame: Frame, answer: Prediction) -> dict[str, Any]:
    """Return a PredictionBatch of one answer whose rows have ids of their own, and no latency: nobody waited."""
    return {**head, "ids": ids, "times": [at] * len(ids), **_fields([frame], [answer])}


def _fields(frames: Sequence[Frame], answers: Sequence[Prediction]) -> Slice:
    beside = _logged_beside([(frame.beside, frame.rows) for frame in frames], frames[0].schema)
    fields: Slice = {"columns": {**_columns(frames), **beside}, "predictions": _predictions(answers)}
    scores = _scores(answers)
    return fields if scores is None else {**fields, "scores": scores}


def _logged_beside(given: Sequence[tuple[Beside, int]], schema: Schema) -> dict[str, list[Any]]:
    """Return each logged column of some requests, null where one did not have it; `given`: with the number of rows."""
    return {
        name: [value for one, rows in given for value in ((one or {}).get(name) or [None] * rows)]
        for name in schema.known.logged
    }


def _predictions(answers: Sequence[Prediction]) -> list[Any]:
    if answers[0].prediction.ndim == 1:
        together: list[Any] = np.concatenate([answer.prediction for answer in answers]).tolist()
        return together
    return [label for answer in answers for label in answer.labels()]


def _scores(answers: Sequence[Prediction]) -> list[float] | None:
    """Return the probability of the predicted class of each row; None for a model without."""
    found = [scores for answer in answers if (scores := answer.scores()) is not None]
    return [score for scores in found for score in scores] if found else None


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
