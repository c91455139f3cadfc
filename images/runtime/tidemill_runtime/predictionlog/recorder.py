"""What was predicted, on its way to the monitor: bounded, never in the way of a request.

The hot path appends to a ring and returns. Records are written between requests, in small steps with rests between
them: a thread would hold the interpreter longer, and steps one behind the other would make a queue of the requests
that come meanwhile. When the monitor is slow or away, the oldest records are dropped and counted. A batch is posted
again under its own id until the monitor has it, so a lost acknowledgement counts nothing twice.
"""

import asyncio
import contextlib
import logging
import os
import socket
import time
import zlib
from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol

from tidemill_contracts.inference import PredictionLog, ServerConfig
from tidemill_runtime.model.frame import Frame, Schema
from tidemill_runtime.model.prediction import Prediction
from tidemill_runtime.predictionlog import record_batches
from tidemill_runtime.predictionlog.client import MonitorClient, MonitorUnavailableError, is_retryable
from tidemill_runtime.predictionlog.record_batches import MAX_BATCH_BYTES, BatchWriter, Record, Several, Singles

_log = logging.getLogger(__name__)
INTERVAL_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 30.0
_FULL_SHARE = 0.125  # of the ring: with so many rows it is time to send, whatever the interval
_SLICE_VALUES = 400  # written while requests wait: about 0.1 ms
_STEPS, _REST_SECONDS = 16, 0.005  # what is queued is written in so many steps, with rests between them
_HASH_RANGE = 2**32
_MAX_FAULTS = 10  # answers 500 to one batch, over some minutes: the monitor has a fault, and the batch is what finds it


@dataclass(frozen=True)
class Batch:
    """A batch ready to post."""

    body: bytes
    rows: int


class Counter(Protocol):
    """Counts rows, for a metric."""

    def inc(self, amount: float = 1) -> None:
        """Add to it."""


class Recorder:
    """Collects records and sends them. `record` and `run` belong to one event loop."""

    def __init__(
        self,
        config: ServerConfig,
        log: PredictionLog,
        schema: Schema,
        reference: bytes | None,
        client: MonitorClient,
        sent: Counter,
        dropped: Counter,
    ) -> None:
        self._config = config
        self._client = client
        self._rows_sent = sent
        self._rows_dropped = dropped
        self._reference = reference
        self._schema = schema
        self._has_clients = config.access is not None and config.access.api_keys
        self._limit = log.max_queue_rows
        self._sample_below = int(log.sample_ratio * _HASH_RANGE)
        self._records: deque[Record] = deque()
        self._singles: Singles | None = None  # the newest record, while it takes more
        self._singles_rows = max(1, _SLICE_VALUES // schema.width)
        self._batch_rows = record_batches.batch_rows(schema)
        self._queued_rows = 0
        self._dropped = 0
        self._errors = 0
        self._sequence = 0
        self._newest = float("inf")  # records after this time are for the next sending
        self._step_values, self._rest = _SLICE_VALUES, 0.0
        self._full_rows = _FULL_SHARE * log.max_queue_rows
        self._is_full = asyncio.Event()
        self._process = f"{socket.gethostname()}/{os.urandom(6).hex()}"
        self._pending: Batch | None = None
        self._faults = 0  # answers 500 to the pending batch, one behind the other

    def record(
        self, request_id: str, frame: Frame, answer: Prediction, seconds: float, client: str | None = None
    ) -> None:
        """Keep one answered request if it is sampled; drops the oldest records when full.

        `client`: who asked, as a keyed hash; recorded where clients show keys.
        """
        if self._sample_below < _HASH_RANGE and zlib.crc32(request_id.encode()) >= self._sample_below:
            return
        if frame.rows == 1:
            singles = self._singles
            if singles is None or len(singles.ids) >= self._singles_rows:
                singles = self._singles = Singles(self._schema.width, has_clients=self._has_clients)
                self._records.append(singles)
            singles.add(request_id, frame, answer, time.time(), seconds, client)
        else:
            self._singles = None
            several = record_batches.several(request_id, frame, answer, time.time(), seconds, self._batch_rows)
            if self._has_clients:
                for record in several:
                    record.clients = [client] * record.rows
            self._records += several
        self._queued_rows += frame.rows
        if self._queued_rows >= self._full_rows:
            self._is_full.set()
            if self._queued_rows > self._limit:
                self._bound()

    def record_error(self) -> None:
        """Count a request that failed through no fault of the client."""
        self._errors += 1

    def _bound(self) -> None:
        while (excess := self._queued_rows - self._limit) > 0:
            oldest = self._records[0]
            rows = oldest.rows
            if isinstance(oldest, Singles) and excess < rows:
                rows = excess
                oldest.forget(rows)
            else:
                self._pop()
            self._queued_rows -= rows
            self._count_dropped(rows)

    def _pop(self) -> Record:
        """Return the oldest record, which takes no more from now on."""
        oldest = self._records.popleft()
        if oldest is self._singles:
            self._singles = None
        return oldest

    def _count_dropped(self, rows: int) -> None:
        self._dropped += rows
        self._rows_dropped.inc(rows)

    async def run(self) -> None:
        """Send until cancelled; waits longer after each failure, at most half a minute."""
        delay = INTERVAL_SECONDS
        while True:
            await self._sleep(delay)
            try:
                await self._client.load()  # before there is a batch: under load it takes so long that the ring fills
                self._step_values = max(_SLICE_VALUES, self._queued_rows * self._schema.width // _STEPS)
                self._rest = _REST_SECONDS
                await self._send_all()
                delay = INTERVAL_SECONDS
            except MonitorUnavailableError as error:
                if delay == INTERVAL_SECONDS:
                    _log.warning("prediction records wait for the monitor: %s", error)
                delay = min(delay * 2, MAX_BACKOFF_SECONDS)
            except Exception:  # a fault here must cost records, never predictions
                _log.exception("a batch of prediction records was lost")
                self._lose_pending()
                delay = min(delay * 2, MAX_BACKOFF_SECONDS)

    async def _sleep(self, seconds: float) -> None:
        """Wait for the next sending; a full ring ends that, unless the monitor is away."""
        if seconds > INTERVAL_SECONDS:
            await asyncio.sleep(seconds)
        else:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._is_full.wait()
        self._is_full.clear()

    async def flush(self, timeout_seconds: float) -> None:
        """Send what is left, once; whatever the monitor does not take in time is dropped and counted."""
        self._rest = 0.0
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._send_all()
        except (MonitorUnavailableError, TimeoutError) as error:
            _log.warning("the last prediction records wait for the monitor no longer: %s", error or "out of time")
        except Exception:  # the process is about to end: the rest of the end must still happen
            _log.exception("a batch of prediction records was lost")
        self._lose_pending()
        if self._queued_rows:
            _log.warning("%d prediction records were not sent", self._queued_rows)
            self._count_dropped(self._queued_rows)
            self._records.clear()
            self._singles = None
            self._queued_rows = 0

    def _lose_pending(self) -> None:
        if self._pending is not None:
            self._count_dropped(self._pending.rows)
            self._pending = None

    async def _send_all(self) -> None:
        """Send what is queued now; what comes meanwhile waits for the next time, so that batches stay few."""
        self._newest = self._records[-1].at if self._records else float("inf")
        self._singles = None
        while self._pending is not None or self._records or self._errors:
            if self._pending is None:
                self._pending = await self._next_batch()
            await self._send(self._pending)
            self._pending = None
            if not self._records or self._records[0].at > self._newest:
                return

    async def _next_batch(self) -> Batch:
        """Return the oldest records as a batch. Cut short, what it has is pending; records at fault are counted."""
        head, self._errors = self._head(), 0
        writer, written = BatchWriter(head), 0
        records: list[Record] = []
        rested = 0  # rows before the last rest
        try:
            while writer.size < MAX_BATCH_BYTES and (records := self._take(written)):
                writer.add(await self._written(records))
                written, records = written + _rows(records), []
                if (written - rested) * self._schema.width >= self._step_values:
                    rested = written
                    await asyncio.sleep(self._rest)
        except asyncio.CancelledError:
            if written:
                self._pending = Batch(writer.body(), written)
            else:
                self._errors += head["errors"]
            self._records.extendleft(reversed(records))
            self._queued_rows += _rows(records)
            self._bound()  # others may have come meanwhile
            raise
        except Exception:
            self._errors += head["errors"]
            self._count_dropped(written + _rows(records))
            raise
        return Batch(writer.body(), written)

    def _take(self, written: int) -> list[Record]:
        """Return the oldest records that a batch has room for, few enough to be written at once or one larger."""
        if not self._records or self._records[0].at > self._newest:
            return []
        rows = self._records[0].rows
        limit = self._batch_rows - written
        if written and rows > limit:
            return []
        limit = min(limit, _SLICE_VALUES // self._schema.width)
        records = [self._pop()]
        while isinstance(records[-1], Several) and self._records and isinstance(following := self._records[0], Several):
            rows += following.rows
            if rows > limit:
                break
            records.append(self._pop())
        self._queued_rows -= _rows(records)
        return records

    async def _written(self, records: list[Record]) -> record_batches.Written:
        """Return records as a part of a batch; many values are written in a thread, which holds nothing up for long."""
        if isinstance(records[0], Singles) or _rows(records) * self._schema.width <= _SLICE_VALUES:
            return record_batches.written(records, self._schema)
        return await asyncio.to_thread(record_batches.written, records, self._schema)

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
            **({"logged": logged} if (logged := list(self._schema.known.logged)) else {}),
        }

    async def _send(self, batch: Batch) -> None:
        status, answer = await self._client.post_batch(batch.body, self._reference)
        self._faults = self._faults + 1 if status == 500 else 0
        if status < 300:
            self._rows_sent.inc(batch.rows)
        elif is_retryable(status) and self._faults < _MAX_FAULTS:
            raise MonitorUnavailableError(f"answered {status}: {answer[:200].decode('utf-8', 'replace')}")
        else:
            _log.error("the monitor refused a batch with %d: %s", status, answer[:500].decode("utf-8", "replace"))
            self._count_dropped(batch.rows)
            self._faults = 0


def _rows(records: list[Record]) -> int:
    return sum(record.rows for record in records)
