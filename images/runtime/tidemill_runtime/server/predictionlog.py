"""What was predicted, on its way to the monitor: bounded, never in the way of a request.

The hot path appends references to a ring and returns; turning them into columns and posting happens in
the background. When the monitor is slow or away, the oldest records are dropped and counted. A batch is
posted again under its own id until the monitor has it, so a lost acknowledgement counts nothing twice.
"""

import asyncio
import logging
import os
import socket
import time
import zlib
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from tidemill_contracts.inference import BATCH_PATH, REFERENCE_PATH, PredictionLog, ServerConfig
from tidemill_runtime.server.answer import Answer
from tidemill_runtime.server.frame import Array, Column, Frame
from tidemill_runtime.server.monitorclient import MonitorAwayError, MonitorClient
from tidemill_runtime.server.telemetry import Telemetry

_log = logging.getLogger(__name__)
INTERVAL_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 30.0
MAX_BATCH_ROWS = 2000
MAX_BATCH_VALUES = 100_000  # keeps a batch of a wide model far below the monitor's limit for one body
_HASH_RANGE = 2**32
_RETRIED = frozenset({404, 408, 409, 425, 429})  # besides 5xx; 404: another release behind the name

Record = tuple[str, Frame, Answer, float, float]  # request id, rows, answers, when, seconds


@dataclass(frozen=True)
class Batch:
    """A batch ready to post."""

    body: bytes
    rows: int


class Recorder:
    """Collects records and sends them. `record` and `run` belong to one event loop."""

    def __init__(
        self,
        config: ServerConfig,
        log: PredictionLog,
        reference: bytes | None,
        client: MonitorClient,
        telemetry: Telemetry,
    ) -> None:
        self._config = config
        self._client = client
        self._telemetry = telemetry
        self._reference = reference
        self._limit = log.max_queue_rows
        self._sample_below = int(log.sample_ratio * _HASH_RANGE)
        self._records: deque[Record] = deque()
        self._queued_rows = 0
        self._dropped = 0
        self._errors = 0
        self._sequence = 0
        self._process = f"{socket.gethostname()}/{os.urandom(6).hex()}"
        self._pending: Batch | None = None

    def record(self, request_id: str, frame: Frame, answer: Answer, seconds: float) -> None:
        """Keep one answered request if it is sampled; drops the oldest records when full."""
        if self._sample_below < _HASH_RANGE and zlib.crc32(request_id.encode()) >= self._sample_below:
            return
        self._records.append((request_id, frame, answer, time.time(), seconds))
        self._queued_rows += frame.rows
        self._bound()

    def record_error(self) -> None:
        """Count a request that failed through no fault of the client."""
        self._errors += 1

    def _bound(self) -> None:
        while self._queued_rows > self._limit:
            rows = self._records.popleft()[1].rows
            self._queued_rows -= rows
            self._count_dropped(rows)

    def _count_dropped(self, rows: int) -> None:
        self._dropped += rows
        self._telemetry.records_dropped.inc(rows)

    async def run(self) -> None:
        """Send until cancelled; waits longer after each failure, at most half a minute."""
        delay = INTERVAL_SECONDS
        while True:
            await asyncio.sleep(delay)
            try:
                await self._send_all()
                delay = INTERVAL_SECONDS
            except MonitorAwayError as error:
                if delay == INTERVAL_SECONDS:
                    _log.warning("prediction records wait for the monitor: %s", error)
                delay = min(delay * 2, MAX_BACKOFF_SECONDS)
            except Exception:  # a fault here must cost records, never predictions
                _log.exception("a batch of prediction records was lost")
                self._lose_pending()
                delay = min(delay * 2, MAX_BACKOFF_SECONDS)

    async def flush(self, timeout_seconds: float) -> None:
        """Send what is left, once; whatever the monitor does not take in time is dropped and counted."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._send_all()
        except (MonitorAwayError, TimeoutError) as error:
            _log.warning("the last prediction records wait for the monitor no longer: %s", error or "out of time")
        except Exception:  # the process is about to end: the rest of the end must still happen
            _log.exception("a batch of prediction records was lost")
        self._lose_pending()
        if self._queued_rows:
            _log.warning("%d prediction records were not sent", self._queued_rows)
            self._count_dropped(self._queued_rows)
            self._records.clear()
            self._queued_rows = 0

    def _lose_pending(self) -> None:
        if self._pending is not None:
            self._count_dropped(self._pending.rows)
            self._pending = None

    async def _send_all(self) -> None:
        """Send what is queued now; what comes meanwhile waits for the next time, so that batches stay few."""
        newest = self._records[-1] if self._records else None
        while self._pending is not None or self._records or self._errors:
            if self._pending is None:
                self._pending = await self._next_batch()
            await self._send(self._pending)
            self._pending = None
            if newest is None or not self._records or self._records[0][3] > newest[3]:
                return

    async def _next_batch(self) -> Batch:
        """Return the oldest records as a batch; cut short, they are queued again, and those at fault are counted."""
        records, rows = self._take()
        head, self._errors = self._head(), 0
        try:
            return Batch(await asyncio.to_thread(assemble, head, records), rows)
        except asyncio.CancelledError:
            self._errors += head["errors"]
            self._records.extendleft(reversed(records))
            self._queued_rows += rows
            self._bound()  # others may have come meanwhile
            raise
        except Exception:
            self._errors += head["errors"]
            self._count_dropped(rows)
            raise

    def _take(self) -> tuple[list[Record], int]:
        records: list[Record] = []
        rows = 0
        limit = min(MAX_BATCH_ROWS, MAX_BATCH_VALUES // self._records[0][1].schema.width) if self._records else 0
        while self._records and (not records or rows + self._records[0][1].rows <= limit):
            record = self._records.popleft()
            records.append(record)
            rows += record[1].rows
        self._queued_rows -= rows
        return records, rows

    def _head(self) -> dict[str, Any]:
        self._sequence += 1
        return {
            "batch_id": f"{self._process}/{self._sequence}",
            "deployment": self._config.deployment,
            "version": self._config.version,
            "digest": self._config.digest,
            "sent_at": time.time(),
            "dropped": self._dropped,
            "errors": self._errors,
        }

    async def _send(self, batch: Batch) -> None:
        status, answer = await self._client.post(BATCH_PATH, batch.body)
        if status == 409 and self._reference is not None:
            status, answer = await self._client.post(REFERENCE_PATH, self._reference)
            if status < 300:
                status, answer = await self._client.post(BATCH_PATH, batch.body)
        if status < 300:
            self._telemetry.records_sent.inc(batch.rows)
        elif is_retried(status):
            raise MonitorAwayError(f"answered {status}: {answer[:200].decode('utf-8', 'replace')}")
        else:
            _log.error("the monitor refused a batch with %d: %s", status, answer[:500].decode("utf-8", "replace"))
            self._count_dropped(batch.rows)


def reference_document(config: ServerConfig, profile: bytes) -> bytes:
    """Return the body that introduces a version to the monitor; `profile` is the content of reference.json."""
    document = {"deployment": config.deployment, "version": config.version, "digest": config.digest}
    return orjson.dumps({**document, "profile": orjson.loads(profile)})


def row_ids(request_id: str, rows: int) -> list[str]:
    """Return one prediction id per row: the request's own for one row, else `<request id>/<row>`."""
    return [request_id] if rows == 1 else [f"{request_id}/{row}" for row in range(rows)]


def assemble(head: dict[str, Any], records: list[Record]) -> bytes:
    """Return a PredictionBatch as JSON, written without validating what this process itself made.

    NaN, the missing number, becomes null.
    """
    ids: list[str] = []
    times: list[float] = []
    for request_id, frame, _, at, _ in records:
        ids += row_ids(request_id, frame.rows)
        times += [at] * frame.rows
    answers = [record[2] for record in records]
    frames = [record[1] for record in records]
    batch = {**head, "ids": ids, "times": times, "columns": _columns(frames), "predictions": _predictions(answers)}
    scores = _scores(answers)
    if scores is not None:
        batch["scores"] = scores
    batch["latencies"] = [seconds for *_, seconds in records]
    return orjson.dumps(batch)


def is_retried(status: int) -> bool:
    """Return whether the same batch may be taken later."""
    return status in _RETRIED or status >= 500


def rows_document(head: dict[str, Any], ids: list[str], at: float, frame: Frame, answer: Answer) -> dict[str, Any]:
    """Return a PredictionBatch of one answer whose rows have ids of their own, and no latency: nobody waited."""
    columns, predictions, scores = _columns([frame]), _predictions([answer]), _scores([answer])
    batch = {**head, "ids": ids, "times": [at] * len(ids), "columns": columns, "predictions": predictions}
    return batch if scores is None else {**batch, "scores": scores}


def _predictions(answers: list[Answer]) -> list[Any]:
    if answers and answers[0].prediction.ndim == 1:
        together: list[Any] = np.concatenate([answer.prediction for answer in answers]).tolist()
        return together
    return [label for answer in answers for label in answer.labels()]


def _scores(answers: list[Answer]) -> list[float] | None:
    """Return the probability of the predicted class, the largest of each row; None for a model without."""
    probabilities = [a.probabilities for a in answers if a.probabilities is not None and a.prediction.ndim == 1]
    if not probabilities:
        return None
    scores: list[float] = np.concatenate(probabilities).max(axis=1).tolist()
    return scores


def _columns(frames: list[Frame]) -> dict[str, list[Any]]:
    if not frames:
        return {}
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
